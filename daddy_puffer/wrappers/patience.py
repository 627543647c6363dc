"""`Patience`: ends an episode in which nothing has been gained for a while.

In: an `EpsilonEnv`. Out: the same, truncated once so many steps in a row have brought no reward above 0. What an agent
does after it has taken everything it knows of teaches it little; a new episode lets it try the way again. As a
truncation it leaves values alone: they are bootstrapped. For training only; pokemonred_puffer calls this `early_stop`.
"""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium
import numpy as np

from daddy_puffer.types import EpisodeFlag
from daddy_puffer.wrappers.epsilon import Observation

FLAGS_FIELD = 3  # of observation["episode"]


class Patience(gymnasium.Wrapper[Observation, np.int64, Observation, np.int64]):
    """See the module's text."""

    def __init__(self, env: gymnasium.Env[Observation, np.int64], steps: int) -> None:
        """`steps` without reward above 0 that are waited."""
        super().__init__(env)
        self._steps = steps
        self._waited = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode, patiently."""
        self._waited = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: np.int64) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step; truncate when patience is at its end."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._waited = 0 if float(reward) > 0.0 else self._waited + 1
        if self._waited >= self._steps and not (terminated or truncated):
            truncated = True
            observation["episode"][FLAGS_FIELD] |= EpisodeFlag.TRUNCATED
            info = {**info, **self.env.get_wrapper_attr("summary")()}
        return observation, reward, terminated, truncated, info
