"""Speed of acting and of one update, on one thread: prints rows of a Markdown table.

In: the default configuration, random observations. Out: for each model size milliseconds to act for 8 environments,
milliseconds of one update (burn-in, unrolls, backward pass, optimiser), trained rows a second. The best of many
repeats is taken, since other programs only ever make it slower.

Run: `python benchmarks/learner_speed.py [--frame-stack 4] [--device cpu] [--threads 1] [--seconds 5]`
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from gymnasium import spaces

from daddy_puffer.config import Config
from daddy_puffer.game.features import FEATURE_COUNT, ID_FIELDS
from daddy_puffer.learner.learner import Learner
from daddy_puffer.types import PACKED_WIDTH, SCREEN_HEIGHT, VISITED_SHAPE, Action, Array, SequenceBatch

NUM_ENVS = 8
MILESTONE_BYTES = 16


def make_space(stack: int) -> spaces.Dict:
    """The pipeline's observation, as far as the network sees it."""
    box = spaces.Box
    return spaces.Dict(
        {
            "frames": box(0, 255, (stack, SCREEN_HEIGHT, PACKED_WIDTH), np.uint8),
            "visited": box(0, 255, VISITED_SHAPE, np.uint8),
            "structured": box(-np.inf, np.inf, (FEATURE_COUNT,), np.float32),
            "milestones": box(0, 255, (MILESTONE_BYTES,), np.uint8),
        }
    )


def make_observation(leading: tuple[int, ...], stack: int, rng: np.random.Generator) -> dict[str, Array]:
    """Random ones with these leading axes."""
    structured = rng.uniform(-1, 1, (*leading, FEATURE_COUNT)).astype(np.float32)
    for _, field, count in ID_FIELDS:
        structured[..., field] = rng.integers(0, count, leading)
    return {
        "frames": rng.integers(0, 256, (*leading, stack, SCREEN_HEIGHT, PACKED_WIDTH), dtype=np.uint8),
        "visited": rng.integers(0, 2, (*leading, *VISITED_SHAPE), dtype=np.uint8),
        "structured": structured,
        "milestones": rng.integers(0, 256, (*leading, MILESTONE_BYTES), dtype=np.uint8),
    }


def make_batch(config: Config, state_size: int, rng: np.random.Generator) -> SequenceBatch:
    """Sequences as replay gives them; a reset in one of a hundred rows."""
    rows = config.replay.burn_in + config.replay.sequence_length + 1
    size = config.replay.batch_size
    first = rng.random((rows, size)) < 0.01
    mask = ~np.roll(first, -1, axis=0)
    mask[-1] = False
    return SequenceBatch(
        **make_observation((rows, size), config.env.frame_stack, rng),
        action=rng.integers(0, len(Action), (rows, size)),
        reward=rng.normal(size=(rows, size)).astype(np.float32),
        terminated=np.zeros((rows, size), bool),
        truncated=np.zeros((rows, size), bool),
        first=first,
        mask=mask,
        state=np.zeros((size, state_size), np.float32),
        weights=np.ones(size, np.float32),
        indices=np.arange(size),
        age=np.zeros(size, np.int64),
    )


def best_milliseconds(call: Callable[[], object], seconds: float) -> float:
    """Shortest time of `call` within so many seconds, after a warm-up."""
    call()
    call()
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - started)
    return 1000 * best


def measure(model_size: str, stack: int, device: str, seconds: float) -> tuple[int, float, float, float]:
    """Parameters, milliseconds to act, milliseconds of an update, trained rows a second."""
    config = Config()
    config = replace(
        config,
        policy=replace(config.policy, model_size=model_size),
        env=replace(config.env, frame_stack=stack),
        train=replace(config.train, device=device),
    )
    learner = Learner(config, make_space(stack), len(Action))
    rng = np.random.default_rng(0)
    observation = make_observation((NUM_ENVS,), stack, rng)
    first, epsilon = np.zeros(NUM_ENVS, bool), np.full(NUM_ENVS, 0.1, np.float32)
    state = learner.initial_state(NUM_ENVS)
    batch = make_batch(config, learner.state_size, rng)
    act = best_milliseconds(lambda: learner.act(observation, first, state, epsilon), seconds / 4)
    update = best_milliseconds(lambda: learner.update(batch), seconds)
    rows = config.replay.batch_size * config.replay.sequence_length
    return learner.parameter_count, act, update, 1000 * rows / update


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frame-stack", type=int, default=Config().env.frame_stack)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each model size")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    replay = Config().replay
    rows = replay.burn_in + replay.sequence_length + 1
    print(f"| model ({options.device}, {options.threads} threads, {options.frame_stack} frames) | parameters ", end="")
    print(f"| act, {NUM_ENVS} envs (ms) | update, {replay.batch_size} x {rows} rows (ms) | trained rows/s |")
    print("|---|---|---|---|---|")
    for size in ("slim", "large"):
        count, act, update, speed = measure(size, options.frame_stack, options.device, options.seconds)
        print(f"| {size} | {count:,} | {act:.2f} | {update:.1f} | {speed:,.0f} |")


if __name__ == "__main__":
    main()
