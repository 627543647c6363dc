"""A frame as 9x10 latents, one a map cell, and back: an autoencoder (continuous) or a VQ-VAE (tokens).

In: packed frames u8 `[N, 72, 20]`. Out: latents f32 `[N, D, 9, 10]`, tokens i64 `[N, 9, 10]`, brightness f32
`[N, 1, 72, 80]`. Knows no game but the grid of its screen: 4x4-pixel tiles, 2x2 of them a cell, with windows that touch
but do not overlap (as `policies/encoder.py`); residual blocks of 3x3 cells look around (van den Oord 2017, 4.1).

`load_tokenizer` is what others begin with: the network, frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from daddy_puffer.errors import UserError
from daddy_puffer.vision.codebook import Codebook
from daddy_puffer.vision.pixels import to_brightness
from daddy_puffer.vision.saved import find_saved, load_saved

TOKENIZER_FILE = "tokenizer.pt"
LARGEST, DEEPEST = 1 << 14, 64  # of a layer's sizes, and layers: a damaged file must not ask for years
KINDS = ("vq", "continuous")
ROWS, COLUMNS = 9, 10  # of latents
CELLS = ROWS * COLUMNS
TILE = 4  # pixels of a side


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerSettings:
    """Shape of the network."""

    kind: str = "vq"
    latent_size: int = 16  # numbers a cell
    codes: int = 512  # of the codebook; a continuous one has none
    tile_channels: int = 64
    cell_channels: int = 96
    block_channels: int = 32  # inside a residual block
    blocks: int = 1  # residual blocks, of encoder and of decoder

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.kind not in KINDS:
            raise UserError(f"--kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        sizes = (self.latent_size, self.codes, self.tile_channels, self.cell_channels, self.block_channels)
        if min(sizes) < 2 or max(sizes) > LARGEST or not 0 <= self.blocks <= DEEPEST:
            raise UserError(
                f"sizes of a tokenizer are 2 to {LARGEST} and blocks at most {DEEPEST}, got {sizes} and {self.blocks}"
            )


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the encoder makes of frames.

    raw      f32 [N, D, 9, 10]  before the codebook; with gradient while training
    latents  f32 [N, D, 9, 10]  what the decoder gets: codes where there is a codebook, gradient passed straight through
    tokens   i64 [N, 9, 10]     None for a continuous one
    """

    raw: Tensor
    latents: Tensor
    tokens: Tensor | None


