"""All that a sweep must not forget: an append-only file, one JSON object a line.

In: facts. Out: `trials.jsonl`, read back after a crash. A line is written with one call and synced; what a crash left
of a last line is dropped. One process at a time may append.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from daddy_puffer.errors import UserError

FILE = "trials.jsonl"
LARGEST = 2**53  # beyond it a number of ours is damage
Fact = dict[str, Any]


def read_facts(path: Path) -> list[Fact]:
    """All whole lines; none where there is no file.

    Raises:
        UserError: a line that is not the last is none of ours.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    facts = []
    for number, line in enumerate(lines[:-1], 1):  # behind the last newline is nothing, or a torn line
        try:
            fact = json.loads(line)
        except (ValueError, RecursionError):
            fact = None
        if not isinstance(fact, dict) or not isinstance(fact.get("event"), str):
            raise UserError(f"{path}: line {number} is damaged: remove it by hand to go on without it")
        facts.append(fact)
    return facts


class Journal:
    """The file, open for appending, as a context.

    Raises:
        UserError: another process has it open.
    """

    def __init__(self, path: Path) -> None:
        """Make or open the file, lock it, drop a torn last line."""
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise UserError(f"{path.parent} is being searched by another process: wait for it or stop it") from None
        content = path.read_bytes()
        os.ftruncate(self._file, content.rfind(b"\n") + 1)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def read(self) -> list[Fact]:
        """All facts so far."""
        return read_facts(self._path)

    def append(self, event: str, **facts: Any) -> None:
        """Add a line; it has reached the disk on return.

        Raises:
            UserError: the disk is full or gone; the file ends where it ended before.
        """
        line = json.dumps({"event": event, **facts}, allow_nan=False).encode() + b"\n"
        end = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) != len(line):
                os.ftruncate(self._file, end)
                raise OSError(28, "no space left on device")
            os.fsync(self._file)
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror}; cure that, then --resume") from error
