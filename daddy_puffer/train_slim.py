"""`python -m daddy_puffer.train_slim --config config.yaml`: the same engine with the slim network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from daddy_puffer.command_line import resolve, run_command
from daddy_puffer.train import train


def train_slim(
    config: Annotated[Path | None, typer.Option(help="YAML file of settings")] = None,
    resume: Annotated[Path | None, typer.Option(help="run folder or checkpoint to go on from")] = None,
) -> None:
    """Train a slim HierQ agent with the settings of a file."""
    settings, checkpoint = resolve(config, resume, policy__model_size="slim")
    raise typer.Exit(train(settings, checkpoint).exit_code)


def main() -> None:
    """Run the command line."""
    run_command(train_slim)


if __name__ == "__main__":
    main()
