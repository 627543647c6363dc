"""What a trainer believes about each milestone, from the batches it gets anyway.

In: `StepBatch`es of all environments or of some, from whose `milestones` bits it sees when each was reached first. Out:
`ProgressRow`s, a few metrics, and an alarm. Knows no game: it gets the milestones' names, in the order of their bits.

Only episodes from the true start are trials. Those of a curriculum begin where somebody got to, mostly where it goes on
only now and then, and are short: counted among the others they hide what the agent can do, and a healthy run looks
stalled. Of an episode that was cut off from outside, which the next one's first row tells, only those milestones are
trials whose budget was over by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from daddy_puffer.arrays import Arrays, check_like
from daddy_puffer.config import ProgressConfig
from daddy_puffer.errors import UserError
from daddy_puffer.progress.alarms import MilestoneAlarm
from daddy_puffer.progress.posteriors import Bools, Posteriors, budgets_by_name, trials
from daddy_puffer.telemetry import ProgressRow
from daddy_puffer.types import SPAWN_FIELD, Array, StepBatch

# trials without progress until a milestone that is not reliable counts as stalled: so do 2 % of simulated runs that
# rise from 0 to 0.4 in 400 trials, and all that stay somewhere from 0.02 to 0.3 (tests/test_progress.py)
STALL_PATIENCE = 250


_BY_ENV = ("_length", "_from_state", "_under_way", "_spawned_with", "_reached_at")


class ProgressTracker:
    """Posteriors and alarms of all milestones; B environments."""

    def __init__(self, names: Sequence[str], config: ProgressConfig, num_envs: int) -> None:
        """Start with nothing known.

        Raises:
            UserError: the configuration names an unknown milestone.
        """
        unknown = [name for name in config.watched if name not in names]
        if unknown:
            raise UserError(f"progress.watched: no milestone is called {unknown[0]!r}")
        self._names, self._config = tuple(names), config
        self._budgets = budgets_by_name(names, config.step_budget, config.step_budgets)
        self._watched = np.array([self._names.index(name) for name in config.watched], np.int64)
        self.posteriors = Posteriors(len(names), config.forgetting)
        thresholds = (config.alarm_never, config.alarm_lost)
        self._alarms = [MilestoneAlarm(thresholds, target=config.target, forgetting=config.forgetting) for _ in names]
        self._bits: Array | None = None  # u8 [B, bytes]
        self._length = np.zeros(num_envs, np.int64)
        self._from_state = np.zeros(num_envs, bool)
        self._under_way = np.zeros(num_envs, bool)
        self._spawned_with = np.zeros((num_envs, len(names)), bool)
        self._reached_at = np.full((num_envs, len(names)), -1)

    def add(self, batch: StepBatch) -> None:
        """Take one step of some environments; the milestones of an episode that ended become trials."""
        ids, first, bits = batch.env_ids, batch.first, batch.observation["milestones"]
        if self._bits is None:
            self._bits = np.zeros((len(self._length), bits.shape[1]), np.uint8)
        for env in ids[first & self._under_way[ids] & ~self._from_state[ids]]:
            self._end(env, cut_off=True)
        changed = first | (bits != self._bits[ids]).any(axis=1)
        self._bits[ids] = bits
        self._length[ids] = np.where(first, 0, self._length[ids] + 1)
        self._from_state[ids[first]] = batch.observation["episode"][first, SPAWN_FIELD] != 0
        for row in np.flatnonzero(changed):
            env, flags = ids[row], self._flags(bits[row])
            if first[row]:
                self._spawned_with[env], self._reached_at[env] = flags, -1
            else:
                new = flags & (self._reached_at[env] < 0)
                self._reached_at[env, new] = self._length[env]
        ended = batch.terminated | batch.truncated
        self._under_way[ids] = ~ended
        for env in ids[ended & ~first & ~self._from_state[ids]]:
            self._end(env)

    @property
    def alarm(self) -> bool:
        """A watched milestone was lost, or the first of them that is not reliable seems out of reach."""
        never = self._frontier_score() > self._config.alarm_never
        return never or any(self._alarms[index].ask()[1] > self._config.alarm_lost for index in self._watched)

    def rows(self, step: int) -> list[ProgressRow]:
        """What is believed now of the watched milestones and of all others that somebody reached."""
        known = self.posteriors
        lower, upper = known.interval()
        reached = np.flatnonzero(known.successes > 0)
        scores = np.array([alarm.ask()[0] for alarm in self._alarms])
        columns = (known.alpha, known.beta, known.mean, lower, upper, scores)
        shown = dict.fromkeys([*self._watched.tolist(), *reached.tolist()])
        return [self._row(step, index, *(float(column[index]) for column in columns)) for index in shown]

    def watched_beliefs(self) -> tuple[Array, Array]:
        """Posterior mean and alarm score of the watched milestones, f64 `[W]` each."""
        scores = np.array([self._alarms[index].ask()[0] for index in self._watched])
        return self.posteriors.mean[self._watched], scores

    def next_watched(self, bits: Array) -> int:
        """Index of the first watched milestone that is not among these packed bits; W when all are."""
        missing = np.flatnonzero(~self._flags(bits)[self._watched])
        return int(missing[0]) if missing.size else len(self._watched)

    def metrics(self) -> dict[str, float]:
        """Scalars for the log."""
        stalled = self.posteriors.stalled(self._config.target, STALL_PATIENCE)[self._watched]
        reliable = (self.posteriors.mean >= self._config.target)[self._watched]
        below = self.posteriors.probability_below(self._config.target)[self._watched]
        return {
            "progress/reliable": float(reliable.sum()),
            "progress/below_target": float(below.sum()),
            "progress/stalled": float(stalled.sum()),
            "progress/alarm": float(self.alarm),
        }

    def state_dict(self) -> dict[str, Any]:
        """Plain arrays; episodes that are under way are not among them."""
        alarms = np.array([alarm.state() for alarm in self._alarms])
        return {"posteriors": self.posteriors.state_dict(), "alarms": alarms}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.posteriors.load_state_dict(state["posteriors"])
        for alarm, saved in zip(self._alarms, state["alarms"], strict=True):
            alarm.load_state(saved)

    def get_state(self) -> Arrays:
        """The episodes under way, which `state_dict` leaves out."""
        bits = {} if self._bits is None else {"_bits": self._bits}
        return {**bits, **{name: getattr(self, name) for name in _BY_ENV}}

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave.

        Raises:
            UserError: it is of other environments; nothing has been changed then.
        """
        like = {name: getattr(self, name) for name in _BY_ENV}
        if "_bits" in state:  # there are none before the first step
            like["_bits"] = np.packbits(np.zeros_like(self._spawned_with), axis=1)
        check_like(state, like, "the episodes under way")
        self._bits = state.get("_bits")
        for name in _BY_ENV:
            getattr(self, name)[:] = state[name]

    def _end(self, env: int, cut_off: bool = False) -> None:
        counted, outcome = trials(self._spawned_with[env], self._reached_at[env], self._budgets)
        if cut_off:  # successes that came before the cut would be counted, failures that did not come yet would not
            counted &= self._budgets <= self._length[env]
        self.posteriors.update(counted, outcome)
        for index in np.flatnonzero(counted):
            self._alarms[index].observe(bool(outcome[index]))

    def _frontier_score(self) -> float:
        means = self.posteriors.mean
        waiting = [index for index in self._watched if means[index] < self._config.target]
        return self._alarms[waiting[0]].ask()[0] if waiting else -np.inf

    def _row(self, step: int, index: int, *values: float) -> ProgressRow:
        alpha, beta, mean, lower, upper, score = values
        return ProgressRow(
            step=step,
            milestone=self._names[index],
            alpha=alpha,
            beta=beta,
            mean=mean,
            lower=lower,
            upper=upper,
            alarm_score=score,
        )

    def _flags(self, bits: Array) -> Bools:
        count = len(self._names)
        flags = np.zeros(count, bool)  # an environment may tell of fewer milestones than have a name
        told = np.unpackbits(bits, bitorder="little")[:count]
        flags[: len(told)] = told
        return flags
