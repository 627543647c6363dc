"""Our trainer inside the loop of pokemonred_puffer: its `evaluate` collects, our replay learner learns.

In: the host's trainer module and class, and what that class is constructed with. Out: an object of a class derived from
it. The host's own code goes on doing what it does between steps (infos, save states, swarming, early stopping,
dashboard, names of checkpoints); three of its parts are replaced by others of the same manners:

vecenv      its own, watched: the rows of the last batch are kept in our form
policy      an actor that chooses by `Learner.act` and puts the rows into replay
experience  a counter of steps, since replay keeps the rows

`train` is ours. Updates run beside the environments as in the stand-alone `Trainer`, begun whenever the replay ratio
owes one; `train` waits for the last of an epoch and reports. An episode begins where the environment says so, which
a state load of the swarm does too: recurrent state and replay then begin anew. What one of our wrappers truncated is a
terminal to the host, and is bootstrapped here. `train.compile` has nothing to compile here.

`train.rnd_weight` pays r_rnd as in the stand-alone trainer, for all environments at once; it does without
the wrapper. The host's checkpoints hold the network alone: nothing of replay, RND, novelty or posteriors is saved, for
the host resumes nothing: every run of it has another folder, and logs that begin there. Those are the stand-alone
trainer's, beside the checkpoints; a row an epoch has what it has at every `log_interval`. wandb is the host's client,
which is given the same numbers. `train.live_interval` likewise: where the environments are is in `live/`, for `watch`.
"""

from __future__ import annotations

import inspect
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from daddy_puffer.config import Config, load_config
from daddy_puffer.envs.rom import is_practice_rom
from daddy_puffer.errors import UserError
from daddy_puffer.game.features import worth_trying
from daddy_puffer.learner.background import LearnerDiedError
from daddy_puffer.learner.hosted_logs import MOVED, Endings, PpoLogs, SampledSteps
from daddy_puffer.learner.learner import Learner
from daddy_puffer.learner.live_samples import ScatteredLooks
from daddy_puffer.learner.process import make_updates
from daddy_puffer.learner.trainer import Replay, Trainer, TrainingDivergedError, Updates
from daddy_puffer.policies.exploration import RepeatedExploration
from daddy_puffer.policies.hierq import HierQ
from daddy_puffer.policies.hosted import KEYS, HostedRecurrentHierQ
from daddy_puffer.replay import make_replay
from daddy_puffer.telemetry import Event, Interval, ProgressRow, Record, Telemetry
from daddy_puffer.telemetry.live import LiveWriter
from daddy_puffer.telemetry.run_folder import open_logs, open_run_folder
from daddy_puffer.types import SPAWN_FIELD, Array, EpisodeFlag, StepBatch
from daddy_puffer.wrappers import RND, Bayes, Novelty
from daddy_puffer.wrappers.epsilon import owner

LEDGER = "ledger"  # key beside those that the policy reads
LONGEST_LEAD = 512  # rows that an environment may be ahead of the slowest before some of its rows are lost
LOG_PERIOD_SECONDS = 5.0  # between two rows for wandb, as in the host
GREEDY_TEMPERATURE = 1e-4  # of the saved policy where exploration has none: the host samples its actions
SECTIONS = ("replay", "learner", "demos", "exploration", "progress")  # of ours in the host's `train` section
NOT_HERE = ("folder", "own_way", "own_wins")  # of `demos`: they need environments of our own
# The host reserves memory for a batch of its own learner and may compile its policy: neither is used.
UNUSED = {"batch_size": 1, "minibatch_size": 1, "bptt_horizon": 1, "compile": False}


def hosted_config(train: DictConfig, *, num_envs: int, frame_stack: int) -> Config:
    """Our settings out of the host's `train` section: sub-sections as in our config.yaml, defaults where missing.

    Raises:
        UserError: unknown key, wrong type, value out of range, or a sub-section that is no mapping.
    """
    overrides: dict[str, Any] = {
        "env.frame_stack": frame_stack,
        "train.num_envs": num_envs,
        "train.vectorization": "serial",  # the host's matter, not to be checked here
        "train.seed": train.seed,
        "train.device": str(train.device),
        "train.threads": train.get("threads"),
        "train.updates_in": train.get("updates_in"),
        "train.live_interval": train.get("live_interval"),
        "train.step_log_interval": train.get("step_log_interval"),
        "intrinsic.rnd_weight": train.get("rnd_weight", 0.0),
        "learner.anneal_from": 0.0 if train.get("anneal_lr", False) else 1.0,
    }
    for name in SECTIONS:
        section = train.get(name)
        if section is None:
            continue
        if not isinstance(section, DictConfig):
            raise UserError(f"train.{name} must be a mapping, found {section!r}")
        values = OmegaConf.to_container(section, resolve=True)
        assert isinstance(values, dict)
        overrides |= {f"{name}.{str(key)}": value for key, value in values.items()}
    for name in NOT_HERE:
        if overrides.get(f"demos.{name}"):
            raise UserError(f"train.demos.{name} is for our own trainer: start python -m daddy_puffer.train_big")
    return load_config(None, overrides)


