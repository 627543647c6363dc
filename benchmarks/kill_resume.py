"""A training run that is killed again and again, as a cluster or a power cut would, and resumed each time.

Starts `python -m daddy_puffer.train_big` with worker processes and a curriculum, sends SIGKILL at random moments, every
other one while a checkpoint is being written, resumes, and looks after each: does every checkpoint load, how many steps
are lost, is a worker left behind. At the end the run is let finish, and what it wrote must be as that of a run that was
never killed: no step, episode or row twice or missing. Prints a Markdown table and leaves with code 1 when anything is
wrong.

    python benchmarks/kill_resume.py --kills 20
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daddy_puffer.config import Config, CurriculumConfig, EnvConfig, ReplayConfig, TrainConfig, save_config
from daddy_puffer.errors import UserError
from daddy_puffer.learner.checkpoint import find_checkpoint, load_checkpoint, load_replay
from daddy_puffer.swarm import StateRegistry
from daddy_puffer.telemetry.live import LiveReader
from daddy_puffer.vector import RedFactory
from daddy_puffer.wrappers import open_registry
from daddy_puffer.wrappers.action_recorder import Recording

ROOT = Path(__file__).resolve().parents[1]
ENVS, EPISODE_STEPS, LOG_INTERVAL, SAVE_INTERVAL = 4, 15, 20, 80
ORPHAN_SECONDS = 20.0  # in which workers must have noticed that their trainer is gone
START_SECONDS = 120.0  # until a life has taken steps, on a busy machine


def make_config(runs: Path, total_steps: int, save_replay: bool = False) -> Config:
    """Small, with all that a run keeps."""
    return Config(
        env=EnvConfig(max_steps=30),
        replay=ReplayConfig(capacity=4000, burn_in=2, sequence_length=6, batch_size=2, learning_starts=100),
        curriculum=CurriculumConfig(mode="mixture", cell_size=2, episode_steps=EPISODE_STEPS, max_states=100_000),
        train=TrainConfig(num_envs=ENVS, num_workers=2, total_steps=total_steps, log_interval=LOG_INTERVAL,
                          save_interval=SAVE_INTERVAL, step_log_interval=1, live_interval=0.001, record_episodes="all",
                          save_replay=save_replay, device="cpu", run_name="run", runs_dir=str(runs)),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One of them, and what it left."""

    moment: str
    began_at: int  # step of the checkpoint that this life went on from
    step: int  # taken when the kill came
    kept: int  # step of the newest checkpoint
    orphan_seconds: float  # until no process of the run was left
    temporary: int  # files under a temporary name

    @property
    def lost(self) -> int:
        return self.step - self.kept


