"""Stopping a run from outside: a first Ctrl-C, SIGTERM or SIGUSR1 asks it to finish, a second Ctrl-C interrupts it.

In: signals. Out: `StopSignals.received`, read by the loop, and the exit code the shell expects (128 + number).
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # the last: Slurm's warning before the time limit


class StopSignals:
    """A context in which the watched signals only leave a note; handlers are put back at its end.

    Outside the main thread Python allows no handlers: there it does nothing.
    """

    def __init__(self) -> None:
        """Nothing received yet."""
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in WATCHED:
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Put the previous handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    @property
    def exit_code(self) -> int:
        """0, or what a shell reports for a program ended by the signal: 130 Ctrl-C, 143 SIGTERM, 138 SIGUSR1."""
        return 0 if self.received is None else 128 + self.received

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
