"""The logs of a run in which the host's own PPO learns, whatever its policy: those of ours, beside its checkpoints.

In: what the host's vectorized environment gives, watched, and the host's trainer. Out: a run folder that `report`,
`watch` and `evaluate --over-training` read; of the trainer itself it has the losses of each epoch. Nothing is changed
in what the host does. The environments must be in our `EpsilonEnv`, which says what is logged.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from daddy_puffer.config import Config
from daddy_puffer.game import MILESTONES
from daddy_puffer.game.features import FEATURES
from daddy_puffer.game.maps import map_name
from daddy_puffer.learner.live_samples import ScatteredLooks
from daddy_puffer.learner.step_samples import step_rows
from daddy_puffer.learner.trainer import RECENT_EPISODES, bonus_means, episode_means
from daddy_puffer.progress.tracker import ProgressTracker
from daddy_puffer.telemetry import EpisodeRecord, EpisodeTracker, Event, Interval, StepRows, Telemetry
from daddy_puffer.telemetry.live import LiveWriter
from daddy_puffer.telemetry.run_folder import open_logs, open_run_folder, write_meta
from daddy_puffer.types import SPAWN_FIELD, Array, StepBatch

MAP = [name for name, _ in FEATURES].index("map_id")
MOVED = -1  # where another number of a save state would stand: an episode that begins where the host moved it


class Endings:
    """What our own environment says when its episode ends, which the host's infos do not tell apart by environment."""

    def __init__(self, num_envs: int):
        """Of so many environments."""
        self._map = np.zeros(num_envs, np.int64)  # where each of them was last
        self._badges = np.zeros(num_envs, np.int64)  # their bits: the first eight milestones
        self._spawn = np.zeros(num_envs, np.int64)

    def add_to(self, batch: StepBatch) -> StepBatch:
        """`batch` with an info of ours for each episode that ended; of one that was cut off what was seen last."""
        ids, ended = batch.env_ids, batch.terminated | batch.truncated
        endings = [self._ending(env) for env in ids[batch.first]]
        self._map[ids] = batch.observation["structured"][:, MAP]
        self._badges[ids] = batch.observation["milestones"][:, 0]
        self._spawn[ids] = batch.observation["episode"][:, SPAWN_FIELD]
        if ended.any():
            tags = [info["savestate_tag"] for info in batch.infos if "savestate_tag" in info]  # in the rows' order
            if len(tags) != ended.sum():
                tags = [""] * len(ids)
            endings += [self._ending(env, tag) for env, tag in zip(ids[ended], tags, strict=False)]
        return replace(batch, infos=endings)

    def _ending(self, env: int, tag: str = "") -> dict[str, Any]:
        spawn = int(self._spawn[env])
        unnamed = {0: "", MOVED: "moved"}.get(spawn, f"state_{spawn}")
        return {
            "env_id": int(env),
            "badges": int(self._badges[env]).bit_count(),
            "map": map_name(int(self._map[env])),
            "savestate_tag": tag or unnamed,
        }


class SampledSteps:
    """Every so many steps of an environment one row of it for `steps/`."""

    def __init__(self, num_envs: int, interval: int):
        """`interval` 0: never."""
        self._interval, self._seen = interval, np.zeros(num_envs, np.int64)

    def rows(self, batch: StepBatch, step: int, episode_ids: Array, progress: ProgressTracker) -> StepRows | None:
        """Count a step of some environments; the rows of those that are sampled, if there are any.

        The others as `step_rows` takes them.
        """
        if not self._interval:
            return None
        self._seen[batch.env_ids] += 1
        due = self._seen[batch.env_ids] % self._interval == 0
        return step_rows(batch, step, episode_ids, progress, due) if due.any() else None


