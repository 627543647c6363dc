"""What random network distillation costs: in a training run, and as a wrapper in one environment.

Run: `python benchmarks/rnd_cost.py [--rounds N] [--steps N] [--threads N]`. Training runs with and without RND take
turns on the same cores (default settings, the practice cartridge, measured after learning has begun); the figure is the
median over rounds of the ratio within a round, beside the share of wall time that the trainer's own timer gave to RND.
Then one environment plays the same random buttons bare, in `EpsilonEnv`, and with Novelty and RND around it, in turns.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from daddy_puffer.config import EnvConfig
from daddy_puffer.envs import make_red_env
from daddy_puffer.types import Action
from daddy_puffer.wrappers import RND, EpsilonEnv, Novelty, VisitCounts

TRAIN = "import json, sys; from daddy_puffer.config import load_config; from daddy_puffer.train import train; \
train(load_config(None, json.loads(sys.argv[1])), film_steps=2)"
LEARNING_STARTS = 500
ROUND_STEPS = 400  # of an environment
WARM_UP_STEPS = 6000  # until RND pays and learns as it will


def cpu_seconds() -> float:
    """Of all processes begun here that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def training(weight: float, steps: int, threads: int) -> tuple[float, float, float]:
    """Of a run that has begun to learn: environment steps a second, share of wall time in RND; CPU s of it all."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "train.runs_dir": folder,
            "train.run_name": "cost",
            "train.total_steps": steps + 4 * LEARNING_STARTS,
            "train.log_interval": LEARNING_STARTS,
            "train.threads": threads,
            "replay.learning_starts": LEARNING_STARTS,
            "intrinsic.rnd_weight": weight,
        }
        before = cpu_seconds()
        subprocess.run([sys.executable, "-c", TRAIN, json.dumps(settings)], check=True, stdout=subprocess.DEVNULL)
        used = cpu_seconds() - before
        with (Path(folder) / "cost" / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))[4:]
    seconds = [1 / float(row["speed/steps_per_second"]) for row in rows]  # of a step; intervals are of equal steps
    shares = [float(row["phase/rnd"]) for row in rows]
    return len(seconds) / sum(seconds), float(np.average(shares, weights=seconds)), used


def environments() -> dict[str, gymnasium.Env[Any, Any]]:
    """One game by name, with more and more around it."""

    def game() -> gymnasium.Env[Any, Any]:
        return make_red_env(EnvConfig(max_steps=10**9, random_wait=0), {})

    return {
        "Red-v0": game(),
        "EpsilonEnv": EpsilonEnv(game(), 1),
        "EpsilonEnv, Novelty": Novelty(EpsilonEnv(game(), 1), 1.0, VisitCounts()),
        "EpsilonEnv, RND": RND(EpsilonEnv(game(), 1)),
        "EpsilonEnv, Novelty, RND": RND(Novelty(EpsilonEnv(game(), 1), 1.0, VisitCounts())),
    }


def stepping(rounds: int) -> dict[str, list[float]]:
    """Seconds of process time a step by name, one number a round; all play the same buttons."""
    rng = np.random.default_rng(0)
    envs = environments()
    for env in envs.values():
        env.reset(seed=0)
    spent: dict[str, list[float]] = {name: [] for name in envs}
    for number in range(rounds + WARM_UP_STEPS // ROUND_STEPS):
        actions = rng.integers(0, len(Action), ROUND_STEPS)
        for name, env in envs.items():
            began = time.process_time()
            for action in actions:
                env.step(action)
            if number >= WARM_UP_STEPS // ROUND_STEPS:
                spent[name].append((time.process_time() - began) / ROUND_STEPS)
    return spent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6000, help="of a training run, after learning has begun")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of the trainer")
    options = parser.parse_args()
    without: list[float] = []
    ratios: dict[str, list[float]] = {"time": [], "CPU time": [], "share of time by the trainer's timer": []}
    for number in range(options.rounds):
        order = (0.0, 0.1) if number % 2 == 0 else (0.1, 0.0)  # so that neither always comes first
        measured = {weight: training(weight, options.steps, options.threads) for weight in order}
        (bare, _, bare_cpu), (speed, share, cpu) = measured[0.0], measured[0.1]
        without.append(bare)
        for name, ratio in zip(ratios, (bare / speed - 1, cpu / bare_cpu - 1, share), strict=True):
            ratios[name].append(ratio)
            print(f"round {number + 1}: {name} {ratio:+.1%}", file=sys.stderr, flush=True)
    print(f"| steps/s without RND | with it: {' | '.join(ratios)} |\n|---|---|---|---|")
    medians = [f"{statistics.median(measured):+.1%}" for measured in ratios.values()]
    print(f"| {statistics.median(without):.0f} | {' | '.join(medians)} |\n")
    spent = stepping(4 * options.rounds)
    print("| environment | us a step | over Red-v0 |\n|---|---|---|")
    for name, seconds in spent.items():
        over = statistics.median(a / b - 1 for a, b in zip(seconds, spent["Red-v0"], strict=True))
        print(f"| {name} | {1e6 * statistics.median(seconds):.0f} | {over:+.1%} |")


if __name__ == "__main__":
    main()
