"""The job files on a real Slurm: over the time limit, preempted, failing, cancelled; every step counted once.

The daemons are of this machine's packages, in a temporary folder. Only the time limit is shortened; all else is what
the job files say.
"""

from __future__ import annotations

import csv
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from slurm_here import Slurm, missing_programs, wait_for

from daddy_puffer.config import Config, EnvConfig, ReplayConfig, TrainConfig, save_config
from daddy_puffer.learner.checkpoint import checkpoint_step, find_checkpoint
from daddy_puffer.sweep.journal import read_facts

ROOT = Path(__file__).resolve().parents[2]
MISSING = missing_programs()
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (apt-get install slurm-wlm munge)"),
]

ENVS, MAX_STEPS = 2, 40
SMALL = ("--num-envs", str(ENVS), "--num-workers", "1")
WARNED = ("--time=60", "--signal=B:USR1@60")  # what a stop may take; Slurm gives it up to a minute more
NEVER = 10_000_000
LAST_STEPS = 200  # after the last restart


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with tempfile.TemporaryDirectory(prefix="slurm", dir="/tmp") as folder, Slurm(Path(folder)) as cluster:
        cluster.environment.update(PYTHON=sys.executable, OMP_NUM_THREADS="1", NO_COLOR="1")
        try:
            yield cluster
        finally:
            keep = os.environ.get("SLURM_LOGS")  # a folder, for who wants to read them
            for log in Path(folder).glob("*.log") if keep else ():
                Path(str(keep), log.name).write_bytes(log.read_bytes())


class Job:
    """A job file handed to Slurm, and what its run left so far."""

    def __init__(self, slurm: Slurm, folder: Path, *arguments: str, total_steps: int = NEVER) -> None:
        """`folder` becomes a project folder with the job files and a configuration of its own."""
        self.slurm, self.folder = slurm, folder
        (folder / "cluster").symlink_to(ROOT / "cluster")
        self.set_total_steps(total_steps)
        self.number = slurm.submit(folder, *arguments)

    def set_total_steps(self, total_steps: int) -> None:
        """Takes effect when the job starts again."""
        config = Config(
            env=EnvConfig(max_steps=MAX_STEPS),
            replay=ReplayConfig(capacity=2000, burn_in=2, sequence_length=8, batch_size=4, learning_starts=100),
            train=TrainConfig(total_steps=total_steps, log_interval=100, save_interval=NEVER, record_episodes="none"),
        )
        save_config(config, self.folder / "tiny.yaml")

    @property
    def log(self) -> str:
        path = self.folder / f"slurm-{self.number}.log"
        return path.read_text() if path.exists() else ""

    @property
    def run(self) -> Path:
        return self.folder / "runs" / f"slurm_{self.number}"

    @property
    def step(self) -> int:
        """Of the newest checkpoint."""
        return checkpoint_step(find_checkpoint(self.run))

    def wait(self, what: str, condition: Callable[[], object], seconds: float) -> None:
        """`condition` will hold; if not, show why."""
        try:
            wait_for(what, condition, seconds)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.slurm.facts(self.number)}\n{self.log}") from None

    def wait_for_line(self, line: str, seconds: float = 300) -> None:
        self.wait(line, lambda: line in self.log, seconds)

    def wait_until_it_trains(self, start: int = 1) -> None:
        """Start number `start` has logged an interval."""
        self.wait_for_line(f"start {start}]")
        begun = len(self.events("interval"))
        self.wait("an interval", lambda: len(self.events("interval")) > begun, 300)

    def let_time_run_out(self) -> None:
        """Lower the limit so that the warning is due: 60 to 120 seconds are left then, for limits are in minutes."""
        hours, minutes, seconds = map(int, self.slurm.facts(self.number)["RunTime"].split(":"))
        left = (hours * 60 + minutes) + (seconds > 0) + 1
        self.slurm.call("scontrol", "update", f"JobId={self.number}", f"TimeLimit={left}")

    def set_limit(self, minutes: int) -> None:
        """Give the next start time to begin, however slow this machine is."""
        self.slurm.call("scontrol", "update", f"JobId={self.number}", f"TimeLimit={minutes}")

    def wait_for_end(self, seconds: float = 400) -> str:
        self.wait("an end", lambda: self.slurm.state(self.number) not in ("PENDING", "RUNNING", "COMPLETING"), seconds)
        return self.slurm.state(self.number)

    def events(self, kind: str) -> list[dict[str, Any]]:
        path = self.run / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [event for line in lines if (event := json.loads(line))["event"] == kind]

    def check_every_step_counted_once(self, total: int, starts: int) -> None:
        """The counter ends where it should; the logs have no gap and no step twice."""
        assert total <= self.step < total + ENVS
        resumed = [event["step"] for event in self.events("resume")]
        assert len(resumed) == starts - 1
        saved = [event["step"] for event in self.events("checkpoint")]
        assert set(resumed) <= set(saved)  # each start went on where the one before had stopped
        for name in ("interval", "checkpoint"):
            steps = [event["step"] for event in self.events(name)]
            assert steps == sorted(set(steps))
        with (self.run / "episodes.csv").open(newline="") as file:
            episodes = list(csv.DictReader(file))
        assert len({row["episode_id"] for row in episodes}) == len(episodes)
        assert all(int(row["start_step_global"]) < int(row["end_step_global"]) <= self.step for row in episodes)
        missing = self.step - sum(int(row["length_steps"]) for row in episodes)
        assert 0 <= missing <= starts * ENVS * MAX_STEPS  # only of episodes that a stop cut off