class PpoLogs:
    """Takes every step, and what the host's trainer says of an epoch."""

    def __init__(self, trainer: Any, config: Config, weights: dict[str, float], num_envs: int):
        """Begin the logs in the folder of the host's `trainer`.

        `weights` by source of the curiosity that wrappers pay.

        Raises:
            UserError: the folder cannot be written to.
        """
        self._trainer, self._weights = trainer, {"rnd": 0.0, "novelty": 0.0, "bayes": 0.0, **weights}
        names = [milestone.name for milestone in MILESTONES]
        self._episodes = EpisodeTracker(num_envs, names)
        self._progress = ProgressTracker(names, config.progress, num_envs)
        self._endings, self._sampled = Endings(num_envs), SampledSteps(num_envs, config.train.step_log_interval)
        self._recent: deque[EpisodeRecord] = deque(maxlen=RECENT_EPISODES)
        self._steps = self._steps_before = 0
        self._checkpoint = ""
        self._reward, self._ledger, self._since = 0.0, np.zeros(4), time.perf_counter()
        self._folder = folder = Path(trainer.config.data_dir) / str(trainer.config.exp_id)
        facts = {"policy": _names(trainer.policy), "device": str(trainer.config.device), "trainer": "ppo"}
        open_run_folder(folder, config, (), **facts)
        self._live = LiveWriter(folder / "live", num_envs, config.train.live_interval)
        self._looks = ScatteredLooks(self._live, num_envs, config.train.live_interval)
        self._logs = Telemetry(open_logs(folder, config.progress.watched)).__enter__()

    def see(self, batch: StepBatch) -> None:
        """Take a step of some environments."""
        batch = self._endings.add_to(batch)
        self._steps += int(np.count_nonzero(~batch.first))
        self._reward += float(batch.reward.sum())
        self._ledger += batch.observation["ledger"].sum(axis=0)
        self._progress.add(batch)
        for record in self._episodes.add(batch, self._steps):
            self._recent.append(replace(record, alarm_triggered=self._progress.alarm))
            self._logs.emit(self._recent[-1])
        self._looks.see(batch, self._steps, self._episodes.episode_ids)
        rows = self._sampled.rows(batch, self._steps, self._episodes.episode_ids, self._progress)
        if rows is not None:
            self._logs.emit(rows)

    def report(self) -> None:
        """A row of what was measured in the epoch, and what is believed of the milestones."""
        if not self._steps_before:  # its policies make some of their parameters when they see something first
            with suppress(OSError):  # a full disk does not stop the training
                write_meta(self._folder, parameters=sum(each.numel() for each in self._trainer.policy.parameters()))
        now, steps = time.perf_counter(), self._steps - self._steps_before
        each = max(1, steps)
        values: dict[str, Any] = {
            "speed/steps_per_second": steps / (now - self._since),
            "rollout/reward_per_step": self._reward / each,
            "rollout/env_reward_per_step": self._ledger[0] / each,
            **{f"weight/{name}": weight for name, weight in self._weights.items()},
            **episode_means(self._recent),
            **bonus_means(self._weights, self._ledger[1:] / each),
            **{f"learner/{name}": float(value) for name, value in vars(self._trainer.losses).items()},
            **self._progress.metrics(),
        }
        for row in self._progress.rows(self._steps):
            self._logs.emit(row)
        self._logs.emit(Interval.of(self._steps, values))
        self._since, self._steps_before = now, self._steps
        self._reward, self._ledger = 0.0, np.zeros(4)

    def saved(self, path: str) -> None:
        """A checkpoint has been written, or was there: the host saves twice at the end."""
        self._logs.flush()  # so that it is not ahead of the logs for long
        if path != self._checkpoint:
            self._checkpoint = path
            self._logs.emit(Event("checkpoint", self._steps, {"path": path}))

    def close(self) -> None:
        """The run ends, perhaps with an exception."""
        error = sys.exc_info()[0]
        self._live.close()
        if error is None or error is KeyboardInterrupt:
            reason = "done" if error is None else "KeyboardInterrupt"
            self._logs.emit(Event("stop", self._steps, {"reason": reason, "interrupted": error is not None}))
        self._logs.__exit__(*sys.exc_info())


def keep_logs(trainer: Any, logs: PpoLogs) -> None:
    """From now on the host's `trainer` has its epochs, checkpoints and end logged."""
    train, save, close = trainer.train, trainer.save_checkpoint, trainer.close

    def train_and_report(*args: Any, **kwargs: Any) -> Any:
        result = train(*args, **kwargs)
        logs.report()
        return result

    def save_and_say(*args: Any, **kwargs: Any) -> Any:
        path = save(*args, **kwargs)
        logs.saved(str(path))
        return path

    def close_both(*args: Any, **kwargs: Any) -> Any:
        try:
            return close(*args, **kwargs)
        finally:
            logs.close()

    trainer.train, trainer.save_checkpoint, trainer.close = train_and_report, save_and_say, close_both


def _names(policy: Any) -> str:
    """The classes that a policy is made of, outermost first."""
    names = [type(policy).__name__]
    while getattr(policy, "policy", None) is not None:
        policy = policy.policy
        names.append(type(policy).__name__)
    return " of ".join(names)
