"""The data of one moment of a run, for as many browsers as there are.

In: a run folder, what a browser has already. Out: plain dicts for JSON, small: only what is new. Knows no HTTP.
"""

from __future__ import annotations

import base64
import threading
import time
from pathlib import Path
from typing import Any

from daddy_puffer.report.runs import Run, load_run
from daddy_puffer.telemetry.live import LiveReader
from daddy_puffer.types import PACKED_WIDTH, SCREEN_HEIGHT
from daddy_puffer.watch.curves import curves
from daddy_puffer.watch.world import other_world, practice_world

REREAD_SECONDS = 2.0  # between two looks at the tables at least
READING_SHARE = 0.02  # of one core at most: a long run's tables are read more seldom
SILENT_SECONDS = 15.0  # without a look until a run is no longer called running
WATCHED_FILES = ("episodes.csv", "metrics.csv", "progress.csv", "events.jsonl", "meta.json", "config.yaml")


class Moment:
    """Reads a run folder again and again, never more often than it pays."""

    def __init__(self, folder: Path) -> None:
        """Read it once.

        Raises:
            UserError: it is no run.
        """
        self.folder = folder
        self._live = LiveReader(folder / "live")
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] = ()
        self._next_read = 0.0
        self._version = 0
        self._newest = 0.0  # time of the newest look
        self._run: Run = load_run(folder)
        self._curves: dict[str, Any] = {}
        self._refresh()

    def world(self) -> dict[str, Any]:
        """Where the maps lie."""
        return practice_world() if self._run.is_practice else other_world()

    def live(self, session: int, since: int, screens_since: int) -> dict[str, Any]:
        """Looks after number `since` of `session`, and the screens if they are newer than number `screens_since`."""
        found, envs, looks = self._live.looks(since, session)
        if found != session:
            screens_since = -1
        shown, screens = self._live.screens()
        newer = screens is not None and screens.number > screens_since
        self._newest = max([self._newest, *(look.seconds for look in looks)])
        return {
            "now": time.time(),
            "session": found,
            "envs": envs,
            "looks": [[look.number, look.seconds, look.step, _text(look.payload)] for look in looks],
            "screens": {
                "number": screens.number,
                "step": screens.step,
                "count": shown,
                "height": SCREEN_HEIGHT,
                "row_bytes": PACKED_WIDTH,
                "pixels": _text(screens.payload),
            }
            if newer and screens is not None
            else None,
            "state": self._state(),
        }

    def curves(self, version: int) -> dict[str, Any]:
        """The curves, or only their version where the browser has it."""
        self._refresh()
        with self._lock:
            return {"version": self._version} | (self._curves if version != self._version else {})

    def _state(self) -> str:
        """Running, finished, silent, or waiting for the first look; `finished` is what the run said itself."""
        if self._run.has_stopped:
            return "finished"
        if time.time() - self._newest < SILENT_SECONDS:
            return "running"
        return "silent" if self._newest or self._run.last_step else "waiting"

    def _refresh(self) -> None:
        """Read the tables if they have changed and the last time is long enough ago."""
        with self._lock:
            began = time.monotonic()
            if began < self._next_read:
                return
            stamp = self._stamps()
            if stamp != self._stamp:
                self._run = load_run(self.folder)
                self._curves = curves(self._run)
                self._stamp, self._version = stamp, self._version + 1
            spent = time.monotonic() - began
            self._next_read = began + max(REREAD_SECONDS, spent / READING_SHARE)

    def _stamps(self) -> tuple[int, ...]:
        found: list[int] = []
        for name in WATCHED_FILES:
            try:
                facts = (self.folder / name).stat()
                found += (facts.st_mtime_ns, facts.st_size)
            except OSError:
                found += (0, 0)
        return tuple(found)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
