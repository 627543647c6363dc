"""Pictures of one size: what an environment shows, as u8 `[H, W, C]` of the height, width and colours asked for.

In: u8 `[h, w]` or `[h, w, c]`, c being 1, 3 or 4 (the last one transparency, dropped). Out: `[H, W, 3]` or `[H, W, 1]`.
Knows no environment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from daddy_puffer.errors import UserError

Array8 = NDArray[np.uint8]
NATIVE = "native"  # the size that the environment gives
MOST_PIXELS = 1024  # of a side


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFormat:
    """What pictures are made into."""

    height: int = 0  # pixels; 0 = as the environment gives them, as is width
    width: int = 0
    grey: bool = True  # one channel of brightness (ITU-R 601) instead of red, green and blue

    def __post_init__(self) -> None:
        """Check ranges."""
        if not all(isinstance(side, int) and 0 <= side <= MOST_PIXELS for side in (self.height, self.width)):
            raise UserError(f"a picture has 1..{MOST_PIXELS} pixels a side, got {self.height}x{self.width}")
        if bool(self.height) != bool(self.width):
            raise UserError(f"a picture has a height and a width, got {self.height}x{self.width}")

    def apply(self, picture: Array8) -> Array8:
        """Shrink by averaging the pixels that fall together, enlarge by repeating them."""
        plain = picture if picture.ndim == 2 or picture.shape[2] != 1 else picture[:, :, 0]
        plain = plain if plain.ndim == 2 else plain[:, :, :3]
        size = (self.height or plain.shape[0], self.width or plain.shape[1])
        as_it_is = plain.shape[:2] == size and (plain.ndim == 2) == self.grey
        if as_it_is:
            return plain.reshape(*size, -1).copy()
        image = Image.fromarray(np.ascontiguousarray(plain)).convert("L" if self.grey else "RGB")
        if plain.shape[:2] != size:
            image = image.resize((size[1], size[0]), Image.Resampling.BOX)
        return np.asarray(image, np.uint8).reshape(*size, -1).copy()


def read_size(text: str) -> tuple[int, int]:
    """Height and width out of "84x84"; zeros for "native".

    Raises:
        UserError: it is neither.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if text == NATIVE:
        return 0, 0
    if match is None or not int(match[1]) or not int(match[2]):
        raise UserError(f"size {text!r}: give height x width as in 84x84, or {NATIVE}")
    return int(match[1]), int(match[2])
