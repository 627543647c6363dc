"""Playing without learning: agents, whole episodes in parallel environments, films.

In: a configuration and an agent. Out: `EpisodeRecord`s, `Moment`s, video files.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Protocol

import gymnasium
import numpy as np

from daddy_puffer.config import Config
from daddy_puffer.envs.rom import PRACTICE_ROM, find_rom, packaged
from daddy_puffer.envs.scripted import ScriptedPlayer
from daddy_puffer.game import GameState, milestone_bits, milestones_reached
from daddy_puffer.game.milestones import MILESTONES
from daddy_puffer.learner.checkpoint import load_checkpoint, load_checkpoint_config, restore_learner, to_arrays
from daddy_puffer.learner.learner import Learner
from daddy_puffer.progress.tracker import ProgressTracker
from daddy_puffer.telemetry import EpisodeRecord, EpisodeTracker, Event, Interval, Record, Sink
from daddy_puffer.telemetry.overlay import Belief
from daddy_puffer.telemetry.standing import short_name
from daddy_puffer.telemetry.video import Caption, Film, VideoWriter
from daddy_puffer.types import Action, Array, StepBatch
from daddy_puffer.vector import AnyEnv, RedFactory, VectorEnv, box_spaces

FILM_STEPS = 600
GREEDY_EPSILON = 0.05  # random actions of a trained agent that is looked at
FILM_FPS = 12  # env steps a second: each is 24 frames of the game, 0.4 s

_log = logging.getLogger(__name__)


class Agent(Protocol):
    """Chooses actions for B environments, from the first step of their first episodes on."""

    def act(self, batch: StepBatch) -> Array:
        """Actions i64 `[B]` for what `batch` shows."""


class RandomAgent:
    """Uniformly random buttons."""

    def __init__(self, num_actions: int = len(Action), seed: int = 0):
        """Draw from its own generator."""
        self._num_actions = num_actions
        self._rng = np.random.default_rng(seed)

    def act(self, batch: StepBatch) -> Array:
        """Any button."""
        return self._rng.integers(0, self._num_actions, len(batch.reward))


class TrainedAgent:
    """Greedy but for a share `epsilon` of random actions, which keep it from pressing against a wall for ever."""

    def __init__(self, learner: Learner, epsilon: float):
        """Play with the learner's online network."""
        self._learner = learner
        self._epsilon = epsilon
        self._state: Array | None = None

    def act(self, batch: StepBatch) -> Array:
        """What the network says."""
        if self._state is None:
            self._state = self._learner.initial_state(len(batch.reward))
        epsilon = np.full(len(batch.reward), self._epsilon, dtype=np.float32)
        result = self._learner.act(batch.observation, batch.first, self._state, epsilon)
        self._state = result.state
        return result.actions


