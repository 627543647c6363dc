"""Films of real runs as frames: cut out, scaled to 144x160, brought to four greys.

In: a video file that ffmpeg can read. Out: a `FrameRun`. Knows no emulator.

A film shows the game in some rectangle, with a border, a timer or a camera beside it. The rectangle is found as that
in which most pixels change over time; where something else moves too, the found shape is not the Game Boy's 10:9,
and the rectangle must be given. Brightness is stretched so that the film's own dark and bright ends become black and
white, whatever palette it was made with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from daddy_puffer.errors import UserError
from daddy_puffer.pretraining.frames import HEIGHT, MOST_FRAMES, WIDTH, Array8, FrameRun, RunFacts, pack, quantise

AUTO = "auto"
SAMPLES = 200  # frames that crop and brightness are judged by, about
MOST_PIXELS = 1 << 23  # of one frame: more is no video of a Game Boy
CHANGE = 24  # grey levels between a pixel's darkest and brightest, above which it is taken to change
MIN_SHARE = 0.4  # of a line's pixels, against the line where most do, that change: the line is of the game
ASPECT_TOLERANCE = 0.06  # relative, of the found rectangle
DARK_END, BRIGHT_END = 1.0, 99.0  # percentiles of brightness that become black and white


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A rectangle of a film, in pixels."""

    width: int
    height: int
    x: int
    y: int

    @classmethod
    def parse(cls, text: str) -> Crop:
        """Read "W:H:X:Y", as ffmpeg's crop filter writes it.

        Raises:
            UserError: it is something else.
        """
        match = re.fullmatch(r"(\d{1,5}):(\d{1,5}):(\d{1,5}):(\d{1,5})", text)
        if match is None or not int(match[1]) or not int(match[2]):
            raise UserError(f"--crop {text!r}: give width:height:x:y as in 960:864:12:40, or {AUTO}")
        width, height, x, y = (int(group) for group in match.groups())
        return cls(width=width, height=height, x=x, y=y)

    def __str__(self) -> str:
        return f"{self.width}:{self.height}:{self.x}:{self.y}"

    def apply(self, greys: Array8) -> Array8:
        """Cut it out of `[h, w]`."""
        return greys[self.y : self.y + self.height, self.x : self.x + self.width]


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """A video file: what ffmpeg says of it."""

    path: Path
    width: int
    height: int
    fps: float
    seconds: float

    @classmethod
    def open(cls, path: Path) -> Film:
        """Look into a file.

        Raises:
            UserError: it is missing, or no video.
        """
        if not path.is_file():
            raise UserError(f"video {path} does not exist")
        try:
            frames = _greys(path)
            facts: dict[str, Any] = next(frames)
            frames.close()
            width, height = facts["size"]
            fps, seconds = float(facts["fps"]), float(facts["duration"])
        except (OSError, RuntimeError, StopIteration, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is no video that ffmpeg can read, or is damaged") from error
        if not fps > 0 or not 0 < width * height <= MOST_PIXELS:
            raise UserError(f"{path}: {width}x{height} pixels at {fps} frames a second are no video of a game")
        return cls(path=path, width=width, height=height, fps=fps, seconds=seconds)

    def frames(self, every_seconds: float) -> Iterator[tuple[int, Array8]]:
        """Frames so far apart as numbers and greys u8 `[h, w]`, from the first one on.

        Raises:
            UserError: the file breaks off in the middle of a frame.
        """
        reader = _greys(self.path)
        next(reader)
        try:
            wanted = 0.0
            for number, data in enumerate(reader):
                if number + 1e-6 >= wanted:
                    wanted += max(1.0, every_seconds * self.fps)
                    yield number, np.frombuffer(data, np.uint8).reshape(self.height, self.width)
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(f"{self.path} is damaged: {' '.join(str(error).split())[:100]}") from error
        finally:
            reader.close()

    def sample(self, every_seconds: float) -> NDArray[np.uint8]:
        """Some frames spread over the film, `[N, h, w]`: some SAMPLES, however long it is."""
        apart = max(every_seconds, self.seconds / SAMPLES)  # a recording that broke off does not say how long it is
        kept: list[Array8] = []
        every = 1
        for number, (_, greys) in enumerate(self.frames(apart)):
            if number % every:
                continue
            kept.append(greys)
            if len(kept) > SAMPLES + 1:
                kept, every = kept[::2], 2 * every
        return np.stack(kept)


def find_crop(sample: NDArray[np.uint8]) -> Crop:
    """The rectangle in which pixels change over the frames `[N, h, w]`.

    Raises:
        UserError: nothing changes, or what changes has not the shape of a Game Boy's screen.
    """
    changing = sample.max(axis=0).astype(np.int16) - sample.min(axis=0) > CHANGE
    rows, columns = (_longest(changing.mean(axis=axis)) for axis in (1, 0))
    if rows is None or columns is None:
        raise UserError("nothing moves in it: give --crop width:height:x:y")
    crop = Crop(width=columns[1] - columns[0], height=rows[1] - rows[0], x=columns[0], y=rows[0])
    if abs(crop.width / crop.height / (WIDTH / HEIGHT) - 1) > ASPECT_TOLERANCE:
        raise UserError(f"what moves in it is {crop}, not of the shape 10:9: give --crop width:height:x:y")
    return crop


def _longest(share: NDArray[np.float64]) -> tuple[int, int] | None:
    """From the first to behind the last line where enough changes; None where nothing does."""
    if share.max() == 0:
        return None
    lines = np.flatnonzero(share >= MIN_SHARE * share.max())
    return int(lines[0]), int(lines[-1]) + 1


def scale(greys: Array8, ends: tuple[float, float]) -> Array8:
    """Greys of any size to levels 0..3 `[144, 160]`; `ends` become black and white."""
    image = Image.fromarray(np.ascontiguousarray(greys))
    if greys.shape != (HEIGHT, WIDTH):
        image = image.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    dark, bright = ends
    stretched = (np.asarray(image, np.float32) - dark) * (255.0 / max(1.0, bright - dark))
    return quantise(np.clip(np.rint(stretched), 0, 255).astype(np.uint8))


def import_video(path: Path, crop: str, every_seconds: float, split: str) -> FrameRun:
    """Read a film.

    Raises:
        UserError: it is no video, its picture cannot be found, `crop` lies outside, or it is too long.
    """
    film = Film.open(path)
    sample = film.sample(every_seconds)
    try:
        chosen = find_crop(sample) if crop == AUTO else Crop.parse(crop)
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from error
    if chosen.x + chosen.width > film.width or chosen.y + chosen.height > film.height:
        raise UserError(f"{path.name}: --crop {chosen} lies outside its {film.width}x{film.height} pixels")
    pixels = np.stack([chosen.apply(greys) for greys in sample])
    ends = (float(np.percentile(pixels, DARK_END)), float(np.percentile(pixels, BRIGHT_END)))
    numbers, frames = [], []
    for number, greys in film.frames(every_seconds):
        numbers.append(number)
        frames.append(pack(scale(chosen.apply(greys), ends)))
        if len(numbers) > MOST_FRAMES:
            raise UserError(f"{path.name}: more than {MOST_FRAMES} frames: give a larger --every")
    details = {"crop": asdict(chosen), "every_seconds": every_seconds, "fps": film.fps, "ends": list(ends)}
    return FrameRun(
        facts=RunFacts(run=run_name(path), split=split, source=path.name, details=details),
        frames=np.stack(frames),
        numbers=np.array(numbers, np.int32),
        seconds=(np.array(numbers) / film.fps).astype(np.float32),
    )


def run_name(path: Path) -> str:
    """Name of the run that a film becomes."""
    return "run_video_" + (re.sub(r"\W+", "_", path.stem, flags=re.ASCII).strip("_") or "unnamed")


def _greys(path: Path) -> Any:
    """First what ffmpeg says of the file, then the bytes of every frame."""
    return imageio_ffmpeg.read_frames(str(path), pix_fmt="gray", bits_per_pixel=8, output_params=["-threads", "1"])
