"""A run that is stopped and goes on in another process is the one that was never stopped, to the last bit."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import FakeRed, assert_same, through_a_file

from daddy_puffer.arrays import part
from daddy_puffer.config import Config, load_config, save_config
from daddy_puffer.errors import UserError
from daddy_puffer.learner.checkpoint import find_checkpoint, load_checkpoint, load_replay
from daddy_puffer.rollout import ScriptedAgent
from daddy_puffer.types import Array, StepBatch
from daddy_puffer.vector import RedFactory, VectorEnv, make_vector

ROOT = Path(__file__).parents[1]
STOP, END = 240, 420  # environment steps
EVERYTHING = {
    "env.random_wait": 8,
    "env.patience_steps": 25,
    "intrinsic.novelty_weight": 0.1,
    "intrinsic.novelty_milestones": True,
    "intrinsic.bayes_weight": 0.1,
    "curriculum.mode": "rubinstein",
    "curriculum.cell_size": 2,
    "curriculum.episode_steps": 30,
    "env.frame_stack": 4,
}
TRUE_STARTS = {"curriculum.true_start_share": 1.0, "train.record_episodes": "all"}


def settings(**changes: Any) -> Config:
    small = {
        "env.max_steps": 37, "train.num_envs": 3, "train.num_workers": 3, "train.vectorization": "serial",
        "train.device": "cpu", "train.record_episodes": "none", "exploration.epsilon_start": 0.8,
    }  # fmt: skip
    return load_config(None, {**small, **changes})


def go_on(config: Config, folder: Path, choose: Callable[[VectorEnv, StepBatch], Array], steps: int) -> StepBatch:
    """Play, write all down, go on beside it in other environments; what was seen when it was written down.

    That is when an episode has just ended, but not all. The others have a registry of save states of their own: from
    there on they share nothing.
    """
    with make_vector(config, savestates=folder / "one", recordings=folder / "films") as whole:
        batch, played, ended = whole.reset(0), 0, np.zeros(3, bool)
        while played < steps or not ended.any() or ended.all():
            batch, played = whole.step(choose(whole, batch)), played + 1
            ended = batch.terminated | batch.truncated
        written, state = batch, whole.get_state()
        assert state is not None
        shutil.copytree(folder / "one", folder / "two")
        with make_vector(config, savestates=folder / "two", recordings=folder / "others") as other:
            other.reset(99)
            for mine, theirs in ((other.visits, whole.visits), (other.posteriors, whole.posteriors)):
                if mine is not None and theirs is not None:
                    mine.load_state_dict(theirs.state_dict())
            other.set_state(through_a_file(state))
            assert_equal_states(whole, other)
            ends = 0
            for _ in range(max(80, steps // 2)):
                actions = choose(whole, batch)
                batch = whole.step(actions)
                assert_same(batch, other.step(actions))
                ends += int((batch.terminated | batch.truncated).sum())
            assert ends >= 2
            if config.train.vectorization != "multiprocessing":  # when a process sees another's save states is chance
                assert_equal_states(whole, other)
    return written


def assert_equal_states(one: VectorEnv, other: VectorEnv) -> None:
    mine, theirs = one.get_state(), other.get_state()
    assert mine is not None and theirs is not None and mine.keys() == theirs.keys()
    assert [name for name in mine if not np.array_equal(mine[name], theirs[name])] == []


@pytest.mark.parametrize("kind", ["serial", "threads", "multiprocessing"])
def test_games_go_on_in_the_midst_of_their_episodes(kind: str, tmp_path: Path):
    """With every wrapper there is; what processes count together depends on which is faster, so not with several."""
    alone = {"intrinsic.bayes_weight": 0.0, "intrinsic.novelty_scope": "episode"} if kind == "multiprocessing" else {}
    config = settings(**{**EVERYTHING, **TRUE_STARTS, "train.vectorization": kind, **alone})
    rng = np.random.default_rng(0)
    written = go_on(config, tmp_path, lambda env, batch: rng.integers(0, 7, 3), steps=80)
    assert (written.observation["episode"][:, 1] > 0).any()


def test_games_in_which_much_was_reached_go_on_alike(tmp_path: Path):
    """Two of them are played by one who knows how."""
    config = settings(**{**EVERYTHING, **TRUE_STARTS, "env.max_steps": 400, "env.patience_steps": 150})
    rng = np.random.default_rng(0)
    players: list[ScriptedAgent] = []

    def choose(env: VectorEnv, batch: StepBatch) -> Array:
        if not players:
            players.append(ScriptedAgent(*[packed.env for packed in env._backend.envs]))
        actions = players[0].act(batch)
        actions[2] = rng.integers(7)
        return actions

    written = go_on(config, tmp_path, choose, steps=360)
    assert written.observation["milestones"][:2].any(axis=1).all(), "a badge was won"


def test_episodes_of_other_wrappers_or_another_number_are_refused():
    with make_vector(settings()) as three, make_vector(settings(**{"env.patience_steps": 9})) as patient:
        three.reset(0), patient.reset(0)
        state = three.get_state()
        assert state is not None
        with pytest.raises(UserError, match="played with 0.EpsilonEnv, 1.RedEnv, this run has 0.Patience"):
            patient.set_state(state)
        del state["0/1.RedEnv/game/ram"]
        with pytest.raises(UserError, match="written down by another version: KeyError"):
            three.set_state(state)
        with VectorEnv([RedFactory(settings())] * 2) as two, pytest.raises(UserError, match="of 3 environments"):
            two.set_state(state)
    with VectorEnv([FakeRed] * 2) as fake:
        fake.reset(0)
        assert fake.get_state() is None, "it does not know how to go on"


RUN = """
import os, random, signal, sys
import numpy as np
from pathlib import Path
from daddy_puffer.config import load_config
from daddy_puffer.learner.checkpoint import find_checkpoint
from daddy_puffer.learner.trainer import Trainer
from daddy_puffer.train import train

