"""`Patience`: ends an episode in which too little has been gained for a while.

In: an `EpsilonEnv`. Out: the same, truncated once the rewards above 0 of the last so many steps add up to no more than
a threshold. What an agent does after it has taken everything it knows of teaches it little; a new episode lets it try
the way again. The threshold keeps a trickle (a hit in a wild battle now and then) from buying time. As a truncation it
leaves values alone: they are bootstrapped. For training only; pokemonred_puffer calls this `early_stop`.
"""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium
import numpy as np

from daddy_puffer.arrays import Arrays
from daddy_puffer.errors import UserError
from daddy_puffer.types import FLAGS_FIELD, EpisodeFlag
from daddy_puffer.wrappers.epsilon import Observation


class Patience(gymnasium.Wrapper[Observation, np.int64, Observation, np.int64]):
    """See the module's text."""

    def __init__(self, env: gymnasium.Env[Observation, np.int64], steps: int, reward: float = 0.0) -> None:
        """`steps` over which more than `reward` must be gained (only rewards above 0 count)."""
        super().__init__(env)
        self._steps = steps
        self._reward = reward
        self._gains = [0.0] * steps
        self._gained = 0.0  # their sum
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode, patiently."""
        self._gains = [0.0] * self._steps
        self._gained = 0.0
        self._step = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: np.int64) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step; truncate when patience is at its end."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        gain = max(float(reward), 0.0)
        oldest = self._step % self._steps
        if gain != self._gains[oldest]:  # mostly both are 0; added up anew, so that no rounding is left over
            self._gains[oldest] = gain
            self._gained = sum(self._gains)
        self._step += 1
        if self._at_its_end() and not (terminated or truncated):
            truncated = True
            observation["episode"][FLAGS_FIELD] |= EpisodeFlag.TRUNCATED
            info = {**info, **self.env.get_wrapper_attr("summary")()}
        return observation, reward, terminated, truncated, info

    def get_state(self) -> Arrays:
        """What was gained of late, and when."""
        return {"gains": np.array(self._gains, np.float64), "step": np.array(self._step)}

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave.

        Raises:
            UserError: it was of another number of steps.
        """
        if len(state["gains"]) != self._steps:
            raise UserError(f"the episodes had a patience of {len(state['gains'])} steps, this run's is {self._steps}")
        self._gains, self._step = state["gains"].tolist(), int(state["step"])
        self._gained = sum(self._gains)

    def _at_its_end(self) -> bool:
        return self._step >= self._steps and self._gained <= self._reward
