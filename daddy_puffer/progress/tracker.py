"""What a trainer believes about each milestone, from the batches it gets anyway.

In: one `StepBatch` a step, from whose `milestones` bits it sees when each was reached first. Out: `ProgressRow`s, a few
metrics, and an alarm. Knows no game: it gets the milestones' names, in the order of their bits.

Only episodes from the true start are trials. Those of a curriculum begin where somebody got to, mostly where it goes on
only now and then, and are short: counted among the others they hide what the agent can do, and a healthy run looks
stalled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from daddy_puffer.config import ProgressConfig
from daddy_puffer.errors import UserError
from daddy_puffer.progress.alarms import MilestoneAlarm
from daddy_puffer.progress.posteriors import Bools, Posteriors, budgets_by_name, trials
from daddy_puffer.telemetry import ProgressRow
from daddy_puffer.types import SPAWN_FIELD, Array, StepBatch

# trials without progress until a milestone that is not reliable counts as stalled: so do 2 % of simulated runs that
# rise from 0 to 0.4 in 400 trials, and all that stay somewhere from 0.02 to 0.3 (tests/test_progress.py)
STALL_PATIENCE = 250


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
        self._spawned_with = np.zeros((num_envs, len(names)), bool)
        self._reached_at = np.full((num_envs, len(names)), -1)

    def add(self, batch: StepBatch) -> None:
        """Take one step of every environment; the milestones of an episode that ended become trials."""
        bits = batch.observation["milestones"]
        changed = batch.first.copy() if self._bits is None else batch.first | (bits != self._bits).any(axis=1)
        self._bits = bits.copy()
        self._length += 1
        self._length[batch.first] = 0
        self._from_state[batch.first] = batch.observation["episode"][batch.first, SPAWN_FIELD] != 0
        for row in np.flatnonzero(changed):
            flags = self._flags(bits[row])
            if batch.first[row]:
                self._spawned_with[row], self._reached_at[row] = flags, -1
            else:
                new = flags & (self._reached_at[row] < 0)
                self._reached_at[row, new] = self._length[row]
        for row in np.flatnonzero((batch.terminated | batch.truncated) & ~batch.first & ~self._from_state):
            self._end(row)

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

    def _end(self, row: int) -> None:
        counted, outcome = trials(self._spawned_with[row], self._reached_at[row], self._budgets)
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
