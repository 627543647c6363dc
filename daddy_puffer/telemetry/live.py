"""`live/` of a run folder: where every environment is, a few times a second, for whoever watches.

In: looks at the environments, their screens. Out: two files of fixed size, written over and over; `LiveReader` reads
them in another process. Knows no environment, no observation.

`positions.bin` is a ring of the last `SLOTS` looks, `screens.bin` holds the last two sets of screens. A record ends in
a checksum of itself, so that a reader who comes in the middle of a write sees that and takes it next time: neither side
ever waits for the other. Plain writes and no memory map: a full disk is an `OSError` here, there it kills the process.
A run that goes on begins both anew, under another session number.
"""

from __future__ import annotations

import logging
import os
import struct
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daddy_puffer.files import replacing
from daddy_puffer.types import PACKED_WIDTH, SCREEN_HEIGHT, Array

SLOTS = 600  # looks kept: a minute at ten a second
MOST_SCREENS = 12  # environments whose screens are shown
SCREENS_EVERY = 10  # looks
LOOK = np.dtype(
    [
        ("map", "u1"),
        ("x", "u1"),
        ("y", "u1"),
        ("badges", "u1"),
        ("milestones", "u1"),
        ("flags", "u1"),
        ("length", "<u2"),  # steps in the episode, at most 65,535
        ("episode", "<u4"),  # as in `episodes.csv`
    ]
)  # one environment
FROM_STATE, IN_BATTLE, IN_TEXT = 1, 2, 4  # bits of `flags`
POSITIONS, SCREENS = "positions.bin", "screens.bin"

_MAGIC = b"DPLIVE1\0"
_HEADER = struct.Struct("<8sQII")  # magic, session, environments or screens, slots
_HEADER_BYTES = 64
_RECORD = struct.Struct("<QdQ")  # number of the look, seconds since the epoch, environment steps of the run
_CHECKSUM = struct.Struct("<I")
_SCREEN_BYTES = SCREEN_HEIGHT * PACKED_WIDTH

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """Number, time and place in the run of one record, and its bytes."""

    number: int
    seconds: float  # since the epoch
    step: int
    payload: bytes


class _Ring:
    """A file of `slots` records of equal size; record n lies in slot n modulo `slots`."""

    def __init__(self, path: Path, session: int, count: int, slots: int, payload_bytes: int) -> None:
        self._slots = slots
        self._slot_bytes = _RECORD.size + payload_bytes + _CHECKSUM.size
        head = _HEADER.pack(_MAGIC, session, count, slots).ljust(_HEADER_BYTES, b"\0")
        with replacing(path) as temporary:
            temporary.write_bytes(head + b"\0" * (slots * self._slot_bytes))
            self._file = os.open(temporary, os.O_WRONLY)

    def write(self, number: int, step: int, payload: bytes) -> None:
        record = _RECORD.pack(number, time.time(), step) + payload
        record += _CHECKSUM.pack(zlib.crc32(record))
        os.pwrite(self._file, record, _HEADER_BYTES + number % self._slots * self._slot_bytes)

    def close(self) -> None:
        os.close(self._file)


