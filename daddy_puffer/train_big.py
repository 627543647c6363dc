"""`python -m daddy_puffer.train_big`: the long run. Every option overrides the setting of `--config` it names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from daddy_puffer.command_line import resolve, run_command
from daddy_puffer.learner.checkpoint import find_checkpoint
from daddy_puffer.options import DeviceOrDefault, Resume, Rom, Settings
from daddy_puffer.train import train


def train_big(
    num_envs: Annotated[int | None, typer.Option(help="environments stepped together")] = None,
    num_workers: Annotated[int | None, typer.Option(help="processes or threads they are shared among")] = None,
    total_steps: Annotated[int | None, typer.Option(help="environment steps of all environments together")] = None,
    batch_size: Annotated[int | None, typer.Option(help="sequences in an update")] = None,
    model_size: Annotated[str | None, typer.Option(help="slim or large")] = None,
    run_name: Annotated[str | None, typer.Option(help="folder under runs/; default: date and time")] = None,
    log_interval: Annotated[int | None, typer.Option(help="environment steps between log lines")] = None,
    save_interval: Annotated[int | None, typer.Option(help="environment steps between checkpoints")] = None,
    video_interval: Annotated[int | None, typer.Option(help="environment steps between films; 0: only one")] = None,
    config: Settings = None,
    rom: Rom = None,
    seed: Annotated[int | None, typer.Option(help="seed of everything random")] = None,
    device: DeviceOrDefault = None,
    vectorization: Annotated[str | None, typer.Option(help="serial, threads, multiprocessing or ray")] = None,
    resume: Resume = None,
    init_from: Annotated[
        Path | None, typer.Option(help="run folder or checkpoint whose networks to begin with")
    ] = None,
    demos: Annotated[
        str | None, typer.Option(help="folder of demonstrations to learn from too, instead of the run's own; '' = none")
    ] = None,
    demo_ratio: Annotated[float | None, typer.Option(help="their share of each batch")] = None,
    bc_weight: Annotated[float | None, typer.Option(help="what cloning them counts")] = None,
    margin_weight: Annotated[float | None, typer.Option(help="what their large margin counts")] = None,
) -> None:
    """Train a HierQ agent."""
    begin = None if init_from is None else find_checkpoint(init_from)
    others = {"demos__own_way": [], "demos__own_wins": 0} if demos else {}  # a run learns from these or from its own
    settings, checkpoint = resolve(
        config,
        resume,
        train__num_envs=num_envs,
        train__num_workers=num_workers,
        train__total_steps=total_steps,
        replay__batch_size=batch_size,
        policy__model_size=model_size,
        train__run_name=run_name,
        train__log_interval=log_interval,
        train__save_interval=save_interval,
        train__video_interval=video_interval,
        env__gb_path=rom,
        train__seed=seed,
        train__device=device,
        train__vectorization=vectorization,
        demos__folder=demos,
        **others,
        demos__ratio=demo_ratio,
        demos__bc_weight=bc_weight,
        demos__margin_weight=margin_weight,
    )
    raise typer.Exit(train(settings, checkpoint, init_from=begin).exit_code)


def main() -> None:
    """Run the command line."""
    run_command(train_big)


if __name__ == "__main__":
    main()
