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
from scipy.special import betainc, betaincinv, betaln

from daddy_puffer.errors import UserError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

HALF_WINDOW = 32  # trials that are compared with as many before them
PROGRESS_PROBABILITY = 0.9  # P(newer half better than older half) from where on it is called progress
PRIOR_ALPHA = PRIOR_BETA = 1.0  # uniform
_SUCCESSES, _FAILURES, _TRIALS, _IDLE, _RING = 0, 1, 2, 3, 4  # columns; the ring holds the last outcomes
COLUMNS = _RING + 2 * HALF_WINDOW


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
        place = (rows[:, _TRIALS] % (2 * HALF_WINDOW)).astype(np.int64)
        rows[np.arange(len(rows)), _RING + place] = won
        rows[:, _TRIALS] += 1
        rows[:, _IDLE] = np.where(improved(rows) > PROGRESS_PROBABILITY, 0, rows[:, _IDLE] + 1)
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
        """No progress for `patience` trials although the milestone is not reliable (mean below `target`)."""
        return (self.table[:, _IDLE] >= max(patience, 2 * HALF_WINDOW)) & (self.mean < target)

    def curiosity(self) -> Floats:
        """1 - lower 95 % bound: near 1 where theta is low or uncertain, near 0 where a milestone is reliable."""
        return 1.0 - self.interval()[0]

    def state_dict(self) -> dict[str, Any]:
        """Plain arrays."""
        return {"table": self.table.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`, in place."""
        self.table[:] = state["table"]


def improved(rows: Floats) -> Floats:
    """P(theta of the last `HALF_WINDOW` trials > theta of those before) by row of a table, f64 `[R]`; 0.5 = unknown."""
    count = rows[:, _TRIALS].astype(np.int64)
    age = (count[:, None] - 1 - np.arange(2 * HALF_WINDOW)) % (2 * HALF_WINDOW)  # 0 = the newest place of the ring
    newer = age < HALF_WINDOW
    won = rows[:, _RING:]
    wins_new, wins_old = (won * newer).sum(axis=1), (won * ~newer).sum(axis=1)
    probability = beta_greater(1 + wins_new, 1 + HALF_WINDOW - wins_new, 1 + wins_old, 1 + HALF_WINDOW - wins_old)
    return np.where(count >= 2 * HALF_WINDOW, probability, 0.5)


def beta_greater(alpha: Floats, beta: Floats, other_alpha: Floats, other_beta: Floats) -> Floats:
    """P(X > Z) for X ~ Beta(alpha, beta), Z ~ Beta(other_alpha, other_beta); `alpha` integers up to HALF_WINDOW + 1.

    The sum over i < alpha of B(other_alpha + i, other_beta + beta) / ((beta + i) B(1 + i, beta)
    B(other_alpha, other_beta)), in logarithms (Miller 2015).
    """
    i = np.arange(HALF_WINDOW + 1)
    a, b, c, d = (np.asarray(value, np.float64)[..., None] for value in (alpha, beta, other_alpha, other_beta))
    log_terms = betaln(c + i, d + b) - np.log(b + i) - betaln(1 + i, b) - betaln(c, d)
    return np.minimum(np.where(i < a, np.exp(log_terms), 0.0).sum(axis=-1), 1.0)
