"""One training run, wired: environments -> network and learner -> replay -> trainer -> run folder.

In: a `Config`. Out: the run folder, and a `TrainResult`. Here and nowhere else the parts of a training run meet; the
command lines `train_big`, `train_slim` and `demo` only differ in the configuration.
"""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from daddy_puffer.config import Config
from daddy_puffer.demos.own_way import OwnWay
from daddy_puffer.demos.own_wins import OwnWins
from daddy_puffer.demos.rerun import play_again, read_demonstrations
from daddy_puffer.errors import UserError
from daddy_puffer.game.maps import map_name
from daddy_puffer.learner.checkpoint import checkpoint_step, restore_learner
from daddy_puffer.learner.learner import Learner
from daddy_puffer.learner.live_samples import write_look
from daddy_puffer.learner.process import make_updates
from daddy_puffer.learner.stop import StopSignals
from daddy_puffer.learner.teaching import Teaching
from daddy_puffer.learner.trainer import Trainer
from daddy_puffer.replay import DemoReplay, MixedReplay, Rollouts, SequenceReplay, make_demo_replay, make_replay
from daddy_puffer.rollout import FILM_STEPS, FilmsBeside, film_checkpoint, film_events
from daddy_puffer.telemetry import Sink, Telemetry
from daddy_puffer.telemetry.console import console_sink
from daddy_puffer.telemetry.live import LiveWriter
from daddy_puffer.telemetry.run_folder import choose_run_folder, open_logs, open_run_folder, write_meta
from daddy_puffer.telemetry.sinks import WeightsAndBiases
from daddy_puffer.telemetry.standing import Plan
from daddy_puffer.telemetry.video import Film
from daddy_puffer.vector import VectorEnv, make_vector

