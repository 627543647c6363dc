"""`GameBoys`: a `VecGameBoy` as PufferLib's own kind of environment, whose agents are the emulators.

In: a ROM, actions i64 `[N]`. Out: pictures u8 `[N, height, width]`, rewards of 0: there is no game knowledge here, and
no end. Knows no configuration. `pufferlib.vector.make(GameBoys, env_kwargs={"num_envs": 8}, backend=Serial)` steps
eight; with `backend=Multiprocessing` and `num_envs=2` each of two processes does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pufferlib
from pufferlib.environment import PufferEnv

from daddy_puffer.envs.batched import VecGameBoy
from daddy_puffer.types import Action, Array


class GameBoys(PufferEnv):
    """See the module's text. It plays on for ever; the seed of `reset` turns no dice."""

    def __init__(self, rom: str | Path = "", num_envs: int = 1, frame_skip: int = 24, **settings: Any) -> None:
        """As `VecGameBoy`.

        Raises:
            UserError: ROM or state missing or damaged, a number out of range.
        """
        self.games = VecGameBoy(rom, num_envs, frame_skip, **settings)
        count, *shape = self.games.obs_shape()
        self.num_agents = count
        self.single_observation_space = gymnasium.spaces.Box(0, 255, tuple(shape), np.uint8)
        self.single_action_space = gymnasium.spaces.Discrete(len(Action))
        self.emulated = pufferlib.namespace(
            observation_dtype=np.dtype(np.uint8), emulated_observation_dtype=np.dtype(np.uint8)
        )
        self.done = False
        self.buf = pufferlib.namespace(  # whoever steps several of them puts a part of a larger one here
            observations=np.zeros((count, *shape), np.uint8),
            rewards=np.zeros(count, np.float32),
            terminals=np.zeros(count, bool),
            truncations=np.zeros(count, bool),
            masks=np.ones(count, bool),
        )

    def reset(self, seed: int | None = None) -> tuple[Array, dict[str, Any]]:
        """Bring all to the initial state."""
        self.games.reset(self.buf.observations)
        self._nothing_else()
        return self.buf.observations, {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Press a button each."""
        self.games.step(np.asarray(actions).reshape(-1), self.buf.observations)
        self._nothing_else()
        return self.buf.observations, self.buf.rewards, self.buf.terminals, self.buf.truncations, {}

    def close(self) -> None:
        """Switch all off; may be called twice."""
        self.games.close()

    def _nothing_else(self) -> None:
        """No reward and no end."""
        self.buf.rewards[:] = 0.0
        self.buf.terminals[:] = self.buf.truncations[:] = False
        self.buf.masks[:] = True
