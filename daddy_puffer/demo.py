"""`make demo`: train a slim agent on the practice cartridge for some minutes, evaluate it, film it, print a table.

In: `config.yaml` if there is one. Out: a run folder, a table of trained against random, a GIF and an MP4.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from daddy_puffer.command_line import run_command
from daddy_puffer.config import load_config
from daddy_puffer.evaluate.comparison import compare, report
from daddy_puffer.train import train

ANY_NUMBER_OF_STEPS = 10**9  # the clock ends the demo


def demo(
    config: Annotated[Path, typer.Option(help="YAML file of settings; without it the defaults")] = Path(
        "configs/explore.yaml"
    ),
    minutes: Annotated[float, typer.Option(min=0.05, max=60, help="time to train")] = 5.5,
    episodes: Annotated[int, typer.Option(min=1, help="episodes of each player afterwards")] = 20,
    episode_steps: Annotated[int, typer.Option(min=50, help="steps until an episode is cut")] = 512,
    film_steps: Annotated[int, typer.Option(min=1, help="steps to film")] = 512,
    run_name: Annotated[str, typer.Option(help="folder under runs/; default: demo and the time")] = "",
) -> None:
    """Train a few minutes on the practice cartridge, evaluate against random buttons, film the result."""
    console = Console()
    settings = load_config(
        config if config.exists() else None,
        {
            "policy.model_size": "slim",
            "env.max_steps": episode_steps,
            "train.total_steps": ANY_NUMBER_OF_STEPS,
            "train.max_seconds": 60 * minutes,
            "train.run_name": run_name or datetime.now().strftime("demo_%Y-%m-%d_%H-%M-%S"),
        },
    )
    console.print(f"training for {minutes:g} minutes; Ctrl-C stops and keeps what was learnt")
    result = train(settings, film_steps=film_steps)
    if result.exit_code:
        raise typer.Exit(result.exit_code)
    console.print(f"trained {result.steps:,} steps; now {episodes} episodes each of trained and random play")
    comparison = compare(settings, result.checkpoint, episodes)
    report(comparison, result.folder / "evaluation.json", console)
    speed = result.steps / result.seconds
    console.print(f"training: {result.steps:,} environment steps, {speed:.0f} per second")
    for path in (*result.films, result.folder / "episodes.csv", result.folder / "tb", result.checkpoint):
        console.print(str(path), soft_wrap=True)


def main() -> None:
    """Run the command line."""
    run_command(demo)


if __name__ == "__main__":
    main()
