"""Phase 2: a score of one frame that tells which of two frames of a run comes later.

In: `FrameSet`s with times. Out: a `ProgressModel`. The loss is the logistic one of score differences (Bradley & Terry
1952; as in Burges 2005) over pairs of frames of one run, 5 to 300 s of game time apart. Of each run in a batch some
frames are drawn and all their pairs count: 96 scores are compared 400 times, and learn as much in 300 updates as from
48 pairs in 500. A quarter of the loss is that of hard pairs: of eight later frames the one that looks most like the
earlier one (`pairs.PairSource.draw_alike`).

It is measured on all pairs of runs that were kept apart, also by distance in time and by what the pictures show, and
beside what one score of a picture could reach at all (see `pairs`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from daddy_puffer.errors import UserError
from daddy_puffer.pretraining.autoencode import check_same, check_same_tokenizer, set_rate, spread
from daddy_puffer.pretraining.frames import FrameSet
from daddy_puffer.pretraining.loop import Values
from daddy_puffer.pretraining.order_pictures import save_curves, save_failures, save_reliability, save_table
from daddy_puffer.pretraining.pairs import (
    DISTANCES,
    KINDS,
    Pairs,
    PairSource,
    calibration_error,
    identical,
    kinds_of,
    lookup_scores,
    reliability,
    right,
    within,
)
from daddy_puffer.vision.measures import mean_over
from daddy_puffer.vision.progress import (
    PROGRESS_FILE,
    ProgressModel,
    ProgressSettings,
    progress_state,
    restore_progress,
)
from daddy_puffer.vision.tokenizer import Tokenizer

EVALUATED_FRAMES = 6144  # of the held-out ones, evenly spread
EVALUATED_PAIRS = 40_000
KNOT_FRAMES = 1024  # of those trained on, by which shares of a run are measured
MAX_GRADIENT_NORM = 5.0
HARD_WEIGHT = 0.25  # of the hard pairs in the loss


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderSettings:
    """How to learn."""

    runs: int = 6  # in an update
    frames_of_run: int = 16  # of each
    hard_pairs: int = 16  # that look alike, beside those
    learning_rate: float = 2e-3
    weight_decay: float = 0.01  # Loshchilov 2019
    seed: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.runs < 1 or self.frames_of_run < 2 or self.hard_pairs < 0:
            raise UserError(
                "runs from 1, frames of a run from 2, hard pairs from 0, "
                f"got {self.runs, self.frames_of_run, self.hard_pairs}"
            )
        if self.learning_rate <= 0 or self.weight_decay < 0:
            raise UserError(f"learning rate above 0, weight decay from 0, got {self.learning_rate, self.weight_decay}")


class OrderTrainer:
    """A `loop.Trainer`."""

    kind, file_name = "progress", PROGRESS_FILE

    def __init__(
        self,
        frames: dict[str, FrameSet],
        shape: ProgressSettings,
        settings: OrderSettings,
        device: torch.device,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        """`frames` by split; `tokenizer` for a head.

        Raises:
            UserError: the runs are too short, or a tokenizer is missing.
        """
        torch.manual_seed(settings.seed)
        self.settings, self.device = settings, device
        self.model = ProgressModel(shape, tokenizer).to(device)
        self._packed = torch.from_numpy(frames["train"].frames)
        self._seconds, self._source = torch.from_numpy(frames["train"].seconds), PairSource(frames["train"])
        self._held_out = thinned(frames["test"], EVALUATED_FRAMES)
        self._remembered = lookup_scores(frames["train"], self._held_out)
        self._pairs = PairSource(self._held_out).draw(EVALUATED_PAIRS, torch.Generator().manual_seed(0))
        self._knot_frames = self._packed[spread(len(self._packed), KNOT_FRAMES)]
        self._scored: Tensor | None = None  # held-out frames, since the last update
        self._optimizer = torch.optim.AdamW(
            self.model.learned_parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    def update(self, share_done: float) -> Values:
        """One batch of frames of some runs, and hard pairs."""
        set_rate(self._optimizer, self.settings.learning_rate, share_done)
        groups = self._source.draw_groups(self.settings.runs, self.settings.frames_of_run)
        alike = self._source.draw_alike(self.settings.hard_pairs)
        rows = torch.cat([groups.flatten(), alike.earlier, alike.later])
        scores = self.model(self._packed[rows].to(self.device))
        of_groups = scores[: groups.numel()].view_as(groups)
        gaps = (of_groups[:, None, :] - of_groups[:, :, None])[within(self._seconds[groups]).to(self.device)]
        earlier, later = scores[groups.numel() :].view(2, -1)
        loss = (1 - HARD_WEIGHT) * order_loss(gaps) + HARD_WEIGHT * order_loss(later - earlier)
        self._scored = None
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.learned_parameters(), MAX_GRADIENT_NORM)
        self._optimizer.step()
        return {
            "loss": float(loss.detach()),
            "train/accuracy": _share_positive(gaps),
            "train/hard_accuracy": _share_positive(later - earlier),
            "train/gradient_norm": float(norm),
        }

    def evaluate(self) -> Values:
        """Pairs of held-out runs."""
        return measure(self._held_out, self._held_out_scores(), self._pairs, self._remembered)

    def draw(self, folder: Path, step: int) -> list[Path]:
        """How reliable it is, progress along held-out runs, the worst pairs of each kind."""
        scores = self._held_out_scores()
        rows = reliability(scores, self._pairs)
        self._measure_knots()
        return [
            save_table(folder / "reliability.csv", rows),
            save_reliability(folder / f"reliability_{step:06d}.png", rows, calibration_error(rows)),
            save_curves(folder / f"curves_{step:06d}.png", self._held_out, self.model.shares(scores)),
            *save_failures(folder, step, self._held_out, scores, self._pairs),
        ]

    def _held_out_scores(self) -> Tensor:
        if self._scored is None:  # evaluated and drawn one after the other
            self._scored = self.model.scores(torch.from_numpy(self._held_out.frames))
        return self._scored

    def _measure_knots(self) -> None:
        self.model.set_knots(self.model.scores(self._knot_frames))

    def state(self) -> dict[str, Any]:
        """Network with its measure of a run, optimiser, settings."""
        self._measure_knots()
        learning = {"optimizer": self._optimizer.state_dict(), "learning": asdict(self.settings)}
        return progress_state(self.model) | learning

    def load_state(self, state: dict[str, Any], file: Path) -> None:
        """Go on from there."""
        check_same(file, asdict(self.model.settings) | asdict(self.settings), state["settings"] | state["learning"])
        before = restore_progress(state, file, self.device)
        if self.model.tokenizer is not None and before.tokenizer is not None:
            check_same_tokenizer(file, self.model.tokenizer, before.tokenizer)
        self.model.load_state_dict(before.state_dict())
        self._scored = None
        self._optimizer.load_state_dict(state["optimizer"])


def order_loss(gaps: Tensor) -> Tensor:
    """Mean of -log sigma(gap) over score differences f32 `[P]`, later minus earlier; 0 without pairs."""
    return functional.softplus(-gaps).sum() / max(len(gaps), 1)


def _share_positive(gaps: Tensor) -> float:
    return float((gaps > 0).double().mean()) if len(gaps) else 0.5


def thinned(frames: FrameSet, most: int) -> FrameSet:
    """At most `most` of the frames, evenly spread."""
    rows = spread(len(frames), most)
    starts = np.searchsorted(rows, frames.starts)
    return replace(
        frames, frames=frames.frames[rows], starts=starts, seconds=frames.seconds[rows], scene=frames.scene[rows]
    )


def measure(frames: FrameSet, scores: Tensor, pairs: Pairs, remembered: Tensor) -> Values:
    """What docs/PRETRAINING.md lists under `test/`; `scores`, `remembered` (`lookup_scores`) of all rows `[N]`."""
    correct = torch.from_numpy(right(scores, pairs))
    same, known = identical(frames, pairs), ~remembered.isnan()
    known_pairs, new_pairs = known[pairs.earlier] & known[pairs.later], ~known[pairs.earlier] & ~known[pairs.later]
    values = {
        "test/loss": float(functional.softplus(scores[pairs.earlier] - scores[pairs.later]).mean()),
        "test/accuracy": float(correct.mean()),
        "test/calibration_error": calibration_error(reliability(scores, pairs)),
        "test/identical_share": float(same.mean()),
        "test/accuracy_bound": 1 - float(same.mean()) / 2,
        "test/known_share": float(known_pairs.double().mean()),
        "test/known_accuracy": mean_over(correct, known_pairs),
        "test/known_lookup_accuracy": mean_over(torch.from_numpy(right(remembered, pairs)), known_pairs),
        "test/new_accuracy": mean_over(correct, new_pairs),
    }
    seconds = torch.from_numpy(frames.seconds)
    apart = seconds[pairs.later] - seconds[pairs.earlier]
    for low, high in zip(DISTANCES, DISTANCES[1:], strict=False):
        last = high == DISTANCES[-1]
        chosen = (apart >= low) & ((apart < high) | last)
        values[f"test/accuracy_{low}_{high}_s"] = mean_over(correct, chosen)
    kinds = torch.from_numpy(kinds_of(frames, pairs))
    for number, kind in enumerate(KINDS):
        values[f"test/accuracy_{kind}"] = mean_over(correct, kinds == number)
        values[f"test/share_{kind}"] = float((kinds == number).double().mean())
    return values
