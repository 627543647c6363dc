"""Signed hyperbolic rescaling of values, and its inverse.

In, out: tensors of any shape. `h(x) = sign(x) (sqrt(|x| + 1) - 1) + epsilon x`, Pohlen 2018, used by R2D2.
Both are written without differences of near numbers, so that float32 keeps all its digits from 1e-30 to 1e30.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-3  # Pohlen 2018 has 1e-2, R2D2 1e-3; keeps the inverse Lipschitz


def rescale(x: Tensor, epsilon: float = EPSILON) -> Tensor:
    """h(x); `sqrt(|x| + 1) - 1` is taken as `|x| / (sqrt(|x| + 1) + 1)`."""
    return x / (torch.sqrt(x.abs() + 1.0) + 1.0) + epsilon * x


def unrescale(x: Tensor, epsilon: float = EPSILON) -> Tensor:
    """The inverse of h.

    With `u = sqrt(|y| + 1) - 1` the equation `h(y) = x` is `epsilon u^2 + (1 + 2 epsilon) u = |x|`, and
    `|y| = u (u + 2)`.
    """
    linear = 1.0 + 2.0 * epsilon
    u = 2.0 * x.abs() / (linear + torch.sqrt(linear**2 + 4.0 * epsilon * x.abs()))
    return torch.sign(x) * u * (u + 2.0)
