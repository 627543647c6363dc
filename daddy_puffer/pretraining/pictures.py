"""Pictures of frames: a grid of originals and reconstructions, films of what is real beside what is imagined.

In: levels u8 `[N, 72, 80]`, 0 black to 3 white. Out: PNG and GIF files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from daddy_puffer.files import replacing
from daddy_puffer.pretraining.frames import Array8

SCALE = 2  # screen pixels of a pixel
GAP = 2  # pixels between pictures
GREY_STEP = 85  # from one level to the next
FRAMES_A_SECOND = 5


def grid(pairs: list[tuple[Array8, Array8]], columns: int) -> Array8:
    """Pairs of levels `[72, 80]`, the second below the first, `columns` in a row: greys `[H, W]`."""
    height, width = pairs[0][0].shape
    rows = -(-len(pairs) // columns)
    canvas = np.full((rows * (2 * height + 3 * GAP), columns * (width + GAP) + GAP), 128, np.uint8)
    for place, pair in enumerate(pairs):
        top, left = place // columns * (2 * height + 3 * GAP) + GAP, place % columns * (width + GAP) + GAP
        for lower, levels in enumerate(pair):
            begin = top + lower * (height + GAP)
            canvas[begin : begin + height, left : left + width] = levels * GREY_STEP
    return canvas


def save_grid(path: Path, pairs: list[tuple[Array8, Array8]], columns: int = 8) -> Path:
    """Write a grid as PNG."""
    with replacing(path) as temporary:
        Image.fromarray(_enlarged(grid(pairs, columns))).save(temporary, format="PNG")
    return path


def save_film(path: Path, real: Array8, imagined: Array8) -> Path:
    """Write levels `[T, 72, 80]` as a GIF, real on the left, imagined on the right."""
    gap = np.full((*real.shape[:2], 2 * GAP), 128, np.uint8)
    film = np.concatenate([real * GREY_STEP, gap, imagined * GREY_STEP], axis=2)
    first, *rest = (Image.fromarray(_enlarged(greys)) for greys in film)
    with replacing(path) as temporary:
        first.save(temporary, format="GIF", save_all=True, append_images=rest, duration=1000 // FRAMES_A_SECOND, loop=0)
    return path


def _enlarged(greys: Array8) -> Array8:
    return greys.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
