"""Frames of whole runs, without actions, one npz file a run: what is learned from by watching.

In: greys u8 `[N, 144, 160]`, times. Out: files, and packed half-size frames to train on. Knows no torch, no emulator.

A Game Boy shows four greys, so two bits a pixel lose nothing at the screen's full size; zip makes 0.3 kB of the 5.8 kB
of such a frame, since most of a run looks like the frame before. What is trained on is every second line and column,
72x80, exactly what the agents see: there an 8x8 patch is one map cell, and a frame is 9x10 of them.

A run is for training or for testing as a whole: frames of one run are near copies of each other, so single frames
kept apart would test nothing. The split stands in the run's own file; the manifest is a summary that is made anew from
the files whenever one is added.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daddy_puffer.errors import UserError
from daddy_puffer.files import LARGEST_ARCHIVE, put_aside, read_archive, replacing

Array8 = NDArray[np.uint8]
HEIGHT, WIDTH = 144, 160  # pixels of the screen
PIXELS_PER_BYTE = 4
FRAME_BYTES = HEIGHT * WIDTH // PIXELS_PER_BYTE
MOST_FRAMES = LARGEST_ARCHIVE // (FRAME_BYTES + 64)  # of a run, so that its file can be read again
FRAMES_PER_SECOND = 4194304 / 70224  # of a Game Boy, 59.73
MANIFEST = "manifest.json"
FORMAT = 1
SPLITS = ("train", "test")
SCENE = ("map", "badges", "battle")  # columns of `scene`
NOTHING_KNOWN = np.zeros((0, len(SCENE)), np.uint8)
UNKNOWN = 255  # in `scene` of frames whose run says nothing
_NAME = re.compile(r"run_\w+\.npz")
_SHIFTS: Array8 = np.array([6, 4, 2, 0], np.uint8)  # of the four pixels of a byte, leftmost in bits 7-6


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a run is."""

    run: str  # its name, the file's without ending
    split: str  # train or test
    source: str  # scripted, or the name of a video
    details: dict[str, Any] = field(default_factory=dict)  # how it was made
    format: int = FORMAT

    def __post_init__(self) -> None:
        """Check what others rely on."""
        if self.split not in SPLITS:
            raise UserError(f"split must be {' or '.join(SPLITS)}, got {self.split!r}")
        if self.format != FORMAT:
            raise UserError(f"frames of format {self.format}, this version reads {FORMAT}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRun:
    """One run.

    frames   u8  [N, 144, 40]  2 bits a pixel, 0 black to 3 white, leftmost in bits 7-6
    numbers  i32 [N]           frame since power-on, or of the video; rising
    seconds  f32 [N]           game time, or the video's
    scene    u8  [N, 3]        map, badges, kind of battle, to sort failures by; `[0, 3]` where nothing is known
    """

    facts: RunFacts
    frames: Array8
    numbers: NDArray[np.int32]
    seconds: NDArray[np.float32]
    scene: Array8 = field(default_factory=NOTHING_KNOWN.copy)

    def __len__(self) -> int:
        """Frames."""
        return len(self.frames)

    def to_bytes(self) -> bytes:
        """As a compressed npz."""
        target = io.BytesIO()
        arrays = {name: getattr(self, name) for name in ("frames", "numbers", "seconds", "scene")}
        np.savez_compressed(target, **arrays, facts=np.array(json.dumps(asdict(self.facts))))
        return target.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> FrameRun:
        """Read `to_bytes`.

        Raises:
            UserError: it is something else, or damaged.
        """
        try:
            arrays = read_archive(data)
            facts = RunFacts(**json.loads(str(arrays.pop("facts"))))
            run = cls(facts=facts, **arrays)
            run._check()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UserError) as error:
            raise UserError(f"no frames of a run, or damaged: {' '.join(str(error).split())}") from error
        return run

    def _check(self) -> None:
        """Compare the arrays with each other.

        Raises:
            ValueError: they do not agree.
        """
        count = len(self.frames)
        wanted = {
            "frames": (np.uint8, (count, HEIGHT, WIDTH // PIXELS_PER_BYTE)),
            "numbers": (np.int32, (count,)),
            "seconds": (np.float32, (count,)),
            "scene": (np.uint8, (count if len(self.scene) else 0, len(SCENE))),
        }
        for name, (kind, shape) in wanted.items():
            array = getattr(self, name)
            if array.dtype != kind or array.shape != shape:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, expected {np.dtype(kind)} {shape}")
        if not count or (np.diff(self.numbers) <= 0).any() or not np.isfinite(self.seconds).all():
            raise ValueError("it has no frames, or they are not in order of time")


def quantise(greys: Array8) -> Array8:
    """Levels 0 black to 3 white of greys u8 of any shape: the nearest of 0, 85, 170, 255."""
    return ((greys.astype(np.uint16) + 42) // 85).astype(np.uint8)


def pack(levels: Array8) -> Array8:
    """Levels 0..3 u8 `[..., W]` to bytes `[..., W / 4]`."""
    quads = levels.reshape(*levels.shape[:-1], -1, PIXELS_PER_BYTE) << _SHIFTS
    packed: Array8 = np.bitwise_or.reduce(quads, axis=-1)
    return packed


def unpack(packed: Array8) -> Array8:
    """The inverse of `pack`."""
    return ((packed[..., None] >> _SHIFTS) & 3).astype(np.uint8).reshape(*packed.shape[:-1], -1)


def halve(packed: Array8) -> Array8:
    """Every second line and column: packed u8 `[..., 144, 40]` to `[..., 72, 20]`, as the agents' `screen`."""
    rows = packed[..., ::2, :]
    # the first and third pixel of two neighbouring bytes make one byte
    kept = np.asarray((rows & 0xC0) | (rows & 0x0C) << 2, np.uint8)
    return np.asarray(kept[..., 0::2] | kept[..., 1::2] >> 4, np.uint8)


def write_run(folder: Path, run: FrameRun) -> Path:
    """Write a run's file; returns its path.

    Raises:
        UserError: it is too long, the disk is full, or the folder cannot be made.
    """
    if len(run) > MOST_FRAMES:
        raise UserError(f"{run.facts.run} has {len(run)} frames, a run has at most {MOST_FRAMES}: take fewer a second")
    path = folder / f"{run.facts.run}.npz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(run.to_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    return path


def read_run(path: Path) -> FrameRun:
    """Read one file.

    Raises:
        UserError: it cannot be read; the message begins with its name.
    """
    try:
        run = FrameRun.from_bytes(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path.name}: cannot be read: {error.strerror}") from error
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from error
    if run.facts.run != path.stem:
        raise UserError(f"{path.name}: it is a copy of {run.facts.run}, which would count twice")
    return run


def run_files(folder: Path) -> list[Path]:
    """The runs in a folder, by name."""
    found = folder.glob("run_*.npz") if folder.is_dir() else ()
    return sorted(path for path in found if _NAME.fullmatch(path.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One run in the manifest."""

    run: str
    split: str
    source: str
    frames: int
    seconds: float  # game time of the last frame
    bytes: int  # of its file

    @classmethod
    def of(cls, run: FrameRun, path: Path) -> ManifestRow:
        """Summarise a run."""
        return cls(
            run=run.facts.run,
            split=run.facts.split,
            source=run.facts.source,
            frames=len(run),
            seconds=round(float(run.seconds[-1]), 2),
            bytes=path.stat().st_size,
        )


def take_stock(folder: Path, say: Callable[[str], None]) -> dict[str, ManifestRow]:
    """Look at every run of a folder; damaged files are named and put aside, so that they can be made again."""
    rows: dict[str, ManifestRow] = {}
    for path in run_files(folder):
        try:
            rows[path.stem] = ManifestRow.of(read_run(path), path)
        except UserError as error:
            say(f"{error}; put aside as {put_aside(path).name}")
    return rows


def write_manifest(folder: Path, rows: dict[str, ManifestRow]) -> None:
    """Write `manifest.json`: totals by split, then the runs."""
    ordered = [rows[name] for name in sorted(rows)]
    totals = {
        split: {"runs": len(chosen), "frames": sum(row.frames for row in chosen)}
        for split in SPLITS
        for chosen in [[row for row in ordered if row.split == split]]
    }
    text = json.dumps({"format": FORMAT, "totals": totals, "runs": [asdict(row) for row in ordered]}, indent=1)
    with replacing(folder / MANIFEST) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True)
class FrameSet:
    """Runs of one split, one after the other.

    frames   u8  [N, 72, 20]  packed, half size
    starts   i64 [R]          where each run begins
    names                     of the runs
    seconds  f32 [N]          as in `FrameRun`; `[0]` where no one asks
    scene    u8  [N, 3]       as in `FrameRun`; of a run without, `UNKNOWN`
    """

    frames: Array8
    starts: NDArray[np.int64]
    names: tuple[str, ...]
    seconds: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    scene: Array8 = field(default_factory=NOTHING_KNOWN.copy)

    def __len__(self) -> int:
        """Frames."""
        return len(self.frames)

    def spans(self) -> list[tuple[int, int]]:
        """Rows `[begin, end)` of each run."""
        ends = [*self.starts[1:].tolist(), len(self)]
        return list(zip(self.starts.tolist(), ends, strict=True))

    def windows(self, length: int) -> NDArray[np.int64]:
        """First rows of all stretches of `length` frames that lie within one run."""
        parts = [np.arange(begin, end - length + 1) for begin, end in self.spans()]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    @cached_property
    def digests(self) -> frozenset[bytes]:
        """Every different frame."""
        return frozenset(frame.tobytes() for frame in self.frames)

    def new_to(self, other: FrameSet) -> NDArray[np.bool_]:
        """Which frames have no equal in `other`, `[N]`."""
        return np.array([frame.tobytes() not in other.digests for frame in self.frames], np.bool_)


_Part = tuple[str, Array8, NDArray[np.float32], Array8]  # of a run: name, frames, seconds, scene


def load_frames(folder: Path, say: Callable[[str], None]) -> dict[str, FrameSet]:
    """The frames of a folder by split; what cannot be read is named and left out.

    Raises:
        UserError: there is no run for training, or none for testing.
    """
    parts: dict[str, list[_Part]] = {split: [] for split in SPLITS}
    for path in run_files(folder):
        try:
            run = read_run(path)
            scene = run.scene if len(run.scene) else np.full((len(run), len(SCENE)), UNKNOWN, np.uint8)
            parts[run.facts.split].append((run.facts.run, halve(run.frames), run.seconds, scene))
        except UserError as error:
            say(f"left out {error}")
    counts = {split: len(found) for split, found in parts.items()}
    if not all(counts.values()):
        raise UserError(
            f"{folder} has {counts['train']} runs for training and {counts['test']} for testing, at least one of each "
            "is needed: `daddy-puffer frames collect` makes both"
        )
    return {split: _joined(found) for split, found in parts.items()}


def _joined(runs: list[_Part]) -> FrameSet:
    names, frames, seconds, scene = zip(*runs, strict=True)
    starts = np.cumsum([0, *(len(part) for part in frames[:-1])]).astype(np.int64)
    return FrameSet(np.concatenate(frames), starts, names, np.concatenate(seconds), np.concatenate(scene))
