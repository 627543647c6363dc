"""Losses that make the demonstrated action the best one.

In: action values `[..., A]`, demonstrated actions `[...]`. Out: a loss of each, in the unit of the values, never
negative. Nothing is changed in place. Knows no network, no settings.

Both have gradients in the values between -1 and 1, as the Huber loss of a TD error has: their weights say how much a
demonstration counts beside one reward, whatever the temperature or the margin.
"""

from __future__ import annotations

import torch
from torch import Tensor

from daddy_puffer.numerics.returns import soft_value


def cloning_loss(q_values: Tensor, action: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of softmax(Q / temperature), which is what plays, times the temperature: `soft_value(Q) - Q[a]`."""
    return soft_value(q_values, temperature) - _taken(q_values, action)


def large_margin_loss(q_values: Tensor, action: Tensor, margin: float) -> Tensor:
    """`max over b of (Q[b] + margin * (b != a)) - Q[a]`: 0 once the demonstrated one leads by `margin`.

    Source: Hester 2018 (DQfD), J_E; Piot 2014.
    """
    lead = torch.full_like(q_values, margin).scatter(-1, action.unsqueeze(-1), 0.0)
    return (q_values + lead).amax(-1) - _taken(q_values, action)


def _taken(q_values: Tensor, action: Tensor) -> Tensor:
    return q_values.gather(-1, action.unsqueeze(-1)).squeeze(-1)