class WatchedVecenv:
    """The host's vectorized environment; what it gave last is kept as a `StepBatch` of some of the environments."""

    def __init__(self, vecenv: Any):
        """Watch `vecenv`."""
        self._vecenv = vecenv
        self._row_type = vecenv.driver_env.emulated.emulated_observation_dtype
        self._episodes = np.full(vecenv.num_agents, -1, np.int64)
        self._moved = np.zeros(vecenv.num_agents, bool)
        self._start = np.uint8(0xFF)  # u8 [bytes] milestones that every episode so far began with
        self.batch: StepBatch | None = None
        self.seen: Callable[[StepBatch], object] = lambda batch: None  # called with each

    def __getattr__(self, name: str) -> Any:
        """Everything else is the environment's own."""
        return getattr(self._vecenv, name)

    def recv(self) -> tuple[Any, ...]:
        """Its `recv`."""
        given: tuple[Any, ...] = self._vecenv.recv()
        rows, reward, terminated, _, infos, env_ids = given[:6]
        ids = np.array(env_ids, np.int64)
        packed = np.ascontiguousarray(rows).view(self._row_type).reshape(len(ids))
        # copies: the environments overwrite their buffers from the next `send` on
        observation = {name: packed[name].copy() for name in (*KEYS, LEDGER)}
        first = self._first(observation["episode"], ids)
        self._mark_moved(observation, first, ids)
        cut = (observation["episode"][:, 3] & EpisodeFlag.TRUNCATED.value) != 0
        self.batch = StepBatch(
            observation=observation,
            reward=np.array(reward, np.float32),
            terminated=np.array(terminated, bool) & ~cut,
            truncated=cut,
            first=first,
            env_ids=ids,
            infos=list(infos),
        )
        self.seen(self.batch)
        return given

    def _first(self, episode: Array, ids: Array) -> Array:
        """Where an episode begins. Its number tells too: a reset beside a step in a thread shows no first row."""
        first: Array = ((episode[:, 3] & EpisodeFlag.FIRST.value) != 0) | (episode[:, 0] != self._episodes[ids])
        self._episodes[ids] = episode[:, 0]
        return first

    def _mark_moved(self, observation: dict[str, Array], first: Array, ids: Array) -> None:
        """Name a save state where the host began an episode with what another had reached: that is no true start."""
        milestones, spawn = observation["milestones"], observation["episode"][:, SPAWN_FIELD]
        if first.any():
            self._start = self._start & np.bitwise_and.reduce(milestones[first])
            self._moved[ids[first]] = (milestones[first] & ~self._start).any(axis=1)
        spawn[self._moved[ids] & (spawn == 0)] = MOVED


class _Row(NamedTuple):
    """One row of one environment."""

    observation: dict[str, Array]
    reward: float
    terminated: bool
    truncated: bool
    first: bool
    action: int
    state: Array


