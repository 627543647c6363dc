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


class TalkingBars(Bars):
    """Infos of all that other environments put there, some of it still being written to."""

    def __init__(self) -> None:
        super().__init__()
        self.steps_taken = np.zeros(2, np.int64)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        observation, reward, terminated, truncated, _ = super().step(action)
        self.steps_taken += 1
        info: dict[str, Any] = {
            "state": {("EVENT_A", "EVENT_B"): b"abc", (): b""},
            "cells": {np.int64(3): np.float32(1.5), 4: np.bool_(True), (1, 2): None},
            "seen": {"map", 10, np.int64(2), 2.5, (1,)},
            "steps": self.steps_taken,
            "map": np.zeros((40, 50), np.float32),
            "kept": (1 + 2j, np.array([0, 255], np.uint8), "nan"),
        }
        return observation, reward, terminated, truncated, info


def press_the_lit_one(picture: np.ndarray, info: dict[str, Any]) -> int:
    """A player that looks at the picture only, of whatever size."""
    red = picture[picture.shape[0] // 2, :, 0].astype(int)
    return int(red.argmax() * BUTTONS // len(red))


def press_nonsense(picture: np.ndarray, info: dict[str, Any]) -> str:
    """Gives no action."""
    return "up"
