"""How figures look. In: nothing. Out: a matplotlib style, helpers for axes. No window is ever opened.

Light ground, thin grid, labels at the curves, colours that stay apart for the colour-blind (`groups.COLOURS`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from daddy_puffer.report.statistics import Band
from daddy_puffer.types import Array

INK, QUIET, GRID = "#1b1f24", "#6a737d", "#e4e7eb"
EARLY = 0.9  # a curve that ends before this share of the x axis is named where it ends
WIDTH = 10.0  # inches
HEAT = "YlGnBu"  # one direction of lightness, so that it survives grey print
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": "#b8bec6",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "text.color": INK,
    "axes.titlecolor": INK,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "daddy_puffer",  # the same figure gives the same file
}


def styled() -> AbstractContextManager[None]:
    """Everything drawn and saved within looks alike."""
    return matplotlib.rc_context(STYLE)


def new_figure(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of the page's width with `rows` by `columns` axes of `height` inches each, row by row."""
    figure = Figure(figsize=(WIDTH, height * rows))
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.flat)


def grid_shape(count: int, most_columns: int = 3) -> tuple[int, int]:
    """Rows and columns for so many small panels."""
    columns = min(count, most_columns) if count != 4 else 2
    return -(-count // columns), columns


def step_axis(axes: Axes, last_step: float, label: str = "environment steps") -> None:
    """X runs from 0 to the last step."""
    axes.set_xlim(0, max(last_step, 1))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.set_xlabel(label)


def short(value: float) -> str:
    """12000 as 12k, 3.5e6 as 3.5M."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{sign}"
    return f"{value:.3g}"


def readable(milestone: str) -> str:
    """EVENT_GOT_STARTER as "got starter"; badges as they are."""
    name = milestone.removeprefix("EVENT_").replace("_", " ")
    return name.lower() if name.isupper() else name


def draw_band(axes: Axes, x: Array, band: Band, colour: str, line_style: str = "-", alpha: float = 0.18) -> None:
    """A curve and what lies around it; single points get a dot."""
    good = np.isfinite(band.middle)
    axes.fill_between(x[good], band.lower[good], band.upper[good], color=colour, alpha=alpha, linewidth=0)
    marker = "o" if good.sum() == 1 else None
    axes.plot(x[good], band.middle[good], color=colour, linestyle=line_style, marker=marker, markersize=4)


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]], gap: float = 0.075) -> None:
    """Names (x, y, text, colour) where curves end: those that reach the right edge beside it, `gap` apart."""
    left, right = axes.get_xlim()
    early = [end for end in ends if np.isfinite(end[1]) and end[0] < left + EARLY * (right - left)]
    for x, y, text, colour in early:
        axes.annotate(text, (x, y), xytext=(5, 0), textcoords="offset points", color=colour, fontsize=8, va="center")
    late = sorted((end for end in ends if np.isfinite(end[1]) and end not in early), key=lambda end: end[1])
    low, high = axes.get_ylim()
    heights = [(end[1] - low) / ((high - low) or 1.0) for end in late]
    for index in range(1, len(heights)):
        heights[index] = max(heights[index], heights[index - 1] + gap)
    excess = max(heights[-1] - 1.0, 0.0) if heights else 0.0
    for (_, _, text, colour), height in zip(late, heights, strict=True):
        place = (1.015, height - excess)
        axes.annotate(
            text, place, xycoords="axes fraction", color=colour, fontsize=8, va="center", annotation_clip=False
        )


def finish_grid(axes: Sequence[Axes], used: int, columns: int) -> None:
    """Hide panels that nothing was drawn in; only the lowest panel of a column names its x axis."""
    for spare in axes[used:]:
        spare.set_visible(False)
    for panel in axes[: max(used - columns, 0)]:
        panel.set_xlabel("")
