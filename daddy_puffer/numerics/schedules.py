"""Settings that change with time or differ among environments.

In: a step count or the number of environments. Out: numbers. Knows no settings.
"""

from __future__ import annotations

import numpy as np

from daddy_puffer.types import Array


def linear(step: int, start: float, end: float, duration_steps: int) -> float:
    """From `start` at step 0 to `end` at `duration_steps`, constant afterwards; `end` at once if that is 0."""
    done = 1.0 if duration_steps <= 0 else min(max(step / duration_steps, 0.0), 1.0)
    return (1.0 - done) * start + done * end


def epsilon_ladder(num_envs: int, base: float = 0.4, spread: float = 7.0) -> Array:
    """Exploration by environment: `base ** (1 + spread * i / (num_envs - 1))`, f32 `[num_envs]`, falling.

    Source: Horgan 2018 (Ape-X), kept by R2D2. One environment alone gets `base`.
    """
    place = np.arange(num_envs) / max(1, num_envs - 1)
    return (base ** (1.0 + spread * place)).astype(np.float32)
