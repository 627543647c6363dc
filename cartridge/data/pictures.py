"""Creature pictures and the title picture, drawn from a few shapes.

A body plan says which shapes make up a kind of creature; `draw_creature` fills a 40x40 picture of shades 0..3 with
them, varied by the species number (size, ears, stripes, tail), so that every species looks like itself each time. The
back picture is the same body, larger and without a face. Knows nothing of tiles or banks.
"""

from __future__ import annotations

import itertools
import math

Canvas = list[list[int]]

SIZE = 40
WHITE, LIGHT, DARK, BLACK = 0, 1, 2, 3
PLANS = ("beast", "bird", "fish", "bug", "snake", "blob", "rock", "plant")


def blank(width: int, height: int) -> Canvas:
    """A white picture."""
    return [[WHITE] * width for _ in range(height)]


def ellipse(canvas: Canvas, cx: float, cy: float, rx: float, ry: float, shade: int, rim: int = BLACK) -> None:
    """A filled ellipse with a rim two pixels wide and light falling from the upper left."""
    for y, row in enumerate(canvas):
        for x in range(len(row)):
            dx, dy = (x + 0.5 - cx) / rx, (y + 0.5 - cy) / ry
            distance = math.sqrt(dx * dx + dy * dy)
            if distance > 1:
                continue
            if distance > 1 - 2 / min(rx, ry):
                row[x] = rim
            elif dx + dy > 0.75 and shade < BLACK:
                row[x] = shade + 1
            else:
                row[x] = shade


def polygon(canvas: Canvas, points: list[tuple[float, float]], shade: int, rim: int = BLACK) -> None:
    """A filled polygon with a rim two pixels wide."""
    for y, row in enumerate(canvas):
        for x in range(len(row)):
            px, py = x + 0.5, y + 0.5
            inside = False
            nearest = 1e9
            for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
                if (ay > py) != (by > py) and px < (bx - ax) * (py - ay) / (by - ay) + ax:
                    inside = not inside
                length = (bx - ax) ** 2 + (by - ay) ** 2
                along = max(0.0, min(1.0, ((px - ax) * (bx - ax) + (py - ay) * (by - ay)) / length))
                nearest = min(nearest, math.hypot(px - ax - along * (bx - ax), py - ay - along * (by - ay)))
            if inside:
                row[x] = rim if nearest < 1.6 else shade
            elif nearest < 0.8:
                row[x] = rim


def stroke(canvas: Canvas, points: list[tuple[float, float]], width: float, shade: int) -> None:
    """A thick line through `points`."""
    for (ax, ay), (bx, by) in itertools.pairwise(points):
        steps = max(1, int(math.hypot(bx - ax, by - ay) * 2))
        for step in range(steps + 1):
            ellipse_dot(canvas, ax + (bx - ax) * step / steps, ay + (by - ay) * step / steps, width, shade)


def ellipse_dot(canvas: Canvas, cx: float, cy: float, radius: float, shade: int) -> None:
    """A plain disc."""
    for y in range(max(0, int(cy - radius)), min(len(canvas), int(cy + radius) + 2)):
        for x in range(max(0, int(cx - radius)), min(len(canvas[0]), int(cx + radius) + 2)):
            if (x + 0.5 - cx) ** 2 + (y + 0.5 - cy) ** 2 <= radius * radius:
                canvas[y][x] = shade


def face(canvas: Canvas, cx: float, cy: float, apart: float, fierce: bool) -> None:
    """Two eyes and a mouth."""
    for side in (-1, 1):
        ellipse_dot(canvas, cx + side * apart, cy, 3.2, WHITE)
        ellipse_dot(canvas, cx + side * apart, cy + 0.6, 2.1, BLACK)
        if fierce:
            inner, outer = cx + side * (apart - 3), cx + side * (apart + 4)
            stroke(canvas, [(inner, cy - 2), (outer, cy - 5)], 1.1, BLACK)
    stroke(canvas, [(cx - 3, cy + 5.5), (cx, cy + 7), (cx + 3, cy + 5.5)], 1.0, BLACK)


