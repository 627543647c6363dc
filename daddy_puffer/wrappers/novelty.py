"""`Novelty`: pays for cells of the map that all environments together have seldom been to.

In: an `EpsilonEnv`. Out: the same observation with `ledger[2]` = r_novel, and `weight * r_novel` more reward.

r_novel is `1 / sqrt(n)` when the player steps on a cell (map, x, y) for the first time in an episode, n being the
episodes of all environments that have been there, this one included; 0 otherwise. So a cell nobody knew pays 1, and
going to and fro pays nothing. Source: the count bonus of Strehl & Littman 2008 over cells, as in Bellemare 2016; the
product of an episodic and a lifelong part as in Badia 2020 (NGU).
"""

from __future__ import annotations

import functools
import multiprocessing
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from numpy.typing import NDArray

from daddy_puffer.game.state import GameState
from daddy_puffer.wrappers.epsilon import Observation

CELLS = 1 << 20  # counts held, 4 MiB: 256 maps of 64 x 64 cells; larger maps, of which there are few, share some
LEDGER_FIELD = 2


class VisitCounts:
    """How many episodes have been to each cell; shared by all processes forked or spawned with it.

    Two processes may count the same cell at the same time and lose one of the counts, which does no harm.
    """

    def __init__(self) -> None:
        """Nobody has been anywhere."""
        self._shared = multiprocessing.RawArray("I", CELLS)

    @property
    def counts(self) -> NDArray[np.uint32]:
        """U32 `[CELLS]`, a view of the shared memory."""
        return np.frombuffer(self._shared, np.uint32)

    def add(self, map_id: int, x: int, y: int) -> int:
        """Count one more episode; returns how many it are now."""
        index = map_id << 12 | (y & 63) << 6 | x & 63
        self._shared[index] += 1
        return self._shared[index]


@functools.cache
def run_wide_counts() -> VisitCounts:
    """One table for this process and those it forks after the first call."""
    return VisitCounts()


class Novelty(gymnasium.Wrapper[Observation, np.int64, Observation, np.int64]):
    """See the module's text."""

    def __init__(
        self, env: gymnasium.Env[Observation, np.int64], weight: float = 1.0, counts: VisitCounts | None = None
    ) -> None:
        """`weight` of r_novel in the reward; `counts` shared among environments, by default `run_wide_counts`."""
        super().__init__(env)
        self._weight = weight
        self._visits = run_wide_counts() if counts is None else counts
        self._cells = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; its first cell is not paid."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._cells = self._state.cells_visited
        return observation, info

    def step(self, action: np.int64) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, and pay for a cell that is new in this episode."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        state = self._state
        if state.cells_visited > self._cells:
            novelty = self._visits.add(state.map_id, *state.position) ** -0.5
            observation["ledger"][LEDGER_FIELD] = novelty
            reward = float(reward) + self._weight * novelty
        self._cells = state.cells_visited
        return observation, reward, terminated, truncated, info

    @property
    def _state(self) -> GameState:
        return self.env.get_wrapper_attr("game_state")
