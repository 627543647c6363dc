"""What the memories' outputs are turned into: action values, and milestones to come.

In: f32 `[..., D]`. Out: action values `[..., A]` and their level `[...]`; logits `[..., M]`. Sources: Wang 2016
(dueling); LayerNorm before the nonlinearity as in Gallici 2025 (PQN), which bounds the values of unseen inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALL_SCALE = 0.01  # of the first action values: chance must not outweigh small rewards when choosing the best


class QHead(nn.Module):
    """One hidden layer, then action values: a level plus advantages of mean zero, or each action on its own."""

    def __init__(self, inputs: int, hidden: int, num_actions: int, dueling: bool):
        """`hidden` numbers for level and advantages each."""
        super().__init__()
        self.dueling = dueling
        self.enter = nn.Linear(inputs, 2 * hidden)
        self.norm = nn.LayerNorm(2 * hidden)
        if dueling:
            self.level = nn.Linear(hidden, 1)
            self.advantages = nn.Linear(hidden, num_actions)
        else:
            self.values = nn.Linear(2 * hidden, num_actions)
        for layer in (self.level, self.advantages) if dueling else (self.values,):
            nn.init.normal_(layer.weight, std=SMALL_SCALE * layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Action values `[..., A]` and their level `[...]`, the state's value under uniform actions."""
        hidden = functional.relu(self.norm(self.enter(features)))
        if not self.dueling:
            values = self.values(hidden)
            return values, values.mean(dim=-1)
        for_level, for_advantages = hidden.chunk(2, dim=-1)
        level = self.level(for_level)
        advantages = self.advantages(for_advantages)
        return level + advantages - advantages.mean(dim=-1, keepdim=True), level.squeeze(-1)

    @torch.no_grad()
    def forget_level(self) -> None:
        """Make the level 0 in every state; differences of action values stay the same."""
        if self.dueling:
            self.level.weight.zero_()
            self.level.bias.zero_()
        else:
            self.values.weight.sub_(self.values.weight.mean(dim=0))
            self.values.bias.sub_(self.values.bias.mean())


class MilestoneHead(nn.Module):
    """Which milestones will be held a little later; only its gradient reaches the action values."""

    def __init__(self, inputs: int, milestones: int):
        """Logits of `milestones` flags."""
        super().__init__()
        self.logits = nn.Linear(inputs, milestones)

    def forward(self, features: Tensor) -> Tensor:
        """`[..., D]` to `[..., M]`."""
        return self.logits(features)