class Traits:
    """Small numbers that depend on the species only."""

    def __init__(self, species: int) -> None:
        """The same species gives the same numbers."""
        self._state = species * 2654435761 % 2**32

    def pick(self, count: int) -> int:
        """0..count-1."""
        self._state = (self._state * 1664525 + 1013904223) % 2**32
        return (self._state >> 16) % count


def draw_creature(species: int, plan: str, back: bool) -> Canvas:
    """40x40 picture of a species; `plan` is one of PLANS."""
    canvas = blank(SIZE, SIZE)
    traits = Traits(species)
    shade = (LIGHT, DARK, WHITE)[traits.pick(3)]
    grow = 1.0 + 0.05 * traits.pick(4)
    _BODIES[plan](canvas, traits, shade, grow, back)
    return enlarge(canvas) if back else canvas


def enlarge(canvas: Canvas) -> Canvas:
    """The upper left three quarters, blown up to the whole: a creature seen from close behind."""
    return [[canvas[y * 3 // 4 + 2][x * 3 // 4 + 5] for x in range(SIZE)] for y in range(SIZE)]


def _markings(canvas: Canvas, traits: Traits, cx: float, cy: float, width: float) -> None:
    kind = traits.pick(3)
    if kind == 0:
        for offset in (-5, 0, 5):
            stroke(canvas, [(cx + offset, cy - 4), (cx + offset * 0.7, cy + 2)], 1.0, BLACK)
    elif kind == 1:
        for dx, dy in ((-width * 0.4, 0), (0, 3), (width * 0.4, -1)):
            ellipse_dot(canvas, cx + dx, cy + dy, 1.9, BLACK)


def _beast(canvas: Canvas, traits: Traits, shade: int, grow: float, back: bool) -> None:
    tail = traits.pick(4)
    ends = [(35, 14), (38, 20), (30, 8), (36, 27)]
    stroke(canvas, [(30, 30), (36, 24), ends[tail]], (1.6, 2.6, 3.4, 4.6)[traits.pick(4)], BLACK)
    ellipse_dot(canvas, *ends[tail], 3.6, (WHITE, DARK, LIGHT)[traits.pick(3)])
    upright = traits.pick(3) == 0
    for x in (13, 25) if upright else (11, 18, 25, 31):
        polygon(canvas, [(x - 3, 28), (x + 3, 28), (x + 4, 38), (x - 4, 38)], shade)
    body_x = 19 if upright else 22
    ellipse(canvas, body_x, 27, (10 if upright else 12) * grow, 10 if upright else 8, shade)
    if upright:
        ellipse(canvas, body_x, 29, 5, 6, WHITE, LIGHT)
    else:
        _markings(canvas, traits, 26, 25, 12)
    head_x = 19 if upright else 14
    ears = traits.pick(4)
    for side in (-1, 1):
        if ears == 0:
            polygon(canvas, [(head_x + side * 3, 9), (head_x + side * 10, 1), (head_x + side * 10, 14)], DARK)
        elif ears == 1:
            ellipse(canvas, head_x + side * 9, 7, 5, 5, DARK)
        elif ears == 2:
            ellipse(canvas, head_x + side * 5, 5, 3.5, 8, WHITE)
        else:
            ellipse(canvas, head_x + side * 11, 16, 4, 8, DARK)
    ellipse(canvas, head_x, 15, 11 * min(grow, 1.08), 9 + traits.pick(2), shade)
    if traits.pick(3) == 0:
        polygon(canvas, [(head_x - 2, 6), (head_x, 0), (head_x + 3, 6)], WHITE)
    if not back:
        face(canvas, head_x - 1, 14, 4 + traits.pick(2), traits.pick(2) == 0)


def _bird(canvas: Canvas, traits: Traits, shade: int, grow: float, back: bool) -> None:
    for x in (16, 23):
        stroke(canvas, [(x, 32), (x, 37)], 1.4, BLACK)
        stroke(canvas, [(x - 3, 38), (x + 3, 38)], 1.2, BLACK)
    polygon(canvas, [(28, 26), (39, 20 + 4 * traits.pick(3)), (34, 33)], DARK)
    ellipse(canvas, 20, 23, 11 * grow, 12, shade)
    lift = traits.pick(3) * 4
    polygon(canvas, [(10, 20), (1, 12 - lift + 6), (4, 28), (12, 28)], DARK)
    polygon(canvas, [(29, 20), (38, 8 + lift), (35, 26), (27, 28)], DARK)
    crest = traits.pick(3)
    for dx in range(-crest, crest + 1):
        stroke(canvas, [(19, 6), (19 + dx * 4, 1)], 1.5, BLACK)
    ellipse(canvas, 19, 11, 9, 8, shade)
    if not back:
        face(canvas, 18, 9, 4, traits.pick(2) == 0)
        polygon(canvas, [(14, 13), (22, 13), (18, 20)], LIGHT)
    _markings(canvas, traits, 20, 26, 9)


def _fish(canvas: Canvas, traits: Traits, shade: int, grow: float, back: bool) -> None:
    polygon(canvas, [(28, 21), (39, 10), (36, 21), (39, 33)], DARK)
    fin = traits.pick(3) * 3
    polygon(canvas, [(12, 12), (20, 1 + fin), (27, 13)], DARK)
    polygon(canvas, [(16, 30), (22, 39), (26, 29)], DARK)
    ellipse(canvas, 17, 21, 14 * grow, 11, shade)
    for x in (20, 25):
        stroke(canvas, [(x, 15), (x + 2, 21), (x, 27)], 0.9, BLACK)
    _markings(canvas, traits, 15, 27, 10)
    if not back:
        face(canvas, 11, 18, 5, traits.pick(2) == 0)


def _bug(canvas: Canvas, traits: Traits, shade: int, grow: float, back: bool) -> None:
    winged = traits.pick(2)
    if winged:
        ellipse(canvas, 8, 17, 8, 11, WHITE)
        ellipse(canvas, 32, 17, 8, 11, WHITE)
    for side in (-1, 1):
        for row in (22, 27, 32):
            stroke(canvas, [(20 + side * 7, row), (20 + side * 15, row + 3), (20 + side * 17, row + 6)], 1.2, BLACK)
        stroke(canvas, [(20 + side * 3, 8), (20 + side * 8, 1)], 1.1, BLACK)
        ellipse_dot(canvas, 20 + side * 8, 2, 2, DARK)
    ellipse(canvas, 20, 29, 9 * grow, 9, shade)
    ellipse(canvas, 20, 20, 8, 7, DARK)
    for row in (27, 32):
        stroke(canvas, [(13, row), (27, row)], 0.9, BLACK)
    ellipse(canvas, 20, 12, 9, 8, shade)
    if not back:
        face(canvas, 20, 11, 4, traits.pick(2) == 0)


def _snake(canvas: Canvas, traits: Traits, shade: int, grow: float, back: bool) -> None:
    path = [(36, 34), (26, 37), (12, 35), (8, 29), (16, 25), (28, 26), (31, 20), (24, 16), (17, 15)]
    stroke(canvas, [(float(x), float(y)) for x, y in path], 4.6, BLACK)
    stroke(canvas, [(float(x), float(y)) for x, y in path], 3.0, shade)
    for x, y in path[1:-1:2]:
        ellipse_dot(canvas, x, y, 1.6, DARK if shade != DARK else BLACK)
    if traits.pick(2):
        polygon(canvas, [(5, 8), (1, 20), (12, 20)], DARK)
        polygon(canvas, [(27, 8), (31, 20), (20, 20)], DARK)
    ellipse(canvas, 16, 11, 10 * grow, 9, shade)
    if not back:
        face(canvas, 15, 9, 5, True)
        stroke(canvas, [(15, 17), (15, 22)], 0.9, DARK)


def _blob(canvas: Canvas, traits: Traits, shade: int, grow: float, back: bool) -> None:
    spikes = 7 + traits.pick(5)
    for index in range(spikes):
        angle = math.pi * 2 * index / spikes - math.pi / 2
        reach = 19.5 if traits.pick(2) else 17.5
        points = [(20 + 12 * math.cos(angle + s), 22 + 12 * math.sin(angle + s)) for s in (-0.25, 0.25)]
        polygon(canvas, [points[0], (20 + reach * math.cos(angle), 21 + reach * math.sin(angle)), points[1]], DARK)
    ellipse(canvas, 20, 22, 14, 13 * min(grow, 1.1), shade)
    _markings(canvas, traits, 20, 14, 12)
    if not back:
        face(canvas, 20, 20, 6, traits.pick(2) == 0)


def _rock(canvas: Canvas, traits: Traits, shade: int, grow: float, back: bool) -> None:
    for side in (-1, 1):
        polygon(canvas, [(20 + side * 11, 16), (20 + side * 19, 20), (20 + side * 18, 30), (20 + side * 11, 26)], DARK)
    tilt = traits.pick(5) - 2
    points = [(10, 8), (22 + tilt, 2), (32, 9), (36, 24), (30, 37), (12, 38), (4, 27), (5, 15)]
    polygon(canvas, [(float(x), float(y)) for x, y in points], shade)
    stroke(canvas, [(12, 30), (17, 33), (21, 31)], 1.0, BLACK)
    stroke(canvas, [(26, 8), (24, 12), (28, 14)], 1.0, BLACK)
    _markings(canvas, traits, 21, 32, 9)
    if not back:
        face(canvas, 20, 18, 6 * min(grow, 1.1), True)


def _plant(canvas: Canvas, traits: Traits, shade: int, grow: float, back: bool) -> None:
    for side in (-1, 1):
        polygon(canvas, [(20, 33), (20 + side * 18, 25), (20 + side * 14, 37)], DARK)
    stroke(canvas, [(20, 24), (20, 36)], 3.0, BLACK)
    leaves = 5 + traits.pick(4)
    for index in range(leaves):
        angle = math.pi * 2 * index / leaves - math.pi / 2
        ellipse(canvas, 20 + 10 * math.cos(angle), 16 + 10 * math.sin(angle), 6, 6, (DARK, WHITE)[index % 2])
    ellipse(canvas, 20, 16, 10 * min(grow, 1.1), 10, shade)
    if not back:
        face(canvas, 20, 14, 4.5, traits.pick(3) == 0)


_BODIES = {
    "beast": _beast,
    "bird": _bird,
    "fish": _fish,
    "bug": _bug,
    "snake": _snake,
    "blob": _blob,
    "rock": _rock,
    "plant": _plant,
}


def draw_title(letters: dict[str, Canvas]) -> Canvas:
    """160x144 title: the name in large letters over a puffer fish in the water. `letters`: 8x8 glyphs."""
    canvas = blank(160, 144)
    for y in range(88, 144):
        for x in range(160):
            canvas[y][x] = LIGHT if (y - 88) % 16 >= 8 else WHITE
    _big_text(canvas, letters, "PUFFER", 32, 8, 2, 2)
    _big_text(canvas, letters, "ISLES", 40, 28, 2, 2)
    for index in range(14):
        angle = math.pi * 2 * index / 14
        ax, ay = 80 + 26 * math.cos(angle), 78 + 22 * math.sin(angle)
        bx, by = 80 + 34 * math.cos(angle), 78 + 30 * math.sin(angle)
        stroke(canvas, [(ax, ay), (bx, by)], 1.6, BLACK)
    polygon(canvas, [(102, 78), (120, 66), (117, 78), (120, 92)], DARK)
    ellipse(canvas, 80, 78, 28, 24, LIGHT)
    for side in (-1, 1):
        ellipse_dot(canvas, 72 + side * 11, 72, 6, WHITE)
        ellipse_dot(canvas, 71 + side * 11, 73, 3.6, BLACK)
    stroke(canvas, [(66, 86), (72, 89), (78, 86)], 1.6, BLACK)
    return canvas


def _big_text(canvas: Canvas, letters: dict[str, Canvas], text: str, left: int, top: int, wide: int, high: int) -> None:
    for index, letter in enumerate(text):
        glyph = letters[letter]
        for y in range(8 * high):
            for x in range(8 * wide):
                if glyph[y // high][x // wide]:
                    canvas[top + y][left + index * 8 * wide + x] = BLACK
