"""The environments of a run, as its configuration asks for them. In: `Config`. Out: `VectorEnv`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from daddy_puffer.config import Config
from daddy_puffer.envs import make_red_env
from daddy_puffer.swarm import StateRegistry
from daddy_puffer.vector.env import VectorEnv
from daddy_puffer.vector.packed import AnyEnv
from daddy_puffer.vector.tables import NotedTables
from daddy_puffer.wrappers import (
    ActionRecorder,
    Bayes,
    Curriculum,
    EpsilonEnv,
    Novelty,
    Patience,
    SharedPosteriors,
    VisitCounts,
    machine_of,
    open_registry,
)


class RedFactory:
    """Builds the stand-alone environment of a configuration: the game, its rewards, frame stack and ledger."""

    def __init__(
        self,
        config: Config,
        savestates: Path | None = None,
        recordings: Path | None = None,
        tables: NotedTables | None = None,
    ):
        """Remember the configuration; the emulator is started by the call.

        `savestates`: folder of the curriculum's registry; None = every episode begins at the true start.
        `recordings`: folder for episodes' actions; None = none is recorded.
        `tables`: what the environments of a run know together, where they share no memory.
        """
        self.config = config
        self.recordings = None if config.train.record_episodes == "none" else recordings
        # one of each for all environments of the run
        self.visits = VisitCounts() if tables is None else tables.visits
        self.posteriors = SharedPosteriors(config.progress.forgetting) if tables is None else tables.posteriors
        self.savestates = None if config.curriculum.mode == "off" else savestates
        self._registry: StateRegistry | None = None  # one for all environments of a process

    def __call__(self) -> AnyEnv:
        """Build one environment."""
        config = self.config
        game = make_red_env(config.env, config.rewards, progress=config.progress_reward)
        env: AnyEnv = EpsilonEnv(game, config.env.frame_stack)
        if self.recordings is not None:  # inside Curriculum: it sees what the game is given
            best_only = self.config.train.record_episodes == "best"
            env = ActionRecorder(env, self.recordings, machine_of(env), best_only=best_only)
        if self.savestates is not None:
            registry = self._registry_of(env, self.savestates)
            env = Curriculum(env, config.curriculum, registry, config.progress.forgetting)
        return self._with_bonuses(env)

    def __getstate__(self) -> dict[str, Any]:
        """What another process gets: it opens the registry itself."""
        return {**self.__dict__, "_registry": None}

    def _registry_of(self, env: AnyEnv, folder: Path) -> StateRegistry:
        if self._registry is None:
            self._registry = open_registry(folder, self.config.curriculum, env)
        return self._registry

    def _with_bonuses(self, env: AnyEnv) -> AnyEnv:
        intrinsic, progress = self.config.intrinsic, self.config.progress
        game = self.config.env
        if game.patience_steps:  # inside of every bonus: the game's own rewards decide
            env = Patience(env, game.patience_steps, game.patience_reward)
        if intrinsic.novelty_weight:
            env = Novelty(
                env,
                intrinsic.novelty_weight,
                self.visits,
                scope=intrinsic.novelty_scope,
                first=intrinsic.novelty_first,
                milestones=intrinsic.novelty_milestones,
            )
        if intrinsic.bayes_weight:  # outside of whatever ends episodes: it counts how they end
            env = Bayes(
                env,
                intrinsic.bayes_weight,
                self.posteriors,
                gamma=self.config.learner.gamma,
                step_budget=progress.step_budget,
                step_budgets=progress.step_budgets,
            )
        return env


def make_vector(
    config: Config, num_envs: int | None = None, savestates: Path | None = None, recordings: Path | None = None
) -> VectorEnv:
    """The vectorized environment of a run, as `config.train` asks for it; the folders as in `RedFactory`.

    For another number of environments as many of the processes are used as can share them equally.
    """
    train = config.train
    count = train.num_envs if num_envs is None else num_envs
    workers, tables, shared = 0, None, None
    if train.vectorization != "serial":
        workers = max(share for share in range(1, train.num_workers + 1) if count % share == 0)
    threads, ray = train.vectorization == "threads", train.vectorization == "ray"
    if threads:
        workers = min(count, train.num_workers)  # whoever is free takes the next game
    if ray:
        tables = NotedTables(config.progress.forgetting)
        savestates, recordings = _absolute(savestates), _absolute(recordings)
    factory = RedFactory(config, savestates, recordings, tables)
    if ray:
        shared = factory.savestates or factory.recordings
    env = VectorEnv(
        [factory] * count,
        num_workers=workers,
        timeout_seconds=train.worker_timeout_seconds,
        threads=threads,
        ray=ray,
        tables=tables,
        shared=shared,
    )
    env.savestates = factory.savestates
    env.visits = factory.visits if config.intrinsic.novelty_weight else None
    env.posteriors = factory.posteriors if config.intrinsic.bayes_weight else None
    return env


def _absolute(folder: Path | None) -> Path | None:
    """The same folder wherever a process works."""
    return None if folder is None else folder.absolute()
