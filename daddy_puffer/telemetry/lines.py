"""A text file that only ever holds whole lines. In: lines. Out: the file, on disk as soon as a line is written.

When the disk is full in the middle of a line, what got through is taken back, so that the line can be tried again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class LineFile:
    """A file opened for appending, without a buffer."""

    def __init__(self, path: Path):
        """Append to `path`."""
        self._file = path.open("ab", buffering=0)

    def write(self, line: str) -> None:
        """Append a line that ends with a line feed.

        Raises:
            OSError: nothing of it was written.
        """
        good = self._file.seek(0, io.SEEK_END)
        rest = memoryview(line.encode())
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError:
            self._file.truncate(good)
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def csv_line(cells: Iterable[Any]) -> str:
    """One row of a CSV file with its line feed; flags as 0 and 1, floats short."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([_cell(value) for value in cells])
    return text.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return format(value, ".6g") if isinstance(value, float) else str(value)
