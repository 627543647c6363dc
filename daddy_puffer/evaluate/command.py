"""`python -m daddy_puffer.evaluate RUN_OR_CHECKPOINT`: the command line.

In: a checkpoint, or a run folder for its newest one or, with --over-training, for all of them. Out: tables, JSON, CSV,
PNG and GIF files, which are all named after one of them and lie beside it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from daddy_puffer.command_line import run_command
from daddy_puffer.config import Config, load_config
from daddy_puffer.errors import UserError
from daddy_puffer.evaluate.comparison import compare, report
from daddy_puffer.evaluate.figures import draw_over_training, write_first_reached
from daddy_puffer.evaluate.over_training import Options, Results, play_run, table, write_csv
from daddy_puffer.evaluate.trajectory import GIF_STEPS, film_players
from daddy_puffer.learner.checkpoint import CONFIG_FILE, find_checkpoint
from daddy_puffer.options import DeviceOrDefault
from daddy_puffer.report.clock import Clock
from daddy_puffer.report.runs import load_run
from daddy_puffer.rollout import GREEDY_EPSILON


def evaluate(
    run: Annotated[Path, typer.Argument(help="run folder or checkpoint")],
    episodes: Annotated[int, typer.Option(min=1, help="episodes of each player")] = 20,
    epsilon: Annotated[float, typer.Option(min=0.0, max=1.0, help="random share of the trained one")] = GREEDY_EPSILON,
    seed: Annotated[int, typer.Option(help="seed of actions and environments")] = 1000,
    over_training: Annotated[
        bool,
        typer.Option(
            "--over-training",
            help="every checkpoint of a run instead of the newest: returns and milestones against steps and time; "
            "takes as long for each, but goes on where it stopped",
        ),
    ] = False,
    gif_steps: Annotated[int, typer.Option(min=1, help="steps of an episode in a GIF, at most")] = GIF_STEPS,
    no_gif: Annotated[bool, typer.Option("--no-gif", help="no GIFs")] = False,
    rom: Annotated[str | None, typer.Option(help="another ROM than the run's")] = None,
    device: DeviceOrDefault = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="JSON file; all else is written beside it under its name. Default: evaluation.json in the checkpoint, "
            "over_training.json in the run folder"
        ),
    ] = None,
) -> None:
    """Play a trained agent against random buttons and against the script, with intervals.

    Films an episode of the first two with the way it took (GIF); says when training first reached what (PNG, CSV).
    """
    checkpoint = find_checkpoint(run)
    config = load_config(checkpoint / CONFIG_FILE, {"env.gb_path": rom, "train.device": device})
    folder = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else None
    console = Console()
    if over_training:
        if folder is None:
            raise UserError(f"{run} is a checkpoint without a run: --over-training needs a run folder")
        target = _usable(output or folder / "over_training.json")
        evaluate_over_training(folder, config, Options.of(config, episodes, epsilon, seed), target, console)
    else:
        target = _usable(output or checkpoint / "evaluation.json")
        report(compare(config, checkpoint, episodes, epsilon, seed), target, console)
        if not no_gif:
            for path in film_players(config, checkpoint, target, gif_steps, epsilon, seed):
                _tell(console, path)
    if folder is not None and (folder / "episodes.csv").is_file():
        tell_first_reached(folder, output, console)


def evaluate_over_training(folder: Path, config: Config, options: Options, target: Path, console: Console) -> None:
    """Let all checkpoints play that have not, and show what came of it."""
    results = Results(target)
    play_run(folder, config, options, results)
    trained, random = results.of(options)
    clock = Clock.of(load_run(folder).metrics) if (folder / "metrics.csv").is_file() else None
    console.print(table(trained, random, clock))
    console.print()
    write_csv(target.with_suffix(".csv"), trained, random, clock)
    title = f"{folder.name}: {options.episodes} whole episodes of each checkpoint, mean and 95 % interval"
    draw_over_training(target.with_suffix(".png"), trained, random, clock, title)
    for path in (target, target.with_suffix(".csv"), target.with_suffix(".png")):
        _tell(console, path)


def tell_first_reached(folder: Path, output: Path | None, console: Console) -> None:
    """Write when training first reached each milestone, without playing."""
    stem = folder / "first_reached" if output is None else output.with_name(f"{output.stem}_first_reached")
    png, csv = (stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "csv"))
    if write_first_reached(load_run(folder), png, csv):
        _tell(console, csv)
        _tell(console, png)
    else:
        console.print("no episode of training has reached a milestone")


def _usable(target: Path) -> Path:
    """The same, once it is known that files can be written there: before hours of play, not after them.

    Raises:
        UserError: they cannot.
    """
    if target.is_dir():
        raise UserError(f"{target} is a folder: give the name of a JSON file to --output")
    if target.suffix.lower() in (".csv", ".png", ".gif"):
        raise UserError(f"--output {target}: give the name of a JSON file, the others are named after it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            return target
    except OSError as error:
        raise UserError(f"{target.parent} cannot be written to ({error.strerror or error}): give --output") from error


def _tell(console: Console, path: Path) -> None:
    console.print(f"written to {path}", soft_wrap=True, highlight=False)


def main() -> None:
    """Run the command line."""
    run_command(evaluate)
