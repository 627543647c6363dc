"""Stage 1B: learning what comes next, always beside the guess that nothing changes.

In: `FrameSet`s, a frozen tokenizer. Out: a `Dynamics`. The loss is the cross-entropy of the next frame's tokens, or the
mean squared error of its latents.

Most of a screen stays as it is, so a model is worth something only where it beats the newest frame taken for the next
one (`copy_`), and above all in cells of 8x8 pixels where the real frame changes (`changed_`): what changed is told by
the pixels, not by tokens or latents, so that it is the same for every tokenizer. In pixels, the copy is the real frame,
while a model's picture has passed the tokenizer: `tokenizer_pixels_right` says what could be had at best.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from daddy_puffer.errors import UserError
from daddy_puffer.pretraining.autoencode import check_same, check_same_tokenizer, set_rate, spread
from daddy_puffer.pretraining.frames import FrameSet
from daddy_puffer.pretraining.loop import Values
from daddy_puffer.pretraining.pictures import save_film
from daddy_puffer.vision.dynamics import DYNAMICS_FILE, Dynamics, DynamicsSettings, dynamics_state, restore_dynamics
from daddy_puffer.vision.measures import changed_cells, copy_last, mean_over
from daddy_puffer.vision.pixels import nearest_levels, to_levels
from daddy_puffer.vision.tokenizer import Encoded, Tokenizer

EVALUATED_WINDOWS = 512
EVALUATION_BATCH = 64
ROLLOUTS, ROLLOUT_WINDOWS = 4, 64  # in a film, and measured
ROLLOUT_STEPS = 24  # frames imagined
ROLLOUT_MEASURED = (1, 8, 24)  # frames ahead
MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeseeSettings:
    """How to learn."""

    batch_size: int = 32  # windows of frames
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.batch_size < 1 or self.learning_rate <= 0:
            raise UserError(f"batch size from 1, learning rate above 0, got {self.batch_size, self.learning_rate}")


@dataclass(frozen=True, slots=True)
class Windows:
    """Stretches of frames and what the tokenizer makes of them.

    packed   u8  [N, T + 1, 72, 20]
    latents  f32 [N, T + 1, D, 9, 10]
    tokens   i64 [N, T + 1, 9, 10]     None for a continuous tokenizer
    """

    packed: Tensor
    latents: Tensor
    tokens: Tensor | None

    @property
    def seen(self) -> Tensor:
        """What a model sees: all latents but the last frame's."""
        return self.latents[:, :-1]


