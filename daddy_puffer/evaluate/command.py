"""`python -m daddy_puffer.evaluate RUN_OR_CHECKPOINT`: the command line.

In: a checkpoint. Out: two tables, and the same as JSON.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from daddy_puffer.command_line import run_command
from daddy_puffer.config import load_config
from daddy_puffer.evaluate.comparison import compare, report
from daddy_puffer.learner.checkpoint import CONFIG_FILE, find_checkpoint
from daddy_puffer.options import DeviceOrDefault
from daddy_puffer.rollout import GREEDY_EPSILON


def evaluate(
    run: Annotated[Path, typer.Argument(help="run folder or checkpoint")],
    episodes: Annotated[int, typer.Option(min=1, help="episodes of each player")] = 20,
    epsilon: Annotated[float, typer.Option(min=0.0, max=1.0, help="random share of the trained one")] = GREEDY_EPSILON,
    seed: Annotated[int, typer.Option(help="seed of actions and environments")] = 1000,
    rom: Annotated[str | None, typer.Option(help="another ROM than the run's")] = None,
    device: DeviceOrDefault = None,
    output: Annotated[Path | None, typer.Option(help="JSON file; default: evaluation.json in the checkpoint")] = None,
) -> None:
    """Play a trained agent against random buttons and against the script, with intervals."""
    checkpoint = find_checkpoint(run)
    config = load_config(checkpoint / CONFIG_FILE, {"env.gb_path": rom, "train.device": device})
    comparison = compare(config, checkpoint, episodes, epsilon, seed)
    report(comparison, output or checkpoint / "evaluation.json", Console())


def main() -> None:
    """Run the command line."""
    run_command(evaluate)
