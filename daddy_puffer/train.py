"""One training run, wired: environments -> network and learner -> replay -> trainer -> run folder.

In: a `Config`. Out: the run folder, and a `TrainResult`. Here and nowhere else the parts of a training run meet; the
command lines `train_big`, `train_slim` and `demo` only differ in the configuration.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from daddy_puffer.config import Config
from daddy_puffer.errors import UserError
from daddy_puffer.learner.checkpoint import checkpoint_step
from daddy_puffer.learner.learner import Learner
from daddy_puffer.learner.stop import StopSignals
from daddy_puffer.learner.trainer import Trainer
from daddy_puffer.replay import make_replay
from daddy_puffer.rollout import FILM_STEPS, FilmsBeside, film_checkpoint
from daddy_puffer.telemetry import Sink, Telemetry
from daddy_puffer.telemetry.console import ConsoleSink
from daddy_puffer.telemetry.run_folder import choose_run_folder, open_run_folder, write_meta
from daddy_puffer.telemetry.sinks import EpisodeCsv, JsonLines, MetricsCsv, ProgressCsv, TensorBoard, WeightsAndBiases
from daddy_puffer.telemetry.step_rows import StepShards
from daddy_puffer.vector import VectorEnv, make_vector


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a run leaves."""

    folder: Path
    checkpoint: Path
    films: list[Path]
    steps: int  # environment steps of this session, as are the seconds
    seconds: float
    exit_code: int  # 0, or 128 + the signal that stopped it


def train(config: Config, resume: Path | None = None, film_steps: int = FILM_STEPS) -> TrainResult:
    """Train until the steps are done, time is up or a signal comes, then film; `resume` is a checkpoint folder."""
    if config.train.algorithm != "q":
        raise UserError("train.algorithm ppo is pokemonred_puffer's trainer: start python -m pokemonred_puffer.train")
    torch.set_num_threads(config.train.threads)
    torch.manual_seed(config.train.seed)
    folder = choose_run_folder(config, resume)
    with StopSignals() as stop, _make_env(config, folder) as env:
        learner = Learner(config, env.spaces, env.num_actions)
        trainer = Trainer(
            config, env, learner, make_replay(config, env.spaces, learner.state_size, env.num_envs), folder
        )
        open_run_folder(folder, config, parameters=learner.parameter_count, device=str(learner.device))
        with Telemetry(make_sinks(config, folder, resume)) as telemetry:
            trainer.before_save = telemetry.flush  # so that a checkpoint is never ahead of the logs
            if resume is not None:
                telemetry.emit(trainer.resume(resume))
            began, started = trainer.counters.steps, time.monotonic()
            for record in trainer.run(stop):
                telemetry.emit(record)
            seconds = time.monotonic() - started
    checkpoint = trainer.checkpoint
    write_meta(folder, steps=trainer.counters.steps, seconds=round(seconds, 1), checkpoint=str(checkpoint))
    stem = folder / "videos" / f"rollout_{trainer.counters.steps}"
    return TrainResult(
        folder=folder,
        checkpoint=checkpoint,
        films=[] if stop.received else film_checkpoint(checkpoint, stem, film_steps),
        steps=trainer.counters.steps - began,
        seconds=seconds,
        exit_code=stop.exit_code,
    )


def _make_env(config: Config, folder: Path) -> VectorEnv:
    return make_vector(config, savestates=folder / "savestates", recordings=folder / "recordings")


def make_sinks(config: Config, folder: Path, resume: Path | None) -> list[Sink]:
    """Everywhere the records of a run go; what a resumed run had written after its checkpoint is dropped."""
    step = None if resume is None else checkpoint_step(resume)
    sinks: list[Sink] = [
        ConsoleSink(config.train.total_steps, config.train.max_seconds),
        EpisodeCsv(folder / "episodes.csv", step),
        MetricsCsv(folder / "metrics.csv", step),
        JsonLines(folder / "events.jsonl", step),
        ProgressCsv(folder / "progress.csv", step),
        StepShards(folder / "steps", config.progress.watched, step),
        TensorBoard(folder / "tb", step),
        FilmsBeside(folder / "videos"),
    ]
    if config.wandb.enabled:
        sinks.append(WeightsAndBiases(folder, config.wandb.project, folder.name, asdict(config)))
    return sinks
