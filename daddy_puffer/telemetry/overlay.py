"""What a film shows beside the game. In: a frame and a `Caption`. Out: one picture, game left, panel right.

Drawn with Pillow's built-in bitmap font and few flat colours, so that the same frame gives the same bytes on every
machine, a GIF keeps the colours exactly, and everything can be scaled up by whole pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from daddy_puffer.types import Action, Array

SCALE = 2  # of the game in the picture: 160x144 becomes 320x288
PANEL = 160  # columns
BADGES = 8
_GROUND, _EMPTY, _DIM, _TEXT = (17, 17, 17), (51, 51, 51), (136, 136, 136), (238, 238, 238)
_ACCENT, _GOOD, _BAD = (255, 196, 61), (94, 201, 120), (232, 95, 92)
_LEFT, _RIGHT, _LINE, _CHAR = 10, PANEL - 10, 13, 6  # pixels; the font's characters are 6 wide
_MOST_COMPONENTS, _MOST_BELIEFS = 6, 3
_PAD = {Action.UP: (0, -1), Action.DOWN: (0, 1), Action.LEFT: (-1, 0), Action.RIGHT: (1, 0)}
_PAD_AT, _PAD_ARM = (40, 72), 12
_ROUND = {Action.B: (98, 82), Action.A: (126, 66)}
_ROUND_RADIUS = 10
_START = (60, 100, 100, 107)

Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Belief:
    """A milestone's chance to be reached, and whether this episode has reached it."""

    milestone: str
    mean: float
    reached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """What is told about a frame."""

    step: int
    action: str  # name of the button that was pressed
    reward: float
    total: float  # of this episode so far
    badges: int
    place: str = ""
    components: Mapping[str, float] = field(default_factory=dict)  # what `total` is made of, by name
    beliefs: tuple[Belief, ...] = ()


def compose(frame: Array, caption: Caption | None) -> Array:
    """Scale u8 `[H, W, 3]` up and set the panel beside it; without a caption there is none."""
    game = np.ascontiguousarray(frame[..., :3].repeat(SCALE, axis=0).repeat(SCALE, axis=1))
    if caption is None:
        return game
    panel = Image.new("RGB", (PANEL, game.shape[0]), _GROUND)
    pen = _Pen(panel)
    pen.words(10, re.sub(r"(?<=[a-z])(?=[A-Z0-9])", " ", caption.place), _ACCENT)
    pen.words(10 + _LINE, f"step {caption.step:,}", _DIM)
    _draw_buttons(pen, caption.action)
    _draw_badges(pen, caption.badges)
    row = _draw_rewards(pen, caption)
    _draw_beliefs(pen, row, caption.beliefs[:_MOST_BELIEFS])
    return np.concatenate([game, np.asarray(panel)], axis=1)


class _Pen:
    """Text and shapes on the panel."""

    def __init__(self, panel: Image.Image) -> None:
        self.draw = ImageDraw.Draw(panel)
        self._font: Any = bitmap_font()

    def words(self, row: int, text: str, color: Color, right: bool = False, width: int = _RIGHT - _LEFT) -> None:
        """A line of text, cut to `width` pixels."""
        text = text.encode("latin-1", "replace").decode("latin-1")[: width // _CHAR]
        self.draw.text((_RIGHT - _CHAR * len(text) if right else _LEFT, row), text, fill=color, font=self._font)

    def label(self, x: int, row: int, text: str, color: Color) -> None:
        """Text at a place."""
        self.draw.text((x, row), text, fill=color, font=self._font)

    def rule(self, row: int) -> None:
        """A thin line across."""
        self.draw.line((_LEFT, row, _RIGHT - 1, row), fill=_EMPTY)

    def amount(self, row: int, name: str, value: float, color: Color, sign: str = "+.2f") -> None:
        """A name, and a number at the right edge."""
        self.words(row, name, _DIM, width=_RIGHT - _LEFT - 9 * _CHAR)
        self.words(row, format(value, sign), color, right=True)


def _draw_buttons(pen: _Pen, action: str) -> None:
    (x, y), arm = _PAD_AT, _PAD_ARM
    half = arm // 2
    pen.draw.rectangle((x - half, y - half, x + half, y + half), fill=_EMPTY)
    for button, (right, down) in _PAD.items():
        left, top = x + right * arm - half, y + down * arm - half
        pen.draw.rectangle((left, top, left + arm, top + arm), fill=_ACCENT if action == button.name else _EMPTY)
    for button, (left, top) in _ROUND.items():
        pressed, r = action == button.name, _ROUND_RADIUS
        pen.draw.ellipse((left - r, top - r, left + r, top + r), fill=_ACCENT if pressed else _EMPTY)
        pen.label(left - 2, top - 6, button.name, _GROUND if pressed else _DIM)
    pressed = action == Action.START.name
    pen.draw.rectangle(_START, fill=_ACCENT if pressed else _EMPTY)
    pen.label(_START[2] + 6, _START[1] - 2, "START", _ACCENT if pressed else _DIM)


def _draw_badges(pen: _Pen, badges: int) -> None:
    for number in range(BADGES):
        left = _LEFT + number * 18
        pen.draw.ellipse((left, 120, left + 10, 130), fill=_ACCENT if number < badges else _EMPTY)
    pen.rule(140)


def _draw_rewards(pen: _Pen, caption: Caption) -> int:
    """Return, reward of this step, and the greatest components in their order; returns the next free row."""
    row = 146
    pen.amount(row, "return", caption.total, _TEXT)
    color = _GOOD if caption.reward > 0 else _BAD if caption.reward < 0 else _DIM
    pen.amount(row + _LINE, "this step", caption.reward, color)
    row += 2 * _LINE
    parts = {name: value for name, value in caption.components.items() if abs(value) >= 0.005}
    shown = sorted(parts, key=lambda name: -abs(parts[name]))[:_MOST_COMPONENTS]
    for name in [name for name in parts if name in shown]:
        pen.amount(row, f" {name}", parts[name], _DIM)
        row += _LINE - 2
    return row


def _draw_beliefs(pen: _Pen, row: int, beliefs: tuple[Belief, ...]) -> None:
    row = max(row, 288 - 6 - _LINE * len(beliefs)) if beliefs else row
    for belief in beliefs:
        color = _GOOD if belief.reached else _DIM
        pen.words(row, belief.milestone, color, width=76)
        left, width = 92, 28
        pen.draw.rectangle((left, row + 4, left + width, row + 7), fill=_EMPTY)
        if belief.mean * width >= 1:
            pen.draw.rectangle((left, row + 4, left + round(belief.mean * width), row + 7), fill=color)
        pen.words(row, f"{belief.mean:.2f}", color, right=True)
        row += _LINE


def bitmap_font() -> Any:
    """Pillow's bitmap font; before 10.1 it is the only one that is built in."""
    return getattr(ImageFont, "load_default_imagefont", ImageFont.load_default)()
