"""Environments in actors of a Ray cluster, on whatever nodes it has.

In: factories of `PackedEnv`. Out: PufferLib's `send` and `recv`. Knows no configuration.

A worker is an actor with several environments and one CPU. A step is one call of each actor, all in flight at once;
its answer holds the packed rows, which Ray hands over in shared memory, without a copy, once they are 100 KB.
`pufferlib.vector.Ray` of 1.0.1 does otherwise: two calls a worker and step, the same seeds for every worker, no limit
of time, an environment built in the trainer and left open, and `ray.shutdown()` also of a Ray that it did not start.
Ours gives the rows of `pufferlib.vector.Serial`, and raises as `WorkerPool` does.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pufferlib.vector

from daddy_puffer.errors import UserError
from daddy_puffer.types import Array
from daddy_puffer.vector.packed import PackedEnv, WorkerError
from daddy_puffer.vector.ray_cluster import RayCluster
from daddy_puffer.vector.tables import NotedTables, Notes, joined

Creators = Sequence[Callable[[], PackedEnv]]

_START_SECONDS = 300.0  # for all actors to be placed, to import and to build their environments
_CLOSE_SECONDS = 5.0
_WHAT_TO_DO = "the newest checkpoint is whole: go on from it with --resume"


class Answer(NamedTuple):
    """What a worker says after a reset or step: rows of its environments, infos of ended episodes, and notes."""

    rows: Array
    rewards: Array
    terminated: Array
    truncated: Array
    infos: list[dict[str, Any]]
    notes: Notes


class Failure(NamedTuple):
    """What it says instead: an exception as text, for not every exception can be pickled."""

    user_error: bool
    text: str


class Place(NamedTuple):
    """Where a worker is."""

    node: str
    process: int


class Games:
    """The actor: some environments in a process on some node. No method raises."""

    def __init__(self, folder: Path, shared: Path | None) -> None:
        """Work in `folder`, the trainer's, if this node has it; `shared` is a file that it must see."""
        self._folder, self._shared = folder, shared

    def start(self, cargo: bytes) -> Place | Failure:
        """Build the environments.

        `cargo` is a pickle, from the trainer, of creators and tables in one, so that they still share what they shared.
        """
        return self._safely(lambda: self._start(*pickle.loads(cargo)))

    def reset(self, seeds: list[int], tables: dict[str, Any] | None) -> Answer | Failure:
        """Start every environment anew, knowing what `tables` says."""
        return self._safely(lambda: self._reset(seeds, tables))

    def step(self, actions: Array, notes: Notes | None) -> Answer | Failure:
        """Take what others noted, then step every environment."""
        return self._safely(lambda: self._step(actions, notes))

    def close(self) -> None:
        """Close the environments, if they ever were."""
        self._safely(self._envs.close)

    def _start(self, creators: Creators, tables: NotedTables | None) -> Place:
        import ray.util

        node = ray.util.get_node_ip_address()
        if self._folder.is_dir():
            os.chdir(self._folder)  # so that relative paths of the configuration mean the same
        if self._shared is not None and not self._shared.exists():
            raise UserError(
                f"node {node} does not see {self._shared.parent}: the nodes need a file system in common, "
                "else curriculum.mode off and train.record_episodes none"
            )
        self._tables = tables
        nothing: tuple[list[list[Any]], list[dict[str, Any]]] = ([[] for _ in creators], [{} for _ in creators])
        self._envs = pufferlib.vector.Serial(creators, *nothing, len(creators))
        return Place(node, os.getpid())

    def _reset(self, seeds: list[int], tables: dict[str, Any] | None) -> Answer:
        if self._tables is not None and tables is not None:
            self._tables.load_state_dict(tables)
        self._envs.async_reset(seeds)
        return self._answer()

    def _step(self, actions: Array, notes: Notes | None) -> Answer:
        if self._tables is not None and notes is not None:
            self._tables.apply(notes)
        self._envs.send(np.array(actions))
        return self._answer()

    def _answer(self) -> Answer:
        rows, rewards, terminated, truncated, infos, _, _ = self._envs.recv()
        return Answer(rows, rewards, terminated, truncated, infos, self._tables.take() if self._tables else ([], []))

    @staticmethod
    def _safely(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except UserError as error:
            return Failure(True, str(error))
        except Exception:
            return Failure(False, traceback.format_exc())


def _last_line(error: Exception) -> str:
    """Of Ray's text, without its colours; it is a traceback as a rule."""
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()[-1].strip()


@contextlib.contextmanager
def _token_in(shared: Path | None) -> Iterator[Path | None]:
    """A file in the folder that all nodes must see; None where there is none."""
    if shared is None:
        yield None
        return
    shared.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=shared.absolute(), prefix=".seen-by-all-") as token:
        yield Path(token.name)


