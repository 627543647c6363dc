"""`python -m daddy_puffer.report RUN...`: what runs did, as one HTML page and as figures for papers.

In: run folders. Out: `report.html`, with --png or --svg also every figure as a file. Runs may be old, partial or under
way: a section whose files are missing says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from daddy_puffer.command_line import run_command
from daddy_puffer.errors import UserError
from daddy_puffer.files import replacing
from daddy_puffer.report import curves, firsts, page, pictures
from daddy_puffer.report.drawing import Comparison, Drawing, compare
from daddy_puffer.report.page import DPI, Section, drawing_block, slider_block
from daddy_puffer.report.runs import load_run
from daddy_puffer.report.style import styled

MOST_SLIDERS = 4


def report(
    runs: Annotated[list[Path], typer.Argument(help="run folders; those of one setting become one curve")],
    output: Annotated[
        Path | None, typer.Option(help="the page; default: report.html in the run, of several runs here")
    ] = None,
    png: Annotated[bool, typer.Option("--png", help="every figure as PNG beside the page, too")] = False,
    svg: Annotated[bool, typer.Option("--svg", help="every figure as SVG beside the page, too")] = False,
    title: Annotated[str, typer.Option(help="heading of the page; default: the runs' names")] = "",
    bins: Annotated[int, typer.Option(min=0, max=500, help="points of a curve; 0: as many as episodes allow")] = 0,
    video_megabytes: Annotated[float, typer.Option(min=0.0, help="videos put into the page; larger are linked")] = 16.0,
) -> None:
    """Write what runs did as one HTML page."""
    folders = list(dict.fromkeys(Path(path).resolve() for path in runs))
    loaded = [load_run(folder) for folder in folders]
    target = output or (folders[0] / "report.html" if len(folders) == 1 else Path("report.html"))
    if target.is_dir():
        raise UserError(f"{target} is a folder: give the name of an HTML file to --output")
    comparison = compare(loaded, bins)
    with styled():
        sections, drawings = draw(comparison)
        sections.append(page.film_section(comparison.runs, target.parent, int(video_megabytes * 1e6)))
        sections.append(page.settings_section(comparison.groups))
        made = f"made {datetime.now().astimezone().strftime('%Y-%m-%d %H:%M')}"
        heading = title or ", ".join(group.title for group in comparison.groups)
        write(target, page.render(comparison, sections, heading, made).encode())
        print(f"written to {target} ({target.stat().st_size / 1e6:.1f} MB)")
        for suffix in [name for name, wanted in (("png", png), ("svg", svg)) if wanted]:
            export(drawings, target.with_name(f"{target.stem}_figures"), suffix)


def draw(comparison: Comparison) -> tuple[list[Section], list[Drawing]]:
    """All sections with figures, and the figures."""
    plain = {
        "learning": [curves.learning(comparison)],
        "badges": [curves.badges(comparison)],
        "milestones": [curves.milestones(comparison), firsts.first_times(comparison)],
        "posteriors": [curves.posteriors(comparison)],
        "exploration": [
            *pictures.exploration(comparison),
            pictures.reach(comparison),
            pictures.maps_by_time(comparison),
        ],
        "lineage": pictures.lineages(comparison),
        "spawns": [curves.spawns(comparison)],
        "throughput": [curves.throughput(comparison)],
        "learner": [curves.learner(comparison)],
    }
    titles = {"milestones": "Milestones", "exploration": "Exploration", "lineage": "Curriculum lineage"}
    sections = []
    for anchor, drawings in plain.items():
        blocks = [drawing_block(drawing, title=anchor in titles) for drawing in drawings]
        if anchor == "exploration":
            blocks = with_sliders(blocks, comparison)
        sections.append(Section(anchor=anchor, title=titles.get(anchor, drawings[0].title), blocks=tuple(blocks)))
    return sections, [drawing for drawings in plain.values() for drawing in drawings]


def with_sliders(blocks: Sequence[dict[str, Any]], comparison: Comparison) -> list[dict[str, Any]]:
    """Behind the map of each of the first groups the same, large; the groups' maps stand first in `blocks`."""
    found: list[dict[str, Any]] = []
    for number, block in enumerate(blocks):
        found.append(block)
        if number < min(len(comparison.groups), MOST_SLIDERS):
            slices = pictures.slider(comparison.groups[number], comparison)
            found += [slider_block(slices, number)] if slices else []
    return found


def export(drawings: Sequence[Drawing], folder: Path, suffix: str) -> None:
    """Every figure as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [drawing for drawing in drawings if drawing.figure is not None]
    for drawing in drawn:
        if drawing.figure is not None:
            metadata = {"Date": None} if suffix == "svg" else None
            drawing.figure.savefig(folder / f"{drawing.key}.{suffix}", dpi=DPI, metadata=metadata)
    print(f"written to {folder} ({len(drawn)} figures as {suffix.upper()})")


def write(target: Path, content: bytes) -> None:
    """Replace a file in one step.

    Raises:
        UserError: it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}") from error


def main() -> None:
    """Command line."""
    run_command(report)


if __name__ == "__main__":
    main()
