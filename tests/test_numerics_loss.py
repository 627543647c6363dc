"""Loss, rescaling and priorities: masks hold, inverses are inverse, numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from daddy_puffer.numerics.loss import masked_sequence_loss
from daddy_puffer.numerics.priorities import importance_weights, sequence_priority
from daddy_puffer.numerics.rescaling import rescale, unrescale

torch.set_num_threads(1)
FINITE = st.floats(-1e6, 1e6, width=32)


def test_huber_loss_by_hand():
    td = torch.tensor([[0.5, 3.0], [-2.0, 9.0]])
    mask = torch.tensor([[True, True], [True, False]])
    loss = masked_sequence_loss(td, mask, torch.tensor([1.0, 0.5]), huber_delta=1.0)
    assert loss.item() == pytest.approx((0.5 * 0.5**2 + (2.0 - 0.5) + 0.5 * (3.0 - 0.5)) / 3)


def test_huber_delta_scales_the_quadratic_part():
    td = torch.tensor([[1.5, 3.0]])
    loss = masked_sequence_loss(td, torch.ones(1, 2, dtype=torch.bool), torch.ones(2), huber_delta=2.0)
    assert loss.item() == pytest.approx((0.5 * 1.5**2 + 2.0 * (3.0 - 0.5 * 2.0)) / 2)


def test_infinite_delta_is_half_the_square_and_so_is_its_gradient():
    td = torch.tensor([[30.0, -4.0]], requires_grad=True)
    loss = masked_sequence_loss(td, torch.ones(1, 2, dtype=torch.bool), torch.ones(2), huber_delta=math.inf)
    loss.backward()
    assert loss.item() == pytest.approx(0.5 * (30.0**2 + 4.0**2) / 2)
    assert td.grad.tolist() == [[15.0, -2.0]]


@pytest.mark.parametrize("padding", [1e6, math.nan, math.inf])
def test_masked_rows_change_neither_loss_nor_gradient(padding: float):
    mask = torch.tensor([[True, False], [False, True]])
    results = []
    for fill in (0.0, padding):
        td = torch.where(mask, torch.tensor([[0.3, 0.0], [0.0, -5.0]]), fill).requires_grad_()
        loss = masked_sequence_loss(td, mask, torch.tensor([1.0, 2.0]))
        loss.backward()
        results.append((loss.item(), td.grad.tolist()))
    assert results[0] == results[1]
    assert results[0][1] == [[pytest.approx(0.3 / 2), 0.0], [0.0, -2.0 / 2]]


def test_loss_of_no_rows_is_zero():
    td = torch.ones(2, 1, requires_grad=True)
    loss = masked_sequence_loss(td, torch.zeros(2, 1, dtype=torch.bool), torch.ones(1))
    loss.backward()
    assert loss.item() == 0.0
    assert td.grad.tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("x", [0.0, 1.0, -3.0, 99.0])
def test_rescale_is_the_formula(x: float):
    expected = math.copysign(math.sqrt(abs(x) + 1) - 1, x) + 1e-3 * x
    assert rescale(torch.tensor(x, dtype=torch.float64)).item() == pytest.approx(expected)


@given(x=FINITE)
def test_unrescale_undoes_rescale_in_float32(x: float):
    value = torch.tensor(x, dtype=torch.float32)
    assert unrescale(rescale(value)).item() == pytest.approx(x, rel=2e-6)
    assert rescale(unrescale(value)).item() == pytest.approx(x, rel=2e-6)


@given(x=FINITE, y=FINITE)
def test_rescale_keeps_order(x: float, y: float):
    low, high = rescale(torch.tensor(sorted([x, y]), dtype=torch.float64)).tolist()
    assert low < high or x == y


def test_unrescale_has_a_gradient_everywhere():
    x = torch.tensor([-4.0, 0.0, 4.0], requires_grad=True)
    unrescale(x).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_priority_by_hand():
    td = np.array([[1.0, -8.0], [-3.0, 100.0]])
    mask = np.array([[True, True], [True, False]])
    expected = [0.9 * 3 + 0.1 * (1 + 3) / 2, 0.9 * 8 + 0.1 * 8]
    np.testing.assert_allclose(sequence_priority(td, mask, max_weight=0.9), expected)


def test_priority_of_a_sequence_without_transitions_is_zero():
    assert sequence_priority(np.full((3, 1), np.nan), np.zeros((3, 1), bool), 0.9).tolist() == [0.0]


def test_masked_rows_do_not_change_priorities():
    rng = np.random.default_rng(0)
    td, mask = rng.normal(size=(6, 4)), rng.random((6, 4)) < 0.5
    spoilt = np.where(mask, td, 1e6)
    np.testing.assert_array_equal(sequence_priority(td, mask, 0.7), sequence_priority(spoilt, mask, 0.7))


def test_importance_weights_by_hand():
    weights = importance_weights(np.array([0.5, 0.125]), exponent=0.5)
    raw = [0.5**-0.5, 0.125**-0.5]
    np.testing.assert_allclose(weights, [raw[0] / raw[1], 1.0], rtol=1e-6)
    assert weights.dtype == np.float32


def test_importance_weights_make_the_weighted_mean_unbiased():
    """With exponent 1, drawing by any probability and weighting gives the plain mean (up to the common factor)."""
    values, probability = np.array([1.0, 5.0, 9.0]), np.array([0.7, 0.2, 0.1])
    weights = importance_weights(probability, exponent=1.0)
    factor = 3 * weights * probability
    np.testing.assert_allclose((probability * weights * values).sum() / factor, values.mean(), rtol=1e-6)
