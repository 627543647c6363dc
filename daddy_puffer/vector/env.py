"""N environments behind one send/recv pair: here, here on threads, in processes, or on the nodes of a Ray cluster.

In: environment factories, actions i64 `[B]`. Out: `StepBatch` of B rows, private copies that may be kept. Knows no
configuration.

Reset convention as in `types.py`: the step after an end ignores its action and returns the new episode's first
observation with reward 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pufferlib.vector

from daddy_puffer.arrays import Arrays, part, under
from daddy_puffer.errors import UserError
from daddy_puffer.types import Array, StepBatch
from daddy_puffer.vector.packed import EnvFactory, PackedFactory, box_spaces
from daddy_puffer.vector.ray_pool import RayPool
from daddy_puffer.vector.tables import NotedTables
from daddy_puffer.vector.threads import Threads
from daddy_puffer.vector.workers import WorkerPool
from daddy_puffer.wrappers import SharedPosteriors, VisitCounts


class VectorEnv:
    """B environments; `send` starts a step, `recv` waits for it, so that work fits in between."""

    visits: VisitCounts | None = None  # where all environments have been, if they count it
    posteriors: SharedPosteriors | None = None  # what all environments know of the milestones, if they learn it
    savestates: Path | None = None  # where the curriculum keeps its states, if there is one

    def __init__(
        self,
        factories: Sequence[EnvFactory],
        *,
        num_workers: int = 0,
        timeout_seconds: float = 60.0,
        threads: bool = False,
        ray: bool = False,
        tables: NotedTables | None = None,
        shared: Path | None = None,
    ):
        """Build the environments: here when `num_workers` is 0, else in so many processes.

        `threads`: they are here, and so many threads play their frames. `ray`: the processes are on the nodes of a Ray
        cluster. Then `tables` are what the factories' environments know together, and `shared` is a folder that all
        nodes must see.
        """
        creators = [PackedFactory(factory, env_id) for env_id, factory in enumerate(factories)]
        count = len(creators)
        nothing: tuple[list[list[Any]], list[dict[str, Any]]] = ([[] for _ in creators], [{} for _ in creators])
        self._backend: Any
        if ray:
            self._backend = RayPool(
                creators, num_workers=num_workers, timeout_seconds=timeout_seconds, tables=tables, shared=shared
            )
        elif threads:
            self._backend = Threads(creators, *nothing, count, num_workers=num_workers, timeout_seconds=timeout_seconds)
        elif num_workers == 0:
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
        """The worker processes on this machine that are our children: none for a serial environment, or Ray's."""
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

    def get_state(self) -> Arrays | None:
        """What all environments go on from; None where one of them cannot say, or they are on other nodes."""
        if isinstance(self._backend, RayPool):
            return None
        pool = isinstance(self._backend, WorkerPool)
        states = self._backend.get_states() if pool else [env.get_state() for env in self._backend.envs]
        if any(state is None for state in states):
            return None
        whole: Arrays = {"ended": self._ended}
        for number, state in enumerate(states):
            whole |= under(str(number), state)
        return whole

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave, after a reset: the next step is that of its episodes.

        Raises:
            UserError: it is of other environments; another reset is needed then.
        """
        count = len(state["ended"])
        if count != self.num_envs:
            raise UserError(f"the episodes are those of {count} environments, this run has {self.num_envs}")
        if isinstance(self._backend, RayPool):
            raise UserError("environments on a Ray cluster begin new episodes")
        states = [part(state, str(number)) for number in range(self.num_envs)]
        if isinstance(self._backend, WorkerPool):
            self._backend.set_states(states)
        else:
            for env, own in zip(self._backend.envs, states, strict=True):
                env.set_state(own)
        self._ended = state["ended"]

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
