"""How unlike two pictures are. In: brightness f32 `[N, 1, H, W]`, 0 to 1. Out: a number to minimise, 0 for equal ones.

`structural_loss` needs nothing; LPIPS (Zhang 2018) needs the package of that name and the weights of the network that
it compares features of. `perceptual_loss` takes LPIPS where both are there, and never downloads.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from daddy_puffer.errors import UserError

Loss = Callable[[Tensor, Tensor], Tensor]
PERCEPTUAL = ("auto", "lpips", "structural", "none")
WINDOW, WINDOW_STRIDE = 7, 2  # pixels of a window's side, and from one window to the next
SCALES = (1, 2, 4)  # by which pictures are shrunk
C1, C2 = 0.01**2, 0.03**2  # Wang 2004, for a range of 1
ALEXNET_WEIGHTS = "alexnet-owt-*.pth"  # as torchvision keeps them


def structural_similarity(one: Tensor, other: Tensor) -> Tensor:
    """SSIM (Wang 2004, equation 13) of every window, -1 to 1; windows are even squares, not Gaussians."""

    def mean(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values, WINDOW, WINDOW_STRIDE)

    mean_1, mean_2 = mean(one), mean(other)
    variance_1, variance_2 = mean(one * one) - mean_1 * mean_1, mean(other * other) - mean_2 * mean_2
    covariance = mean(one * other) - mean_1 * mean_2
    brightness = (2 * mean_1 * mean_2 + C1) / (mean_1 * mean_1 + mean_2 * mean_2 + C1)
    # rounding can make the variance of an even window slightly negative: never the denominator
    structure = (2 * covariance + C2) / ((variance_1 + variance_2).clamp(min=0) + C2)
    return brightness * structure


def structural_loss(one: Tensor, other: Tensor) -> Tensor:
    """1 minus the mean SSIM over three scales, 0 to 2.

    As MS-SSIM (Wang 2003), but a mean over scales, not a product, so that a scale where nothing fits yet does not take
    the gradient from the others.
    """
    found = []
    for factor in SCALES:
        small = [functional.avg_pool2d(image, factor) for image in (one, other)]
        found.append(structural_similarity(*small).mean())
    return 1 - torch.stack(found).mean()


def perceptual_loss(name: str, device: torch.device) -> tuple[Loss | None, str]:
    """The loss of this name, and what to say of it in the log; no loss for `none`.

    Raises:
        UserError: there is none of this name, or LPIPS is asked for and not all there.
    """
    if name not in PERCEPTUAL:
        raise UserError(f"--perceptual must be one of {', '.join(PERCEPTUAL)}, got {name!r}")
    if name == "none":
        return None, "perceptual loss: none"
    if name == "structural":
        return structural_loss, "perceptual loss: built-in multi-scale structural similarity"
    missing = lpips_is_missing()
    if not missing:
        return _Lpips(device), "perceptual loss: LPIPS (AlexNet)"
    if name == "lpips":
        raise UserError(f"LPIPS cannot be used: {missing}; take --perceptual structural")
    return structural_loss, f"perceptual loss: built-in multi-scale structural similarity ({missing})"


def lpips_is_missing() -> str:
    """What LPIPS lacks to work without a download; empty if nothing."""
    try:
        import_module("lpips")
    except ImportError:
        return "the package lpips is not installed"
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return "" if any(folder.glob(ALEXNET_WEIGHTS)) else f"no weights {ALEXNET_WEIGHTS} in torch's folder checkpoints"


class _Lpips:
    """LPIPS of grey pictures, frozen."""

    def __init__(self, device: torch.device) -> None:
        network: Any = import_module("lpips").LPIPS(net="alex", verbose=False)
        self._network: nn.Module = network.to(device).eval().requires_grad_(False)

    def __call__(self, one: Tensor, other: Tensor) -> Tensor:
        """Mean distance; it wants three channels from -1 to 1."""
        first, second = (image.expand(-1, 3, -1, -1) * 2 - 1 for image in (one, other))
        return self._network(first, second).mean()
