"""The three memories: GRU, LSTM (every k-th step), diagonal state space model. Time first, resets inside sequences.

In: f32 `[T, B, D]`, keep f32 `[T, B, 1]` (0 where an episode begins, so the state before that row counts as zero) and
the state before row 0. Out: f32 `[T, B, H]` and the state after the last row. One step is a sequence of length one.
Knows no observation and no action.

The loops have hand-written backward passes: step by step autograd costs three times as much on a CPU, and the fused
loops of torch know no resets. tests/test_memory.py compares them with plain autograd.

Sources: Cho 2014 (GRU, without the second bias), Hochreiter & Schmidhuber 1997 with Gers 2000 (LSTM), Orvieto 2023
(LRU: eigenvalues as exp(-exp(nu) + i theta), normalised drive), Lu 2023 (scan with resets).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from daddy_puffer.policies.precision import in_float32, without_autocast

SHORTEST_MEMORY = 2.0  # steps after which the fastest mode of the state space model has decayed to 1/e
LONGEST_MEMORY = 1000.0  # and the slowest
LARGEST_PHASE = math.pi / 10  # radians a step; LRU restricts it likewise for long memory


class _GruLoop(torch.autograd.Function):
    """Gates `[T, B, 3H]` (reset, update, candidate, from the input), keep, state, weight `[3H, H]` to `[T, B, H]`."""

    @staticmethod
    @in_float32
    def forward(ctx: Any, gates: Tensor, keep: Tensor, state: Tensor, weight: Tensor) -> Tensor:
        steps, batch, width = len(gates), *state.shape
        kept, candidate, out = (state.new_empty(steps, batch, width) for _ in range(3))
        switches, recurrent = state.new_empty(steps, batch, 2 * width), torch.empty_like(gates)
        to_switches, to_candidate = gates.split((2 * width, width), dim=-1)
        across = weight.t()
        rows = (to_switches, to_candidate, keep, kept, recurrent, switches, candidate, out)
        for for_both, for_candidate, stay, before, product, both, new, after in zip(*_by_row(rows), strict=True):
            torch.mul(state, stay, out=before)
            torch.mm(before, across, out=product)
            torch.add(for_both, product[:, : 2 * width], out=both).sigmoid_()
            torch.addcmul(for_candidate, both[:, :width], product[:, 2 * width :], out=new).tanh_()
            state = torch.lerp(new, before, both[:, width:], out=after)
        ctx.save_for_backward(keep, weight, kept, recurrent, candidate, switches)
        return out

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:  # type: ignore[override]
        keep, weight, kept, recurrent, candidate, switches = ctx.saved_tensors
        width = kept.shape[-1]
        inner = recurrent[..., 2 * width :]
        reset, update = switches.unflatten(-1, (2, width)).unbind(2)
        to_candidate = (1 - update) * (1 - candidate.square())
        to_reset = to_candidate * inner * reset * (1 - reset)
        to_update = (kept - candidate) * update * (1 - update)
        factors = torch.stack([to_reset, to_update, to_candidate * reset], dim=2)
        through = torch.empty_like(factors)  # gradients of the three recurrent products
        held = keep * update
        arriving = torch.empty_like(kept)
        carried = torch.zeros_like(kept[0])
        rows = (grad, keep, arriving, factors, through, held)
        for own, stay, total, factor, products, holds in reversed(list(zip(*_by_row(rows), strict=True))):
            torch.add(own, carried, out=total)
            torch.mul(total.unsqueeze(1), factor, out=products)
            carried = torch.mm(products.flatten(1), weight).mul_(stay).addcmul_(total, holds)
        flat = through.flatten(2)
        weight_grad = flat.flatten(0, 1).t() @ kept.flatten(0, 1)
        gate_grad = torch.cat([flat[..., : 2 * width], arriving * to_candidate], dim=-1)
        return gate_grad, None, carried, weight_grad


class _LstmLoop(torch.autograd.Function):
    """Gates `[T, B, 4H]` (input, forget, candidate, output), keep, h, c, weight `[4H, H]` to h and c `[T, B, H]`."""

    @staticmethod
    @in_float32
    def forward(ctx: Any, gates: Tensor, keep: Tensor, h: Tensor, c: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        steps, batch, width = len(gates), *h.shape
        kept_h, kept_c, squashed, out_h, out_c = (h.new_empty(steps, batch, width) for _ in range(5))
        switches = torch.empty_like(gates)
        across = weight.t()
        rows = (gates, keep, kept_h, kept_c, switches, squashed, out_h, out_c)
        for own, stay, before_h, before_c, total, squash, after_h, after_c in zip(*_by_row(rows), strict=True):
            torch.mul(h, stay, out=before_h)
            torch.mul(c, stay, out=before_c)
            torch.addmm(own, before_h, across, out=total)
            new = total[:, 2 * width : 3 * width].tanh()
            total.sigmoid_()
            total[:, 2 * width : 3 * width] = new
            enter, forget, candidate, leave = total.chunk(4, dim=1)
            c = torch.mul(forget, before_c, out=after_c).addcmul_(enter, candidate)
            h = torch.mul(leave, torch.tanh(c, out=squash), out=after_h)
        ctx.save_for_backward(keep, weight, kept_h, kept_c, squashed, switches)
        return out_h, out_c

    @staticmethod
    @once_differentiable
    @without_autocast
    def backward(ctx: Any, grad_h: Tensor, grad_c: Tensor) -> tuple[Tensor, None, Tensor, Tensor, Tensor]:  # type: ignore[override]
        keep, weight, kept_h, kept_c, squashed, switches = ctx.saved_tensors
        steps, batch, width = kept_h.shape
        enter, forget, candidate, leave = switches.unflatten(-1, (4, width)).unbind(2)
        to_enter = candidate * enter * (1 - enter)
        to_forget = kept_c * forget * (1 - forget)
        to_candidate = enter * (1 - candidate.square())
        factors = torch.stack([to_enter, to_forget, to_candidate], dim=2)
        to_leave = squashed * leave * (1 - leave)
        to_cell = leave * (1 - squashed.square())
        held = keep * forget
        through = torch.empty(steps, batch, 4, width, dtype=keep.dtype, device=keep.device)
        h, c = torch.zeros_like(kept_h[0]), torch.zeros_like(kept_c[0])
        rows = (grad_h, grad_c, keep, factors, to_leave, to_cell, held, through)
        for own_h, own_c, stay, factor, leaves, cells, holds, products in reversed(
            list(zip(*_by_row(rows), strict=True))
        ):
            h += own_h
            c = (c + own_c).addcmul_(h, cells)
            torch.mul(c.unsqueeze(1), factor, out=products[:, :3])
            torch.mul(h, leaves, out=products[:, 3])
            h = torch.mm(products.flatten(1), weight).mul_(stay)
            c *= holds
        flat = through.flatten(2)
        return flat, None, h, c, flat.flatten(0, 1).t() @ kept_h.flatten(0, 1)


class _DiagonalScan(torch.autograd.Function):
    """`x[t] = decay * keep[t] * x[t - 1] + drive[t]` for complex decay `[N]`, drive `[T, B, N]`, state `[B, N]`."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, keep: Tensor, drive: Tensor, state: Tensor) -> Tensor:
        entered = torch.cat([drive[:1] + decay * keep[:1] * state, drive[1:]])
        out = _scan(decay, keep, entered)
        ctx.save_for_backward(decay, keep, out, state)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        decay, keep, out, state = ctx.saved_tensors
        # The gradient runs the same recurrence backwards in time, with the resets one row later.
        later = torch.cat([keep[1:], torch.ones_like(keep[:1])])
        through = _scan(decay.conj(), later.flip(0), grad.flip(0)).flip(0)
        before = torch.cat([state.unsqueeze(0), out[:-1]])
        decay_grad = (keep * before.conj() * through).sum((0, 1))
        return decay_grad, None, through, decay.conj() * keep[0] * through[0]