_LONGEST_WIN = 1_024  # actions of a whole episode that is learnt from: what takes longer shows little but detours
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a run leaves."""

    folder: Path
    checkpoint: Path
    films: list[Path]
    steps: int  # environment steps of this session, as are the seconds
    seconds: float
    exit_code: int  # 0, or 128 + the signal that stopped it


def train(
    config: Config, resume: Path | None = None, film_steps: int = FILM_STEPS, init_from: Path | None = None
) -> TrainResult:
    """Train until the steps are done, time is up or a signal comes, then film.

    `resume` is a checkpoint folder to go on from; of `init_from`, another, a new run takes the networks only.
    """
    if config.train.algorithm != "q":
        raise UserError("train.algorithm ppo is pokemonred_puffer's trainer: start python -m pokemonred_puffer.train")
    torch.set_num_threads(config.train.threads)
    torch.manual_seed(config.train.seed)
    folder = choose_run_folder(config, resume)
    with StopSignals() as stop, _make_env(config, folder) as env:
        learner = Learner(config, env.spaces, env.num_actions)
        if init_from is not None and resume is None:
            state = restore_learner(learner.load_networks, init_from)
            if "imitation" in state:
                learner.forget_level()
        if resume is None:
            learner.networks.online.check_pretrained()
        trainer = _make_trainer(config, env, learner, folder)
        open_run_folder(folder, config, parameters=learner.parameter_count, device=str(learner.device))
        live = LiveWriter(folder / "live", env.num_envs, config.train.live_interval)
        films = FilmsBeside(folder / "videos")
        with live, Telemetry([*make_sinks(config, folder, resume), films]) as telemetry:
            films.emit = telemetry.emit
            trainer.before_save = telemetry.flush  # so that a checkpoint is never ahead of the logs
            trainer.after_step = partial(write_look, live)
            if resume is not None:
                telemetry.emit(trainer.resume(resume))
            began, started = trainer.counters.steps, time.monotonic()
            for record in trainer.run(stop):
                telemetry.emit(record)
            seconds = time.monotonic() - started
            last = [] if stop.received else _last_films(trainer, folder, film_steps)
            for event in film_events(last, trainer.counters.steps):
                telemetry.emit(event)
    _write_end(trainer, folder, seconds)
    return TrainResult(
        folder=folder,
        checkpoint=trainer.checkpoint,
        films=[Path(film.path) for film in last],
        steps=trainer.counters.steps - began,
        seconds=seconds,
        exit_code=stop.exit_code,
    )


def _write_end(trainer: Trainer, folder: Path, seconds: float) -> None:
    """How far the run came; a failure is one warning, for all that the next session needs is in the checkpoint."""
    try:
        write_meta(folder, steps=trainer.counters.steps, seconds=round(seconds, 1), checkpoint=str(trainer.checkpoint))
    except OSError as error:
        _log.warning("meta.json does not say how the run ended: %s", error.strerror or error)


def _last_films(trainer: Trainer, folder: Path, steps: int) -> list[Film]:
    """The films of the newest checkpoint; a failure is one warning, for the run has all that it was for."""
    stem = folder / "videos" / f"rollout_{trainer.counters.steps}"
    try:
        return film_checkpoint(trainer.checkpoint, stem, steps)
    except Exception as error:
        _log.warning("no film of step %d: %r", trainer.counters.steps, error)
        return []


def _make_trainer(config: Config, env: VectorEnv, learner: Learner, folder: Path) -> Trainer:
    replay: SequenceReplay | Rollouts | MixedReplay
    replay = make_replay(config, env.spaces, learner.state_size, env.num_envs)
    if not config.demos.folder and not config.demos.own_way:
        return Trainer(config, env, learner, replay, folder, updates=make_updates(learner, config.train))
    demos = _load_demos(config, env, learner.state_size)
    own = config.demos
    own_way = OwnWay(config, folder / "savestates") if own.own_way else None
    own_wins = OwnWins(env.num_envs, own.own_way, own.own_wins, _LONGEST_WIN) if own.own_wins else None
    mixed = MixedReplay(replay, demos, config.demos.ratio, config.train.seed)
    teaching = Teaching(config, learner, demos, own_way, own_wins)
    return Trainer(config, env, learner, mixed, folder, teaching, make_updates(learner, config.train))


def _load_demos(config: Config, env: VectorEnv, state_size: int) -> DemoReplay:
    """The demonstrations of the configuration's folder, if it has one, played again in the run's own game."""
    episodes = read_demonstrations(config) if config.demos.folder else []
    demos = make_demo_replay(config, env.spaces, state_size, [len(episode) for episode in episodes])
    for rows in play_again(config, episodes):
        demos.add(rows)
    return demos


def _make_env(config: Config, folder: Path) -> VectorEnv:
    return make_vector(config, savestates=folder / "savestates", recordings=folder / "recordings")


def make_sinks(config: Config, folder: Path, resume: Path | None) -> list[Sink]:
    """Everywhere the records of a run go; what a resumed run had written after its checkpoint is dropped.

    Raises:
        UserError: the disk is full, or the folder cannot be written to.
    """
    step = None if resume is None else checkpoint_step(resume)
    try:
        return _make_sinks(config, folder, step)
    except OSError as error:
        raise UserError(f"{folder} cannot be written to: {error.strerror or error}") from error


def _make_sinks(config: Config, folder: Path, step: int | None) -> list[Sink]:
    sinks = [console_sink(_plan(config, folder)), *open_logs(folder, config.progress.watched, step)]
    if config.wandb.enabled:
        sinks.append(WeightsAndBiases(folder, config.wandb.project, folder.name, asdict(config), step))
    return sinks


def _plan(config: Config, folder: Path) -> Plan:
    return Plan(
        name=folder.name,
        total_steps=config.train.total_steps,
        max_seconds=config.train.max_seconds,
        num_envs=config.train.num_envs,
        watched=tuple(config.progress.watched),
        target=config.progress.target,
        map_names={number: map_name(number) for number in range(256)},
    )