def test_a_run_longer_than_two_jobs_finishes_by_itself(slurm: Slurm, tmp_path: Path) -> None:
    job = Job(slurm, tmp_path, *WARNED, "cluster/slurm_cpu.job", "--config", "tiny.yaml", *SMALL)
    stops = []
    for start in (1, 2):
        job.wait_until_it_trains(start)
        job.let_time_run_out()
        job.wait(f"requeue {start}", lambda start=start: job.log.count("back in the queue") == start, 180)
        job.set_limit(60)
        assert slurm.facts(job.number)["Restarts"] == str(start)
        stops.append(job.step)
    assert 0 < stops[0] < stops[1]
    total = stops[1] + LAST_STEPS
    job.set_total_steps(total)  # before it starts for the third time
    assert job.wait_for_end() == "COMPLETED", job.log
    assert re.findall(r"start (\d)\] on \S+ \S+ from (.*)", job.log) == [
        ("1", "the beginning"), ("2", f"step_{stops[0]}"), ("3", f"step_{stops[1]}"),
    ]  # fmt: skip
    assert [event["step"] for event in job.events("resume")] == stops
    job.check_every_step_counted_once(total, starts=3)


@pytest.mark.parametrize("how", ["preempted", "preempted with a grace period", "signalled"])
def test_a_job_that_is_stopped_from_outside_goes_on_afterwards(slurm: Slurm, tmp_path: Path, how: str) -> None:
    """Slurm kills and requeues it; sends SIGUSR1 and gives it a minute; or SIGTERM reaches all of its processes."""
    partition = "patient" if how == "preempted with a grace period" else "main"
    options = (f"--partition={partition}", "cluster/slurm_cpu.job", "--config", "tiny.yaml", *SMALL)
    job = Job(slurm, tmp_path, *options)
    job.wait_until_it_trains()
    if how == "signalled":
        slurm.call("scancel", "--full", "--signal=TERM", job.number)
    else:
        slurm.submit(tmp_path, "--partition=urgent", "--exclusive", "--wrap=sleep 1")
    job.wait_for_line("stopped by SIGTERM" if how == "preempted" else "back in the queue", 120)
    stop = job.step
    assert stop > 0
    total = stop + LAST_STEPS
    job.set_total_steps(total)  # before it starts again
    assert job.wait_for_end() == "COMPLETED", job.log
    assert slurm.facts(job.number)["Restarts"] == "1"
    assert [event["step"] for event in job.events("resume")] == [stop]
    job.check_every_step_counted_once(total, starts=2)


def test_a_run_that_fails_is_a_failed_job_and_not_run_again(slurm: Slurm, tmp_path: Path) -> None:
    job = Job(slurm, tmp_path, *WARNED, "cluster/slurm_cpu.job", "--config", "tiny.yaml", "--rom", "no_such.gb", *SMALL)
    assert job.wait_for_end() == "FAILED"
    facts = slurm.facts(job.number)
    assert (facts["Restarts"], facts["ExitCode"]) == ("0", "1:0")
    assert "error: " in job.log and "no_such.gb" in job.log
    assert "failed with exit code 1: not run again" in job.log
    assert "Traceback" not in job.log


def test_a_cancelled_job_keeps_a_checkpoint_and_stays_cancelled(slurm: Slurm, tmp_path: Path) -> None:
    job = Job(slurm, tmp_path, "cluster/slurm_cpu.job", "--config", "tiny.yaml", *SMALL)
    job.wait_until_it_trains()
    slurm.call("scancel", job.number)
    assert job.wait_for_end() == "CANCELLED"
    job.wait_for_line("stopped by", 60)
    assert slurm.facts(job.number)["Restarts"] == "0"
    assert job.step > 0


def test_the_gpu_job_asks_for_a_gpu_and_hands_options_on(slurm: Slurm, tmp_path: Path) -> None:
    """The node has a GPU in name only: the run is told to use the CPU."""
    arguments = ("--config", "tiny.yaml", "--run-name", "named", "--device", "cpu", *SMALL)
    job = Job(slurm, tmp_path, "cluster/slurm_gpu.job", *arguments, total_steps=200)
    assert "gres:gpu:1" in slurm.facts(job.number)["TresPerNode"]
    assert job.wait_for_end() == "COMPLETED", job.log
    assert checkpoint_step(find_checkpoint(tmp_path / "runs" / "named")) == 200


def test_jobs_of_an_array_share_one_sweep(slurm: Slurm, tmp_path: Path) -> None:
    """Two at a time; the folder is that of `daddy-puffer sweep`."""
    space = {"train": {"learner": {"gamma": {"carbs.utils.LogitSpace": {"min": 0.9, "max": 0.999}}}}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(space))
    options = ("--config", "tiny.yaml", "--searcher", "random", "--seed", "5")
    arguments = ("--array=0-2%2", "--cpus-per-task=2", "cluster/slurm_array.job", "runs/shared", *options)
    array = Job(slurm, tmp_path, *arguments, total_steps=400)
    elements = [f"{array.number}_{number}" for number in range(3)]
    array.wait("the sweep", lambda: all(slurm.state(e) == "COMPLETED" for e in elements), 800)
    folder = tmp_path / "runs" / "shared"
    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["trial"], row["state"], row["steps"]) for row in rows] == [
        (str(number), "finished", "400") for number in range(3)
    ]
    gammas = [float(row["learner.gamma"]) for row in rows]
    assert gammas[0] == Config().learner.gamma and len(set(gammas)) == 3
    assert [fact["event"] for fact in read_facts(folder / "trials.jsonl")].count("started") == 3
    assert (folder / "best.yaml").is_file() and (folder / "pareto.png").is_file()
