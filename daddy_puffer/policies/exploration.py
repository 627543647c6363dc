"""Epsilon-greedy as a distribution, and its temporally extended form, in which an exploratory action lasts.

As a distribution, whoever samples from logits explores with true log-probabilities.
In: action values `[..., A]`, epsilon `[...]` (one an environment). Out: probabilities, logits, actions. No settings.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from daddy_puffer.types import Array

SMALLEST = 1e-38  # stands for probability 0: its logarithm is finite in float32


def epsilon_greedy_probabilities(q_values: Tensor, epsilon: Tensor, temperature: float = 0.0) -> Tensor:
    """`epsilon / A` for each action, the rest for the best one (the first of equals).

    A `temperature` above 0, in units of value, shares the rest out as softmax(Q / temperature) instead: where all
    actions are worth about the same none of them is stuck to.
    """
    count = q_values.shape[-1]
    if temperature:
        kept = (1.0 - epsilon).unsqueeze(-1)
        return kept * (q_values / temperature).softmax(-1) + (1.0 - kept) / count
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


class RepeatedExploration:
    """Temporally extended epsilon-greedy (Dabney et al. 2021): a random action is kept for n steps, n ~ zeta.

    Single random buttons diffuse through a map; runs of one button cross it. `epsilon` is the chance that a step
    which is not already part of a run begins one. Some actions are worth a try in few places only, which random buttons
    hardly ever meet: they are taken with chance `try_suggested` where they are suggested.
    """

    def __init__(
        self,
        num_envs: int,
        num_actions: int,
        exponent: float,
        longest: int,
        seed: int,
        try_suggested: float = 0.0,
    ) -> None:
        """`exponent` > 1 of the zeta distribution, 2 in the paper; no run is longer than `longest` steps."""
        self._try_suggested = try_suggested
        self._num_actions, self._exponent, self._longest = num_actions, exponent, longest
        self._held: Array = np.zeros(num_envs, np.int64)
        self._left: Array = np.zeros(num_envs, np.int64)
        self._rng = np.random.default_rng(seed)

    def choose(self, greedy: Array, epsilon: Array, first: Array, suggested: Array | None = None) -> Array:
        """Actions i64 `[B]`; `greedy` i64 `[B]` where no run is on; an episode's first step (bool `[B]`) ends a run.

        `epsilon` f32 `[B]`, one for each environment; `suggested` i64 `[B]`: an action to try, -1 = none.
        """
        count = len(greedy)
        self._left[first] = 0
        begins = (self._left == 0) & (self._rng.random(count) < epsilon)
        drawn = self._rng.integers(self._num_actions, size=count)
        lengths = np.minimum(self._rng.zipf(self._exponent, count), self._longest)
        self._held = np.where(begins, drawn, self._held)
        self._left = np.where(begins, lengths, self._left)
        actions: Array = np.where(self._left > 0, self._held, greedy)
        self._left = np.maximum(self._left - 1, 0)
        if self._try_suggested and suggested is not None:
            tries = (suggested >= 0) & (self._rng.random(count) < self._try_suggested)
            actions = np.where(tries, suggested, actions)
        return actions

    def state_dict(self) -> dict[str, Any]:
        """What the next choice depends on."""
        return {"held": self._held.tolist(), "left": self._left.tolist(), "rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` returned; of another number of environments no run of actions goes on."""
        held, left = (np.array(state[name], np.int64) for name in ("held", "left"))
        same = held.shape == left.shape == self._held.shape
        self._held, self._left = (held, left) if same else (np.zeros_like(self._held), np.zeros_like(self._left))
        self._rng.bit_generator.state = state["rng"]
