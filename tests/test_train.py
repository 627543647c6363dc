"""A run on the real cartridge from nothing to its films, gone on with, evaluated and looked at."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from support import FakeRed, disk_of

from daddy_puffer.config import (
    Config,
    CurriculumConfig,
    DemosConfig,
    EnvConfig,
    IntrinsicConfig,
    ReplayConfig,
    TrainConfig,
    load_config,
    save_config,
)
from daddy_puffer.debug_rollout import Video, debug_rollout
from daddy_puffer.demos.game import Game, Recipe
from daddy_puffer.demos.players import make_player
from daddy_puffer.demos.record import record_episodes
from daddy_puffer.errors import UserError
from daddy_puffer.evaluate.comparison import Score, compare, report, score
from daddy_puffer.learner.checkpoint import find_checkpoint, load_checkpoint
from daddy_puffer.learner.learner import Learner
from daddy_puffer.learner.stop import StopSignals
from daddy_puffer.learner.trainer import Trainer
from daddy_puffer.replay import make_replay
from daddy_puffer.rollout import FilmsBeside, RandomAgent, ScriptedAgent, play_episodes, watch
from daddy_puffer.telemetry import Telemetry
from daddy_puffer.telemetry.video import Film
from daddy_puffer.train import TrainResult, make_sinks, train
from daddy_puffer.types import Action, StepBatch
from daddy_puffer.vector import RedFactory, VectorEnv, make_vector


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return Config(
        env=EnvConfig(max_steps=40),
        replay=ReplayConfig(capacity=4000, burn_in=2, sequence_length=8, batch_size=4, learning_starts=150),
        train=TrainConfig(
            num_envs=4, total_steps=400, log_interval=200, run_name="run", device="cpu",
            runs_dir=str(tmp_path_factory.mktemp("runs")),
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def result(config: Config) -> TrainResult:
    torch.set_num_threads(1)
    return train(config, film_steps=8)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_run_folder_is_complete(config: Config, result: TrainResult):
    folder = result.folder
    assert result.exit_code == 0 and result.steps >= 400 and result.seconds > 0
    assert load_config(folder / "config.yaml") == config
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["parameters"] > 100_000 and meta["device"] == "cpu" and meta["steps"] == result.steps
    episodes = rows(folder / "episodes.csv")
    assert len(episodes) == 4 * (400 // 160) and {e["length_steps"] for e in episodes} == {"40"}
    assert all(float(e["return_env"]) == pytest.approx(float(e["return_total"]), abs=1e-4) for e in episodes)
    assert [int(r["step"]) for r in rows(folder / "metrics.csv")][0] == 200
    assert float(rows(folder / "metrics.csv")[-1]["learner/loss"]) > 0
    assert list((folder / "tb").iterdir())
    watched = config.progress.watched
    assert [r["milestone"] for r in rows(folder / "progress.csv")][: len(watched)] == watched
    (shard,) = (folder / "steps").iterdir()
    with np.load(shard, allow_pickle=False) as steps:
        assert steps["step_global"].tolist() == [4 * (100 - 2)] * 4  # two of 100 steps were resets
        assert steps["env_id"].tolist() == [0, 1, 2, 3]
        assert steps["watched"].tolist() == watched and steps["posterior_mean"].shape == (4, len(watched))
        assert set(steps["episode_id"].tolist()) == {8, 9, 10, 11} and (steps["quest_id"] == 0).all()


def test_every_metric_is_documented(config: Config, tmp_path: Path):
    """With everything switched on, so that everything is measured."""
    game = Game(Recipe.of_config(config))
    assert list(record_episodes(game, make_player("scripted", game), "scripted", 1, tmp_path / "demos", seed=0))
    game.close()
    changed = replace(
        config,
        demos=DemosConfig(folder=str(tmp_path / "demos"), ratio=0.5),
        env=EnvConfig(max_steps=60),
        intrinsic=IntrinsicConfig(rnd_weight=0.1, novelty_weight=0.1, bayes_weight=0.1),
        curriculum=CurriculumConfig(mode="progress", cell_size=2, episode_steps=10, true_start_share=0.1),
        replay=replace(config.replay, return_filter=0.8),
        train=replace(config.train, runs_dir=str(tmp_path), total_steps=600),
    )
    result = train(changed, film_steps=1)
    text = (Path(__file__).parents[1] / "docs/METRICS.md").read_text()
    documented = set(re.findall(r"^\| `([a-z_]+/[a-z_]+)`", text, re.MULTILINE))
    assert set(rows(result.folder / "metrics.csv")[0]) == {"step"} | documented


def test_films_show_the_last_frames(result: TrainResult):
    mp4, gif = result.films
    assert mp4.suffix == ".mp4" and mp4.stat().st_size > 1000
    with Image.open(gif) as film:
        assert film.n_frames == 8


def test_films_are_made_beside_the_run(config: Config, tmp_path: Path):
    """The film is there at the end, though all but the newest checkpoint are deleted meanwhile."""
    train_config = replace(
        config.train, runs_dir=str(tmp_path), total_steps=200, save_interval=40, video_interval=120, keep_checkpoints=1
    )
    with make_vector(replace(config, train=train_config)) as env:
        learner = Learner(config, env.spaces, env.num_actions)
        replay = make_replay(config, env.spaces, learner.state_size, env.num_envs)
        made = Trainer(replace(config, train=train_config), env, learner, replay, tmp_path)
        with Telemetry([FilmsBeside(tmp_path / "videos", steps=4)]) as telemetry:
            made.before_save = telemetry.flush
            for record in made.run(StopSignals()):
                telemetry.emit(record)
    assert sorted(p.name for p in (tmp_path / "videos").iterdir()) == ["rollout_120.gif", "rollout_120.mp4"]


def test_new_run_does_not_overwrite_an_old_one(config: Config, result: TrainResult):
    with pytest.raises(UserError, match="holds a run already: give --resume"):
        train(config)


def test_resume_goes_on_in_the_same_folder(config: Config, result: TrainResult):
    before = load_checkpoint(find_checkpoint(result.folder))
    longer = replace(config, train=replace(config.train, total_steps=700))
    again = train(longer, resume=find_checkpoint(result.folder), film_steps=2)
    after = load_checkpoint(again.checkpoint)
    assert again.folder == result.folder.resolve() or again.folder == result.folder
    assert after["counters"]["steps"] >= 700 and again.steps == after["counters"]["steps"] - result.steps
    assert after["learner"]["updates"] > before["learner"]["updates"] > 0
    ids = [int(e["episode_id"]) for e in rows(result.folder / "episodes.csv")]
    assert len(ids) == len(set(ids)) and max(ids) < after["counters"]["episodes"]
    steps = [int(r["step"]) for r in rows(result.folder / "metrics.csv")]
    assert steps == sorted(set(steps)) and steps[-1] >= 700


def test_a_resume_on_a_full_disk_is_one_line(config: Config, result: TrainResult):
    before = (result.folder / "episodes.csv").read_bytes()
    with disk_of(100), pytest.raises(UserError, match="run cannot be written to: File too large"):
        make_sinks(config, result.folder, find_checkpoint(result.folder))
    assert (result.folder / "episodes.csv").read_bytes() == before


def test_what_fails_when_all_is_saved_is_a_warning(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Else the job of a run that was warned would count as failed, and not be run again."""

    def break_the_disk(_checkpoint: Path, stem: Path, _steps: int) -> list[Film]:
        (stem.parents[1] / "meta.json.tmp").mkdir()
        return []

    monkeypatch.setattr("daddy_puffer.train.film_checkpoint", break_the_disk)
    short = replace(config.train, runs_dir=str(tmp_path), total_steps=4, vectorization="serial")
    assert train(replace(config, train=short)).steps == 4
    assert "meta.json does not say how the run ended: Is a directory" in caplog.text


