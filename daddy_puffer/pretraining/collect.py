"""Plays speedruns of the practice cartridge from power-on and keeps what the screen showed, without the buttons.

In: a seed by run. Out: `FrameRun`s. The scripted player plays through title, intro and game to the last badge; routes
vary because every run draws how often a button is replaced by a random one, how often it wanders off, how long it plays
at random before the first real button, and how long the machine waits (which turns the game's dice). The same number
gives the same run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from daddy_puffer.envs.emulator import Emulator
from daddy_puffer.envs.rom import find_rom
from daddy_puffer.envs.scripted import Memory, ScriptedPlayer
from daddy_puffer.errors import UserError
from daddy_puffer.game import addresses as at
from daddy_puffer.pretraining.frames import (
    FRAMES_PER_SECOND,
    FrameRun,
    ManifestRow,
    RunFacts,
    pack,
    quantise,
    read_run,
    take_stock,
    write_manifest,
    write_run,
)
from daddy_puffer.types import Action

BOTH_BADGES = 3
STEPS_AFTER_THE_END = 30  # buttons after the last badge, so that the end is seen too
LONGEST_HOLD = 8  # steps that one button of a detour is held
LONGEST_DETOUR = 40  # steps
MOST_NOISE = 0.12  # share of buttons replaced
MOST_DETOURS = 0.01  # chance by step to begin one
MOST_WAITING = 120  # frames before the first button
MOST_TO_PRESS_THROUGH = 1000  # presses while the game ignores the joypad, as in `envs.red`


@dataclass(frozen=True, slots=True, kw_only=True)
class Collecting:
    """What to collect."""

    frames: int = 64_000  # at least, in all
    seed: int = 0
    test_every: int = 5  # runs: the first of so many is for testing
    frames_between: int = 24  # Game Boy frames from one kept frame to the next: one action of the agents
    most_steps: int = 3_000  # buttons of a run
    random_start_steps: int = 40  # random buttons before the first real one, at most

    def __post_init__(self) -> None:
        """Check ranges."""
        if min(self.frames, self.most_steps) < 1 or self.test_every < 2 or self.frames_between < 9:
            raise UserError(
                "frames and steps from 1, test runs one in 2 or more, 9 Game Boy frames or more between two frames "
                f"(a button is down for 8), got {self.frames, self.most_steps, self.test_every, self.frames_between}"
            )

    def split(self, number: int) -> str:
        """What run `number` (from 1) is for: of the first two, one for each."""
        return "test" if number % self.test_every == 1 else "train"


class Wanderer:
    """A scripted player that strays: random buttons at first, now and then, and for a while."""

    def __init__(self, rng: np.random.Generator, random_start_steps: int) -> None:
        self._player, self._rng = ScriptedPlayer(), rng
        self.noise = float(rng.uniform(0.0, MOST_NOISE))
        self.detours = float(rng.uniform(0.0, MOST_DETOURS))
        self._left = int(rng.integers(random_start_steps + 1))  # steps of the present detour
        self._held, self._hold = 0, 0  # button, and steps for which it is still held

    def act(self, memory: Memory) -> int:
        """The button for this moment."""
        wanted = int(self._player.act(memory))
        if self._left == 0 and self._rng.random() < self.detours:
            self._left = int(self._rng.integers(1, LONGEST_DETOUR + 1))
        if self._left > 0:
            self._left -= 1
            return self._stray()
        return int(self._rng.integers(len(Action))) if self._rng.random() < self.noise else wanted

    def _stray(self) -> int:
        if self._hold == 0:
            self._held, self._hold = int(self._rng.integers(len(Action))), int(self._rng.integers(1, LONGEST_HOLD + 1))
        self._hold -= 1
        return self._held


class _Reel:
    """The frames of a run, as they come."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator, self.clock = emulator, 0  # Game Boy frames since power-on
        self._frames: list[bytes] = []
        self._numbers: list[int] = []
        self._scene: list[tuple[int, ...]] = []

    def __len__(self) -> int:
        return len(self._frames)

    def press(self, action: int, frames: int) -> None:
        """One button; the last of `frames` is drawn and kept."""
        emulator, presses = self.emulator, 0
        emulator.tap(action, frames - 1)
        self.clock += frames
        while emulator.memory[at.JOY_IGNORE] and presses < MOST_TO_PRESS_THROUGH:
            emulator.tap(Action.A, frames)
            self.clock += frames
            presses += 1
        self.draw()

    def draw(self) -> None:
        """Draw and keep the frame that the clock stands at."""
        memory = self.emulator.memory
        self.emulator.render_frame()
        self._frames.append(pack(quantise(self.emulator.screen[:, :, 1])).tobytes())
        self._numbers.append(self.clock)
        self._scene.append((memory[at.MAP], memory[at.BADGES], memory[at.IS_IN_BATTLE]))

    def finish(self, facts: RunFacts) -> FrameRun:
        """The run."""
        numbers = np.array(self._numbers, np.int32)
        packed = np.frombuffer(b"".join(self._frames), np.uint8)
        return FrameRun(
            facts=facts,
            frames=packed.reshape(len(numbers), *pack(self.emulator.screen[:, :, 1]).shape),
            numbers=numbers,
            seconds=(numbers / FRAMES_PER_SECOND).astype(np.float32),
            scene=np.array(self._scene, np.uint8),
        )


