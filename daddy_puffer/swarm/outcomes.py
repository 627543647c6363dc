"""What came of the states that were drawn: counts that many processes add to and all of them read.

In: one event at a time. Out: `Tallies`, the sums over everybody. Every process appends lines of JSON to a file of its
own, one `write` each, so that a process killed in between leaves at most a torn last line, which readers leave alone.
A file that has grown is replaced by its sum in one step; readers see another inode and count it anew.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daddy_puffer.files import replacing

_LARGEST_BYTES = 1 << 20  # of one process's file, before it is summed up
_LARGEST_COUNT = 1 << 53  # of one line: no honest one comes near
_REMEMBERED = 64  # trials by tag: what is older counts less than 4 % with a forgetting of 0.95
_KINDS = ("drawn", "ended", "gained", "found", "seen")
_BY_TAG = ("drawn", "ended", "gained", "found")
EVICTED = "evicted"  # instead of the tags of states that are gone


@dataclass(slots=True)
class Tallies:
    """Counts of episodes: begun, ended, with a milestone gained, with a new place, by tag of start; `seen` by cell.

    `trials`: of the newest episodes by tag of start, oldest first, when each ended (seconds since the epoch), and
    whether it gained a milestone.
    """

    drawn: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    gained: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    trials: dict[str, list[tuple[float, bool]]] = field(default_factory=dict)

    def add(self, other: Tallies) -> None:
        """Add the counts of `other`, and its trials where they belong in time."""
        for kind in _KINDS:
            getattr(self, kind).update(getattr(other, kind))
        for tag, more in other.trials.items():
            mine = self.trials.setdefault(tag, [])
            mine += more
            mine.sort()
            del mine[:-_REMEMBERED]

    def keep(self, living: Set[str]) -> None:
        """Count those of states that are not `living` together, under `EVICTED`: a long run makes no end of tags."""
        for kind in _BY_TAG:
            counts: Counter[str] = getattr(self, kind)
            for tag in counts.keys() - living - {EVICTED}:
                counts[EVICTED] += counts.pop(tag)
        self.keep_trials(living)

    def keep_trials(self, living: Set[str]) -> None:
        """Forget the trials of other states."""
        for tag in self.trials.keys() - living:
            del self.trials[tag]

    def recent(self, tag: str, forgetting: float) -> tuple[float, float]:
        """Episodes from `tag` that gained a milestone, and the others; each counts `forgetting` of the next one."""
        gained = missed = 0.0
        for _, won in self.trials.get(tag, ()):
            gained, missed = forgetting * gained + won, forgetting * missed + (not won)
        return gained, missed


@dataclass(slots=True)
class _FileTallies:
    """What was read of one file so far."""

    inode: int
    offset: int = 0
    counts: Tallies = field(default_factory=Tallies)


class Outcomes:
    """The folder of the processes' files."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made when there is something to write."""
        self._folder = folder
        self._pid = 0  # of the process that `_path` belongs to: a forked copy writes a file of its own
        self._path = folder
        self._sum_up_at = _LARGEST_BYTES
        self._files: dict[str, _FileTallies] = {}
        self.living: set[str] | None = None  # tags of the states there are; None = not known, nothing is forgotten

    def keep(self, living: set[str]) -> None:
        """Of other states only sums are kept in memory, and no trials in this process's file."""
        self.living = living
        for known in self._files.values():
            known.counts.keep(living)

    def draw(self, tag: str) -> None:
        """An episode begins at state `tag`."""
        self._append({"drawn": {tag: 1}})

    def end(self, tag: str, gained: bool, found: bool, cells: Iterable[str]) -> None:
        """An episode that began at state `tag` (empty: at the true start) ended; it had been to `cells`."""
        event: dict[str, Any] = {"seen": dict.fromkeys(cells, 1)}
        if tag:
            event.update(ended={tag: 1}, gained={tag: int(gained)}, found={tag: int(found)})
            event["trials"] = {tag: [(time.time(), int(gained))]}
        self._append(event)

    def read(self) -> Tallies:
        """The sums over all processes, with what they wrote since the last call."""
        total = Tallies()
        try:
            entries = [entry for entry in os.scandir(self._folder) if entry.name.endswith(".jsonl")]
        except FileNotFoundError:
            return total
        for entry in entries:
            try:
                self._read_on(entry.name, Path(entry.path))
            except FileNotFoundError:
                self._files.pop(entry.name, None)
        for known in self._files.values():
            total.add(known.counts)
        return total

    def _read_on(self, name: str, path: Path) -> None:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            known = self._files.get(name)
            if known is None or known.inode != about.st_ino or about.st_size < known.offset:
                known = self._files[name] = _FileTallies(about.st_ino)
            file.seek(known.offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        known.offset += len(whole)
        for line in whole.splitlines():
            known.counts.add(_parse(line))

    def _append(self, event: dict[str, Any]) -> None:
        if self._pid != os.getpid():
            self._pid, self._sum_up_at = os.getpid(), _LARGEST_BYTES
            self._folder.mkdir(parents=True, exist_ok=True)
            # unique: a process id may come again, and must not write behind a torn line
            self._path = self._folder / f"{socket.gethostname()}_{self._pid}_{os.urandom(4).hex()}.jsonl"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, json.dumps(event, separators=(",", ":")).encode() + b"\n")
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if size > self._sum_up_at:
            self._sum_up()

    def _sum_up(self) -> None:
        counts = Tallies()
        for line in self._path.read_bytes().splitlines():
            counts.add(_parse(line))
        if self.living is not None:
            counts.keep_trials(self.living)
        with replacing(self._path) as temporary:
            everything = {kind: getattr(counts, kind) for kind in (*_KINDS, "trials")}
            temporary.write_text(json.dumps(everything) + "\n", encoding="utf-8")
        # of very many states the sum itself is long: it would be written anew after every episode
        self._sum_up_at = max(_LARGEST_BYTES, 2 * self._path.stat().st_size)


def _parse(line: bytes) -> Tallies:
    """The counts of one line; none for a line that is damaged."""
    try:
        event = json.loads(line)
        counts = {kind: Counter({k: _count(n) for k, n in event.get(kind, {}).items()}) for kind in _KINDS}
        trials = {tag: [_trial(*trial) for trial in known] for tag, known in event.get("trials", {}).items()}
        return Tallies(**counts, trials=trials)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return Tallies()


def _count(value: object) -> int:
    """A number of episodes.

    Raises:
        ValueError: it cannot be one.
    """
    if not isinstance(value, int) or not 0 <= value <= _LARGEST_COUNT:
        raise ValueError(f"{value!r} is no count")
    return value


def _trial(ended: object, gained: object) -> tuple[float, bool]:
    """When an episode ended, and whether it gained something.

    Raises:
        ValueError: it cannot be one.
    """
    if not isinstance(ended, (int, float)) or not 0 <= ended <= _LARGEST_COUNT or gained not in (0, 1):
        raise ValueError(f"{ended!r}, {gained!r} is no trial")
    return float(ended), bool(gained)
