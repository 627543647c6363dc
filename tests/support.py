"""Small stand-ins for the tests: an environment without emulator, a learner without network."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from daddy_puffer import cli
from daddy_puffer.arrays import Arrays
from daddy_puffer.files import read_archive, write_archive
from daddy_puffer.learner.learner import ActResult, NotFiniteError, UpdateResult
from daddy_puffer.types import PACKED_WIDTH, SCREEN_HEIGHT, VISITED_SHAPE, Action, EpisodeFlag, SequenceBatch, StepBatch

STRUCTURED = 12  # fields of the fake structured observation
MILESTONE_BYTES = 4
STACK = 4


@contextlib.contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes: a write that would gets part of it through, then OSError (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def through_a_file(state: Arrays) -> Arrays:
    """What is read where this was written."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.npz"
        write_archive(file, state)
        return read_archive(file.read_bytes())


class FakeRed(gymnasium.Env):
    """Counts steps; action A pays 1, every other 0. Ends after `terminate_at` or `truncate_at` steps.

    `structured[0]` is the step in the episode, `structured[1]` a number drawn from the seeded generator,
    `structured[2]` the last action. `misbehave` is what it does at step `misbehave_at` of its life:
    raise, hang, or kill (its own process).
    """

    def __init__(
        self, terminate_at: int = 0, truncate_at: int = 20, misbehave: str = "", misbehave_at: int = 5
    ) -> None:
        box = gymnasium.spaces.Box
        self.observation_space = gymnasium.spaces.Dict(
            {
                "frames": box(0, 255, (STACK, SCREEN_HEIGHT, PACKED_WIDTH), np.uint8),
                "visited": box(0, 255, VISITED_SHAPE, np.uint8),
                "structured": box(-np.inf, np.inf, (STRUCTURED,), np.float32),
                "milestones": box(0, 255, (MILESTONE_BYTES,), np.uint8),
                "ledger": box(-np.inf, np.inf, (4,), np.float32),
                "episode": box(-(2**31), 2**31 - 1, (4,), np.int32),
            }
        )
        self.action_space = gymnasium.spaces.Discrete(len(Action))
        self.terminate_at, self.truncate_at = terminate_at, truncate_at
        self.misbehave, self.misbehave_at = misbehave, misbehave_at
        self.life = 0
        self.episode = -1
        self.closed = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        if self.misbehave == "raise in reset":
            raise RuntimeError("boom in reset")
        self.episode += 1
        self.count = 0
        self.total = 0.0
        return self._observe(0, 0.0, EpisodeFlag.FIRST), {"start": True}

    def step(self, action: Any) -> tuple[dict, float, bool, bool, dict]:
        self.life += 1
        if self.misbehave and self.life == self.misbehave_at:
            self._misbehave()
        self.count += 1
        reward = float(action == Action.A)
        self.total += reward
        terminated = self.count == self.terminate_at
        truncated = not terminated and self.count == self.truncate_at
        flags = EpisodeFlag.TERMINATED * terminated | EpisodeFlag.TRUNCATED * truncated
        info = {"badges": 1, "map": "Somewhere", "milestones": ["boulder", "parcel"], "fake_total": self.total}
        return self._observe(int(action), reward, EpisodeFlag(flags)), reward, terminated, truncated, info

    def render(self) -> np.ndarray:
        return np.full((144, 160, 3), self.count % 256, np.uint8)

    def close(self) -> None:
        self.closed = True

    def _observe(self, action: int, reward: float, flags: EpisodeFlag) -> dict[str, np.ndarray]:
        structured = np.zeros(STRUCTURED, np.float32)
        structured[:3] = self.count, self.np_random.random(), action
        return {
            "frames": np.full((STACK, SCREEN_HEIGHT, PACKED_WIDTH), self.count % 256, np.uint8),
            "visited": np.zeros(VISITED_SHAPE, np.uint8),
            "structured": structured,
            "milestones": np.array([1, 0, 0, 128], np.uint8),
            "ledger": np.array([reward, 0, 0, 0], np.float32),
            "episode": np.array([self.episode, self.count, 0, flags], np.int32),
        }

    def _misbehave(self) -> None:
        if self.misbehave == "raise":
            raise RuntimeError("boom in step")
        if self.misbehave == "hang":
            time.sleep(60)
        if self.misbehave == "kill":
            os.kill(os.getpid(), signal.SIGKILL)


class FakeLearner:
    """Learns nothing, fast: always chooses `action`; it diverges at update `diverge_at`.

    The recurrent state counts the steps since the last `first`, so that its way into replay can be followed.
    """

    state_size = 2

    def __init__(self, action: int = Action.A, diverge_at: int = 0, update_seconds: float = 0.0) -> None:
        self.action, self.diverge_at, self.update_seconds = action, diverge_at, update_seconds
        self.updates = 0
        self.finite = True
        self.published = 0
        self.batches: list[SequenceBatch] = []
        self.shares_done: list[float] = []

    def initial_state(self, batch: int) -> np.ndarray:
        return np.zeros((batch, self.state_size), np.float32)

    def act(self, observation: dict, first: np.ndarray, state: np.ndarray, epsilon: np.ndarray) -> ActResult:
        state = np.where(first[:, None], 0, state) + 1
        return ActResult(np.full(len(first), self.action), state.astype(np.float32), np.zeros((len(first), 7)))

    def update(self, batch: SequenceBatch) -> UpdateResult:
        self.updates += 1
        self.batches.append(batch)
        time.sleep(self.update_seconds)
        if self.updates == self.diverge_at:
            raise NotFiniteError("loss is nan")
        return UpdateResult({"loss": 1.0 / self.updates}, np.ones(batch.indices.shape))

    def anneal(self, share_done: float) -> None:
        self.shares_done.append(share_done)

    def separate_actor(self) -> None:
        pass

    def publish(self) -> None:
        self.published = self.updates

    def is_finite(self) -> bool:
        return self.finite

    def state_dict(self) -> dict[str, int]:
        return {"updates": self.updates}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.updates = state["updates"]


def assert_same(one: StepBatch, other: StepBatch) -> None:
    """Two vectorized environments say the same of a step."""
    for name in one.observation:
        assert_array_equal(one.observation[name], other.observation[name], err_msg=name)
    for name in ("reward", "terminated", "truncated", "first", "env_ids"):
        assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert one.infos == other.infos


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """A command line in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["daddy-puffer", *arguments])
    with pytest.raises(SystemExit) as done:
        cli.main()
    return int(done.value.code or 0)
