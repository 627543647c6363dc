"""The training loop: act, step, store, learn. A generator of records; it neither logs nor draws.

In: vectorized environment, learner, replay, settings. Out: `EpisodeRecord`s, sampled `StepRows`, an `Interval` and
`ProgressRow`s every `log_interval` environment steps, `Event`s; checkpoints in the run folder. Knows no emulator, no
sink and no command line.

Updates run in the background (`process.py`, `background.py`) while the environments step and the next actions are
chosen. One is begun whenever the replay ratio owes it, after the one before it has been finished: so the ratio is
kept, and what happens does not depend on speed. Steps are counted without the reset rows, which are no transitions.

With demonstrations the first updates may be on those alone, before the first step (Hester 2018, DQfD's pre-training):
a clone's values are right up to a constant only, and learning from its own play first would unlearn what it can.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from daddy_puffer.arrays import Arrays, Stateful, check_like, part, under
from daddy_puffer.config import Config
from daddy_puffer.errors import UserError
from daddy_puffer.game.features import worth_trying
from daddy_puffer.game.milestones import MILESTONES
from daddy_puffer.learner.background import BackgroundLearner, LearnerDiedError
from daddy_puffer.learner.checkpoint import (
    REPLAY_FILE,
    load_replay,
    restore_learner,
    rng_state,
    save_checkpoint,
    set_rng_state,
    to_arrays,
    to_tensors,
)
from daddy_puffer.learner.learner import Learner, NotFiniteError, UpdateResult
from daddy_puffer.learner.networks import Shaped, choose_device
from daddy_puffer.learner.rnd import Rnd
from daddy_puffer.learner.step_samples import step_rows
from daddy_puffer.learner.stop import StopSignals
from daddy_puffer.learner.teaching import Teaching
from daddy_puffer.numerics.schedules import epsilon_ladder, linear
from daddy_puffer.policies.exploration import RepeatedExploration
from daddy_puffer.progress.tracker import ProgressTracker
from daddy_puffer.progress.variety import Variety
from daddy_puffer.swarm.sampling import stages
from daddy_puffer.telemetry import EpisodeRecord, EpisodeTracker, Event, Interval, PhaseTimers, Record
from daddy_puffer.types import SPAWN_FIELD, Action, Array, SequenceBatch, StepBatch

_log = logging.getLogger(__name__)

RECENT_EPISODES = 20  # episodes behind the mean return of a log line
_BATCH_PARTS = ("reward", "terminated", "truncated", "first", "env_ids")


class Saved(Protocol):
    """Something of the environments that outlives a run: a tree of numpy arrays and numbers."""

    def state_dict(self) -> dict[str, Any]:
        """Everything."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it back."""


class BatchedEnv(Protocol):
    """What the trainer needs of `vector.VectorEnv`."""

    num_envs: int
    num_actions: int

    @property
    def visits(self) -> Saved | None:
        """Where all environments have been, if they count it."""

    @property
    def posteriors(self) -> Saved | None:
        """What all environments know of the milestones, if they learn it."""

    @property
    def states_kept(self) -> int | None:
        """Save states that episodes may begin from, if there is a curriculum."""

    @property
    def spaces(self) -> Mapping[str, Shaped]:
        """The parts of an observation."""

    def reset(self, seed: int) -> StepBatch:
        """Start every environment."""

    def send(self, actions: Array) -> None:
        """Start a step."""

    def recv(self) -> StepBatch:
        """Wait for it."""

    def get_state(self) -> Arrays | None:
        """What all environments go on from, if they can say."""

    def set_state(self, state: Arrays) -> None:
        """Take it over, after a reset."""


