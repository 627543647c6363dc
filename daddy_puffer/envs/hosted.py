"""`HostedGame`: what our wrappers build on, out of another project's environment of the same game.

In: an environment with the key `screen` (packed) and the emulator's memory. Out: the same environment with the key
`visited` added and the attribute `game_state`. Touches nothing: memory is only read.
"""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from daddy_puffer.envs.observation import VisitedCells, screen_shape
from daddy_puffer.errors import UserError
from daddy_puffer.game import addresses as at
from daddy_puffer.game.state import GameState, RamReader, SlicedMemory, offset
from daddy_puffer.types import VISITED_SHAPE

Observation = dict[str, NDArray[np.generic]]
_X, _Y = offset(at.X), offset(at.Y)


class HostedGame(gymnasium.Wrapper[Observation, np.int64, Observation, np.int64]):
    """See the module's text."""

    def __init__(self, env: gymnasium.Env[Observation, np.int64], memory: SlicedMemory, max_steps: int) -> None:
        """`memory`: of the emulator inside `env`; `max_steps`: after so many steps time counts from 0 again.

        Raises:
            UserError: the screen is not packed.
        """
        super().__init__(env)
        assert isinstance(env.observation_space, spaces.Dict)
        shape = env.observation_space["screen"].shape
        if shape != screen_shape(reduce_res=True, two_bit=True):
            raise UserError(f"daddy_puffer needs env.reduce_res and env.two_bit: true, the screen has shape {shape}")
        self.max_steps = max_steps
        self._reader = RamReader(memory)
        self._visited = VisitedCells()
        self._steps = 0
        self.game_state = GameState(self._reader.read())
        visited = spaces.Box(0, 1, VISITED_SHAPE, np.uint8)
        self.observation_space = spaces.Dict({**env.observation_space.spaces, "visited": visited})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode."""
        # a wrapper below may know no options; without any it need not
        observation, info = self.env.reset(seed=seed, options=options) if options else self.env.reset(seed=seed)
        self._visited.clear()
        self._steps = 0
        return self._look(observation), info

    def step(self, action: np.int64) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        if self._steps > self.max_steps:  # the host goes on with the same game; so does the map of what was visited
            self._steps = 0
        return self._look(observation), reward, terminated, truncated, info

    def _look(self, observation: Observation) -> Observation:
        ram = self._reader.read()
        cells, maps = self._visited.visit(ram[0], ram[_X], ram[_Y])
        state = self.game_state = GameState(ram, cells_visited=cells, maps_visited=maps, step=self._steps)
        shown = np.zeros(VISITED_SHAPE, np.uint8) if state.battle_kind else self._visited.around().copy()
        return {**observation, "visited": shown}
