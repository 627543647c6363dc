"""Figures of a sweep. In: trials. Out: `pareto.png`, `parameters.png`. Colours safe for the colour-blind: report/'s."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from daddy_puffer.files import replacing
from daddy_puffer.report.groups import COLOURS
from daddy_puffer.report.style import INK, QUIET, finish_grid, grid_shape, new_figure, short, styled
from daddy_puffer.sweep.results import rank_correlation
from daddy_puffer.sweep.space import Parameter, Space, short_names
from daddy_puffer.sweep.trials import Trial, pareto

OTHER, FRONT = COLOURS[0], COLOURS[1]
DPI = 160
WIDE_LOG = 500.0  # ticks at powers of ten only from this ratio of the ends on
WIDE = 8.0  # a cost axis is logarithmic from this ratio of its ends on


def draw(folder: Path, trials: Sequence[Trial], parameters: Sequence[Parameter], objective: str) -> list[Path]:
    """Write both figures; none before a trial has finished."""
    done = [trial for trial in trials if trial.outcome]
    if not done:
        return []
    written = []
    with styled():
        figures = {"pareto": _pareto_figure(trials, done, objective), "parameters": _grid(done, parameters, objective)}
        for name, figure in figures.items():
            written.append(folder / f"{name}.png")
            with replacing(written[-1]) as temporary:
                figure.savefig(temporary, dpi=DPI, format="png")
    return written


def _pareto_figure(trials: Sequence[Trial], done: Sequence[Trial], objective: str) -> Figure:
    figure, (axes,) = new_figure(1, 1, 4.6)
    front = pareto(done)
    costs, values = _columns(done)
    if costs.max() > WIDE * max(costs.min(), 1e-9):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    _scatter(axes, costs, values, done, front)
    x, y = _columns(front)
    axes.step(x, y, where="post", color=FRONT, linewidth=1.6, zorder=2)
    axes.set_xlabel("seconds of training")
    axes.set_ylabel(objective)
    failed = sum(bool(trial.reason) for trial in trials)
    axes.set_title(f"{objective} against cost: {len(done)} trials" + (f", {failed} failed" if failed else ""))
    _legend(axes, done)
    axes.margins(x=0.06, y=0.1)
    _name_front(axes, front)
    return figure


def _grid(done: Sequence[Trial], parameters: Sequence[Parameter], objective: str) -> Figure:
    """The objective against each parameter."""
    rows, columns = grid_shape(len(parameters))
    figure, panels = new_figure(rows, columns, 2.3, sharey=True)
    front = pareto(done)
    _, values = _columns(done)
    names = short_names(parameters)
    for index, parameter in enumerate(parameters):
        axes, space = panels[index], parameter.space
        settings = np.array([trial.settings[parameter.name] for trial in done], np.float64)
        places = np.array([space.to_unit(value) for value in settings])
        axes.axvline(space.to_unit(parameter.centre), color=QUIET, linestyle=":", linewidth=1.2, zorder=1)
        _scatter(axes, places, values, done, front, size=26.0)
        axes.set_xlim(-0.05, 1.05)
        marks = _marks(space)
        axes.set_xticks(
            [space.to_unit(mark) for mark in marks], [short(mark) if mark >= 1e4 else f"{mark:g}" for mark in marks]
        )
        axes.set_title(names[index])
        correlation = rank_correlation(done, parameter.name)
        if np.isfinite(correlation):
            place = (1.0, 1.02)
            axes.text(*place, f"ρ {correlation:+.2f}", transform=axes.transAxes, ha="right", color=QUIET, fontsize=8)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        if index % columns == 0:
            axes.set_ylabel(objective)
    finish_grid(panels, len(parameters), columns)
    figure.suptitle(
        "dotted: the configuration's own value      orange: on the Pareto front      ρ: rank correlation",
        fontsize=9, color=QUIET, x=0.01, ha="left",
    )  # fmt: skip
    return figure


def _marks(space: Space) -> list[float]:
    """Round values along a space, four to seven if it is wide enough."""
    if space.kind == "LogSpace":
        decades = range(math.floor(math.log10(space.min)), math.ceil(math.log10(space.max)) + 1)
        wide = space.max > WIDE_LOG * space.min
        found = [mantissa * 10.0**k for k in decades for mantissa in ((1,) if wide else (1, 3))]
    elif space.kind == "LogitSpace":
        tails = [10.0**-k for k in range(1, 7)]
        found = [*tails, 0.5, *(1.0 - tail for tail in tails)]
    else:
        found = []
    inside = [mark for mark in found if space.min * (1 - 1e-9) <= mark <= space.max * (1 + 1e-9)]
    if len(inside) >= 2:
        return inside
    even = MaxNLocator(5).tick_values(space.min, space.max)
    return [float(mark) for mark in even if space.min <= mark <= space.max]


def _scatter(
    axes: Axes, x: np.ndarray, y: np.ndarray, done: Sequence[Trial], front: Sequence[Trial], size: float = 44.0
) -> None:
    """Circles; those of the Pareto front in orange and larger, the configuration's own trial a diamond."""
    on_front = {trial.number for trial in front}
    for index in sorted(range(len(done)), key=lambda i: done[i].number in on_front):
        chosen, own = done[index].number in on_front, done[index].number == 0
        axes.scatter(
            x[index], y[index], s=size * (1.3 if chosen else 1.0), color=FRONT if chosen else OTHER,
            alpha=1.0 if chosen else 0.65, marker="D" if own else "o", linewidths=1.2 if own else 0.6,
            edgecolors=INK if own else "white", zorder=4 if chosen or own else 3,
        )  # fmt: skip


def _legend(axes: Axes, done: Sequence[Trial]) -> None:
    axes.plot([], [], color=FRONT, marker="o", label="Pareto front, by trial")
    axes.plot([], [], color=OTHER, marker="o", linestyle="", alpha=0.65, label="other trials")
    if any(trial.number == 0 for trial in done):
        axes.plot(
            [], [], marker="D", linestyle="", color="white", markeredgecolor=INK, label="the configuration itself"
        )
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3)


def _name_front(axes: Axes, front: Sequence[Trial]) -> None:
    """Numbers above the points of the front; where points lie close, of every one that has room."""
    last = (-np.inf, -np.inf)
    for trial in reversed(front):
        if trial.outcome is None:
            continue
        at = axes.transData.transform((trial.outcome.cost, trial.outcome.objective))
        if np.hypot(at[0] - last[0], at[1] - last[1]) < 14.0:
            continue
        last = (float(at[0]), float(at[1]))
        axes.annotate(
            str(trial.number), (trial.outcome.cost, trial.outcome.objective), xytext=(0, 7), ha="center",
            textcoords="offset points", fontsize=8, color=FRONT,
        )  # fmt: skip


def _columns(trials: Sequence[Trial]) -> tuple[np.ndarray, np.ndarray]:
    outcomes = [trial.outcome for trial in trials if trial.outcome]
    return np.array([o.cost for o in outcomes]), np.array([o.objective for o in outcomes])
