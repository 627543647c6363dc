"""The visual stream of HierQ that begins with the encoder of a tokenizer (docs/PRETRAINING.md, "In the agent").

In: packed frames u8 `[N, stack, 72, 20]` (or `[N, stack, 72, 80]`), or the latents that `encode` made of them, and
visited u8 `[N, 9, 10]`. Out: f32 `[N, size]`. Knows no time and no game but the grid of its screen.

Every frame of a stack goes through the encoder by itself; latents (before a codebook, which would only coarsen them)
and visited cells meet where a cell is one place, as in `ScreenEncoder`. What follows is trained in any case.

A frozen encoder's weights are buffers: part of every `state_dict`, but nothing that an optimiser, ours or a host's,
would be given or a network's copy would have to follow. The shape is read off the weights, so that a checkpoint loads
where the tokenizer has moved or is gone; only who needs the tokenizer itself is told so, by `check_pretrained`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from daddy_puffer.errors import UserError
from daddy_puffer.policies.encoder import BLOCK, BLOCKS, LEVEL_SCALE, cells_to_blocks, pack_pixels
from daddy_puffer.types import PACKED_WIDTH
from daddy_puffer.vision.tokenizer import FrameEncoder, TokenizerSettings, encoder_settings, load_tokenizer

LARGEST_CHUNK = 512  # frames encoded at a time on a CPU, some 50 MB of what they become on the way


class PretrainedScreen(nn.Module):
    """In place of `ScreenEncoder`."""

    def __init__(self, path: Path, stack: int, channels: tuple[int, int, int], size: int, *, trained: bool):
        """`path` of the tokenizer; `channels` of cells and blocks are the last two; `trained`: its encoder, too."""
        super().__init__()
        self.stack, self.trained = stack, trained
        self.missing = ""  # why there are no weights yet
        _, cell, block = channels
        try:
            tokenizer = load_tokenizer(path)
        except UserError as error:
            self.missing = f"policy.pretrained: {error}"
            encoder = FrameEncoder(TokenizerSettings())
        else:
            encoder = tokenizer.encoder
        self.enter = nn.Linear(stack * _latent_size(encoder) + 2, cell)
        self.block = nn.Linear(BLOCK**2 * cell, block)
        self.merge = nn.Linear(BLOCKS * block, size)
        self.norm = nn.LayerNorm(size)
        for layer in (self.enter, self.block):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        self.encoder = encoder
        self._fix()

    def check_pretrained(self) -> None:
        """See that the weights are those of a tokenizer or a checkpoint.

        Raises:
            UserError: they are neither.
        """
        if self.missing:
            raise UserError(self.missing)

    def encode(self, frames: Tensor) -> Tensor:
        """Latents f32 `[N, stack * D, 9, 10]` of packed frames u8; without gradient if the encoder is frozen."""
        self.check_pretrained()
        if frames.shape[-1] != PACKED_WIDTH:
            frames = pack_pixels(frames)
        with torch.set_grad_enabled(self.trained and torch.is_grad_enabled()):
            latents = self._encode_all(frames.flatten(0, 1))
        return latents.unflatten(0, (len(frames), self.stack)).flatten(1, 2)

    def forward(self, frames: Tensor, visited: Tensor) -> Tensor:
        """See the module's text."""
        latents = frames if frames.is_floating_point() else self.encode(frames)
        seen = torch.stack([visited != 0, visited / LEVEL_SCALE], dim=-1)
        cells = torch.cat([latents.permute(0, 2, 3, 1), seen], dim=-1).flatten(0, 2)
        cells = functional.relu(self.enter(cells))
        blocks = functional.relu(self.block(cells_to_blocks(cells)))
        return functional.relu(self.norm(self.merge(blocks.view(len(latents), -1))))

    def train(self, mode: bool = True) -> PretrainedScreen:
        """A frozen encoder never trains."""
        super().train(mode)
        self.encoder.train(mode and self.trained)
        return self

    def _encode_all(self, frames: Tensor) -> Tensor:
        if frames.device.type != "cpu" or len(frames) <= LARGEST_CHUNK:
            return self.encoder(frames)
        return torch.cat([self.encoder(part) for part in frames.split(LARGEST_CHUNK)])

    def _fix(self) -> None:
        """Make the encoder's weights trained ones, or no parameters at all."""
        self.encoder.requires_grad_(self.trained).train(self.trained and self.training)
        if self.trained:
            return
        for part in self.encoder.modules():
            for name, weight in list(part.named_parameters(recurse=False)):
                delattr(part, name)
                part.register_buffer(name, weight.detach())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take on the shape of what is loaded; it comes before the encoder's own loading."""
        begin = f"{prefix}encoder."
        stored = {name.removeprefix(begin): value for name, value in state_dict.items() if name.startswith(begin)}
        settings = encoder_settings(stored)
        if not _same_shape(self.encoder, stored):
            device = self.enter.weight.device
            self.encoder = FrameEncoder(settings).to(device)
            self.enter = nn.Linear(self.stack * settings.latent_size + 2, self.enter.out_features, device=device)
            self._fix()
        self.missing = ""
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _latent_size(encoder: FrameEncoder) -> int:
    return int(encoder[-1].weight.shape[0])  # type: ignore[index]


def _same_shape(encoder: FrameEncoder, stored: dict[str, Tensor]) -> bool:
    own = {name: value.shape for name, value in encoder.state_dict().items()}
    return own == {name: value.shape for name, value in stored.items()}
