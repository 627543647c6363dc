"""The memories' hand-written backward passes and scans against plain autograd, step by step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from daddy_puffer.policies.memory import DiagonalSsm, Gru, StridedLstm, _DiagonalScan, _GruLoop, _LstmLoop

STEPS, BATCH, WIDTH = 7, 3, 4


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def resets() -> Tensor:
    """Keep flags with a reset at row 0, one inside, two in a row and one at the end."""
    keep = torch.ones(STEPS, BATCH, 1, dtype=torch.float64)
    keep[0, 0] = keep[3, 1] = keep[4, 1] = keep[STEPS - 1, 2] = 0.0
    return keep


def plain_gru(gates: Tensor, keep: Tensor, state: Tensor, weight: Tensor) -> Tensor:
    out = []
    for t in range(len(gates)):
        state = state * keep[t]
        from_input, recurrent = gates[t].chunk(3, 1), (state @ weight.t()).chunk(3, 1)
        reset, update = (torch.sigmoid(from_input[i] + recurrent[i]) for i in range(2))
        candidate = torch.tanh(from_input[2] + reset * recurrent[2])
        state = (1 - update) * candidate + update * state
        out.append(state)
    return torch.stack(out)


def plain_lstm(gates: Tensor, keep: Tensor, h: Tensor, c: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    out_h, out_c = [], []
    for t in range(len(gates)):
        h, c = h * keep[t], c * keep[t]
        enter, forget, candidate, leave = (gates[t] + h @ weight.t()).chunk(4, 1)
        c = torch.sigmoid(forget) * c + torch.sigmoid(enter) * torch.tanh(candidate)
        h = torch.sigmoid(leave) * torch.tanh(c)
        out_h.append(h)
        out_c.append(c)
    return torch.stack(out_h), torch.stack(out_c)


def assert_same_with_gradients(fast: tuple[Tensor, ...], slow: tuple[Tensor, ...], inputs: list[Tensor]) -> None:
    assert len(fast) == len(slow)
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other)
    weights = [torch.randn_like(part) for part in slow]
    totals = [sum((part * weight).sum() for part, weight in zip(parts, weights, strict=True)) for parts in (fast, slow)]
    gradients = [torch.autograd.grad(total, inputs, retain_graph=True) for total in totals]
    for one, other in zip(*gradients, strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other)


def test_gru_loop_equals_plain_autograd() -> None:
    inputs = [double(STEPS, BATCH, 3 * WIDTH), double(BATCH, WIDTH), double(3 * WIDTH, WIDTH)]
    gates, state, weight = inputs
    fast = _GruLoop.apply(gates, resets(), state, weight)
    assert_same_with_gradients((fast,), (plain_gru(gates, resets(), state, weight),), inputs)


def test_lstm_loop_equals_plain_autograd() -> None:
    inputs = [double(STEPS, BATCH, 4 * WIDTH), double(BATCH, WIDTH), double(BATCH, WIDTH), double(4 * WIDTH, WIDTH)]
    gates, h, c, weight = inputs
    fast = _LstmLoop.apply(gates, resets(), h, c, weight)
    assert_same_with_gradients(fast, plain_lstm(gates, resets(), h, c, weight), inputs)


@pytest.mark.parametrize("steps", [1, 2, 7, 8, 33])
def test_scan_equals_recurrence(steps: int) -> None:
    real = double(steps, BATCH, WIDTH, 2)
    size, phase, start = double(WIDTH), double(WIDTH), double(BATCH, WIDTH, 2)
    keep = (torch.rand(steps, BATCH, 1, dtype=torch.float64) > 0.2).double()
    keep[0, 0], keep[0, 1] = 1.0, 0.0
    decay = torch.polar(torch.sigmoid(size), phase)
    drive, state = torch.view_as_complex(real), torch.view_as_complex(start)
    fast = _DiagonalScan.apply(decay, keep, drive, state)
    slow = []
    for t in range(steps):
        state = decay * keep[t] * state + drive[t]
        slow.append(state)
    views = torch.view_as_real(fast), torch.view_as_real(torch.stack(slow))
    assert_same_with_gradients((views[0],), (views[1],), [real, size, phase, start])


def test_scan_stays_bounded_over_long_sequences() -> None:
    ssm = DiagonalSsm(inputs=2, width=4, modes=8)
    keep = torch.ones(5000, 1, 1)
    out, state = ssm(torch.ones(5000, 1, 2), keep, torch.zeros(1, 16))
    out.sum().backward()
    assert state.abs().max() < 100
    assert all(bool(parameter.grad.isfinite().all()) for parameter in ssm.parameters())


def test_eigenvalues_stay_inside_the_unit_disc_whatever_the_parameters() -> None:
    ssm = DiagonalSsm(inputs=2, width=4, modes=3)
    with torch.no_grad():
        ssm.log_rate.copy_(torch.tensor([-30.0, 0.0, 30.0]))
    _, state = ssm(torch.ones(2000, 1, 2), torch.ones(2000, 1, 1), torch.zeros(1, 6))
    assert state.isfinite().all()


@pytest.mark.parametrize("stride", [1, 2, 3, 5, 20])
def test_lstm_takes_in_every_kth_row_of_each_episode(stride: int) -> None:
    """Against a loop that looks at one row of one environment at a time."""
    lstm = StridedLstm(3, WIDTH, stride)
    x = torch.randn(12, BATCH, 3)
    keep = torch.ones(12, BATCH, 1)
    keep[0, 0] = keep[5, 1] = keep[9, 1] = 0.0
    h, c, clock = torch.randn(BATCH, WIDTH), torch.randn(BATCH, WIDTH), torch.tensor([[0.0], [1.0], [2.0]]) % stride
    out, *last = lstm(x, keep, h, c, clock)
    for row in range(BATCH):
        own = [part[row : row + 1] for part in (h, c)]
        count = clock[row].item()
        for t in range(12):
            if keep[t, row] == 0:
                own, count = [torch.zeros(1, WIDTH), torch.zeros(1, WIDTH)], 0
            if count == 0:
                gates = lstm.inward(x[t : t + 1, row])
                steps = plain_lstm(gates[None], torch.ones(1, 1, 1), *own, lstm.recurrent)
                own, count = [part[0] for part in steps], stride
            count -= 1
            torch.testing.assert_close(out[t, row], own[0][0])
        torch.testing.assert_close(last[0][row], own[0][0])
        torch.testing.assert_close(last[1][row], own[1][0])
        assert last[2][row].item() == (0 if stride == 1 else count)


def test_sequence_shorter_than_the_stride_holds_the_state() -> None:
    lstm = StridedLstm(3, WIDTH, 5)
    h, c, clock = torch.randn(2, WIDTH), torch.randn(2, WIDTH), torch.full((2, 1), 4.0)
    out, last_h, last_c, clock = lstm(torch.randn(2, 2, 3), torch.ones(2, 2, 1), h, c, clock)
    torch.testing.assert_close(out, h.expand(2, -1, -1))
    torch.testing.assert_close(last_h, h)
    torch.testing.assert_close(last_c, c)
    assert clock.tolist() == [[2.0], [2.0]]


@pytest.mark.parametrize("kind", ["gru", "lstm", "ssm"])
def test_reset_isolates_what_follows_from_what_went_before(kind: str) -> None:
    cell = {"gru": Gru(3, WIDTH), "lstm": StridedLstm(3, WIDTH, 1), "ssm": DiagonalSsm(3, WIDTH, 5)}[kind]
    widths = {"gru": [WIDTH], "lstm": [WIDTH, WIDTH, 1], "ssm": [10]}[kind]
    x, keep = torch.randn(6, 2, 3), torch.ones(6, 2, 1)
    keep[3, 0] = 0.0
    state = [torch.zeros(2, width) for width in widths]
    other = x.clone()
    other[:3] += 1.0
    before, after = cell(x, keep, *state)[0], cell(other, keep, *state)[0]
    assert torch.equal(before[3:, 0], after[3:, 0])
    assert not torch.isclose(before[3:, 1], after[3:, 1]).all()
