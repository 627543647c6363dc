"""The newest rollout of every environment, for learning without replay (PQN, Gallici 2025).

In: `StepBatch` rows of B environments with their actions and the actor's recurrent states. Out: `SequenceBatch`es.
Knows no torch and no game.

A rollout is `sequence_length` rows and the one after them, of all environments at the same time. While the next one
is collected the last whole one is handed out in minibatches of environments, each environment once before any comes
again; how often depends on how many batches are asked for, which is the replay ratio. With `return_filter` below 1 the
environments of the lowest returns in the rollout are left out, and the others come the more often.
"""

from __future__ import annotations

import numpy as np

from daddy_puffer.arrays import Arrays, as_json, check_like, from_json, part, under
from daddy_puffer.config import ReplayConfig
from daddy_puffer.errors import UserError
from daddy_puffer.replay.return_filter import returns_above
from daddy_puffer.replay.ring import RowRing
from daddy_puffer.types import Array, EpisodeFlag, SequenceBatch, StepBatch


class Rollouts:
    """The rollout that is collected and the one before it, in the manner of `SequenceReplay`."""

    def __init__(
        self,
        config: ReplayConfig,
        *,
        num_envs: int,
        frame_stack: int,
        structured_size: int,
        milestone_size: int,
        state_size: int,
        seed: int,
    ):
        """Reserve the memory of two rollouts."""
        self.config, self.num_envs = config, num_envs
        # the row after the older rollout is the newer one's first; frame stacks look further back
        rows = 2 * config.sequence_length + frame_stack
        self._ring = RowRing(
            num_envs=num_envs,
            rows=rows,
            frame_stack=frame_stack,
            structured_size=structured_size,
            milestone_size=milestone_size,
        )
        self._ring.allocate(None)
        self._states = np.zeros((2, num_envs, state_size), np.float32)  # before even and odd rollouts
        self._rng = np.random.default_rng(seed)
        self._number = -1  # of the rollout that is handed out
        self._queue: Array = np.zeros(0, np.int64)  # environments that it has yet to hand out
        self._kept: Array = np.arange(num_envs)  # those that it hands out at all

    def __len__(self) -> int:
        """Rows held."""
        return min(self._ring.count, self._ring.rows) * self.num_envs

    @property
    def ready(self) -> bool:
        """Whether a whole rollout is there."""
        return self._ring.count > self.config.sequence_length

    @property
    def learned_share(self) -> float:
        """Share of the newest rollout's environments that are learned from."""
        return len(self._kept) / self.num_envs

    def add(self, step: StepBatch, action: Array, state: Array) -> None:
        """Append one row of each environment; `state` f32 `[B, S]` is the recurrent state before it."""
        number, place = divmod(self._ring.count, self.config.sequence_length)
        if place == 0:
            self._states[number % 2] = state
        self._ring.write(step, action)

    def sample(self, batch_size: int) -> SequenceBatch:
        """The last whole rollout of `batch_size` environments.

        Raises:
            ValueError: there is none yet.
        """
        if not self.ready:
            raise ValueError(f"{self._ring.count} rows are held, a rollout needs {self.config.sequence_length + 1}")
        length = self.config.sequence_length
        newest = (self._ring.count - 1) // length - 1
        if newest != self._number:
            self._number, self._queue = newest, np.zeros(0, np.int64)
            self._kept = np.flatnonzero(returns_above(self._returns(newest * length), self.config.return_filter))
        while len(self._queue) < batch_size:
            self._queue = np.concatenate([self._queue, self._rng.permutation(self._kept)])
        env, self._queue = self._queue[:batch_size], self._queue[batch_size:]
        start = np.full(batch_size, newest * length)
        return SequenceBatch(
            **self._ring.windows(env, start, length + 1),
            state=self._states[newest % 2, env],
            weights=np.ones(batch_size, np.float32),
            indices=env,
            age=(self._ring.count - 1 - start) * self.num_envs,
        )

    def _returns(self, start: int) -> Array:
        """What followed the actions of the rollout from row `start` on, summed up, f64 `[num_envs]`."""
        rows = (start + 1 + np.arange(self.config.sequence_length)) % self._ring.rows
        first = self._ring.arrays["flags"][:, rows] & EpisodeFlag.FIRST.value != 0
        total: Array = np.where(first, 0.0, self._ring.arrays["reward"][:, rows].astype(np.float64)).sum(axis=1)
        return total

    def update_priorities(self, indices: Array, priorities: Array) -> None:
        """Nothing is drawn by priority."""

    def get_state(self) -> Arrays:
        """Everything, as arrays for `np.savez`; views of the live rows, to be written out before the next `add`."""
        handed_out = {"number": np.array(self._number), "queue": self._queue, "kept": self._kept}
        rng = as_json(self._rng.bit_generator.state)
        return {**under("rows", self._ring.get_state()), "states": self._states, "rng": rng, **handed_out}

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave; the settings must be the same.

        Raises:
            UserError: sizes differ, or it is that of another kind. Nothing has been changed then.
        """
        if "queue" not in state:
            raise UserError("the saved replay is of another replay.kind, or has demonstrations: resume with the same")
        check_like({"states": state["states"]}, {"states": self._states}, "the saved rollouts")
        self._ring.set_state(part(state, "rows"))
        self._states[:] = state["states"]
        self._rng.bit_generator.state = from_json(state["rng"])
        self._number, self._queue, self._kept = int(state["number"]), state["queue"], state["kept"]

    def check_valid(self) -> tuple[bool, str]:
        """Whether all parts agree; the reason if not."""
        for name, envs in (("queue", self._queue), ("kept", self._kept)):
            if envs.ndim != 1 or not np.isin(envs, np.arange(self.num_envs)).all():
                return False, f"{name} are no numbers of {self.num_envs} environments"
        if not len(self._kept):
            return False, "no environment is kept"
        return self._ring.check_valid()
