"""`Novelty`: pays for cells of the map that were seldom visited.

In: an `EpsilonEnv`. Out: the same observation with `ledger[2]` = r_novel, and `weight * r_novel` more reward.

A cell is (map, x, y), or with `milestones` (map, x, y, milestones held), so that known ground counts anew when the
story goes on. r_novel is 0 but where the player comes onto a cell, there it is

scope swarm     1 / sqrt(n) at the first time in an episode, n being the episodes of all environments that have been
                there, this one included: a cell nobody knew pays 1, and going to and fro pays nothing
scope episode   1 / sqrt(n) at the n-th time in this episode: every episode begins from nothing

and `first` more where no environment has ever been. Source: the count bonus of Strehl & Littman 2008 over cells, as in
Bellemare 2016; an episodic and a lifelong part as in Badia 2020 (NGU).
"""

from __future__ import annotations

import functools
import multiprocessing
import zlib
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from numpy.typing import NDArray

from daddy_puffer.arrays import Arrays
from daddy_puffer.errors import UserError
from daddy_puffer.game.state import GameState
from daddy_puffer.wrappers.epsilon import Observation, owner

CELLS = 1 << 20  # counts held, 4 MiB: 256 maps of 64 x 64 cells; larger maps, of which there are few, share some
EPISODE_CELLS = 1 << 16  # counts held of one episode; the cells first visited are forgotten first
LEDGER_FIELD = 2
SCOPES = ("swarm", "episode")


def cell_index(map_id: int, x: int, y: int, context: int = 0) -> int:
    """Which count is the cell's; cells of one `context` below `CELLS` have counts of their own.

    Those of two contexts may share one by chance, about once in CELLS / number of cells known.
    """
    return (map_id << 12 | (y & 63) << 6 | x & 63) ^ context


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

    def add(self, index: int) -> int:
        """Count one more episode in cell `index`; returns how many it are now."""
        self._shared[index] += 1
        return self._shared[index]

    def state_dict(self) -> dict[str, Any]:
        """The cells where somebody has been: `index` and `count`, i64 `[N]`."""
        counts = self.counts
        index = np.flatnonzero(counts)
        return {"index": index, "count": counts[index].astype(np.int64)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned; every process that shares the counts sees it."""
        counts = self.counts
        counts[:] = 0
        counts[state["index"]] = state["count"]


@functools.cache
def run_wide_counts() -> VisitCounts:
    """One table for this process and those it forks after the first call."""
    return VisitCounts()


class Novelty(gymnasium.Wrapper[Observation, np.int64, Observation, np.int64]):
    """See the module's text."""

    def __init__(
        self,
        env: gymnasium.Env[Observation, np.int64],
        weight: float = 1.0,
        counts: VisitCounts | None = None,
        *,
        scope: str = "swarm",
        first: float = 0.0,
        milestones: bool = False,
    ) -> None:
        """`weight` of r_novel in the reward; `counts` shared among environments, by default `run_wide_counts`.

        Raises:
            UserError: there is no such scope.
        """
        super().__init__(env)
        if scope not in SCOPES:
            raise UserError(f"Novelty's scope must be one of {SCOPES}, got {scope!r}")
        self.weight, self._first, self._per_episode, self._milestones = weight, first, scope == "episode", milestones
        self._visits = run_wide_counts() if counts is None else counts
        self._game = owner(env, "game_state")
        self._here = -1
        self._times: dict[int, int] = {}  # the player came onto a cell in this episode
        self._flags, self._context = b"", 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; its first cell is not paid."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._times.clear()
        self._here = self._cell(observation)
        self._times[self._here] = 1
        return observation, info

    def step(self, action: np.int64) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, and pay for the cell that the player came onto."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        cell = self._cell(observation)
        if cell != self._here:
            self._here = cell
            novelty = self._arrive(cell)
            observation["ledger"][LEDGER_FIELD] = novelty
            reward = float(reward) + self.weight * novelty
        return observation, reward, terminated, truncated, info

    def get_state(self) -> Arrays:
        """Where the player is, and came how often in this episode; what all environments count is not part of it."""
        times = np.array(list(self._times.items()), np.int64).reshape(-1, 2)
        return {"here": np.array(self._here), "times": times}

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave."""
        self._here = int(state["here"])
        self._times = dict(state["times"].tolist())

    def _cell(self, observation: Observation) -> int:
        if self._milestones:
            flags = observation["milestones"].tobytes()
            if flags != self._flags:
                self._flags, self._context = flags, zlib.crc32(flags) % CELLS
        state: GameState = self._game.game_state
        return cell_index(state.map_id, *state.position, self._context)

    def _arrive(self, cell: int) -> float:
        """r_novel for coming onto `cell`."""
        times = self._times.get(cell, 0) + 1
        if times == 1 and len(self._times) >= EPISODE_CELLS:
            del self._times[next(iter(self._times))]
        self._times[cell] = times
        if times > 1:
            return times**-0.5 if self._per_episode else 0.0
        episodes = self._visits.add(cell)
        bonus = 1.0 if self._per_episode else episodes**-0.5
        return bonus + self._first if episodes == 1 else bonus
