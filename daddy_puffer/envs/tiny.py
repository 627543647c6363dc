"""Tiny tasks with known answers, many at once, in the pipeline's records: for tests of policies and learners.

In: actions i64 `[B]`. Out: `StepBatch`es with a blank screen; everything to be seen is in `structured`. Ends and resets
as `types.py` says. Knows no emulator.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from gymnasium import spaces

from daddy_puffer.types import PACKED_WIDTH, SCREEN_HEIGHT, VISITED_SHAPE, Array, EpisodeFlag, StepBatch


class TinyTask(Protocol):
    """One copy of a task."""

    num_actions: int
    size: int  # numbers in an observation

    def reset(self, rng: np.random.Generator) -> Array:
        """First observation, f32 `[size]`."""

    def step(self, action: int) -> tuple[Array, float, bool, bool]:
        """Observation, reward, terminated, truncated."""


class Chain:
    """States in a row; action 1 goes right, 0 left. Entering the last pays 1 and terminates.

    Episodes start anywhere and are truncated after `limit` steps, which the observation does not tell: the optimal
    values are those of the endless task only for who bootstraps a truncated episode.
    """

    num_actions = 2

    def __init__(self, length: int = 6, limit: int = 5) -> None:
        """`length` states, the last one terminal."""
        self.size, self.limit = length, limit

    def reset(self, rng: np.random.Generator) -> Array:
        """Any state but the last."""
        self._state = int(rng.integers(self.size - 1))
        self._steps = 0
        return self._observe()

    def step(self, action: int) -> tuple[Array, float, bool, bool]:
        """Go one state to the side."""
        self._state = max(0, self._state + (1 if action else -1))
        self._steps += 1
        terminated = self._state == self.size - 1
        return self._observe(), float(terminated), terminated, not terminated and self._steps == self.limit

    def optimal_values(self, gamma: float) -> Array:
        """Q*, f64 `[length - 1, 2]`: `gamma` to the number of steps that follow the rewarded one's predecessor."""
        to_go = np.arange(self.size - 1, 0, -1)  # steps from each state
        after_left = np.minimum(to_go + 1, self.size - 1)
        return np.stack([gamma**after_left, gamma ** (to_go - 1.0)], axis=1)

    def _observe(self) -> Array:
        return np.eye(self.size, dtype=np.float32)[self._state]


class CueRecall:
    """A cue at the first step, `delay` steps of noise, then the action that equals the cue pays 1, the other -1.

    Without memory nothing is better than a guess, which is worth 0 on average.
    """

    num_actions = 2
    size = 4  # cue 0, cue 1, noise, "answer now"

    def __init__(self, delay: int) -> None:
        """`delay` steps between cue and question."""
        self.delay = delay

    def reset(self, rng: np.random.Generator) -> Array:
        """Show a cue."""
        self._rng, self._steps = rng, 0
        self._cue = int(rng.integers(2))
        observation = np.zeros(self.size, np.float32)
        observation[self._cue] = 1.0
        return observation

    def step(self, action: int) -> tuple[Array, float, bool, bool]:
        """Wait, or answer."""
        self._steps += 1
        answered = self._steps == self.delay + 2
        observation = np.zeros(self.size, np.float32)
        observation[2] = self._rng.uniform(-1.0, 1.0)
        observation[3] = self._steps == self.delay + 1
        reward = (1.0 if action == self._cue else -1.0) if answered else 0.0
        return observation, reward, answered, False


