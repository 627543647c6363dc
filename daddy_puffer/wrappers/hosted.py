"""`EpsilonEnv` for a host whose own policies and wrappers read other keys: it adds its own, and takes none away.

A reward that is no finite number would poison the host's running totals and its network: it counts as 0 here.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces

from daddy_puffer.wrappers.epsilon import EpsilonEnv, Observation


class HostedEpsilonEnv(EpsilonEnv):
    """See the module's text."""

    def __init__(self, env: gymnasium.Env[Observation, np.int64], frame_stack: int = 1) -> None:
        """`frame_stack`: frames the policy sees at once."""
        super().__init__(env, frame_stack)
        assert isinstance(env.observation_space, spaces.Dict) and isinstance(self.observation_space, spaces.Dict)
        self.observation_space = spaces.Dict({**env.observation_space.spaces, **self.observation_space.spaces})

    def step(self, action: np.int64) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step; a reward that is no finite number becomes 0."""
        observation, reward, terminated, truncated, info = super().step(action)
        if not math.isfinite(float(reward)):
            warnings.warn(f"the reward is {reward}: counted as 0", RuntimeWarning, stacklevel=2)
            reward = 0.0
            ledger = observation["ledger"].copy()
            ledger[0] = 0.0
            observation["ledger"] = ledger
        return observation, reward, terminated, truncated, info

    def _observe(self, observation: Observation, action: int | None, reward: float, flags: int) -> Observation:
        return {**observation, **super()._observe(observation, action, reward, flags)}
