"""Replay of demonstrations: no row of it is overwritten by others; sequences within one episode each.

In: `DemoRows` of whole episodes. Out: `SequenceBatch`es whose rows are all demonstrated. Knows no torch and no game.
Sources: Paine 2019 (R2D3: a replay of its own, a share of each batch), Hester 2018 (DQfD).

Drawn evenly, every start of a sequence alike: a few thousand rows are soon seen many times. An episode lies behind
`burn_in` rows of padding, so that its first rows are trained as well, and before as many as its last sequence needs;
padding begins an episode in every row, which makes it no transition and keeps memories empty.

Recurrent states at the starts are recomputed from the episodes' beginnings by `refresh`. Beginning from zeros instead
would show the network a state in the midst of an episode that it never plays from, and `burn_in` is too short to
leave that behind (Kapturowski 2019, section 2.3, finds stored states better than zeros).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from daddy_puffer.arrays import Arrays, as_json, from_json, part, under
from daddy_puffer.config import ReplayConfig
from daddy_puffer.replay.ring import RowRing
from daddy_puffer.types import Array, SequenceBatch, StepBatch

# frames, structured, visited, first `[T, B, ...]` and the state before them f32 `[B, S]` -> the state after them
Unroll = Callable[[Array, Array, Array, Array, Array], Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRows:
    """One episode: T actions, and what was seen before each and after the last."""

    seen: dict[str, Array]  # `[T + 1, ...]`: frames (u8 `[T + 1, 72, 20]`, the newest), visited, structured, milestones
    action: Array  # i64 [T]
    reward: Array  # f32 [T], followed the action
    terminated: bool  # it ended by itself; else it was cut off, and its last observation has a value
    imitated: Array | None = None  # bool [T]: actions to imitate, the others are only experience; None = all

    def to_arrays(self) -> Arrays:
        """As arrays for `np.savez`."""
        imitated = np.ones(len(self.action), bool) if self.imitated is None else self.imitated
        own = {"action": self.action, "reward": self.reward, "imitated": imitated}
        return {**under("seen", self.seen), **own, "terminated": np.array(self.terminated)}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> DemoRows:
        """The inverse of `to_arrays`."""
        own = {name: arrays[name] for name in ("action", "reward", "imitated")}
        return cls(seen=part(arrays, "seen"), terminated=bool(arrays["terminated"]), **own)


class DemoReplay:
    """See the module's text."""

    def __init__(
        self,
        config: ReplayConfig,
        *,
        lengths: Array,
        frame_stack: int,
        structured_size: int,
        milestone_size: int,
        state_size: int,
        seed: int,
    ):
        """Reserve the memory; `lengths` i64 `[E]`: actions of each episode that will come, at most."""
        self.config = config
        self.length = config.burn_in + config.sequence_length + 1
        self._sizes = {
            "frame_stack": frame_stack,
            "structured_size": structured_size,
            "milestone_size": milestone_size,
        }
        self._state_size = state_size
        self._rng = np.random.default_rng(seed)
        self._ring = self._new_ring(lengths)
        self._starts: Array = np.zeros(0, np.int64)  # rows where sequences start, episode by episode
        self._place: Array = np.zeros(0, np.int64)  # of each the number within its episode
        self._states: Array = np.zeros((0, state_size), np.float32)
        self._imitated: Array = np.zeros(self._ring.rows, bool)  # by row
        self._transitions = 0

    def __len__(self) -> int:
        """Transitions held."""
        return self._transitions

    @property
    def sequences(self) -> int:
        """Starts that are drawn from."""
        return len(self._starts)

    def add(self, episode: DemoRows) -> None:
        """Append an episode; recurrent states are zeros until `refresh`."""
        steps = len(episode.action)
        count, rows = self._padded(steps)
        begin = self._ring.count
        period = self.config.sequence_period
        for row in range(rows):
            self._write(episode, row - self.config.burn_in)
        self._starts = np.concatenate([self._starts, begin + period * np.arange(count)])
        self._place = np.concatenate([self._place, np.arange(count)])
        self._states = np.concatenate([self._states, np.zeros((count, self._state_size), np.float32)])
        self._transitions += steps
        shown = np.ones(steps, bool) if episode.imitated is None else episode.imitated
        self._imitated[begin + self.config.burn_in :][:steps] = shown

    def replace(self, episodes: Sequence[DemoRows]) -> None:
        """Forget all that is held, and hold these."""
        self._ring = self._new_ring(np.array([len(episode.action) for episode in episodes], np.int64))
        self._starts, self._place, self._states = self._starts[:0], self._place[:0], self._states[:0]
        self._imitated = np.zeros(self._ring.rows, bool)
        self._transitions = 0
        for episode in episodes:
            self.add(episode)

    def sample(self, batch_size: int) -> SequenceBatch:
        """Draw sequences evenly, with replacement.

        Raises:
            ValueError: nothing is held.
        """
        if not self.sequences:
            raise ValueError("no demonstration is held")
        number = self._rng.integers(0, self.sequences, batch_size)
        return SequenceBatch(
            **self._ring.windows(np.zeros_like(number), self._starts[number], self.length),
            state=self._states[number],
            weights=np.ones(batch_size, np.float32),
            indices=np.full(batch_size, -1),
            age=np.zeros(batch_size, np.int64),
            demonstrated=self._imitated[self._starts[number] + np.arange(self.length)[:, None]],
        )

    def refresh(self, unroll: Unroll) -> None:
        """Recompute the recurrent states at all starts, all episodes side by side."""
        period = self.config.sequence_period
        for place in range(int(self._place.max(initial=-1))):
            number = np.flatnonzero(self._place == place)
            goes_on = (number + 1 < self.sequences) & (self._place[(number + 1) % self.sequences] == place + 1)
            number = number[goes_on]
            rows = self._ring.windows(np.zeros_like(number), self._starts[number], period)
            seen = (rows["frames"], rows["structured"], rows["visited"], rows["first"])
            self._states[number + 1] = unroll(*seen, self._states[number])

    def get_state(self) -> Arrays:
        """Everything, as arrays for `np.savez`; views, to be written out before the next `add`."""
        return {
            **under("rows", self._ring.get_state()),
            "starts": self._starts,
            "place": self._place,
            "states": self._states,
            "imitated": self._imitated,
            "transitions": np.array(self._transitions),
            "rng": as_json(self._rng.bit_generator.state),
        }

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave; but demonstrations that were read anew, and are others, stay.

        Raises:
            UserError: their observations are of another size; nothing has been changed then.
        """
        rows = part(state, "rows")
        known = self._ring.get_state() if self.sequences else {}
        if any(not np.array_equal(rows[name], array) for name, array in known.items()):
            return
        ring = RowRing(num_envs=1, rows=len(state["imitated"]), **self._sizes)
        ring.allocate(None)
        ring.set_state(rows)
        self._ring = ring
        self._starts, self._place, self._states = (state[name].copy() for name in ("starts", "place", "states"))
        self._imitated, self._transitions = state["imitated"].copy(), int(state["transitions"])
        self._rng.bit_generator.state = from_json(state["rng"])

    def check_valid(self) -> tuple[bool, str]:
        """Whether all parts agree; the reason if not."""
        if self._ring.count > self._ring.rows:
            return False, f"{self._ring.count} rows were written, {self._ring.rows} fit"
        if not self._place.shape == self._starts.shape == self._states.shape[:1]:
            return False, "not every sequence has its place and its state"
        if self.sequences and min(self._starts.min(), self._place.min()) < 0:
            return False, "a sequence starts before the first row"
        if self.sequences and self._starts.max() + self.length > self._ring.count:
            return False, "a sequence reaches beyond the last row"
        return self._ring.check_valid()

    def _new_ring(self, lengths: Array) -> RowRing:
        """With room for episodes of so many actions."""
        rows = sum(self._padded(int(length))[1] for length in lengths)
        ring = RowRing(num_envs=1, rows=max(1, rows), **self._sizes)
        ring.allocate(None)
        return ring

    def _padded(self, steps: int) -> tuple[int, int]:
        """Sequences of an episode of so many actions, each with a transition to train, and rows with the padding."""
        period = self.config.sequence_period
        count = -(-steps // period)
        return count, max((count - 1) * period + self.length, self.config.burn_in + steps + 1)

    def _write(self, episode: DemoRows, t: int) -> None:
        """Row t of an episode: padding below 0 and above T."""
        steps = len(episode.action)
        inside = 0 <= t <= steps
        at = min(max(t, 0), steps)
        seen = {name: array[at][None] for name, array in episode.seen.items()}
        seen["frames"] = seen["frames"][:, None]
        ended = np.array([t == steps])
        step = StepBatch(
            observation=seen,
            reward=np.array([episode.reward[t - 1] if inside and t else 0.0], np.float32),
            terminated=ended & episode.terminated,
            truncated=ended & (not episode.terminated),
            first=np.array([t <= 0 or not inside]),
            env_ids=np.zeros(1, np.int64),
            infos=[],
        )
        self._ring.write(step, np.array([episode.action[t] if 0 <= t < steps else 0]))
