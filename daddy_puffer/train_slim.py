"""`python -m daddy_puffer.train_slim --config config.yaml`: the same engine with the slim network."""

from __future__ import annotations

import typer

from daddy_puffer.command_line import resolve, run_command
from daddy_puffer.options import Resume, Settings
from daddy_puffer.train import train


def train_slim(
    config: Settings = None,
    resume: Resume = None,
) -> None:
    """Train a slim HierQ agent with the settings of a file."""
    settings, checkpoint = resolve(config, resume, policy__model_size="slim")
    raise typer.Exit(train(settings, checkpoint).exit_code)


def main() -> None:
    """Run the command line."""
    run_command(train_slim)


if __name__ == "__main__":
    main()
