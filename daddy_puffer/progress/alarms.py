"""Alarms of a run that stalls: four detectors with one interface.

In: after each episode whether it reached the milestone, and its return. Out: `update(...) -> bool`, true once a score
is above its threshold. `scores` are set by every update, so that thresholds can be calibrated on healthy runs.
Knows no game; costs microseconds an episode.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from scipy.special import betainc

from daddy_puffer.types import Array

_TINY = 1e-300
_SURE = 3.0  # standard deviations below the mean: the best bound is one out of many that could be too high


def log_odds(probability: float, complement: float) -> float:
    """Natural logarithm of p / (1 - p), finite; 1 - p is handed over, as it would be lost to rounding."""
    return math.log(max(probability, _TINY)) - math.log(max(complement, _TINY))


def log_odds_below(alpha: float, beta: float, target: float) -> float:
    """Log-odds of theta < target for theta ~ Beta(alpha, beta)."""
    return log_odds(float(betainc(alpha, beta, target)), float(betainc(beta, alpha, 1.0 - target)))


class Alarm(ABC):
    """One detector; `scores` and `thresholds` go in pairs."""

    def __init__(self, thresholds: Sequence[float]) -> None:
        """Goes off when any score is above its threshold."""
        self.thresholds = tuple(thresholds)
        self.scores: tuple[float, ...] = (-math.inf,) * len(self.thresholds)

    def update(self, reached: bool, total_return: float) -> bool:
        """Take one episode; whether there is an alarm now."""
        self.scores = self._score(reached, total_return)
        return any(score > threshold for score, threshold in zip(self.scores, self.thresholds, strict=True))

    @abstractmethod
    def _score(self, reached: bool, total_return: float) -> tuple[float, ...]:
        """The scores after one more episode."""


class FixedDeadline(Alarm):
    """The milestone was not reached by episode N: `early_stop` of pokemonred_puffer, in episodes instead of minutes.

    As there, one success takes the deadline away for good.
    """

    def __init__(self, thresholds: Sequence[float] = (math.inf,)) -> None:
        """`thresholds`: the deadline in episodes."""
        super().__init__(thresholds)
        self._episodes, self._found = 0, False

    def _score(self, reached: bool, total_return: float) -> tuple[float, ...]:
        self._found |= reached
        self._episodes += 1
        return (0.0 if self._found else float(self._episodes),)


class RewardCusum(Alarm):
    """S = max(0, S + reference - allowance - return / scale) of episode returns: one-sided CUSUM (Page 1954).

    With `reference` None it is the best mean of `window` returns so far, so that it sees what was lost and not what
    was never there.
    """

    def __init__(
        self,
        thresholds: Sequence[float] = (math.inf,),
        *,
        scale: float = 1.0,
        allowance: float = 0.5,
        reference: float | None = None,
        window: int = 25,
    ) -> None:
        """`scale`: standard deviation of returns; `allowance` in units of it; `reference` in units of return."""
        super().__init__(thresholds)
        self._scale, self._allowance = scale, allowance
        self._reference = -math.inf if reference is None else reference
        self._adapts, self._window = reference is None, window
        self._recent: list[float] = []
        self._sum = 0.0

    def _score(self, reached: bool, total_return: float) -> tuple[float, ...]:
        if self._reference > -math.inf:
            short = (self._reference - total_return) / self._scale
            self._sum = max(0.0, self._sum + short - self._allowance)
        if self._adapts:
            self._recent = [*self._recent[1 - self._window :], total_return]
            if len(self._recent) == self._window:
                self._reference = max(self._reference, sum(self._recent) / self._window)
        return (self._sum,)


class ChangePoint(Alarm):
    """Bayesian online change-point detection (Adams & MacKay 2007) with a Beta-Bernoulli model of the milestone.

    Scores, both averaged over the run length: for how many episodes the rate has been what it is now, where that is
    below `target`, else 0; and the log-odds that it changed less than `recent` episodes ago, to a lower one.
    """

    def __init__(
        self,
        thresholds: Sequence[float] = (math.inf, math.inf),
        *,
        hazard: float = 0.005,
        target: float = 0.3,
        recent: int = 100,
        longest: int = 600,
    ) -> None:
        """`hazard`: prior chance of a change in an episode; a longer run counts as one of `longest`."""
        super().__init__(thresholds)
        self._hazard, self._target, self._recent = hazard, target, recent
        self._length = np.zeros(longest + 1)  # P(run length), f64 [longest + 1]
        self._length[0] = 1.0
        self._wins = np.zeros(longest + 1)  # in the current run, by run length
        self._trials = np.zeros(longest + 1)
        self._all_wins = self._all_trials = 0.0

    def _score(self, reached: bool, total_return: float) -> tuple[float, ...]:
        self._advance(float(reached))
        rate = (1.0 + self._wins) / (2.0 + self._trials)
        low = float(self._length @ (self._trials * (rate < self._target)))
        dropped = self._dropped(rate)
        return low, log_odds(float(self._length @ dropped), float(self._length @ ~dropped))

    def _advance(self, won: float) -> None:
        """Equations 3 to 5 of the paper; the uniform prior begins every run."""
        likelihood = (1.0 + self._wins) / (2.0 + self._trials)
        joint = self._length * (likelihood if won else 1.0 - likelihood)
        change = self._hazard * joint.sum()
        grown = (1.0 - self._hazard) * joint
        self._length = _shift(grown, first=change)
        self._length[-1] += grown[-1]
        self._length /= self._length.sum()
        self._wins, self._trials = _shift(self._wins + won), _shift(self._trials + 1.0)
        self._all_wins += won
        self._all_trials += 1.0

    def _dropped(self, rate: Array) -> Array:
        """Whether the run at each length is short and its rate below the one before it, bool `[longest + 1]`."""
        wins_before, trials_before = self._all_wins - self._wins, self._all_trials - self._trials
        before = (1.0 + wins_before) / (2.0 + trials_before)
        short = (self._trials > 0) & (self._trials <= self._recent)
        return short & (trials_before > 0) & (rate < before)


class MilestoneAlarm(Alarm):
    """Ours: the discounted Beta posterior of `progress/posteriors.py`, asked two questions.

    Scores are the trials in a row after which the posterior mean was below `target` (the milestone does not become
    likely); and the log-odds that theta is below `share` of the best lower bound it ever had (the milestone was lost),
    which are asked once that bound was above `known`.

    P(theta < target) itself is no score: what is forgotten bounds it, so that some 60 failures say as much as 600, and
    every healthy run begins with as many. How long it lasts tells them apart (docs/RESULTS.md).
    """

    def __init__(
        self,
        thresholds: Sequence[float] = (math.inf, math.inf),
        *,
        target: float = 0.4,
        forgetting: float = 0.95,
        share: float = 0.5,
        known: float = 0.1,
    ) -> None:
        """`forgetting` discounts the past."""
        super().__init__(thresholds)
        self._target, self._forgetting, self._share, self._known = target, forgetting, share, known
        self._wins = self._losses = self._best = self._below = 0.0
        self.scores = self.ask()

    def state(self) -> Array:
        """What it has seen, f64 `[4]`."""
        return np.array([self._wins, self._losses, self._best, self._below])

    def load_state(self, state: Array) -> None:
        """Go on from `state`."""
        self._wins, self._losses, self._best, self._below = map(float, state)
        self.scores = self.ask()

    def observe(self, reached: bool) -> None:
        """Take one episode; cheap, as the scores stay as they were."""
        self._wins = self._forgetting * self._wins + reached
        self._losses = self._forgetting * self._losses + (not reached)
        total = 2.0 + self._wins + self._losses
        mean = (1.0 + self._wins) / total
        self._best = max(self._best, mean - _SURE * math.sqrt(mean * (1.0 - mean) / (total + 1.0)))
        self._below = self._below + 1.0 if mean < self._target else 0.0

    def ask(self) -> tuple[float, float]:
        """The scores after what was observed."""
        lost_below = self._share * self._best if self._best > self._known else 0.0
        return self._below, log_odds_below(1.0 + self._wins, 1.0 + self._losses, lost_below)

    def _score(self, reached: bool, total_return: float) -> tuple[float, ...]:
        self.observe(reached)
        return self.ask()


def _shift(values: Array, first: float = 0.0) -> Array:
    """Move every value to the next place; the last one is dropped."""
    return np.concatenate(([first], values[:-1]))
