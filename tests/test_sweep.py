"""A sweep from its options to its results: trials that fail, die or are cut off, the sweep killed and gone on with."""

from __future__ import annotations

import csv
import errno
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from daddy_puffer.config import load_config
from daddy_puffer.errors import UserError
from daddy_puffer.sweep.measure import OUTCOME_FILE, read_outcome
from daddy_puffer.sweep.pool import PASSING_CODES

PUPPET = Path(__file__).with_name("sweep_puppet.py")
SPACE = {"carbs.utils.LogSpace": {"min": 1.0e-5, "max": 1.0e-2, "scale": 0.5}}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Options for a small sweep of the learning rate in `tmp_path`/s."""
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"train": {"learner": {"learning_rate": SPACE}}}))
    options = ["--sweep", str(tmp_path / "sweep.yaml"), "--runs-dir", str(tmp_path), "--name", "s"]
    return [*options, "--searcher", "random", "--seed", "3"]


def sweep(options: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PUPPET), "sweep", *options]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=200)


def facts(folder: Path, event: str) -> list[dict]:
    lines = (folder / "trials.jsonl").read_text().splitlines()
    return [fact for fact in map(json.loads, lines) if fact["event"] == event]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_results_name_the_best_and_the_failed(files: list[str], tmp_path: Path) -> None:
    done = sweep([*files, "--trials", "10", "--jobs", "3"])
    assert done.returncode == 0, done.stderr
    assert "searcher: random search" in done.stdout and "Pareto front" in done.stdout
    rows = table(tmp_path / "s")
    rates = [float(row["learner.learning_rate"]) for row in rows]
    assert len(rows) == 10 and rates[0] == load_config().learner.learning_rate
    for row, rate in zip(rows, rates, strict=True):
        assert row["state"] == ("failed" if rate > 2e-3 or rate < 3e-5 else "finished")
        assert ("SIGKILL" in row["reason"]) == (rate > 2e-3) and ("nothing moves" in row["reason"]) == (rate < 3e-5)
    finished = [row for row in rows if row["state"] == "finished"]
    assert {row["state"] for row in rows} == {"failed", "finished"}, "the seed shows both"
    for row in finished:  # the episode that began at a save state does not count
        assert float(row["return"]) == pytest.approx(1000 * float(row["learner.learning_rate"]) + 0.5)
        assert row["episodes"] == "2" and row["steps"] == "300" and row["pareto"] == "1"  # better costs more here
    best = max(finished, key=lambda row: float(row["return"]))
    config = load_config(tmp_path / "s" / "best.yaml")
    assert config.learner.learning_rate == float(best["learner.learning_rate"]) and config.train.run_name == ""
    for name in ("pareto.png", "parameters.png"):
        assert (tmp_path / "s" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_goes_on_where_it_was_stopped(files: list[str], tmp_path: Path, blow: signal.Signals) -> None:
    folder = tmp_path / "s"
    command = [sys.executable, str(PUPPET), "sweep", *files, "--trials", "4", "--jobs", "2"]
    slow = {**os.environ, "SWEEP_PUPPET_SECONDS": "100"}
    with subprocess.Popen(command, env=slow, stdout=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 100
        while len(list(folder.glob("trials/*/attempts"))) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(blow)
        output = process.communicate()[0]
    pids = [int(path.read_text()) for path in folder.glob("trials/*/attempts")]
    if blow == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        (folder / "trials.jsonl").open("a").write('{"event": "finished", "trial": 0, "objec')  # a torn line
        for pid in pids:  # the puppet does not watch its parent as a trial does
            os.kill(pid, signal.SIGKILL)
    else:
        assert process.returncode == 128 + blow and f"--resume {folder}" in output
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not facts_of_ends(folder)
    before = [fact["settings"] for fact in map(json.loads, whole_lines(folder)) if fact["event"] == "started"]
    again = sweep(["--resume", str(folder), "--trials", "4", "--jobs", "2"])
    assert again.returncode == 0, again.stderr
    started = [fact["settings"] for fact in facts(folder, "started")]
    assert len(started) == 4 and started[:2] == before, "no trial is asked for twice, none is lost"
    assert {len(path.read_text().split()) for path in folder.glob("trials/00[01]/attempts")} == {2}
    assert len(table(folder)) == 4 and not any(row["state"] == "running" for row in table(folder))


def whole_lines(folder: Path) -> list[str]:
    return (folder / "trials.jsonl").read_text().split("\n")[:-1]


def facts_of_ends(folder: Path) -> list[str]:
    return [line for line in whole_lines(folder) if json.loads(line)["event"] in ("finished", "failed")]


def test_a_cut_off_sweep_searches_what_a_whole_one_does(files: list[str], tmp_path: Path) -> None:
    assert sweep([*files, "--trials", "2"]).returncode == 0
    assert sweep(["--resume", str(tmp_path / "s"), "--trials", "5"]).returncode == 0
    whole = [*files, "--trials", "5", "--name", "whole"]
    assert sweep(whole).returncode == 0
    parts = [[row["learner.learning_rate"] for row in table(tmp_path / name)] for name in ("s", "whole")]
    assert parts[0] == parts[1]


def test_a_hole_in_the_numbers_is_filled(files: list[str], tmp_path: Path) -> None:
    """As an array leaves one whose element was cancelled before it began."""
    folder = tmp_path / "s"
    assert sweep([*files, "--trials", "4"]).returncode == 0
    before = table(folder)
    lines = (folder / "trials.jsonl").read_text().splitlines(keepends=True)
    (folder / "trials.jsonl").write_text("".join(line for line in lines if json.loads(line).get("trial") != 2))
    shutil.rmtree(folder / "trials" / "002")
    again = sweep(["--resume", str(folder), "--trials", "4"])
    assert again.returncode == 0 and "trial 2 begins" in again.stdout
    assert sorted(table(folder), key=lambda row: row["trial"]) == before, "no outcome under another trial's settings"


def test_a_full_disk_fails_no_trial(files: list[str], tmp_path: Path) -> None:
    full = sweep([*files, "--trials", "3"], SWEEP_PUPPET_FULL="1")
    assert full.returncode == 1 and "trial 1: the checkpoint cannot be written" in full.stderr
    assert "--resume" in full.stdout and "Traceback" not in full.stderr
    assert [row["state"] for row in table(tmp_path / "s")] == ["finished", "running"]
    assert sweep(["--resume", str(tmp_path / "s"), "--trials", "3"]).returncode == 0
    assert not any(row["state"] == "running" or "room" in row["reason"] for row in table(tmp_path / "s"))


def test_gives_up_where_nothing_works(files: list[str], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("train: {learner: {learning_rate: 0.009}}")
    space = {"carbs.utils.LogSpace": {"min": 3.0e-3, "max": 1.0e-2}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"train": {"learner": {"learning_rate": space}}}))
    done = sweep([*files, "--config", str(tmp_path / "c.yaml"), "--trials", "50"])
    assert done.returncode == 1 and "first 5 trials failed" in done.stderr and "SIGKILL" in done.stderr
    assert len(table(tmp_path / "s")) == 5


def test_a_folder_is_neither_taken_twice_nor_searched_twice(files: list[str], tmp_path: Path) -> None:
    from daddy_puffer.sweep.journal import Journal

    assert sweep([*files, "--trials", "1"]).returncode == 0
    twice = sweep([*files, "--trials", "1"])
    assert twice.returncode == 1 and "--resume" in twice.stderr and len(twice.stderr.splitlines()) == 1
    with Journal(tmp_path / "s" / "trials.jsonl"):
        locked = sweep(["--resume", str(tmp_path / "s"), "--trials", "2"])
    assert locked.returncode == 1 and "another process" in locked.stderr
    (tmp_path / "s" / "sweep.yaml").write_text(yaml.safe_dump({"train": {"learner": {"max_grad_norm": SPACE}}}))
    other = sweep(["--resume", str(tmp_path / "s"), "--trials", "2"])
    assert other.returncode == 1 and "lies outside" in other.stderr


TINY_TRAIN = {
    "num_envs": 2, "vectorization": "serial", "total_steps": 4000, "log_interval": 100, "save_interval": 100,
    "step_log_interval": 0, "live_interval": 0.0, "record_episodes": "none", "device": "cpu",
    "replay": {"capacity": 4000, "burn_in": 2, "sequence_length": 8, "batch_size": 4, "learning_starts": 150},
}  # fmt: skip


@pytest.fixture
def trial_folder(tmp_path: Path) -> Path:
    """The folder of a trial of 200 steps, with its settings in it."""
    folder = tmp_path / "000"
    folder.mkdir()
    train = {**TINY_TRAIN, "total_steps": 200, "updates_in": "thread", "runs_dir": str(tmp_path), "run_name": "000"}
    (folder / "config.yaml").write_text(yaml.safe_dump({"env": {"max_steps": 40}, "train": train}))
    return folder


def test_a_trial_with_all_steps_is_judged_and_costs_what_all_sessions_took(trial_folder: Path) -> None:
    from daddy_puffer.sweep.trial import run_trial

    assert run_trial(trial_folder) == 0
    steps, seconds = read_outcome(trial_folder)
    state = trial_folder / "checkpoints" / "latest" / "state.pt"
    written = state.stat().st_mtime_ns
    (trial_folder / OUTCOME_FILE).unlink()  # cut off between its last checkpoint and its outcome
    assert run_trial(trial_folder) == 0 and read_outcome(trial_folder) == (steps, seconds)
    assert steps >= 200 and seconds > 0.0 and state.stat().st_mtime_ns == written, "nothing was trained anew"
    hour_long = trial_folder / "metrics.csv"
    rows = list(csv.DictReader(hour_long.open(newline="")))
    for row in rows:
        row["speed/steps_per_second"] = str(steps / 3600)
    with hour_long.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    settings = trial_folder / "config.yaml"
    settings.write_text(settings.read_text().replace("total_steps: 200", "total_steps: 300"))
    assert run_trial(trial_folder) == 0
    longer, cost = read_outcome(trial_folder)
    assert longer >= 300 and 3600 < cost < 3600 + 300, "the second session adds what it took, at its own speed"


def test_a_trial_says_whether_the_disk_was_at_fault(trial_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from daddy_puffer.learner import trainer
    from daddy_puffer.sweep import trial

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "argv", ["trial", str(trial_folder), "0"])
    monkeypatch.setattr(trial, "end_with", lambda parent: None)
    monkeypatch.setattr(trial, "lock", lambda folder: None)  # this process keeps one until it ends
    monkeypatch.setattr(trainer, "save_checkpoint", full)
    with pytest.raises(SystemExit) as left:
        trial.main()
    assert left.value.code in PASSING_CODES
    (trial_folder / "config.yaml").write_text("train: {learner: {learning_rat: 1.0}}")
    with pytest.raises(SystemExit) as left:
        trial.main()
    assert left.value.code == 1


def test_a_job_of_an_array_leaves_a_trial_open_when_the_disk_is_full(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = load_script("cluster/sweep_trial.py")
    monkeypatch.setattr(jobs, "lock", lambda folder: None)  # this process keeps one until it ends
    folder = tmp_path / "s"

    def run(number: int) -> None:
        jobs.sweep_trial(folder, number, 4, None, tmp_path / "sweep.yaml", 100, 3, "auto", 20, "random")

    def stopped(cause: Exception | None) -> Callable[[Path], int]:
        def train(_: Path) -> int:
            raise UserError("the checkpoint cannot be written") from cause

        return train

    monkeypatch.setattr(jobs, "run_trial", stopped(OSError(errno.EDQUOT, "Disk quota exceeded")))
    with pytest.raises(UserError, match="trial 1 was stopped: the checkpoint"):
        run(1)
    assert facts(folder, "started") and not facts(folder, "failed")
    monkeypatch.setattr(jobs, "run_trial", stopped(None))
    with pytest.raises(UserError, match="trial 1 failed"):
        run(1)
    assert len(facts(folder, "started")) == 1 and len(facts(folder, "failed")) == 1


def load_script(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_real_trials_train_and_go_on_from_their_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"env": {"max_steps": 40}, "train": TINY_TRAIN}))
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"train": {"learner": {"learning_rate": SPACE}}}))
    options = ["--config", str(tmp_path / "c.yaml"), "--sweep", str(tmp_path / "sweep.yaml"), "--runs-dir"]
    options += [str(tmp_path), "--name", "s", "--searcher", "random", "--trials", "1"]
    command = [sys.executable, "-m", "daddy_puffer.sweep", *options]
    folder = tmp_path / "s" / "trials" / "000"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + 200
        while not list(folder.glob("checkpoints/step_*")) and time.monotonic() < until:
            time.sleep(0.05)
        process.kill()
    settings = folder.parents[1] / "config.yaml"
    reached = max(int(path.name.removeprefix("step_")) for path in folder.glob("checkpoints/step_*"))
    settings.write_text(settings.read_text().replace("total_steps: 4000", f"total_steps: {reached + 800}"))
    again = [sys.executable, "-m", "daddy_puffer.sweep", "--resume", str(tmp_path / "s"), "--trials", "1"]
    done = subprocess.run(again, capture_output=True, text=True, timeout=250)  # waits for the orphan's checkpoint
    assert done.returncode == 0, done.stderr + (folder / "trial.log").read_text()
    (row,) = table(tmp_path / "s")
    assert row["state"] == "finished" and int(row["steps"]) >= reached + 800 and float(row["seconds"]) > 0.0
    steps = [int(row["end_step_global"]) for row in csv.DictReader((folder / "episodes.csv").open(newline=""))]
    assert steps == sorted(steps) and len(steps) == len(set(steps)) * 2, "two environments end together, once each"
