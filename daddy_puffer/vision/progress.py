"""How far a run has come, told from one frame: a score that is higher for what comes later.

In: packed frames u8 `[N, 72, 20]`. Out: scores f32 `[N]`, in nats: sigma(s_b - s_a) is the chance that b comes after a
(Bradley & Terry 1952). Knows no game but the grid of its screen.

A score has no unit of its own, so `share` says what share of a run's frames score less, 0 to 1: a bounded measure that
grows evenly over a run. It is read off `knots`, quantiles of the scores of frames that were trained on.

Three bodies: `small` looks at 4x4-pixel tiles, 2x2 of them a map cell, 3x3 cells (as `vision/tokenizer.py`); `head` has
the frozen latents of a tokenizer instead of tiles; `resnet34` is that of He 2016 (table 1) with one channel in.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from daddy_puffer.errors import UserError
from daddy_puffer.vision.pixels import to_brightness
from daddy_puffer.vision.saved import find_saved, load_saved
from daddy_puffer.vision.tokenizer import (
    CELLS,
    LARGEST,
    TILE,
    Tokenizer,
    load_own_state,
    network_state,
    own_state,
    restore_tokenizer,
)

PROGRESS_FILE = "progress.pt"
MODELS = ("small", "resnet34", "head")
KNOTS = 33  # quantiles kept
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # channels and blocks of ResNet-34
AT_A_TIME = 256  # frames scored in one go


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressSettings:
    """Shape of the network."""

    model: str = "small"
    channels: int = 48  # of a map cell; of small and head
    hidden: int = 128  # before the score; of small and head

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.model not in MODELS:
            raise UserError(f"--model must be one of {', '.join(MODELS)}, got {self.model!r}")
        if min(self.channels, self.hidden) < 2 or max(self.channels, self.hidden) > LARGEST:
            raise UserError(f"channels and hidden are 2 to {LARGEST}, got {self.channels, self.hidden}")


class _Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He 2016, figure 2)."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != channels:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, image: Tensor) -> Tensor:
        return functional.relu(self.body(image) + self.shortcut(image))


def resnet34() -> nn.Sequential:
    """Brightness f32 `[N, 1, 72, 80]` to one number f32 `[N, 1]`."""
    layers: list[nn.Module] = [
        nn.Conv2d(1, 64, 7, 2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1),
    ]  # fmt: skip
    inputs = 64
    for stage, (channels, blocks) in enumerate(STAGES):
        for block in range(blocks):
            layers.append(_Residual(inputs, channels, stride=2 if stage and not block else 1))
            inputs = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1))


def cells_to_score(inputs: int, settings: ProgressSettings) -> nn.Sequential:
    """Cells f32 `[N, inputs, 9, 10]` to one number f32 `[N, 1]`: where on the screen something is matters."""
    channels, narrow = settings.channels, max(settings.channels // 3, 1)
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, narrow, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(narrow * CELLS, settings.hidden), nn.ReLU(), nn.Linear(settings.hidden, 1),
    )  # fmt: skip


class ProgressModel(nn.Module):
    """See the module's text; the tokenizer of a `head` is part of it, frozen."""

    knots: Tensor  # f32 [33] rising scores, evenly spread over a run's frames

    def __init__(self, settings: ProgressSettings, tokenizer: Tokenizer | None = None) -> None:
        """`tokenizer` for model `head`, and for no other.

        Raises:
            UserError: a head without tokenizer, or a tokenizer without head.
        """
        super().__init__()
        self.settings = settings
        if (settings.model == "head") != (tokenizer is not None):
            raise UserError("--model head needs --tokenizer, a folder of `pretrain tokenizer`, and no other model does")
        self.tokenizer = tokenizer.eval().requires_grad_(False) if tokenizer is not None else None
        self.body = self._body()
        self.register_buffer("knots", torch.linspace(-1, 1, KNOTS))

    def _body(self) -> nn.Sequential:
        if self.settings.model == "resnet34":
            return resnet34()
        if self.tokenizer is not None:
            return cells_to_score(self.tokenizer.settings.latent_size, self.settings)
        channels = self.settings.channels
        cells = [nn.Conv2d(1, channels, TILE, TILE), nn.ReLU(), nn.Conv2d(channels, channels, 2, 2), nn.ReLU()]
        return nn.Sequential(*cells, *cells_to_score(channels, self.settings))

    def learned_parameters(self) -> list[nn.Parameter]:
        """All but the tokenizer's."""
        return list(self.body.parameters())

    def train(self, mode: bool = True) -> ProgressModel:
        """The tokenizer stays as it is."""
        super().train(mode)
        if self.tokenizer is not None:
            self.tokenizer.eval()
        return self

    def forward(self, packed: Tensor) -> Tensor:
        """Scores; see the module's text."""
        if self.tokenizer is not None:
            with torch.no_grad():
                seen = self.tokenizer.encode(packed).latents
        else:
            seen = to_brightness(packed)[:, None]
        return self.body(seen)[:, 0]

    @torch.no_grad()
    def scores(self, packed: Tensor) -> Tensor:
        """Scores of many frames, on the CPU, as in use: batches do not matter."""
        was_training, device = self.training, self.knots.device
        self.eval()
        found = torch.cat([self(part.to(device)).cpu() for part in packed.split(AT_A_TIME)])
        self.train(was_training)
        return found

    def set_knots(self, scores: Tensor) -> None:
        """Measure shares by these scores f32 `[N]` of frames spread evenly over runs."""
        self.knots.copy_(torch.quantile(scores.float(), torch.linspace(0, 1, KNOTS)))

    def shares(self, scores: Tensor) -> Tensor:
        """What share of a run's frames score less, f32 `[N]` on the CPU, 0 to 1."""
        knots = self.knots.cpu().double().numpy()
        rising = knots + np.arange(KNOTS) * 1e-9  # equal quantiles would leave it undefined
        found = np.interp(scores.double().numpy(), rising, np.linspace(0, 1, KNOTS))
        return torch.from_numpy(found).float()


