"""Rows for `steps/` out of a step of all environments. In: `StepBatch`, what is believed. Out: `StepRows`.

Knows no sink.
"""

from __future__ import annotations

import numpy as np

from daddy_puffer.game.features import FEATURES
from daddy_puffer.game.maps import MapKind, all_maps
from daddy_puffer.progress.tracker import ProgressTracker
from daddy_puffer.telemetry import StepRows
from daddy_puffer.types import Array, StepBatch

_NAMES = [name for name, _ in FEATURES]
_PLACE = [_NAMES.index(name) for name in ("map_id", "x", "y")]


def places(structured: Array) -> Array:
    """Map, x and y, i64 `[B, 3]`; x and y are scaled by 1 / 32 and moved by 1 in the features."""
    found = structured[:, _PLACE]
    found[:, 1:] = (found[:, 1:] + 1) * 32
    return np.clip(np.rint(found), 0, 255).astype(np.int64)


def step_rows(
    batch: StepBatch, step: int, episode_ids: Array, progress: ProgressTracker, chosen: Array | None = None
) -> StepRows | None:
    """What followed the last actions in the `chosen` rows, bool `[B]`, by default all; None if they were all resets.

    `episode_ids` i64, of all environments of the run.
    """
    taken = np.flatnonzero(~batch.first if chosen is None else chosen & ~batch.first)
    if not taken.size:
        return None
    ledger = batch.observation["ledger"][taken]
    bits = batch.observation["milestones"][taken]
    map_id, x, y = places(batch.observation["structured"][taken]).T
    mean, score = progress.watched_beliefs()
    return StepRows(
        step_global=np.full(len(taken), step, np.int64),
        episode_id=episode_ids[batch.env_ids[taken]],
        env_id=batch.env_ids[taken],
        r_env=ledger[:, 0],
        r_rnd=ledger[:, 1],
        r_novel=ledger[:, 2],
        r_bayes=ledger[:, 3],
        r_total=batch.reward[taken],
        milestones=bits,
        map_id=map_id,
        x=x,
        y=y,
        city_id=np.where(np.isin(map_id, _cities()), map_id, -1),
        quest_id=np.array([progress.next_watched(row) for row in bits], np.int64),
        posterior_mean=np.tile(mean.astype(np.float32), (len(taken), 1)),
        alarm_score=np.tile(score.astype(np.float32), (len(taken), 1)),
    )


def _cities() -> list[int]:
    return [fact.id for fact in all_maps().values() if fact.kind == MapKind.CITY]
