"""Environments in this process, their emulators on threads.

In: factories of environments as PufferLib packs them. Out: PufferLib's `send` and `recv`. Knows no configuration.

`send` lets the emulators play the frames of the actions, all side by side; `recv` does the rest of each step (rewards,
observations: Python, which only one thread can run) in the order of the environments, one as soon as its frames have
passed. So that everything that environments share is read and written in the same order as by `pufferlib.vector.Serial`
and every row is the same. An environment that nobody can play ahead is stepped in `recv` as a whole.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pufferlib.vector

from daddy_puffer.envs.batched import Crew, player_ahead
from daddy_puffer.errors import UserError
from daddy_puffer.types import Array
from daddy_puffer.vector.packed import WorkerError


class Threads(pufferlib.vector.Serial):
    """What `pufferlib.vector.Multiprocessing` is, in one process: `pufferlib.vector.make(..., backend=Threads)`."""

    envs: list[Any]

    def __init__(
        self,
        env_creators: Sequence[Callable[..., Any]],
        env_args: Sequence[Sequence[Any]],
        env_kwargs: Sequence[dict[str, Any]],
        num_envs: int,
        *,
        num_workers: int = 2,
        batch_size: int | None = None,
        timeout_seconds: float = 60.0,
    ):
        """Build the environments and `num_workers` threads; a batch is always that of all environments."""
        if num_workers < 1:
            raise UserError(f"num_workers must be at least 1, got {num_workers}")
        if batch_size not in (None, num_envs):
            raise UserError(f"threads step all environments together: batch_size {batch_size}, num_envs {num_envs}")
        super().__init__(env_creators, env_args, env_kwargs, num_envs)
        self.timeout_seconds = timeout_seconds
        self._ahead = [player_ahead(env.env) if hasattr(env, "env") else None for env in self.envs]
        self._ends = np.cumsum(self.agents_per_env)
        self._actions: Array | None = None  # of a step that was sent
        self._done: set[int] = set()  # played ahead
        self._left: list[int] = []  # environments whose step is not done, last one first
        self._crew = Crew(num_workers)

    def async_reset(self, seed: int | list[int] = 42) -> None:
        """Start every environment anew, environment i with seed `seed + i`."""
        self._settle()
        super().async_reset(seed)

    def send(self, actions: Array) -> None:
        """Start one step of every environment."""
        self._actions = np.array(pufferlib.vector.send_precheck(self, actions))
        players = [number for number, play in enumerate(self._ahead) if play and not self.envs[number].done]
        self._done = set(range(len(self.envs))).difference(players)
        self._left = list(range(len(self.envs)))[::-1]
        self._crew.start(self._play, players)

    def recv(self) -> tuple[Any, ...]:
        """Wait for the frames and do the rest of the step; the tuple of PufferLib's `recv`.

        Raises:
            WorkerError: an environment raised, or its emulator has been silent for `timeout_seconds`.
        """
        if self._actions is not None:
            self.infos = []
            while self._left:
                self._wait_for(self._left[-1])
                info = self._step(self._left.pop())
                if info:
                    self.infos.append(info)
            self._actions = None
        result: tuple[Any, ...] = super().recv()
        return result

    def close(self) -> None:
        """End the threads and close the environments; may be called twice."""
        if self._crew.close():  # an emulator that hangs cannot be switched off
            self._finish_step()
            for env in self.envs:
                env.close()
        self.envs = []

    def _play(self, number: int) -> None:
        play, actions = self._ahead[number], self._actions
        assert play is not None and actions is not None
        play(int(actions[self._ends[number] - 1]))  # such an environment has one agent

    def _step(self, number: int) -> Any:
        assert self._actions is not None
        env, end = self.envs[number], self._ends[number]
        try:
            if env.done:
                return env.reset()[1]
            return env.step(self._actions[end - self.agents_per_env[number] : end])[-1]
        except UserError:
            raise
        except Exception as error:
            raise WorkerError(f"environment {number} raised:\n{traceback.format_exc()}") from error

    def _wait_for(self, number: int) -> None:
        while number not in self._done:
            try:
                done, error = self._crew.next_done(self.timeout_seconds)
            except TimeoutError as silence:
                raise WorkerError(f"environment {number} has been {silence}; is the machine overloaded?") from None
            if error is not None:
                text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
                raise WorkerError(f"environment {done} raised:\n{text}") from error
            self._done.add(done)

    def _settle(self) -> None:
        """End a step that was sent and not received."""
        try:
            self._crew.finish(self.timeout_seconds)
        except TimeoutError as silence:
            raise WorkerError(f"an environment has been {silence}; is the machine overloaded?") from None
        self._finish_step()

    def _finish_step(self) -> None:
        """Do the rest of the step: its frames have passed, so whoever takes notes of actions has to see them."""
        while self._left:
            with contextlib.suppress(Exception):  # nobody is there for it any more
                self._step(self._left.pop())
        self._actions = None
