"""Pictures of where runs went: the world by time, maps by time, save states by descent.

In: `Comparison`. Out: `Drawing`s. Runs of one group are pooled on the world map; lineages are drawn run by run.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from daddy_puffer.report.drawing import Comparison, Drawing, lacking, last_point, metric_curve, short_name
from daddy_puffer.report.groups import Group
from daddy_puffer.report.lineage import Placed, furthest_line, lay_out
from daddy_puffer.report.runs import Run, Steps
from daddy_puffer.report.statistics import Band, across, cumulative_distinct, shares
from daddy_puffer.report.style import (
    HEAT,
    INK,
    QUIET,
    WIDTH,
    draw_band,
    label_ends,
    new_figure,
    readable,
    short,
    step_axis,
)
from daddy_puffer.report.world import GROUND, Place, WorldPicture, map_order, visits, world_picture
from daddy_puffer.types import Array

SLICES = 6  # of the time of a run
SLIDER_DPI = 110
HEAT_WORLD = "YlOrRd"
MOST_MAPS = 40  # rows of maps by time
MOST_LINEAGES = 6
WORLD_PANEL_WIDTH = WIDTH / 3
_GROUND = ListedColormap(GROUND)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSlices:
    """The world of one group at several times, for a slider."""

    name: str
    labels: tuple[str, ...]  # the span of steps of each
    images: tuple[bytes, ...]  # PNG


def exploration(comparison: Comparison) -> list[Drawing]:
    """For every group the world map in slices of time."""
    drawings = []
    for index, group in enumerate(comparison.groups):
        title = f"Where it was: {group.title}"
        key = f"exploration_{index + 1}"
        pooled = pool(group)
        if not len(pooled):
            drawings.append(Drawing(key=key, title=title, missing="No sampled steps (steps/) in these runs."))
            continue
        picture = world_picture(group.runs[0].is_practice)
        columns = 3
        height = WORLD_PANEL_WIDTH * picture.height / picture.width + 0.25
        figure, axes = new_figure(SLICES // columns, columns, height)
        layers = [visits(pooled, picture, chosen) for chosen, _ in time_slices(pooled, comparison)]
        norm = _norm(layers)
        for panel, layer, (_, label) in zip(axes, layers, time_slices(pooled, comparison), strict=True):
            draw_world(panel, picture, layer, norm, names=False)
            panel.set_title(label, fontsize=9, fontweight="normal")
        _world_colourbar(figure, axes, norm)
        missing = lacking(group.runs, "steps/", [len(run.steps) > 0 for run in group.runs])
        drawings.append(Drawing(key=key, title=title, figure=figure, caption=_where(pooled), missing=missing))
    return drawings


def slider(group: Group, comparison: Comparison) -> TimeSlices | None:
    """The same slices, large and with the maps' names; None without samples."""
    pooled = pool(group)
    if not len(pooled):
        return None
    picture = world_picture(group.runs[0].is_practice)
    spans = time_slices(pooled, comparison)
    layers = [visits(pooled, picture, chosen) for chosen, _ in spans]
    norm = _norm(layers)
    figure = Figure(figsize=(WIDTH, WIDTH * picture.height / picture.width * 0.94))
    panel = figure.subplots()
    heat = draw_world(panel, picture, layers[0], norm, names=True)
    _world_colourbar(figure, [panel], norm)
    images = []
    for layer in layers:  # one figure whose heat changes: most of the time goes into all the rest
        heat.set_data(_shares_of(layer))
        target = io.BytesIO()
        figure.savefig(target, format="png", dpi=SLIDER_DPI)
        figure.set_layout_engine("none")
        images.append(target.getvalue())
    return TimeSlices(name=group.title, labels=tuple(label for _, label in spans), images=tuple(images))


def reach(comparison: Comparison) -> Drawing:
    """How many maps and cells were ever seen."""
    title, key = "Reach", "reach"
    seen = [run for run in comparison.runs if len(run.steps)]
    cells = [run for run in comparison.runs if run.metrics.get("novelty/cells") is not None]
    if not seen and not cells:
        return Drawing(key=key, title=title, missing="Neither sampled steps (steps/) nor novelty/cells in any run.")
    figure, (maps, novel) = new_figure(1, 2, 2.3)
    maps.set_title("maps seen so far")
    novel.set_title("cells ever visited")
    ends: tuple[list[tuple[float, float, str, str]], ...] = ([], [])
    for group in comparison.groups:
        counts = [cumulative_distinct(r.steps.step_global, r.steps.map_id, comparison.edges) for r in group.runs]
        counts = [
            np.where(comparison.edges[:-1] < r.last_step, c, np.nan) for r, c in zip(group.runs, counts, strict=True)
        ]
        band = across(counts) if len(counts) > 1 else Band(middle=counts[0], lower=counts[0], upper=counts[0])
        for panel, end, curve in (
            (maps, ends[0], (comparison.centres, band)),
            (novel, ends[1], metric_curve(group, "novelty/cells", comparison.edges)),
        ):
            if curve is not None:
                draw_band(panel, *curve, group.colour, group.line_style)
                end.append((*last_point(curve[0], curve[1].middle), short_name(group.name), group.colour))
    for panel, end in zip((maps, novel), ends, strict=True):
        panel.set_ylim(bottom=0)
        step_axis(panel, comparison.last_step)
        if len(comparison.groups) > 1:
            label_ends(panel, end)
    caption = (
        "Maps among the sampled steps; cells as novelty counts them, over all environments (two may share a count)."
    )
    return Drawing(key=key, title=title, figure=figure, caption=caption)