config, folder, killed_at = load_config(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3])
save = Trainer.save

def save_and_die(trainer):
    event = save(trainer)
    if killed_at and event.step >= killed_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return event

Trainer.save = save_and_die
random.seed(0)  # nobody in a run throws these dice, nor seeds them, but a checkpoint has them
np.random.seed(0)
train(config, resume=find_checkpoint(folder) if folder.exists() else None, film_steps=1)
"""


def run(config: Config, killed_at: int = 0) -> Path:
    """A run in a process of its own, resumed if it has begun, killed after a checkpoint; returns its folder."""
    runs = Path(config.train.runs_dir)
    runs.mkdir(exist_ok=True)
    save_config(config, runs / "config.yaml")
    command = [sys.executable, "-c", RUN, str(runs / "config.yaml"), str(runs / "run"), str(killed_at)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == (-signal.SIGKILL if killed_at else 0), done.stdout + done.stderr
    return runs / "run"


def episodes(folder: Path) -> list[dict[str, str]]:
    with (folder / "episodes.csv").open(newline="") as file:
        return [{**row, "savestate_tag": ""} for row in csv.DictReader(file)]  # the time is in the tags


def assert_equal(one: Any, other: Any, where: str = "") -> None:
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            assert_equal(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, list):
        assert_equal(dict(enumerate(one)), dict(enumerate(other)), where)
    elif not where.endswith("savestate_tag"):
        assert one == other, where


# fmt: off
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "prioritized": {"replay.prioritized": True, "replay.return_filter": 0.7, "train.vectorization": "multiprocessing"},
    "rollouts": {"replay.kind": "rollouts", "replay.burn_in": 0, "replay.batch_size": 3},
    "shown": {
        "curriculum.mode": "rubinstein", "curriculum.cell_size": 2, "curriculum.episode_steps": 30, "demos.ratio": 0.5,
        "demos.own_way": ["furthest", "Boulder"], "demos.own_way_interval": 30, "demos.own_wins": 2,
    },
    "curious": {**EVERYTHING, "intrinsic.rnd_weight": 0.1, "train.record_episodes": "best"},
}
# fmt: on


@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed_is_never_stopped_bit_for_bit(kind: str, tmp_path: Path):
    """Weights, optimiser, counters, dice, beliefs, replay, and the table of episodes."""
    small = {
        "replay.capacity": 300, "replay.burn_in": 2, "replay.sequence_length": 8, "replay.sequence_period": 4,
        "replay.batch_size": 4, "replay.learning_starts": 60, "learner.target_period_updates": 7,
        "train.updates_in": "thread", "train.run_name": "run", "train.log_interval": 60, "train.save_replay": True,
        "train.save_interval": STOP, "train.total_steps": END, "train.runs_dir": str(tmp_path / "whole"),
    }  # fmt: skip
    config = settings(**{**small, **KINDS[kind]})
    whole = run(config)
    parts = replace(config, train=replace(config.train, runs_dir=str(tmp_path / "parts")))
    killed = run(parts, killed_at=STOP)
    assert [row["end_step_global"] for row in episodes(killed)] == [
        row["end_step_global"] for row in episodes(whole) if int(row["end_step_global"]) <= STOP
    ]
    assert run(parts) == killed
    ours, theirs = (load_checkpoint(find_checkpoint(folder)) for folder in (killed, whole))
    assert ours["counters"]["updates"] > 10 and ours["step"] >= END
    assert_equal(ours, theirs)
    assert episodes(killed) == episodes(whole) and len(episodes(whole)) > 6
    mine, other = (load_replay(find_checkpoint(folder)) for folder in (killed, whole))
    assert mine is not None and other is not None
    for name, array in part(other, "replay").items():
        assert np.array_equal(array, mine[f"replay/{name}"]), name
