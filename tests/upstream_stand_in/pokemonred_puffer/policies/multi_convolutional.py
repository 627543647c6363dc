"""Their default policy, and its recurrent form in the same module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class MultiConvolutionalPolicy(nn.Module):
    def __init__(self, env: Any, hidden_size: int = 16) -> None:
        super().__init__()
        self.enter = nn.LazyLinear(hidden_size)
        self.act, self.value = nn.Linear(hidden_size, env.single_action_space.n), nn.Linear(hidden_size, 1)


class MultiConvolutionalRNN(nn.Module):
    def __init__(self, env: Any, policy: MultiConvolutionalPolicy, hidden_size: int = 16) -> None:
        super().__init__()
        self.policy, self.recurrent = policy, nn.LSTM(hidden_size, hidden_size)

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Tensor, Any]:
        rows = x.reshape(x.shape[0], -1, x.shape[-1]).float() / 255
        out, state = self.recurrent(torch.relu(self.policy.enter(rows)).transpose(0, 1), state)
        flat = out.transpose(0, 1).flatten(0, 1)
        return self.policy.act(flat), self.policy.value(flat), state
