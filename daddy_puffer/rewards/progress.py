"""Pays for getting on, as a network trained on the order of frames sees it: no memory is read, no event is known.

In: the screen after every step, a score of one packed frame. Out: float. Knows no environment; the network is loaded
when it is asked for, so that nobody else pays for torch.

Every `reward_interval` steps: scale * gain - time_penalty, where with P the score at the last look, P' the new one

- best (default): gain = how far min(P, P') is above the best such score of the episode so far, else 0. What was paid
  once is not paid again, and a way back, which the game asks for now and then, costs nothing. A score has to last for
  two looks: a menu or a blank screen between two maps may look late, and passes.
- delta: gain = P' - P. A way there and back sums to 0, but by discounting the first half counts more than the second.
- potential: gain = gamma^n P' - P with n = reward_interval, as payments are n steps apart: discounted payments of an
  episode sum to gamma^n_last P_last - P_first whatever lies between (Ng, Harada & Russell 1999; the potential of a step
  between two looks is that of the last look, discounted up to the next). So it changes no best policy, and that is why
  it is of use only beside other rewards: alone it leaves all policies equal.

Scores with `bounded` are shares of a run (0 to 1), so that an episode pays at most `scale` for all gains of `best`;
else they are nats without bound. Gains themselves are not cut off: a way up in small steps and down at one stroke would
pay for ever. An episode's score starts where the episode starts, be it a save state in the middle of the game, and
steps after the last look are not paid.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daddy_puffer.arrays import Arrays
from daddy_puffer.config import ProgressRewardConfig
from daddy_puffer.errors import UserError

Array8 = NDArray[np.uint8]
Score = Callable[[Array8], float]
TERM = "progress"  # its name beside the other terms of a reward
_SHIFTS: Array8 = np.array([6, 4, 2, 0], np.uint8)  # of the four pixels of a byte, leftmost in bits 7-6


class ProgressReward:
    """Follows one environment; see the module's text."""

    def __init__(self, score: Score, settings: ProgressRewardConfig) -> None:
        """`score` of packed frames u8 `[72, 20]`."""
        self._score, self._settings = score, settings
        self._discount = settings.gamma**settings.reward_interval
        self._steps = 0
        self._last = self._best = 0.0

    def begin(self, screen: Array8) -> None:
        """An episode begins at this screen u8 `[144, 160, 4]`."""
        self._steps = 0
        self._last = self._best = self._score(half_size(screen))

    def step(self, screen: Array8) -> float:
        """What is paid for a step that ended at this screen; 0 between two looks."""
        self._steps += 1
        if self._steps % self._settings.reward_interval:
            return 0.0
        before, self._last = self._last, self._score(half_size(screen))
        gain = self._last - before
        if self._settings.mode == "potential":
            gain = self._discount * self._last - before
        elif self._settings.mode == "best":
            lasting = min(before, self._last)
            gain = max(lasting - self._best, 0.0)
            self._best = max(self._best, lasting)
        return self._settings.scale * gain - self._settings.time_penalty

    def get_state(self) -> Arrays:
        """Everything."""
        return {"scores": np.array([self._steps, self._last, self._best], np.float64)}

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave."""
        steps, self._last, self._best = state["scores"].tolist()
        self._steps = int(steps)


def half_size(screen: Array8) -> Array8:
    """Packed u8 `[72, 20]`, 2 bits a pixel, of a screen u8 `[144, 160, 4]`: what the networks were trained on."""
    quads = (screen[::2, ::2, 1] >> 6).reshape(72, 20, 4) << _SHIFTS
    packed: Array8 = np.bitwise_or.reduce(quads, axis=-1)
    return packed


def make_progress_reward(settings: ProgressRewardConfig) -> ProgressReward:
    """With the model that the settings name.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = Path(settings.model).expanduser()
    if not settings.model or not path.exists():
        raise UserError(f"daddy_puffer.ProgressReward: no model at {settings.model!r}: see `daddy-puffer pretrain`")
    return ProgressReward(_load(path.absolute(), _changed(path), settings.bounded), settings)


def _changed(path: Path) -> int:
    return max(file.stat().st_mtime_ns for file in ([path] if path.is_file() else [path, *path.glob("*.pt")]))


@functools.lru_cache(maxsize=4)
def _load(path: Path, changed_ns: int, bounded: bool) -> Score:
    """One network for all environments of a process."""
    from daddy_puffer.vision.progress import FrameScore, load_progress

    return FrameScore(load_progress(path), bounded)
