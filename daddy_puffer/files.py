"""Files that are whole or not there: written under a temporary name, then renamed; archives read with care.

In: paths, bytes. Out: files, arrays. Knows no content.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_ARCHIVE = 1 << 28  # bytes that an archive of arrays may unpack to
DAMAGED = ".damaged"  # ends the name of a file that was put aside because it cannot be read


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, to be written to in the block; renamed to `path` unless the block raises."""
    temporary = path.with_name(path.name + ".tmp")
    yield temporary
    temporary.replace(path)


def file_sha256(path: Path) -> str:
    """Of a whole file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def put_aside(path: Path) -> Path:
    """Rename a file that cannot be read, so that it is neither in the way nor lost; returns the new name."""
    return path.replace(path.with_name(path.name + DAMAGED))


def write_archive(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an npz file that `read_archive` reads, lightly packed, on disk on return.

    Level 1 packs screens to a tenth as fast as a good disk writes; `np.savez_compressed` takes three times as long.

    Raises:
        OSError: the disk is full or gone.
        ValueError: an array holds objects.
    """
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def read_archive(data: bytes, largest_bytes: int = LARGEST_ARCHIVE) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file. Nothing in it is unpickled, and it is not unpacked when that takes too much memory.

    Raises:
        ValueError: it is no such archive, damaged, too large, or holds objects.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:  # it reads no more of a member than is said here
            size = sum(member.file_size for member in archive.infolist())
        if size > largest_bytes:
            raise ValueError(f"it unpacks to {size} bytes, {largest_bytes} are allowed")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name]) for name in arrays.files}
    except Exception as error:  # damage makes zipfile, zlib and numpy raise nearly anything
        raise ValueError(f"no archive of arrays, or a damaged one: {' '.join(str(error).split())}") from error


def check_stored(file: Path) -> None:
    """Compare every checksum of an archive that packs nothing, as torch writes it; torch itself does not look at them.

    Raises:
        ValueError: one is wrong, or a part would unpack to more than it is on disk.
        zipfile.BadZipFile: it is no archive.
    """
    with zipfile.ZipFile(file) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("packed")
        if sum(member.file_size for member in archive.infolist()) > file.stat().st_size:
            raise ValueError("larger than its file")
        if (bad := archive.testzip()) is not None:
            raise ValueError(f"{bad} is damaged")
