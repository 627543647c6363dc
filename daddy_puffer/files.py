"""Files that are whole or not there: written under a temporary name, then renamed. Knows no content."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, to be written to in the block; renamed to `path` unless the block raises."""
    temporary = path.with_name(path.name + ".tmp")
    yield temporary
    temporary.replace(path)
