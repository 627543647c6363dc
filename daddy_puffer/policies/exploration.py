"""Epsilon-greedy as a distribution, so that whoever samples from logits explores with true log-probabilities.

In: action values `[..., A]`, epsilon `[...]` (one an environment). Out: probabilities, logits, actions. No settings.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 1e-38  # stands for probability 0: its logarithm is finite in float32


def epsilon_greedy_probabilities(q_values: Tensor, epsilon: Tensor) -> Tensor:
    """`epsilon / A` for each action, the rest for the best one (the first of equals)."""
    count = q_values.shape[-1]
    spread = (epsilon / count).unsqueeze(-1)
    best = q_values.argmax(dim=-1, keepdim=True)
    uniform = spread.expand(q_values.shape)
    return uniform.scatter(-1, best, 1.0 - (count - 1) * spread)


def epsilon_greedy_logits(q_values: Tensor, epsilon: Tensor) -> Tensor:
    """Log-probabilities of that mixture, finite; they are normalised logits."""
    return epsilon_greedy_probabilities(q_values, epsilon).clamp(min=SMALLEST).log()


def sample(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """One action i64 for each row of `[B, A]`, drawn with the caller's generator."""
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)
