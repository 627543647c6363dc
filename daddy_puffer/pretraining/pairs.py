"""Pairs of frames of the same run, some time apart: which are drawn, what kind they are, how well their order is told.

In: a `FrameSet` with times; scores. Out: rows, kinds, numbers. Knows no network.

Whoever tells the order of two frames by one score of each is bounded: equal pictures get equal scores, so a pair of
them is right half of the time, and a room that is entered twice has one score for both. `lookup_scores` says what can
be had by knowing of every picture when it is shown on average: not a proof, but hard to beat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from daddy_puffer.errors import UserError
from daddy_puffer.pretraining.frames import UNKNOWN, Array8, FrameSet

NEAREST, FURTHEST = 5.0, 300.0  # seconds between the frames of a pair
DISTANCES = (5, 15, 30, 60, 120, 300)  # seconds: bounds of the groups by distance
KINDS = ("battle", "menu", "same_map", "other_map")
CANDIDATES = 8  # later frames out of which the one most alike is taken
BINS = 10  # of the reliability table
WINDOW_CORNER: Array8 = np.array([0xFF, 0xC0, 0xC0, 0xC3], np.uint8)  # upper left tile of the cartridge's windows
Array64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows of frames. `earlier`, `later` i64 `[P]`."""

    earlier: Tensor
    later: Tensor

    def __len__(self) -> int:
        """Pairs."""
        return len(self.earlier)


