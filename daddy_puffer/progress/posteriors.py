"""Beta-Bernoulli posteriors of how likely each milestone is reached within its budget of steps.

In: trials of M milestones. Out: means, intervals, alarms, and what curiosity makes of them (`swarm/sampling.py` has the
curricula). Knows no game and no files.

A trial of milestone m is an episode from the true start that began without m: Y = 1 if m was reached within T_m steps,
else 0. An episode that ended before is a failure too: some are truncated because they lead nowhere, and to leave them
out would be biased. So budgets should be no longer than episodes are meant to be.
theta_m = P(Y = 1) ~ Beta(alpha, beta); before each trial what was learned from the earlier ones is multiplied by
`forgetting` f (the power prior of Ibrahim & Chen 2000; discounted counts as in Raj & Kalyani 2017), so that
alpha + beta <= prior + 1 / (1 - f), and the posterior follows a policy that changes.

All numbers lie in one table, which may be memory shared by processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv

from daddy_puffer.errors import UserError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

WINDOW = 64  # trials whose rate is compared with the best there was
PROGRESS = 0.1  # of trials more than the best that succeed: that is called progress, less is mostly chance
PRIOR_ALPHA = PRIOR_BETA = 1.0  # uniform
_SUCCESSES, _FAILURES, _TRIALS, _IDLE, _RING = 0, 1, 2, 3, 4  # columns; the ring holds the last outcomes
_BEST = _RING + WINDOW
COLUMNS = _BEST + 1


def budgets_by_name(names: Sequence[str], default: int, special: Mapping[str, int]) -> NDArray[np.int64]:
    """Budget of steps of each milestone, i64 `[M]`.

    Raises:
        UserError: `special` names a milestone that is not in `names`.
    """
    for name in special:
        if name not in names:
            close = get_close_matches(name, names, n=1)
            hint = f": did you mean {close[0]}?" if close else ""
            raise UserError(f"no milestone is called {name!r}{hint}")
    return np.array([special.get(name, default) for name in names], np.int64)


def trials(spawned_with: Bools, reached_at: NDArray[np.int64], budgets: NDArray[np.int64]) -> tuple[Bools, Bools]:
    """Which milestones an episode that ended was a trial of, and with which outcome. All `[M]`.

    `reached_at`: step at which each milestone was reached first, 1 = the first action; -1 = not at all.
    """
    counted = ~spawned_with
    return counted, counted & (reached_at >= 0) & (reached_at <= budgets)


class Posteriors:
    """See the module's text. Arrays by milestone are f64 `[M]`."""

    def __init__(self, count: int, forgetting: float = 0.95, table: Floats | None = None) -> None:
        """`count` milestones; forgetting 0.95 foretold best in `benchmarks/progress_backends.py`.

        `table` f64 `[M, COLUMNS]` of zeros or of an earlier run, by default a new one.
        """
        self.forgetting = forgetting
        self.table = np.zeros((count, COLUMNS)) if table is None else table
        assert self.table.shape == (count, COLUMNS)

    def update(self, counted: Bools, outcome: Bools) -> None:
        """Take one trial of the milestones that are `counted`. Both `[M]`."""
        rows = self.table[counted]
        if not len(rows):
            return
        won = outcome[counted]
        rows[:, : _FAILURES + 1] *= self.forgetting
        rows[:, _SUCCESSES] += won
        rows[:, _FAILURES] += ~won
        place = (rows[:, _TRIALS] % WINDOW).astype(np.int64)
        rows[np.arange(len(rows)), _RING + place] = won
        rows[:, _TRIALS] += 1
        rate = rows[:, _RING:_BEST].mean(axis=1)
        better = rate > rows[:, _BEST] + PROGRESS
        rows[:, _BEST] = np.where(better, rate, rows[:, _BEST])
        rows[:, _IDLE] = np.where(better, 0, rows[:, _IDLE] + 1)
        self.table[counted] = rows

    @property
    def alpha(self) -> Floats:
        """First parameter of each Beta: successes, discounted, and the prior's."""
        return self.table[:, _SUCCESSES] + PRIOR_ALPHA

    @property
    def beta(self) -> Floats:
        """Second parameter: failures, discounted, and the prior's."""
        return self.table[:, _FAILURES] + PRIOR_BETA

    @property
    def successes(self) -> Floats:
        """Successes, discounted."""
        return self.table[:, _SUCCESSES].copy()

    @property
    def trial_count(self) -> Floats:
        """Trials so far, not discounted."""
        return self.table[:, _TRIALS].copy()

    @property
    def mean(self) -> Floats:
        """E theta."""
        return self.alpha / (self.alpha + self.beta)

    def interval(self, confidence: float = 0.95) -> tuple[Floats, Floats]:
        """Equal-tailed credible interval of theta: lower and upper bounds."""
        tail = 0.5 * (1.0 - confidence)
        alpha, beta = self.alpha, self.beta
        return betaincinv(alpha, beta, tail), betaincinv(alpha, beta, 1.0 - tail)

    def probability_below(self, target: float) -> Floats:
        """P(theta < target)."""
        return betainc(self.alpha, self.beta, target)

    def stalled(self, target: float, patience: int) -> Bools:
        """No progress for `patience` trials although the milestone is not reliable (mean below `target`).

        Progress is a new best of the share of successes among the last `WINDOW` trials, by `PROGRESS`. So whoever comes
        back from a loss is stalled until its mean has reached `target`, or it is better than ever.
        """
        return (self.table[:, _IDLE] >= max(patience, WINDOW)) & (self.mean < target)

    def curiosity(self) -> Floats:
        """1 - lower 95 % bound: near 1 where theta is low or uncertain, near 0 where a milestone is reliable."""
        return 1.0 - self.interval()[0]

    def state_dict(self) -> dict[str, Any]:
        """Plain arrays."""
        return {"table": self.table.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`, in place."""
        table = state["table"]
        if table.shape[1] == _BEST:  # of an earlier version
            table = np.pad(table, ((0, 0), (0, 1)))
        self.table[:] = table