class RayPool:
    """What `WorkerPool` is, on the nodes of a Ray cluster."""

    def __init__(
        self,
        env_creators: Creators,
        *,
        num_workers: int,
        timeout_seconds: float,
        tables: NotedTables | None = None,
        shared: Path | None = None,
    ):
        """Look at one environment for its spaces, close it, start the workers.

        `tables` are the run's, which the creators' environments use; `shared` is a folder that all nodes must see.
        """
        if len(env_creators) % num_workers != 0:
            raise UserError(f"{len(env_creators)} environments cannot be shared equally among {num_workers} workers")
        self.timeout_seconds = timeout_seconds
        self.num_envs = len(env_creators)
        self.envs_per_worker = self.num_envs // num_workers
        self.tables = tables
        self.driver_env = env_creators[0]()
        self.driver_env.close()
        self.emulated = self.driver_env.emulated
        self.single_action_space = self.driver_env.single_action_space
        self.agent_ids = np.arange(self.num_envs)
        space = self.driver_env.single_observation_space
        self._rows = np.zeros((self.num_envs, *space.shape), space.dtype)
        self._rewards = np.zeros(self.num_envs, np.float32)
        self._terminated, self._truncated = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, bool)
        self._notes: list[Notes] = []  # of each worker, not yet told the others
        self._actors: list[Any] = []
        self._calls: list[Any] = []
        self.places: list[Place] = []
        self._cluster = RayCluster(num_workers)
        try:
            self._start(env_creators, num_workers, shared)
        except BaseException:
            self.close()
            raise

    def async_reset(self, seed: int) -> None:
        """Start a reset of every environment, environment i with seed `seed + i`."""
        known = None if self.tables is None else self.tables.state_dict()
        self._notes = []
        self._calls = [
            actor.reset.remote([seed + env for env in range(rows.start, rows.stop)], known)
            for actor, rows in zip(self._actors, self._shares(), strict=True)
        ]

    def send(self, actions: Array) -> None:
        """Start one step of every environment."""
        self._calls = [
            actor.step.remote(actions[rows], self._news_for(worker))
            for worker, (actor, rows) in enumerate(zip(self._actors, self._shares(), strict=True))
        ]

    def recv(self) -> tuple[Any, ...]:
        """Wait for every worker; the tuple of PufferLib's `recv`.

        Raises:
            WorkerError: a worker raised, its process or node died, or it has been silent for `timeout_seconds`.
        """
        answers: list[Answer] = self._hear(self.timeout_seconds)
        for rows, answer in zip(self._shares(), answers, strict=True):
            self._rows[rows], self._rewards[rows] = answer.rows, answer.rewards
            self._terminated[rows], self._truncated[rows] = answer.terminated, answer.truncated
        if self.tables is not None:
            self._notes = [answer.notes for answer in answers]
            self.tables.apply(joined(self._notes))
        infos = [info for answer in answers for info in answer.infos]
        mask = np.ones(self.num_envs, bool)
        return self._rows, self._rewards, self._terminated, self._truncated, infos, self.agent_ids, mask

    def close(self) -> None:
        """Ask the workers to end, insist after a while, leave the cluster; may be called twice."""
        ray = self._cluster.ray
        if self._actors and ray.is_initialized():
            calls = [actor.close.remote() for actor in self._actors]
            ray.wait(calls, num_returns=len(calls), timeout=_CLOSE_SECONDS)
            for actor in self._actors:
                ray.kill(actor)
        self._actors, self._calls = [], []
        self._cluster.close()

    def _start(self, creators: Creators, num_workers: int, shared: Path | None) -> None:
        ray = self._cluster.ray
        # spread: games want a core each, and a node's loss should take few of them
        remote = ray.remote(num_cpus=1, max_restarts=0, scheduling_strategy="SPREAD")(Games)
        with _token_in(shared) as token:
            self._actors = [remote.remote(Path.cwd(), token) for _ in range(num_workers)]
            self._calls = [
                actor.start.remote(ray.cloudpickle.dumps((creators[rows], self.tables)))
                for actor, rows in zip(self._actors, self._shares(), strict=True)
            ]
            ready, waiting = ray.wait(self._calls, num_returns=num_workers, timeout=_START_SECONDS)
            if waiting:
                free = ray.available_resources().get("CPU", 0)
                raise UserError(
                    f"{len(waiting)} of {num_workers} workers did not start in {_START_SECONDS:g} s, the Ray cluster "
                    f"has {free:g} free CPUs: lower train.num_workers, or wait for other jobs to end"
                )
            self.places = self._hear(self.timeout_seconds)

    def _shares(self) -> list[slice]:
        size = self.envs_per_worker
        return [slice(start, start + size) for start in range(0, self.num_envs, size)]

    def _news_for(self, worker: int) -> Notes | None:
        others = [notes for number, notes in enumerate(self._notes) if number != worker and any(notes)]
        return joined(others) if others else None

    def _hear(self, seconds: float) -> list[Any]:
        """What all workers answered."""
        ray = self._cluster.ray
        try:
            answers = ray.get(self._calls, timeout=seconds)
        except ray.exceptions.RayError as error:
            raise WorkerError(self._who_is_missing(error)) from None  # Ray's text says the same at ten times the length
        for worker, answer in enumerate(answers):
            if isinstance(answer, Failure):
                if answer.user_error:
                    raise UserError(answer.text)
                raise WorkerError(f"{self._who(worker)} raised:\n{answer.text}")
        return answers

    def _who_is_missing(self, error: Exception) -> str:
        ray = self._cluster.ray
        silent: list[int] = []
        for worker, call in enumerate(self._calls):
            try:
                ray.get(call, timeout=0)
            except ray.exceptions.GetTimeoutError:
                silent.append(worker)
            except ray.exceptions.RayActorError as death:
                if not self.places:
                    reason = _last_line(death)
                    return f"{self._who(worker)} did not start: {reason}; is daddy_puffer installed on every node?"
                node = "its node is gone" if "node has died" in str(death) else "its process is gone"
                return f"{self._who(worker)} died: {node}, perhaps for lack of memory; {_WHAT_TO_DO}"
            except ray.exceptions.RayError as failure:
                error = failure
        if silent and isinstance(error, ray.exceptions.GetTimeoutError):
            who = self._who(silent[0])
            return f"{who} has been silent for {self.timeout_seconds:g} s; is its node overloaded, or cut off?"
        return f"the Ray cluster failed: {_last_line(error)}; {_WHAT_TO_DO}"

    def _who(self, worker: int) -> str:
        share = self._shares()[worker]
        where = f", process {self.places[worker].process} on node {self.places[worker].node}" if self.places else ""
        return f"worker {worker} (environments {share.start} to {share.stop - 1}{where})"
