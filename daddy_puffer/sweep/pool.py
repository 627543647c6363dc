"""Trials as processes side by side. In: run folders. Out: exit codes as they come; log files. Knows no searcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

LOG_FILE = "trial.log"
PROGRAM = (sys.executable, "-m", "daddy_puffer.sweep.trial")  # gets the folder and our process id
PASSING_CODES = (75, 120)  # of a trial that may go on later: EX_TEMPFAIL of sysexits.h, and Python's of a full disk
GRACE_SECONDS = 120.0  # to write a checkpoint


class Pool:
    """The running trials, as a context: at its end they are stopped and have their checkpoints.

    Every trial has a session of its own, so that Ctrl-C in a terminal reaches only the sweep, and so that whatever a
    trial leaves behind can be ended with it.
    """

    def __init__(self, threads: int) -> None:
        """`threads`: of the numeric libraries in each trial."""
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        self._environment = {**os.environ, **dict.fromkeys(names, str(threads)), "NO_COLOR": "1"}

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(0.0 if kind is KeyboardInterrupt else GRACE_SECONDS)

    @property
    def running(self) -> list[int]:
        """Numbers of the trials under way."""
        return list(self._running)

    def start(self, number: int, folder: Path) -> None:
        """Start a trial in its folder."""
        command = [*PROGRAM, str(folder), str(os.getpid())]
        with (folder / LOG_FILE).open("ab") as log:
            self._running[number] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment, start_new_session=True
            )

    def ended(self) -> list[tuple[int, int]]:
        """(number, exit code) of those that have ended since the last call; below 0: the signal that killed it."""
        found = [(number, code) for number, process in self._running.items() if (code := process.poll()) is not None]
        for number, _ in found:
            _kill_group(self._running.pop(number))
        return found

    def stop(self, grace_seconds: float) -> None:
        """Ask all to end, then end them."""
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + grace_seconds
        try:
            while time.monotonic() < until and any(process.poll() is None for process in self._running.values()):
                time.sleep(0.05)
        finally:  # a second Ctrl-C comes here at once
            for process in self._running.values():
                _kill_group(process)
                process.wait()
            self._running = {}


def why(code: int, log: Path) -> str:
    """One line on why a trial ended with `code`: what it said last, or the signal."""
    if code < 0:
        name = signal.Signals(-code).name if -code in {s.value for s in signal.Signals} else f"signal {-code}"
        return f"killed by {name}"
    if code > 128:
        return f"stopped from outside (exit code {code})"
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"exit code {code}"


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
