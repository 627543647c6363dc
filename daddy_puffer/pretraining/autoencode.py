"""Stage 1A: the tokenizer learns to give frames back.

In: `FrameSet`s. Out: a tokenizer. The loss is the mean squared error of brightness, a share of a perceptual loss, and
for the codebook a commitment: raw latents stay near their codes (van den Oord 2017, equation 3, third term; the second
is replaced by moving averages, see `vision/codebook.py`).

Held-out runs are whole runs, but the game has one title screen: frames that training has seen bit for bit are told from
new ones, and both are measured.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from daddy_puffer.errors import UserError
from daddy_puffer.pretraining.frames import FrameSet
from daddy_puffer.pretraining.loop import Values
from daddy_puffer.pretraining.pictures import save_grid
from daddy_puffer.vision.losses import perceptual_loss, structural_loss
from daddy_puffer.vision.measures import codes_used, mean_over, perplexity, psnr
from daddy_puffer.vision.pixels import nearest_levels, to_brightness, to_levels
from daddy_puffer.vision.tokenizer import (
    TOKENIZER_FILE,
    Tokenizer,
    TokenizerSettings,
    flat,
    network_state,
    restore_tokenizer,
)

EVALUATED_FRAMES = 2048  # of the held-out ones, evenly spread
EVALUATION_BATCH = 128
SPREAD_PICTURES, WORST_PICTURES = 16, 8  # in a grid
COMMITMENT_WEIGHT = 0.25  # van den Oord 2017
LAST_RATE = 0.1  # of the learning rate at the end, fallen linearly


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencodeSettings:
    """How to learn."""

    batch_size: int = 64  # frames
    learning_rate: float = 1e-3
    perceptual: str = "auto"
    perceptual_weight: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.batch_size < 1 or self.learning_rate <= 0 or self.perceptual_weight < 0:
            raise UserError(
                "batch size from 1, learning rate above 0, perceptual weight from 0, "
                f"got {self.batch_size, self.learning_rate, self.perceptual_weight}"
            )


class TokenizerTrainer:
    """A `loop.Trainer`."""

    kind, file_name = "tokenizer", TOKENIZER_FILE

    def __init__(
        self, frames: dict[str, FrameSet], shape: TokenizerSettings, settings: AutoencodeSettings, device: torch.device
    ) -> None:
        """`frames` by split."""
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        self.tokenizer = Tokenizer(shape).to(device)
        self._perceptual, line = perceptual_loss(settings.perceptual, device)
        print(line, flush=True)
        self._frames = torch.from_numpy(frames["train"].frames)
        chosen = spread(len(frames["test"]), EVALUATED_FRAMES)
        self._held_out = torch.from_numpy(frames["test"].frames[chosen])
        self._new = torch.from_numpy(frames["test"].new_to(frames["train"])[chosen])
        self._optimizer = torch.optim.Adam(self.tokenizer.parameters(), lr=settings.learning_rate)

    def update(self, share_done: float) -> Values:
        """One batch of frames drawn at random."""
        set_rate(self._optimizer, self.settings.learning_rate, share_done)
        rows = torch.randint(len(self._frames), (self.settings.batch_size,))
        packed = self._frames[rows].to(self.device)
        wanted = to_brightness(packed)[:, None]
        encoded = self.tokenizer.encode(packed)
        shown = self.tokenizer.decode(encoded.latents)
        values = {"train/mse": functional.mse_loss(shown, wanted)}
        loss = values["train/mse"]
        if self._perceptual is not None:
            values["train/perceptual"] = self._perceptual(shown, wanted)
            loss = loss + self.settings.perceptual_weight * values["train/perceptual"]
        if encoded.tokens is not None:
            values["train/commitment"] = functional.mse_loss(encoded.raw, encoded.latents.detach())
            loss = loss + COMMITMENT_WEIGHT * values["train/commitment"]
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        restarts = self._follow(encoded.raw.detach(), encoded.tokens)
        return {"loss": float(loss.detach())} | {k: float(v.detach()) for k, v in values.items()} | restarts

    def _follow(self, raw: Tensor, tokens: Tensor | None) -> Values:
        codebook = self.tokenizer.codebook
        if codebook is None or tokens is None:
            return {}
        vectors, chosen = flat(raw), tokens.flatten()
        codebook.follow(vectors, chosen)
        return {"train/codes_restarted": float(codebook.restart_dead(vectors, chosen))}

    def evaluate(self) -> Values:
        """Held-out frames, given back."""
        return measure(self.tokenizer, self._held_out, self._new)

    def draw(self, folder: Path, step: int) -> list[Path]:
        """A grid: frames spread over the held-out runs, then those given back worst."""
        shown, errors, _ = reconstruct(self.tokenizer, self._held_out)
        real = to_levels(self._held_out).numpy()
        worst = errors.argsort(descending=True)[:WORST_PICTURES].tolist()
        chosen = [*spread(len(real), SPREAD_PICTURES).tolist(), *worst]
        pairs = [(real[row], nearest_levels(shown[row]).numpy()) for row in chosen]
        return [save_grid(folder / f"held_out_{step:06d}.png", pairs)]

    def state(self) -> dict[str, Any]:
        """Network, optimiser, settings."""
        return {
            **network_state(self.tokenizer),
            "optimizer": self._optimizer.state_dict(),
            "learning": asdict(self.settings),
        }

    def load_state(self, state: dict[str, Any], file: Path) -> None:
        """Go on from there."""
        check_same(file, asdict(self.tokenizer.settings) | asdict(self.settings), state["settings"] | state["learning"])
        self.tokenizer.load_state_dict(restore_tokenizer(state, file, self.device).state_dict())
        self._optimizer.load_state_dict(state["optimizer"])


def set_rate(optimizer: torch.optim.Optimizer, rate: float, share_done: float) -> None:
    """Let the learning rate fall in a line from `rate` to `LAST_RATE` of it, with the share of the updates done."""
    for group in optimizer.param_groups:
        group["lr"] = rate * (1 - (1 - LAST_RATE) * share_done)


def check_same_tokenizer(file: Path, now: Tokenizer, before: Tokenizer) -> None:
    """Compare the tokenizer that is given with the one that `file` was made with.

    Raises:
        UserError: they differ.
    """
    own, others = now.state_dict(), before.state_dict()
    if own.keys() != others.keys() or any(not torch.equal(value, others[name]) for name, value in own.items()):
        raise UserError(f"{file} was made with another tokenizer: give that one")


def check_same(file: Path, now: dict[str, Any], before: dict[str, Any]) -> None:
    """Compare the options of a resumed run with those it began with.

    Raises:
        UserError: one is another.
    """
    for name, value in now.items():
        if before.get(name) != value:
            raise UserError(
                f"{file} was made with {name} {before.get(name)}, not {value}: resume with the same options"
            )


def spread(count: int, most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """At most `most` of the rows 0..`count` - 1, evenly spread, each once."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