class TMaze:
    """A cue at the start of a corridor says which way to turn at its end (Bakker 2001).

    Action 0 goes on, 1 and 2 turn. At the junction the turn that the cue told pays 1, the other -1, both terminate;
    turning elsewhere, or going on at the junction, does not move and costs 0.1. The corridor looks the same all along,
    so without memory nothing is better than a guess, which is worth 0; episodes are truncated after 4 lengths.
    """

    num_actions = 3
    size = 4  # cue 1, cue 2, corridor, junction

    def __init__(self, length: int) -> None:
        """`length` steps from the cue to the junction."""
        self.length = length

    def reset(self, rng: np.random.Generator) -> Array:
        """Show the cue."""
        self._place = self._steps = 0
        self._cue = int(rng.integers(1, 3))
        return self._observe()

    def step(self, action: int) -> tuple[Array, float, bool, bool]:
        """Go on or turn."""
        self._steps += 1
        turned = self._place == self.length and action > 0
        moved = action == 0 and self._place < self.length
        self._place += moved
        reward = (1.0 if action == self._cue else -1.0) if turned else -0.1 * (not moved)
        return self._observe(), reward, turned, not turned and self._steps == 4 * self.length

    def _observe(self) -> Array:
        observation = np.zeros(self.size, np.float32)
        junction = 3 if self._place == self.length else 2
        observation[self._cue - 1 if self._place == 0 else junction] = 1.0
        return observation


class TinyVector:
    """Copies of a task side by side, stepped like `vector.VectorEnv`."""

    def __init__(self, tasks: list[TinyTask]) -> None:
        """All of one kind."""
        self._tasks = tasks
        self.num_envs, self.num_actions = len(tasks), tasks[0].num_actions
        box = spaces.Box
        self.observation_space = spaces.Dict(
            {
                "frames": box(0, 255, (1, SCREEN_HEIGHT, PACKED_WIDTH), np.uint8),
                "visited": box(0, 255, VISITED_SHAPE, np.uint8),
                "structured": box(-np.inf, np.inf, (tasks[0].size,), np.float32),
                "milestones": box(0, 255, (1,), np.uint8),
                "ledger": box(-np.inf, np.inf, (4,), np.float32),
                "episode": box(-(2**31), 2**31 - 1, (4,), np.int32),
            }
        )

    def reset(self, seed: int) -> StepBatch:
        """Begin an episode in every copy."""
        self._rng = np.random.default_rng(seed)
        self._episode = np.zeros((self.num_envs, 4), np.int32)
        rows = [(task.reset(self._rng), 0.0, False, False) for task in self._tasks]
        return self._batch(rows, first=np.ones(self.num_envs, bool))

    def step(self, actions: Array) -> StepBatch:
        """One step of every copy; one that has ended begins its next episode instead."""
        first = self._ended.copy()
        rows = []
        for task, action, begins in zip(self._tasks, actions, first, strict=True):
            rows.append((task.reset(self._rng), 0.0, False, False) if begins else task.step(int(action)))
        self._episode[:, 1] += 1
        self._episode[first, 0] += 1
        self._episode[first, 1] = 0
        return self._batch(rows, first)

    def _batch(self, rows: list[tuple[Array, float, bool, bool]], first: Array) -> StepBatch:
        structured, reward, terminated, truncated = (np.array(column) for column in zip(*rows, strict=True))
        count = self.num_envs
        self._ended = terminated | truncated
        flags = EpisodeFlag.FIRST * first + EpisodeFlag.TERMINATED * terminated + EpisodeFlag.TRUNCATED * truncated
        self._episode[:, 3] = flags
        ledger = np.zeros((count, 4), np.float32)
        ledger[:, 0] = reward
        observation: dict[str, Array] = {
            "frames": np.zeros((count, 1, SCREEN_HEIGHT, PACKED_WIDTH), np.uint8),
            "visited": np.zeros((count, *VISITED_SHAPE), np.uint8),
            "structured": structured.astype(np.float32),
            "milestones": np.zeros((count, 1), np.uint8),
            "ledger": ledger,
            "episode": self._episode.copy(),
        }
        return StepBatch(
            observation=observation,
            reward=reward.astype(np.float32),
            terminated=terminated,
            truncated=truncated,
            first=first,
            env_ids=np.arange(count),
            infos=[{} for _ in range(count)],
        )
