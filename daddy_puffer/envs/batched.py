"""Many Game Boys in one process: `VecGameBoy` steps them side by side on threads.

In: a ROM, actions `[N]`. Out: pictures u8 `[N, height, width]` in an array of the caller's. Knows no game, no reward.

An emulator lets go of Python's lock while frames pass, and all frames of a step are one call of it, so that as many
cores work as there are threads. What comes out does not depend on which thread was faster: every emulator is stepped by
one thread at a time, and answers are collected before `step` returns. `Crew` holds the threads, also for others who
have numbered work to do; `player_ahead` is how the emulation of a whole environment's step is done on one of them.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from daddy_puffer.envs.emulator import Emulator
from daddy_puffer.envs.observation import pack_two_bit, screen_shape
from daddy_puffer.envs.red import RedEnv
from daddy_puffer.envs.rom import find_rom, find_state
from daddy_puffer.errors import UserError
from daddy_puffer.types import Action

Pictures = Literal["full", "reduced", "packed"]
SILENT_SECONDS = 60.0  # of an emulator that hangs
_JOIN_SECONDS = 5.0


Order = tuple[Callable[[int], None], Iterator[int]]  # work, and the numbers to do it for


class EmulatorError(RuntimeError):
    """An emulator failed; the message says which."""


class Crew:
    """Threads that do numbered work; who started it is told which number is done."""

    def __init__(self, num_threads: int) -> None:
        """Start `num_threads`; they end with `close` or with the process."""
        self._order: Order = (_nothing, iter(()))
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[int, Exception | None]] = queue.SimpleQueue()
        self._waited_for = 0
        self._threads = [
            threading.Thread(target=self._serve, daemon=True, name=f"emulators-{number}")
            for number in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def start(self, work: Callable[[int], None], numbers: Sequence[int]) -> None:
        """Let the threads do `work(number)` for each of the numbers, in about that order."""
        self._order = (work, iter(numbers))  # each takes the next one: `next` is atomic
        self._waited_for += len(numbers)
        for _ in self._threads[: len(numbers)]:
            self._orders.put(self._order)

    def next_done(self, timeout_seconds: float) -> tuple[int, Exception | None]:
        """Wait for the next piece of work to be done: its number, and what it raised.

        Raises:
            TimeoutError: nothing was done in that time.
        """
        try:
            done = self._done.get(timeout=timeout_seconds)
        except queue.Empty:
            raise TimeoutError(f"silent for {timeout_seconds:g} s") from None
        self._waited_for -= 1
        return done

    def finish(self, timeout_seconds: float) -> list[tuple[int, Exception]]:
        """Help with all that was started and wait for it; what was raised, by number.

        Raises:
            TimeoutError: nothing was done in that time.
        """
        # whoever only waits is woken for every piece of work, which costs as much as some frames
        self._work_through(*self._order)
        found = [self.next_done(timeout_seconds) for _ in range(self._waited_for)]
        return sorted(((number, error) for number, error in found if error is not None), key=lambda item: item[0])

    def close(self) -> bool:
        """End the threads; whether they ended in time. May be called twice."""
        for _ in self._threads:
            self._orders.put(None)
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        return not self._threads

    def _serve(self) -> None:
        while (order := self._orders.get()) is not None:
            self._work_through(*order)

    def _work_through(self, work: Callable[[int], None], rest: Iterator[int]) -> None:
        for number in rest:
            failure: Exception | None = RuntimeError("it was interrupted")  # Ctrl-C is for the main thread
            try:
                work(number)
                failure = None
            except Exception as error:
                failure = error
            finally:
                self._done.put((number, failure))


class VecGameBoy:
    """N Game Boys with the same ROM; see the module's text. Not to be used by several threads at once."""

    def __init__(
        self,
        rom: str | Path = "",
        num_envs: int = 1,
        frame_skip: int = 24,
        *,
        init_state: str = "",
        pictures: Pictures = "full",
        num_threads: int | None = None,
    ) -> None:
        """`rom`: empty = the practice cartridge; `init_state`: empty = its start, or power-on for another ROM.

        `frame_skip`: frames of a step; the last one is drawn. `pictures`: `full` 144 x 160 greys, `reduced` every
        second line and column, `packed` the same with four pixels a byte. `num_threads`: the caller's and so many less
        one beside it, by default one a core.

        Raises:
            UserError: ROM or state missing, damaged or of another version; a number out of range.
        """
        num_threads = _cores() if num_threads is None else num_threads
        for name, value in (("num_envs", num_envs), ("frame_skip", frame_skip), ("num_threads", num_threads)):
            if value < 1:
                raise UserError(f"{name} must be at least 1, got {value}")
        if pictures not in ("full", "reduced", "packed"):
            raise UserError(f"pictures must be full, reduced or packed, got {pictures!r}")
        self.num_envs, self.frame_skip = num_envs, frame_skip
        self._pictures = pictures
        found = find_rom(str(rom))
        start = find_state(init_state, found)
        self._closed = False
        self._crew = Crew(min(num_envs, num_threads) - 1)
        self._emulators: list[Emulator] = []
        try:
            for number in range(num_envs):
                self._emulators.append(Emulator(found))
                if number == 0 and start is not None:
                    self._emulators[0].load_state(start)  # once with care: whether it fits
            self._start = self._emulators[0].save_state() if start is None else start
        except BaseException:
            self.close()
            raise

    def obs_shape(self) -> tuple[int, int, int]:
        """Of `observations_out`: environments, height, width (bytes when packed)."""
        return self.num_envs, *screen_shape(self._pictures != "full", self._pictures == "packed")[:2]

    def reset(self, observations_out: NDArray[np.uint8], envs: Sequence[int] | None = None) -> None:
        """Bring all (or those) to the initial state, all buttons up; one frame passes, and is drawn."""
        self._check_open()
        self._check_pictures(observations_out)
        numbers = range(self.num_envs) if envs is None else [self._checked(env) for env in dict.fromkeys(envs)]

        def begin(number: int) -> None:
            emulator = self._emulators[number]
            emulator.load_state(self._start, way_back=False)
            emulator.render_frame()
            self._picture(emulator, observations_out[number])

        self._do(begin, numbers)

    def step(self, actions: NDArray[np.integer[Any]], observations_out: NDArray[np.uint8]) -> None:
        """Press a button each (`types.Action`, integers `[N]`) and let `frame_skip` frames pass.

        Raises:
            EmulatorError: one of them failed; the others have done the step.
        """
        self._check_open()
        self._check_actions(actions)
        self._check_pictures(observations_out)
        buttons: list[int] = actions.tolist()

        def play(number: int) -> None:
            emulator = self._emulators[number]
            emulator.play(buttons[number], self.frame_skip)
            self._picture(emulator, observations_out[number])

        self._do(play, range(self.num_envs))

    def save_state(self, env: int) -> bytes:
        """The whole machine of one."""
        self._check_open()
        return self._emulators[self._checked(env)].save_state()

    def load_state(self, env: int, state: bytes) -> None:
        """Let one become that machine, all buttons up; no frame passes.

        Raises:
            UserError: the state does not fit this emulator and ROM; the machine is as before.
        """
        self._check_open()
        emulator = self._emulators[self._checked(env)]
        try:
            emulator.load_state(state)
        except UserError as error:
            raise UserError(f"environment {env}: {error}") from error

    def close(self) -> None:
        """Switch all off and end the threads; may be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._crew.close():  # a machine that hangs cannot be switched off
            for emulator in self._emulators:
                emulator.close()

    def __enter__(self) -> VecGameBoy:
        """Use as a context that closes at its end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _do(self, work: Callable[[int], None], numbers: Sequence[int]) -> None:
        try:
            self._crew.finish(SILENT_SECONDS)  # what Ctrl-C has left undone
            self._crew.start(work, numbers)
            failed = self._crew.finish(SILENT_SECONDS)
        except TimeoutError as silence:
            raise EmulatorError(f"an environment has been {silence}: it hangs, or the machine is overloaded") from None
        if failed:
            number, error = failed[0]
            raise EmulatorError(f"environment {number} failed: {type(error).__name__}: {error}") from error

    def _picture(self, emulator: Emulator, out: NDArray[np.uint8]) -> None:
        greys = emulator.screen[:, :, 0]
        if self._pictures == "full":
            out[:] = greys
        elif self._pictures == "reduced":
            out[:] = greys[::2, ::2]
        else:
            out[:] = pack_two_bit(greys[::2, ::2])

    def _check_open(self) -> None:
        if self._closed:
            raise UserError("this VecGameBoy is closed")

    def _checked(self, env: int) -> int:
        if not 0 <= env < self.num_envs:
            raise UserError(f"there is no environment {env}: they are numbered 0 to {self.num_envs - 1}")
        return env

    def _check_pictures(self, out: Any) -> None:
        shape = self.obs_shape()
        if not isinstance(out, np.ndarray) or out.dtype != np.uint8 or out.shape != shape or not out.flags.writeable:
            raise UserError(f"observations_out must be a writable uint8 array of shape {shape}, got {_looks(out)}")

    def _check_actions(self, actions: Any) -> None:
        whole = isinstance(actions, np.ndarray) and actions.dtype.kind in "iu"
        if not whole or actions.shape != (self.num_envs,):
            raise UserError(f"actions must be an integer array of shape ({self.num_envs},), got {_looks(actions)}")
        if actions.min() < 0 or actions.max() >= len(Action):
            wrong = int(np.flatnonzero((actions < 0) | (actions >= len(Action)))[0])
            raise UserError(f"actions must be 0 to {len(Action) - 1}, got {actions[wrong]} for environment {wrong}")


def player_ahead(env: gymnasium.Env[Any, Any]) -> Callable[[int], None] | None:
    """What lets the frames of an action pass before `env.step(action)` is called, on any thread; None if nothing can.

    The step must be the next thing asked of the environment, and skips those frames. Frames that the game decides on
    (scripted walks, which are pressed through) are left to it, as is the one that is drawn.
    """
    game = env.unwrapped
    if not isinstance(game, RedEnv):
        return None
    emulator, frames = game._emulator, game.action_freq - 1  # its own folder may: nobody else plays it ahead
    return lambda action: emulator.tap_ahead(action, frames)


def _nothing(_: int) -> None:
    """No work."""


def _cores() -> int:
    """Cores that this process may use."""
    with contextlib.suppress(AttributeError):  # only Linux tells
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _looks(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{'' if value.flags.writeable else 'read-only '}{value.dtype} of shape {value.shape}"
    return f"a {type(value).__name__}"
