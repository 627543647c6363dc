"""Sums up episodes. In: `StepBatch`es of all environments or of some. Out: an `EpisodeRecord` for each that ended.

The four unweighted sources come from the observation's `ledger`. Milestones are those that its bits showed at any time
of the episode: an item that is fetched and delivered was reached. Badges, map and the state it began from come from the
info that an environment gives with its last observation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from daddy_puffer.arrays import Arrays, check_like
from daddy_puffer.telemetry.records import EpisodeRecord
from daddy_puffer.types import Array, StepBatch

_BY_ENV = ("episode_ids", "_length", "_total", "_ledger", "_start", "_under_way", "_reached")


class EpisodeTracker:
    """Running sums of B environments."""

    def __init__(self, num_envs: int, milestones: Sequence[str], next_episode_id: int = 0):
        """Start with nothing seen; names of `milestones` in the order of their bits; ids go on from the given one."""
        self.next_episode_id = next_episode_id
        self._names = tuple(milestones)
        self.episode_ids = np.zeros(num_envs, dtype=np.int64)  # of the episodes under way
        self._length = np.zeros(num_envs, dtype=np.int64)
        self._total = np.zeros(num_envs, dtype=np.float64)
        self._ledger = np.zeros((num_envs, 4), dtype=np.float64)
        self._start = np.zeros(num_envs, dtype=np.int64)
        self._under_way = np.zeros(num_envs, dtype=bool)
        self._reached = np.zeros((num_envs, (len(self._names) + 7) // 8), np.uint8)  # packed bits, held at any time

    def add(self, batch: StepBatch, step: int) -> list[EpisodeRecord]:
        """Add one step of some environments; `step` counts the environment steps of the run, this one included.

        An episode that another one follows without an end was cut off from outside, and ended with its last step.
        """
        ids, first, bits = batch.env_ids, batch.first, batch.observation["milestones"]
        infos = {info["env_id"]: info for info in batch.infos}
        records = [self._record(int(env), infos, step) for env in ids[first & self._under_way[ids]]]
        self._begin(ids[first], step)
        going, stepped = ~first, ids[~first]
        self._length[stepped] += 1
        self._total[stepped] += batch.reward[going]
        self._ledger[stepped] += batch.observation["ledger"][going]
        self._reached[ids, : bits.shape[1]] |= bits  # an environment may tell of fewer milestones than have a name
        ended = batch.terminated | batch.truncated
        self._under_way[ids] = ~ended
        return records + [self._record(int(env), infos, step) for env in ids[ended]]

    def get_state(self) -> Arrays:
        """The episodes under way, and the number of the next one."""
        return {**{name: getattr(self, name) for name in _BY_ENV}, "next": np.array(self.next_episode_id)}

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave.

        Raises:
            UserError: it is of other environments; nothing has been changed then.
        """
        check_like(state, self.get_state(), "the episodes under way")
        for name in _BY_ENV:
            getattr(self, name)[:] = state[name]
        self.next_episode_id = int(state["next"])

    def _begin(self, envs: Array, step: int) -> None:
        self._start[envs] = step
        self.episode_ids[envs] = np.arange(self.next_episode_id, self.next_episode_id + len(envs))
        self.next_episode_id += len(envs)
        for sums in (self._length, self._total, self._ledger, self._reached):
            sums[envs] = 0

    def _milestones(self, env: int) -> str:
        flags = np.unpackbits(self._reached[env], bitorder="little")
        return ";".join(name for name, flag in zip(self._names, flags, strict=False) if flag)

    def _record(self, env: int, infos: dict[int, dict[str, Any]], step: int) -> EpisodeRecord:
        info = infos.get(env, {})
        return EpisodeRecord(
            episode_id=int(self.episode_ids[env]),
            env_id=env,
            length_steps=int(self._length[env]),
            return_env=float(self._ledger[env, 0]),
            return_rnd=float(self._ledger[env, 1]),
            return_novel=float(self._ledger[env, 2]),
            return_bayes=float(self._ledger[env, 3]),
            return_total=float(self._total[env]),
            start_step_global=int(self._start[env]),
            end_step_global=step,
            milestones_reached=self._milestones(env),
            savestate_tag=str(info.get("savestate_tag", "")),
            badges=int(info.get("badges", 0)),
            map=str(info.get("map", "")),
            alarm_triggered=bool(info.get("alarm_triggered", False)),
        )