KILLED = """
import sys
from pathlib import Path
from daddy_puffer.config import load_config
from daddy_puffer.learner.checkpoint import find_checkpoint, load_checkpoint
from daddy_puffer.train import train
config = load_config(Path(sys.argv[1]))
train(config, resume=find_checkpoint(Path(sys.argv[2])) if len(sys.argv) > 2 else None, film_steps=1)
"""


def test_a_run_that_is_killed_and_resumed_lacks_nothing_and_repeats_nothing(config: Config, tmp_path: Path):
    """SIGKILL in the middle; each life begins at the newest checkpoint."""
    changed = replace(
        config,
        env=EnvConfig(max_steps=7),
        train=replace(
            config.train, num_envs=2, num_workers=1, runs_dir=str(tmp_path), total_steps=100_000,
            log_interval=20, save_interval=60, step_log_interval=1,
        ),
    )  # fmt: skip
    save_config(changed, tmp_path / "config.yaml")
    folder, environment = tmp_path / "run", {**os.environ, "OMP_NUM_THREADS": "1"}
    rng = np.random.default_rng(0)
    checkpoints = [0]
    for life in range(2):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "config.yaml"), *([str(folder)] if life else [])]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[1])
        until = checkpoints[-1] + 120
        while newest(folder) < until and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.5)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        checkpoints.append(newest(folder))
    made_up = replace(changed, train=replace(changed.train, total_steps=checkpoints[-1] + 40))
    train(made_up, resume=find_checkpoint(folder), film_steps=1)
    last = checkpoints[-1] + 40
    ids = [int(e["episode_id"]) for e in rows(folder / "episodes.csv")]
    ends = [int(e["end_step_global"]) for e in rows(folder / "episodes.csv")]
    assert len(ids) == len(set(ids)) and ends == sorted(ends)
    taken = np.concatenate([np.load(path)["step_global"] for path in sorted((folder / "steps").iterdir())])
    assert taken.tolist() == sorted(taken.tolist()) and set(np.diff(taken)) <= {0, 1, 2}
    assert len(taken) == taken[-1] == last  # one row for every environment step
    # each environment's rows of an episode that ended are as many as its length
    for episode in rows(folder / "episodes.csv"):
        assert int(episode["length_steps"]) == 7
    steps = [int(r["step"]) for r in rows(folder / "metrics.csv")]
    assert steps == sorted(set(steps)) and max(np.diff([0, *steps])) <= 22
    beliefs = [(int(r["step"]), r["milestone"]) for r in rows(folder / "progress.csv")]
    assert len(beliefs) == len(set(beliefs)) == 3 * len(steps)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [e["step"] for e in events] == sorted(e["step"] for e in events)
    assert sum(e["event"] == "episode" for e in events) == len(ids)


