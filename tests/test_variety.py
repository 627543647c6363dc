"""Warnings of a policy without an opinion, or with one only."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daddy_puffer.progress.variety import Variety

NAMES = ("UP", "DOWN", "A", "B")


def interval(variety: Variety, values: list[float], actions: list[int]) -> tuple[dict[str, float], list[str]]:
    """One interval in which all environments have the same values."""
    variety.add(np.tile(np.array(values, np.float32), (len(actions), 1)), np.array(actions))
    return variety.take()


@given(st.lists(st.floats(-3, 3, width=32), min_size=4, max_size=4), st.floats(0.05, 3.0))
def test_entropy_is_that_of_the_softmax(values: list[float], temperature: float) -> None:
    weights = np.exp((np.array(values) - max(values)) / temperature)
    shares = weights / weights.sum()
    expected = -sum(p * math.log(p) for p in shares if p > 0) / math.log(4)
    found, _ = interval(Variety(NAMES, temperature), values, [0, 1, 2])
    assert found["policy/entropy_share"] == pytest.approx(expected, abs=1e-4)


def test_chance_is_warned_of_once_and_again_after_it_was_better() -> None:
    variety = Variety(NAMES, 0.1, patience=3)
    equal, clear = [1.0] * 4, [0.0, 1.0, 0.0, 0.0]
    said = [interval(variety, values, [0, 1, 2, 3])[1] for values in [equal] * 5 + [clear] + [equal] * 3]
    assert [len(lines) for lines in said] == [0, 0, 1, 0, 0, 0, 0, 0, 1]
    assert "entropy is 100% of the highest" in said[2][0]


def test_one_action_is_warned_of_by_name() -> None:
    variety = Variety(NAMES, 0.1, patience=2)
    clear = [0.0, 0.0, 5.0, 0.0]
    assert interval(variety, clear, [2] * 19 + [0])[1] == []
    found, said = interval(variety, clear, [2] * 19 + [0])
    assert said == ["the policy presses A in 95% of its steps for 2 intervals"]
    assert found["policy/commonest_action_share"] == pytest.approx(0.95)
    assert interval(variety, clear, [2] * 17 + [0] * 3)[1] == []  # 85 %: better
    assert interval(variety, clear, [2] * 20)[1] == []


def test_an_interval_counts_from_nothing_and_may_be_empty() -> None:
    variety = Variety(NAMES, 0.0, patience=1)
    assert variety.take() == ({}, [])
    assert interval(variety, [0.0] * 4, [0, 0])[0] == {"policy/entropy_share": 0.0, "policy/commonest_action_share": 1}
    assert interval(variety, [0.0] * 4, [0, 1])[0]["policy/commonest_action_share"] == 0.5
