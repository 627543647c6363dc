"""Curves out of rows: bins, medians, interquartile bands, rates. In: arrays. Out: arrays. Knows no file, no figure.

All curves of a page share the B bins between the B + 1 `edges`, in environment steps; a bin without rows is NaN.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from daddy_puffer.types import Array

QUARTILES = (25.0, 50.0, 75.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A curve with what lies around it, f64 [B] each."""

    middle: Array
    lower: Array
    upper: Array


def bin_edges(last_step: int, bins: int) -> Array:
    """F64 [bins + 1] from 0 to the last step."""
    return np.linspace(0.0, float(max(last_step, 1)), bins + 1)


def centres(edges: Array) -> Array:
    """F64 [B], where a bin is drawn."""
    return np.asarray((edges[1:] + edges[:-1]) / 2)


def bin_of(steps: Array, edges: Array) -> Array:
    """I64 [N]: the bin (edges[b], edges[b + 1]] of each step; the ends take what lies outside."""
    return np.clip(np.searchsorted(edges, steps, side="left") - 1, 0, len(edges) - 2)


def binned(
    steps: Array, values: Array, edges: Array, statistic: Callable[[Array], float] = lambda v: float(np.median(v))
) -> Array:
    """F64 [B]: a statistic of the values in each bin; NaNs among them do not count."""
    good = np.isfinite(values)
    where, kept = bin_of(np.asarray(steps)[good], edges), np.asarray(values, np.float64)[good]
    result = np.full(len(edges) - 1, np.nan)
    order = np.argsort(where, kind="stable")
    present, begins = np.unique(where[order], return_index=True)
    for index, part in zip(present, np.split(kept[order], begins[1:]), strict=len(present) > 0):
        result[index] = statistic(part)
    return result


def within(steps: Array, values: Array, edges: Array) -> Band:
    """Median and quartiles of the rows in each bin."""
    low, middle, high = (
        binned(steps, values, edges, lambda v, q=q: float(np.percentile(v, q)))  # type: ignore[misc]
        for q in QUARTILES
    )
    return Band(middle=middle, lower=low, upper=high)


def across(curves: Sequence[Array]) -> Band:
    """Median and quartiles over runs, f64 [B] each; in a bin count the runs that have something there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=RuntimeWarning)  # a bin in which no run has anything stays NaN
        low, middle, high = np.nanpercentile(np.stack(list(curves)), QUARTILES, axis=0)
    return Band(middle=middle, lower=low, upper=high)


def mean_of(curves: Sequence[Array]) -> Array:
    """Mean over runs, of the shape of each curve; a bin without any run is NaN."""
    stacked = np.stack(list(curves))
    present = np.isfinite(stacked)
    total, count = np.where(present, stacked, 0.0).sum(axis=0), present.sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def band_of(samples: Iterable[tuple[Array, Array]], edges: Array) -> Band:
    """One run's rows (steps, values): median and quartiles of rows; of several: those of the runs' medians."""
    rows = list(samples)
    if len(rows) == 1:
        return within(*rows[0], edges)
    return across([binned(steps, values, edges) for steps, values in rows])


def rate_of(samples: Iterable[tuple[Array, Array]], edges: Array) -> Band:
    """The share of rows in each bin for which `values` is true; of several runs the median and quartiles of shares."""
    curves = [binned(steps, values.astype(np.float64), edges, lambda v: float(v.mean())) for steps, values in samples]
    if len(curves) == 1:
        return Band(middle=curves[0], lower=curves[0], upper=curves[0])
    return across(curves)


def shares(steps: Array, keys: Array, wanted: Sequence[object], edges: Array) -> Array:
    """F64 [K, B]: which share of each bin's rows has each of K keys."""
    where = bin_of(steps, edges)
    total = np.bincount(where, minlength=len(edges) - 1).astype(np.float64)
    counts = np.stack([np.bincount(where[keys == key], minlength=len(edges) - 1) for key in wanted])
    return np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)


def cumulative_distinct(steps: Array, keys: Array, edges: Array) -> Array:
    """F64 [B]: how many different keys were seen until the end of each bin."""
    if not len(steps):
        return np.full(len(edges) - 1, np.nan)
    _, first = np.unique(keys, return_index=True)
    begun = np.bincount(bin_of(np.asarray(steps)[first], edges), minlength=len(edges) - 1)
    return np.cumsum(begun).astype(np.float64)
