"""What the figures of a report are made of. In: runs. Out: `Comparison`, and `Drawing`s that draw it.

A drawing whose runs lack what it needs has no figure but a sentence that says what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from daddy_puffer.report.groups import Group, group_runs
from daddy_puffer.report.runs import Run
from daddy_puffer.report.statistics import Band, across, bin_edges, binned, centres
from daddy_puffer.types import Array

FEWEST_BINS, MOST_BINS = 8, 48
EPISODES_A_BIN = 6
LONGEST_NAME = 18  # characters at a curve


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The runs of a report in groups, and the bins that all its curves share."""

    groups: tuple[Group, ...]
    edges: Array  # f64 [B + 1] environment steps

    @property
    def runs(self) -> list[Run]:
        """All of them, group by group."""
        return [run for group in self.groups for run in group.runs]

    @property
    def centres(self) -> Array:
        """F64 [B] where bins are drawn."""
        return centres(self.edges)

    @property
    def last_step(self) -> float:
        """Where the x axis ends."""
        return float(self.edges[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A figure with its words."""

    key: str  # name of exported files
    title: str
    caption: str = ""
    figure: Figure | None = None
    missing: str = ""  # why there is no figure, or what it lacks


def compare(runs: Sequence[Run], bins: int = 0) -> Comparison:
    """Group runs; `bins` 0 chooses so many that a bin holds some episodes."""
    last_step = max(run.last_step for run in runs)
    if not bins:
        long_ones = [len(run.episodes) for run in runs if len(run.episodes) and run.last_step > last_step / 2]
        bins = int(np.clip(min(long_ones, default=0) // EPISODES_A_BIN, FEWEST_BINS, MOST_BINS))
    return Comparison(groups=group_runs(runs), edges=bin_edges(last_step, bins))


def metric_curve(group: Group, name: str, edges: Array) -> tuple[Array, Band] | None:
    """X and y of a metric: one run's own rows, or the median and quartiles of several; None where no run has it."""
    rows = [(run.metrics.step, column) for run in group.runs if (column := run.metrics.get(name)) is not None]
    if not rows:
        return None
    if len(rows) == 1:
        step, column = rows[0]
        return step.astype(np.float64), Band(middle=column, lower=column, upper=column)
    return centres(edges), across([binned(step, column, edges) for step, column in rows])


def last_value(values: Array) -> float:
    """The last that is a number, NaN without one."""
    good = values[np.isfinite(values)]
    return float(good[-1]) if len(good) else float("nan")


def last_point(x: Array, y: Array) -> tuple[float, float]:
    """Where a curve ends, NaNs without one."""
    good = np.flatnonzero(np.isfinite(y))
    return (float(x[good[-1]]), float(y[good[-1]])) if len(good) else (float("nan"), float("nan"))


def short_name(name: str) -> str:
    """A group's name as it fits at a curve."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def lacking(runs: Sequence[Run], what: str, has: Sequence[bool]) -> str:
    """'No `what` in A, B.', empty where all have it."""
    names = [run.name for run, there in zip(runs, has, strict=True) if not there]
    return f"No {what} in {', '.join(names)}." if names else ""
