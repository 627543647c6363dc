"""Films of whole episodes: the screen, the buttons and rewards, the milestones, and the way taken on the map.

In: `Moment`s of a trained agent and of random buttons. Out: a GIF each, of one length and one piece of the world, so
that they can be looked at side by side. A long episode is shown in larger strides; its way is drawn step by step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from daddy_puffer.config import Config
from daddy_puffer.evaluate.progress import steps_bar
from daddy_puffer.report.groups import COLOURS
from daddy_puffer.report.style import INK, readable
from daddy_puffer.report.world import GROUND, Place, WorldPicture, world_picture
from daddy_puffer.rollout import FILM_FPS, Moment, RandomAgent, is_practice, load_agent, load_beliefs, watch
from daddy_puffer.telemetry.overlay import Caption, Color, bitmap_font, compose
from daddy_puffer.telemetry.video import VideoWriter
from daddy_puffer.types import Array
from daddy_puffer.vector import RedFactory, box_spaces

GIF_STEPS = 2048  # of an episode, at most
MOST_PICTURES = 240  # of a film: 20 s
HELD_PICTURES = 12  # that the end stays to be seen
TRAINED, RANDOM = COLOURS[0], COLOURS[1]
_MAP_SIZE, _NOTES_SIZE = (360, 432), (480, 144)  # width and height: beside the film with its panel, and below it
_MARGIN, _FEWEST_CELLS, _LARGEST_CELL = 2, 24, 12.0  # cells around the maps seen, cells shown, pixels of a cell
_FAR = 2  # cells: what lies further apart is no step but a door
_RECENT = 40  # steps that are drawn strongly
_DARK, _DIM, _LIGHT, _EDGE, _FADED = "#111111", "#888888", "#eeeeee", "#8b939c", 0.55
_ROWS, _LINE, _CHAR = 8, 13, 6  # milestones below one another; pixels of a line and of a character


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture of the game: what was seen after so many steps."""

    steps: int
    frame: Array  # u8 [144, 160, 3]
    caption: Caption


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """One player's episode."""

    player: str
    colour: str
    spots: Sequence[tuple[int, int, int]]  # (map id, x, y) after every step
    shots: Sequence[Shot]
    milestones: Sequence[tuple[int, str]]  # (step, name), in the order they were reached


def film_players(
    config: Config, checkpoint: Path, output: Path, steps: int, epsilon: float, seed: int
) -> tuple[Path, Path]:
    """Film an episode of the trained agent and one of random buttons, as GIFs beside `output`, named after it.

    Only the first `steps` of an episode are filmed.
    """
    steps = min(steps, config.env.max_steps)
    env, other = (RedFactory(config.for_evaluation())() for _ in range(2))
    agent = load_agent(checkpoint, box_spaces(env), epsilon, config.train.device, seed)
    players = {
        f"trained, {epsilon:.0%} random": (TRAINED, watch(env, agent, steps, seed, load_beliefs(checkpoint))),
        "random buttons": (RANDOM, watch(other, RandomAgent(seed=seed), steps, seed)),
    }
    with steps_bar("filming", len(players) * steps) as bar:
        ways = [follow(name, colour, moments, steps, bar.advance) for name, (colour, moments) in players.items()]
    chart = Chart(world_picture(is_practice(config)), {spot[0] for way in ways for spot in way.spots})
    pictures = max(len(way.shots) for way in ways) + HELD_PICTURES
    trained, random = (output.with_name(f"{output.stem}_{name}.gif") for name in ("trained", "random"))
    for path, way in zip((trained, random), ways, strict=True):
        save(path, draw(way, chart), pictures)
    return trained, random


