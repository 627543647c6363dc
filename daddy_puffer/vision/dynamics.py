"""What frame comes next, as latents or tokens of a frozen tokenizer, out of a few frames before; no actions are known.

In: latents f32 `[N, T, D, 9, 10]`, oldest first. Out: for a codebook logits f32
`[N, 9, 10, K]`, else latents f32 `[N, D, 9, 10]`. Knows no pictures.

Every cell is one position: its T latents side by side and where it is. All cells are foretold at once, each by itself
(as one step of MaskGIT, Chang 2022, not one after the other). Blocks are those of a transformer (norm first) or of an
MLP-Mixer (Tolstikhin 2021). The network begins as the copy of the newest frame and learns what differs: most of a
screen stays as it is, and a model that does not know that is beaten by copying for long. Logits are, beside a part for
each code, the nearness of every code to a foretold latent: what scrolls in from a neighbour is learned for all codes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from daddy_puffer.errors import UserError
from daddy_puffer.vision.saved import find_saved, load_saved
from daddy_puffer.vision.tokenizer import (
    CELLS,
    COLUMNS,
    DEEPEST,
    LARGEST,
    ROWS,
    Encoded,
    Tokenizer,
    flat,
    load_own_state,
    network_state,
    own_state,
    restore_tokenizer,
)

DYNAMICS_FILE = "dynamics.pt"
MODELS = ("transformer", "mlp")
SHARPNESS = 0.3  # nats by squared distance, at first: codes lie up to 64 apart, and much changes


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicsSettings:
    """Shape of the network."""

    model: str = "transformer"
    context: int = 4  # frames seen
    width: int = 96  # numbers a position
    layers: int = 2
    heads: int = 4  # of attention; an mlp has none

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.model not in MODELS:
            raise UserError(f"--model must be one of {', '.join(MODELS)}, got {self.model!r}")
        small = min(self.context, self.layers, self.heads, self.width) < 1
        large = max(self.context, self.layers) > DEEPEST or self.width > LARGEST
        if small or large or self.width % self.heads:
            raise UserError(
                f"context and layers 1 to {DEEPEST}, heads from 1, width a multiple of heads up to {LARGEST}, "
                f"got {tuple(asdict(self).values())}"
            )


class _Mixer(nn.Module):
    """Mixes positions, then the numbers of each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.positions = nn.Sequential(nn.Linear(CELLS, 2 * CELLS), nn.GELU(), nn.Linear(2 * CELLS, CELLS))
        self.numbers = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, cells: Tensor) -> Tensor:
        cells = cells + self.positions(self.norms[0](cells).transpose(1, 2)).transpose(1, 2)
        return cells + self.numbers(self.norms[1](cells))


def _zero(linear: nn.Linear) -> nn.Linear:
    """A layer that says nothing yet."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


class Dynamics(nn.Module):
    """See the module's text; the tokenizer is part of it, frozen."""

    def __init__(self, settings: DynamicsSettings, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.settings = settings
        self.tokenizer = tokenizer.eval().requires_grad_(False)
        shape, width = tokenizer.settings, settings.width
        self.has_tokens = tokenizer.codebook is not None
        self.look = nn.Linear(settings.context * shape.latent_size, width)
        self.place = nn.Parameter(torch.randn(CELLS, width) * 0.02)
        self.blocks = nn.ModuleList([self._block() for _ in range(settings.layers)])
        self.norm = nn.LayerNorm(width)
        self.head = _zero(nn.Linear(width, shape.latent_size))  # what the latent changes by
        self.code_head = _zero(nn.Linear(width, shape.codes)) if self.has_tokens else None
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS)) if self.has_tokens else None

    def _block(self) -> nn.Module:
        width = self.settings.width
        if self.settings.model == "mlp":
            return _Mixer(width)
        return nn.TransformerEncoderLayer(
            width, self.settings.heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )

    def learned_parameters(self) -> list[nn.Parameter]:
        """All but the tokenizer's."""
        return [p for name, p in self.named_parameters() if not name.startswith("tokenizer.")]

    def train(self, mode: bool = True) -> Dynamics:
        """The tokenizer stays as it is."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    def forward(self, latents: Tensor) -> Tensor:
        """What comes next; see the module's text for shapes."""
        count = len(latents)
        cells = latents.flatten(1, 2).flatten(2).transpose(1, 2)
        cells = self.look(cells) + self.place
        for block in self.blocks:
            cells = block(cells)
        cells = self.norm(cells)
        found = latents[:, -1] + self.head(cells).transpose(1, 2).view(count, -1, ROWS, COLUMNS)
        if self.code_head is None or self.sharpness is None:
            return found
        nearness = self.tokenizer.nearness(flat(found))
        return (self.sharpness * nearness.view(count, CELLS, -1) + self.code_head(cells)).view(count, ROWS, COLUMNS, -1)

    def likeliest(self, latents: Tensor) -> Encoded:
        """The next frame, the likeliest token of every cell."""
        found = self(latents)
        if not self.has_tokens:
            return Encoded(found, found, None)
        tokens = found.argmax(-1)
        embedded = self.tokenizer.embed(tokens)
        return Encoded(embedded, embedded, tokens)

    @torch.no_grad()
    def imagine(self, context: Tensor, steps: int) -> Tensor:
        """Go on from packed frames u8 `[N, T, 72, 20]` on its own: brightness f32 `[N, steps, 72, 80]`."""
        count, length = context.shape[:2]
        encoded = self.tokenizer.encode(context.flatten(0, 1))
        latents = encoded.latents.unflatten(0, (count, length))
        shown = []
        for _ in range(steps):
            following = self.likeliest(latents)
            latents = torch.cat([latents[:, 1:], following.latents[:, None]], dim=1)
            shown.append(self.tokenizer.decode(following.latents)[:, 0])
        return torch.stack(shown, dim=1)


def load_dynamics(path: Path, device: str | torch.device = "cpu") -> Dynamics:
    """The model in a file or a folder of `pretrain dynamics`, with its tokenizer, frozen.

    Raises:
        UserError: there is none, it is damaged, or of another version.
    """
    file = find_saved(path, DYNAMICS_FILE)
    return restore_dynamics(load_saved(file, "dynamics", device), file, device).eval().requires_grad_(False)


def restore_dynamics(state: dict[str, Any], file: Path, device: str | torch.device) -> Dynamics:
    """The network out of what a file holds; `file` is named in errors.

    Raises:
        UserError: it is of another version.
    """
    try:
        tokenizer = restore_tokenizer(state["tokenizer"], file, device)
        dynamics = Dynamics(DynamicsSettings(**state["settings"]), tokenizer)
        load_own_state(dynamics, state["network"])
    except Exception as error:  # damage makes torch raise nearly anything
        raise UserError(f"{file} holds another network: train it anew with this version") from error
    return dynamics.to(device)


def dynamics_state(dynamics: Dynamics) -> dict[str, Any]:
    """What `restore_dynamics` needs."""
    tokenizer = network_state(dynamics.tokenizer)
    return {"settings": asdict(dynamics.settings), "network": own_state(dynamics), "tokenizer": tokenizer}
