"""A wrapper as theirs are: knows no options, resets in its constructor, returns infos of its own."""

from __future__ import annotations

from typing import Any

import gymnasium


class EpisodeStatsWrapper(gymnasium.Wrapper):
    def __init__(self, env: gymnasium.Env, options: Any) -> None:
        super().__init__(env)
        self.length = 0
        self.reset()

    def reset(self, seed: int | None = None) -> Any:  # type: ignore[override]
        self.length = 0
        return self.env.reset(seed=seed)

    def step(self, action: Any) -> Any:
        self.length += 1
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, info | {"length": self.length}