class Run:
    """One run, its lives and what is wrong with it."""

    def __init__(self, runs: Path, save_replay: bool) -> None:
        self.runs, self.folder, self.save_replay = runs, runs / "run", save_replay
        self.wrong: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0  # seconds since the epoch

    def start(self, total_steps: int) -> None:
        """A new life: the first one begins the run, others go on from its newest checkpoint."""
        file = self.runs / "config.yaml"
        save_config(make_config(self.runs, total_steps, self.save_replay), file)
        command = [sys.executable, "-m", "daddy_puffer.train_big", "--config", str(file)]
        if checkpoint_steps(self.folder):
            command += ["--resume", str(self.folder)]
        self.started = time.time()
        with (self.runs / "output.txt").open("ab") as output:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def step(self) -> int:
        """The newest that can be seen from outside; 0 before the first."""
        _, _, looks = LiveReader(self.folder / "live").looks()
        return looks[-1].step if looks else 0

    def kill(self, rng: np.random.Generator, in_save: bool) -> Kill:
        """Let the life take steps, kill it, look at what is left."""
        assert self.process is not None
        began_at, moment = newest(self.folder), "any"
        give_up = time.monotonic() + START_SECONDS
        goal = began_at + SAVE_INTERVAL * int(rng.integers(0, 2))  # every other life has saved once before
        while self.is_alive() and self._waits_for_steps(began_at, goal) and time.monotonic() < give_up:
            time.sleep(0.005)
        if in_save and self._wait_for_save():
            time.sleep(float(rng.random() * 0.03))
            moment = "while a checkpoint is written"
        else:
            time.sleep(float(rng.random() * 5.0))
        if not self.is_alive():
            said = (self.runs / "output.txt").read_text(errors="replace")[-1500:]
            self.wrong.append(f"the life that began at {began_at} left by itself with {self.process.poll()}: {said}")
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        orphans = self._orphans_gone()
        step = max(self.step(), began_at)
        self._check_checkpoints()
        return Kill(
            moment=moment, began_at=began_at, step=step, kept=newest(self.folder), orphan_seconds=orphans,
            temporary=sum(1 for _ in self.folder.rglob("*.tmp")),
        )  # fmt: skip

    def _waits_for_steps(self, began_at: int, goal: int) -> bool:
        """Whether this life has taken none, or not saved `goal` yet; what an earlier life left in live/ is nothing."""
        try:
            fresh = (self.folder / "live/positions.bin").stat().st_ctime > self.started
        except OSError:
            return True
        return not fresh or self.step() <= began_at or newest(self.folder) < goal

    def _wait_for_save(self) -> bool:
        """Until a checkpoint is being written; False where none was for a minute."""
        give_up = time.monotonic() + 60
        while self.is_alive() and time.monotonic() < give_up:
            for path in (self.folder / "checkpoints").glob(".step_*"):  # not what an earlier life left
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_ctime > self.started:
                        return True
            time.sleep(0.001)
        return False

    def _orphans_gone(self) -> float:
        began = time.monotonic()
        while left := list(processes_of(self.runs)):
            if time.monotonic() - began > ORPHAN_SECONDS:
                self.wrong.append(f"processes {left} are left {ORPHAN_SECONDS:g} s after their trainer was killed")
                break
            time.sleep(0.05)
        return time.monotonic() - began

    def _check_checkpoints(self) -> None:
        for step in checkpoint_steps(self.folder):
            path = self.folder / f"checkpoints/step_{step}"
            try:
                if load_checkpoint(path)["step"] != step:
                    self.wrong.append(f"{path.name} holds another step")
                if self.save_replay and step == newest(self.folder) and load_replay(path) is None:
                    self.wrong.append(f"{path.name} has no replay")
            except UserError as error:
                self.wrong.append(str(error))
        if checkpoint_steps(self.folder):
            find_checkpoint(self.folder)

    def finish(self) -> int:
        """Resume once more and let the run end; returns its last step."""
        last = newest(self.folder) + SAVE_INTERVAL + LOG_INTERVAL
        self.start(last)
        assert self.process is not None
        if code := self.process.wait(timeout=300):
            self.wrong.append(f"the last life left with exit code {code}")
        if left := list(processes_of(self.runs)):
            self.wrong.append(f"processes {left} are left at the end")
        return last