class Replay(Stateful, Protocol):
    """What the trainer needs of `SequenceReplay` or `Rollouts`."""

    @property
    def ready(self) -> bool:
        """Whether learning may start."""

    @property
    def learned_share(self) -> float:
        """Share of what is held that is learned from."""

    def __len__(self) -> int:
        """Transitions held."""

    def add(self, step: StepBatch, action: Array, state: Array) -> None:
        """Append one row of each environment."""

    def sample(self, batch_size: int) -> SequenceBatch:
        """Sequences to learn from."""

    def update_priorities(self, indices: Array, priorities: Array) -> None:
        """Take over what an update says of them."""

    def check_valid(self) -> tuple[bool, str]:
        """Whether all parts agree, as after `set_state` they may not; the reason if not."""


class Updates(AbstractContextManager[Any], Protocol):
    """What the trainer needs of `BackgroundLearner` or `LearnerProcess`."""

    busy_seconds: float  # that finished updates took

    def begin(self, batch: SequenceBatch) -> None:
        """Start one."""

    def finish(self) -> UpdateResult | None:
        """Wait for it; the actor then has the new weights."""

    def bring_back(self) -> None:
        """Make the learner that is saved the one that was trained."""


@dataclass(slots=True)
class Counters:
    """What a run has done; kept in checkpoints."""

    steps: int = 0  # environment steps of all envs, resets not counted
    episodes: int = 0  # begun
    updates: int = 0
    trained_rows: int = 0
    learning_steps: int = 0  # environment steps since learning began


class TrainingDivergedError(UserError):
    """A loss or parameter is no finite number."""


@dataclass(slots=True)
class _Window:
    """Sums since the last interval."""

    steps: int = 0
    reward: float = 0.0
    updates: int = 0
    learner: dict[str, list[float]] = field(default_factory=dict)
    ages: list[float] = field(default_factory=list)
    ledger: Array = field(default_factory=lambda: np.zeros(4))  # sums of the four sources of reward
    spawned: list[int] = field(default_factory=list)  # milestones held where episodes began that began from a state
    true_starts: int = 0

    def add_update(self, scalars: dict[str, float]) -> None:
        self.updates += 1
        for name, value in scalars.items():
            self.learner.setdefault(name, []).append(value)


@dataclass(frozen=True, slots=True)
class _Moment:
    """Between two steps: what was seen last, f32 `[B, S]` what is remembered before it, and how many steps there were.

    The latter are those of one environment, of this session and those before it.
    """

    batch: StepBatch
    state: Array
    vector_steps: int

    def to_arrays(self) -> Arrays:
        """Without infos: whoever wants them has had them."""
        parts = {name: getattr(self.batch, name) for name in _BATCH_PARTS}
        own = {"state": self.state, "vector_steps": np.array(self.vector_steps)}
        return {**under("observation", self.batch.observation), **parts, **own}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> _Moment:
        """The inverse of `to_arrays`."""
        parts = {name: arrays[name] for name in _BATCH_PARTS}
        batch = StepBatch(observation=part(arrays, "observation"), infos=[], **parts)
        return cls(batch, arrays["state"], int(arrays["vector_steps"]))

    def check(self, like: _Moment) -> None:
        """Compare with the arrays of one that is whole.

        Raises:
            UserError: they are of other sizes.
        """
        check_like(self.to_arrays(), like.to_arrays(), "the episodes under way")
        if not np.array_equal(self.batch.env_ids, like.batch.env_ids):
            raise UserError(f"the episodes under way are those of environments {self.batch.env_ids.tolist()}")


class _Every:
    """Says when another multiple of `interval` has been reached; never if it is 0."""

    def __init__(self, interval: int, begun: int):
        # of multiples, not from where a session begins: a run that is resumed goes on with the rhythm that it had
        self._interval, self._next = interval, begun - begun % interval + interval if interval else 0

    def due(self, step: int) -> bool:
        if not self._interval or step < self._next:
            return False
        self._next += self._interval
        return True