def follow(
    player: str,
    colour: str,
    moments: Generator[Moment, None, None],
    steps: int,
    advance: Callable[[int], None] = lambda steps: None,
) -> Trajectory:
    """The first episode among so many moments, seen `MOST_PICTURES` times at most; `advance` is told of steps."""
    stride = math.ceil(steps / MOST_PICTURES)
    spots, shots, milestones = [], [], []
    with closing(moments):
        for moment in moments:
            spots.append((moment.state.map_id, *moment.state.position))
            milestones += [(moment.step, name) for name in moment.new_milestones]
            if moment.step % stride == 0 or moment.step == steps or moment.ended:
                shots.append(Shot(moment.step, moment.frame, moment.caption()))
            advance(1)
            if moment.ended:
                advance(steps - moment.step)
                break
    return Trajectory(player=player, colour=colour, spots=spots, shots=shots, milestones=milestones)


def save(path: Path, pictures: Iterator[Array], count: int) -> None:
    """Write a GIF of `count` pictures; the last one stays until then."""
    with VideoWriter(path.with_suffix(""), formats=("gif",), fps=FILM_FPS, max_frames=count) as writer:
        for picture in pictures:
            writer.add_picture(picture)
        while not writer.full:
            writer.add_picture(picture)


def draw(way: Trajectory, chart: Chart) -> Iterator[Array]:
    """The pictures of a film, u8 `[432, 840, 3]` each: the game and its panel, notes below, the map beside them."""
    trail = chart.trail(way.colour)
    for shot in way.shots:
        notes = _notes(way, shot.steps)
        left = np.concatenate([compose(shot.frame, shot.caption), np.asarray(notes)])
        yield np.concatenate([left, np.asarray(trail.until(way.spots[: shot.steps]))], axis=1)


class Chart:
    """The piece of the world that lies around the maps seen, scaled to the picture."""

    def __init__(self, world: WorldPicture, seen: set[int]):
        """Show the maps with these ids, as far as it is known where they lie, and what lies between them."""
        self._places = world.places
        shown = [world.places[key] for key in seen if key in world.places] or list(world.places.values())
        left, right = _span([p.x for p in shown], [p.x + p.width for p in shown])
        top, bottom = _span([p.y for p in shown], [p.y + p.height for p in shown])
        width, height = _MAP_SIZE
        self.cell = min(width / (right - left), height / (bottom - top), _LARGEST_CELL)  # pixels
        self._x = width / 2 - self.cell * (left + right) / 2
        self._y = height / 2 - self.cell * (top + bottom) / 2
        self.ground = Image.new("RGB", _MAP_SIZE, _DARK)
        pen = ImageDraw.Draw(self.ground)
        for place in world.places.values():
            self._draw_place(place, pen)
        for place in shown:
            self._name(place, pen)

    def at(self, spot: tuple[int, int, int]) -> tuple[float, float] | None:
        """The pixel in the middle of a cell; None where nobody knows where its map lies."""
        place = self._places.get(spot[0])
        if place is None:
            return None
        return self._pixel(place.x + spot[1] + 0.5, place.y + spot[2] + 0.5)

    def trail(self, colour: str) -> Trail:
        """An empty way in a colour."""
        return Trail(self, colour)

    def _pixel(self, x: float, y: float) -> tuple[float, float]:
        return self._x + self.cell * x, self._y + self.cell * y

    def _draw_place(self, place: Place, pen: ImageDraw.ImageDraw) -> None:
        left, top = map(round, self._pixel(place.x, place.y))
        right, bottom = map(round, self._pixel(place.x + place.width, place.y + place.height))
        if right <= 0 or bottom <= 0 or left >= _MAP_SIZE[0] or top >= _MAP_SIZE[1]:
            return
        colours = np.array([_rgb(colour) for colour in GROUND], np.uint8)
        size = (max(right - left, 1), max(bottom - top, 1))
        self.ground.paste(Image.fromarray(colours[place.ground]).resize(size, Image.Resampling.NEAREST), (left, top))
        pen.rectangle((left, top, right, bottom), outline=_EDGE)

    def _name(self, place: Place, pen: ImageDraw.ImageDraw) -> None:
        (x, y), width = self._pixel(place.x, place.y), place.width * self.cell
        name = place.name.encode("latin-1", "replace").decode("latin-1")
        if len(name) * _CHAR + 4 <= width:
            pen.text((x + 3, y + 2), name, fill=INK, font=bitmap_font())


