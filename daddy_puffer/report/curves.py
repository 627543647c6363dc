"""Curves against environment steps: returns, badges, milestones, posteriors, spawns, learner, throughput.

In: `Comparison`. Out: `Drawing`s. A single run's band is that of its episodes in a bin (quartiles); of several runs of
one setting the curve is the median of the runs' medians, the band their quartiles. Episodes that began at a save
state are left out of returns, badges and milestones: only those from the true start can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes

from daddy_puffer.report.drawing import Comparison, Drawing, lacking, last_point, metric_curve, short_name
from daddy_puffer.report.firsts import first_reached
from daddy_puffer.report.groups import Group
from daddy_puffer.report.runs import Episodes, Run
from daddy_puffer.report.statistics import Band, across, band_of, binned, mean_of, rate_of
from daddy_puffer.report.style import (
    HEAT,
    INK,
    QUIET,
    draw_band,
    finish_grid,
    grid_shape,
    label_ends,
    new_figure,
    readable,
    step_axis,
)
from daddy_puffer.types import Array

SOURCES = {  # column of episodes.csv: title, setting that weighs it
    "return_total": ("return, all sources weighted", ""),
    "return_env": ("return of the game", ""),
    "return_novel": ("novelty", "intrinsic.novelty_weight"),
    "return_rnd": ("random network distillation", "intrinsic.rnd_weight"),
    "return_bayes": ("progress (Bayes)", "intrinsic.bayes_weight"),
    "length_steps": ("length in steps", ""),
}
ALWAYS = ("return_total", "return_env", "length_steps")
LEARNER = {
    "learner/td_loss": "TD loss",
    "learner/q_mean": "mean value of actions taken",
    "learner/td_error_mean": "mean absolute TD error",
    "learner/grad_norm": "gradient norm before clipping",
    "learner/policy_churn": "policy churn",
    "learner/milestone_loss": "milestone loss",
    "exploration/epsilon": "ε",
    "rollout/reward_per_step": "reward per step",
    "novelty/cells": "cells ever visited",
}
PHASES = {
    "env": "#0072B2",
    "act": "#56B4E9",
    "learn": "#D55E00",
    "replay": "#E69F00",
    "rnd": "#AA3377",
    "other": "#9aa3ad",
}
SPAWNS = {"true start": "#c9ced6", "early": "#9ecae1", "mid": "#4292c6", "late": "#084594"}
ALARM = "#D55E00"
MOST_POSTERIORS = 18
MOST_MILESTONES = 40


def learning(comparison: Comparison) -> Drawing:
    """A panel for every source of reward that ever paid, and the length of episodes."""
    title = "Learning curves by source of reward"
    runs = comparison.runs
    missing = lacking(runs, "finished episode", [len(true_starts(run)) > 0 for run in runs])
    if not any(len(true_starts(run)) for run in runs):
        return Drawing(key="learning", title=title, missing=missing)
    paid = [n for n in SOURCES if n in ALWAYS or any(np.any(getattr(run.episodes, n) != 0) for run in runs)]
    rows, columns = grid_shape(len(paid), 3 if len(comparison.groups) == 1 else 2)
    figure, axes = new_figure(rows, columns, 2.3)
    for panel, name in zip(axes, paid, strict=False):
        panel.set_title(SOURCES[name][0] + _weights(comparison, SOURCES[name][1]))
        _draw_groups(panel, comparison, lambda run, n=name: (  # type: ignore[misc]
            true_starts(run).end_step_global, getattr(true_starts(run), n).astype(np.float64)
        ))  # fmt: skip
    finish_grid(axes, len(paid), columns)
    caption = (
        "Episodes from the true start of the game, exploration included, by the step they ended; "
        f"{_band_words(comparison)} Sources are drawn unweighted, the weight stands in the title."
    )
    return Drawing(key="learning", title=title, caption=caption, figure=figure, missing=missing)


def badges(comparison: Comparison) -> Drawing:
    """The share of episodes that ended with at least 1, 2, ... badges."""
    title, key = "Badge rates", "badges"
    runs = [run for run in comparison.runs if len(true_starts(run))]
    if not runs:
        return Drawing(key=key, title=title, missing="No finished episode in any run.")
    most = max(int(true_starts(run).badges.max()) for run in runs)
    anywhere = max(int(run.episodes.badges.max()) for run in runs)
    if not most:
        elsewhere = f" (from save states: up to {anywhere})" if anywhere else ""
        return Drawing(key=key, title=title, missing=f"No episode from the true start ended with a badge{elsewhere}.")
    rows, columns = grid_shape(most, 3 if len(comparison.groups) == 1 else 2)
    figure, axes = new_figure(rows, max(columns, 2), 2.2, sharey=True)
    for wanted, panel in enumerate(axes[:most], start=1):
        panel.set_title(f"at least {wanted} badge{'s' * (wanted > 1)}")
        _draw_rates(panel, comparison, lambda episodes, k=wanted: episodes.badges >= k)  # type: ignore[misc]
    finish_grid(axes, most, columns)
    return Drawing(
        key=key,
        title=title,
        figure=figure,
        caption="Share of the episodes from the true start in each bin; of several runs median and quartiles.",
    )


def milestones(comparison: Comparison) -> Drawing:
    """Milestone against time, coloured by the share of episodes that reached it; a panel for every group."""
    title, key = "Milestones reached from the true start", "milestones"
    names, elsewhere = _milestones_by_first(comparison.runs)
    if not names:
        return Drawing(key=key, title=title, missing="No episode of any run reached a milestone.")
    shown = names[:MOST_MILESTONES]
    height = 0.62 + 0.19 * len(shown)
    figure, axes = new_figure(len(comparison.groups), 1, max(height, 1.1))
    for panel, group in zip(axes, comparison.groups, strict=True):
        grid = np.stack([_share_reaching(group, name, comparison.edges) for name in shown])
        mesh = panel.pcolormesh(
            comparison.edges, np.arange(len(shown) + 1), grid, cmap=HEAT, vmin=0, vmax=1, rasterized=True
        )
        panel.set_yticks(np.arange(len(shown)) + 0.5, [readable(n) + ("  *" if n in elsewhere else "") for n in shown])
        panel.tick_params(axis="y", labelsize=7.5)
        panel.grid(False)
        panel.invert_yaxis()
        panel.set_title(group.title if len(comparison.groups) > 1 else "")
        step_axis(panel, comparison.last_step)
    bar = figure.colorbar(mesh, ax=axes, fraction=0.02, pad=0.01)
    bar.set_label("share of episodes")
    bar.outline.set_visible(False)  # type: ignore[operator]
    caption = "In the order in which they were first reached. White: no episode from the true start ended in that bin."
    caption += " * reached only from a save state so far." if elsewhere & set(shown) else ""
    caption += f" {len(names) - len(shown)} later ones are not drawn." if len(names) > len(shown) else ""
    return Drawing(key=key, title=title, caption=caption, figure=figure)


def posteriors(comparison: Comparison) -> Drawing:
    """What was believed of each milestone, and when the alarm was on."""
    title, key = "Milestone posteriors and alarms", "posteriors"
    runs = comparison.runs
    missing = lacking(runs, "progress.csv", [len(run.progress) > 0 for run in runs])
    names = _posterior_names(runs)
    if not names:
        return Drawing(key=key, title=title, missing=missing)
    shown = names[:MOST_POSTERIORS]
    rows, columns = grid_shape(len(shown), 3 if len(comparison.groups) == 1 else 2)
    figure, axes = new_figure(rows, columns, 2.1, sharey=True)
    for panel, name in zip(axes, shown, strict=False):
        _draw_posterior(panel, comparison, name)
    finish_grid(axes, len(shown), columns)
    caption = (
        "Chance θ to reach a milestone within its budget of steps: posterior mean and 95 % interval of one run; of "
        "several runs the median and quartiles of their means. Dashed: the target. Bars below 0: the alarm was on, "
        "in the panels of the milestones it watches, a row for every run."
    )
    caption += f" {len(names) - len(shown)} more milestones are not drawn." if len(names) > len(shown) else ""
    return Drawing(key=key, title=title, caption=caption, figure=figure, missing=missing)


def spawns(comparison: Comparison) -> Drawing:
    """Where episodes began, and what those from either place returned."""
    title, key = "Spawn mix", "spawns"
    groups = [group for group in comparison.groups if any(_uses_states(run) for run in group.runs)]
    if not groups:
        return Drawing(key=key, title=title, missing="Every episode began at the true start: no curriculum.")
    figure, axes = new_figure(len(groups), 2, 2.3, width_ratios=(1.25, 1))
    for index, group in enumerate(groups):
        mix, returns = axes[2 * index : 2 * index + 2]
        _draw_mix(mix, group, comparison)
        mix.set_title(f"{group.title}: where episodes begin" if len(groups) > 1 else "where episodes begin")
        _draw_by_start(returns, group, comparison)
        returns.set_title("return of the game, by start")
    caption = (
        "Early, mid, late: thirds of the range of milestones that the chosen save states had. Runs that did not note"
        " that show save states as one. Right: medians and quartiles; longer episodes return more."
    )
    return Drawing(key=key, title=title, caption=caption, figure=figure)


def learner(comparison: Comparison) -> Drawing:
    """What the learner said of itself."""
    title, key = "Learner", "learner"
    names = [name for name in LEARNER if any(run.metrics.get(name) is not None for run in comparison.runs)]
    missing = lacking(comparison.runs, "metrics.csv", [len(run.metrics) > 0 for run in comparison.runs])
    if not names:
        return Drawing(key=key, title=title, missing=missing or "No learner metrics in any run.")
    rows, columns = grid_shape(len(names))
    figure, axes = new_figure(rows, columns, 1.9)
    for panel, name in zip(axes, names, strict=False):
        panel.set_title(LEARNER[name])
        _draw_metric(panel, comparison, name)
    finish_grid(axes, len(names), columns)
    return Drawing(
        key=key, title=title, caption="Metrics are explained in docs/METRICS.md.", figure=figure, missing=missing
    )


def throughput(comparison: Comparison) -> Drawing:
    """Steps a second, and what the time went into."""
    title, key = "Throughput", "throughput"
    if not any(run.metrics.get("speed/steps_per_second") is not None for run in comparison.runs):
        return Drawing(key=key, title=title, missing="No metrics.csv with speeds in any run.")
    figure, axes = new_figure(1, 2, 2.1 + 0.16 * len(comparison.groups), width_ratios=(1.15, 1))
    axes[0].set_title("environment steps per second")
    _draw_metric(axes[0], comparison, "speed/steps_per_second")
    axes[0].set_ylim(bottom=0)
    axes[1].set_title("share of wall time")
    _draw_phases(axes[1], comparison)
    return Drawing(
        key=key,
        title=title,
        figure=figure,
        caption="Right: means over the run. env, act: waiting for emulators and choosing actions; learn: waiting for"
        " an update to end, most of which runs beside the emulators.",
    )


def true_starts(run: Run) -> Episodes:
    """The episodes that began at the start of the game."""
    return run.episodes.where(run.episodes.from_true_start)


def start_shares(run: Run, edges: Array) -> Array | None:
    """F64 [4, B]: of the episodes begun the shares in `SPAWNS`; None where the run did not note them."""
    true_start = run.metrics.get("curriculum/true_start_share")
    if true_start is None:
        return None
    parts = [true_start]  # NaN in an interval in which no episode began
    for third in ("early", "mid", "late"):
        share = run.metrics.get(f"curriculum/{third}_share")
        parts.append((1 - true_start) * (0.0 if share is None else np.nan_to_num(share)))
    return np.stack([binned(run.metrics.step, part, edges, lambda v: float(v.mean())) for part in parts])


def _draw_groups(panel: Axes, comparison: Comparison, rows: Callable[[Run], tuple[Array, Array]]) -> None:
    ends = []
    for group in comparison.groups:
        samples = [sample for run in group.runs if len((sample := rows(run))[0])]
        if samples:
            band = band_of(samples, comparison.edges)
            draw_band(panel, comparison.centres, band, group.colour, group.line_style)
            ends.append((*last_point(comparison.centres, band.middle), short_name(group.name), group.colour))
    step_axis(panel, comparison.last_step)
    if len(comparison.groups) > 1:
        label_ends(panel, ends)


def _draw_rates(panel: Axes, comparison: Comparison, reached: Callable[[Episodes], Array]) -> None:
    panel.set_ylim(-0.02, 1.02)
    ends = []
    for group in comparison.groups:
        episodes = [found for run in group.runs if len(found := true_starts(run))]
        if episodes:
            band = rate_of([(part.end_step_global, reached(part)) for part in episodes], comparison.edges)
            draw_band(panel, comparison.centres, band, group.colour, group.line_style)
            ends.append((*last_point(comparison.centres, band.middle), short_name(group.name), group.colour))
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    step_axis(panel, comparison.last_step)
    if len(comparison.groups) > 1:
        label_ends(panel, ends)


def _draw_metric(panel: Axes, comparison: Comparison, name: str) -> None:
    ends = []
    for group in comparison.groups:
        curve = metric_curve(group, name, comparison.edges)
        if curve is not None:
            draw_band(panel, *curve, group.colour, group.line_style)
            ends.append((*last_point(curve[0], curve[1].middle), short_name(group.name), group.colour))
    step_axis(panel, comparison.last_step)
    if len(comparison.groups) > 1:
        label_ends(panel, ends)


def _band_words(comparison: Comparison) -> str:
    one = "of one run the median and quartiles of its episodes in a bin"
    several = "of several runs the median and quartiles of their medians"
    sizes = {len(group.runs) > 1 for group in comparison.groups}
    return "; ".join(text for text, wanted in ((one, False), (several, True)) if wanted in sizes) + "."


def _weights(comparison: Comparison, setting: str) -> str:
    found = [group.runs[0].config.get(setting) for group in comparison.groups]
    weights = {float(weight) for weight in found if isinstance(weight, (int, float))}
    return f" (weight {', '.join(f'{weight:g}' for weight in sorted(weights))})" if setting and weights else ""


def _milestones_by_first(runs: Sequence[Run]) -> tuple[list[str], set[str]]:
    """Milestones by the first step at which an episode had them; and those never reached from the true start."""
    found = first_reached(run.episodes for run in runs)
    return [first.milestone for first in found], {f.milestone for f in found if f.true_start_step is None}


def _share_reaching(group: Group, name: str, edges: Array) -> Array:
    """F64 [B]: mean over runs of the share of episodes from the true start that reached the milestone."""
    curves = []
    for run in group.runs:
        episodes = true_starts(run)
        had = np.array([name in str(joined).split(";") for joined in episodes.milestones_reached], np.float64)
        curves.append(binned(episodes.end_step_global, had, edges, lambda v: float(v.mean())))
    return mean_of(curves)


def _posterior_names(runs: Sequence[Run]) -> list[str]:
    """Watched milestones first, in their order, then the others."""
    watched = [str(name) for run in runs for name in run.config.get("progress.watched") or ()]
    present = [name for run in runs for name in run.progress.names]
    return list(dict.fromkeys([*(name for name in watched if name in present), *present]))


def _draw_posterior(panel: Axes, comparison: Comparison, name: str) -> None:
    ends = []
    for group in comparison.groups:
        tables = [table for run in group.runs if len(table := run.progress.of(name))]
        if not tables:
            continue
        if len(tables) == 1:
            x, band = tables[0].step, Band(middle=tables[0].mean, lower=tables[0].lower, upper=tables[0].upper)
        else:
            x, band = comparison.centres, across([binned(t.step, t.mean, comparison.edges) for t in tables])
        draw_band(panel, x, band, group.colour, group.line_style)
        ends.append((*last_point(x, band.middle), short_name(group.name), group.colour))
    targets = [run.config.get("progress.target") for run in comparison.runs]
    for target in {float(value) for value in targets if isinstance(value, (int, float))}:
        panel.axhline(target, color=QUIET, linestyle=(0, (4, 3)), linewidth=0.9)
    _draw_alarms(panel, comparison, name)
    panel.set_title(readable(name))
    step_axis(panel, comparison.last_step)
    if len(comparison.groups) > 1:
        label_ends(panel, ends)


def _draw_alarms(panel: Axes, comparison: Comparison, milestone: str) -> None:
    """A row below 0 for every run that watches the milestone, with a bar while its alarm was on."""
    rows = [(group.colour, run) for group in comparison.groups for run in group.runs]
    thickness = 0.04
    for index, (colour, run) in enumerate(rows):
        alarm = run.metrics.get("progress/alarm")
        if alarm is None or milestone not in (run.config.get("progress.watched") or (milestone,)):
            continue
        begins = np.concatenate([[0], run.metrics.step[:-1]])
        on = alarm > 0
        bars = list(zip(begins[on], (run.metrics.step - begins)[on], strict=True))
        place = -0.03 - thickness * (index + 1)
        panel.broken_barh(bars, (place, thickness * 0.8), facecolors=ALARM if len(rows) == 1 else colour)
        if bars and len(rows) == 1:
            panel.text(bars[0][0], place + 1.3 * thickness, "alarm", color=ALARM, fontsize=7, va="bottom")
    panel.set_ylim(-0.05 - thickness * len(rows), 1.03)
    panel.set_yticks(np.linspace(0, 1, 5))


def _uses_states(run: Run) -> bool:
    return bool(run.states) or not bool(run.episodes.from_true_start.all())


def _draw_mix(panel: Axes, group: Group, comparison: Comparison) -> None:
    """Stacked shares of true start, early, mid and late; without those metrics true start and save states."""
    edges = comparison.edges
    noted = [shares for run in group.runs if (shares := start_shares(run, edges)) is not None]
    if noted:
        names, curves = list(SPAWNS), noted
    else:
        names, curves = ["true start", "save states"], []
        for run in group.runs:
            start = run.episodes.from_true_start.astype(np.float64)
            share = binned(run.episodes.start_step_global, start, edges, lambda v: float(v.mean()))
            curves.append(np.stack([share, 1 - share]))
    mean = mean_of(curves)
    good = np.isfinite(mean).all(axis=0)
    colours = [SPAWNS.get(name, SPAWNS["mid"]) for name in names]
    panel.stackplot(comparison.centres[good], mean[:, good], colors=colours, linewidth=0)
    panel.set_ylim(0, 1)
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    step_axis(panel, comparison.last_step)
    if good.any():
        tops = np.cumsum(mean[:, good][:, -1])
        places = tops - mean[:, good][:, -1] / 2
        shown = [
            (comparison.last_step, y, n, c)
            for y, n, c, m in zip(places, names, colours, mean[:, good][:, -1], strict=True)
            if m > 0.005
        ]
        label_ends(panel, [(x, y, name, INK) for x, y, name, _ in shown], gap=0.09)


def _draw_by_start(panel: Axes, group: Group, comparison: Comparison) -> None:
    ends = []
    for true_start, name, colour in ((True, "true start", QUIET), (False, "save state", SPAWNS["late"])):
        samples = []
        for run in group.runs:
            part = run.episodes.where(run.episodes.from_true_start == true_start)
            if len(part):
                samples.append((part.end_step_global, part.return_env))
        if samples:
            band = band_of(samples, comparison.edges)
            draw_band(panel, comparison.centres, band, colour)
            ends.append((*last_point(comparison.centres, band.middle), name, colour))
    step_axis(panel, comparison.last_step)
    label_ends(panel, ends, gap=0.1)


def _draw_phases(panel: Axes, comparison: Comparison) -> None:
    """A stacked bar a group."""
    panel.grid(False)
    labelled: set[str] = set()
    for row, group in enumerate(comparison.groups):
        left = 0.0
        for phase, colour in PHASES.items():
            columns = [c for run in group.runs if (c := run.metrics.get(f"phase/{phase}")) is not None]
            share = float(np.mean([np.nanmean(column) for column in columns])) if columns else 0.0
            panel.barh(row, share, left=left, color=colour, height=0.62, edgecolor="white", linewidth=1.2)
            if share > 0.07:
                light = phase in ("act", "replay", "other")
                text = f"{phase} {share:.0%}" if share > 0.14 else f"{share:.0%}"
                panel.text(
                    left + share / 2, row, text, ha="center", va="center", fontsize=8, color=INK if light else "white"
                )
                labelled.add(phase)
            left += share
    panel.set_yticks(range(len(comparison.groups)), [short_name(group.name) for group in comparison.groups])
    spare = max(3 - len(comparison.groups), 0) / 2
    panel.set_ylim(len(comparison.groups) - 0.5 + spare, -0.5 - spare)
    panel.set_xlim(0, 1)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    rest = [phase for phase in PHASES if phase not in labelled]
    if rest:
        panel.set_xlabel(f"not labelled, below 7 %: {', '.join(rest)}")
