"""Playing without learning: agents, whole episodes in parallel environments, films.

In: a configuration and an agent. Out: `EpisodeRecord`s, `Moment`s, video files.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import gymnasium
import numpy as np

from daddy_puffer.config import Config
from daddy_puffer.envs.rom import PRACTICE_ROM, find_rom, packaged
from daddy_puffer.envs.scripted import ScriptedPlayer
from daddy_puffer.game import GameState, milestone_bits, milestones_reached
from daddy_puffer.learner.checkpoint import load_checkpoint, load_checkpoint_config
from daddy_puffer.learner.learner import Learner
from daddy_puffer.telemetry import EpisodeRecord, EpisodeTracker, Event, Interval, Sink
from daddy_puffer.telemetry.video import Caption, VideoWriter
from daddy_puffer.types import Action, Array, StepBatch
from daddy_puffer.vector import AnyEnv, RedFactory, VectorEnv, box_spaces

FILM_STEPS = 600
GREEDY_EPSILON = 0.05  # random actions of a trained agent that is looked at
FILM_FPS = 12  # env steps a second: each is 24 frames of the game, 0.4 s


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
    tracker = EpisodeTracker(env.num_envs)
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

    def caption(self) -> Caption:
        """What a film says of it."""
        return Caption(
            step=self.step,
            action=self.action.name,
            reward=self.reward,
            total=self.total,
            badges=self.state.badges,
            place=self.state.map_name,
        )


class ScriptedAgent:
    """The player that knows the practice cartridge; reads the memory of one environment."""

    def __init__(self, env: AnyEnv):
        """Play in `env`."""
        self._memory = env.get_wrapper_attr("memory")
        self._player = ScriptedPlayer()

    def act(self, batch: StepBatch) -> Array:
        """The button for this moment."""
        return np.array([self._player.act(self._memory)])


def load_agent(
    checkpoint: Path, spaces: Mapping[str, gymnasium.spaces.Box], epsilon: float, device: str, seed: int
) -> TrainedAgent:
    """The agent kept in a checkpoint folder."""
    config = load_checkpoint_config(checkpoint)
    config = replace(config, train=replace(config.train, device=device, seed=seed))
    learner = Learner(config, spaces, len(Action))
    learner.load_state_dict(load_checkpoint(checkpoint)["learner"])
    learner.generator.manual_seed(seed)
    return TrainedAgent(learner, epsilon)


def is_practice(config: Config) -> bool:
    """Whether the configuration plays the practice cartridge, the only game that the scripted player knows."""
    return find_rom(config.env.gb_path).path == packaged(PRACTICE_ROM)


def play_script(config: Config, seed: int) -> EpisodeRecord:
    """One whole episode of the scripted player."""
    env = RedFactory(config.for_evaluation())()
    with VectorEnv([lambda: env]) as vector:
        return play_episodes(vector, ScriptedAgent(env), 1, seed)[0]


def watch(env: AnyEnv, agent: Agent, steps: int, seed: int) -> Iterator[Moment]:
    """Play `steps` steps in one environment and show each; closes it at the end."""
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
            yield Moment(step, Action(int(action[0])), reward, total, state, new, np.asarray(env.render()))


def film_checkpoint(checkpoint: Path, stem: Path, steps: int = FILM_STEPS) -> list[Path]:
    """Film `steps` steps of a trained agent, as MP4 and GIF."""
    config = load_checkpoint_config(checkpoint)
    env = RedFactory(config.for_evaluation())()
    agent = load_agent(checkpoint, box_spaces(env), GREEDY_EPSILON, "cpu", seed=config.train.seed)
    with VideoWriter(stem, fps=FILM_FPS, max_frames=steps) as writer:
        for moment in watch(env, agent, steps, seed=config.train.seed):
            writer.add(moment.frame, moment.caption())
    return writer.paths


class FilmsBeside(Sink):
    """Films the checkpoints that a run asks for, one after the other in a process of the lowest priority.

    So training goes on meanwhile. Each film has a copy of its checkpoint, because the run deletes old ones.
    """

    def __init__(self, folder: Path, steps: int = FILM_STEPS):
        """Films of `steps` steps go to `folder`."""
        self._folder, self._steps = folder, steps
        self._waiting: list[Path] = []  # copies of checkpoints, named as their films
        self._running: subprocess.Popen[bytes] | None = None

    def event(self, event: Event) -> None:
        """Take a film's checkpoint; drop the films when the run was interrupted."""
        if event.name == "film":
            copy = self._folder / f".rollout_{event.step}"
            shutil.copytree(event.details["checkpoint"], copy, dirs_exist_ok=True)
            self._waiting.append(copy)
            self._go_on()
        elif event.name == "stop" and event.details["interrupted"]:
            self._waiting.clear()
            if self._running is not None:
                self._running.kill()

    def interval(self, interval: Interval) -> None:
        """Begin the next film once the last one is done."""
        self._go_on()

    def close(self) -> None:
        """Wait for the films that are left."""
        while self._running is not None:
            self._running.wait()
            self._go_on()
        for copy in self._folder.glob(".rollout_*"):
            shutil.rmtree(copy) if copy.is_dir() else copy.unlink()

    def _go_on(self) -> None:
        if self._running is not None and self._running.poll() is None:
            return
        self._running = self._start(self._waiting.pop(0)) if self._waiting else None

    def _start(self, copy: Path) -> subprocess.Popen[bytes]:
        stem = copy.with_name(copy.name[1:])
        command = ["nice", "-n", "19"] if shutil.which("nice") else []
        command += [sys.executable, "-m", "daddy_puffer.debug_rollout", "--checkpoint", str(copy)]
        command += ["--steps", str(self._steps), "--output", str(stem), "--device", "cpu", "--quiet"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