class Trail:
    """A way on a chart that grows: where it began, all of it faintly, the last steps strongly, where it ends."""

    def __init__(self, chart: Chart, colour: str):
        """Nothing yet."""
        self._chart, self._colour = chart, colour
        self._old = chart.ground.copy()
        self._drawn = 0  # spots that are part of `_old`

    def until(self, spots: Sequence[tuple[int, int, int]]) -> Image.Image:
        """The chart with the way to the last of `spots`, which begin with those of the call before."""
        points = [self._chart.at(spot) for spot in spots]
        pen = ImageDraw.Draw(self._old)
        self._line(pen, points[max(self._drawn - 1, 0) :], _mixed(self._colour, "#ffffff", _FADED), 2)
        self._drawn = len(points)
        picture = self._old.copy()
        pen = ImageDraw.Draw(picture)
        self._line(pen, points[-_RECENT:], _rgb(self._colour), 3)
        if points[0] is not None:
            pen.ellipse(_box(points[0], 4), outline=INK, fill=_LIGHT)
        if points[-1] is not None:
            pen.ellipse(_box(points[-1], 6), outline=_LIGHT, fill=self._colour, width=2)
        return picture

    def _line(
        self, pen: ImageDraw.ImageDraw, points: Sequence[tuple[float, float] | None], colour: Color, width: int
    ) -> None:
        for a, b in zip(points, points[1:], strict=False):
            if a is not None and b is not None and max(abs(a[0] - b[0]), abs(a[1] - b[1])) <= _FAR * self._chart.cell:
                pen.line((*a, *b), fill=colour, width=width)


def _notes(way: Trajectory, steps: int) -> Image.Image:
    """Who plays, and the milestones reached until now, the newest ones if they are many."""
    image = Image.new("RGB", _NOTES_SIZE, _DARK)
    pen, font = ImageDraw.Draw(image), bitmap_font()
    reached = [(step, name) for step, name in way.milestones if step <= steps]
    pen.rectangle((10, 12, 18, 20), fill=way.colour, outline=_LIGHT)
    pen.text((26, 10), way.player, fill=_LIGHT, font=font)
    words = f"{len(reached)} milestone{'s' * (len(reached) != 1)}"
    pen.text((_NOTES_SIZE[0] - 10 - _CHAR * len(words), 10), words, fill=_LIGHT, font=font)
    for index, (step, name) in enumerate(reached[-2 * _ROWS :]):
        x, y = 10 + index // _ROWS * _NOTES_SIZE[0] // 2, 32 + index % _ROWS * _LINE
        pen.text((x, y), f"{step:>6,}", fill=_DIM, font=font)
        pen.text((x + 7 * _CHAR, y), readable(name)[:30], fill=_LIGHT, font=font)
    return image


def _span(low: Sequence[int], high: Sequence[int]) -> tuple[float, float]:
    """Of cells, with a margin and not too few."""
    first, last = min(low) - _MARGIN, max(high) + _MARGIN
    spare = max(_FEWEST_CELLS - (last - first), 0) / 2
    return first - spare, last + spare


def _box(point: tuple[float, float], radius: int) -> tuple[float, float, float, float]:
    return point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius


def _rgb(colour: str) -> Color:
    return ImageColor.getcolor(colour, "RGB")  # type: ignore[return-value]


def _mixed(colour: str, other: str, share: float) -> Color:
    """Of two colours, `share` of the first."""
    red, green, blue = (round(share * a + (1 - share) * b) for a, b in zip(_rgb(colour), _rgb(other), strict=True))
    return red, green, blue
