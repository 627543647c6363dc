"""N environments behind one send/recv pair, in this process or in worker processes, by PufferLib.

In: environment factories, actions i64 `[B]`. Out: `StepBatch` of B rows, private copies that may be kept.
The only file that imports pufferlib. Environments are PufferLib's `GymnasiumPufferEnv`, packed by it into one
struct per row; `pufferlib.vector.Serial` steps them, inside each worker too. PyPI's 1.0.1 differs from what a
trainer needs, hence `PackedEnv` and `WorkerPool` here:

* a truncated environment is not reset by it: `PackedEnv` ends on truncation as on termination;
* it swallows an exception of `reset(seed=...)` and tries again without seed: `PackedEnv` lets it through;
* its `Multiprocessing` builds every environment in the parent as well, spins on both sides, and waits for ever
  for a worker that raised or died: `WorkerPool` has the same interface, waits on pipes, and raises.

Reset convention as in `types.py`: the step after an end ignores its action and returns the new episode's first
observation with reward 0.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pufferlib.vector
from pufferlib.emulation import GymnasiumPufferEnv

from daddy_puffer.config import Config
from daddy_puffer.envs import make_red_env
from daddy_puffer.errors import UserError
from daddy_puffer.swarm import StateRegistry
from daddy_puffer.types import Array, StepBatch
from daddy_puffer.wrappers import (
    ActionRecorder,
    Bayes,
    Curriculum,
    EpsilonEnv,
    Novelty,
    Patience,
    SharedPosteriors,
    VisitCounts,
    open_registry,
)

AnyEnv = gymnasium.Env[Any, Any]
EnvFactory = Callable[[], AnyEnv]

_STEP, _RESET, _CLOSE = b"s", b"r", b"c"  # what the parent says
_DONE, _INFOS, _ERROR, _USER_ERROR = b"d", b"i", b"e", b"u"  # first byte of what a worker answers
_ORPHAN_CHECK_SECONDS = 2.0
_CLOSE_SECONDS = 5.0


class WorkerError(RuntimeError):
    """A worker raised, died or fell silent; the message carries its traceback where there is one."""


class _Seeded(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Hands a seed to `reset` behind PufferLib's back, which would hide an exception of a seeded reset."""

    pending_seed: int | None = None

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        seed, self.pending_seed = self.pending_seed, None
        return self.env.reset(seed=seed, **kwargs)


