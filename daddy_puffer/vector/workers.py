"""Environments in processes of this machine.

In: factories of `PackedEnv`. Out: PufferLib's `send` and `recv`. Knows no configuration, no other machine.
`pufferlib.vector.Multiprocessing` of 1.0.1 builds every environment in the parent as well, spins on both sides, and
waits for ever for a worker that raised or died: `WorkerPool` has the same interface, waits on pipes, and raises.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import gymnasium
import numpy as np
import pufferlib.vector

from daddy_puffer.arrays import Arrays
from daddy_puffer.child import Parent, cause_of_death, signals_held
from daddy_puffer.errors import UserError
from daddy_puffer.types import Array
from daddy_puffer.vector.packed import PackedEnv, WorkerError

_STEP, _RESET, _GET, _SET, _CLOSE = b"s", b"r", b"g", b"p", b"c"  # what the parent says
_DONE, _INFOS, _ERROR, _USER_ERROR = b"d", b"i", b"e", b"u"  # first byte of what a worker answers
_CLOSE_SECONDS = 5.0


class WorkerPool:
    """What `pufferlib.vector.Multiprocessing` is, with polite waiting and workers that may fail.

    Rows, actions and ends lie in memory shared with the workers; pipes carry one byte a step to and fro, the
    infos of ended episodes, and the traceback of a worker that raised.
    """

    def __init__(
        self,
        env_creators: Sequence[Callable[[], PackedEnv]],
        env_args: Sequence[Sequence[Any]],
        env_kwargs: Sequence[dict[str, Any]],
        num_envs: int,
        *,
        num_workers: int,
        timeout_seconds: float,
    ):
        """Look at one environment for its spaces, close it, start the workers."""
        if num_envs % num_workers != 0:
            raise UserError(f"{num_envs} environments cannot be shared equally among {num_workers} workers")
        self.timeout_seconds = timeout_seconds
        self.num_envs = num_envs
        self.num_workers = num_workers
        self.envs_per_worker = num_envs // num_workers
        self.driver_env = env_creators[0](*env_args[0], **env_kwargs[0])
        self.driver_env.close()
        self.emulated = self.driver_env.emulated
        self.single_observation_space = self.driver_env.single_observation_space
        self.single_action_space = self.driver_env.single_action_space
        self.agent_ids = np.arange(num_envs)
        # fork where there is one: cheap, and the factories need not be picklable; workers use neither torch nor CUDA
        methods = multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
        self._shared = _SharedArrays(context, num_envs, self.single_observation_space)
        self.arrays = self._shared.views()
        self.pipes: list[Connection] = []
        self.processes: list[Any] = []
        for worker in range(num_workers):
            rows = slice(worker * self.envs_per_worker, (worker + 1) * self.envs_per_worker)
            ours, theirs = context.Pipe()
            arguments = (env_creators[rows], env_args[rows], env_kwargs[rows], self._shared, rows, theirs, os.getpid())
            process = context.Process(target=_work, args=arguments, daemon=True, name=f"envs-{worker}")
            with signals_held():
                process.start()
            theirs.close()  # so that the end of the worker is the end of the pipe
            self.pipes.append(ours)
            self.processes.append(process)

    def async_reset(self, seed: int) -> None:
        """Start a reset of every environment, environment i with seed `seed + i`."""
        for worker, pipe in enumerate(self.pipes):
            first = seed + worker * self.envs_per_worker
            self._say(worker, pipe, _RESET + pickle.dumps(list(range(first, first + self.envs_per_worker))))

    def send(self, actions: Array) -> None:
        """Start one step of every environment."""
        self.arrays.actions[:] = actions
        for worker, pipe in enumerate(self.pipes):
            self._say(worker, pipe, _STEP)

    def recv(self) -> tuple[Any, ...]:
        """Wait for every worker; the tuple of PufferLib's `recv`.

        Raises:
            WorkerError: a worker raised, died, or has been silent for `timeout_seconds`.
        """
        deadline = time.monotonic() + self.timeout_seconds
        infos: list[dict[str, Any]] = []
        for worker, pipe in enumerate(self.pipes):
            answer = self._hear(worker, pipe, deadline)
            if answer[:1] == _INFOS:
                infos.extend(pickle.loads(answer[1:]))  # from our own child process, not from disk
        shared = self.arrays
        mask = np.ones(self.num_envs, dtype=bool)
        return shared.rows, shared.rewards, shared.terminated, shared.truncated, infos, self.agent_ids, mask

    def get_states(self) -> list[Arrays | None]:
        """`PackedEnv.get_state` of every environment; no step is in progress."""
        for worker, pipe in enumerate(self.pipes):
            self._say(worker, pipe, _GET)
        deadline = time.monotonic() + self.timeout_seconds
        answers = [self._hear(worker, pipe, deadline) for worker, pipe in enumerate(self.pipes)]
        return [state for answer in answers for state in pickle.loads(answer[1:])]

    def set_states(self, states: Sequence[Arrays]) -> None:
        """`PackedEnv.set_state` of every environment.

        Raises:
            UserError: as there.
        """
        size = self.envs_per_worker
        for worker, pipe in enumerate(self.pipes):
            self._say(worker, pipe, _SET + pickle.dumps(states[worker * size : (worker + 1) * size]))
        deadline = time.monotonic() + self.timeout_seconds
        refused: UserError | None = None
        for worker, pipe in enumerate(self.pipes):
            try:
                self._hear(worker, pipe, deadline)
            except UserError as error:  # the others have answers, too
                refused = error
        if refused is not None:
            raise refused

    def close(self) -> None:
        """Ask the workers to end, insist after a while."""
        for pipe in self.pipes:
            try:
                pipe.send_bytes(_CLOSE)
            except OSError:
                pass  # it has ended already
        deadline = time.monotonic() + _CLOSE_SECONDS
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        for pipe in self.pipes:
            pipe.close()
        self.pipes = []

    def _say(self, worker: int, pipe: Connection, message: bytes) -> None:
        try:
            pipe.send_bytes(message)
        except OSError:
            self._hear(worker, pipe, time.monotonic() + self.timeout_seconds)  # raises what the worker left behind
            raise

    def _hear(self, worker: int, pipe: Connection, deadline: float) -> bytes:
        last = (worker + 1) * self.envs_per_worker - 1
        who = f"worker {worker} (environments {worker * self.envs_per_worker} to {last})"
        try:
            if not pipe.poll(max(0.0, deadline - time.monotonic())):
                raise WorkerError(f"{who} has been silent for {self.timeout_seconds:g} s; is the machine overloaded?")
            answer = pipe.recv_bytes()
        except (EOFError, ConnectionError) as error:
            cause = cause_of_death(self.processes[worker])
            raise WorkerError(f"{who} died: {cause}; if it was SIGKILL, the machine may lack memory") from error
        if answer[:1] == _USER_ERROR:
            raise UserError(answer[1:].decode())
        if answer[:1] == _ERROR:
            raise WorkerError(f"{who} raised:\n{answer[1:].decode()}")
        return answer


class _Views:
    """Numpy views of the shared memory, made on each side."""

    def __init__(self, shared: _SharedArrays):
        count, space = shared.num_envs, shared.space
        self.rows = np.frombuffer(shared.rows, dtype=space.dtype).reshape(count, *space.shape)
        self.actions = np.frombuffer(shared.actions, dtype=np.int64)
        self.rewards = np.frombuffer(shared.rewards, dtype=np.float32)
        self.terminated = np.frombuffer(shared.terminated, dtype=bool)
        self.truncated = np.frombuffer(shared.truncated, dtype=bool)
        self.masks = np.frombuffer(shared.masks, dtype=bool)


class _SharedArrays:
    """Raw memory that parent and workers share: one row for each environment."""

    def __init__(self, context: Any, num_envs: int, space: gymnasium.spaces.Box):
        self.num_envs = num_envs
        self.space = space
        row_bytes = int(np.prod(space.shape)) * np.dtype(space.dtype).itemsize
        self.rows = context.RawArray("B", num_envs * row_bytes)
        self.actions = context.RawArray("q", num_envs)
        self.rewards = context.RawArray("f", num_envs)
        self.terminated = context.RawArray("B", num_envs)
        self.truncated = context.RawArray("B", num_envs)
        self.masks = context.RawArray("B", num_envs)

    def views(self) -> _Views:
        return _Views(self)


def _work(
    creators: Sequence[Callable[[], PackedEnv]],
    args: Sequence[Sequence[Any]],
    kwargs: Sequence[dict[str, Any]],
    shared: _SharedArrays,
    rows: slice,
    pipe: Connection,
    parent: int,
) -> None:
    """Main function of a worker: build its environments, then do what the pipe says."""
    told = Parent(pipe, parent)
    try:
        envs = pufferlib.vector.Serial(creators, args, kwargs, len(creators))
        arrays = shared.views()
        envs._assign_buffers(
            pufferlib.namespace(
                observations=arrays.rows[rows],
                rewards=arrays.rewards[rows],
                terminals=arrays.terminated[rows],
                truncations=arrays.truncated[rows],
                masks=arrays.masks[rows],
            )
        )
        _serve(envs, arrays.actions[rows], pipe, told)
        envs.close()
    except UserError as error:
        _report(pipe, _USER_ERROR + str(error).encode())
    except Exception:
        _report(pipe, _ERROR + traceback.format_exc().encode())


def _serve(envs: Any, actions: Array, pipe: Connection, parent: Parent) -> None:
    while (message := parent.hear()) is not None and message[:1] != _CLOSE:
        if message[:1] in (_GET, _SET):
            pipe.send_bytes(_states(envs, message))
            continue
        if message[:1] == _RESET:
            envs.reset(seed=pickle.loads(message[1:]))
        else:
            envs.step(actions)
        pipe.send_bytes(_INFOS + pickle.dumps(envs.infos) if envs.infos else _DONE)


def _states(envs: Any, message: bytes) -> bytes:
    """Give or take what the environments go on from; what to answer."""
    if message[:1] == _GET:
        return _DONE + pickle.dumps([env.get_state() for env in envs.envs])
    try:
        for env, state in zip(envs.envs, pickle.loads(message[1:]), strict=True):
            env.set_state(state)
    except UserError as error:  # no reason to end: the parent begins new episodes
        return _USER_ERROR + str(error).encode()
    return _DONE


def _report(pipe: Connection, message: bytes) -> None:
    try:
        pipe.send_bytes(message)
    except OSError:
        pass  # nobody is left to hear it