def maps_by_time(comparison: Comparison) -> Drawing:
    """Which share of the sampled steps of a bin was on which map."""
    title, key = "Time on each map", "maps"
    groups = [(group, pooled) for group in comparison.groups if len(pooled := pool(group))]
    if not groups:
        return Drawing(key=key, title=title, missing="No sampled steps (steps/) in any run.")
    orders = [map_order(pooled)[:MOST_MAPS] for _, pooled in groups]
    heights = [0.6 + 0.17 * len(order) for order in orders]
    figure = Figure(figsize=(WIDTH, sum(heights)))
    axes = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    norm = LogNorm(0.003, 1.0, clip=True)
    for panel, (group, pooled), order in zip(axes, groups, orders, strict=True):
        grid = shares(pooled.step_global, pooled.map_id, order, comparison.edges)
        grid[grid == 0] = np.nan
        panel.pcolormesh(comparison.edges, np.arange(len(order) + 1), grid, cmap=HEAT, norm=norm, rasterized=True)
        picture = world_picture(group.runs[0].is_practice)
        panel.set_yticks(np.arange(len(order)) + 0.5, [picture.name(map_id) for map_id in order])
        panel.tick_params(axis="y", labelsize=7.5)
        panel.grid(False)
        panel.invert_yaxis()
        panel.set_title(group.title if len(comparison.groups) > 1 else "")
        step_axis(panel, comparison.last_step)
    bar = figure.colorbar(ScalarMappable(norm, HEAT), ax=list(axes), fraction=0.02, pad=0.01, format="{x:.1%}")
    bar.set_label("share of sampled steps")
    caption = "Maps in the order in which they were first seen among the sampled steps; white: not seen in that bin."
    return Drawing(key=key, title=title, figure=figure, caption=caption)


def lineages(comparison: Comparison) -> list[Drawing]:
    """For every run that kept save states: which came from which."""
    with_states = [run for run in comparison.runs if run.states]
    if not with_states:
        return [Drawing(key="lineage", title="Curriculum lineage", missing="No save states were kept: no curriculum.")]
    drawings = [_lineage(run, f"lineage_{index + 1}") for index, run in enumerate(with_states[:MOST_LINEAGES])]
    rest = [run.name for run in with_states[MOST_LINEAGES:]]
    if rest:
        drawings.append(Drawing(key="lineage", title="More lineages", missing=f"Not drawn: {', '.join(rest)}."))
    return drawings


def pool(group: Group) -> Steps:
    """The sampled steps of all runs of a group."""
    tables = [run.steps for run in group.runs]
    names = ("step_global", "episode_id", "env_id", "map_id", "x", "y")
    return Steps(**{name: np.concatenate([getattr(table, name) for table in tables]) for name in names})


def time_slices(steps: Steps, comparison: Comparison) -> list[tuple[Array, str]]:
    """`SLICES` equal spans of the time sampled: a mask bool [N] and words for each."""
    edges = np.linspace(0, max(int(steps.step_global.max()), 1), SLICES + 1)
    spans = zip(edges[:-1], edges[1:], strict=True)
    return [
        ((steps.step_global > low) & (steps.step_global <= high), f"{short(low)} – {short(high)} steps")
        for low, high in spans
    ]


def draw_world(panel: Axes, picture: WorldPicture, layer: Array, norm: LogNorm, names: bool) -> AxesImage:
    """The ground of every map, and on it how much of the time was spent where; returns the latter."""
    ground = np.full((picture.height, picture.width), np.nan)
    for place in picture.places.values():
        ground[place.y : place.y + place.height, place.x : place.x + place.width] = place.ground
    panel.imshow(ground, cmap=_GROUND, vmin=0, vmax=9, interpolation="nearest")
    heat = panel.imshow(_shares_of(layer), cmap=HEAT_WORLD, norm=norm, interpolation="nearest")
    panel.set_axis_off()
    panel.set_xlim(-1, picture.width)
    panel.set_ylim(picture.height, -1.5)
    if not np.nansum(layer) and not names:
        panel.text(picture.width / 2, picture.height / 2, "no samples", ha="center", color=QUIET)
    frames = [_frame(place) for place in picture.places.values()]
    panel.add_collection(LineCollection(frames, colors="#8b939c", linewidths=0.5), autolim=False)
    for place in picture.places.values() if names else ():
        if place.width >= picture.width / 40:
            _name(panel, place)
    return heat


def _shares_of(layer: Array) -> Array:
    """Of the samples of a slice, NaN where there are none."""
    return np.where(np.nan_to_num(layer) > 0, layer / max(np.nansum(layer), 1.0), np.nan)


