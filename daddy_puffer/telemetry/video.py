"""Films of the game. In: RGB frames and captions. Out: MP4 (H.264), GIF, PNG files; what there is to log about them.

The MP4 is encoded as frames come, by imageio-ffmpeg's own ffmpeg. A GIF is put together at the end out of frames kept
with a few colours, so `max_frames` bounds memory: 140 kB a frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import imageio_ffmpeg
import numpy as np
from PIL import Image

from daddy_puffer.telemetry.overlay import Caption, compose
from daddy_puffer.types import Array

__all__ = ["Caption", "Film", "VideoWriter", "save_frames_as_png", "save_gif", "save_mp4"]

SHARP = 2  # MP4 and PNG are so many times larger than a GIF: 960x576 with panel
_COLORS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """A finished film, as it is logged."""

    path: str
    kind: str  # mp4, gif or png
    frames: int
    fps: float
    seconds: float  # that it lasts
    bytes: int


class _File(Protocol):
    """A film that is being written."""

    def add(self, picture: Array) -> None:
        """Take one picture u8 `[H, W, 3]`."""

    def close(self) -> None:
        """Finish it."""

    def abandon(self) -> None:
        """Leave nothing behind."""


class VideoWriter:
    """Collects frames and leaves `stem.mp4`, `stem.gif`, `stem_frames/*.png`, whichever `formats` name; a context.

    Films are written under another name and renamed at the end, so that a half film never bears the right name.
    """

    def __init__(self, stem: Path, *, formats: Sequence[str] = ("mp4", "gif"), fps: float = 15, max_frames: int = 600):
        """Film at `fps` frames a second, at most `max_frames` of them; later ones are left out."""
        stem.parent.mkdir(parents=True, exist_ok=True)
        self.paths = [stem.with_name(f"{stem.name}{_ENDINGS[kind]}") for kind in formats]
        self.count = 0
        self._kinds, self._fps, self._max_frames = tuple(formats), fps, max_frames
        self._files: list[_File] = [_FILES[kind](path, fps) for kind, path in zip(formats, self.paths, strict=True)]

    @property
    def full(self) -> bool:
        """No further frame is taken."""
        return self.count >= self._max_frames

    def add(self, frame: Array, caption: Caption | None = None) -> None:
        """Take one frame u8 `[H, W, 3]` of the game."""
        self.add_picture(compose(frame, caption))

    def add_picture(self, picture: Array) -> None:
        """Take one picture u8 `[H, W, 3]` as it is; all of a film are of one size."""
        if self.full:
            return
        self.count += 1
        for file in self._files:
            file.add(picture)

    def close(self) -> list[Path]:
        """Finish the files and return their paths; none if no frame came."""
        if self.count == 0:
            return []
        for file in self._files:
            file.close()
        return self.paths

    def films(self) -> list[Film]:
        """What to log, once it is closed."""
        seconds = round(self.count / self._fps, 2)
        return [
            Film(path=str(path), kind=kind, frames=self.count, fps=self._fps, seconds=seconds, bytes=_size(path))
            for path, kind in zip(self.paths, self._kinds, strict=True)
            if path.exists()
        ]

    def abandon(self) -> None:
        """Drop the film."""
        for file in self._files:
            file.abandon()

    def __enter__(self) -> VideoWriter:
        """Use as a context."""
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Finish, or drop the film after an exception."""
        if kind is None:
            self.close()
        else:
            self.abandon()


class _Mp4:
    def __init__(self, path: Path, fps: float):
        self._path, self._fps = path, fps
        self._encoder: Any = None

    def add(self, picture: Array) -> None:
        sharp = np.ascontiguousarray(_enlarged(picture))
        if self._encoder is None:
            size = (sharp.shape[1], sharp.shape[0])
            # a single encoder thread: the film is made beside a training run, and repeats byte for byte
            self._encoder = imageio_ffmpeg.write_frames(
                str(_partial(self._path)), size, fps=self._fps, codec="libx264", quality=7, macro_block_size=2,
                output_params=["-threads", "1", "-f", "mp4", "-movflags", "+faststart"],
            )  # fmt: skip
            self._encoder.send(None)
        self._encoder.send(sharp)

    def close(self) -> None:
        self._encoder.close()
        _partial(self._path).replace(self._path)

    def abandon(self) -> None:
        if self._encoder is not None:
            self._encoder.close()
        _partial(self._path).unlink(missing_ok=True)


class _Gif:
    def __init__(self, path: Path, fps: float):
        self._path, self._fps = path, fps
        self._images: list[Image.Image] = []

    def add(self, picture: Array) -> None:
        self._images.append(Image.fromarray(picture).quantize(_COLORS, dither=Image.Dither.NONE))

    def close(self) -> None:
        first, *rest = self._images
        milliseconds = max(20, round(1000 / self._fps))  # browsers slow anything faster down
        partial = _partial(self._path)
        first.save(
            partial, format="GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0, optimize=False
        )
        partial.replace(self._path)

    def abandon(self) -> None:
        _partial(self._path).unlink(missing_ok=True)


class _PngFolder:
    def __init__(self, path: Path, _fps: float):
        self._folder = path
        self._written: list[Path] = []

    def add(self, picture: Array) -> None:
        self._folder.mkdir(exist_ok=True)
        self._written += save_frames_as_png([_enlarged(picture)], self._folder, first=len(self._written) + 1)

    def close(self) -> None:
        """Every frame is there already."""

    def abandon(self) -> None:
        for path in self._written:
            path.unlink(missing_ok=True)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()


_FILES: dict[str, type[_Mp4] | type[_Gif] | type[_PngFolder]] = {"mp4": _Mp4, "gif": _Gif, "png": _PngFolder}
_ENDINGS = {"mp4": ".mp4", "gif": ".gif", "png": "_frames"}


def save_gif(frames: Iterable[Array], path: Path, fps: float = 15) -> Path:
    """Write frames u8 `[H, W, 3]` as a GIF."""
    return _save(frames, path, "gif", fps)


def save_mp4(frames: Iterable[Array], path: Path, fps: float = 15) -> Path:
    """Write frames u8 `[H, W, 3]` as an MP4 (H.264)."""
    return _save(frames, path, "mp4", fps)


def save_frames_as_png(frames: Iterable[Array], folder: Path, first: int = 1) -> list[Path]:
    """Write frames u8 `[H, W, 3]` as `folder/frame_000001.png` and on, of their own size."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, frame in enumerate(frames, start=first):
        paths.append(folder / f"frame_{number:06d}.png")
        Image.fromarray(np.ascontiguousarray(frame[..., :3])).save(paths[-1])
    return paths


def _save(frames: Iterable[Array], path: Path, kind: str, fps: float) -> Path:
    with VideoWriter(path.with_suffix(""), formats=(kind,), fps=fps, max_frames=10**9) as writer:
        for frame in frames:
            writer.add(frame)
    return path


def _enlarged(picture: Array) -> Array:
    return picture.repeat(SHARP, axis=0).repeat(SHARP, axis=1)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size