def play_run(collecting: Collecting, number: int) -> FrameRun:
    """Play run `number` from power-on to some steps after the last badge."""
    rng = np.random.default_rng([collecting.seed, number])
    with contextlib.closing(Emulator(find_rom(""))) as emulator:
        reel, player = _Reel(emulator), Wanderer(rng, collecting.random_start_steps)
        reel.clock = waiting = int(rng.integers(1, MOST_WAITING + 1))
        emulator.wait(waiting - 1)
        reel.draw()
        after = 0
        while len(reel) <= collecting.most_steps and after < STEPS_AFTER_THE_END:
            reel.press(player.act(emulator.memory), collecting.frames_between)
            after += emulator.memory[at.BADGES] & BOTH_BADGES == BOTH_BADGES
        details = {**asdict(collecting), "noise": player.noise, "detours": player.detours, "finished": after > 0}
        facts = RunFacts(run=run_name(number), split=collecting.split(number), source="scripted", details=details)
        return reel.finish(facts)


def run_name(number: int) -> str:
    """Name of scripted run `number`."""
    return f"run_{number:05d}"


def collect(folder: Path, collecting: Collecting, say: Callable[[str], None]) -> Iterator[ManifestRow]:
    """Play until the folder has the frames; yields every run, also those that were there.

    Runs are numbered, and a run's number says all about it, so a collection that was killed goes on where it was.

    Raises:
        UserError: the folder holds runs that were collected in another way.
    """
    rows = take_stock(folder, say)
    _check_same(folder, collecting, rows)
    if rows:
        write_manifest(folder, rows)
    have, number = 0, 0
    while have < collecting.frames or number < 2:  # of the first two, one is for testing
        number += 1
        name = run_name(number)
        if name not in rows:
            run = play_run(collecting, number)
            rows[name] = ManifestRow.of(run, write_run(folder, run))
            write_manifest(folder, rows)
        have += rows[name].frames
        yield rows[name]


def _check_same(folder: Path, collecting: Collecting, rows: dict[str, ManifestRow]) -> None:
    for name in (name for name, row in sorted(rows.items()) if row.source == "scripted"):
        before = read_run(folder / f"{name}.npz").facts.details
        for key, value in asdict(collecting).items():
            if key != "frames" and before.get(key) != value:
                raise UserError(f"{folder} was collected with {key} {before.get(key)}, not {value}: give another --out")
        return