class LiveWriter:
    """Writes `live/`; a context. The first `OSError` ends it with a log line: watching is no reason to stop a run."""

    def __init__(self, folder: Path, num_envs: int, interval_seconds: float) -> None:
        """Make `folder` and both files anew; `interval_seconds` between two looks, 0 = never."""
        self._interval = interval_seconds
        self._next = 0.0
        self._number = 0
        self.num_screens = min(num_envs, MOST_SCREENS)
        self._rings: list[_Ring] = []
        if not interval_seconds:
            return
        session = time.time_ns() // 1000
        try:
            folder.mkdir(parents=True, exist_ok=True)
            looks = _Ring(folder / POSITIONS, session, num_envs, SLOTS, num_envs * LOOK.itemsize)
            self._rings.append(looks)
            screen_bytes = self.num_screens * _SCREEN_BYTES
            self._rings.append(_Ring(folder / SCREENS, session, self.num_screens, 2, screen_bytes))
        except OSError as error:
            self._give_up(error)

    def due(self) -> bool:
        """Whether it is time for another look."""
        if not self._rings or time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + self._interval
        return True

    @property
    def wants_screens(self) -> bool:
        """Whether the next look should bring screens."""
        return self._number % SCREENS_EVERY == 0

    def write(self, step: int, looks: Array, screens: Array | None) -> None:
        """One look: `LOOK` `[B]` after `step` steps of the run, u8 `[num_screens, 72, 20]` packed or None."""
        try:
            self._rings[0].write(self._number, step, looks.tobytes())
            if screens is not None:
                self._rings[1].write(self._number // SCREENS_EVERY, step, screens.tobytes())
        except OSError as error:
            self._give_up(error)
        self._number += 1

    def close(self) -> None:
        """Close the files; what was seen last stays."""
        for ring in self._rings:
            ring.close()
        self._rings = []

    def __enter__(self) -> LiveWriter:
        """Use as a context that closes at its end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _give_up(self, error: OSError) -> None:
        _log.warning("watch will not see where the environments are: live/ cannot be written (%s)", error.strerror)
        self.close()


class LiveReader:
    """Reads `live/` of a run that may not have begun, may end, or may begin anew at any moment."""

    def __init__(self, folder: Path) -> None:
        """Nothing is opened yet."""
        self._folder = folder

    def looks(self, since: int = -1, session: int = 0) -> tuple[int, int, list[Look]]:
        """(session, environments, looks after number `since`, oldest first); all there are of another session.

        Session 0 and no looks where there is nothing to read.
        """
        return self._read(POSITIONS, since, session, LOOK.itemsize)

    def screens(self) -> tuple[int, Look | None]:
        """(number of screens, the newest set), u8 `[number, 72, 20]` as bytes."""
        _, count, sets = self._read(SCREENS, -1, 0, _SCREEN_BYTES)
        return count, sets[-1] if sets else None

    def _read(self, name: str, since: int, session: int, item_bytes: int) -> tuple[int, int, list[Look]]:
        try:
            data = (self._folder / name).read_bytes()
            magic, found, count, slots = _HEADER.unpack_from(data)
        except (OSError, struct.error):
            return 0, 0, []
        slot_bytes = _RECORD.size + count * item_bytes + _CHECKSUM.size
        if magic != _MAGIC or not count or len(data) != _HEADER_BYTES + slots * slot_bytes:
            return 0, 0, []
        if session != found:
            since = -1
        starts = range(_HEADER_BYTES, len(data), slot_bytes)
        looks = [look for start in starts if (look := _parse(data[start : start + slot_bytes], since)) is not None]
        return found, count, sorted(looks, key=lambda look: look.number)


def _parse(record: bytes, since: int) -> Look | None:
    """None where nothing newer than `since` was written yet, or only a part."""
    number, seconds, step = _RECORD.unpack_from(record)
    if number <= since or not seconds:
        return None
    body, (checksum,) = record[: -_CHECKSUM.size], _CHECKSUM.unpack_from(record, len(record) - _CHECKSUM.size)
    if zlib.crc32(body) != checksum:
        return None
    return Look(number, seconds, step, body[_RECORD.size :])


def unpack_looks(payload: bytes) -> Array:
    """`LOOK` `[B]` out of the bytes of a look at the positions."""
    return np.frombuffer(payload, LOOK)


def unpack_screens(payload: bytes) -> Array:
    """Levels 0..3 (3 = lightest), u8 `[number, 72, 80]`, out of a set of screens."""
    packed = np.frombuffer(payload, np.uint8).reshape(-1, SCREEN_HEIGHT, PACKED_WIDTH, 1)
    shifts: Any = np.array([6, 4, 2, 0], np.uint8)
    return ((packed >> shifts) & 3).reshape(-1, SCREEN_HEIGHT, PACKED_WIDTH * 4)
