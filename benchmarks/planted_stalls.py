"""Alarms on real training runs with a planted stall: what is noticed, how long before the end, and what falsely.

Run: `python benchmarks/planted_stalls.py [--seeds 3] [--steps 130000] [--jobs 2] [section.key=value ...]` trains one
run a plant and seed on the practice cartridge into `runs/stalls/PLANT_<seed>/` (a finished one is not repeated) and
prints the table; with `--only PLANT` it trains the runs of one plant.

Plants, on `configs/explore.yaml`; episodes from the true start are the trials, and the milestone is the first creature,
which healthy runs fetch in most of these after some 90,000 steps:

healthy   nothing
gate      the button A does nothing from the first step on: nobody can be spoken to
broken    A does nothing after 75 % of the steps: what was learnt is lost
frozen    the learning rate is 0 after 12 % of the steps

Thresholds are set by `benchmarks/alarm.py`'s simulated runs of as many episodes as the shortest real run has, before
any real run is looked at. Lead = episodes between the alarm and the end of the run; 0 without an alarm after the stall.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from alarm import Calibrated, Run, calibrate, detectors, interval, lead, parts
from learning import finished, parse

from daddy_puffer.config import load_config
from daddy_puffer.learner.learner import Learner
from daddy_puffer.train import train
from daddy_puffer.types import Action, Array
from daddy_puffer.vector import red

FOLDER = Path("runs/stalls")
CONFIG = Path(__file__).resolve().parents[1] / "configs" / "explore.yaml"
MILESTONE = "EVENT_GOT_STARTER"
BEGINS = {"healthy": 1.0, "gate": 0.0, "broken": 0.75, "frozen": 0.12}  # share of the steps before the plant
SETTINGS: dict[str, object] = {
    "demos.own_way": [],  # of the badge: nothing to do with the milestone
    "demos.own_wins": 0,
    "learner.anneal_from": 1.0,
    "progress.watched": [MILESTONE],
    "train.vectorization": "serial",
    "train.log_interval": 10_000,
    "train.runs_dir": str(FOLDER),
}


class BrokenButton(gymnasium.Wrapper[Any, np.int64, Any, np.int64]):
    """A does what B does once this environment has taken `after` steps."""

    def __init__(self, env: gymnasium.Env[Any, np.int64], after: int) -> None:
        super().__init__(env)
        self._left = after

    def step(self, action: np.int64) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Press another button."""
        self._left -= 1
        return self.env.step(np.int64(Action.B) if self._left < 0 and action == Action.A else action)


