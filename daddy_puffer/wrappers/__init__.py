"""Gymnasium wrappers, one concern each. They use an environment's public face only."""

from daddy_puffer.wrappers.epsilon import EpsilonEnv

__all__ = ["EpsilonEnv"]
