"""How good a picture, a codebook or a prediction is. In: tensors. Out: numbers. Knows no network."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PATCH = 8  # pixels of a map cell's side, and of what a token stands for
_SMALLEST = 1e-10  # mean squared error of a picture that is right: 100 dB


def psnr(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB, for a range of 1; at most 100."""
    return -10 * math.log10(max(mean_squared_error, _SMALLEST))


def codes_used(counts: Tensor) -> float:
    """Share of the codes that were chosen at all; `counts` `[K]`."""
    return float((counts > 0).float().mean())


def perplexity(counts: Tensor) -> float:
    """Of how many equally likely codes the choice would be as hard to guess: e to the entropy; `counts` `[K]`."""
    shares = counts.double() / counts.sum()
    return float(torch.exp(torch.special.entr(shares).sum()))


def changed_cells(before: Tensor, after: Tensor) -> Tensor:
    """Which cells bool `[..., 9, 10]` differ in any pixel of levels `[..., 72, 80]`."""
    different = before != after
    cells = different.unflatten(-1, (-1, PATCH)).unflatten(-3, (-1, PATCH))
    return cells.any(-1).any(-2)


def mean_over(values: Tensor, where: Tensor) -> float:
    """Mean of `values` where `where`; NaN if nowhere."""
    return float(values[where].double().mean()) if bool(where.any()) else math.nan


def copy_last(context: Tensor) -> Tensor:
    """The guess that nothing changes: the newest of `[N, T, ...]`, `[N, ...]`."""
    return context[:, -1]