class _Block(nn.Module):
    """Adds what a window of 3x3 cells says."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, inner, 3, padding=1), nn.ReLU(), nn.Conv2d(inner, channels, 1)
        )

    def forward(self, cells: Tensor) -> Tensor:
        return cells + self.body(cells)


class FrameEncoder(nn.Sequential):
    """Packed frames u8 `[N, 72, 20]` to latents f32 `[N, D, 9, 10]`, as they are before a codebook."""

    def __init__(self, settings: TokenizerSettings) -> None:
        tile, cell = settings.tile_channels, settings.cell_channels
        super().__init__(
            nn.Conv2d(1, tile, TILE, TILE), nn.ReLU(), nn.Conv2d(tile, cell, 2, 2), *_blocks(settings), nn.ReLU(),
            nn.Conv2d(cell, settings.latent_size, 1),
        )  # fmt: skip

    def forward(self, packed: Tensor) -> Tensor:
        """See the class."""
        cells = super().forward(to_brightness(packed)[:, None]).permute(0, 2, 3, 1)
        # a fixed scale: else a small latent would pass for a small error, of codes and of predictions
        return functional.layer_norm(cells, cells.shape[-1:]).permute(0, 3, 1, 2)


def encoder_settings(weights: Mapping[str, Tensor]) -> TokenizerSettings:
    """The shape of the `FrameEncoder` whose `state_dict` that is.

    Raises:
        UserError: it is none.
    """
    inner = [weight for name, weight in weights.items() if name.endswith(".body.1.weight")]
    try:
        return TokenizerSettings(
            kind="continuous",
            tile_channels=weights["0.weight"].shape[0],
            cell_channels=weights["2.weight"].shape[0],
            latent_size=weights[f"{len(inner) + 4}.weight"].shape[0],
            blocks=len(inner),
            **({"block_channels": inner[0].shape[0]} if inner else {}),
        )
    except (KeyError, IndexError) as error:
        raise UserError("these are no weights of a tokenizer's encoder") from error


def _blocks(settings: TokenizerSettings) -> list[nn.Module]:
    return [_Block(settings.cell_channels, settings.block_channels) for _ in range(settings.blocks)]


class Tokenizer(nn.Module):
    """See the module's text."""

    def __init__(self, settings: TokenizerSettings) -> None:
        super().__init__()
        self.settings = settings
        tile, cell, latent = settings.tile_channels, settings.cell_channels, settings.latent_size
        self.encoder = FrameEncoder(settings)
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, cell, 1), *_blocks(settings), nn.ReLU(), nn.ConvTranspose2d(cell, tile, 2, 2), nn.ReLU(),
            nn.ConvTranspose2d(tile, 1, TILE, TILE),
        )  # fmt: skip
        self.codebook = Codebook(settings.codes, latent) if settings.kind == "vq" else None

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.parameters()).device

    def encode(self, packed: Tensor) -> Encoded:
        """Latents of packed frames u8 `[N, 72, 20]`."""
        raw = self.encoder(packed)
        if self.codebook is None:
            return Encoded(raw, raw, None)
        tokens = self.codebook.nearest(flat(raw.detach())).view(len(packed), ROWS, COLUMNS)
        codes = self.embed(tokens)
        # the sum is the codes but for rounding, and passes the decoder's gradient on to the encoder
        return Encoded(raw, raw + (codes - raw).detach() if raw.requires_grad else codes, tokens)

    def embed(self, tokens: Tensor) -> Tensor:
        """Latents f32 `[N, D, 9, 10]` of tokens i64 `[N, 9, 10]`.

        Raises:
            ValueError: it has no tokens.
        """
        if self.codebook is None:
            raise ValueError("a continuous tokenizer has no tokens")
        return self.codebook.embed(tokens).permute(0, 3, 1, 2)

    def nearness(self, vectors: Tensor) -> Tensor:
        """Minus the squared distance f32 `[N, K]` of vectors f32 `[N, D]` from every code; see `embed` for errors."""
        if self.codebook is None:
            raise ValueError("a continuous tokenizer has no codes")
        return -self.codebook.squared_distances(vectors)

    def decode(self, latents: Tensor) -> Tensor:
        """Brightness f32 `[N, 1, 72, 80]` of latents f32 `[N, D, 9, 10]`; may leave 0..1 a little."""
        return self.decoder(latents)


def flat(latents: Tensor) -> Tensor:
    """Latents `[N, D, 9, 10]` as vectors `[N * 90, D]`."""
    return latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])


def load_tokenizer(path: Path, device: str | torch.device = "cpu") -> Tokenizer:
    """The tokenizer in a file or a folder of `pretrain tokenizer`, frozen.

    Raises:
        UserError: there is none, it is damaged, or of another version.
    """
    file = find_saved(path, TOKENIZER_FILE)
    return restore_tokenizer(load_saved(file, "tokenizer", device), file, device).eval().requires_grad_(False)


def restore_tokenizer(state: dict[str, Any], file: Path, device: str | torch.device) -> Tokenizer:
    """The network out of what a file holds; `file` is named in errors.

    Raises:
        UserError: it is of another version.
    """
    try:
        tokenizer = Tokenizer(TokenizerSettings(**state["settings"]))
        tokenizer.load_state_dict(state["network"])
    except Exception as error:  # damage makes torch raise nearly anything
        raise UserError(f"{file} holds another network: train it anew with this version") from error
    return tokenizer.to(device)


def own_state(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a network but for those of the frozen `tokenizer` that is part of it."""
    return {name: value for name, value in model.state_dict().items() if not name.startswith("tokenizer.")}


def load_own_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Put back what `own_state` returned.

    Raises:
        ValueError: it is of another network.
    """
    found = model.load_state_dict(state, strict=False)
    if found.unexpected_keys or any(not name.startswith("tokenizer.") for name in found.missing_keys):
        raise ValueError("other names")


def network_state(tokenizer: Tokenizer) -> dict[str, Any]:
    """What `restore_tokenizer` needs."""
    return {"settings": asdict(tokenizer.settings), "network": tokenizer.state_dict()}