def _scan(decay: Tensor, keep: Tensor, drive: Tensor) -> Tensor:
    """All prefixes at once, in log2 T rounds (Hillis & Steele 1986); row 0 holds the whole past.

    The decay is the same in every row, so a span of d rows needs only `decay ** d` and whether it holds a reset.
    """
    span, power, open_span, x = 1, decay, keep, drive
    while span < len(drive):
        x = torch.cat([x[:span], x[span:] + power * (open_span[span:] * x[:-span])])
        open_span = torch.cat([open_span[:span], open_span[span:] * open_span[:-span]])
        power, span = power * power, 2 * span
    return x


def _by_row(parts: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """Rows of each, as views: cheaper to make at once than one by one."""
    return [part.unbind(0) for part in parts]


class Gru(nn.Module):
    """Gated recurrent unit; state `[B, width]`."""

    def __init__(self, inputs: int, width: int):
        """From `inputs` numbers a row to `width`."""
        super().__init__()
        self.inward = nn.Linear(inputs, 3 * width)
        self.recurrent = nn.Parameter(_orthogonal_blocks(3, width))

    def forward(self, x: Tensor, keep: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """`[T, B, inputs]` to `[T, B, width]`, and the state after it."""
        out = _GruLoop.apply(self.inward(x), keep, state, self.recurrent)
        return out, out[-1]


class StridedLstm(nn.Module):
    """Long short-term memory that takes in every `stride`-th row of an episode and holds its output in between.

    The state is h and c `[B, width]` and a clock `[B, 1]`: rows until the next update, zero at an episode's first.
    """

    def __init__(self, inputs: int, width: int, stride: int):
        """From `inputs` numbers a row to `width`."""
        super().__init__()
        self.stride = stride
        self.inward = nn.Linear(inputs, 4 * width)
        self.recurrent = nn.Parameter(_orthogonal_blocks(4, width))
        with torch.no_grad():
            self.inward.bias[width : 2 * width] = 1.0  # remember by default, Jozefowicz 2015

    def forward(
        self, x: Tensor, keep: Tensor, h: Tensor, c: Tensor, clock: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`[T, B, inputs]` to `[T, B, width]`, and h, c, clock after it."""
        if self.stride == 1:
            out_h, out_c = _LstmLoop.apply(self.inward(x), keep, h, c, self.recurrent)
            return out_h, out_h[-1], out_c[-1], clock
        due, clock = self._due(keep, clock)
        updates = due.long().cumsum(0)  # how many have happened, this row's included
        source = _positions(due, updates)
        due_x = x.gather(0, source.expand(-1, -1, x.shape[-1]))
        due_h, due_c = _LstmLoop.apply(self.inward(due_x), keep.gather(0, source), h, c, self.recurrent)
        held = updates.unsqueeze(-1).expand(-1, -1, h.shape[-1])
        out_h = torch.cat([h.unsqueeze(0), due_h]).gather(0, held)
        last_c = torch.cat([c.unsqueeze(0), due_c]).gather(0, held[-1:])[0]
        return out_h, out_h[-1], last_c, clock

    def _due(self, keep: Tensor, clock: Tensor) -> tuple[Tensor, Tensor]:
        """Which rows are taken in, bool `[T, B]`, and the clock after the last."""
        rows = []
        for t in range(len(keep)):
            clock = clock * keep[t]
            due = clock == 0
            clock = torch.where(due, self.stride - 1.0, clock - 1.0)
            rows.append(due)
        return torch.cat(rows, dim=1).t(), clock


def _positions(due: Tensor, updates: Tensor) -> Tensor:
    """Row of the k-th update of each sequence, `[K, B, 1]`; sequences with fewer are filled up with row 0."""
    source = updates.new_zeros(int(updates[-1].max()), due.shape[1])
    rows, columns = due.nonzero(as_tuple=True)
    source[updates[rows, columns] - 1, columns] = rows
    return source.unsqueeze(-1)


class DiagonalSsm(nn.Module):
    """Diagonal linear recurrence of `modes` complex modes, gated, with a skip; state `[B, 2 * modes]`, real pairs."""

    def __init__(self, inputs: int, width: int, modes: int):
        """Eigenvalues start with memories spread evenly on a logarithmic scale; they cannot leave the unit disc."""
        super().__init__()
        self.split = (2 * modes, width, width)
        self.inward = nn.Linear(inputs, sum(self.split))  # drive, gate, skip
        lengths = torch.logspace(math.log10(SHORTEST_MEMORY), math.log10(LONGEST_MEMORY), modes)
        self.log_rate = nn.Parameter(-lengths.log())
        self.phase = nn.Parameter(torch.rand(modes) * LARGEST_PHASE)
        self.outward = nn.Linear(2 * modes, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, keep: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """`[T, B, inputs]` to `[T, B, width]`, and the state after it."""
        drive, gate, skip = self.inward(x).split(self.split, dim=-1)
        rate = torch.exp(self.log_rate)
        decay = torch.polar(torch.exp(-rate), self.phase)
        scale = torch.sqrt(-torch.expm1(-2.0 * rate))  # sqrt(1 - |decay|^2): unit variance under white drive
        drive = torch.view_as_complex(drive.float().unflatten(-1, (-1, 2))) * scale
        before = torch.complex(state[:, 0::2], state[:, 1::2])  # a copy: a part of a state may be misaligned for a view
        modes = torch.view_as_real(_DiagonalScan.apply(decay, keep, drive, before)).flatten(-2)
        return self.norm(skip + torch.sigmoid(gate) * self.outward(modes)), modes[-1]


def _orthogonal_blocks(blocks: int, width: int) -> Tensor:
    return torch.cat([nn.init.orthogonal_(torch.empty(width, width)) for _ in range(blocks)])