def newest(folder: Path) -> int:
    """Step of the newest checkpoint, 0 when there is none."""
    found = [path.name for path in (folder / "checkpoints").glob("step_*")]
    return max((int(name[5:]) for name in found), default=0)


def test_same_seed_gives_the_same_weights_however_envs_and_replay_are_held(config: Config, tmp_path: Path):
    """Updates in a thread or a process, workers or none, replay in memory or a file change nothing: bit for bit."""
    weights = []
    file = tmp_path / "replay.bin"
    for kind, path, updates_in in (("serial", "", "thread"), ("multiprocessing", str(file), "process")):
        changed = replace(
            config.train, runs_dir=str(tmp_path), run_name=kind, vectorization=kind, updates_in=updates_in
        )
        own = replace(config, train=changed, replay=replace(config.replay, file=path))
        state = load_checkpoint(train(own, film_steps=1).checkpoint)
        assert state["counters"]["updates"] > 5
        weights.append(state["learner"]["online"])
    assert not file.exists(), "it goes with the run"
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_a_run_whose_updates_die_says_what_to_go_on_from(config: Config, tmp_path: Path):
    """What the process had learnt is gone: nothing is written in its place."""
    train_config = replace(config.train, runs_dir=str(tmp_path), vectorization="serial", total_steps=100_000)
    changed = replace(config, train=replace(train_config, save_interval=200, updates_in="process"))
    save_config(changed, tmp_path / "config.yaml")
    command = [sys.executable, "-m", "daddy_puffer.train_big", "--config", str(tmp_path / "config.yaml")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    while newest(tmp_path / "run") < 400 and process.poll() is None:
        time.sleep(0.01)
    os.kill(updates_of(process.pid), signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    last = newest(tmp_path / "run")
    assert process.returncode == 1 and "Traceback" not in said
    assert "the process of the updates died: signal SIGKILL" in said.replace("\n", " ")
    assert f"step_{last}" in said.replace("\n", "")
    load_checkpoint(tmp_path / "run" / "checkpoints" / f"step_{last}")


def updates_of(pid: int) -> int:
    """The child of a run that learns: with serial games the only one."""
    (child,) = [
        int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()
    ]
    return child


def test_resume_with_another_network_is_a_user_error(config: Config, result: TrainResult):
    large = replace(config, policy=replace(config.policy, model_size="large"))
    with pytest.raises(UserError, match="holds another network"):
        train(large, resume=find_checkpoint(result.folder))


def test_a_run_may_begin_with_the_networks_of_another(config: Config, result: TrainResult, tmp_path: Path):
    elsewhere = replace(config, train=replace(config.train, runs_dir=str(tmp_path), total_steps=4))
    begun = train(elsewhere, film_steps=1, init_from=result.checkpoint)
    old, new = (load_checkpoint(path)["learner"] for path in (result.checkpoint, begun.checkpoint))
    assert new["updates"] == 0 and not new["optimizer"]["state"], "only the networks"
    for name, weight in old["online"].items():
        assert torch.equal(weight, new["online"][name]) and torch.equal(weight, new["target"][name])
    large = replace(elsewhere, policy=replace(config.policy, model_size="large"))
    with pytest.raises(UserError, match="holds another network"):
        train(replace(large, train=replace(large.train, run_name="large")), init_from=result.checkpoint)


def test_comparison_has_every_player_and_its_interval(config: Config, result: TrainResult, tmp_path: Path):
    comparison = compare(config, result.checkpoint, episodes=3)
    assert list(comparison.scores) == ["trained", "random", "scripted"]
    assert [s.episodes for s in comparison.scores.values()] == [3, 3, 3]
    for s in comparison.scores.values():
        assert s.return_low <= s.mean_return <= s.return_high and s.mean_length == 40
    assert comparison.advantage_low <= comparison.advantage <= comparison.advantage_high
    console = Console(record=True, width=100)
    report(comparison, tmp_path / "evaluation.json", console)
    assert json.loads((tmp_path / "evaluation.json").read_text())["scores"]["random"]["episodes"] == 3
    assert "trained - random" in console.export_text()


def test_what_is_for_training_only_does_not_count_when_it_is_judged(config: Config, result: TrainResult):
    eager = replace(
        config,
        env=replace(config.env, patience_steps=1),
        intrinsic=IntrinsicConfig(novelty_weight=9.0, bayes_weight=9.0),
        curriculum=CurriculumConfig(mode="progress"),
    )
    plain, other = (compare(settings, result.checkpoint, 2, seed=3) for settings in (config, eager))
    for name in ("trained", "random"):
        assert other.scores[name].mean_length == 40
        assert other.scores[name].mean_return == plain.scores[name].mean_return
    assert eager.for_evaluation() == config.for_evaluation() == config


def test_trained_play_repeats_with_its_seed(config: Config, result: TrainResult):
    once, again = (compare(config, result.checkpoint, 2, epsilon=0.5, seed=3).scores for _ in range(2))
    assert once["trained"].mean_return == again["trained"].mean_return
    assert once["random"].mean_return == again["random"].mean_return


def test_debug_rollout_prints_steps_and_films(result: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    debug_rollout(steps=6, checkpoint=result.folder, output=tmp_path / "film", video=Video.GIF, max_frames=4)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:6]] == ["1", "2", "3", "4", "5", "6"]
    assert lines[6].startswith("6 steps, return")
    assert [p.name for p in tmp_path.iterdir()] == ["film.gif"]
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames <= 4


def test_debug_rollout_of_the_script_reports_milestones(result: TrainResult, capsys: pytest.CaptureFixture[str]):
    debug_rollout(steps=500, scripted=True, flags=True, no_video=True)
    lines = capsys.readouterr().out.splitlines()
    assert any("milestone" in line for line in lines)
    assert not [line for line in lines if line.startswith("     1 ") and "milestone" not in line]
    with pytest.raises(UserError, match="two players"):
        debug_rollout(scripted=True, checkpoint=result.folder)


def test_scripted_agent_plays_better_than_random_buttons(config: Config):
    env = RedFactory(config)()
    scripted = [m.total for m in watch(env, ScriptedAgent(env), 40, seed=0)][-1]
    random = [m.total for m in watch(RedFactory(config)(), RandomAgent(seed=0), 40, seed=0)][-1]
    assert scripted > random


class AlwaysA:
    """An agent of one button."""

    def act(self, batch: StepBatch) -> np.ndarray:
        return np.full(len(batch.reward), Action.A)


def test_short_episodes_are_not_over_represented():
    """Without a quota the first six to finish would be five short ones and one long one."""
    factories = [lambda: FakeRed(truncate_at=5), lambda: FakeRed(truncate_at=20)]
    with VectorEnv(factories) as env:
        records = play_episodes(env, AlwaysA(), 6, seed=0)
    assert sorted(r.length_steps for r in records) == [5, 5, 5, 20, 20, 20]
    with VectorEnv(factories) as env:
        assert sorted(r.length_steps for r in play_episodes(env, AlwaysA(), 5, seed=0)) == [5, 5, 5, 20, 20]


def test_score_is_plain_arithmetic():
    with VectorEnv([lambda: FakeRed(truncate_at=5), lambda: FakeRed(truncate_at=15)]) as env:
        records = play_episodes(env, AlwaysA(), 2, seed=0)
    found = score(records, seconds=4.0)
    assert (found.episodes, found.mean_length, found.mean_return) == (2, 10.0, 10.0)
    assert (found.mean_badges, found.best_badges, found.steps_per_second) == (1.0, 1, 5.0)
    assert isinstance(found, Score) and (found.return_low, found.return_high) == (5.0, 15.0)
