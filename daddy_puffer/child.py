"""What a process of ours does besides its work: it listens to its parent, and leaves with it or when told to.

In: one end of a pipe. Out: messages. Knows no environment and no network.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

ORPHAN_CHECK_SECONDS = 2.0
_HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def signals_held() -> Iterator[None]:
    """Start a process in here: signals to it wait until its `Parent` knows what to do with them.

    Otherwise one that reaches the whole group ends a process that has just begun. Those to the thread that starts it
    wait until the end; another thread may take what is meant for all of this process.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Parent:
    """The process that started this one, at the other end of `pipe`."""

    def __init__(self, pipe: Connection, pid: int, patient: bool = False):
        """`pid` of the parent. From now on signals do not end this process at once.

        Ctrl-C reaches the whole group, and Slurm signals every process of a job: the parent decides, and this process
        leaves when nothing more is asked of it for a while. A `patient` one stays until the parent says so or is gone.
        """
        self._pipe, self._pid = pipe, pid
        self._leaving: list[int] = []
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN if patient else lambda caught, _frame: self._leaving.append(caught))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEEDED)

    def hear(self) -> bytes | None:
        """The next message; None when it is time to leave."""
        while not self._pipe.poll(ORPHAN_CHECK_SECONDS):
            if self._leaving or os.getppid() != self._pid:
                return None
        try:
            return self._pipe.recv_bytes()
        except (EOFError, ConnectionError):
            return None  # the parent is gone


def cause_of_death(process: Any) -> str:
    """Of a `multiprocessing.Process` whose pipe has ended."""
    process.join(1.0)
    code = process.exitcode
    return f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
