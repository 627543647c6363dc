"""Loss of a batch of sequences.

In: TD errors `[T, B]` with their mask and weights. Out: one number to differentiate. Knows no network, no settings.
"""

from __future__ import annotations

import torch
from torch import Tensor


def masked_sequence_loss(td_error: Tensor, mask: Tensor, weights: Tensor, huber_delta: float = 1.0) -> Tensor:
    """Mean Huber loss of the rows in `mask`, each times its sequence's weight; 0 if there is none.

    `td_error` `[T, B]`, `mask` bool `[T, B]`, `weights` `[B]`. The loss is quadratic up to `huber_delta` and linear
    beyond; infinity makes it half the square. Masked rows may hold anything: neither value nor gradient sees them.
    """
    size = torch.where(mask, td_error, 0.0).abs()
    quadratic = size.clamp(max=huber_delta)
    losses = quadratic * (size - 0.5 * quadratic)
    return (losses * weights).sum() / mask.sum().clamp(min=1)
