"""Gymnasium wrappers, one concern each. They use an environment's public face only."""

from daddy_puffer.wrappers.epsilon import EpsilonEnv
from daddy_puffer.wrappers.novelty import Novelty, VisitCounts, run_wide_counts

__all__ = ["EpsilonEnv", "Novelty", "VisitCounts", "run_wide_counts"]
