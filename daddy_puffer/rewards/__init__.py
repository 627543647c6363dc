"""Rewards as pure functions of two game states. In: `GameState` before and after. Out: float. Knows no environment."""

from daddy_puffer.rewards.sets import DEFAULT_WEIGHTS, RewardSet
from daddy_puffer.rewards.terms import TERMS

__all__ = ["DEFAULT_WEIGHTS", "TERMS", "RewardSet"]
