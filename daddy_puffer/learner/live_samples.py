"""Looks for `live/` out of a step of all environments. In: `StepBatch`. Out: `LOOK` rows, packed screens.

Knows no file.
"""

from __future__ import annotations

import time

import numpy as np

from daddy_puffer.game.features import FEATURES
from daddy_puffer.learner.step_samples import places
from daddy_puffer.telemetry.live import FROM_STATE, IN_BATTLE, IN_TEXT, LOOK, LiveWriter
from daddy_puffer.types import PACKED_WIDTH, SCREEN_HEIGHT, Array, StepBatch

_INDEX = {name: index for index, (name, _) in enumerate(FEATURES)}
_BADGES = [_INDEX[f"badge_{number}"] for number in range(1, 9)]
_TEXT, _WILD, _TRAINER = _INDEX["in_text"], _INDEX["battle_wild"], _INDEX["battle_trainer"]


def look(batch: StepBatch, episode_ids: Array) -> Array:
    """`LOOK` `[B]`. `episode_ids` i64 `[B]`."""
    seen, episode = batch.observation["structured"], batch.observation["episode"]
    rows = np.zeros(len(seen), LOOK)
    rows["map"], rows["x"], rows["y"] = places(seen).astype(np.uint8).T
    rows["badges"] = (seen[:, _BADGES] > 0).sum(axis=1)
    rows["milestones"] = np.unpackbits(batch.observation["milestones"], axis=1).sum(axis=1)
    in_battle = (seen[:, _WILD] > 0) | (seen[:, _TRAINER] > 0)
    flags = FROM_STATE * (episode[:, 2] != 0) + IN_BATTLE * in_battle + IN_TEXT * (seen[:, _TEXT] > 0)
    rows["flags"] = flags
    rows["length"] = np.minimum(episode[:, 1], 0xFFFF)
    rows["episode"] = episode_ids
    return rows


class ScatteredLooks:
    """`write_look` where a step is of some environments only.

    What is written of an environment is its last step but those of the last interval.
    """

    def __init__(self, live: LiveWriter, num_envs: int, interval_seconds: float) -> None:
        """`interval_seconds` as `live` has it."""
        self._live, self._interval = live, interval_seconds
        self._rows = np.zeros(num_envs, LOOK)
        self._screens = np.zeros((live.num_screens, SCREEN_HEIGHT, PACKED_WIDTH), np.uint8)
        self._next = np.zeros(num_envs)  # when to look at it again

    def see(self, batch: StepBatch, step: int, episode_ids: Array) -> None:
        """Take a step of `batch.env_ids`; nearly always this costs a look at the clock.

        `episode_ids` i64, of all environments.
        """
        if not self._interval:
            return
        ids = batch.env_ids
        now = time.monotonic()
        if now >= self._next[ids].min():
            self._next[ids] = now + self._interval
            self._rows[ids] = look(batch, episode_ids[ids])
            shown = ids < self._live.num_screens
            self._screens[ids[shown]] = batch.observation["frames"][shown, -1]
        if self._next.all() and self._live.due():
            self._live.write(step, self._rows, self._screens if self._live.wants_screens else None)


def write_look(live: LiveWriter, batch: StepBatch, step: int, episode_ids: Array) -> None:
    """Let those who watch see the step, if it is time; nearly always it is not, and this costs a look at the clock."""
    if live.due():
        screens = batch.observation["frames"][: live.num_screens, -1] if live.wants_screens else None
        live.write(step, look(batch, episode_ids), screens)
