"""Many processes register and draw save states in one folder, and are killed at random moments.

Prints one Markdown row and leaves with code 1 when anything is wrong: a state drawn that is not whole, one in
quarantine that nobody damaged, counts that do not agree, more states than the limit allows.

    python benchmarks/registry_stress.py --processes 8 --minutes 10
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from daddy_puffer.swarm import Chain, Machine, SavedState, StateFacts, StateRegistry

MACHINE = Machine(rom_sha256="rom", start_sha256="start", action_freq=24, emulator="none")
MAX_STATES = 60
KILL_SECONDS, DAMAGE_SECONDS = 0.25, 2.0
ENTERED, DONE, REGISTERED, LOADED, GONE = range(5)  # columns of the shared counters


def open_folder(folder: Path) -> StateRegistry:
    return StateRegistry(folder, MACHINE, max_states=MAX_STATES, max_bytes=10_000_000, rescan_seconds=0.05)


def make_state(rng: np.random.Generator) -> tuple[bytes, StateFacts, Chain]:
    """A state that says itself what its sidecar must say."""
    cell, steps = int(rng.integers(40)), int(rng.integers(1, 500))
    head = json.dumps([cell, steps]).encode() + b"\n"
    facts = StateFacts(
        label=f"Place {cell}", cell=str(cell), map_id=cell, map_name=f"Place{cell}", badges=0, episode_steps=steps,
        milestones=["m"] * (cell // 10), total_steps=steps, parent="", maker=str(os.getpid()),
    )  # fmt: skip
    chain = Chain.empty().then(3, rng.integers(0, 7, steps).astype(np.uint8).tobytes(), np.zeros((0, 3), np.uint8))
    return head + rng.bytes(int(rng.integers(1000, 160_000))), facts, chain


def check(saved: SavedState, state: bytes, chain: Chain) -> None:
    """A state that was drawn is that of its sidecar.

    Raises:
        AssertionError: it is not.
    """
    cell, steps = json.loads(state[: state.index(b"\n")])
    assert (str(cell), steps) == (saved.cell, saved.total_steps), f"{saved.tag}: {cell} {steps}"
    assert len(chain.actions) == steps and len(state) < saved.size, saved.tag


def work(folder: Path, seed: int, counters: Any) -> None:
    """One process: register and draw for ever."""
    logging.disable(logging.CRITICAL)
    rng = np.random.default_rng(seed)
    registry = open_folder(folder)
    while True:
        registry.refresh(force=bool(rng.random() < 0.2))
        states = registry.states()
        if not states or rng.random() < 0.3:
            registry.register(*make_state(rng))
            counters[REGISTERED] += 1
            continue
        saved = states[rng.integers(len(states))]
        loaded = registry.load(saved)
        counters[LOADED if loaded else GONE] += 1
        if loaded:
            check(saved, *loaded)
            counters[ENTERED] += 1
            registry.outcomes.draw(saved.tag)
            registry.outcomes.end(saved.tag, bool(rng.random() < 0.5), bool(rng.random() < 0.1), {saved.cell})
            counters[DONE] += 1


class Swarm:
    """The processes; who is killed is born again."""

    def __init__(self, folder: Path, processes: int) -> None:
        self.folder = folder
        self._context: Any = multiprocessing.get_context("fork")
        self.counters = [self._context.RawArray("q", 5) for _ in range(processes)]
        self.born = self.killed = 0
        self.failed: list[str] = []
        self._members = [self._start(slot) for slot in range(processes)]

    def _start(self, slot: int) -> Any:
        self.born += 1
        process = self._context.Process(
            target=work, args=(self.folder, self.born, self.counters[slot]), daemon=True, name=f"member {slot}"
        )
        process.start()
        return process

    def kill(self, slot: int, again: bool = True) -> None:
        process = self._members[slot]
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            self.killed += 1
        process.join()
        if process.exitcode != -signal.SIGKILL:
            self.failed.append(f"{process.name} left with exit code {process.exitcode}")
        if again:
            self._members[slot] = self._start(slot)

    def total(self, column: int) -> int:
        return sum(counter[column] for counter in self.counters)


def damage(folder: Path, rng: np.random.Generator) -> str:
    """Cut a state's file in half, as a full disk would; returns its tag."""
    files = sorted(folder.glob("*.state"))
    if not files:
        return ""
    victim = files[rng.integers(len(files))]
    try:
        data = victim.read_bytes()
        with victim.open("r+b") as file:
            file.truncate(len(data) // 2)
    except FileNotFoundError:
        return ""
    return victim.name.removesuffix(".state")


def verdict(swarm: Swarm, damaged: set[str]) -> list[str]:
    """What is wrong in the folder that the swarm left."""
    wrong = list(swarm.failed)
    registry = open_folder(swarm.folder)
    registry.refresh(force=True)
    for saved in registry.states():
        loaded = registry.load(saved)
        if loaded is not None:
            check(saved, *loaded)
    aside = {path.stem for path in (swarm.folder / "quarantine").glob("*.txt")}
    wrong += [f"{tag} is in quarantine, and nobody damaged it" for tag in aside - damaged]
    whole = registry.states()
    sidecars = {path.stem for path in swarm.folder.glob("*.json")}
    if {saved.tag for saved in whole} != sidecars:
        wrong.append(f"{len(whole)} states in the index, {len(sidecars)} sidecars in the folder")
    if len(whole) > MAX_STATES + len(swarm.counters):
        wrong.append(f"{len(whole)} states are more than {MAX_STATES} and one for each process")
    tallies = registry.outcomes.read()
    for kind, counted in (("drawn", tallies.drawn), ("ended", tallies.ended), ("seen", tallies.seen)):
        number, least, most = sum(counted.values()), swarm.total(DONE), swarm.total(ENTERED)
        if not least <= number <= most:
            wrong.append(f"{kind}: {number} counted, between {least} and {most} happened")
    if sum(tallies.gained.values()) > sum(tallies.ended.values()):
        wrong.append("more episodes gained something than ended")
    return wrong


def stress(folder: Path, processes: int, seconds: float, seed: int = 0) -> list[str]:
    """Run the swarm; prints what it did, returns what is wrong."""
    logging.disable(logging.CRITICAL)
    rng = np.random.default_rng(seed)
    swarm = Swarm(folder, processes)
    damaged: set[str] = set()
    started = time.monotonic()
    next_damage = started + DAMAGE_SECONDS / 2
    while time.monotonic() - started < seconds:
        time.sleep(float(rng.exponential(KILL_SECONDS)))
        swarm.kill(int(rng.integers(processes)))
        if time.monotonic() >= next_damage:
            next_damage += DAMAGE_SECONDS
            damaged.add(damage(folder, rng))
    for slot in range(processes):
        swarm.kill(slot, again=False)
    wrong = verdict(swarm, damaged)
    cells = (
        f"{processes} processes, {seconds:.0f} s",
        f"{swarm.total(REGISTERED)} registered",
        f"{swarm.total(LOADED)} drawn",
        f"{swarm.total(GONE)} gone before they could be",
        f"{swarm.killed} kills",
        f"{len(damaged)} damaged",
        f"{len(wrong)} wrong",
    )
    print(f"| {' | '.join(cells)} |")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = stress(Path(folder), options.processes, 60 * options.minutes, options.seed)
    for line in wrong[:20]:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