class PairSource:
    """Draws pairs out of runs."""

    def __init__(self, frames: FrameSet) -> None:
        """`frames` need times.

        Raises:
            UserError: no two frames of a run are far enough apart.
        """
        begin, end = np.zeros(len(frames), np.int64), np.zeros(len(frames), np.int64)
        for first, last in frames.spans():
            seconds = frames.seconds[first:last].astype(np.float64)
            begin[first:last] = first + np.searchsorted(seconds, seconds + NEAREST, "left")
            end[first:last] = first + np.searchsorted(seconds, seconds + FURTHEST, "right")
        self._packed = torch.from_numpy(frames.frames)
        self._firsts = torch.from_numpy(np.flatnonzero(end > begin))
        self._begin, self._end = torch.from_numpy(begin), torch.from_numpy(end)
        self._starts, self._ends = torch.tensor(frames.spans()).t().contiguous()
        if not len(self._firsts):
            raise UserError(f"no run is {NEAREST:.0f} s long: collect longer ones")

    def draw(self, count: int, generator: torch.Generator | None = None) -> Pairs:
        """The earlier frame is any that has a later one far enough away, the later one any of those."""
        earlier = self._firsts[torch.randint(len(self._firsts), (count,), generator=generator)]
        return Pairs(earlier, self._later(earlier, 1, generator)[:, 0])

    def draw_alike(self, count: int) -> Pairs:
        """Hard ones: of some later frames the one whose picture differs least, but differs.

        Chosen by the pictures alone, not by their order or what a network says of them: a chance that is right for all
        pairs is right for these too, while pairs that a network gets wrong are wrong more often than it says.
        """
        earlier = self._firsts[torch.randint(len(self._firsts), (count,))]
        candidates = self._later(earlier, CANDIDATES, None)
        differing = (self._packed[candidates] != self._packed[earlier][:, None]).flatten(2).sum(-1)
        differing = torch.where(differing > 0, differing, self._packed[0].numel() + 1)
        return Pairs(earlier, candidates.gather(1, differing.argmin(1, keepdim=True))[:, 0])

    def draw_groups(self, groups: int, size: int) -> Tensor:
        """Rows i64 `[G, size]`, rising, of `size` frames of one run each; a run of twice the frames is drawn twice."""
        anchors = torch.randint(len(self._packed), (groups,))
        run = torch.bucketize(anchors, self._starts, right=True) - 1
        begin, end = self._starts[run], self._ends[run]
        drawn = torch.rand((groups, size), dtype=torch.float64)
        return (begin[:, None] + (drawn * (end - begin)[:, None]).long()).sort(1).values

    def _later(self, earlier: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
        """Rows i64 `[P, count]` that are far enough from `earlier`."""
        begin, width = self._begin[earlier][:, None], (self._end - self._begin)[earlier][:, None]
        drawn = torch.rand((len(earlier), count), generator=generator, dtype=torch.float64)
        return begin + (drawn * width).long()


def within(seconds: Tensor) -> Tensor:
    """Which pairs (i, j) of frames of a group at `seconds` `[G, n]` are to be told: j later than i, `[G, n, n]`."""
    apart = seconds[:, None, :] - seconds[:, :, None]
    return (apart >= NEAREST) & (apart <= FURTHEST)


def has_window(packed: Array8) -> NDArray[np.bool_]:
    """Whether a picture `[N, 72, 20]` shows the corner of a text or menu of the cartridge, `[N]`."""
    tiles = packed.reshape(len(packed), -1, len(WINDOW_CORNER), packed.shape[-1])
    return np.asarray((tiles == WINDOW_CORNER[:, None]).all(2).any((1, 2)))


def kinds_of(frames: FrameSet, pairs: Pairs) -> NDArray[np.int64]:
    """Index into `KINDS`, -1 where nothing is known of a frame.

    battle: both frames in one; menu: neither, and a text or menu on either; same_map: what is left, on one map;
    other_map: the rest, also a battle and none.
    """
    battle, window = frames.scene[:, 2] > 0, has_window(frames.frames)
    one, other = pairs.earlier.numpy(), pairs.later.numpy()
    neither = ~battle[one] & ~battle[other]
    tests = [
        (frames.scene[one, 2] == UNKNOWN) | (frames.scene[other, 2] == UNKNOWN),
        battle[one] & battle[other],
        neither & (window[one] | window[other]),
        neither & (frames.scene[one, 0] == frames.scene[other, 0]),
    ]
    return np.select(tests, [-1, 0, 1, 2], 3)


def right(scores: Tensor, pairs: Pairs) -> Array64:
    """1 where the later frame scores more, 0 where less, 1/2 where the same: f64 `[P]`; `scores` of all rows."""
    difference = (scores[pairs.later] - scores[pairs.earlier]).double().numpy()
    return np.asarray((np.sign(difference) + 1) / 2)


def identical(frames: FrameSet, pairs: Pairs) -> NDArray[np.bool_]:
    """Pairs of the same picture, `[P]`."""
    return np.asarray((frames.frames[pairs.earlier.numpy()] == frames.frames[pairs.later.numpy()]).all((1, 2)))


def lookup_scores(frames: FrameSet, of: FrameSet) -> Tensor:
    """For every frame of `of` the mean time, as a share of its run, at which `frames` show its picture; f64 `[N]`.

    NaN where they do not. It is what perfect memory could know of pictures seen before.
    """
    totals: dict[bytes, tuple[float, int]] = {}
    for begin, end in frames.spans():
        for picture, share in zip(frames.frames[begin:end], np.linspace(0, 1, end - begin), strict=True):
            total, count = totals.get(key := picture.tobytes(), (0.0, 0))
            totals[key] = total + float(share), count + 1
    nothing = (np.nan, 1)
    found = [totals.get(picture.tobytes(), nothing) for picture in of.frames]
    return torch.tensor([total / count for total, count in found], dtype=torch.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityRow:
    """Pairs whose order a model is about equally sure of."""

    low: float  # bounds of the chance it gives its own answer, 1/2 to 1
    high: float
    pairs: int
    said: float  # mean of that chance
    right: float  # share of right answers


def reliability(scores: Tensor, pairs: Pairs) -> list[ReliabilityRow]:
    """Bins of what a model says; empty ones are left out."""
    difference = (scores[pairs.later] - scores[pairs.earlier]).double()
    said, correct = torch.sigmoid(difference.abs()).numpy(), right(scores, pairs)
    edges = np.linspace(0.5, 1.0, BINS + 1)
    place = np.clip(np.digitize(said, edges) - 1, 0, BINS - 1)
    rows = []
    for number in range(BINS):
        chosen = place == number
        if chosen.any():
            rows.append(
                ReliabilityRow(
                    low=float(edges[number]),
                    high=float(edges[number + 1]),
                    pairs=int(chosen.sum()),
                    said=float(said[chosen].mean()),
                    right=float(correct[chosen].mean()),
                )
            )
    return rows


def calibration_error(rows: list[ReliabilityRow]) -> float:
    """Expected calibration error (Guo 2017, equation 3): mean distance of what is said from what is right."""
    total = sum(row.pairs for row in rows)
    return sum(row.pairs * abs(row.said - row.right) for row in rows) / total