class RowQueues:
    """Rows of environments that are not in step with each other, handed on when there is one of each.

    Replay wants the n-th row of every environment at once; which wall time it is of does not matter. An environment
    that is faster than the slowest one waits in a queue. When that is full its rows are dropped until it is half empty,
    and what follows counts as the beginning of an episode, so that no transition leads over the gap.
    """

    def __init__(self, num_envs: int, longest: int = LONGEST_LEAD):
        """Queues of at most `longest` rows."""
        self._everyone = np.arange(num_envs)
        self._queues: list[deque[_Row]] = [deque() for _ in range(num_envs)]
        self._torn = np.zeros(num_envs, bool)
        self._longest = longest
        self.dropped = 0

    def put(self, batch: StepBatch, action: Array, state: Array) -> Iterator[tuple[StepBatch, Array, Array]]:
        """Take rows of some environments; yields whole ones for `Replay.add`."""
        if np.array_equal(batch.env_ids, self._everyone) and not any(self._queues):
            yield batch, action, state
            return
        for i, env in enumerate(batch.env_ids):
            self._put_one(int(env), batch, i, int(action[i]), state[i])
        while all(self._queues):
            yield self._take()

    def _put_one(self, env: int, batch: StepBatch, i: int, action: int, state: Array) -> None:
        queue = self._queues[env]
        room = self._longest // 2 if self._torn[env] else self._longest
        if len(queue) >= room:
            self._torn[env] = True
            self.dropped += 1
            return
        first = bool(batch.first[i]) or bool(self._torn[env])
        self._torn[env] = False
        observation = {name: values[i] for name, values in batch.observation.items()}
        ends = bool(batch.terminated[i]), bool(batch.truncated[i])
        queue.append(_Row(observation, float(batch.reward[i]), *ends, first, action, state))

    def _take(self) -> tuple[StepBatch, Array, Array]:
        rows = [queue.popleft() for queue in self._queues]
        batch = StepBatch(
            observation={name: np.stack([row.observation[name] for row in rows]) for name in rows[0].observation},
            reward=np.array([row.reward for row in rows], np.float32),
            terminated=np.array([row.terminated for row in rows]),
            truncated=np.array([row.truncated for row in rows]),
            first=np.array([row.first for row in rows]),
            env_ids=self._everyone,
            infos=[],
        )
        return batch, np.array([row.action for row in rows]), np.stack([row.state for row in rows])


class StepwiseTrainer(Trainer):
    """The trainer without its loop: what happens in a step, for someone else's, and for some environments at a time."""

    def __init__(
        self,
        config: Config,
        learner: Learner,
        replay: Replay,
        *,
        spaces: Mapping[str, Any],
        num_envs: int,
        num_actions: int,
        together: bool,
        updates: Updates | None = None,
        weights: Mapping[str, float] | None = None,
    ):
        """`spaces` of the observation; `together`: every batch holds all environments; `updates` as the trainer's.

        `weights` of the sources of curiosity that wrappers pay.
        """
        nothing = {"visits": None, "posteriors": None, "states_kept": None}  # what wrappers share is out of reach
        env: Any = SimpleNamespace(num_envs=num_envs, num_actions=num_actions, spaces=spaces, **nothing)
        super().__init__(config, env, learner, replay, Path(), updates=updates)
        self._weights |= weights or {}
        self.emit: Callable[[Record], object] = lambda record: None  # called with everything that is to be logged
        self._begun = False
        self._endings, self._sampled = Endings(num_envs), SampledSteps(num_envs, config.train.step_log_interval)
        self._state = learner.initial_state(num_envs)
        self._rows = RowQueues(num_envs)
        self._explorers = [self._exploration] if together else [self._explorer(env_id) for env_id in range(num_envs)]

    @property
    def dropped_rows(self) -> int:
        """Rows that did not get into replay, because their environment was too far ahead."""
        return self._rows.dropped

    def act(self, batch: StepBatch) -> Array:
        """Choose the actions i64 `[B]` of these environments, and keep what was seen."""
        batch = self._with_curiosity(batch)
        self._count(batch)
        self._log(batch)
        ids = batch.env_ids
        before = self._state[ids]
        with self._timers("act"):
            greedy = np.zeros(len(ids), np.float32)
            choice = self.learner.act(batch.observation, batch.first, before, greedy)
            self._variety.add(choice.q_values, choice.actions)
            actions = self._explore(choice.actions, batch)
        with self._timers("replay"):
            for whole in self._rows.put(batch, actions, before):
                self.replay.add(*whole)
        self._state[ids] = choice.state
        return actions

    def begin_updates(self) -> None:
        """Begin what the replay ratio owes; the environments step meanwhile."""
        if not self._begun:  # not before: the host may have loaded other weights into its policy
            self._updates.__enter__()
            self._begun = True
        self._learn()

    def finish_updates(self) -> None:
        """Wait for the update in progress; the host's policy then has the weights of all of them.

        Raises:
            TrainingDivergedError: a loss or parameter is no finite number.
        """
        self._finish_update()
        if self._begun:
            self._updates.bring_back()
        if not self.learner.is_finite():
            raise self._diverged("a parameter")

    def measured(self) -> dict[str, float]:
        """What was measured since the last time, and logs it; where the time went is the host's to say."""
        values: dict[str, float] = {}
        for record in self._report():
            if isinstance(record, ProgressRow):
                self.emit(record)
                values[f"posterior_mean/{record.milestone}"] = record.mean
                values[f"alarm_score/{record.milestone}"] = record.alarm_score
            elif isinstance(record, Interval):
                found = {name: value for name, value in record.values().items() if not name.startswith("phase/")}
                self.emit(Interval.of(record.step, found))
                values |= found
        return values

    def close(self) -> None:
        """Let the update in progress end, and what runs it; the host may save what came of it afterwards."""
        if not self._begun:
            return
        try:
            with suppress(LearnerDiedError, TrainingDivergedError):  # which the host has been told
                self.finish_updates()
        finally:
            self._begun = False
            self._updates.__exit__(None, None, None)

    def _log(self, batch: StepBatch) -> None:
        """Sum up, believe, sample, and let those who watch see."""
        for record in self._take(self._endings.add_to(batch)):
            self.emit(record)
        step = self.counters.steps
        self.after_step(batch, step, self._episodes.episode_ids)
        rows = self._sampled.rows(batch, step, self._episodes.episode_ids, self.progress)
        if rows is not None:
            self.emit(rows)

    def _with_curiosity(self, batch: StepBatch) -> StepBatch:
        with torch.enable_grad():  # the host acts without
            return self._with_rnd(batch)

    def _explorer(self, env_id: int) -> RepeatedExploration:
        e, seed = self.config.exploration, self.config.train.seed
        return RepeatedExploration(
            1, self.env.num_actions, e.repeat_exponent, e.repeat_longest, seed + env_id, e.talk_chance
        )

    def _explore(self, greedy: Array, batch: StepBatch) -> Array:
        given = greedy, self._epsilon_of(batch), batch.first, worth_trying(batch.observation["structured"])
        if len(self._explorers) == 1:
            return self._explorers[0].choose(*given)
        each = [
            self._explorers[env].choose(*(part[i : i + 1] for part in given)) for i, env in enumerate(batch.env_ids)
        ]
        return np.concatenate(each)


