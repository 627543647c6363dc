"""Targets: visible arithmetic for each kind of end, naive loops as twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from daddy_puffer.numerics.returns import (
    double_q_bootstrap,
    lambda_returns,
    munchausen_bonus,
    n_step_targets,
    soft_value,
    watkins_trace,
    window_cuts,
)

torch.set_num_threads(1)
NAN = math.nan


def col(*values: float) -> Tensor:
    """One sequence `[T, 1]`."""
    return torch.tensor(values, dtype=torch.float32)[:, None]


def flags(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)[:, None]


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_one_step_is_td0():
    y = n_step_targets(col(1, 2), col(0.9, 0.9), col(10, 20), flags(0, 1), n_step=1)
    assert_close(y, col(1 + 0.9 * 10, 2 + 0.9 * 20))


def test_three_steps_without_an_end_and_last_rows_shorten():
    y = n_step_targets(col(1, 2, 3, 4), col(*[0.9] * 4), col(10, 20, 30, 40), flags(0, 0, 0, 1), n_step=3)
    assert_close(
        y,
        col(
            1 + 0.9 * 2 + 0.9**2 * 3 + 0.9**3 * 30,
            2 + 0.9 * 3 + 0.9**2 * 4 + 0.9**3 * 40,
            3 + 0.9 * 4 + 0.9**2 * 40,
            4 + 0.9 * 40,
        ),
    )


def test_window_longer_than_the_sequence_bootstraps_once_from_its_end():
    y = n_step_targets(col(1, 2), col(0.9, 0.9), col(10, 20), flags(0, 1), n_step=50)
    assert_close(y, col(1 + 0.9 * 2 + 0.9**2 * 20, 2 + 0.9 * 20))


def test_termination_in_the_window_zeroes_the_bootstrap():
    # row 1 terminates, row 2 holds the final observation, row 3 begins the next episode
    mask = flags(1, 1, 0, 1, 0)
    y = n_step_targets(
        col(1, 2, NAN, 4, NAN), col(0.9, 0, NAN, 0.9, NAN), col(10, 20, NAN, 40, NAN), window_cuts(mask), 3
    )
    assert_close(y[[0, 1, 3]], col(1 + 0.9 * 2, 2, 4 + 0.9 * 40))


def test_truncation_in_the_window_bootstraps_from_the_final_observation():
    # row 1 was truncated: bootstrap[1] = 20 is the value of the final observation, which row 2 holds
    mask = flags(1, 1, 0, 1, 0)
    y = n_step_targets(
        col(1, 2, NAN, 4, NAN), col(0.9, 0.9, NAN, 0.9, NAN), col(10, 20, NAN, 40, NAN), window_cuts(mask), 3
    )
    assert_close(y[[0, 1, 3]], col(1 + 0.9 * 2 + 0.9**2 * 20, 2 + 0.9 * 20, 4 + 0.9 * 40))


def test_window_cuts_are_before_each_row_that_is_no_transition():
    assert window_cuts(flags(1, 1, 0, 1, 1, 0)).flatten().tolist() == [False, True, False, False, True, True]


def test_lambda_return_by_hand():
    y = lambda_returns(col(1, 2, 3), col(*[0.9] * 3), col(10, 20, 30), flags(0, 0, 1), trace_decay=0.5)
    third = 3 + 0.9 * 30
    second = 2 + 0.9 * (0.5 * 20 + 0.5 * third)
    assert_close(y, col(1 + 0.9 * (0.5 * 10 + 0.5 * second), second, third))


def test_lambda_return_at_ends():
    mask = flags(1, 1, 0, 1, 1, 0, 1, 0)  # row 1 truncates, row 4 terminates, row 6 is the last transition
    y = lambda_returns(
        col(1, 2, NAN, 3, 4, NAN, 5, NAN),
        col(0.9, 0.9, NAN, 0.9, 0, NAN, 0.9, NAN),
        col(10, 20, NAN, 30, 40, NAN, 50, NAN),
        window_cuts(mask),
        trace_decay=0.8,
    )
    truncated = 2 + 0.9 * 20
    expected = col(
        1 + 0.9 * (0.2 * 10 + 0.8 * truncated),
        truncated,
        3 + 0.9 * (0.2 * 30 + 0.8 * 4),
        4,
        5 + 0.9 * 50,
    )
    assert_close(y[[0, 1, 3, 4, 6]], expected)


def test_watkins_trace_stops_before_an_action_that_was_not_greedy():
    greedy = flags(0, 1, 0, 1)
    trace = watkins_trace(greedy, 0.5)
    assert_close(trace[:3], col(0.5, 0, 0.5))
    y = lambda_returns(col(1, 2, 3, 4), col(*[0.9] * 4), col(10, 20, 30, 40), flags(0, 0, 0, 1), trace)
    fourth = 4 + 0.9 * 40
    third = 3 + 0.9 * (0.5 * 30 + 0.5 * fourth)
    second = 2 + 0.9 * 20
    assert_close(y, col(1 + 0.9 * (0.5 * 10 + 0.5 * second), second, third, fourth))


def test_double_q_takes_the_target_value_of_the_online_choice():
    online = torch.tensor([[1.0, 5.0, 2.0], [7.0, 0.0, 0.0]])
    target = torch.tensor([[10.0, 20.0, 30.0], [-1.0, 9.0, 9.0]])
    assert double_q_bootstrap(online, target).tolist() == [20.0, -1.0]


def test_munchausen_by_hand():
    q = torch.tensor([[0.0, 0.5]])
    weights = [math.exp(0.0 / 0.5), math.exp(0.5 / 0.5)]
    log_policy = math.log(weights[0] / sum(weights))
    bonus = munchausen_bonus(q, torch.tensor([0]), temperature=0.5, scale=0.9, floor=-1.0)
    assert bonus.item() == pytest.approx(0.9 * 0.5 * log_policy)
    policy = [weight / sum(weights) for weight in weights]
    value = sum(p * (value - 0.5 * math.log(p)) for p, value in zip(policy, [0.0, 0.5], strict=True))
    assert soft_value(q, 0.5).item() == pytest.approx(value)


def test_munchausen_bonus_is_clipped_and_soft_value_tends_to_the_maximum():
    q = torch.tensor([[0.0, 100.0]])
    assert munchausen_bonus(q, torch.tensor([0]), 0.03, 0.9, -1.0).item() == pytest.approx(-0.9)
    assert munchausen_bonus(q, torch.tensor([1]), 0.03, 0.9, -1.0).item() == 0.0
    assert soft_value(q, 1e-3).item() == pytest.approx(100.0)


def _naive_window(t: int, n_step: int, reward: Tensor, discount: Tensor, bootstrap: Tensor, cut: Tensor) -> float:
    """The definition: sum rewards until n rows or a cut, then bootstrap."""
    total, weight = 0.0, 1.0
    for row in range(t, t + n_step):
        total += weight * float(reward[row])
        weight *= float(discount[row])
        if cut[row] or row == t + n_step - 1:
            return total + weight * float(bootstrap[row])
    raise AssertionError("the last row is not cut")


def _random_rows(seed: int, length: int, batch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    reward, bootstrap = (torch.tensor(rng.normal(size=(length, batch)), dtype=torch.float32) for _ in range(2))
    mask = torch.tensor(rng.random((length, batch)) < 0.8)
    mask[-1] = False
    cut = window_cuts(mask)
    terminated = cut & torch.tensor(rng.random((length, batch)) < 0.5)
    return reward, 0.9 * (~terminated).float(), bootstrap, cut


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(1, 12), n_step=st.integers(1, 6))
def test_n_step_targets_equal_the_definition(seed: int, length: int, n_step: int):
    rows = _random_rows(seed, length, batch=3)
    y = n_step_targets(*rows, n_step)
    naive = [[_naive_window(t, n_step, *(a[:, b] for a in rows)) for b in range(3)] for t in range(length)]
    assert_close(y, torch.tensor(naive, dtype=torch.float32))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(1, 10), decay=st.sampled_from([0.0, 0.3, 0.65, 1.0]))
def test_lambda_returns_are_the_mixture_of_n_step_targets(seed: int, length: int, decay: float):
    """`(1 - c) sum c^(n-1) y_n`, what is left goes to the longest; a cut window counts as each longer one."""
    rows = _random_rows(seed, length, batch=2)
    mixture = decay ** (length - 1) * n_step_targets(*rows, length)
    for n_step in range(1, length):
        mixture = mixture + (1 - decay) * decay ** (n_step - 1) * n_step_targets(*rows, n_step)
    assert_close(lambda_returns(*rows, decay), mixture)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_step=st.integers(1, 5))
def test_rows_that_are_no_transitions_never_reach_a_target(seed: int, n_step: int):
    rng = np.random.default_rng(seed)
    mask = torch.tensor(rng.random((10, 4)) < 0.7)
    mask[-1] = False
    reward, discount, bootstrap = (torch.tensor(rng.random((10, 4)), dtype=torch.float32) for _ in range(3))
    cut = window_cuts(mask)
    spoilt = [torch.where(mask, values, NAN) for values in (reward, discount, bootstrap)]
    for function in (lambda *a: n_step_targets(*a, n_step), lambda *a: lambda_returns(*a, 0.7)):
        torch.testing.assert_close(function(*spoilt, cut)[mask], function(reward, discount, bootstrap, cut)[mask])


def test_arguments_are_left_as_they_were():
    rows = _random_rows(0, 6, 2)
    copies = [row.clone() for row in rows]
    n_step_targets(*rows, 3)
    lambda_returns(*rows, 0.5)
    for row, copy in zip(rows, copies, strict=True):
        assert torch.equal(row, copy)