def _frame(place: Place) -> list[tuple[float, float]]:
    x, y = place.x - 0.5, place.y - 0.5
    return [(x, y), (x + place.width, y), (x + place.width, y + place.height), (x, y + place.height), (x, y)]


def _name(panel: Axes, place: Place) -> None:
    x, y = place.x - 0.5, place.y - 0.5
    if place.outdoors:
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.75, "linewidth": 0}
        panel.text(
            x + place.width / 2, y + place.height / 2, place.name, ha="center", va="center", fontsize=7, bbox=box
        )
    elif place.ground.any():  # rectangles of another ROM lie too close for the names of its houses
        panel.text(x, y - 0.4, place.name, ha="left", va="bottom", fontsize=5.5, color=QUIET)


def _norm(layers: Sequence[Array]) -> LogNorm:
    """One scale for all slices: shares of a slice's samples in a cell."""
    found = [layer[layer > 0] / np.nansum(layer) for layer in layers if np.nansum(layer)]
    values = np.concatenate(found) if found else np.array([1.0])
    high = float(values.max())
    return LogNorm(max(float(values.min()), high / 3000), high * 1.0001, clip=True)


def _world_colourbar(figure: Figure, axes: Sequence[Axes], norm: LogNorm) -> None:
    bar = figure.colorbar(ScalarMappable(norm, HEAT_WORLD), ax=list(axes), fraction=0.02, pad=0.01, format="{x:.2%}")
    bar.set_label("share of the samples, a cell")


def _where(steps: Steps) -> str:
    if steps.has_positions:
        return "Sampled positions of all environments; one colour scale for all times."
    return (
        "Sampled steps of all environments, spread over the open cells of the map they were on: these runs did not note"
        " positions. One colour scale for all times."
    )


def _lineage(run: Run, key: str) -> Drawing:
    placed = lay_out(run.states)
    rows = max((place.row for place in placed), default=0) + 1
    figure, (panel,) = new_figure(1, 1, float(np.clip(1.0 + rows * 0.035, 2.6, 9.0)))
    _draw_descent(panel, placed)
    depth = np.array([len(place.node.milestones) for place in placed])
    drawn = np.array([place.node.drawn for place in placed])
    dots = panel.scatter(
        [place.node.total_steps for place in placed],
        [place.row for place in placed],
        s=12 + 5 * np.sqrt(drawn),
        c=depth,
        cmap="viridis_r",
        vmin=0,
        vmax=max(int(depth.max()), 1),
        edgecolors="white",
        linewidths=0.5,
        zorder=3,
    )
    line = {node.tag for node in furthest_line(run.states)}
    _name_firsts(panel, placed, line, world_picture(run.is_practice))
    bar = figure.colorbar(dots, ax=panel, fraction=0.02, pad=0.01)
    bar.set_label("milestones reached")
    panel.set_yticks([])
    panel.spines["left"].set_visible(False)
    panel.set_xlabel("actions since the true start of the game")
    panel.xaxis.set_major_formatter(lambda value, _: short(value))
    panel.invert_yaxis()
    orphans = sum(place.orphan for place in placed)
    caption = (
        f"{len(placed)} save states that are kept; a line leads from the state an episode began at to the one it found."
        " Larger dots were drawn more often. Named: the way to the state with the most milestones."
    )
    caption += f" Dotted: {orphans} states whose parent is no longer kept." if orphans else ""
    return Drawing(key=key, title=f"Curriculum lineage: {run.name}", figure=figure, caption=caption)


def _draw_descent(panel: Axes, placed: Sequence[Placed]) -> None:
    """Lines from parents, from the true start, and stubs from parents that are gone."""
    known, begun, lost = [], [], []
    for place in placed:
        x, y = place.node.total_steps, place.row
        if place.parent is not None:
            from_x = place.parent.node.total_steps
            known.append([(from_x, place.parent.row), (from_x, y), (x, y)])
        elif place.orphan:
            lost.append([(max(x - 60, 0), y), (x, y)])
        else:
            begun.append([(0, y), (x, y)])
    panel.add_collection(LineCollection(known, colors="#aab2bb", linewidths=0.7, zorder=1))
    panel.add_collection(LineCollection(begun, colors="#dfe3e8", linewidths=0.7, zorder=1))
    panel.add_collection(LineCollection(lost, colors="#aab2bb", linewidths=0.8, linestyles=":", zorder=1))


def _name_firsts(panel: Axes, placed: Sequence[Placed], line: set[str], picture: WorldPicture) -> None:
    """Names of the states on the line to the furthest one, where there is room."""
    before = -np.inf
    span = max((place.node.total_steps for place in placed), default=1) or 1
    for place in sorted((p for p in placed if p.node.tag in line), key=lambda p: p.node.total_steps):
        if place.node.total_steps - before < span / 14:
            continue
        before = place.node.total_steps
        node = place.node
        name = readable(node.label.replace("-", "_")) if node.label != node.map_name else picture.name(node.map_id)
        panel.annotate(
            name,
            (node.total_steps, place.row),
            xytext=(3, 5),
            textcoords="offset points",
            fontsize=7,
            color=INK,
            zorder=4,
            bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.7, "linewidth": 0},
        )
