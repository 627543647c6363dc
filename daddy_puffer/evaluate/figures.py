"""Figures of an evaluation. In: scores by checkpoint, a run. Out: PNG and CSV files, drawn as those of the report."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from daddy_puffer.evaluate.comparison import Rate, Score
from daddy_puffer.evaluate.over_training import reached_by_any
from daddy_puffer.files import replacing
from daddy_puffer.report.clock import Clock, time_axis
from daddy_puffer.report.drawing import compare
from daddy_puffer.report.firsts import first_reached, first_times
from daddy_puffer.report.groups import COLOURS
from daddy_puffer.report.page import DPI
from daddy_puffer.report.runs import Run
from daddy_puffer.report.statistics import Band
from daddy_puffer.report.style import draw_band, finish_grid, grid_shape, new_figure, readable, step_axis, styled

TRAINED, RANDOM = COLOURS[0], COLOURS[1]
MOST_PANELS = 15  # with the one of returns; the CSV has all milestones
_NEVER = Rate(rate=0.0, low=0.0, high=0.0)


def draw_over_training(
    path: Path, trained: Sequence[tuple[int, Score]], random: Score | None, clock: Clock | None, title: str
) -> None:
    """Return and share of episodes with each milestone against steps and training time; random play dashed."""
    names = reached_by_any(trained, random)[: MOST_PANELS - 1]
    rows, columns = grid_shape(1 + len(names))
    with styled():
        figure, panels = new_figure(
            rows, columns, 2.1 + 1.0 / rows
        )  # and room for the title, the legend, a second x axis
        for index, (panel, name) in enumerate(zip(panels, ["", *names], strict=False)):
            panel.set_title(readable(name) if name else "return of the game")
            found = [(step, *_value(score, name)) for step, score in trained]
            _draw_curve(panel, np.array(found, np.float64), None if random is None else _value(random, name))
            if name:
                panel.set_ylim(-0.04, 1.04)
                panel.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            if index % columns == 0 or index == 1:
                panel.set_ylabel("share of episodes" if name else "sum of rewards")
            step_axis(panel, trained[-1][0])
            if clock is not None and index < columns:
                time_axis(panel, clock)
        finish_grid(panels, 1 + len(names), columns)
        _finish(figure, panels[0], title)
        _save(figure, path)


def write_first_reached(run: Run, png: Path, table: Path) -> bool:
    """When training first got to each milestone, as a figure and as CSV; False where it got to none."""
    found = first_reached([run.episodes])
    if not found:
        return False
    clock = Clock.of(run.metrics)
    with styled():
        drawing = first_times(compare([run]))
        if drawing.figure is not None:
            _finish(drawing.figure, None, f"{run.name}: {drawing.title[0].lower()}{drawing.title[1:]}")
            _save(drawing.figure, png)
    with replacing(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["milestone", "step", "training_seconds", "true_start_step", "true_start_training_seconds"])
        for first in found:
            writer.writerow([first.milestone, *_timed(first.step, clock), *_timed(first.true_start_step, clock)])
    return True


def _value(score: Score, milestone: str) -> tuple[float, float, float]:
    """What is drawn, with its interval: the share with a milestone, or the return."""
    if not milestone:
        return score.mean_return, score.return_low, score.return_high
    rate = score.milestones.get(milestone, _NEVER)
    return rate.rate, rate.low, rate.high


def _draw_curve(panel: Axes, found: np.ndarray, random: tuple[float, float, float] | None) -> None:
    """`found` f64 [N, 4]: step, value, lower and upper end of the interval."""
    if random is not None:
        panel.axhspan(random[1], random[2], color=RANDOM, alpha=0.13, linewidth=0)
        panel.axhline(random[0], color=RANDOM, linestyle=(0, (4, 3)), linewidth=1.4, label="random buttons")
    step, middle, lower, upper = found.T
    draw_band(panel, step, Band(middle=middle, lower=lower, upper=upper), TRAINED)
    panel.plot(step, middle, color=TRAINED, marker="o", markersize=3.5, clip_on=False, label="trained")


def _finish(figure: Figure, labelled: Axes | None, title: str) -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    if labelled is not None:
        handles, labels = labelled.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside lower right", ncols=2, fontsize=8)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")


def _timed(step: int | None, clock: Clock | None) -> tuple[str, str]:
    """A step, and the seconds of training until then, as far as they are known."""
    if step is None:
        return "", ""
    return str(step), "" if clock is None else f"{float(clock.seconds_at(step)):.1f}"