def play_episodes(env: VectorEnv, agent: Agent, episodes: int, seed: int) -> list[EpisodeRecord]:
    """Play `episodes` whole ones.

    Each environment has a quota, so that short episodes are not over-represented as they would be among the first
    to finish.
    """
    quota = np.full(env.num_envs, episodes // env.num_envs)
    quota[: episodes % env.num_envs] += 1
    tracker = EpisodeTracker(env.num_envs, [milestone.name for milestone in MILESTONES])
    batch = env.reset(seed)
    tracker.add(batch, 0)
    records: list[EpisodeRecord] = []
    steps = 0
    while quota.any():
        batch = env.step(agent.act(batch))
        steps += int(np.count_nonzero(~batch.first))
        for record in tracker.add(batch, steps):
            if quota[record.env_id]:
                quota[record.env_id] -= 1
                records.append(record)
    return records


@dataclass(frozen=True, slots=True)
class Moment:
    """One step of a rollout that is looked at."""

    step: int  # from 1 on
    action: Action
    reward: float
    total: float  # of this episode
    state: GameState  # after the step
    new_milestones: tuple[str, ...]
    frame: Array  # u8 [144, 160, 3]
    ended: bool  # the next one is the first of another episode
    returns: Mapping[str, float]  # what `total` is made of, by term of the game's rewards
    beliefs: tuple[Belief, ...] = ()

    def caption(self) -> Caption:
        """What a film says of it."""
        return Caption(
            step=self.step,
            action=self.action.name,
            reward=self.reward,
            total=self.total,
            badges=self.state.badges,
            place=self.state.map_name,
            components=self.returns,
            beliefs=self.beliefs,
        )


class ScriptedAgent:
    """The player that knows the practice cartridge; reads the memory of its environments."""

    def __init__(self, *envs: AnyEnv):
        """Play in `envs`, the rows of a batch in this order."""
        self._memories = [env.get_wrapper_attr("memory") for env in envs]
        self._players = [ScriptedPlayer() for _ in envs]

    def act(self, batch: StepBatch) -> Array:
        """The buttons for this moment."""
        for row in np.flatnonzero(batch.first):
            self._players[row] = ScriptedPlayer()  # it remembers where it got stuck
        return np.array([player.act(memory) for player, memory in zip(self._players, self._memories, strict=True)])


def load_agent(
    checkpoint: Path, spaces: Mapping[str, gymnasium.spaces.Box], epsilon: float, device: str, seed: int
) -> TrainedAgent:
    """The agent kept in a checkpoint folder."""
    config = load_checkpoint_config(checkpoint)
    config = replace(config, train=replace(config.train, device=device, seed=seed))
    learner = Learner(config, spaces, len(Action))
    restore_learner(learner.load_state_dict, checkpoint)
    learner.generator.manual_seed(seed)
    return TrainedAgent(learner, epsilon)


def is_practice(config: Config) -> bool:
    """Whether the configuration plays the practice cartridge, the only game that the scripted player knows."""
    return find_rom(config.env.gb_path).path == packaged(PRACTICE_ROM)


def play_script(config: Config, episodes: int, seed: int, most_envs: int = 1) -> list[EpisodeRecord]:
    """Whole episodes of the scripted player, in at most so many environments of this process."""
    envs = [RedFactory(config.for_evaluation())() for _ in range(min(episodes, most_envs))]
    with VectorEnv([lambda env=env: env for env in envs]) as vector:  # type: ignore[misc]
        return play_episodes(vector, ScriptedAgent(*envs), episodes, seed)


def load_beliefs(checkpoint: Path) -> dict[str, float]:
    """What a run believed at a checkpoint: the chance to reach a milestone by its name, the watched ones first."""
    state = load_checkpoint(checkpoint)
    if "progress" not in state:
        return {}
    tracker = ProgressTracker([m.name for m in MILESTONES], load_checkpoint_config(checkpoint).progress, num_envs=1)
    tracker.load_state_dict(to_arrays(state["progress"]))
    return {row.milestone: row.mean for row in tracker.rows(step=0)}


def watch(
    env: AnyEnv, agent: Agent, steps: int, seed: int, beliefs: Mapping[str, float] | None = None
) -> Generator[Moment, None, None]:
    """Play `steps` steps in one environment and show each; closes it at the end.

    The same agent, start state and seed show the same moments. `beliefs`: chances by milestone, to be shown with them.
    """
    with VectorEnv([lambda: env]) as vector:
        batch = vector.reset(seed)
        total = 0.0
        known: set[str] = set()
        for step in range(1, steps + 1):
            action = agent.act(batch)
            batch = vector.step(action)
            reward = float(batch.reward[0])
            total = 0.0 if batch.first[0] else total + reward
            state: GameState = env.get_wrapper_attr("game_state")
            reached = milestones_reached(milestone_bits(state))
            known = set() if batch.first[0] else known
            new = tuple(name for name in reached if name not in known)
            known.update(reached)
            yield Moment(
                step=step,
                action=Action(int(action[0])),
                reward=reward,
                total=total,
                state=state,
                new_milestones=new,
                frame=np.asarray(env.render()),
                ended=bool(batch.terminated[0] or batch.truncated[0]),
                returns=env.get_wrapper_attr("summary")()["returns"],
                beliefs=tuple(Belief(short_name(m), mean, m in known) for m, mean in (beliefs or {}).items()),
            )


def film_checkpoint(checkpoint: Path, stem: Path, steps: int = FILM_STEPS) -> list[Film]:
    """Film `steps` steps of a trained agent, as MP4 and GIF."""
    config = load_checkpoint_config(checkpoint)
    env = RedFactory(config.for_evaluation())()
    agent = load_agent(checkpoint, box_spaces(env), GREEDY_EPSILON, "cpu", seed=config.train.seed)
    with VideoWriter(stem, fps=FILM_FPS, max_frames=steps) as writer:
        for moment in watch(env, agent, steps, config.train.seed, load_beliefs(checkpoint)):
            writer.add(moment.frame, moment.caption())
    return writer.films()


def film_events(films: Sequence[Film], step: int) -> list[Event]:
    """What the log tells about films of step `step`."""
    return [Event("video", step, asdict(film)) for film in films]


class FilmsBeside(Sink):
    """Films the checkpoints that a run asks for, one after the other in a process of the lowest priority.

    So training goes on meanwhile; a film that fails is one warning. Each film has a copy of its checkpoint, because the
    run deletes old ones. The run's end waits for the films, unless it was interrupted or failed.
    """

    emit: Callable[[Record], None] = staticmethod(lambda record: None)  # takes an event about each film

    def __init__(self, folder: Path, steps: int = FILM_STEPS):
        """Films of `steps` steps go to `folder`."""
        self._folder, self._steps = folder, steps
        self._waiting: list[Path] = []  # copies of checkpoints, named as their films
        self._running: _Filming | None = None

    def event(self, event: Event) -> None:
        """Take a film's checkpoint; at the end wait for the films, or drop them when the run was interrupted."""
        if event.name == "film":
            self._copy(Path(event.details["checkpoint"]), event.step)
            self._go_on()
        elif event.name == "stop":
            if event.details["interrupted"]:
                self._drop()
            self.waits = True
            try:
                while self._running is not None:
                    self._running.process.wait()
                    self._go_on()
            finally:
                self.waits = False

    def interval(self, interval: Interval) -> None:
        """Begin the next film once the last one is done."""
        self._go_on()

    def close(self) -> None:
        """Leave no half film and no copy behind."""
        self._drop()
        for copy in self._folder.glob(".rollout_*"):
            shutil.rmtree(copy, ignore_errors=True) if copy.is_dir() else copy.unlink()

    def _copy(self, checkpoint: Path, step: int) -> None:
        copy = self._folder / f".rollout_{step}"
        try:
            shutil.copytree(checkpoint, copy, dirs_exist_ok=True)
        except OSError as error:
            shutil.rmtree(copy, ignore_errors=True)
            _warn_of_no_film(step, error)
            return
        self._waiting.append(copy)

    def _go_on(self) -> None:
        if self._running is not None:
            if self._running.process.poll() is None:
                return
            for event in self._running.events():
                self.emit(event)
        self._running = None
        while self._waiting and self._running is None:
            copy = self._waiting.pop(0)
            try:
                self._running = _Filming(copy, self._steps)
            except OSError as error:
                _warn_of_no_film(_step_of(copy), error)

    def _drop(self) -> None:
        self._waiting.clear()
        if self._running is not None:
            self._running.process.kill()
            self._running.process.wait()
            self._running = None


class _Filming:
    """One film in its process."""

    def __init__(self, copy: Path, steps: int):
        self._stem = copy.with_name(copy.name[1:])
        self._said: IO[bytes] = tempfile.TemporaryFile()
        self._failed: IO[bytes] = tempfile.TemporaryFile()
        command = ["nice", "-n", "19"] if shutil.which("nice") else []
        command += [sys.executable, "-m", "daddy_puffer.debug_rollout", "--checkpoint", str(copy)]
        command += ["--steps", str(steps), "--output", str(self._stem), "--device", "cpu", "--quiet"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._failed,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        )

    def events(self) -> list[Event]:
        """What it left, once it has ended; a failure is logged."""
        step = _step_of(self._stem)
        if self.process.returncode:
            why = _text(self._failed).strip().splitlines() or [f"exit code {self.process.returncode}"]
            _warn_of_no_film(step, why[-1])
            return []
        return film_events([Film(**json.loads(line)) for line in _text(self._said).splitlines()], step)


def _step_of(film: Path) -> int:
    return int(film.name.split("_")[-1])


def _warn_of_no_film(step: int, why: OSError | str) -> None:
    """It is no reason to end a run."""
    reason = why.strerror or why if isinstance(why, OSError) else why
    _log.warning("no film of step %d, training goes on: %s", step, reason)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
