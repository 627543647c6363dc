"""Where measurements of imitation go: TensorBoard, `evaluations.jsonl`, a line on the screen.

In: `Measured` updates, `Evaluation`s. Out: files in a folder. Knows no network and no game.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from daddy_puffer.imitate.bc import Measured
from daddy_puffer.imitate.evaluation import Evaluation
from daddy_puffer.telemetry.lines import LineFile

EVALUATIONS = "evaluations.jsonl"
LOG_PERIOD = 100  # updates between two points of TensorBoard's curves
SHOWN_MILESTONES = 4


@dataclass(slots=True)
class Log:
    """Where measurements go: TensorBoard, `evaluations.jsonl`, a line on the screen."""

    folder: Path
    _losses: list[float] = field(default_factory=list)
    _accuracies: list[float] = field(default_factory=list)
    _board: Any = None
    _lines: LineFile | None = None

    def __enter__(self) -> Log:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._board, self._lines = SummaryWriter(str(self.folder / "tb")), LineFile(self.folder / EVALUATIONS)
        return self

    def __exit__(self, *error: object) -> None:
        self._board.close()
        if self._lines is not None:
            self._lines.close()

    def update(self, measured: Measured) -> None:
        """Take note of an update."""
        self._losses.append(measured.loss)
        self._accuracies.append(measured.accuracy)
        if measured.step % LOG_PERIOD == 0:
            for name, values in (("loss", self._losses), ("accuracy", self._accuracies)):
                self._board.add_scalar(f"bc/{name}", float(np.mean(values[-LOG_PERIOD:])), measured.step)
            self._board.add_scalar("bc/gradient_norm", measured.gradient_norm, measured.step)

    def evaluation(
        self,
        step: int,
        held_out_accuracy: float,
        found: Evaluation,
        best: bool,
        others: Mapping[str, float | None] | None = None,
    ) -> dict[str, Any]:
        """Take note of an evaluation and of `others` by name; loss and accuracy are means since the one before.

        Returns what `evaluations.jsonl` got.
        """
        row = {
            "step": step,
            "loss": float(np.mean(self._losses)) if self._losses else None,
            "accuracy": float(np.mean(self._accuracies)) if self._accuracies else None,
            "held_out_accuracy": None if np.isnan(held_out_accuracy) else held_out_accuracy,
            **asdict(found),
            **(others or {}),
        }
        self._losses, self._accuracies = [], []
        if self._lines is not None:
            self._lines.write(json.dumps(row) + "\n")
        for name in ("success", "mean_return", "mean_length"):
            self._board.add_scalar(f"eval/{name}", row[name], step)
        for name, rate in found.milestones.items():
            self._board.add_scalar(f"milestone/{name}", rate, step)
        for name, value in (others or {}).items():
            if value is not None:
                self._board.add_scalar(f"dagger/{name}", value, step)
        if row["held_out_accuracy"] is not None:
            self._board.add_scalar("eval/held_out_accuracy", held_out_accuracy, step)
        learnt = ""
        if row["loss"] is not None:
            held_out = "" if np.isnan(held_out_accuracy) else f" (held out {held_out_accuracy:.3f})"
            learnt = f"loss {row['loss']:.4f}, accuracy {row['accuracy']:.3f}{held_out}, "
        print(f"{step:>7} {learnt}{in_words(found)}{' *' if best else ''}", flush=True)
        return row


def in_words(found: Evaluation) -> str:
    """An evaluation in a line."""
    rates = [f"{name} {rate:.2f}" for name, rate in list(found.milestones.items())[:SHOWN_MILESTONES]]
    text = f"success {found.success:.2f}, return {found.mean_return:.2f}, length {found.mean_length:.0f}"
    return ", ".join([text, *rates])
