"""Priorities of sequences in replay, and the weights that undo their bias.

In, out: numpy arrays. Knows no replay, no settings. Sources: Kapturowski 2019, section 2.3; Schaul 2016, section 3.4.
"""

from __future__ import annotations

import numpy as np

from daddy_puffer.types import Array


def sequence_priority(td_error: Array, mask: Array, max_weight: float) -> Array:
    """`max_weight` times the largest plus `1 - max_weight` times the mean absolute TD error, f64 `[B]`.

    `td_error` f32 `[T, B]`, `mask` bool `[T, B]`: only its rows count; a sequence without any has priority 0.
    """
    size = np.where(mask, np.abs(td_error), 0.0).astype(np.float64)
    rows = np.maximum(mask.sum(axis=0), 1)
    return max_weight * size.max(axis=0) + (1.0 - max_weight) * size.sum(axis=0) / rows


def importance_weights(probability: Array, exponent: float) -> Array:
    """`probability ** -exponent`, divided by the largest of the batch; f32 `[B]`.

    `probability` f64 `[B]` with which each was drawn. Exponent 1 undoes the bias wholly, 0 not at all.
    """
    weights = probability**-exponent
    return (weights / weights.max()).astype(np.float32)
