"""Sequence replay with stored recurrent states, uniform or prioritized.

In: `StepBatch` rows of B environments with their actions and the actor's recurrent states. Out: `SequenceBatch`.
Knows no torch and no game. Sources: Kapturowski 2019, section 2.3 (sequences, stored state, priorities); Schaul 2016
(proportional priorities, importance weights).

With `return_filter` below 1 the rows of episodes with low returns are masked, and what holds no other transition to
train is not drawn (`return_filter.py`); uniform draws then go through the tree too, at equal priorities.

Sequences start every `sequence_period` rows, where the recurrent state is kept, and may run over ends of episodes: the
`first` flags tell where to reset, the mask which rows are transitions. A sequence can be drawn from when its last row
has been written until the first row that it needs is overwritten.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from daddy_puffer.arrays import Arrays, as_json, check_like, from_json, part, under
from daddy_puffer.config import ReplayConfig
from daddy_puffer.errors import UserError
from daddy_puffer.numerics.priorities import importance_weights
from daddy_puffer.replay.return_filter import ReturnFilter, Stretch
from daddy_puffer.replay.ring import RowRing
from daddy_puffer.replay.sum_tree import SumTree
from daddy_puffer.types import Array, EpisodeFlag, SequenceBatch, StepBatch

_LEAST_PRIORITY = 1e-6  # a sequence without error can still be drawn
_LAYOUT = ("environments", "rows", "rows of a sequence", "sequence_period", "frame_stack", "state size")


class SequenceReplay:
    """Ring of rows for each environment, sequences of `burn_in + sequence_length + 1` rows out of it."""

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
        path: Path | None = None,
    ):
        """Reserve the memory, none of it used before rows come, or a new file where `path` lies.

        Raises:
            UserError: the capacity is too small for one sequence of each environment, or the disk for the file.
        """
        self.config, self.num_envs = config, num_envs
        self.length = config.burn_in + config.sequence_length + 1
        self._warm_up = frame_stack - 1  # rows before a sequence that its frame stacks need
        period = config.sequence_period
        rows = config.capacity // num_envs // period * period
        needed = -(-(self.length + self._warm_up + period) // period) * period
        if rows < needed:
            raise UserError(
                f"replay.capacity {config.capacity} gives each of {num_envs} environments {rows} rows, sequences need "
                f"{needed}: set it to {needed * num_envs} or more"
            )
        self._ring = RowRing(
            num_envs=num_envs,
            rows=rows,
            frame_stack=frame_stack,
            structured_size=structured_size,
            milestone_size=milestone_size,
        )
        self._ring.allocate(path)
        self._slots = rows // period  # sequence starts held by each environment
        self._states = np.zeros((num_envs, self._slots, state_size), np.float32)
        self._layout = np.array([num_envs, rows, self.length, period, frame_stack, state_size])
        filtered = config.return_filter < 1.0
        self._filter = ReturnFilter(config.return_filter, num_envs, rows) if filtered else None
        self._tree = SumTree(self._slots * num_envs) if config.prioritized or filtered else None
        # of the tree's leaves, as they are where nothing is filtered; with the exponent
        self._priorities = np.zeros(self._slots * num_envs if filtered else 0)
        self._max_priority = 1.0  # largest ever given, without exponent
        self._transitions = 0
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        """Transitions held; rows of final observations are none."""
        return self._transitions

    @property
    def ready(self) -> bool:
        """Whether learning may start: `learning_starts` transitions, and a whole sequence, are held."""
        if self._tree is not None and not self._tree.total:
            return False  # there is nothing yet, or nothing but what is filtered out
        return self._transitions >= self.config.learning_starts and self._starts().stop > 0

    @property
    def learned_share(self) -> float:
        """Share of the transitions held that are learned from; below 1 where `return_filter` leaves episodes out."""
        if self._filter is None or not self._transitions:
            return 1.0
        times = np.arange(self._ring.oldest, self._ring.count - 1)
        return float(self._filter.kept[:, times % self._ring.rows].sum() / self._transitions)

    @property
    def bytes_per_transition(self) -> float:
        """Memory of everything, divided by the rows that fit."""
        arrays = [*self._ring.arrays.values(), self._states]
        tree = self._priorities.nbytes + (0 if self._tree is None else self._tree.nbytes)
        tree += 0 if self._filter is None else self._filter.nbytes
        return (sum(array.nbytes for array in arrays) + tree) / (self.num_envs * self._ring.rows)

    def add(self, step: StepBatch, action: Array, state: Array) -> None:
        """Append one row of each environment, those of final observations too; everything is copied.

        `step` rows in the order of environments; `action` i64 `[B]` that was chosen on it; `state` f32 `[B, S]` the
        recurrent state before it.
        """
        ring, before = self._ring, self._starts()
        if ring.count >= ring.rows:
            self._transitions -= self._followers((ring.oldest + 1) % ring.rows)
        at = ring.count
        ring.write(step, action)
        if at > 0:
            self._transitions += self._followers(at % ring.rows)
        period = self.config.sequence_period
        if at % period == 0:
            self._states[:, at // period % self._slots] = state
        changed = [] if self._filter is None else self._filter.add(step, at)
        if self._tree is not None:
            self._follow(before, self._starts())
        for stretch in changed:
            self._weigh(stretch)

    def sample(self, batch_size: int) -> SequenceBatch:
        """Draw sequences, with replacement.

        Raises:
            ValueError: no whole sequence is held yet.
        """
        starts = self._starts()
        if not len(starts):
            raise ValueError(f"{self._ring.count} rows are held, a sequence needs {self.length}")
        if self._tree is not None and not self._tree.total:
            raise ValueError("no sequence is held of an episode that is learned from")
        if self._tree is None:
            number = self._rng.integers(starts.start, starts.stop, batch_size)
            env = self._rng.integers(0, self.num_envs, batch_size)
            weights = np.ones(batch_size, np.float32)
        else:
            number, env, probability = self._draw(self._tree, starts, batch_size)
            weights = importance_weights(probability, self.config.importance_sampling_exponent)
        first_row = number * self.config.sequence_period
        rows = self._ring.windows(env, first_row, self.length)
        if self._filter is not None:
            rows["mask"] &= self._filter.kept[env, (first_row + np.arange(self.length)[:, None]) % self._ring.rows]
        return SequenceBatch(
            **rows,
            state=self._states[env, number % self._slots],
            weights=weights,
            indices=number * self.num_envs + env,
            age=(self._ring.count - 1 - first_row) * self.num_envs,
        )

    def update_priorities(self, indices: Array, priorities: Array) -> None:
        """Give the sequences of a batch new priorities; those overwritten meanwhile, and uniform replay, ignore it.

        A sequence that is filtered out meanwhile has its own again when it no longer is.

        Raises:
            ValueError: a priority is negative or no finite number.
        """
        if self._tree is None or not self.config.prioritized:
            return
        starts = self._starts()
        number = indices // self.num_envs
        held = (number >= starts.start) & (number < starts.stop)
        values = np.maximum(np.asarray(priorities, np.float64)[held], _LEAST_PRIORITY)
        number, env = number[held], indices[held] % self.num_envs
        self._set(number, env, values**self.config.priority_exponent)
        self._max_priority = max(self._max_priority, values.max(initial=0.0))

    def get_state(self) -> Arrays:
        """Everything, as arrays for `np.savez`; views of the live rows, to be written out before the next `add`."""
        state = under("rows", self._ring.get_state())
        state["layout"] = self._layout
        state["states"] = self._states
        state["max_priority"] = np.array(self._max_priority)
        state["rng"] = as_json(self._rng.bit_generator.state)
        if self._filter is not None:
            state["priorities"] = self._priorities
            state |= under("filter", self._filter.get_state())
        elif self._tree is not None:
            state["priorities"] = self._tree.values
        return state

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave; the settings must be the same.

        Raises:
            UserError: sizes differ, or one of them is prioritized or filtered and the other is not; or it is that of
                another kind. Nothing has been changed then.
        """
        if "layout" not in state:
            raise UserError("the saved replay is of another replay.kind, or has demonstrations: resume with the same")
        if ("filter/episodes" in state) != (self._filter is not None):
            raise UserError(
                "only one of the saved replay and this run has a replay.return_filter: resume with the same"
            )
        if ("priorities" in state) != (self._tree is not None):
            raise UserError("the saved replay and this run differ in replay.prioritized: resume with the same setting")
        if not np.array_equal(state["layout"], self._layout):
            named = [dict(zip(_LAYOUT, layout.tolist(), strict=True)) for layout in (state["layout"], self._layout)]
            raise UserError(f"the saved replay has {named[0]}, this run {named[1]}: resume with the same settings")
        mine = self.get_state()
        names = [name for name in ("states", "max_priority", "priorities") if name in mine]
        check_like({name: state[name] for name in names}, {name: mine[name] for name in names}, "the saved replay")
        self._ring.set_state(part(state, "rows"))
        self._states[:] = state["states"]
        self._max_priority = float(state["max_priority"])
        self._rng.bit_generator.state = from_json(state["rng"])
        if self._filter is not None:
            self._filter.set_state(part(state, "filter"), self._ring.arrays["flags"], self._ring.count)
            self._priorities[:] = state["priorities"]
        if self._tree is not None:
            self._tree.set_all(state["priorities"] * self._held_leaves())
        self._transitions = self._count_transitions()

    def check_valid(self) -> tuple[bool, str]:
        """Whether all parts agree; the reason if not."""
        valid, reason = self._ring.check_valid()
        if not valid:
            return valid, reason
        counted = self._count_transitions()
        if counted != self._transitions:
            return False, f"{self._transitions} transitions are counted, {counted} are held"
        if self._tree is None:
            return True, ""
        expected = self._held_leaves()
        if not np.array_equal(self._tree.values > 0.0, expected):
            return False, "priorities are not those of the whole sequences held"
        if self._filter is not None and not np.array_equal(self._tree.values, self._priorities * expected):
            return False, "priorities are not those that the sequences have without a filter"
        if self._filter is not None:
            valid, reason = self._filter.check_valid(self._ring.arrays["flags"], self._ring.count)
        return self._tree.check_valid() if valid else (valid, reason)

    def _starts(self) -> range:
        """Numbers of the whole sequences held; number n starts at row `n * sequence_period`."""
        ring, period = self._ring, self.config.sequence_period
        earliest = ring.oldest + self._warm_up if ring.oldest else 0
        return range(-(-earliest // period), max(0, (ring.count - self.length) // period + 1))

    def _follow(self, before: range, after: range) -> None:
        """Let the tree hold the sequences of `after` instead of those of `before`."""
        assert self._tree is not None
        envs = np.arange(self.num_envs)
        for number in range(before.start, after.start):
            self._tree.set(self._leaves(number, envs), np.zeros(self.num_envs))
        for number in range(before.stop, after.stop):
            newest = self._max_priority**self.config.priority_exponent
            self._set(np.full(self.num_envs, number), envs, np.full(self.num_envs, newest))

    def _set(self, number: Array, env: Array, priority: Array) -> None:
        """Give sequences their priority, with the exponent; what is filtered out cannot be drawn."""
        assert self._tree is not None
        leaves = self._leaves(number, env)
        if self._filter is not None:
            self._priorities[leaves] = priority
            priority = priority * self._trains(number, env)
        self._tree.set(leaves, priority)

    def _weigh(self, stretch: Stretch) -> None:
        """Some rows of an environment are learned from no longer, or again: see to the sequences that train them."""
        assert self._tree is not None
        env, begin, end = stretch
        starts, period, burn_in = self._starts(), self.config.sequence_period, self.config.burn_in
        earliest = max(starts.start, -(-(begin - burn_in - self.config.sequence_length + 1) // period))
        number = np.arange(earliest, min(starts.stop, (end - 1 - burn_in) // period + 1))
        leaves = self._leaves(number, env)
        self._tree.set(leaves, self._priorities[leaves] * self._trains(number, np.full(len(number), env)))

    def _trains(self, number: Array, env: Array) -> Array:
        """Which of the sequences, i64 `[N]`, hold a row to train that is learned from."""
        assert self._filter is not None
        rows = number[:, None] * self.config.sequence_period + self.config.burn_in
        rows = (rows + np.arange(self.config.sequence_length)) % self._ring.rows
        trains: Array = self._filter.kept[env[:, None], rows].any(axis=1)
        return trains

    def _held_leaves(self) -> Array:
        """Which of the tree's leaves are those of sequences that may be drawn, bool."""
        held = np.zeros(self._slots * self.num_envs, bool)
        number = np.array(self._starts(), np.int64).repeat(self.num_envs)
        env = np.tile(np.arange(self.num_envs), len(self._starts()))
        held[self._leaves(number, env)] = True if self._filter is None else self._trains(number, env)
        return held

    def _draw(self, tree: SumTree, starts: range, batch_size: int) -> tuple[Array, Array, Array]:
        """Number, environment and probability of sequences drawn one from each equal share of the sum."""
        share = tree.total / batch_size
        leaves = tree.find((np.arange(batch_size) + self._rng.random(batch_size)) * share)
        slot, env = np.divmod(leaves, self.num_envs)
        number = starts.start + (slot - starts.start) % self._slots
        return number, env, tree.get(leaves) / tree.total

    def _leaves(self, number: Array | int, env: Array | int) -> Array:
        leaves: Array = np.asarray(number) % self._slots * self.num_envs + env
        return leaves

    def _followers(self, at: int) -> int:
        """How many of the rows in column `at` of the ring follow a transition."""
        return int(np.count_nonzero(self._ring.arrays["flags"][:, at] & EpisodeFlag.FIRST.value == 0))

    def _count_transitions(self) -> int:
        ring = self._ring
        later = np.arange(ring.oldest + 1, ring.count) % ring.rows
        return int(np.count_nonzero(ring.arrays["flags"][:, later] & EpisodeFlag.FIRST.value == 0))
