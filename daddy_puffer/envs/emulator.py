"""One headless Game Boy: buttons in, picture and memory out. The only file that talks to PyBoy.

Save states belong to the emulator's version: one of another version or game is named as such, and the emulator stays
as it was. All buttons are up after a state is loaded (PyBoy does not save them).
"""

from __future__ import annotations

import faulthandler
import io
import os
import signal
import time
import warnings
from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PySDL2 announces its binaries; there is no window here
    from pyboy import PyBoy
    from pyboy.utils import PyBoyException, WindowEvent

from daddy_puffer.envs.rom import Rom
from daddy_puffer.errors import UserError
from daddy_puffer.types import Action

PRESS = {
    Action.DOWN: WindowEvent.PRESS_ARROW_DOWN,
    Action.LEFT: WindowEvent.PRESS_ARROW_LEFT,
    Action.RIGHT: WindowEvent.PRESS_ARROW_RIGHT,
    Action.UP: WindowEvent.PRESS_ARROW_UP,
    Action.A: WindowEvent.PRESS_BUTTON_A,
    Action.B: WindowEvent.PRESS_BUTTON_B,
    Action.START: WindowEvent.PRESS_BUTTON_START,
}
RELEASE = {
    Action.DOWN: WindowEvent.RELEASE_ARROW_DOWN,
    Action.LEFT: WindowEvent.RELEASE_ARROW_LEFT,
    Action.RIGHT: WindowEvent.RELEASE_ARROW_RIGHT,
    Action.UP: WindowEvent.RELEASE_ARROW_UP,
    Action.A: WindowEvent.RELEASE_BUTTON_A,
    Action.B: WindowEvent.RELEASE_BUTTON_B,
    Action.START: WindowEvent.RELEASE_BUTTON_START,
}
LOAD_ERRORS = (PyBoyException, ValueError, IndexError, KeyError, OverflowError, TypeError, EOFError)
PROBE_FRAMES = 4  # that a new state must live through before it is trusted
PROBE_SECONDS = 10.0  # in which it must; they take 10 ms
KNOWN_GOOD_STATES = 10_000  # of which it is remembered that they run; more would grow for as long as a run lasts
HOLD_FRAMES = 8  # a button is down so long; what upstream does


class Memory(Protocol):
    """The emulator's address space: one byte by address, many by slice."""

    def __getitem__(self, key: Any, /) -> Any:
        """A byte, or a list of bytes."""
        ...


def save_machine(pyboy: Any) -> bytes:
    """A PyBoy's whole machine as a save state."""
    target = io.BytesIO()
    pyboy.save_state(target)
    return target.getvalue()


def release_buttons(pyboy: Any) -> None:
    """All buttons of a PyBoy up."""
    for event in RELEASE.values():
        pyboy.send_input(event)


class Emulator:
    """A Game Boy with one ROM in it."""

    def __init__(self, rom: Rom) -> None:
        """Power on without a window or sound."""
        # as bytes, not as a path: PyBoy would read a .ram file beside the ROM, and nothing outside may decide a run
        rom_image = io.BytesIO(rom.path.read_bytes())
        self._pyboy = PyBoy(rom_image, window="null", sound_emulated=False, cgb=False, log_level="CRITICAL")
        self._pyboy.set_emulation_speed(0)
        self.rom = rom
        self.memory = cast(Memory, self._pyboy.memory)
        self.screen: NDArray[np.uint8] = self._pyboy.screen.ndarray  # u8 (144, 160, 4), a live view
        self._press = [PRESS[action] for action in Action]
        self._release = [RELEASE[action] for action in Action]
        self._known_good: dict[int, None] = {}  # hashes of states, the newest last
        self._ahead: tuple[int, int] | None = None  # action and frames of a tap that is done before it is asked for

    def tap(self, action: int, frames: int) -> None:
        """Press, release after 8 frames, and let `frames` pass in all, unrendered."""
        if self._ahead is not None:
            done, self._ahead = self._ahead, None
            if done != (action, frames):
                raise RuntimeError(f"action and frames {done} were played ahead, asked for is {(action, frames)}")
            return
        self._hold(action, HOLD_FRAMES)
        self._pyboy.tick(frames, False, False)

    def tap_ahead(self, action: int, frames: int) -> None:
        """Do the next `tap` now, on any thread; it has to be the same one, and takes no time then."""
        self.tap(action, frames)
        self._ahead = (int(action), frames)

    def play(self, action: int, frames: int) -> None:
        """Press, release after 8 frames at most, let `frames` pass in all, and draw the last one to `screen`.

        One call of the emulator, which lets go of Python's lock meanwhile.
        """
        self._hold(action, min(frames, HOLD_FRAMES))
        self._pyboy.tick(frames, True, False)

    def _hold(self, action: int, frames: int) -> None:
        self._pyboy.send_input(self._press[action])
        self._pyboy.send_input(self._release[action], delay=frames)

    def render_frame(self) -> None:
        """One more frame, drawn to `screen`."""
        self._pyboy.tick(1, True, False)

    def wait(self, frames: int) -> None:
        """Let frames pass unrendered, no button."""
        self._pyboy.tick(frames, False, False)

    def save_state(self) -> bytes:
        """The whole machine."""
        state = save_machine(self._pyboy)
        self._note_good(state)
        return state

    def load_state(self, state: bytes, way_back: bool = True) -> None:
        """Become that machine, with all buttons up.

        Raises:
            UserError: no save state of this emulator version and ROM, or one with which it does not run; the machine
                is as before. Without `way_back`, which is for states known to be whole, it is not tried whether it
                runs, and after an error it has to be loaded anew.
        """
        self._ahead = None
        # saving takes 30 ms: a state that has loaded before, or was saved here, needs no way back
        known = hash(state) in self._known_good
        before = self.save_state() if way_back and not known else None
        try:
            self._pyboy.load_state(io.BytesIO(state))
            if way_back and not known and not self._runs():
                raise ValueError("the machine crashes or hangs")
        except LOAD_ERRORS as error:
            if before is not None:
                self._pyboy.load_state(io.BytesIO(before))
            raise UserError(
                f"save state of {len(state)} bytes does not fit PyBoy 2.7.0 and ROM {self.rom.title!r} "
                f"({type(error).__name__}: {' '.join(str(error).split())[:100]}): make it anew with this version"
            ) from error
        self._note_good(state)
        release_buttons(self._pyboy)

    def _note_good(self, state: bytes) -> None:
        self._known_good.pop(hash(state), None)
        self._known_good[hash(state)] = None
        if len(self._known_good) > KNOWN_GOOD_STATES:
            del self._known_good[next(iter(self._known_good))]

    def _runs(self) -> bool:
        """Whether the machine lives through some frames, tried in a fork of this process.

        A damaged clock makes PyBoy loop for ever, in compiled code that nothing interrupts.
        """
        if not hasattr(os, "fork"):
            return True
        child = os.fork()
        if not child:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                faulthandler.disable()  # that it may crash is what it is for
                self._pyboy.tick(PROBE_FRAMES, True, False)
                os._exit(0)
            finally:
                os._exit(1)
        pause, until = 0.001, time.monotonic() + PROBE_SECONDS
        while time.monotonic() < until:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return status == 0
            time.sleep(pause)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return False

    def memory_image(self) -> bytes:
        """All 65,536 bytes of the address space."""
        return bytes(cast(Sequence[int], self.memory[0x0000:0x10000]))

    def close(self) -> None:
        """Switch off; nothing is written beside the ROM."""
        self._pyboy.stop(save=False)
