"""A sweep from its options to its results: trials that fail, die or are cut off, the sweep killed and gone on with."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from daddy_puffer.config import load_config

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


def test_real_trials_train_and_go_on_from_their_checkpoint(tmp_path: Path) -> None:
    config = {
        "env": {"max_steps": 40},
        "train": {
            "num_envs": 2, "vectorization": "serial", "total_steps": 4000, "log_interval": 100, "save_interval": 100,
            "step_log_interval": 0, "live_interval": 0.0, "record_episodes": "none", "device": "cpu",
            "replay": {"capacity": 4000, "burn_in": 2, "sequence_length": 8, "batch_size": 4, "learning_starts": 150},
        },
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
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