class Trainer:
    """One run. `run` goes on until the steps are done, time is up or a signal came."""

    def __init__(
        self,
        config: Config,
        env: BatchedEnv,
        learner: Learner,
        replay: Replay,
        folder: Path,
        teaching: Teaching | None = None,
        updates: Updates | None = None,
    ):
        """Wire the parts; checkpoints go to `folder/checkpoints`. `teaching`: where `replay` has demonstrations.

        `updates` runs those of `learner` beside the rest: a thread does, unless another way is given.
        """
        self.config, self.env, self.learner, self.replay = config, env, learner, replay
        # called before a checkpoint is written; False: the logs do not reach up to it
        self.before_save: Callable[[], bool] = lambda: True
        # called with every step, the environment steps so far and the episodes' ids: whoever watches the run
        self.after_step: Callable[[StepBatch, int, Array], object] = lambda batch, step, episode_ids: None
        self.progress = ProgressTracker([m.name for m in MILESTONES], config.progress, env.num_envs)
        self._episodes = EpisodeTracker(env.num_envs, [milestone.name for milestone in MILESTONES])
        self._spawn_range = [len(MILESTONES), 0]  # fewest and most milestones that an episode began with
        self._updates = updates or BackgroundLearner(learner)
        self._teaching = teaching
        self.checkpoints = folder / "checkpoints"
        self.counters = Counters()
        e = config.exploration
        self._exploration = RepeatedExploration(
            env.num_envs, env.num_actions, e.repeat_exponent, e.repeat_longest, config.train.seed, e.talk_chance
        )
        names = [Action(number).name if number < len(Action) else str(number) for number in range(env.num_actions)]
        self._variety = Variety(names, e.temperature)
        i = config.intrinsic
        self._weights = {"rnd": i.rnd_weight, "novelty": i.novelty_weight, "bayes": i.bayes_weight}  # in the reward
        self._rnd = self._make_rnd() if i.rnd_weight else None
        self.last_checkpoint: Path | None = None
        self._saved_at = (-1, -1)  # environment steps and updates when it was written
        self._owed_rows = 0.0
        self._trained: Array = np.zeros(0, np.int64)  # sequences of the update in progress
        self._recent: deque[EpisodeRecord] = deque(maxlen=RECENT_EPISODES)
        self._moment: _Moment | None = None  # None: in the midst of a step
        self._episodes_held: Arrays = {}  # of the checkpoint, to go on with
        self._timers = PhaseTimers("env", "act", "learn", "replay", "rnd")
        self._window = _Window()
        self._busy_before = 0.0

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint; there is one once `run` has ended."""
        assert self.last_checkpoint is not None
        return self.last_checkpoint

    @property
    def epsilon(self) -> Array:
        """Exploration at the present step, f32 `[B]`."""
        e = self.config.exploration
        epsilon = linear(self.counters.steps, e.epsilon_start, e.epsilon_end, e.epsilon_decay_steps)
        return epsilon_ladder(self.env.num_envs, epsilon, e.ladder)

    def _epsilon_of(self, batch: StepBatch) -> Array:
        """Exploration of each environment: more of it where the episode began at a state of the curriculum."""
        from_state = batch.observation["episode"][:, SPAWN_FIELD] != 0
        epsilon = self.epsilon[batch.env_ids]
        return np.where(from_state, np.maximum(epsilon, self.config.exploration.from_states), epsilon)

    def run(self, stop: StopSignals) -> Iterator[Record]:
        """Train; yields records as they arise.

        Raises:
            TrainingDivergedError: no checkpoint is written then, so that the newest one is a good one.
            LearnerDiedError: nor then, as there is nothing to write.
            UserError: the last checkpoint cannot be written; during training that is only a warning.
        """
        with self._updates, ExitStack() as at_the_end:
            if self._teaching is not None:
                at_the_end.callback(self._teaching.close)
            try:
                reason = yield from self._run(stop)
            except TrainingDivergedError:
                raise
            except LearnerDiedError as error:
                raise LearnerDiedError(f"{error}; {self._kept}") from error
            except Exception:
                self._try_to_save()  # a dead worker should not cost what was learnt
                raise
            self._finish_update()
            if self._window.steps:
                yield from self._report()
            if not self._is_saved:
                yield self._last_save()
        yield Event("stop", self.counters.steps, {"reason": reason, "interrupted": stop.received is not None})

    def _run(self, stop: StopSignals) -> Generator[Record, None, str]:
        """Steps with what is due between them; returns why they ended."""
        train = self.config.train
        started, begun = time.monotonic(), self.counters.steps
        log, save, film = (_Every(n, begun) for n in (train.log_interval, train.save_interval, train.video_interval))
        if self._teaching is not None:
            yield from self._warm_up(self._teaching, stop)
            if stop.received is not None:
                return stop.received.name
        for records in self._steps():
            yield from records
            if log.due(self.counters.steps):
                yield from self._report()
            due, film_due = save.due(self.counters.steps), film.due(self.counters.steps)
            if due or film_due:
                yield self._try_to_save()
            if film_due and self._is_saved:
                yield Event("film", self.counters.steps, {"checkpoint": str(self.last_checkpoint)})
            if stop.received is not None:
                return stop.received.name
            if 0 < train.max_seconds <= time.monotonic() - started:
                return f"max_seconds {train.max_seconds:g}"
        return "all steps done"

    def _warm_up(self, teaching: Teaching, stop: StopSignals) -> Iterator[Record]:
        """The updates before the first step; what an interrupted run has not done is done when it is resumed."""
        c, before = self.counters, self.counters.updates
        if teaching.demos.sequences:
            held = {"steps": len(teaching.demos), "sequences": teaching.demos.sequences}
            yield Event("demonstrations", c.steps, held)
        while not c.steps and stop.received is None and teaching.warms_up(c.updates):
            teaching.prepare(c.steps, c.updates)  # before drawing: a sequence brings its recurrent states along
            batch = teaching.demos.sample(self.config.replay.batch_size)
            self._trained = batch.indices
            self._updates.begin(batch)
            self._finish_update()
        if c.updates > before:
            yield Event("warm_up", c.steps, {"updates": c.updates - before})
            yield from self._report()

    @property
    def _is_saved(self) -> bool:
        """Whether the newest checkpoint is of this very step, and lies in this run's folder."""
        return self._saved_at == (self.counters.steps, self.counters.updates)

    def _try_to_save(self) -> Event:
        """Write a checkpoint; a disk that is full costs a warning, and the next interval is the next attempt."""
        try:
            return self.save()
        except OSError as error:
            why, kept = error.strerror or str(error), self.last_checkpoint or "none yet"
            later = "training goes on, the next interval tries again"
            _log.warning("no checkpoint of step %d: %s; %s; newest: %s", self.counters.steps, why, later, kept)
            return Event("no_checkpoint", self.counters.steps, {"reason": why, "newest": str(kept)})

    def _last_save(self) -> Event:
        """Write the checkpoint that a run ends with.

        Raises:
            UserError: the disk is full.
        """
        try:
            return self.save()
        except OSError as error:
            kept = f"make room, then --resume {self.last_checkpoint}" if self.last_checkpoint else "there is none"
            raise UserError(
                f"the checkpoint of step {self.counters.steps} cannot be written to {self.checkpoints}: "
                f"{error.strerror or error}; {kept}"
            ) from error

    def save(self) -> Event:
        """Write a checkpoint, with the replay if `train.save_replay`; the update in progress is finished first.

        Raises:
            OSError: the disk is full or gone; the older checkpoints are as before.
        """
        self._finish_update()
        self._updates.bring_back()
        if not self.before_save():
            lacking = "a run that is killed now and resumed there lacks rows"
            _log.warning("the checkpoint of step %d is ahead of the logs: %s", self.counters.steps, lacking)
        if not self.learner.is_finite():
            raise self._diverged("a parameter")
        c = self.counters
        state = {
            "learner": self.learner.state_dict(),
            "counters": {name: int(getattr(c, name)) for name in Counters.__slots__},
            "owed_rows": float(self._owed_rows),
            "rng": rng_state(),
            "exploration": self._exploration.state_dict(),
            "progress": to_tensors(self.progress.state_dict()),
            "recent": [asdict(record) for record in self._recent],
            "spawn_range": self._spawn_range,
        }
        if self._rnd is not None:
            state["rnd"] = self._rnd.state_dict()
        if self.env.visits is not None:
            state["visits"] = to_tensors(self.env.visits.state_dict())
        if self.env.posteriors is not None:
            state["posteriors"] = to_tensors(self.env.posteriors.state_dict())
        train = self.config.train
        replay = self._held() if train.save_replay else None
        path = save_checkpoint(self.checkpoints, c.steps, state, self.config, train.keep_checkpoints, replay)
        self.last_checkpoint, self._saved_at = path, (c.steps, c.updates)
        return Event("checkpoint", c.steps, {"path": str(path)})

    def resume(self, path: Path) -> Event:
        """Go on from the checkpoint folder `path`; a replay that was not saved is filled before learning goes on.

        Raises:
            UserError: it is damaged, or of other settings.
        """
        state = restore_learner(self.learner.load_state_dict, path)
        note = f"learning goes on after {self.config.replay.learning_starts} new transitions"
        try:
            self._restore(state)
            if self._resume_replay(path):
                note = f"{len(self.replay)} transitions are held"
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{path} is damaged, or was written with other settings: {error!r}") from error
        self.last_checkpoint = path
        if path.parent == self.checkpoints.resolve():
            self._saved_at = (self.counters.steps, self.counters.updates)
        return Event("resume", self.counters.steps, {"path": str(path), "replay": note})

    def _held(self) -> Arrays:
        """What is learned from and, between two steps, the episodes under way, for `_resume_replay`."""
        held = under("replay", self.replay.get_state())
        if self._teaching is not None:
            held |= under("teaching", self._teaching.get_state())
        moment, self._moment = self._moment, None  # should environments fail to answer they are not asked again
        games = None if moment is None else self.env.get_state()
        if moment is None or games is None:
            return held
        self._moment = moment
        parts = {"games": games, "moment": moment.to_arrays()}
        parts |= {"sums": self._episodes.get_state(), "progress": self.progress.get_state()}
        for name, arrays in parts.items():
            held |= under(f"episodes/{name}", arrays)
        return held

    def _resume_replay(self, path: Path) -> bool:
        """Take over the replay of checkpoint folder `path`; False: there is none, or none for these settings."""
        try:
            held = load_replay(path)
            if held is None:
                return False
            self._fill(held)
        except UserError as error:
            _log.warning("the replay begins empty: %s", error)
            return False
        except Exception as error:  # what a damaged array makes numpy raise, half of it may have been taken over
            file = path / REPLAY_FILE
            raise UserError(
                f"{file} is damaged, or of another version ({error!r}): delete it, and the replay begins empty"
            ) from error
        self._episodes_held = part(held, "episodes")
        return True

    def _fill(self, held: Arrays) -> None:
        """Take over what `_held` wrote down, but for the episodes under way.

        Raises:
            UserError: it is of other settings; nothing has been changed then.
            ValueError: it is damaged; so may many others.
        """
        self.replay.set_state(part(held, "replay"))
        valid, reason = self.replay.check_valid()
        if not valid:
            raise ValueError(reason)
        for name, rows in held.items():
            if name.endswith("/rows/action") and rows.max(initial=0) >= self.env.num_actions:
                raise ValueError(f"action {rows.max()} of {self.env.num_actions}")
        if self._teaching is not None:
            self._teaching.set_state(part(held, "teaching"))

    def _restore(self, state: dict[str, Any]) -> None:
        """Everything of a checkpoint but the networks."""
        self.counters = Counters(**{name: _count(value) for name, value in state["counters"].items()})
        self._owed_rows = float(state["owed_rows"])
        set_rng_state(state["rng"])
        self._exploration.load_state_dict(state["exploration"])
        # a run may be resumed with a curiosity that it had not: that begins from nothing then
        if self._rnd is not None and "rnd" in state:
            self._rnd.load_state_dict(state["rnd"])
        if self.env.visits is not None and "visits" in state:
            self.env.visits.load_state_dict(to_arrays(state["visits"]))
        if self.env.posteriors is not None and "posteriors" in state:
            self.env.posteriors.load_state_dict(to_arrays(state["posteriors"]))
        if "progress" in state:
            self.progress.load_state_dict(to_arrays(state["progress"]))
        # checkpoints of older versions lack these
        self._recent.extend(EpisodeRecord(**record) for record in state.get("recent", ()))
        self._spawn_range = list(state.get("spawn_range", self._spawn_range))

    def _steps(self) -> Iterator[list[Record]]:
        """One vector step each; yields the episodes that ended in it, and its row in `steps/` if it has one."""
        timers, env = self._timers, self.env
        moment = self._begin()
        batch, state, vector_steps = moment.batch, moment.state, moment.vector_steps
        sample = _Every(self.config.train.step_log_interval, vector_steps)
        greedy = np.zeros(env.num_envs, dtype=np.float32)
        while self.counters.steps < self.config.train.total_steps:
            self._moment = None
            with timers("act"):
                choice = self.learner.act(batch.observation, batch.first, state, greedy)
                self._variety.add(choice.q_values, choice.actions)
                suggested = worth_trying(batch.observation["structured"])
                actions = self._exploration.choose(choice.actions, self._epsilon_of(batch), batch.first, suggested)
            with timers("env"):
                env.send(actions)
            with timers("replay"):
                self.replay.add(batch, actions, state)
                if self._teaching is not None:
                    self._teaching.note(batch, actions)
            self._learn()
            with timers("env"):
                batch = env.recv()
            batch = self._with_rnd(batch)
            state = choice.state
            self._count(batch)
            records: list[Record] = [*self._take(batch), *self._play_own_way()]
            self.after_step(batch, self.counters.steps, self._episodes.episode_ids)
            vector_steps += 1
            if sample.due(vector_steps):
                rows = step_rows(batch, self.counters.steps, self._episodes.episode_ids, self.progress)
                records += [] if rows is None else [rows]
            self._moment = _Moment(batch, state, vector_steps)
            yield records

    def _begin(self) -> _Moment:
        """Go on with the episodes of a checkpoint, or begin new ones."""
        self._episodes.next_episode_id = self.counters.episodes
        seed = self.config.train.seed + self.counters.steps  # other episodes after a resume
        with self._timers("env"):
            batch = self.env.reset(seed)
        if self._episodes_held:
            try:
                return self._go_on(self._episodes_held, batch)
            except UserError as error:
                _log.warning("new episodes begin: %s", error)
            except Exception as error:  # what a damaged array makes numpy raise
                _log.warning("new episodes begin: those of the checkpoint are damaged: %r", error)
            with self._timers("env"):
                batch = self.env.reset(seed)
        batch = self._with_rnd(batch)
        self._take(batch)
        return _Moment(batch, self.learner.initial_state(self.env.num_envs), 0)

    def _go_on(self, held: Arrays, begun: StepBatch) -> _Moment:
        """In the midst of the episodes that `_held` wrote down; `begun` is what a reset has just returned.

        Raises:
            UserError: they are of other environments.
            ValueError: they are damaged; so may many others.
        """
        moment = _Moment.from_arrays(part(held, "moment"))
        moment.check(_Moment(begun, self.learner.initial_state(self.env.num_envs), 0))
        self.env.set_state(part(held, "games"))
        self._episodes.set_state(part(held, "sums"))
        self.progress.set_state(part(held, "progress"))
        return moment

    def _take(self, batch: StepBatch) -> list[EpisodeRecord]:
        """Sum up and believe; returns the episodes that ended."""
        self.progress.add(batch)
        records = self._episodes.add(batch, self.counters.steps)
        if records:
            alarm = self.progress.alarm
            records = [replace(record, alarm_triggered=alarm) for record in records]
        self.counters.episodes = self._episodes.next_episode_id
        self._recent.extend(records)
        window = self._window
        window.ledger += batch.observation["ledger"].sum(axis=0)
        for row in np.flatnonzero(batch.first):
            if not batch.observation["episode"][row, SPAWN_FIELD]:
                window.true_starts += 1
                continue
            window.spawned.append(int(np.unpackbits(batch.observation["milestones"][row]).sum()))
        return records

    def _make_rnd(self) -> Rnd:
        train, env = self.config.train, self.env
        device = choose_device(train.device)
        return Rnd(env.spaces, env.num_envs, self.config.intrinsic.rnd_weight, train.seed, device)

    def _with_rnd(self, batch: StepBatch) -> StepBatch:
        """The batch with the bonus for what is new in it, if there is one."""
        if self._rnd is None:
            return batch
        with self._timers("rnd"):
            return self._rnd.add_to(batch)

    def _count(self, batch: StepBatch) -> None:
        taken = int(np.count_nonzero(~batch.first))
        self.counters.steps += taken
        self._window.steps += taken
        self._window.reward += float(batch.reward.sum())
        if self.replay.ready:
            self.counters.learning_steps += taken
            self._owed_rows += taken * self.config.learner.replay_ratio

    def _play_own_way(self) -> list[Record]:
        """One action of it beside the environments' own: a step as all others, but one that is learnt from apart."""
        if self._teaching is None:
            return []
        with self._timers("env"):
            taken, news = self._teaching.play(self.counters.steps)
        self.counters.steps += taken
        self._window.steps += taken
        return [] if news is None else [Event("own_way", self.counters.steps, news)]

    def _learn(self) -> None:
        """Begin the updates that the replay ratio owes, whole ones only."""
        settings = self.config.replay
        rows_an_update = settings.batch_size * settings.sequence_length
        while self.replay.ready and self._owed_rows >= rows_an_update:
            self._finish_update()
            with self._timers("replay"):
                if self._teaching is not None:
                    self._teaching.prepare(self.counters.steps, self.counters.updates)
                batch = self.replay.sample(settings.batch_size)
            rows = int(np.count_nonzero(batch.mask[settings.burn_in :]))
            self._owed_rows -= rows
            self.counters.trained_rows += rows
            self._trained = batch.indices
            self._window.ages += batch.age[batch.indices >= 0].tolist()  # demonstrations have index -1, and no age
            self.learner.anneal(self.counters.steps / self.config.train.total_steps)
            self._updates.begin(batch)

    def _finish_update(self) -> None:
        """Wait for the update in progress, if there is one, and take over what came of it."""
        try:
            with self._timers("learn"):
                result = self._updates.finish()
        except NotFiniteError as error:
            raise self._diverged("the loss") from error
        if result is None:
            return
        with self._timers("replay"):
            self.replay.update_priorities(self._trained, result.priorities)
        self.counters.updates += 1
        self._window.add_update(result.scalars)

    def _report(self) -> Iterator[Record]:
        """What was measured, and what is believed of the milestones."""
        window = self._window
        values = self.progress.metrics() | self._curiosity(window) | self._curriculum(window)
        yield from self.progress.rows(self.counters.steps)
        yield self._interval().with_values(values | self._opinions())

    def _opinions(self) -> dict[str, float]:
        """Whether the policy of the interval had one, and more than one; warns of one that has not for long."""
        values, warnings = self._variety.take()
        for text in warnings:
            _log.warning("step %d: %s", self.counters.steps, text)
        return values

    def _interval(self) -> Interval:
        window, self._window = self._window, _Window()
        spent, wall = self._timers.take()
        busy, self._busy_before = self._updates.busy_seconds - self._busy_before, self._updates.busy_seconds
        c = self.counters
        values: dict[str, Any] = {
            "speed/steps_per_second": window.steps / wall,
            "speed/updates_per_second": window.updates / wall,
            "speed/learner_busy": busy / wall,
            "rollout/reward_per_step": window.reward / max(1, window.steps),
            "rollout/env_reward_per_step": window.ledger[0] / max(1, window.steps),
            "exploration/epsilon": self.epsilon.mean(),
            "replay/transitions": len(self.replay),
            **{f"weight/{name}": weight for name, weight in self._weights.items()},
        }
        if c.learning_steps:
            values["replay/ratio"] = c.trained_rows / c.learning_steps
        values |= episode_means(self._recent)
        if window.ages:
            values["replay/age"] = np.mean(window.ages)
        if self.config.replay.return_filter < 1.0:
            values["replay/learned_share"] = self.replay.learned_share
        if self._teaching is not None:
            values["demo/coefficient"] = self._teaching.coefficient(c.steps)
        for name, numbers in window.learner.items():
            values[name if "/" in name else f"learner/{name}"] = np.mean(numbers)
        values |= {f"phase/{name}": seconds / wall for name, seconds in spent.items()}
        return Interval.of(c.steps, values)

    def _curiosity(self, window: _Window) -> dict[str, float]:
        """Mean unweighted bonus of a step, of the sources that are used."""
        values = bonus_means(self._weights, window.ledger[1:] / max(1, window.steps))
        if self.env.visits is not None:
            values["novelty/cells"] = float(len(self.env.visits.state_dict()["index"]))
        return values

    def _curriculum(self, window: _Window) -> dict[str, float]:
        """Where the episodes began; nothing without a curriculum."""
        states = self.env.states_kept
        if states is None:
            return {}
        values = {"curriculum/states": float(states)}
        began = window.true_starts + len(window.spawned)
        if began:
            values["curriculum/true_start_share"] = window.true_starts / began
        if window.spawned:
            low, high = self._spawn_range
            self._spawn_range = [min(low, *window.spawned), max(high, *window.spawned)]
            thirds = stages(np.array([*window.spawned, *self._spawn_range], np.float64))[:-2]
            for stage, name in enumerate(("early", "mid", "late")):
                values[f"curriculum/{name}_share"] = float(np.mean(thirds == stage))
        return values

    def _diverged(self, what: str) -> TrainingDivergedError:
        hint = "lower learner.learning_rate or the reward weights"
        return TrainingDivergedError(f"{what} is no finite number at step {self.counters.steps}: {hint}; {self._kept}")

    @property
    def _kept(self) -> str:
        """What is left to go on from, for a message."""
        return f"the last good checkpoint is {self.last_checkpoint}" if self.last_checkpoint else "no checkpoint yet"


def episode_means(recent: Collection[EpisodeRecord]) -> dict[str, float]:
    """What the newest episodes came to; nothing before the first."""
    if not recent:
        return {}
    return {
        "rollout/return_mean": float(np.mean([e.return_total for e in recent])),
        "rollout/return_env_mean": float(np.mean([e.return_env for e in recent])),
        "rollout/length_mean": float(np.mean([e.length_steps for e in recent])),
        "rollout/badges_mean": float(np.mean([e.badges for e in recent])),
    }


def bonus_means(weights: Mapping[str, float], bonuses: Array) -> dict[str, float]:
    """Mean unweighted bonus of a step, of the sources that are used; `bonuses` f64 `[3]` by source."""
    used = zip(weights.items(), bonuses, strict=True)
    return {f"{name}/reward_per_step": float(value) for (name, weight), value in used if weight}


def _count(value: Any) -> int:
    """A number of things that happened.

    Raises:
        ValueError: it cannot be one.
    """
    if not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise ValueError(f"{value!r} is no count")
    return value
