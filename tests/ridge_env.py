"""A narrow ridge: who does as signalled stays on it, who slips off has to walk back, which nobody on it shows."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

LANES, WIDTH, CENTRE = 7, 10, 3
UP, DOWN, STRAIGHT = 0, 1, 2
STEPS = 40


class Ridge(gymnasium.Env):
    """Pays 1 for the signalled action on the central lane; another one leads off it, where no signal is given.

    One signal in `hidden` is not in the picture but in the info alone, so that who sees only pictures must slip.
    """

    def __init__(self, steps: int = STEPS, hidden: float = 0.1) -> None:
        self.observation_space = gymnasium.spaces.Box(0, 255, (LANES, WIDTH, 3), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(3)
        self.steps, self.hidden = steps, hidden

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.count, self.lane = 0, CENTRE
        return self._observe()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        reward = float(self.lane == CENTRE and action == self.signal)
        if self.lane == CENTRE:
            self.lane += 0 if reward else int(self.np_random.choice((-2, 2)))
        else:
            self.lane = int(np.clip(self.lane + (action == DOWN) - (action == UP), 0, LANES - 1))
        self.count += 1
        picture, info = self._observe()
        return picture, reward, False, self.count == self.steps, info

    def _observe(self) -> tuple[np.ndarray, dict[str, Any]]:
        self.signal = int(self.np_random.integers(3))
        picture = np.zeros((LANES, WIDTH, 3), np.uint8)
        picture[self.lane, :4] = (250, 30, 0)
        if self.lane == CENTRE and self.np_random.random() >= self.hidden:
            picture[CENTRE + (-2, 2, 0)[self.signal], 6:] = (0, 200, 60)
        return picture, {"signal": self.signal}


def walk_the_ridge(picture: np.ndarray, info: dict[str, Any]) -> int:
    """Do as signalled, walk back."""
    lane = int(picture[:, 0, 0].argmax())
    if lane != CENTRE:
        return UP if lane > CENTRE else DOWN
    return int(info["signal"])


def walk_what_is_seen(picture: np.ndarray, info: dict[str, Any]) -> int:
    """The same without the info: slips off now and then, and walks back."""
    shown = picture[:, 6, 1] > 0
    return walk_the_ridge(
        picture, {"signal": (STRAIGHT, UP, DOWN)[int(shown.argmax()) - CENTRE] if shown.any() else UP}
    )


def know_the_middle_only(picture: np.ndarray, info: dict[str, Any]) -> int | None:
    """Know nothing off the ridge."""
    return walk_the_ridge(picture, info) if picture[CENTRE, 0, 0] else None


def press_too_far(picture: np.ndarray, info: dict[str, Any]) -> int:
    """An action that there is not."""
    return 3
