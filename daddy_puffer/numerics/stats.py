"""Intervals for results of few runs or episodes, by the percentile bootstrap.

In: samples as a sequence of numbers. Out: estimates and intervals. Seeded: the same samples give the same interval.
Sources: Efron 1979; Agarwal 2021 (rliable) for the interquartile mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from daddy_puffer.types import Array

Samples = Sequence[float] | Array
Statistic = Callable[[Array], Array]  # over the last axis


def mean(values: ArrayLike) -> Array:
    """Arithmetic mean over the last axis."""
    return np.asarray(np.mean(np.asarray(values, dtype=np.float64), axis=-1))


def interquartile_mean(values: ArrayLike) -> Array:
    """Mean over the last axis without its lowest and highest quarter, each rounded down to whole samples."""
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    count = ordered.shape[-1]
    left_out = count // 4
    return np.asarray(ordered[..., left_out : count - left_out].mean(axis=-1))


def bootstrap_interval(
    values: Samples,
    statistic: Statistic = mean,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of `statistic` over the population that `values` were drawn from.

    Raises:
        ValueError: there are no values.
    """
    drawn = _resampled(values, statistic, resamples, np.random.default_rng(seed))
    return _percentiles(drawn, confidence)


def bootstrap_difference_interval(
    first: Samples,
    second: Samples,
    statistic: Statistic = mean,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of `statistic(first) - statistic(second)` for two independent samples; sizes may differ."""
    rng = np.random.default_rng(seed)
    drawn: Array = _resampled(first, statistic, resamples, rng) - _resampled(second, statistic, resamples, rng)
    return _percentiles(drawn, confidence)


def _resampled(values: Samples, statistic: Statistic, resamples: int, rng: np.random.Generator) -> Array:
    """The statistic of `resamples` samples drawn with replacement, f64 `[resamples]`."""
    samples = np.asarray(values, dtype=np.float64)
    if samples.ndim != 1 or samples.size == 0:
        raise ValueError(f"a bootstrap needs a list of at least one number, got shape {samples.shape}")
    return statistic(samples[rng.integers(0, samples.size, (resamples, samples.size))])


def _percentiles(drawn: Array, confidence: float) -> tuple[float, float]:
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(drawn, [tail, 100.0 - tail])
    return float(low), float(high)
