"""What the page draws as curves. In: a `Run` as the report reads it. Out: plain dicts for JSON, thinned to the page.

Knows no file. Episodes are grouped into bins of equal numbers of steps, posteriors and metrics are thinned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from daddy_puffer.report.runs import Episodes, Metrics, Progress, Run
from daddy_puffer.types import Array

BINS = 80  # points of a curve of episodes
POINTS = 200  # of any other
SOURCES = ("return_total", "return_env", "return_rnd", "return_novel", "return_bayes")
METRICS = (
    "speed/steps_per_second",
    "exploration/epsilon",
    "learner/td_loss",
    "learner/q_mean",
    "curriculum/true_start_share",
    "curriculum/early_share",
    "curriculum/mid_share",
    "curriculum/late_share",
)
MOST_MILESTONES = 8  # posteriors on the page: the watched ones, then those believed most
RECENT = 100  # episodes behind the badge rates


def curves(run: Run) -> dict[str, Any]:
    """Everything but where the environments are."""
    return {
        "facts": facts(run),
        "returns": returns(run.episodes),
        "metrics": metrics(run.metrics),
        "milestones": posteriors(run.progress, run.config.get("progress.watched") or []),
    }


def facts(run: Run) -> dict[str, Any]:
    """Numbers for the head of the page."""
    episodes = run.episodes
    recent = episodes.badges[-RECENT:]
    speed = run.metrics.get("speed/steps_per_second")
    epsilon = run.metrics.get("exploration/epsilon")
    return {
        "name": run.name,
        "step": run.last_step,
        "total_steps": int(run.config.get("train.total_steps") or 0),
        "envs": int(run.config.get("train.num_envs") or 0),
        "episodes": len(episodes),
        "best_badges": int(episodes.badges.max(initial=0)),
        "badge_rates": [float(np.mean(recent >= n)) for n in range(1, int(recent.max(initial=0)) + 1)],
        "steps_per_second": None if speed is None else _number(speed[-1]),
        "epsilon": None if epsilon is None else _number(epsilon[-1]),
        "target": run.config.get("progress.target"),
        "alarm": bool(len(episodes) and episodes.alarm_triggered[-1]),
        "states": len(run.states),
        "stopped": run.has_stopped,
        "started": str(run.meta.get("started", "")),
        "parameters": run.meta.get("parameters"),
        "device": run.meta.get("device"),
    }


def returns(episodes: Episodes) -> dict[str, Any]:
    """Mean of every source by steps, with the quartiles of `return_total`; sources that are always 0 are left out.

    Only episodes from the true start, where there are any: those from save states begin with what is behind them.
    """
    if episodes.from_true_start.any():
        episodes = episodes.where(episodes.from_true_start)
    if not len(episodes):
        return {"step": [], "series": {}, "low": [], "high": []}
    ends = episodes.end_step_global
    edges = np.linspace(0, max(1, ends.max()), BINS + 1)
    which = np.clip(np.searchsorted(edges, ends, side="left") - 1, 0, BINS - 1)
    bins = [np.flatnonzero(which == b) for b in np.unique(which)]
    series = {}
    for name in SOURCES:
        values = getattr(episodes, name)
        if name in SOURCES[:2] or np.any(np.nan_to_num(values)):
            series[name.removeprefix("return_")] = [_number(values[b].mean()) for b in bins]
    total = episodes.return_total
    return {
        "step": [int(ends[b].mean()) for b in bins],
        "series": series,
        "low": [_number(np.percentile(total[b], 25)) for b in bins],
        "high": [_number(np.percentile(total[b], 75)) for b in bins],
    }


def metrics(table: Metrics) -> dict[str, Any]:
    """`METRICS` that the run measured, as steps and values."""
    found = {}
    for name in METRICS:
        values = table.get(name)
        if values is not None:
            kept = _thinned(len(values))
            found[name] = {"step": table.step[kept].tolist(), "value": [_number(v) for v in values[kept]]}
    return found


def posteriors(progress: Progress, watched: Sequence[str]) -> list[dict[str, Any]]:
    """Mean and 95 % interval by steps, of the watched milestones first."""
    tables = {name: progress.of(name) for name in progress.names}
    others = sorted((n for n in tables if n not in watched), key=lambda n: -tables[n].mean[-1])
    found = []
    for name in [*(n for n in watched if n in tables), *others][:MOST_MILESTONES]:
        table, kept = tables[name], _thinned(len(tables[name]))
        columns = {key: [_number(v) for v in getattr(table, key)[kept]] for key in ("mean", "lower", "upper")}
        found.append({"name": name, "watched": name in watched, "step": table.step[kept].tolist(), **columns})
    return found


def _thinned(length: int) -> Array:
    """At most `POINTS` indices, first and last among them."""
    return (
        np.unique(np.linspace(0, length - 1, min(length, POINTS)).round().astype(np.int64))
        if length
        else np.zeros(0, np.int64)
    )


def _number(value: float) -> float | None:
    """What JSON can hold: four significant digits, no NaN."""
    return float(f"{value:.4g}") if np.isfinite(value) else None
