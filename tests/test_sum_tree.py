"""The sum tree against a plain array with a running sum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daddy_puffer.replay.sum_tree import SumTree


def check(tree: SumTree, plain: np.ndarray) -> None:
    """Same values, same sum, same answers; whole numbers make both exact."""
    assert tree.check_valid() == (True, "")
    np.testing.assert_array_equal(tree.values, plain)
    assert tree.total == plain.sum()
    if plain.sum():
        targets = np.arange(0.0, plain.sum(), 0.5)
        np.testing.assert_array_equal(tree.find(targets), np.searchsorted(np.cumsum(plain), targets, side="right"))


@settings(max_examples=80, deadline=None)
@given(data=st.data(), size=st.integers(1, 40))
def test_equals_the_running_sum(data: st.DataObject, size: int):
    tree, plain = SumTree(size), np.zeros(size)
    for _ in range(data.draw(st.integers(1, 6))):
        writes = data.draw(st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, 9)), min_size=1, max_size=8))
        indices, values = np.array(writes).T
        tree.set(indices, values.astype(float))
        for index, value in writes:  # of an index that occurs twice the last one counts
            plain[index] = value
        check(tree, plain)
        np.testing.assert_array_equal(tree.get(indices), plain[indices])


@pytest.mark.parametrize("size", [1, 2, 3, 16, 17, 1000])
def test_set_all_equals_set(size: int):
    values = np.random.default_rng(size).random(size)
    at_once, one_by_one = SumTree(size), SumTree(size)
    at_once.set_all(values)
    one_by_one.set(np.arange(size), values)
    assert at_once.check_valid() == (True, "")
    assert at_once.total == one_by_one.total == pytest.approx(values.sum())


@pytest.mark.parametrize("seed", range(10))
def test_never_finds_a_value_of_zero_whatever_rounding_does(seed: int):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(300) < 0.5, 0.0, 10.0 ** rng.uniform(-12, 6, 300))
    tree = SumTree(300)
    tree.set(np.arange(300), values)
    targets = np.concatenate([rng.random(2000) * tree.total, [0.0, tree.total, np.nextafter(tree.total, 0)]])
    assert (values[tree.find(targets)] > 0.0).all()


def test_draws_in_proportion():
    values = np.array([1.0, 0.0, 2.5, 4.0, 0.5])
    tree = SumTree(5)
    tree.set(np.arange(5), values)
    targets = (np.arange(8000) + 0.5) / 8000 * tree.total
    counts = np.bincount(tree.find(targets), minlength=5)
    np.testing.assert_allclose(counts / 8000, values / values.sum(), atol=2 / 8000)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_bad_values_are_refused_and_change_nothing(bad: float):
    tree = SumTree(4)
    tree.set(np.arange(4), np.ones(4))
    with pytest.raises(ValueError, match="finite and not negative"):
        tree.set(np.array([0, 1]), np.array([5.0, bad]))
    check(tree, np.ones(4))


def test_check_valid_sees_a_wrong_sum():
    tree = SumTree(4)
    tree.set(np.arange(4), np.ones(4))
    tree.values[2] = 7.0  # behind its back
    valid, reason = tree.check_valid()
    assert not valid
    assert "sum to 8.0" in reason
