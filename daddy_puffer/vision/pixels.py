"""Packed frames as brightness and back. In: u8 `[..., 72, 20]`, 2 bits a pixel. Out: f32 `[..., 72, 80]`, 0 to 1."""

from __future__ import annotations

import torch
from torch import Tensor

BRIGHTEST = 3  # level of white; 0 is black
_SHIFTS = (6, 4, 2, 0)  # of the four pixels of a byte, leftmost in bits 7-6


def to_levels(packed: Tensor) -> Tensor:
    """Levels u8 `[..., W]`, 0 black to 3 white, of bytes `[..., W / 4]`."""
    return torch.stack([(packed >> shift) & BRIGHTEST for shift in _SHIFTS], dim=-1).flatten(-2)


def to_brightness(packed: Tensor) -> Tensor:
    """Brightness f32 `[..., W]` of bytes `[..., W / 4]`."""
    return to_levels(packed).float() / BRIGHTEST


def nearest_levels(brightness: Tensor) -> Tensor:
    """The levels u8 that brightness of any value would be shown as."""
    return (brightness * BRIGHTEST).round().clamp(0, BRIGHTEST).to(torch.uint8)