class FrameScore:
    """A model as a function of one frame, for whoever knows no torch."""

    def __init__(self, model: ProgressModel, bounded: bool) -> None:
        """`bounded`: shares of a run, 0 to 1, instead of scores in nats."""
        self._model, self._bounded = model, bounded

    def __call__(self, packed: NDArray[np.uint8]) -> float:
        """Of one packed frame u8 `[72, 20]`."""
        score = self._model.scores(torch.from_numpy(np.ascontiguousarray(packed))[None])
        return float(self._model.shares(score) if self._bounded else score)


def load_progress(path: Path, device: str | torch.device = "cpu") -> ProgressModel:
    """The model in a file or a folder of `pretrain reward-model`, frozen.

    Raises:
        UserError: there is none, it is damaged, or of another version.
    """
    file = find_saved(path, PROGRESS_FILE)
    with torch.random.fork_rng(devices=[]):  # weights are drawn before they are read: nobody's numbers change by it
        model = restore_progress(load_saved(file, "progress", device), file, device)
    return model.eval().requires_grad_(False)


def restore_progress(state: dict[str, Any], file: Path, device: str | torch.device) -> ProgressModel:
    """The network out of what a file holds; `file` is named in errors.

    Raises:
        UserError: it is of another version.
    """
    try:
        kept = state["tokenizer"]
        tokenizer = restore_tokenizer(kept, file, device) if kept else None
        model = ProgressModel(ProgressSettings(**state["settings"]), tokenizer)
        load_own_state(model, state["network"])
    except Exception as error:  # damage makes torch raise nearly anything
        raise UserError(f"{file} holds another network: train it anew with this version") from error
    return model.to(device)


def progress_state(model: ProgressModel) -> dict[str, Any]:
    """What `restore_progress` needs."""
    kept = network_state(model.tokenizer) if model.tokenizer is not None else {}
    return {"settings": asdict(model.settings), "network": own_state(model), "tokenizer": kept}
