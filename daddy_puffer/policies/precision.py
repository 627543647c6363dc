"""What keeps a hand-written `autograd.Function` in float32 where everything around it may run in bfloat16.

Autocast is a switch for each kind of device; a network does not know on which kind it will run, hence both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.amp import custom_bwd, custom_fwd

Method = Callable[..., Any]


def in_float32(forward: Method) -> Method:
    """Decorate `forward`: floating inputs arrive as float32, and autocast is off inside."""
    for device_type in ("cpu", "cuda"):
        forward = custom_fwd(forward, device_type=device_type, cast_inputs=torch.float32)
    return forward


def without_autocast(backward: Method) -> Method:
    """Decorate `backward` of the same function."""
    for device_type in ("cpu", "cuda"):
        backward = custom_bwd(backward, device_type=device_type)
    return backward