def plant(kind: str, steps: int, num_envs: int) -> None:
    """Let the runs of this process stall."""
    begin = int(BEGINS[kind] * steps)
    if kind in ("gate", "broken"):
        build = red.RedFactory.__call__

        def with_broken_button(factory: red.RedFactory) -> Any:
            return BrokenButton(build(factory), begin // num_envs)

        red.RedFactory.__call__ = with_broken_button
    if kind == "frozen":
        anneal = Learner.anneal

        def without_learning(learner: Learner, share_done: float) -> None:
            anneal(learner, share_done)
            if share_done >= BEGINS[kind]:
                for group in learner.optimizer.param_groups:
                    group["lr"] = 0.0

        Learner.anneal = without_learning


def train_one(name: str, kind: str, seed: int, settings: dict[str, object]) -> None:
    """One run, in this process."""
    config = load_config(CONFIG, {**SETTINGS, **settings, "train.run_name": name, "train.seed": seed})
    plant(kind, config.train.total_steps, config.train.num_envs)
    train(config, film_steps=2)


def in_a_process(kind: str, seed: int, settings: dict[str, object]) -> None:
    """The same in a process of its own; its console goes to a file beside the run."""
    name = f"{kind}_{seed}"
    if finished(FOLDER / name):
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{name}.log").open("w") as log:
        command = [sys.executable, __file__, "--one", kind, "--first-seed", str(seed), "--given", json.dumps(settings)]
        subprocess.run(command, stdout=log, stderr=log, check=True)


def read(folder: Path, kind: str) -> Run:
    """A run's episodes from the true start; the stall begins with the first episode that ends after the plant."""
    with (folder / "episodes.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if not row["savestate_tag"]]
    ends = np.array([int(row["end_step_global"]) for row in rows])
    reached = np.array([MILESTONE in row["milestones_reached"].split(";") for row in rows], bool)
    begin = BEGINS[kind] * ends[-1]
    stall = -1 if kind == "healthy" else int(np.searchsorted(ends, begin))
    return Run(reached, np.array([float(row["return_total"]) for row in rows]), stall, kind)


def shortened(run: Run, episodes: int) -> Run:
    """The same with so many episodes: every one of them stands for a few."""
    index = np.linspace(0, len(run.reached) - 1, episodes).round().astype(int)
    stall = run.stall if run.stall <= 0 else int(np.searchsorted(index, run.stall))
    return Run(run.reached[index], run.returns[index], stall, run.plant)


def calibrated(episodes: int, runs_per_kind: int) -> list[Calibrated]:
    """All detectors, with thresholds from simulated runs."""
    healthy, stalled, _, _ = parts(runs_per_kind, episodes)
    return [calibrate(detector, healthy, stalled) for detector in detectors()]


def report(runs: Sequence[Run], runs_per_kind: int) -> None:
    """Print the table."""
    episodes = min(len(run.reached) for run in runs)
    found = calibrated(episodes, runs_per_kind)
    runs = [shortened(run, episodes) for run in runs]
    healthy = [run for run in runs if run.plant == "healthy"]
    print(f"{len(runs)} runs, {episodes} episodes of each; milestone reached in the last 50: ", end="")
    by_kind: dict[str, list[Run]] = {kind: [run for run in runs if run.plant == kind] for kind in BEGINS}
    print(", ".join(f"{kind} {np.mean([r.reached[-50:].mean() for r in some]):.2f}" for kind, some in by_kind.items()))
    kinds = [kind for kind in BEGINS if kind != "healthy"]
    print("\n| detector | healthy runs with an alarm | " + " | ".join(f"lead, {kind}" for kind in kinds) + " | all |")
    print("|---" * (3 + len(kinds)) + "|")
    leads: dict[str, Array] = {}
    for one in found:
        false = sum(alarm >= 0 for alarm in one.alarms(healthy))
        each = {
            kind: [lead(r, a) for r, a in zip(some, one.alarms(some), strict=True)] for kind, some in by_kind.items()
        }
        leads[one.name] = np.array([value for kind in kinds for value in each[kind]], float)
        cells = [", ".join(map(str, each[kind])) for kind in kinds]
        print(f"| {one.name} | {false} of {len(healthy)} | " + " | ".join([*cells, interval(leads[one.name])]) + " |")
    print("\n| ours minus | lead, episodes, paired |\n|---|---|")
    for one in found[:-1]:
        print(f"| {one.name} | {interval(leads[found[-1].name] - leads[one.name])} |")


def main() -> None:
    """Train what is missing, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help="section.key=value")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=130_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", choices=sorted(BEGINS), help="train these, compare nothing")
    parser.add_argument("--runs-per-kind", type=int, default=200, help="simulated runs to calibrate with")
    parser.add_argument("--one", choices=sorted(BEGINS), help=argparse.SUPPRESS)
    parser.add_argument("--given", default="{}", help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args()
    if options.one:
        name = f"{options.one}_{options.first_seed}"
        train_one(name, options.one, options.first_seed, json.loads(options.given))
        return
    settings = {"train.total_steps": options.steps, **dict(parse(text) for text in options.settings)}
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    kinds = [options.only] if options.only else list(BEGINS)
    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = [pool.submit(in_a_process, kind, seed, settings) for seed in seeds for kind in kinds]
        for job in jobs:
            job.result()
    if not options.only:
        report([read(FOLDER / f"{kind}_{seed}", kind) for seed in seeds for kind in kinds], options.runs_per_kind)


if __name__ == "__main__":
    main()
