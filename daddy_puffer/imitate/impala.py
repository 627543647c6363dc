"""The residual network of IMPALA (Espeholt et al. 2018, figure 3, without its LSTM). In: pictures. Out: logits.

Three stages of 16, 32 and 32 channels: a 3x3 convolution, a 3x3 maximum over every second pixel, two residual blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (16, 32, 32)


class _Residual(nn.Module):
    """Two convolutions, added to what came in."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.relu(self.first(functional.relu(x))))


class _Stage(nn.Sequential):
    """Half the size, more channels."""

    def __init__(self, inputs: int, channels: int):
        super().__init__(
            nn.Conv2d(inputs, channels, 3, padding=1),
            nn.MaxPool2d(3, stride=2, padding=1),
            _Residual(channels),
            _Residual(channels),
        )


class ImpalaCnn(nn.Module):
    """Pictures u8 `[N, H, W, C]` to logits of actions `[N, A]`."""

    def __init__(self, shape: tuple[int, int, int], num_actions: int, hidden_dim: int):
        """`shape`: height, width and channels of a picture."""
        super().__init__()
        height, width, inputs = shape
        stages: list[nn.Module] = []
        for channels in CHANNELS:
            stages.append(_Stage(inputs, channels))
            inputs, height, width = channels, -(-height // 2), -(-width // 2)
        self.stages = nn.Sequential(*stages)
        self.hidden = nn.Linear(inputs * height * width, hidden_dim)
        self.logits = nn.Linear(hidden_dim, num_actions)

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits."""
        x = pictures.permute(0, 3, 1, 2).to(torch.float32) / 255.0
        x = functional.relu(self.stages(x)).flatten(1)
        return self.logits(functional.relu(self.hidden(x)))
