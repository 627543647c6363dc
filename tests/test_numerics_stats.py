"""Schedules and intervals."""

from __future__ import annotations

import numpy as np
import pytest

from daddy_puffer.numerics.schedules import epsilon_ladder, linear
from daddy_puffer.numerics.stats import (
    bootstrap_difference_interval,
    bootstrap_interval,
    interquartile_mean,
)


@pytest.mark.parametrize(("step", "expected"), [(-5, 1.0), (0, 1.0), (25, 1.0 - 0.9 * 0.25), (100, 0.1), (10_000, 0.1)])
def test_linear(step: int, expected: float):
    assert linear(step, 1.0, 0.1, 100) == pytest.approx(expected)


def test_linear_over_no_steps_has_arrived():
    assert linear(0, 1.0, 0.1, 0) == 0.1


def test_epsilon_ladder():
    np.testing.assert_allclose(epsilon_ladder(3), [0.4, 0.4 ** (1 + 3.5), 0.4**8], rtol=1e-6)
    np.testing.assert_allclose(epsilon_ladder(1), [0.4], rtol=1e-6)
    np.testing.assert_allclose(epsilon_ladder(2, base=0.5, spread=1.0), [0.5, 0.25], rtol=1e-6)


def test_interquartile_mean_leaves_out_the_outer_quarters():
    assert interquartile_mean([100.0, 1.0, 2.0, 3.0, -100.0]) == pytest.approx((1 + 2 + 3) / 3)
    assert interquartile_mean([1.0, 2.0, 6.0]) == pytest.approx(3.0)  # too few to leave any out
    np.testing.assert_allclose(interquartile_mean([[0.0, 1, 2, 9], [4, 4, 4, 4]]), [1.5, 4.0])


def test_interval_is_near_the_normal_one_and_seeded():
    values = np.random.default_rng(0).normal(5.0, 2.0, size=200)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / np.sqrt(200)
    assert low == pytest.approx(values.mean() - half, abs=0.05)
    assert high == pytest.approx(values.mean() + half, abs=0.05)
    assert (low, high) == bootstrap_interval(values)
    assert (low, high) != bootstrap_interval(values, seed=1)


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(300):
        low, high = bootstrap_interval(rng.exponential(size=60), confidence=0.8, resamples=400, seed=seed)
        covered += low <= 1.0 <= high
    assert 0.72 < covered / 300 < 0.86  # standard error 0.023; skewed samples cover a little less than 0.8


def test_difference_of_clearly_different_samples_excludes_zero():
    rng = np.random.default_rng(2)
    trained, random = rng.normal(3.0, 1.0, 30), rng.normal(1.0, 1.0, 20)
    low, high = bootstrap_difference_interval(trained, random)
    assert 0.0 < low < trained.mean() - random.mean() < high
    swapped = bootstrap_difference_interval(random, trained)
    assert swapped[1] < 0.0


def test_difference_of_equal_samples_contains_zero():
    values = np.random.default_rng(3).normal(size=40)
    low, high = bootstrap_difference_interval(values, values)
    assert low < 0.0 < high


def test_interval_of_another_statistic_and_of_one_value():
    values = [*np.linspace(0.0, 1.0, 40), 1e6]  # one outlier moves the mean, not the interquartile mean
    assert bootstrap_interval(values, interquartile_mean)[1] < 2.0 < bootstrap_interval(values)[1]
    assert bootstrap_interval([4.0]) == (4.0, 4.0)


def test_no_values_are_an_error():
    with pytest.raises(ValueError, match="at least one number"):
        bootstrap_interval([])
