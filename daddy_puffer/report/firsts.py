"""When training first got to each milestone. In: episodes of runs, `Comparison`. Out: `First`s, a `Drawing` of them.

An episode is known by the step it ended at, so that is the time given here. Episodes that begin at a save state bring
along what led there: the first from the true start of the game is told apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from daddy_puffer.report.clock import Clock, time_axis
from daddy_puffer.report.drawing import Comparison, Drawing
from daddy_puffer.report.groups import Group
from daddy_puffer.report.runs import Episodes, Run
from daddy_puffer.report.style import INK, new_figure, readable, step_axis

MOST_MILESTONES = 40  # rows


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """A milestone and the step at which the first episode that reached it ended."""

    milestone: str
    step: int  # of any episode
    true_start_step: int | None  # of an episode from the true start; None: there was none


def first_reached(tables: Iterable[Episodes]) -> list[First]:
    """Every milestone that some episode reached, by the step at which the first of them ended."""
    anywhere: dict[str, int] = {}
    honest: dict[str, int] = {}
    for table in tables:
        rows = zip(table.end_step_global, table.milestones_reached, table.from_true_start, strict=True)
        for step, joined, true_start in rows:
            for name in filter(None, str(joined).split(";")):
                for firsts in (anywhere, honest) if true_start else (anywhere,):
                    firsts[name] = min(firsts.get(name, int(step)), int(step))
    found = [First(milestone=name, step=step, true_start_step=honest.get(name)) for name, step in anywhere.items()]
    return sorted(found, key=lambda first: (first.step, first.milestone))


def first_times(comparison: Comparison) -> Drawing:
    """Milestone against the step it was first reached at, a mark a run."""
    title, key = "First time that training reached a milestone", "first_reached"
    found = first_reached(run.episodes for run in comparison.runs)
    if not found:
        return Drawing(key=key, title=title, missing="No episode of any run reached a milestone.")
    names = [first.milestone for first in found[:MOST_MILESTONES]]
    figure, (panel,) = new_figure(1, 1, max(0.95 + 0.19 * len(names), 1.6))
    for index, group in enumerate(comparison.groups):
        offset = (index + 0.5) / len(comparison.groups) - 0.5
        for run in group.runs:
            _mark(panel, run, group, {name: row + 0.7 * offset for row, name in enumerate(names)})
    panel.set_yticks(range(len(names)), [readable(name) for name in names])
    panel.tick_params(axis="y", labelsize=7.5)
    panel.set_ylim(len(names) - 0.4, -0.6)
    step_axis(panel, comparison.last_step)
    if len(comparison.runs) == 1 and (clock := Clock.of(comparison.runs[0].metrics)) is not None:
        time_axis(panel, clock)
    figure.legend(handles=_legend(comparison, found), loc="outside lower right", ncols=4, fontsize=8)
    caption = "The end of the first episode that had the milestone, exploration included, by where it began."
    caption += f" {len(found) - len(names)} later ones are not drawn." if len(found) > len(names) else ""
    return Drawing(key=key, title=title, figure=figure, caption=caption)


def _mark(panel: Axes, run: Run, group: Group, rows: dict[str, float]) -> None:
    """A dot where an episode from the true start was first, a ring where one from a save state was before it."""
    for first in first_reached([run.episodes]):
        if (row := rows.get(first.milestone)) is None:
            continue
        if first.true_start_step is not None:
            panel.plot([first.step, first.true_start_step], [row, row], color=group.colour, linewidth=0.9, alpha=0.5)
            panel.add_line(_dot(first.true_start_step, row, group.colour, group.colour))
        if first.step != first.true_start_step:
            panel.add_line(_dot(first.step, row, group.colour, "white"))


def _dot(x: float, y: float, colour: str, inside: str, label: str = "") -> Line2D:
    return Line2D(
        [x], [y], linestyle="", marker="o", markersize=5, color=colour, markerfacecolor=inside, label=label,
        clip_on=False, zorder=3,
    )  # fmt: skip


def _legend(comparison: Comparison, found: list[First]) -> list[Line2D]:
    colour = comparison.groups[0].colour if len(comparison.groups) == 1 else INK
    handles = [_dot(0, 0, colour, colour, label="from the true start")]
    if any(first.step != first.true_start_step for first in found):
        handles.append(_dot(0, 0, colour, "white", label="from a save state"))
    if len(comparison.groups) > 1:
        handles += [Line2D([], [], color=group.colour, label=group.title) for group in comparison.groups]
    return handles
