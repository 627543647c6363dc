"""The command lines `frames collect` and `frames import`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from daddy_puffer.demos.command import run_one_of
from daddy_puffer.errors import UserError
from daddy_puffer.pretraining.collect import Collecting, collect
from daddy_puffer.pretraining.frames import ManifestRow, take_stock, write_manifest, write_run
from daddy_puffer.pretraining.video import AUTO, import_video, run_name

DEFAULTS = Collecting()


def collect_frames(
    out: Annotated[Path, typer.Option(help="folder for one npz a run; one that was begun goes on")],
    frames: Annotated[int, typer.Option(min=1, help="in all, at least")] = DEFAULTS.frames,
    test_every: Annotated[int, typer.Option(min=2, help="the first run of so many is for testing")] = (
        DEFAULTS.test_every
    ),
    frames_between: Annotated[int, typer.Option(help="Game Boy frames from one kept frame to the next")] = (
        DEFAULTS.frames_between
    ),
    most_steps: Annotated[int, typer.Option(min=1, help="buttons of a run, at most")] = DEFAULTS.most_steps,
    random_start_steps: Annotated[int, typer.Option(min=0, help="random buttons at first, at most")] = (
        DEFAULTS.random_start_steps
    ),
    seed: Annotated[int, typer.Option(min=0, help="another one gives other runs")] = DEFAULTS.seed,
) -> None:
    """Play the practice cartridge from power-on with the script and keep the frames, without the buttons."""
    collecting = Collecting(
        frames=frames,
        seed=seed,
        test_every=test_every,
        frames_between=frames_between,
        most_steps=most_steps,
        random_start_steps=random_start_steps,
    )
    columns = (TextColumn("frames"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("frames", total=frames)
        have = {"train": 0, "test": 0}
        for row in collect(out, collecting, say):
            have[row.split] += row.frames
            bar.update(task, completed=min(frames, sum(have.values())))
            bar.console.print(in_words(row), highlight=False) if shown else print(in_words(row), flush=True)
    print(f"{out}: {have['train']} frames for training, {have['test']} for testing")


def import_frames(
    videos: Annotated[list[Path], typer.Argument(help="films of runs: mp4, mkv, what ffmpeg reads")],
    out: Annotated[Path, typer.Option(help="folder for one npz a film; may be one of `frames collect`")],
    crop: Annotated[str, typer.Option(help="the game's rectangle in the film as width:height:x:y, or auto")] = AUTO,
    every: Annotated[float, typer.Option(min=0.0, help="seconds from one kept frame to the next")] = 0.4,
    split: Annotated[str, typer.Option(help="train or test: what these films are for")] = "train",
) -> None:
    """Cut films of runs down to the game's screen and keep frames as `frames collect` does."""
    names = [run_name(path) for path in videos]
    if len(set(names)) < len(names):
        raise UserError("two of the films would get the same name: rename one")
    rows = take_stock(out, say)
    bad = 0
    for path, name in zip(videos, names, strict=True):
        if name in rows:
            print(f"{path}: there already as {name}")
            continue
        try:
            run = import_video(path, crop, every, split)
            rows[name] = ManifestRow.of(run, write_run(out, run))
            write_manifest(out, rows)
            print(f"{path}: {in_words(rows[name])}, crop {run.facts.details['crop']}", flush=True)
        except UserError as error:
            bad += 1
            say(str(error))
    if bad:
        raise UserError(f"{bad} of {len(videos)} films could not be imported")


def in_words(row: ManifestRow) -> str:
    """A run in a line."""
    return f"{row.run} ({row.split}): {row.frames} frames, {row.seconds:.0f} s, {row.bytes / 1e3:.0f} kB"


def say(line: str) -> None:
    """A warning."""
    print(f"warning: {line}", file=sys.stderr, flush=True)


def main() -> None:
    """Run the command line."""
    run_one_of("frames", {"collect": collect_frames, "import": import_frames})


if __name__ == "__main__":
    main()