class PackedEnv(GymnasiumPufferEnv):
    """One environment packed by PufferLib; ends on truncation too, passes on infos only at an episode's end.

    An info is pickled through a pipe each time, so that what is needed every step travels in the observation.
    """

    def __init__(self, env: AnyEnv, env_id: int):
        """Pack `env`; `env_id` is added to its infos."""
        super().__init__(env=_Seeded(env))
        self.env_id = env_id

    def reset(self, seed: int | None = None) -> tuple[Array, dict[str, Any]]:
        """Start an episode; the info is dropped."""
        self.env.pending_seed = seed
        observation, _ = super().reset()
        return observation, {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Step; the info is empty unless the episode ends."""
        observation, reward, terminated, truncated, info = super().step(action)
        self.done = bool(terminated or truncated)
        return observation, reward, terminated, truncated, {**info, "env_id": self.env_id} if self.done else {}


def box_spaces(env: AnyEnv) -> dict[str, gymnasium.spaces.Box]:
    """The parts of a Dict observation space of arrays."""
    assert isinstance(env.observation_space, gymnasium.spaces.Dict)
    return {name: space for name, space in env.observation_space.items() if isinstance(space, gymnasium.spaces.Box)}


class VectorEnv:
    """B environments; `send` starts a step, `recv` waits for it, so that work fits in between."""

    visits: VisitCounts | None = None  # where all environments have been, if they count it
    posteriors: SharedPosteriors | None = None  # what all environments know of the milestones, if they learn it
    savestates: Path | None = None  # where the curriculum keeps its states, if there is one

    def __init__(self, factories: Sequence[EnvFactory], *, num_workers: int = 0, timeout_seconds: float = 60.0):
        """Build the environments: here when `num_workers` is 0, else in so many processes."""
        creators = [_PackedFactory(factory, env_id) for env_id, factory in enumerate(factories)]
        count = len(creators)
        nothing: tuple[list[list[Any]], list[dict[str, Any]]] = ([[] for _ in creators], [{} for _ in creators])
        self._backend: Any
        if num_workers == 0:
            self._backend = pufferlib.vector.Serial(creators, *nothing, count)
        else:
            self._backend = WorkerPool(
                creators, *nothing, count, num_workers=num_workers, timeout_seconds=timeout_seconds
            )
        self.num_envs = count
        self.num_actions = int(self._backend.single_action_space.n)
        self.spaces = box_spaces(self._backend.driver_env.env)
        self._row_type: np.dtype[Any] = self._backend.emulated.emulated_observation_dtype
        self._ended = np.ones(count, dtype=bool)  # the next batch starts an episode there

    @property
    def processes(self) -> list[Any]:
        """The worker processes, none for a serial environment."""
        return getattr(self._backend, "processes", [])

    @property
    def states_kept(self) -> int | None:
        """Save states that episodes may begin from; None without a curriculum."""
        return None if self.savestates is None else sum(1 for _ in self.savestates.glob("*.json"))

    def reset(self, seed: int) -> StepBatch:
        """Start every environment anew, environment i with seed `seed + i`."""
        self._ended[:] = True
        self._backend.async_reset(seed)
        return self.recv()

    def send(self, actions: Array) -> None:
        """Start one step of every environment. Actions i64 `[B]`."""
        self._backend.send(np.ascontiguousarray(actions, dtype=np.int64))

    def recv(self) -> StepBatch:
        """Wait for the step and copy it out: the environments overwrite their buffers from the next `send` on."""
        rows, reward, terminated, truncated, infos, env_ids, _ = self._backend.recv()
        packed = np.ascontiguousarray(rows).view(self._row_type).reshape(self.num_envs)
        first = self._ended
        batch = StepBatch(
            observation={name: packed[name].copy() for name in self.spaces},
            reward=np.array(reward, dtype=np.float32),
            terminated=np.array(terminated, dtype=bool),
            truncated=np.array(truncated, dtype=bool),
            first=first,
            env_ids=np.array(env_ids, dtype=np.int64),
            infos=list(infos),
        )
        self._ended = batch.terminated | batch.truncated
        return batch

    def step(self, actions: Array) -> StepBatch:
        """`send` and `recv`."""
        self.send(actions)
        return self.recv()

    def close(self) -> None:
        """Close the environments and end the workers; may be called twice."""
        self._backend.close()

    def __enter__(self) -> VectorEnv:
        """Use as a context that closes at its end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


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
            self.processes[worker].join(1.0)
            code = self.processes[worker].exitcode
            cause = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
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


class _PackedFactory:
    """Builds `PackedEnv` number `env_id`; a class because closures do not cross a spawned process."""

    def __init__(self, factory: EnvFactory, env_id: int):
        self.factory = factory
        self.env_id = env_id

    def __call__(self) -> PackedEnv:
        return PackedEnv(self.factory(), self.env_id)


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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the handler a fork inherits
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
        _serve(envs, arrays.actions[rows], pipe, parent)
        envs.close()
    except UserError as error:
        _report(pipe, _USER_ERROR + str(error).encode())
    except Exception:
        _report(pipe, _ERROR + traceback.format_exc().encode())


def _serve(envs: Any, actions: Array, pipe: Connection, parent: int) -> None:
    while True:
        while not pipe.poll(_ORPHAN_CHECK_SECONDS):
            if os.getppid() != parent:
                return
        try:
            message = pipe.recv_bytes()
        except (EOFError, ConnectionError):
            return  # the parent is gone
        if message[:1] == _CLOSE:
            return
        if message[:1] == _RESET:
            envs.reset(seed=pickle.loads(message[1:]))
        else:
            envs.step(actions)
        pipe.send_bytes(_INFOS + pickle.dumps(envs.infos) if envs.infos else _DONE)


def _report(pipe: Connection, message: bytes) -> None:
    try:
        pipe.send_bytes(message)
    except OSError:
        pass  # nobody is left to hear it


class RedFactory:
    """Builds the stand-alone environment of a configuration: the game, its rewards, frame stack and ledger."""

    def __init__(self, config: Config, savestates: Path | None = None, recordings: Path | None = None):
        """Remember the configuration; the emulator is started by the call.

        `savestates`: folder of the curriculum's registry; None = every episode begins at the true start.
        `recordings`: folder for episodes' actions; None = none is recorded.
        """
        self.config = config
        self.recordings = None if config.train.record_episodes == "none" else recordings
        self.visits = VisitCounts()  # one for all environments of the run
        self.posteriors = SharedPosteriors(config.progress.forgetting)  # likewise
        self.savestates = None if config.curriculum.mode == "off" else savestates
        self._registry: StateRegistry | None = None  # one for all environments of a process

    def __call__(self) -> AnyEnv:
        """Build one environment."""
        env: AnyEnv = EpsilonEnv(make_red_env(self.config.env, self.config.rewards), self.config.env.frame_stack)
        if self.recordings is not None:  # inside Curriculum: it sees what the game is given
            best_only = self.config.train.record_episodes == "best"
            env = ActionRecorder(env, self.recordings, self._registry_of(env), best_only=best_only)
        if self.savestates is not None:
            env = Curriculum(env, self.config.curriculum, self._registry_of(env))
        return self._with_bonuses(env)

    def _registry_of(self, env: AnyEnv) -> StateRegistry:
        if self._registry is None:
            # without a curriculum there is no such folder: the registry has no states then
            folder = self.savestates or Path("savestates")
            self._registry = open_registry(folder, self.config.curriculum, env)
        return self._registry

    def _with_bonuses(self, env: AnyEnv) -> AnyEnv:
        intrinsic, progress = self.config.intrinsic, self.config.progress
        game = self.config.env
        if game.patience_steps:  # inside of every bonus: the game's own rewards decide
            env = Patience(env, game.patience_steps, game.patience_reward)
        if intrinsic.novelty_weight:
            env = Novelty(
                env,
                intrinsic.novelty_weight,
                self.visits,
                scope=intrinsic.novelty_scope,
                first=intrinsic.novelty_first,
                milestones=intrinsic.novelty_milestones,
            )
        if intrinsic.bayes_weight:  # outside of whatever ends episodes: it counts how they end
            env = Bayes(
                env,
                intrinsic.bayes_weight,
                self.posteriors,
                gamma=self.config.learner.gamma,
                step_budget=progress.step_budget,
                step_budgets=progress.step_budgets,
            )
        return env


def make_vector(
    config: Config, num_envs: int | None = None, savestates: Path | None = None, recordings: Path | None = None
) -> VectorEnv:
    """The vectorized environment of a run, as `config.train` asks for it; the folders as in `RedFactory`.

    For another number of environments as many of the workers are used as can share them equally.
    """
    train = config.train
    count = train.num_envs if num_envs is None else num_envs
    workers = 0
    if train.vectorization == "multiprocessing":
        workers = max(share for share in range(1, train.num_workers + 1) if count % share == 0)
    factory = RedFactory(config, savestates, recordings)
    env = VectorEnv([factory] * count, num_workers=workers, timeout_seconds=train.worker_timeout_seconds)
    env.savestates = factory.savestates
    env.visits = factory.visits if config.intrinsic.novelty_weight else None
    env.posteriors = factory.posteriors if config.intrinsic.bayes_weight else None
    return env
