"""Figures of a progress model: how reliable its chances are, its score along runs, the pairs it gets wrong.

In: scores, pairs, rows of a table. Out: PNG and CSV files.
"""

from __future__ import annotations

import csv
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from daddy_puffer.files import replacing
from daddy_puffer.pretraining.frames import FrameSet
from daddy_puffer.pretraining.pairs import KINDS, Pairs, ReliabilityRow, kinds_of
from daddy_puffer.pretraining.pictures import save_grid
from daddy_puffer.vision.pixels import to_levels

WORST = 16  # pairs shown of each kind


def save_table(path: Path, rows: list[ReliabilityRow]) -> Path:
    """The reliability table as CSV."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(ReliabilityRow)])
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in asdict(row).items()} for row in rows)
    return path


def save_reliability(path: Path, rows: list[ReliabilityRow], error: float) -> Path:
    """What is said against what is right, and how often it is said."""
    figure = Figure(figsize=(5.0, 4.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0.5, 1], [0.5, 1], color="grey", linestyle="--", linewidth=1, label="calibrated")
    above.plot([row.said for row in rows], [row.right for row in rows], marker="o", color="black", label="model")
    above.set(ylabel="share of pairs told right", ylim=(0.4, 1.02), title=f"expected calibration error {error:.3f}")
    above.legend(loc="upper left")
    total = sum(row.pairs for row in rows)
    for row in rows:
        below.bar(row.low, row.pairs / total, row.high - row.low, align="edge", color="grey", edgecolor="white")
    below.set(xlabel="chance that the model gives its answer", ylabel="share of pairs", xlim=(0.5, 1))
    return _save(path, figure)


def save_curves(path: Path, frames: FrameSet, shares: Tensor) -> Path:
    """Progress (share of a run's frames that score less) against game time, a panel a run, badges marked."""
    spans = frames.spans()[:6]
    figure = Figure(figsize=(9.0, 1.5 * len(spans) + 0.6), layout="constrained")
    panels = np.atleast_1d(figure.subplots(len(spans), 1, sharex=True, sharey=True, squeeze=True))
    for panel, name, (begin, end) in zip(panels, frames.names, spans, strict=False):
        seconds, badges = frames.seconds[begin:end], frames.scene[begin:end, 1]
        panel.plot(seconds, shares[begin:end], color="black", linewidth=0.7)
        for place in np.flatnonzero(np.diff(badges.astype(int)) > 0):
            panel.axvline(seconds[place + 1], color="grey", linestyle=":")
        panel.set_title(name, fontsize=8, loc="left")
        panel.set_ylim(-0.02, 1.02)
    panels[-1].set_xlabel("game time, s (dotted: a badge)")
    figure.supylabel("progress")
    return _save(path, figure)


def save_failures(folder: Path, step: int, frames: FrameSet, scores: Tensor, pairs: Pairs) -> list[Path]:
    """The pairs told wrong most surely, a file for each kind that has any; the earlier frame is above."""
    margin = (scores[pairs.later] - scores[pairs.earlier]).numpy()
    kinds, levels = kinds_of(frames, pairs), to_levels(torch.from_numpy(frames.frames)).numpy()
    paths = []
    for kind, name in enumerate(KINDS):
        wrong = np.flatnonzero((kinds == kind) & (margin < 0))
        chosen = _different(frames, pairs, wrong[np.argsort(margin[wrong])])
        if chosen:
            shown = [(levels[pairs.earlier[row]], levels[pairs.later[row]]) for row in chosen]
            paths.append(save_grid(folder / f"wrong_{name}_{step:06d}.png", shown, columns=WORST // 2))
    return paths


def _different(frames: FrameSet, pairs: Pairs, ordered: NDArray[np.int64]) -> list[int]:
    """The first of `ordered` whose earlier pictures are all different."""
    seen: set[bytes] = set()
    found: list[int] = []
    for row in ordered.tolist():
        picture = frames.frames[pairs.earlier[row]].tobytes()
        if picture not in seen:
            seen.add(picture)
            found.append(row)
        if len(found) == WORST:
            break
    return found


def _save(path: Path, figure: Figure) -> Path:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return path
