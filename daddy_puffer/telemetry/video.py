"""Films of the game. In: RGB frames and the numbers to write under them. Out: a GIF, an MP4 (H.264), or both.

The MP4 is encoded as frames come, by imageio-ffmpeg's own ffmpeg. A GIF is put together at the end out of
frames kept with a few colours, so `max_frames` bounds memory: 50 kB a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from daddy_puffer.types import Array

MP4_SCALE = 3  # 160x144 becomes 480x432, and a strip for the text
GIF_SCALE = 2
STRIP_LINES = 2
_COLORS = 16  # four shades of the game, the rest for the text's smooth edges


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """What is written under a frame."""

    step: int
    action: str
    reward: float
    total: float
    badges: int
    place: str = ""

    def lines(self) -> tuple[str, str]:
        """Two lines of text."""
        first = f"step {self.step:<5} {self.action:<6} badges {self.badges}"
        return first, f"reward {self.reward:+.3f}  return {self.total:+.2f}  {self.place}"


def annotate(frame: Array, caption: Caption | None, scale: int) -> Array:
    """Scale u8 `[H, W, 3]` up by whole pixels and write the caption on a strip below it."""
    big = np.ascontiguousarray(frame[..., :3].repeat(scale, axis=0).repeat(scale, axis=1))
    if caption is None:
        return big
    line_height = 8 * scale
    strip = Image.new("RGB", (big.shape[1], STRIP_LINES * line_height), (16, 20, 24))
    draw = ImageDraw.Draw(strip)
    font = _font(6 * scale)
    for number, line in enumerate(caption.lines()):
        draw.text((2 * scale, number * line_height), line, fill=(235, 235, 225), font=font)
    return np.concatenate([big, np.asarray(strip)])


class VideoWriter:
    """Collects frames and leaves `stem.mp4` and `stem.gif`; a context.

    Files are written under another name and renamed at the end, so that a half film never bears the right name.
    """

    def __init__(self, stem: Path, *, formats: Sequence[str] = ("mp4", "gif"), fps: float = 15, max_frames: int = 600):
        """Film at `fps` frames a second, at most `max_frames` of them; later ones are left out."""
        stem.parent.mkdir(parents=True, exist_ok=True)
        self.paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in formats]
        self.count = 0
        self._fps, self._max_frames = fps, max_frames
        self._mp4: Any = None
        self._gif: list[Image.Image] = []

    @property
    def full(self) -> bool:
        """No further frame is taken."""
        return self.count >= self._max_frames

    def add(self, frame: Array, caption: Caption | None = None) -> None:
        """Take one frame u8 `[H, W, 3]`."""
        if self.full:
            return
        self.count += 1
        for path in self.paths:
            if path.suffix == ".mp4":
                self._add_mp4(path, annotate(frame, caption, MP4_SCALE))
            else:
                image = Image.fromarray(annotate(frame, caption, GIF_SCALE))
                self._gif.append(image.quantize(_COLORS, dither=Image.Dither.NONE))

    def close(self) -> list[Path]:
        """Finish the files and return their paths; none if no frame came."""
        if self.count == 0:
            return []
        for path in self.paths:
            if path.suffix == ".mp4":
                self._mp4.close()
            else:
                _write_gif(_partial(path), self._gif, self._fps)
            _partial(path).replace(path)
        return self.paths

    def abandon(self) -> None:
        """Drop the film."""
        if self._mp4 is not None:
            self._mp4.close()
        for path in self.paths:
            _partial(path).unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        """Use as a context."""
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Finish, or drop the film after an exception."""
        if kind is None:
            self.close()
        else:
            self.abandon()

    def _add_mp4(self, path: Path, picture: Array) -> None:
        if self._mp4 is None:
            size = (picture.shape[1], picture.shape[0])
            # a single encoder thread: the film is made beside a training run
            self._mp4 = imageio_ffmpeg.write_frames(
                str(_partial(path)), size, fps=self._fps, codec="libx264", quality=7, macro_block_size=2,
                output_params=["-threads", "1", "-f", "mp4"],
            )  # fmt: skip
            self._mp4.send(None)
        self._mp4.send(np.ascontiguousarray(picture))


def save_gif(frames: Iterable[Array], path: Path, fps: float = 15) -> Path:
    """Write frames u8 `[H, W, 3]` as a GIF."""
    return _save(frames, path, fps)


def save_mp4(frames: Iterable[Array], path: Path, fps: float = 15) -> Path:
    """Write frames u8 `[H, W, 3]` as an MP4."""
    return _save(frames, path, fps)


def _save(frames: Iterable[Array], path: Path, fps: float) -> Path:
    with VideoWriter(path.with_suffix(""), formats=(path.suffix[1:],), fps=fps, max_frames=10**9) as writer:
        for frame in frames:
            writer.add(frame)
    return path


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def _write_gif(path: Path, images: list[Image.Image], fps: float) -> None:
    first, *rest = images
    milliseconds = max(20, round(1000 / fps))  # browsers slow anything faster down
    first.save(path, format="GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0, optimize=False)


def _font(size: int) -> Any:
    load: Callable[..., Any] = ImageFont.load_default
    try:
        return load(size=size)
    except TypeError:  # Pillow before 10.1 has one size
        return load()
