"""Environment steps per second, side by side: prints a Markdown table.

Run: `python benchmarks/env_sps.py [--steps N] [--rounds R]`, one core. All runners play the same random buttons from
the practice cartridge's start state, in turns of N steps, R rounds; a figure is the median over a runner's rounds, each
of which continues the game of the one before. Bare PyBoy presses, releases after 8 frames, ticks 23 frames unrendered
and one rendered, no more. Upstream (pokemonred_puffer, default reward) takes part where it is importable.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from daddy_puffer.config import EnvConfig
from daddy_puffer.envs import RedEnv, make_red_env
from daddy_puffer.envs.emulator import HOLD_FRAMES, PRESS, RELEASE, PyBoy
from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, packaged
from daddy_puffer.types import Action
from daddy_puffer.wrappers import EpsilonEnv

ACTION_FRAMES = 24
UPSTREAM_REWARD = "baseline.ObjectRewardRequiredEventsMapIdsFieldMoves"
ENDLESS = 10**9
Step = Callable[[int], object]


def bare_pyboy() -> Step:
    """The emulator alone, ticking the same frames with the same buttons."""
    pyboy = PyBoy(io.BytesIO(packaged(PRACTICE_ROM).read_bytes()), window="null", sound_emulated=False, cgb=False)
    pyboy.set_emulation_speed(0)
    pyboy.load_state(io.BytesIO(packaged(PRACTICE_START).read_bytes()))
    press, release = [PRESS[action] for action in Action], [RELEASE[action] for action in Action]

    def step(action: int) -> None:
        pyboy.send_input(press[action])
        pyboy.send_input(release[action], delay=HOLD_FRAMES)
        pyboy.tick(ACTION_FRAMES - 1, False, False)
        pyboy.tick(1, True, False)

    return step


def red_env() -> Step:
    """Red-v0 with its default observation and reward."""
    env = RedEnv(max_steps=ENDLESS)
    env.reset(seed=0)
    return env.step


def epsilon_env() -> Step:
    """What the training pipeline steps."""
    env = EpsilonEnv(make_red_env(EnvConfig(max_steps=ENDLESS, random_wait=0), {}), EnvConfig().frame_stack)
    env.reset(seed=0)
    return lambda action: env.step(np.int64(action))


def upstream_env(folder: Path) -> Step:
    """pokemonred_puffer's environment, its shipped configuration and default reward."""
    import pokemonred_puffer
    from omegaconf import OmegaConf
    from pokemonred_puffer.rewards import baseline

    config: Any = OmegaConf.load(Path(pokemonred_puffer.__path__[0]).parent / "config.yaml")
    shutil.copy(packaged(PRACTICE_ROM), folder / "practice.gb")
    shutil.copy(packaged(PRACTICE_START), folder / "practice.state")
    config.env.gb_path, config.env.state_dir, config.env.init_state = str(folder / "practice.gb"), folder, "practice"
    env = getattr(baseline, UPSTREAM_REWARD.split(".")[1])(config.env, config.rewards[UPSTREAM_REWARD].reward)
    env.reset()
    step: Step = env.step
    return step


def measure(runners: dict[str, Step], steps: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Median seconds a step by name: process time, wall time."""
    rng = np.random.default_rng(0)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runners}
    for round_index in range(rounds + 1):  # the first warms up
        actions = rng.integers(0, len(Action), steps).tolist()
        for name, step in runners.items():
            process, wall = time.process_time(), time.perf_counter()
            for action in actions:
                step(action)
            spent = (time.process_time() - process) / steps, (time.perf_counter() - wall) / steps
            if round_index:
                times[name].append(spent)
    return {
        name: (statistics.median(t[0] for t in spent), statistics.median(t[1] for t in spent))
        for name, spent in times.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runners = {"bare PyBoy": bare_pyboy(), "Red-v0": red_env(), "Red-v0 in EpsilonEnv": epsilon_env()}
        if importlib.util.find_spec("pokemonred_puffer") is not None:
            runners["upstream's RedGymEnv"] = upstream_env(Path(folder))
        spent = measure(runners, arguments.steps, arguments.rounds)
    print(f"median of {arguments.rounds} rounds of {arguments.steps} steps of {ACTION_FRAMES} frames\n")
    print("| runner | steps/s of CPU | steps/s of wall | of bare PyBoy | times upstream |\n|---|---|---|---|---|")
    bare, theirs = spent["bare PyBoy"][0], spent.get("upstream's RedGymEnv", (float("nan"),))[0]
    for name, (process, wall) in spent.items():
        times_upstream = f"{theirs / process:.2f}" if theirs == theirs else "-"
        print(f"| {name} | {1 / process:.0f} | {1 / wall:.0f} | {bare / process:.2f} | {times_upstream} |")


if __name__ == "__main__":
    main()
