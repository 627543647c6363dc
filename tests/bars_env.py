"""A game with coloured pictures and ten buttons: press the number of the lit bar."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

BUTTONS = 10
HEIGHT, WIDTH = 160, 240
STEPS = 12


class Bars(gymnasium.Env):
    """One of ten bars is red, the others are blue; its button pays 1. Ends by itself after `steps`."""

    def __init__(self, steps: int = STEPS, draws_only: bool = False) -> None:
        shape = (1,) if draws_only else (HEIGHT, WIDTH, 3)
        self.observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)
        self.action_space = gymnasium.spaces.Discrete(BUTTONS)
        self.steps, self.draws_only = steps, draws_only

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.count = 0
        self.lit = int(self.np_random.integers(BUTTONS))
        return self._observe(), {"lit": np.int64(self.lit)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        reward = float(int(action) == self.lit)
        self.count += 1
        self.lit = int(self.np_random.integers(BUTTONS))
        return self._observe(), reward, self.count == self.steps, False, {"lit": np.int64(self.lit)}

    def render(self) -> np.ndarray:
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        picture[:, :, 2] = 200
        bar = WIDTH // BUTTONS
        picture[:, self.lit * bar : (self.lit + 1) * bar] = (250, 30, 0)
        return picture

    def _observe(self) -> np.ndarray:
        return np.array([self.lit], np.uint8) if self.draws_only else self.render()


def press_the_lit_one(picture: np.ndarray, info: dict[str, Any]) -> int:
    """A player that looks at the picture only, of whatever size."""
    red = picture[picture.shape[0] // 2, :, 0].astype(int)
    return int(red.argmax() * BUTTONS // len(red))


def press_nonsense(picture: np.ndarray, info: dict[str, Any]) -> str:
    """Gives no action."""
    return "up"