class HostedPolicy:
    """What the host's `evaluate` calls as its policy."""

    def __init__(self, trainer: StepwiseTrainer, vecenv: WatchedVecenv, policy: nn.Module, alone: bool):
        """`alone`: there is one environment, for which the host expects numbers instead of arrays of one."""
        self._trainer, self._vecenv, self._policy, self._alone = trainer, vecenv, policy, alone

    def __call__(self, observation: Tensor) -> tuple[Tensor, Tensor, None, Tensor]:
        """Actions i64 `[B]`; log-probabilities and values, f32 `[B]`, that nobody uses."""
        batch = self._vecenv.batch
        assert batch is not None and len(batch.env_ids) == len(observation)
        actions = torch.from_numpy(self._trainer.act(batch))
        nothing = torch.zeros(len(actions))
        return (actions[0], nothing[0], None, nothing) if self._alone else (actions, nothing, None, nothing)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Of the trained network; the host counts them."""
        return self._policy.parameters()


class StepCounter:
    """What the host's `evaluate` takes for its experience buffer."""

    lstm_h = None  # recurrent states are our actor's business
    lstm_c = None

    def __init__(self, trainer: StepwiseTrainer, learning_time: Any, batch_size: int):
        """`learning_time`: the host's profiler of learning; an epoch is `batch_size` steps."""
        self._trainer, self._learning_time, self._batch_size = trainer, learning_time, batch_size
        self._steps = 0

    @property
    def full(self) -> bool:
        """Whether the epoch's steps are there. Asked right after a `send`: the environments step while we learn."""
        with self._learning_time:
            self._trainer.begin_updates()
        return self._steps >= self._batch_size

    def store(self, observation: Any, value: Any, action: Any, *_: Any) -> None:
        """Count; the rows are in replay already."""
        self._steps += len(action)

    def clear(self) -> None:
        """Begin another epoch."""
        self._steps = 0


