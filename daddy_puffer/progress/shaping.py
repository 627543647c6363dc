"""Potential-based shaping: a bonus for milestones that leaves the best policy as it is.

In: potentials before and after a step. Out: the shaping reward. Knows no environment.

F(s, s') = gamma Phi(s') - Phi(s) with Phi = 0 after the end: then Q'* = Q* - Phi, and the same actions are best (Ng,
Harada & Russell 1999, theorem 1). A truncated episode goes on where nobody looks, so its last state keeps its Phi.
Phi may change between episodes: the theorem holds for potentials of state and time (Devlin & Kudenko 2012). It does
not hold where the learner rescales values (`learner.value_rescaling`), which are then not those of the sum of rewards.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def shaping_reward(before: float, after: float, gamma: float, terminated: bool) -> float:
    """F of one step; `before`, `after`: Phi of the state that was left and of the one that was entered."""
    return (0.0 if terminated else gamma * after) - before


def potential(reached: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """Phi: the sum of the weights of the milestones that are reached. Both `[M]`."""
    return float(weights[reached].sum())
