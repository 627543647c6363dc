"""Sums up episodes. In: one `StepBatch` a step. Out: an `EpisodeRecord` for each that ended.

The four unweighted sources come from the observation's `ledger`, badges, map and milestones from the info that an
environment gives with its last observation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daddy_puffer.telemetry.records import EpisodeRecord
from daddy_puffer.types import StepBatch


class EpisodeTracker:
    """Running sums of B environments."""

    def __init__(self, num_envs: int, next_episode_id: int = 0):
        """Start with nothing seen; ids go on from `next_episode_id`."""
        self.next_episode_id = next_episode_id
        self.episode_ids = np.zeros(num_envs, dtype=np.int64)  # of the episodes under way
        self._length = np.zeros(num_envs, dtype=np.int64)
        self._total = np.zeros(num_envs, dtype=np.float64)
        self._ledger = np.zeros((num_envs, 4), dtype=np.float64)
        self._start = np.zeros(num_envs, dtype=np.int64)

    def add(self, batch: StepBatch, step: int) -> list[EpisodeRecord]:
        """Add one step; `step` counts the environment steps of the run, this one included."""
        first = batch.first
        self._start[first] = step
        begun = int(np.count_nonzero(first))
        self.episode_ids[first] = np.arange(self.next_episode_id, self.next_episode_id + begun)
        self.next_episode_id += begun
        for sums in (self._length, self._total, self._ledger):
            sums[first] = 0
        going = ~first
        self._length[going] += 1
        self._total[going] += batch.reward[going]
        self._ledger[going] += batch.observation["ledger"][going]
        ended = np.flatnonzero(batch.terminated | batch.truncated)
        infos = {info["env_id"]: info for info in batch.infos} if ended.size else {}
        return [self._record(int(row), infos.get(int(row), {}), step) for row in ended]

    def _record(self, row: int, info: dict[str, Any], step: int) -> EpisodeRecord:
        return EpisodeRecord(
            episode_id=int(self.episode_ids[row]),
            env_id=row,
            length_steps=int(self._length[row]),
            return_env=float(self._ledger[row, 0]),
            return_rnd=float(self._ledger[row, 1]),
            return_novel=float(self._ledger[row, 2]),
            return_bayes=float(self._ledger[row, 3]),
            return_total=float(self._total[row]),
            start_step_global=int(self._start[row]),
            end_step_global=step,
            milestones_reached=";".join(info.get("milestones", ())),
            savestate_tag=str(info.get("savestate_tag", "")),
            badges=int(info.get("badges", 0)),
            map=str(info.get("map", "")),
            alarm_triggered=bool(info.get("alarm_triggered", False)),
        )