class HostedTrainer:
    """`HostedTrainer(host, original, ...)` is an `original(...)` of module `host` that learns by replay."""

    # what `original` brings
    config: Any
    vecenv: Any
    policy: Any
    profile: Any
    losses: Any
    utilization: Any
    wandb_client: Any
    stats: dict[str, Any]
    msg: str
    global_step: int
    epoch: int
    last_log_time: float

    def __new__(cls, host: ModuleType, original: type, /, *args: Any, **kwargs: Any) -> HostedTrainer:
        """An object of a class derived from `original`, which is known only now."""
        timed = {"train": host.pufferlib.utils.profile(cls.train)}
        return object.__new__(type(cls.__name__, (cls, original), timed))

    def __init__(self, host: ModuleType, original: type, /, *args: Any, **kwargs: Any):
        """`args` and `kwargs` as `original` takes them; its policy holds a `HierQ`.

        Raises:
            UserError: one of our settings is wrong.
        """
        self._host = host
        given = inspect.signature(original).bind(*args, **kwargs).arguments
        self._watched = given["vecenv"] = WatchedVecenv(given["vecenv"])
        given.setdefault("losses", SimpleNamespace())  # those of the host's learner would be shown until ours come
        self._trainer = make_stepwise(given["config"], self._watched, given["policy"])
        self._measured: dict[str, float] = {}
        super().__init__(**given)

    def __post_init__(self) -> None:
        """The host's own, then the parts that are ours."""
        config, policy = self.config, self.policy
        self.config = OmegaConf.merge(config, UNUSED)
        super().__post_init__()  # type: ignore[misc]
        self.config = config
        self.uncompiled_policy = policy
        self.policy = HostedPolicy(self._trainer, self._watched, policy, alone=config.num_envs == 1)
        self.experience = StepCounter(self._trainer, self.profile.learn, config.batch_size)
        self.optimizer = self._trainer.learner.optimizer
        interval, count = self._trainer.config.train.live_interval, int(self._watched.num_agents)
        folder = Path(config.data_dir) / str(config.exp_id)
        self._live = LiveWriter(folder / "live", count, interval)
        self._trainer.after_step = ScatteredLooks(self._live, count, interval).see
        self._logs = self._open_logs(folder)
        self._trainer.emit = self._logs.emit

    def _open_logs(self, folder: Path) -> Telemetry:
        """The logs of the stand-alone trainer, under way.

        Raises:
            UserError: the folder cannot be written to.
        """
        trainer, learner = self._trainer, self._trainer.learner
        open_run_folder(folder, trainer.config, (), parameters=learner.parameter_count, device=str(learner.device))
        return Telemetry(open_logs(folder, trainer.config.progress.watched)).__enter__()

    def train(self) -> None:
        """Wait for the last update of the epoch; show, log and save as the host does."""
        with self.profile.learn:
            self._trainer.finish_updates()
        with self.profile.train_misc:
            self._measured |= self._trainer.measured()
            self.losses = SimpleNamespace(**self._shown())
            self.experience.clear()
            self._trainer.learner.anneal(self.global_step / self.config.total_timesteps)
            self.epoch += 1
            done = self.global_step >= self.config.total_timesteps
            if self.profile.update(self) or done:
                self._show()
            if self.epoch % self.config.checkpoint_interval == 0 or done:
                self.save_checkpoint()
                self.msg = f"Checkpoint saved at update {self.epoch}"

    def save_checkpoint(self) -> str:
        """The host's files, while no update runs; a network that is lost is not written.

        Raises:
            TrainingDivergedError: a loss or parameter is no finite number.
        """
        with suppress(LearnerDiedError):  # which ends the run: then what the last epoch left is saved
            self._trainer.finish_updates()
        self._logs.flush()  # so that a checkpoint is never ahead of the logs
        self.global_step = int(self.global_step)  # a numpy number would need unpickling
        path: str = super().save_checkpoint()  # type: ignore[misc]
        if self._trainer.last_checkpoint != Path(path):  # the host saves twice at the end
            self._trainer.last_checkpoint = Path(path)
            self._emit("checkpoint", path=path)
        return path

    def close(self) -> None:
        """The host's own; no more updates, and the logs end."""
        error = sys.exc_info()[0]  # that the run ends with
        try:
            self._trainer.close()
            self._live.close()
            super().close()  # type: ignore[misc]
            if error is None or error is KeyboardInterrupt:
                self._emit(
                    "stop", reason="done" if error is None else "KeyboardInterrupt", interrupted=error is not None
                )
        finally:
            self._logs.__exit__(*sys.exc_info())

    def _emit(self, event: str, **details: Any) -> None:
        self._logs.emit(Event(event, self._trainer.counters.steps, details))

    def _shown(self) -> dict[str, float]:
        """What the dashboard and `losses/...` of wandb show."""
        found = {name[8:]: value for name, value in self._measured.items() if name.startswith("learner/")}
        found |= {"epsilon": self._measured["exploration/epsilon"], "updates": self._trainer.counters.updates}
        if self._trainer.dropped_rows:
            found["dropped_rows"] = self._trainer.dropped_rows
        return found

    def _show(self) -> None:
        """Dashboard and wandb: the host's keys, and ours under our names."""
        now = time.time()  # the host begins with this clock
        if self.config.verbose:
            self._host.print_dashboard(
                self.config.env,
                self.utilization,
                self.global_step,
                self.epoch,
                self.profile,
                self.losses,
                self.stats,
                self.msg,
            )
        if self.wandb_client is None or self.global_step == 0 or now - self.last_log_time <= LOG_PERIOD_SECONDS:
            return
        self.last_log_time = now
        self.wandb_client.log(
            {
                "Overview/SPS": self.profile.SPS,
                "Overview/agent_steps": self.global_step,
                "Overview/learning_rate": self.optimizer.param_groups[0]["lr"],
                **{f"environment/{name}": value for name, value in self.stats.items()},
                **{f"losses/{name}": value for name, value in vars(self.losses).items()},
                **{f"performance/{name}": value for name, value in self.profile},
                **self._measured,
            }
        )