class DynamicsTrainer:
    """A `loop.Trainer`."""

    kind, file_name = "dynamics", DYNAMICS_FILE

    def __init__(
        self,
        frames: dict[str, FrameSet],
        tokenizer: Tokenizer,
        shape: DynamicsSettings,
        settings: ForeseeSettings,
        device: torch.device,
    ) -> None:
        """`frames` by split.

        Raises:
            UserError: the runs are too short.
        """
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        self.dynamics = Dynamics(shape, tokenizer).to(device)
        self._frames = frames
        self._trained = frames["train"].windows(shape.context + 1)
        self._held_out = frames["test"].windows(shape.context + 1)
        self._long = frames["test"].windows(shape.context + ROLLOUT_STEPS)
        if not (len(self._trained) and len(self._long)):
            raise UserError(f"no run is {shape.context + ROLLOUT_STEPS} frames long: collect longer ones")
        self._optimizer = torch.optim.Adam(self.dynamics.learned_parameters(), lr=settings.learning_rate)
        self._encoded = encode_all(self.dynamics.tokenizer, torch.from_numpy(frames["train"].frames))

    def update(self, share_done: float) -> Values:
        """One batch of windows drawn at random."""
        set_rate(self._optimizer, self.settings.learning_rate, share_done)
        firsts = torch.from_numpy(self._trained)[torch.randint(len(self._trained), (self.settings.batch_size,))]
        batch = self._windows(firsts)
        found = self.dynamics(batch.seen)
        loss = prediction_loss(found, batch)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.dynamics.learned_parameters(), MAX_GRADIENT_NORM)
        self._optimizer.step()
        return {"loss": float(loss.detach()), "train/gradient_norm": float(norm)}

    def _windows(self, firsts: Tensor) -> Windows:
        rows = firsts[:, None] + torch.arange(self.dynamics.settings.context + 1)
        packed = torch.from_numpy(self._frames["train"].frames)[rows].to(self.device)
        if self.dynamics.has_tokens:
            tokens = self._encoded[rows].to(self.device).long()
            latents = self.dynamics.tokenizer.embed(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
            return Windows(packed, latents, tokens)
        return Windows(packed, self._encoded[rows].to(self.device), None)

    def evaluate(self) -> Values:
        """Held-out windows, one frame and many frames ahead."""
        frames = self._frames["test"]
        one = stretches(frames, self._held_out, self.dynamics.settings.context + 1, EVALUATED_WINDOWS)
        many = stretches(frames, self._long, self.dynamics.settings.context + ROLLOUT_STEPS, ROLLOUT_WINDOWS)
        return measure(self.dynamics, one) | measure_rollouts(self.dynamics, many)

    def draw(self, folder: Path, step: int) -> list[Path]:
        """A film of some rollouts, one after the other: what is real on the left, what is imagined on the right.

        The frames seen come first, as the tokenizer shows them on the right.
        """
        context = self.dynamics.settings.context
        packed = stretches(self._frames["test"], self._long, context + ROLLOUT_STEPS, ROLLOUTS)
        real = to_levels(packed)
        with torch.no_grad():
            seen = self.dynamics.tokenizer.decode(
                encode(self.dynamics.tokenizer, packed[:, :context]).latents.flatten(0, 1)
            )
        imagined = self.dynamics.imagine(packed[:, :context].to(self.device), ROLLOUT_STEPS).cpu()
        shown = torch.cat([seen[:, 0].unflatten(0, (len(packed), context)).cpu(), imagined], dim=1)
        path = folder / f"rollout_{step:06d}.gif"
        return [save_film(path, real.flatten(0, 1).numpy(), nearest_levels(shown).flatten(0, 1).numpy())]

    def state(self) -> dict[str, Any]:
        """Network with its tokenizer, optimiser, settings."""
        learning = {"optimizer": self._optimizer.state_dict(), "learning": asdict(self.settings)}
        return dynamics_state(self.dynamics) | learning

    def load_state(self, state: dict[str, Any], file: Path) -> None:
        """Go on from there."""
        check_same(file, asdict(self.dynamics.settings) | asdict(self.settings), state["settings"] | state["learning"])
        before = restore_dynamics(state, file, self.device)
        check_same_tokenizer(file, self.dynamics.tokenizer, before.tokenizer)
        self.dynamics.load_state_dict(before.state_dict())
        self._optimizer.load_state_dict(state["optimizer"])


def prediction_loss(found: Tensor, windows: Windows) -> Tensor:
    """Cross-entropy of logits `[N, 9, 10, K]`, or mean squared error of latents `[N, D, 9, 10]`, of the last frame."""
    if windows.tokens is None:
        return functional.mse_loss(found, windows.latents[:, -1])
    return functional.cross_entropy(found.flatten(0, 2), windows.tokens[:, -1].flatten())


def stretches(frames: FrameSet, firsts: NDArray[np.int64], length: int, most: int) -> Tensor:
    """At most `most` stretches of `length` frames, evenly spread, packed u8 `[N, length, 72, 20]`."""
    chosen = firsts[spread(len(firsts), most)]
    return torch.from_numpy(frames.frames[chosen[:, None] + np.arange(length)])


def encode(tokenizer: Tokenizer, packed: Tensor) -> Windows:
    """What the tokenizer makes of packed u8 `[N, T, 72, 20]`."""
    here = packed.to(tokenizer.device)
    found: Encoded = tokenizer.encode(here.flatten(0, 1))
    shape = packed.shape[:2]
    tokens = None if found.tokens is None else found.tokens.unflatten(0, shape)
    return Windows(here, found.latents.unflatten(0, shape), tokens)


@torch.no_grad()
def encode_all(tokenizer: Tokenizer, packed: Tensor) -> Tensor:
    """Of frames u8 `[N, 72, 20]` tokens i16 `[N, 9, 10]`, or latents f32 `[N, D, 9, 10]` where there are none."""
    parts = []
    for part in packed.split(EVALUATION_BATCH * 4):
        found = tokenizer.encode(part.to(tokenizer.device))
        parts.append((found.latents if found.tokens is None else found.tokens.to(torch.int16)).cpu())
    return torch.cat(parts)


@torch.no_grad()
def measure(dynamics: Dynamics, packed: Tensor) -> Values:
    """One frame ahead on packed windows u8 `[N, T + 1, 72, 20]`: the model, the copy, everywhere and where it changes.

    Names end as in docs/PRETRAINING.md.
    """
    kept: dict[str, list[Tensor]] = {}
    losses = []
    for part in packed.split(EVALUATION_BATCH):
        windows = encode(dynamics.tokenizer, part)
        losses.append(float(prediction_loss(dynamics(windows.seen), windows)) * len(part))
        for name, values in by_cell(dynamics, windows).items():
            kept.setdefault(name, []).append(values.cpu())
    cells = {name: torch.cat(parts) for name, parts in kept.items()}
    changed = cells.pop("changed")
    measured = {"test/loss": sum(losses) / len(packed), "test/changed_share": float(changed.float().mean())}
    for name, found in cells.items():
        measured[f"test/{name}"] = float(found.double().mean())
        measured[f"test/changed_{name}"] = mean_over(found, changed)
    return measured


def by_cell(dynamics: Dynamics, windows: Windows) -> dict[str, Tensor]:
    """Measures of every cell `[N, 9, 10]` of the foretold frame, and which cells have `changed`."""
    found = dynamics.likeliest(windows.seen)
    levels = to_levels(windows.packed[:, -2:])
    last, wanted = levels[:, 0], levels[:, 1]
    decode = dynamics.tokenizer.decode
    cells = {
        "changed": changed_cells(last, wanted),
        "pixels_right": _right(nearest_levels(decode(found.latents)[:, 0]), wanted),
        "copy_pixels_right": _right(copy_last(levels[:, :1]), wanted),
        "tokenizer_pixels_right": _right(nearest_levels(decode(windows.latents[:, -1])[:, 0]), wanted),
    }
    if found.tokens is not None and windows.tokens is not None:
        cells["accuracy"] = (found.tokens == windows.tokens[:, -1]).float()
        cells["copy_accuracy"] = (copy_last(windows.tokens[:, :-1]) == windows.tokens[:, -1]).float()
    else:
        cells["mse"] = (found.latents - windows.latents[:, -1]).square().mean(1)
        cells["copy_mse"] = (copy_last(windows.latents[:, :-1]) - windows.latents[:, -1]).square().mean(1)
    return cells


def _right(shown: Tensor, wanted: Tensor) -> Tensor:
    """Share of each cell's pixels that are right, f32 `[N, 9, 10]`, of levels `[N, 72, 80]`."""
    return functional.avg_pool2d((shown == wanted).float()[:, None], 8)[:, 0]


def measure_rollouts(dynamics: Dynamics, packed: Tensor) -> Values:
    """Pixels right some frames ahead, beside the last frame seen; packed u8 `[N, T + steps, 72, 20]`."""
    context = dynamics.settings.context
    shown = nearest_levels(dynamics.imagine(packed[:, :context].to(dynamics.tokenizer.device), ROLLOUT_STEPS).cpu())
    levels = to_levels(packed)
    copied = copy_last(levels[:, :context])
    values = {}
    for ahead in ROLLOUT_MEASURED:
        wanted = levels[:, context + ahead - 1]
        values[f"rollout/pixels_right_{ahead}"] = float((shown[:, ahead - 1] == wanted).float().mean())
        values[f"rollout/copy_pixels_right_{ahead}"] = float((copied == wanted).float().mean())
    return values
