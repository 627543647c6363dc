"""pokemonred_puffer's default reward class against `FastRequiredEvents` and `Shaped`: prints a Markdown table.

Run: `python benchmarks/upstream_rewards.py [--steps N] [--rounds R]` where pokemonred_puffer is importable from a
checkout. All runners play the same random buttons from the practice cartridge's start state, in turns of N steps, R
rounds; a figure is the median over a runner's rounds of CPU time (the machine may be busy). "Ratio" compares rounds of
the same buttons, side by side: median, and the smallest and largest round in brackets.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pokemonred_puffer
from omegaconf import OmegaConf
from pokemonred_puffer.rewards import baseline

from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, packaged
from daddy_puffer.rewards.hosted import fast_required_events, shaped
from daddy_puffer.types import Action

REWARD = "baseline.ObjectRewardRequiredEventsMapIdsFieldMoves"  # its default
ACTION_FRAMES = 24
Step = Callable[[int], object]


def make_env(cls: Callable[[Any, Any], Any], folder: Path) -> Any:
    """An environment of that class with the shipped configuration, on our cartridge, reset."""
    config: Any = OmegaConf.load(Path(pokemonred_puffer.__path__[0]).parent / "config.yaml")
    shutil.copy(packaged(PRACTICE_ROM), folder / "practice.gb")
    shutil.copy(packaged(PRACTICE_START), folder / "practice.state")
    config.env.gb_path, config.env.state_dir, config.env.init_state = str(folder / "practice.gb"), folder, "practice"
    env = cls(config.env, config.rewards[REWARD].reward)
    env.reset()
    return env


def frames_alone(env: Any) -> Step:
    """The emulator of an environment, its hooks in place, ticking the frames of a step: no step can be faster."""
    module = type(env).run_action_on_emulator.__globals__
    press, release, pyboy = module["VALID_ACTIONS"], module["VALID_RELEASE_ACTIONS"], env.pyboy

    def step(action: int) -> None:
        pyboy.send_input(press[action])
        pyboy.send_input(release[action], delay=8)
        pyboy.tick(ACTION_FRAMES - 1, render=False)
        pyboy.tick(1, render=True)

    return step


def measure(runners: dict[str, Step], steps: int, rounds: int) -> dict[str, list[float]]:
    """CPU seconds a step by name and round; the first round warms up and is left out."""
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in runners}
    for round_index in range(rounds + 1):
        actions = rng.integers(0, len(Action), steps).tolist()
        for name, step in runners.items():
            started = time.process_time()
            for action in actions:
                step(action)
            if round_index:
                times[name].append((time.process_time() - started) / steps)
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    theirs = getattr(baseline, REWARD.split(".")[1])
    fast = fast_required_events(theirs)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runners: dict[str, Step] = {
            "theirs": make_env(theirs, folder).step,
            "FastRequiredEvents": make_env(fast, folder).step,
            "Shaped on theirs": make_env(shaped(theirs), folder).step,
            "Shaped on FastRequiredEvents": make_env(shaped(fast), folder).step,
            "frames alone": frames_alone(make_env(theirs, folder)),
        }
        times = measure(runners, arguments.steps, arguments.rounds)
    print(f"median of {arguments.rounds} rounds of {arguments.steps} steps, CPU time\n")
    print("| runner | steps/s of CPU | ratio to theirs |\n|---|---|---|")
    for runner, spent in times.items():
        ratios = sorted(a / b for a, b in zip(times["theirs"], spent, strict=True))
        middle = statistics.median(ratios)
        print(f"| {runner} | {1 / statistics.median(spent):.0f} | {middle:.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) |")


if __name__ == "__main__":
    main()
