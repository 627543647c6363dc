"""Frames per second of many emulators on one machine: threads, processes, and the bare emulator times the cores.

Run: `python benchmarks/batched_fps.py [--seconds S] [--rounds R] [--envs 1,2,4,...] [--workers W]`, on a quiet machine.
Random buttons from the practice cartridge's start state, 24 frames a step, the last one drawn. Every runner has its
turn of S seconds in each of R rounds, forwards and backwards by turns; a figure is the median over its rounds, and a
ratio the median of the ratios within a round, so that what else the machine does falls on all alike.

The first table is of pictures alone. Bare: one PyBoy in a loop of this process, no more; `ceiling` is that times the
cores this process may use. Threads: `envs.VecGameBoy`. Processes: as many, each with its share of the emulators and a
loop around PyBoy, pictures in shared memory, one message to and fro a step. The second is of whole environments as
training steps them (rewards, features, packed observations), by `train.vectorization`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from daddy_puffer.config import Config, EnvConfig, TrainConfig
from daddy_puffer.envs.batched import VecGameBoy
from daddy_puffer.envs.emulator import HOLD_FRAMES, PRESS, RELEASE, PyBoy
from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, packaged
from daddy_puffer.types import Action
from daddy_puffer.vector import make_vector

FRAMES = 24  # of a step
HEIGHT, WIDTH = 144, 160
KINDS = ("serial", "multiprocessing", "threads")
Step = Callable[[np.ndarray], object]
Figures = dict[str, list[float]]  # by runner: one for each round


def bare_pyboy() -> Callable[[int], np.ndarray]:
    """One emulator and nothing else; its picture is a view."""
    pyboy = PyBoy(io.BytesIO(packaged(PRACTICE_ROM).read_bytes()), window="null", sound_emulated=False, cgb=False)
    pyboy.set_emulation_speed(0)
    pyboy.load_state(io.BytesIO(packaged(PRACTICE_START).read_bytes()))
    press, release = [PRESS[action] for action in Action], [RELEASE[action] for action in Action]
    picture: np.ndarray = pyboy.screen.ndarray[:, :, 0]

    def step(action: int) -> np.ndarray:
        pyboy.send_input(press[action])
        pyboy.send_input(release[action], delay=HOLD_FRAMES)
        pyboy.tick(FRAMES, True, False)
        return picture

    return step


def work(pipe: Any, raw: Any, rows: range) -> None:
    """A process of `processes`: step the emulators of its rows until it is told nothing any more."""
    pictures = np.frombuffer(raw, np.uint8).reshape(-1, HEIGHT, WIDTH)
    steps = [bare_pyboy() for _ in rows]
    pipe.send_bytes(b"ready")
    while actions := pipe.recv_bytes():
        for row, action, step in zip(rows, actions, steps, strict=True):
            pictures[row] = step(action)
        pipe.send_bytes(b"done")


@contextlib.contextmanager
def processes(num_envs: int, num_workers: int) -> Iterator[Step]:
    """What VecGameBoy does, in processes."""
    context = multiprocessing.get_context("spawn")
    raw = context.RawArray("B", num_envs * HEIGHT * WIDTH)
    pictures = np.frombuffer(raw, np.uint8).reshape(num_envs, HEIGHT, WIDTH)
    out = np.zeros_like(pictures)
    shares = [range(start, num_envs, num_workers) for start in range(min(num_workers, num_envs))]
    pipes, workers = [], []
    for rows in shares:
        ours, theirs = context.Pipe()
        workers.append(context.Process(target=work, args=(theirs, raw, rows), daemon=True))
        workers[-1].start()
        theirs.close()  # so that the end of the worker is the end of the pipe
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv_bytes()

    def step(actions: np.ndarray) -> None:
        for pipe, rows in zip(pipes, shares, strict=True):
            pipe.send_bytes(bytes(actions[rows.start :: num_workers].tolist()))
        for pipe in pipes:
            pipe.recv_bytes()
        out[:] = pictures  # the workers overwrite theirs

    yield step
    for pipe, worker in zip(pipes, workers, strict=True):
        pipe.send_bytes(b"")
        worker.join()


@contextlib.contextmanager
def threads(num_envs: int, num_workers: int) -> Iterator[Step]:
    """`VecGameBoy`."""
    with VecGameBoy("", num_envs, FRAMES, num_threads=num_workers) as games:
        out = np.zeros(games.obs_shape(), np.uint8)
        games.reset(out)
        yield lambda actions: games.step(actions, out)


@contextlib.contextmanager
def whole(kind: str, num_envs: int, num_workers: int) -> Iterator[Step]:
    """The environments of training."""
    workers = min(num_envs, num_workers)
    train = TrainConfig(num_envs=num_envs, num_workers=workers, vectorization=kind, record_episodes="none")
    with make_vector(Config(env=EnvConfig(max_steps=10**6), train=train)) as vector:
        vector.reset(0)
        yield vector.step


def frames_per_second(step: Step, actions: np.ndarray, seconds: float) -> float:
    """Frames of all environments together in a second of wall time."""
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        step(actions[steps % len(actions)])
        steps += 1
    return steps * actions.shape[1] * FRAMES / (time.perf_counter() - start)


def measure(runners: dict[str, tuple[Step, int]], seconds: float, rounds: int) -> Figures:
    """Rounds of turns; a runner is its step and for how many environments it is. The first round warms up."""
    rng = np.random.default_rng(0)
    actions = {name: rng.integers(0, len(Action), (500, count)) for name, (_, count) in runners.items()}
    figures: Figures = {name: [] for name in runners}
    for round_index in range(rounds + 1):
        names = list(runners) if round_index % 2 else list(runners)[::-1]
        for name in names:
            figure = frames_per_second(runners[name][0], actions[name], seconds if round_index else seconds / 4)
            if round_index:
                figures[name].append(figure)
    return figures


def ratio(figures: Figures, one: str, other: str) -> float:
    """Median over the rounds of how many times as fast `one` is."""
    return statistics.median(a / b for a, b in zip(figures[one], figures[other], strict=True))


def table_of_pictures(counts: list[int], cores: int, workers: int, seconds: float, rounds: int) -> None:
    """Emulators and their pictures."""
    print("| envs | bare, one core | threads | processes | of the ceiling: threads | processes | threads / processes |")
    print("|---|---|---|---|---|---|---|")
    for count in counts:
        alone = bare_pyboy()
        with threads(count, workers) as on_threads, processes(count, workers) as in_processes:
            runners: dict[str, tuple[Step, int]] = {
                "bare": (lambda actions, alone=alone: alone(int(actions[0])), 1),  # type: ignore[misc]
                "threads": (on_threads, count),
                "processes": (in_processes, count),
            }
            figures = measure(runners, seconds, rounds)
        usable = min(cores, count)
        speeds = " | ".join(f"{statistics.median(figures[name]):,.0f}" for name in runners)
        shares = " | ".join(f"{ratio(figures, name, 'bare') / usable:.2f}" for name in ("threads", "processes"))
        print(f"| {count} | {speeds} | {shares} | {ratio(figures, 'threads', 'processes'):.2f} |", flush=True)


def table_of_environments(counts: list[int], workers: int, seconds: float, rounds: int) -> None:
    """Whole environments."""
    print("| envs | serial | multiprocessing | threads | multiprocessing / serial | threads / serial |")
    print("|---|---|---|---|---|---|")
    for count in counts:
        if count % min(count, workers):
            continue  # processes take equal shares
        with contextlib.ExitStack() as stack:
            runners = {kind: (stack.enter_context(whole(kind, count, workers)), count) for kind in KINDS}
            figures = measure(runners, seconds, rounds)
        speeds = " | ".join(f"{statistics.median(figures[kind]):,.0f}" for kind in KINDS)
        ratios = " | ".join(f"{ratio(figures, kind, 'serial'):.2f}" for kind in KINDS[1:])
        print(f"| {count} | {speeds} | {ratios} |", flush=True)


def main() -> None:
    """Measure and print."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a runner's turn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--envs", default="1,2,4,8,16,32", help="numbers of environments")
    parser.add_argument("--workers", type=int, default=cores, help="threads, and processes; default: one a core")
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.envs.split(",")]
    how = f"median of {arguments.rounds} rounds of {arguments.seconds:g} s, {arguments.workers} workers, {cores} cores"
    print(f"Frames per second of pictures alone; {how}; the ceiling is bare x min(cores, envs)\n")
    table_of_pictures(counts, cores, arguments.workers, arguments.seconds, arguments.rounds)
    print(f"\nFrames per second of whole environments; {how}\n")
    table_of_environments(counts, arguments.workers, arguments.seconds, arguments.rounds)


if __name__ == "__main__":
    main()