def make_stepwise(train: DictConfig, vecenv: Any, policy: nn.Module) -> StepwiseTrainer:
    """Learner and replay for the host's environments and the `HierQ` inside `policy`.

    Raises:
        UserError: a setting is wrong.
    """
    spaces = vecenv.driver_env.env.observation_space.spaces
    network = next(part for part in policy.modules() if isinstance(part, HierQ))
    envs, actions = int(vecenv.num_agents), int(vecenv.single_action_space.n)
    paid = paid_by_wrappers(vecenv.driver_env.env)
    config = hosted_config(train, num_envs=envs, frame_stack=spaces["frames"].shape[0])
    config = _played(config, vecenv.driver_env.env, network, paid)
    torch.set_num_threads(config.train.threads)
    for part in policy.modules():
        if isinstance(part, HostedRecurrentHierQ):  # so that the host's `evaluate` plays as we do
            part.temperature = config.exploration.temperature or GREEDY_TEMPERATURE
    learner = Learner(config, spaces, actions, network)
    replay = make_replay(config, spaces, learner.state_size, envs)
    together = int(vecenv.agents_per_batch) == envs
    return StepwiseTrainer(
        config,
        learner,
        replay,
        spaces=spaces,
        num_envs=envs,
        num_actions=actions,
        together=together,
        updates=make_updates(learner, config.train),
        weights=paid,
    )


def make_ppo_logs(trainer: Any, vecenv: WatchedVecenv) -> PpoLogs:
    """Logs of the host's own `trainer`, whose environments are `vecenv`.

    Raises:
        UserError: a setting is wrong, or the folder of the run cannot be written to.
    """
    env = vecenv.driver_env.env
    stack, count = env.observation_space.spaces["frames"].shape[0], int(vecenv.num_agents)
    network = next((part for part in trainer.policy.modules() if isinstance(part, HierQ)), None)
    paid = paid_by_wrappers(env)
    config = _played(hosted_config(trainer.config, num_envs=count, frame_stack=stack), env, network, paid)
    logs = PpoLogs(trainer, config, paid, count)
    vecenv.seen = logs.see
    return logs


def paid_by_wrappers(env: Any) -> dict[str, float]:
    """Weight by source of the curiosity that our wrappers around `env` pay."""
    kinds = {RND: "rnd", Novelty: "novelty", Bayes: "bayes"}
    found: dict[str, float] = {}
    while isinstance(env, gymnasium.Wrapper):
        if type(env) in kinds:
            found[kinds[type(env)]] = float(env.weight)
        env = env.env
    return found


def _played(config: Config, env: Any, network: HierQ | None, paid: Mapping[str, float]) -> Config:
    """The settings with what the host's environment and policy say of themselves, for `config.yaml`."""
    intrinsic = replace(
        config.intrinsic, novelty_weight=paid.get("novelty", 0.0), bayes_weight=paid.get("bayes", 0.0)
    )  # of RND there is the trainer's own weight: the wrapper's would have it paid twice
    config = replace(config, intrinsic=intrinsic, policy=network.config if network else config.policy)
    game = owner(env, "rom_path")
    rom = getattr(game, "rom_path", None)
    if rom is None:
        return config
    gb_path = "" if is_practice_rom(rom) else str(rom)
    return replace(
        config, env=replace(config.env, gb_path=gb_path, max_steps=game.max_steps, action_freq=game.action_freq)
    )