@torch.no_grad()
def reconstruct(tokenizer: Tokenizer, packed: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Brightness f32 `[N, 72, 80]`, squared error of each frame f32 `[N]`, tokens i64 `[N, 9, 10]` if it has them."""
    shown, errors, tokens = [], [], []
    for part in packed.split(EVALUATION_BATCH):
        here = part.to(tokenizer.device)
        encoded = tokenizer.encode(here)
        brightness = tokenizer.decode(encoded.latents)[:, 0]
        errors.append((brightness - to_brightness(here)).square().mean((1, 2)).cpu())
        shown.append(brightness.cpu())
        if encoded.tokens is not None:
            tokens.append(encoded.tokens.cpu())
    return torch.cat(shown), torch.cat(errors), torch.cat(tokens) if tokens else None


def measure(tokenizer: Tokenizer, packed: Tensor, new: Tensor) -> Values:
    """What docs/PRETRAINING.md lists under `test/`; `new` `[N]`: frames that were not trained on bit for bit."""
    shown, errors, tokens = reconstruct(tokenizer, packed)
    levels = to_levels(packed)
    right = (nearest_levels(shown) == levels).float().mean((1, 2))
    structural = [
        float(structural_loss(one[:, None], other[:, None])) * len(one)
        for one, other in zip(shown.split(EVALUATION_BATCH), to_brightness(packed).split(EVALUATION_BATCH), strict=True)
    ]
    values = {
        "test/mse": float(errors.mean()),
        "test/psnr": psnr(float(errors.mean())),
        "test/pixels_right": float(right.mean()),
        "test/structural_loss": sum(structural) / len(packed),
        "test/new_share": float(new.float().mean()),
        "test/new_pixels_right": mean_over(right, new),
    }
    if bool(new.any()):
        values["test/new_psnr"] = psnr(mean_over(errors, new))
    if tokens is not None:
        counts = torch.bincount(tokens.flatten(), minlength=tokenizer.settings.codes)
        values |= {"test/codes_used": codes_used(counts), "test/perplexity": perplexity(counts)}
    return values
