"""Time of insertion and sampling in sequence replay: prints a Markdown table, one row for each kind of replay.

Run: `python benchmarks/replay_speed.py [--capacity N] [--state-size S] [--structured-size F] [--seconds T]
[--return-filter SHARE]`.
The share of a training second is that of 1,000 environment steps and 15 updates a second.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from daddy_puffer.config import ReplayConfig
from daddy_puffer.replay import SequenceReplay
from daddy_puffer.types import PACKED_WIDTH, SCREEN_HEIGHT, VISITED_SHAPE, Array, StepBatch

NUM_ENVS = 8
FRAME_STACK = 4
EPISODE_STEPS = 501  # an end of episode in about every 15th sequence
STEPS_PER_SECOND = 1_000
UPDATES_PER_SECOND = 15
CHUNKS = 20  # the median of so many timings is taken


def make_steps(rng: np.random.Generator, arguments: argparse.Namespace) -> list[StepBatch]:
    """Some vector steps of random content, to be added over and over."""
    steps = []
    for index in range(EPISODE_STEPS):
        ended = np.full(NUM_ENVS, index == EPISODE_STEPS - 1)
        observation: dict[str, Array] = {
            "frames": rng.integers(0, 256, (NUM_ENVS, FRAME_STACK, SCREEN_HEIGHT, PACKED_WIDTH), np.uint8),
            "visited": rng.integers(0, 2, (NUM_ENVS, *VISITED_SHAPE), np.uint8),
            "structured": rng.random((NUM_ENVS, arguments.structured_size), np.float32),
            "milestones": rng.integers(0, 256, (NUM_ENVS, arguments.milestone_size), np.uint8),
            "episode": np.zeros((NUM_ENVS, 4), np.int32),
        }
        reward = rng.random(NUM_ENVS, np.float32)
        first = np.full(NUM_ENVS, index == 0)
        steps.append(StepBatch(observation, reward, np.zeros_like(ended), ended, first, np.arange(NUM_ENVS), []))
    return steps


def seconds_a_call(call: Callable[[], object], seconds: float) -> float:
    """Median over chunks of the mean time of a call."""
    call()
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < seconds / CHUNKS:
        call()
        calls += 1
    times = []
    for _ in range(CHUNKS):
        started = time.perf_counter()
        for _ in range(calls):
            call()
        times.append((time.perf_counter() - started) / calls)
    return float(np.median(times))


def measure(name: str, arguments: argparse.Namespace, *, prioritized: bool, path: Path | None) -> str:
    """One row of the table."""
    rng = np.random.default_rng(0)
    config = ReplayConfig(capacity=arguments.capacity, prioritized=prioritized, return_filter=arguments.return_filter)
    replay = SequenceReplay(
        config,
        num_envs=NUM_ENVS,
        frame_stack=FRAME_STACK,
        structured_size=arguments.structured_size,
        milestone_size=arguments.milestone_size,
        state_size=arguments.state_size,
        seed=0,
        path=path,
    )
    steps = itertools.cycle(make_steps(rng, arguments))
    action = rng.integers(0, 7, NUM_ENVS)
    state = rng.random((NUM_ENVS, arguments.state_size), np.float32)
    for _ in range(config.capacity // NUM_ENVS + 1):  # full, so that memory is really touched and rows are replaced
        replay.add(next(steps), action, state)
    add = seconds_a_call(lambda: replay.add(next(steps), action, state), arguments.seconds)
    sample = seconds_a_call(lambda: replay.sample(config.batch_size), arguments.seconds)
    batch = replay.sample(config.batch_size)
    priorities = rng.random(config.batch_size)
    update = seconds_a_call(lambda: replay.update_priorities(batch.indices, priorities), arguments.seconds / 10)
    share = add * STEPS_PER_SECOND / NUM_ENVS + (sample + update) * UPDATES_PER_SECOND
    return (
        f"| {name} | {add * 1e6:.0f} | {sample * 1e3:.2f} | {update * 1e6:.0f} | {100 * share:.1f} % "
        f"| {replay.bytes_per_transition:.0f} |"
    )


def main() -> None:
    """Measure each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--capacity", type=int, default=200_000)
    parser.add_argument("--state-size", type=int, default=640)
    parser.add_argument("--structured-size", type=int, default=128)
    parser.add_argument("--milestone-size", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--return-filter", type=float, default=1.0)
    arguments = parser.parse_args()
    config = ReplayConfig()
    rows = config.burn_in + config.sequence_length + 1
    print(f"{config.batch_size} sequences of {rows} rows, stack {FRAME_STACK}, {arguments.capacity:,} transitions\n")
    print(
        f"| replay | add {NUM_ENVS} rows, us | sample, ms | priorities, us | share of a second | bytes a transition |"
    )
    print("|---|---|---|---|---|---|")
    print(measure("uniform", arguments, prioritized=False, path=None))
    print(measure("prioritized", arguments, prioritized=True, path=None))
    with tempfile.TemporaryDirectory() as folder:
        print(measure("prioritized, file", arguments, prioritized=True, path=Path(folder) / "replay.bin"))


if __name__ == "__main__":
    main()
