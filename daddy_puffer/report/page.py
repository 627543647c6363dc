"""The page: drawings, tables and films in one HTML file that asks nothing of a network.

In: `Comparison`, `Drawing`s. Out: HTML. Figures are inlined as SVG or PNG, films up to a size; larger ones are linked.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure

from daddy_puffer import __version__
from daddy_puffer.report.curves import true_starts
from daddy_puffer.report.drawing import Comparison, Drawing, last_value
from daddy_puffer.report.groups import Group, Setting, settings_of
from daddy_puffer.report.pictures import TimeSlices
from daddy_puffer.report.runs import Run
from daddy_puffer.report.style import short

DPI = 160  # of figures drawn as pixels, and of exported PNGs
MOST_SVG_BYTES = 300_000  # beyond it a figure is drawn as pixels
LATEST_EPISODES = 20  # for the numbers in the table of runs
MOST_FILMS = 4  # of a run, the newest
MIME = {".mp4": "video/mp4", ".gif": "image/gif"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """A video of a run, inlined or linked."""

    title: str
    source: str  # data URI, or a path relative to the page
    inlined: bool
    is_video: bool  # a GIF is an image


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page."""

    anchor: str
    title: str
    blocks: tuple[dict[str, Any], ...]  # what the template shows, in order


def run_row(run: Run, group: Group) -> dict[str, str]:
    """The line of a run in the first table."""
    latest = true_starts(run)
    returns = latest.return_env[-LATEST_EPISODES:]
    speed = run.metrics.get("speed/steps_per_second")
    seconds = run.meta.get("seconds")
    return {
        "colour": group.colour,
        "name": run.name,
        "group": group.name if len(group.runs) > 1 else "",
        "seed": _known(run.config.get("train.seed")),
        "steps": f"{run.last_step:,}",
        "of": short(float(total)) if isinstance(total := run.config.get("train.total_steps"), (int, float)) else "",
        "episodes": f"{len(run.episodes):,}",
        "returns": f"{np.mean(returns):.1f}" if len(returns) else "–",
        "badges": str(int(run.episodes.badges.max())) if len(run.episodes) else "–",
        "speed": f"{np.nanmedian(speed):.0f}" if speed is not None else "–",
        "minutes": f"{seconds / 60:.0f}" if isinstance(seconds, (int, float)) else "–",
        "state": "ended" if run.has_stopped else "running, or cut off",
    }


def evaluation_rows(runs: Iterable[Run]) -> list[dict[str, str]]:
    """What `daddy-puffer evaluate` measured, a line a player; what is not as expected is left out."""
    rows = []
    for run in runs:
        scores = run.evaluation.get("scores")
        for player, score in scores.items() if isinstance(scores, dict) else ():
            try:
                low, high = float(score["return_low"]), float(score["return_high"])
                rows.append(
                    {
                        "run": f"{run.name}, {run.evaluation['checkpoint']}",
                        "player": str(player),
                        "episodes": str(int(score["episodes"])),
                        "returns": f"{float(score['mean_return']):.1f} [{low:.1f}, {high:.1f}]",
                        "badges": f"{float(score['mean_badges']):.2f}",
                    }
                )
            except (KeyError, TypeError, ValueError):
                continue
    return rows


def films_of(run: Run, page_folder: Path, limit_bytes: int) -> list[Film]:
    """The newest films; inlined while all together stay below the limit."""
    films, used = [], 0
    for path in run.videos[:MOST_FILMS]:
        try:
            size = path.stat().st_size
            inlined = used + size <= limit_bytes
            source = _data_uri(path.read_bytes(), MIME[path.suffix]) if inlined else _link(path, page_folder)
        except OSError:
            continue  # it was removed meanwhile
        used += size if inlined else 0
        title = f"{run.name}: {path.name}, {size / 1e6:.2f} MB" + ("" if inlined else ", linked")
        films.append(Film(title=title, source=source, inlined=inlined, is_video=path.suffix == ".mp4"))
    return films