def processes_of(runs: Path) -> Iterator[int]:
    """Processes, but this one, whose command line names a file of the folder: trainer, its forked workers, films."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            if f"{runs}/".encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                yield int(entry)
        except OSError:
            continue  # it has just ended


def checkpoint_steps(folder: Path) -> list[int]:
    """Those there are, oldest first."""
    return sorted(int(path.name[5:]) for path in (folder / "checkpoints").glob("step_*"))


def newest(folder: Path) -> int:
    """Step that a resume would go on from; 0 for none."""
    return int(find_checkpoint(folder).name[5:]) if checkpoint_steps(folder) else 0


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_curves(folder: Path, last: int, lives: int) -> Iterator[str]:
    """What is missing or there twice in the tables of a run that ended at `last`."""
    taken = np.concatenate([np.load(path)["step_global"] for path in sorted((folder / "steps").glob("*.npz"))])
    if not (len(taken) == taken[-1] >= last and (np.diff(taken) >= 0).all() and np.diff(taken).max() <= ENVS):
        yield f"steps/ has {len(taken)} rows for {taken[-1]} steps, the largest gap is {np.diff(taken).max()}"
    episodes = rows(folder / "episodes.csv")
    ids = [int(row["episode_id"]) for row in episodes]
    ends = [int(row["end_step_global"]) for row in episodes]
    missing = set(range(max(ids) + 1)) - set(ids)
    if len(ids) != len(set(ids)) or ends != sorted(ends):
        yield "episodes.csv has an episode twice, or not in order"
    if len(missing) > ENVS * (lives + 1):  # those under way when a life ended
        yield f"episodes.csv lacks {len(missing)} episodes after {lives} lives of {ENVS} environments"
    steps = [int(row["step"]) for row in rows(folder / "metrics.csv")]
    if steps != sorted(set(steps)) or max(np.diff([0, *steps])) > LOG_INTERVAL + 2 * ENVS:
        yield f"metrics.csv has a gap of {max(np.diff([0, *steps]))} steps, or a step twice"
    beliefs = [(int(row["step"]), row["milestone"]) for row in rows(folder / "progress.csv")]
    if len(beliefs) != len(set(beliefs)) or {step for step, _ in beliefs} != set(steps):
        yield "progress.csv and metrics.csv do not have the same steps, once each"
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    if [event["step"] for event in events] != sorted(event["step"] for event in events):
        yield "events.jsonl is not in order"
    if sum(event["event"] == "episode" for event in events) != len(ids):
        yield "events.jsonl and episodes.csv do not have the same episodes"


def open_states(folder: Path) -> StateRegistry:
    """The registry that the run left."""
    config = make_config(folder.parent, 1)
    env = RedFactory(config)()
    registry = open_registry(folder / "savestates", config.curriculum, env)
    env.close()
    registry.refresh(force=True)
    return registry


def check_states(folder: Path) -> Iterator[str]:
    """What is wrong with the save states, their ways from the true start, and the recordings."""
    registry = open_states(folder)
    known = {saved.tag: saved for saved in registry.states()}
    if not known:
        yield "no save state was kept"
    for saved in known.values():
        loaded = registry.load(saved)
        if loaded is None:
            yield f"save state {saved.tag} is bad"
        elif len(loaded[1].actions) != saved.total_steps:
            yield f"the way to {saved.tag} has {len(loaded[1].actions)} actions for {saved.total_steps} steps"
        parent = known.get(saved.parent)  # one that was evicted leaves its way in its children
        known_steps = 0 if not saved.parent else parent.total_steps if parent else None
        if known_steps is not None and saved.total_steps != saved.episode_steps + known_steps:
            yield f"the way to {saved.tag} does not go on from its parent's"
    if any((folder / "savestates").glob("quarantine/*")):
        yield "a save state is in quarantine, and nobody damaged it"
    for path in (folder / "recordings").glob("*.npz"):
        Recording.from_bytes(path.read_bytes())


def check_leftovers(folder: Path) -> Iterator[str]:
    """Temporary files that stay for ever: all that an hour does not remove."""
    hours_ago = time.time() - 7200
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (hours_ago, hours_ago))
    open_states(folder)
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.tmp"))
    if left:
        yield f"temporary files stay: {', '.join(left)}"


def main() -> int:
    """Kill, resume, look; 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-replay", action="store_true", help="and go on in the midst of the episodes")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        run = Run((options.keep or Path(temporary)).resolve(), options.save_replay)
        run.runs.mkdir(exist_ok=True)
        print(
            "| kill | moment | life began at | step | newest checkpoint | steps lost | orphans gone after | temporary |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for number in range(1, options.kills + 1):
            run.start(10_000_000)
            kill = run.kill(rng, in_save=number % 2 == 0)
            cells = (number, kill.moment, kill.began_at, kill.step, kill.kept, kill.lost,
                     f"{kill.orphan_seconds:.1f} s", kill.temporary)  # fmt: skip
            print("|", " | ".join(map(str, cells)), "|", flush=True)
            if kill.lost > SAVE_INTERVAL + 2 * ENVS:
                run.wrong.append(f"kill {number} lost {kill.lost} steps, the save interval is {SAVE_INTERVAL}")
        last = run.finish()
        run.wrong += [*check_curves(run.folder, last, options.kills), *check_states(run.folder)]
        run.wrong += check_leftovers(run.folder)
        print(f"\n{options.kills} kills in {time.monotonic() - began:.0f} s, {last} steps, {len(run.wrong)} wrong")
        output = (run.runs / "output.txt").read_text(errors="replace")
    for line in run.wrong[:20]:
        print(line, file=sys.stderr)
    if run.wrong:
        print(output[-4000:], file=sys.stderr)
    return 1 if run.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