def film_section(runs: Sequence[Run], page_folder: Path, limit_bytes: int) -> Section:
    """All films of the page, which share the limit."""
    films: list[Film] = []
    for run in runs:
        films += films_of(run, page_folder, limit_bytes // len(runs))
    linked = sum(not film.inlined for film in films)
    text = f"The newest {MOST_FILMS} of each run at most. " if films else "No videos in any run."
    if linked:
        text += f"{linked} too large to be put into this file are linked: keep them beside it."
    return Section(anchor="videos", title="Videos", blocks=({"kind": "films", "films": films, "text": text.strip()},))


def settings_section(groups: Sequence[Group]) -> Section:
    """What is not as the defaults."""
    settings: tuple[Setting, ...] = settings_of(groups)
    known = [bool(group.runs[0].config) for group in groups]
    missing = [group.name for group, has in zip(groups, known, strict=True) if not has]
    text = f"No config.yaml in {', '.join(missing)}. " if missing else ""
    text += "" if settings else "Every setting is as in the defaults."
    block = {"kind": "settings", "settings": settings, "groups": groups, "text": text.strip()}
    return Section(anchor="settings", title="Settings that differ from the defaults", blocks=(block,))


def drawing_block(drawing: Drawing, title: bool = False) -> dict[str, Any]:
    """A figure with its words."""
    image = "" if drawing.figure is None else image_uri(drawing.figure)
    heading = drawing.title if title else ""
    return {"kind": "figure", "drawing": drawing, "image": image, "heading": heading}


def slider_block(slices: TimeSlices, number: int) -> dict[str, Any]:
    """Large pictures of which one is shown at a time."""
    images = [_data_uri(image, "image/png") for image in slices.images]
    frames = list(zip(slices.labels, images, strict=True))
    return {"kind": "slider", "name": slices.name, "frames": frames, "id": f"slider{number}"}


def render(comparison: Comparison, sections: Sequence[Section], title: str, made: str) -> str:
    """The whole page."""
    text = resources.files("daddy_puffer").joinpath("report/page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    rows = [run_row(run, group) for group in comparison.groups for run in group.runs]
    return environment.from_string(text).render(
        title=title,
        made=made,
        version=__version__,
        rows=rows,
        grouped=any(len(group.runs) > 1 for group in comparison.groups),
        evaluation=evaluation_rows(comparison.runs),
        sections=sections,
        facts=facts_of(comparison),
    )


def facts_of(comparison: Comparison) -> list[tuple[str, str]]:
    """A few large numbers for the head of the page: the best over all runs."""
    runs = comparison.runs
    facts = [("runs", str(len(runs))), ("steps in all", short(sum(run.last_step for run in runs)))]
    facts.append(("episodes", short(sum(len(run.episodes) for run in runs))))
    badges = [int(run.episodes.badges.max()) for run in runs if len(run.episodes)]
    if badges:
        facts.append(("most badges", str(max(badges))))
    cells = [last_value(column) for run in runs if (column := run.metrics.get("novelty/cells")) is not None]
    if cells:
        facts.append(("most cells visited", short(max(cells))))
    maps = [len(np.unique(run.steps.map_id)) for run in runs if len(run.steps)]
    if maps:
        facts.append(("most maps seen", str(max(maps))))
    return facts


def image_uri(figure: Figure) -> str:
    """A figure as SVG, or as PNG where that is smaller than a large SVG."""
    target = io.BytesIO()
    figure.savefig(target, format="svg", dpi=DPI, metadata={"Date": None})
    figure.set_layout_engine("none")  # it is laid out: an export need not do it once more
    if target.tell() <= MOST_SVG_BYTES:
        return _data_uri(target.getvalue(), "image/svg+xml")
    return _data_uri(_pixels(figure, DPI), "image/png")


def _pixels(figure: Figure, dpi: int) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=dpi)
    return target.getvalue()


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _link(path: Path, page_folder: Path) -> str:
    return Path(os.path.relpath(path.resolve(), page_folder.resolve())).as_posix()


def _known(value: object) -> str:
    return "–" if value is None else str(value)
