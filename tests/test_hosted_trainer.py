"""The trainer inside a host's loop. The host here is a small one with the seams of the real one (tests/upstream)."""

from __future__ import annotations

import csv
import json
import math
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pufferlib.emulation
import pufferlib.utils
import pufferlib.vector
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from support import MILESTONE_BYTES, STACK, STRUCTURED, FakeLearner, FakeRed

from daddy_puffer.config import Config, ReplayConfig
from daddy_puffer.errors import UserError
from daddy_puffer.game.features import FEATURES
from daddy_puffer.game.maps import map_name
from daddy_puffer.game.milestones import MILESTONES
from daddy_puffer.learner import hosted
from daddy_puffer.learner.hosted import (
    HostedTrainer,
    RowQueues,
    StepwiseTrainer,
    WatchedVecenv,
    hosted_config,
)
from daddy_puffer.learner.trainer import TrainingDivergedError
from daddy_puffer.policies.hierq import HierQ, ObservationSpec
from daddy_puffer.policies.hosted import HostedHierQ, HostedRecurrentHierQ
from daddy_puffer.replay import SequenceReplay
from daddy_puffer.report.runs import load_run, read_steps
from daddy_puffer.telemetry import EpisodeRecord
from daddy_puffer.telemetry.live import SCREENS_EVERY, LiveReader, unpack_looks, unpack_screens
from daddy_puffer.types import SPAWN_FIELD, Action, StepBatch
from daddy_puffer.watch.moment import Moment

ENVS = 4
TRAIN = {
    "seed": 3,
    "torch_deterministic": True,
    "verbose": True,
    "device": "cpu",
    "compile": False,
    "batch_size": 64,
    "minibatch_size": 7,
    "bptt_horizon": 3,
    "num_envs": ENVS,
    "total_timesteps": 256,
    "checkpoint_interval": 2,
    "learning_rate": 1.0,
    "anneal_lr": False,
    "env": "Tiny",
    "exp_id": "run",
    "live_interval": 0,  # the fake tells nothing that could be watched
    "replay": {"capacity": 2000, "learning_starts": 40, "sequence_length": 10, "burn_in": 2, "batch_size": 4},
}


class Profile:
    """Times by phase, in the host's names."""

    names = ("env", "eval_forward", "eval_misc", "train_forward", "learn", "train_misc")

    def __init__(self) -> None:
        for name in self.names:
            setattr(self, name, pufferlib.utils.Profiler())
        self.SPS = 0.0

    def __iter__(self) -> Any:
        yield from (("SPS", self.SPS), ("learn_time", self.learn.elapsed))  # type: ignore[attr-defined]

    def update(self, trainer: Any) -> bool:
        assert set(trainer._timers) == {"evaluate", "train"}
        return True


@dataclass
class Losses:
    policy_loss: float = 0.0


@dataclass
class Loop:
    """The host's trainer: what it asks of its parts in `evaluate`, and in which order."""

    exp_name: str
    config: Any
    vecenv: Any
    policy: Any
    wandb_client: Any = None
    profile: Profile = field(default_factory=Profile)
    losses: Any = field(default_factory=Losses)
    global_step: int = 0
    epoch: int = 0
    stats: dict = field(default_factory=dict)
    msg: str = ""
    infos: dict = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.utilization = object()
        if self.config.batch_size % self.config.minibatch_size or self.config.compile:
            raise ValueError("sizes of a learner that is not used, or a policy compiled for nothing")
        self.vecenv.async_reset(self.config.seed)
        self.experience: Any = None
        self.uncompiled_policy = self.policy
        self.optimizer: Any = None
        self.last_log_time = time.time() - 60

    @pufferlib.utils.profile
    def evaluate(self) -> None:
        assert self.experience.lstm_h is None
        self.infos.clear()
        while not self.experience.full:
            o, r, d, t, info, env_id, mask = self.vecenv.recv()
            self.global_step += sum(mask)
            seen = torch.as_tensor(o)
            with torch.no_grad():
                actions, logprob, _, value = self.policy(seen)
            value, actions = value.flatten(), actions.cpu().numpy()
            if self.config.num_envs == 1:
                actions, logprob = np.expand_dims(actions, 0), logprob.unsqueeze(0)
            assert actions.shape == logprob.shape == (len(o),)
            self.experience.store(seen, value, actions, logprob, r, d, env_id, torch.as_tensor(mask))
            for key in (key for i in info for key in i):
                self.infos[key].append(1)
            self.vecenv.send(actions)
        if self.config.get("swarm"):
            self.vecenv.async_reset()
        self.stats = {"parameters": sum(p.numel() for p in self.policy.parameters())}

    def train(self) -> None:
        raise AssertionError("this is the learner that ours replaces")

    def save_checkpoint(self) -> str:
        path = Path(self.config.data_dir) / self.config.exp_id / f"model_{self.epoch:06d}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(self.uncompiled_policy, path)
        torch.save({"optimizer_state_dict": self.optimizer.state_dict()}, path.parent / "trainer_state.pt")
        return str(path)

    def close(self) -> None:
        self.vecenv.close()
        self.save_checkpoint()


class Host(ModuleType):
    """The module that `Loop` is of."""

    pufferlib = pufferlib

    def __init__(self) -> None:
        super().__init__("host")
        self.dashboards: list[dict[str, float]] = []

    def print_dashboard(self, env: Any, meter: Any, step: int, epoch: int, *rest: Any) -> None:
        self.dashboards.append(dict(vars(rest[1])))


class Client:
    """Keeps what wandb is given."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


class Uneven:
    """Two vectorized environments behind one: batches hold one of them, the second comes once for thrice the first."""

    def __init__(self, halves: list[Any]) -> None:
        self._halves, self._turn, self._calls = halves, 0, 0
        self.driver_env = halves[0].driver_env
        self.single_action_space = halves[0].single_action_space
        self.num_agents, self.agents_per_batch = 2 * halves[0].num_agents, halves[0].num_agents

    def async_reset(self, seed: int = 42) -> None:
        for half in self._halves:
            half.async_reset(seed)

    def recv(self) -> tuple[Any, ...]:
        self._turn = int(self._calls % 4 == 3)
        self._calls += 1
        given = self._halves[self._turn].recv()
        return (*given[:5], given[5] + self._turn * self.agents_per_batch, given[6])

    def send(self, actions: np.ndarray) -> None:
        self._halves[self._turn].send(actions)

    def close(self) -> None:
        for half in self._halves:
            half.close()


def packed(env: gymnasium.Env | None = None) -> Any:
    return pufferlib.emulation.GymnasiumPufferEnv(env=env or FakeRed(terminate_at=9, truncate_at=0))


def serial(count: int = ENVS, creator: Any = packed) -> Any:
    return pufferlib.vector.Serial([creator] * count, [[]] * count, [{}] * count, count)


def make_policy(structured: int = STRUCTURED) -> torch.nn.Module:
    spec = ObservationSpec(stack=STACK, structured=structured, milestones=8 * MILESTONE_BYTES)
    torch.manual_seed(1)
    inner = HostedRecurrentHierQ(HostedHierQ(HierQ(spec, len(Action), Config().policy), {}))
    return torch.nn.ModuleList([inner])  # the host's wrapper


def make_trainer(
    tmp_path: Path, vecenv: Any = None, client: Any = None, policy: Any = None, **settings: Any
) -> tuple[Any, Host]:
    host = Host()
    config = OmegaConf.create({**TRAIN, "data_dir": str(tmp_path), **settings})
    vecenv = vecenv or serial(config.num_envs)
    policy = policy or make_policy()
    trainer = HostedTrainer(host, Loop, "name", config=config, vecenv=vecenv, policy=policy, wandb_client=client)
    return trainer, host


def run(trainer: Any) -> None:
    try:
        while trainer.global_step < trainer.config.total_timesteps:
            trainer.evaluate()
            trainer.train()
    finally:
        trainer.close()


def section(**settings: Any) -> DictConfig:
    return OmegaConf.create({"seed": 1, "device": "cpu", **settings})


def stepwise(
    vecenv: Any, num_envs: int, learner: Any = None, **settings: Any
) -> tuple[WatchedVecenv, StepwiseTrainer, SequenceReplay]:
    """The parts below the host's loop; the learner's state counts the rows of an episode."""
    watched = WatchedVecenv(vecenv)
    settings = {"exploration": {"epsilon_end": 0.5}, **settings}
    config = hosted_config(section(**settings), num_envs=num_envs, frame_stack=STACK)
    learner = learner or FakeLearner(Action.B)
    replay = SequenceReplay(
        ReplayConfig(capacity=4000, learning_starts=2000, sequence_length=6, sequence_period=1, burn_in=0),
        num_envs=num_envs,
        frame_stack=STACK,
        structured_size=STRUCTURED,
        milestone_size=MILESTONE_BYTES,
        state_size=learner.state_size,
        seed=0,
    )
    together = watched.agents_per_batch == num_envs
    spaces = watched.driver_env.env.observation_space.spaces
    trainer = StepwiseTrainer(
        config, learner, replay, spaces=spaces, num_envs=num_envs, num_actions=7, together=together
    )
    return watched, trainer, replay


@pytest.mark.parametrize("kind", ["together", "uneven", "one"])
@pytest.mark.parametrize("resets", [False, True])
def test_replay_holds_each_environments_own_sequence(kind: str, resets: bool) -> None:
    vecenv = Uneven([serial(2), serial(2)]) if kind == "uneven" else serial(1 if kind == "one" else ENVS)
    watched, trainer, replay = stepwise(vecenv, vecenv.num_agents)
    watched.async_reset(5)
    for step in range(200):
        watched.recv()
        assert watched.batch is not None
        watched.send(trainer.act(watched.batch))
        if resets and step % 31 == 30:
            watched.async_reset(step)
    trainer.close()
    assert replay.check_valid() == (True, "") and trainer.dropped_rows == 0
    batch = replay.sample(200)
    step, action_before = batch.structured[..., 0], batch.structured[..., 2]
    follows = ~batch.first[1:]
    np.testing.assert_array_equal(follows, batch.mask[:-1])
    np.testing.assert_array_equal((step[:-1] + 1)[follows], step[1:][follows])
    np.testing.assert_array_equal(batch.action[:-1][follows], action_before[1:][follows])
    np.testing.assert_array_equal(batch.reward[:-1][follows], (batch.action[:-1] == Action.A)[follows])
    np.testing.assert_array_equal(batch.terminated[:-1][follows], (step[1:] == 9)[follows])
    assert (step[batch.first] == 0).all() and batch.first.any() and len(np.unique(batch.action)) == 7
    inside = ~batch.first[0]
    np.testing.assert_array_equal(batch.state[inside, 0], step[0, inside])
    cut = batch.first[1:] & (step[:-1] < 9)
    assert cut.any() == resets, "a reset from outside ends an episode anywhere"


def test_a_policy_of_one_button_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    watched, trainer, _ = stepwise(serial(ENVS), ENVS)  # whose learner always chooses B
    watched.async_reset(5)
    for _ in range(12):
        watched.recv()
        assert watched.batch is not None
        watched.send(trainer.act(watched.batch))
        measured = trainer.measured()
        assert measured["policy/commonest_action_share"] == 1.0 and 0.0 <= measured["policy/entropy_share"] <= 1.0
    trainer.close()
    assert caplog.text.count("presses B in 100% of its steps") == 1


@pytest.mark.parametrize("uneven", [False, True])
def test_what_we_cut_off_is_bootstrapped_although_the_host_calls_it_an_end(uneven: bool) -> None:
    class Ending(FakeRed):
        """The host ends an episode where we truncate it."""

        def step(self, action: Any) -> Any:
            observation, reward, _, truncated, info = super().step(action)
            return observation, reward, truncated, truncated, info

    def creator() -> Any:
        return packed(Ending(truncate_at=9))

    vecenv = Uneven([serial(1, creator), serial(1, creator)]) if uneven else serial(2, creator)
    watched, trainer, replay = stepwise(vecenv, 2)
    watched.async_reset(5)
    for _ in range(120):
        watched.recv()
        assert watched.batch is not None
        watched.send(trainer.act(watched.batch))
    trainer.close()
    batch = replay.sample(100)
    step, follows = batch.structured[..., 0], ~batch.first[1:]
    assert not batch.terminated.any() and batch.truncated.any()
    np.testing.assert_array_equal(batch.truncated[:-1][follows], (step[1:] == 9)[follows])


def test_curiosity_of_all_environments_is_paid_while_the_host_takes_no_gradients(tmp_path: Path) -> None:
    trainer, _ = make_trainer(tmp_path, rnd_weight=1.0, total_timesteps=1)
    vecenv, stepwise_trainer = trainer.vecenv, trainer._trainer
    vecenv.async_reset(5)
    paid = []
    with torch.no_grad():
        for _ in range(1400 // ENVS):
            vecenv.recv()
            batch = stepwise_trainer._with_curiosity(vecenv.batch)
            paid.append(batch.reward - vecenv.batch.reward)
            vecenv.send(np.ones(ENVS, np.int64))
    trainer.close()
    assert np.max(paid) > 0.0 and np.min(paid) >= 0.0


class Unmarked(FakeRed):
    """Is begun anew at its 7th step by someone else: the number of the episode says so, no flag does."""

    def step(self, action: Any) -> Any:
        if self.life == 6:
            self.reset()
        return super().step(action)


def test_a_new_episode_without_its_first_row_is_noticed() -> None:
    watched, trainer, _ = stepwise(serial(1, lambda: packed(Unmarked(truncate_at=0))), 1)
    watched.async_reset(5)
    found = []
    for _ in range(12):
        watched.recv()
        assert watched.batch is not None
        found.append(bool(watched.batch.first[0]))
        watched.send(trainer.act(watched.batch))
    trainer.close()
    assert found == [t in (0, 7) for t in range(12)]


def row(env: int, number: int) -> StepBatch:
    """Row `number` of environment `env`, which no episode ends."""
    no = np.zeros(1, bool)
    seen = {"n": np.array([number])}
    return StepBatch(seen, np.zeros(1, np.float32), no, no, np.array([number == 0]), np.array([env]), [])


def test_an_environment_far_ahead_loses_rows_but_no_order() -> None:
    queues, stored = RowQueues(2, longest=8), []
    for number in range(400):
        for env in [0, 1] if number % 5 == 0 else [0]:  # the first is five times as fast
            count = number if env == 0 else number // 5
            rows = queues.put(row(env, count), np.array([count]), np.array([[float(count)]]))
            stored += [(whole, action, state) for whole, action, state in rows]
    assert len(stored) == 80 and queues.dropped >= 400 - 80 - 8
    numbers = np.array([whole.observation["n"] for whole, _, _ in stored])
    first = np.array([whole.first for whole, _, _ in stored])
    np.testing.assert_array_equal(numbers, [action for _, action, _ in stored])
    np.testing.assert_array_equal(numbers, [state[:, 0] for _, _, state in stored])
    np.testing.assert_array_equal(numbers[:, 1], np.arange(80))
    gap = np.diff(numbers[:, 0], prepend=-1) != 1
    np.testing.assert_array_equal(first[1:, 0], gap[1:])
    assert first[1:, 0].mean() < 0.3, "most rows still follow the one before them"


def test_the_loop_learns_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "LOG_PERIOD_SECONDS", -1.0)
    client = Client()
    exploration = {"epsilon_decay_steps": 400, "epsilon_end": 0.1, "temperature": 0.0}
    learner = {"target_period_updates": 10, "expected_bootstrap": False, "gamma": 0.5}
    trainer, host = make_trainer(
        tmp_path,
        client=client,
        total_timesteps=1200,
        checkpoint_interval=5,
        exploration=exploration,
        learner=learner,
    )
    assert isinstance(trainer, Loop)
    run(trainer)
    assert trainer.global_step == 19 * 64 and trainer.epoch == 19
    assert trainer.stats["parameters"] == sum(p.numel() for p in make_policy().parameters())
    shown = host.dashboards[-1]
    assert {"loss", "td_loss", "q_mean", "td_error_mean", "epsilon", "updates"} <= set(shown)
    assert all(math.isfinite(value) for losses in host.dashboards for value in losses.values())
    assert "policy_loss" not in host.dashboards[0], "no losses of a learner that is not there"
    assert len(client.rows) == 19
    theirs = {"Overview/SPS", "Overview/agent_steps", "Overview/learning_rate", "performance/SPS"}
    ours = {"losses/td_loss", "learner/td_loss", "exploration/epsilon", "replay/transitions", "replay/ratio"}
    ours |= {"progress/alarm", "posterior_mean/Boulder", "alarm_score/Boulder", "weight/rnd", "rollout/return_mean"}
    assert theirs <= set(client.rows[0]) and theirs | ours <= set(client.rows[-1])
    ratio = trainer._measured["replay/ratio"]
    assert 0.8 * Config().learner.replay_ratio < ratio <= Config().learner.replay_ratio
    assert shown["updates"] >= 50 and shown["q_mean"] > 1.0, "every A pays 1 at a discount of 0.5"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        *("config.yaml", "episodes.csv", "events.jsonl", "meta.json", "metrics.csv"),
        *(f"model_{epoch:06d}.pt" for epoch in (5, 10, 15, 19)),
        *("progress.csv", "steps", "tb", "trainer_state.pt"),
    ]
    saved = torch.load(tmp_path / "run" / "model_000019.pt", weights_only=False)[0]
    assert greedy_share_of_a(saved) > 0.95
    assert greedy_share_of_a(make_policy()[0]) < 0.5
    groups = torch.load(tmp_path / "run" / "trainer_state.pt", weights_only=True)["optimizer_state_dict"]["state"]
    assert all(float(state["step"]) == shown["updates"] for state in groups.values())
    assert "updates" not in {thread.name.split("_")[0] for thread in threading.enumerate()}


def greedy_share_of_a(policy: HostedRecurrentHierQ) -> float:
    """How likely a host that samples from the logits presses A."""
    env = FakeRed(truncate_at=0)
    parts, _ = env.reset(seed=0)
    network, found = policy.network, []
    state = network.initial_state(1)
    for number in range(8):
        seen = {name: torch.as_tensor(value)[None] for name, value in parts.items()}
        q_values, state, _ = network(
            seen["frames"], seen["structured"], state, torch.tensor([number == 0]), seen["visited"]
        )
        found.append(float((q_values / policy.temperature).softmax(-1)[0, Action.A].detach()))
        parts = env.step(Action.A)[0]
    return float(np.mean(found))


@pytest.mark.parametrize("vecenv", ["one", "uneven"])
def test_other_numbers_of_environments(tmp_path: Path, vecenv: str) -> None:
    envs = Uneven([serial(2), serial(2)]) if vecenv == "uneven" else serial(1)
    trainer, host = make_trainer(
        tmp_path, envs, num_envs=envs.num_agents, swarm=True, compile=True, compile_mode="default"
    )
    run(trainer)
    assert host.dashboards[-1]["updates"] > 0 and math.isfinite(host.dashboards[-1]["loss"])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("uneven", [False, True])
def test_the_run_folder_holds_the_logs_of_the_stand_alone_trainer(tmp_path: Path, uneven: bool) -> None:
    envs = Uneven([serial(2), serial(2)]) if uneven else serial(ENVS)
    trainer, _ = make_trainer(tmp_path, envs, step_log_interval=5, rnd_weight=0.5, total_timesteps=600)
    run(trainer)
    folder, steps = tmp_path / "run", trainer._trainer.counters.steps
    episodes = table(folder / "episodes.csv")
    assert len({row["episode_id"] for row in episodes}) == len(episodes)
    assert 0 <= steps - 9 * len(episodes) < 9 * ENVS, "those under way have no row"
    assert {row["env_id"] for row in episodes} == set("0123")
    assert {row["length_steps"] for row in episodes} == {"9"}
    named = {MILESTONES[0].name, MILESTONES[31].name}
    assert all(set(row["milestones_reached"].split(";")) == named and row["badges"] == "1" for row in episodes)
    assert {(row["map"], row["savestate_tag"]) for row in episodes} == {(map_name(9), "")}  # the fake counts there
    totals = [float(row["return_total"]) - 0.5 * float(row["return_rnd"]) for row in episodes]
    np.testing.assert_allclose(totals, [float(row["return_env"]) for row in episodes], atol=1e-4)
    metrics = table(folder / "metrics.csv")
    assert [row["weight/rnd"] for row in metrics] == ["0.5"] * trainer.epoch == ["0.5"] * 10
    ends = [int(row["step"]) for row in metrics]
    assert ends == sorted(set(ends)) and ends[-1] == steps
    progress = table(folder / "progress.csv")
    assert {row["milestone"] for row in progress} >= {"Boulder", "EVENT_GOT_STARTER"}
    assert len({row["step"] for row in progress}) == trainer.epoch
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    saved = [Path(one["path"]).name for one in events if one["event"] == "checkpoint"]
    assert saved == sorted(path.name for path in folder.glob("model_*.pt"))
    assert events[-1]["event"] == "stop" and not events[-1]["interrupted"]
    found = read_steps(folder / "steps")
    per_env = np.bincount(found.env_id, minlength=ENVS)
    assert 0.5 < len(found) / (steps / 5) <= 1.2 and (per_env > 0).all()
    known = {(int(row["episode_id"]), int(row["env_id"])) for row in episodes}
    ended = found.episode_id <= min(max(episode for episode, env in known if env == i) for i in range(ENVS))
    assert set(zip(found.episode_id[ended].tolist(), found.env_id[ended].tolist(), strict=True)) <= known
    assert list((folder / "tb").glob("events*"))
    read = load_run(folder)
    assert read.has_stopped and read.config["intrinsic.rnd_weight"] == 0.5 and len(read.episodes) == len(episodes)


def test_a_checkpoint_is_never_ahead_of_the_logs(tmp_path: Path) -> None:
    trainer, _ = make_trainer(tmp_path, checkpoint_interval=1)
    trainer.evaluate()
    trainer.train()
    steps, rows = trainer._trainer.counters.steps, table(tmp_path / "run/episodes.csv")
    assert len(rows) == ENVS * (steps // ENVS // 9) > 0 and table(tmp_path / "run/metrics.csv")[0]["step"] == str(steps)
    trainer.close()


def test_an_episode_that_the_host_cuts_off_ends_there_and_a_moved_one_is_no_true_start() -> None:
    class Reaching(FakeRed):
        """Holds one milestone more from the third step of its life on, whatever episode that is."""

        def _observe(self, *args: Any) -> dict[str, np.ndarray]:
            seen = super()._observe(*args)
            seen["milestones"][1] = self.life >= 3
            return seen

    watched, trainer, _ = stepwise(serial(2, lambda: packed(Reaching(truncate_at=0))), 2)
    records: list[Any] = []
    trainer.emit = records.append
    watched.async_reset(5)
    spawned = []
    for step in range(12):
        watched.recv()
        assert watched.batch is not None
        spawned.append(watched.batch.observation["episode"][:, SPAWN_FIELD].tolist())
        watched.send(trainer.act(watched.batch))
        if step in (1, 6):
            watched.async_reset(step)
    trainer.close()
    episodes = [record for record in records if isinstance(record, EpisodeRecord)]
    assert [(one.env_id, one.episode_id, one.length_steps, one.savestate_tag) for one in episodes] == [
        *((env, env, 1, "") for env in range(2)),
        *((env, 2 + env, 4, "") for env in range(2)),
    ]
    assert MILESTONES[8].name not in episodes[0].milestones_reached
    assert MILESTONES[8].name in episodes[2].milestones_reached
    assert spawned == [[0, 0]] * 7 + [[-1, -1]] * 5


def test_more_is_tried_where_an_episode_began_at_a_state() -> None:
    watched, trainer, _ = stepwise(Uneven([serial(2), serial(2)]), 4, exploration={"from_states": 1.0})
    trainer.counters.steps = 10**6
    watched.async_reset(5)
    for _ in range(2):
        watched.recv()
        batch = watched.batch
        assert batch is not None
        batch.observation["episode"][1, SPAWN_FIELD] = 3
        assert trainer._epsilon_of(batch).tolist() == [pytest.approx(0.02), 1.0]
        watched.send(trainer.act(batch))
    trainer.close()


@pytest.mark.parametrize("uneven", [False, True])
def test_who_watches_sees_every_environment(tmp_path: Path, uneven: bool) -> None:
    envs = Uneven([serial(2, walking), serial(2, walking)]) if uneven else serial(ENVS, walking)
    policy = make_policy(len(FEATURES))
    trainer, _ = make_trainer(tmp_path, envs, policy=policy, live_interval=1e-6)
    now = time.time()
    run(trainer)
    reader = LiveReader(tmp_path / "run/live")
    session, count, looks = reader.looks()
    assert session and count == ENVS and len(looks) > 200 / ENVS
    assert all(now - 1 < one.seconds <= time.time() for one in looks)
    steps = np.array([one.step for one in looks])
    assert (np.diff(steps) >= 0).all() and 200 < steps[-1] <= trainer._trainer.counters.steps
    rows = np.stack([unpack_looks(one.payload) for one in looks])
    assert (rows["map"] == 7).all() and (rows["milestones"] == 2).all()
    np.testing.assert_array_equal(rows["x"], rows["length"])  # the watched game walks a square to the right each step
    assert rows["length"].min() == 0 and rows["length"].max() == 9
    begun = np.diff(rows["episode"].astype(int), axis=0) > 0
    np.testing.assert_array_equal(begun, np.diff(rows["length"].astype(int), axis=0) < 0)
    assert all(len(set(episodes)) == ENVS for episodes in rows["episode"])
    shown, screens = reader.screens()
    assert shown == ENVS and screens is not None
    levels = unpack_screens(screens.payload)
    lengths = rows["length"][[one.number for one in looks].index(screens.number * SCREENS_EVERY)]
    np.testing.assert_array_equal(levels[:, 0, 3], lengths & 3)
    assert Moment(tmp_path / "run").live(0, -1, -1)["envs"] == ENVS, "daddy-puffer watch takes the folder"


def test_nobody_watches_where_the_interval_is_nought(tmp_path: Path) -> None:
    trainer, _ = make_trainer(tmp_path, live_interval=0, total_timesteps=64)
    run(trainer)
    assert not (tmp_path / "run/live").exists()


class Walking(FakeRed):
    """Tells where it is in the fields of the game: x counts the steps on map 7."""

    def __init__(self) -> None:
        super().__init__(terminate_at=9, truncate_at=0)
        box = gymnasium.spaces.Box(-np.inf, np.inf, (len(FEATURES),), np.float32)
        self.observation_space = gymnasium.spaces.Dict({**self.observation_space.spaces, "structured": box})

    def _observe(self, *args: Any) -> dict[str, np.ndarray]:
        seen = super()._observe(*args)
        seen["structured"] = np.zeros(len(FEATURES), np.float32)
        for name, value in (("map_id", 7), ("x", self.count / 32 - 1)):
            seen["structured"][[feature for feature, _ in FEATURES].index(name)] = value
        return seen


def walking() -> Any:
    return packed(Walking())


def test_the_learning_rate_is_annealed_and_logs_are_rare(tmp_path: Path) -> None:
    client = Client()
    trainer, _ = make_trainer(tmp_path, client=client, anneal_lr=True, total_timesteps=128, batch_size=32)
    whole = [group["lr"] for group in trainer.optimizer.param_groups]
    assert whole[0] == Config().learner.learning_rate
    for _ in range(2):
        trainer.evaluate()
        trainer.train()
    assert len(client.rows) == 1, "one row in five seconds"
    assert [group["lr"] for group in trainer.optimizer.param_groups] == [rate / 2 for rate in whole]
    trainer.close()


class Infinite(FakeRed):
    """Pays too much."""

    def step(self, action: Any) -> Any:
        seen, _, *rest = super().step(action)
        return (seen, math.inf, *rest)


def test_divergence_is_said(tmp_path: Path) -> None:
    trainer, _ = make_trainer(tmp_path, serial(ENVS, lambda: packed(Infinite())))
    with pytest.raises(TrainingDivergedError, match="the loss is no finite number at step"):
        run(trainer)
    network = next(part for part in trainer.uncompiled_policy.modules() if isinstance(part, HierQ))
    assert all(bool(parameter.isfinite().all()) for parameter in network.parameters())


def test_settings_come_from_the_hosts_section() -> None:
    config = hosted_config(
        section(seed=9, gamma=0.1, replay={"capacity": 7000}, learner={"gamma": 0.9}), num_envs=3, frame_stack=2
    )
    assert (config.train.seed, config.train.num_envs, config.env.frame_stack) == (9, 3, 2)
    assert (config.replay.capacity, config.learner.gamma) == (7000, 0.9)
    assert config.replay.batch_size == Config().replay.batch_size and config.exploration == Config().exploration


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"replay": {"capacitty": 5}}, "unknown key 'capacitty' .did you mean capacity"),
        ({"learner": 3}, "train.learner must be a mapping, found 3"),
        ({"exploration": {"epsilon_end": 2.0}}, "epsilon_end"),
        ({"demos": {"folder": "x"}}, "^train.demos.folder is for our own trainer"),
        ({"demos": {"own_way": ["Boulder"]}}, "^train.demos.own_way is for our own trainer"),
        ({"demos": {"own_wins": 3}}, "^train.demos.own_wins is for our own trainer"),
        ({"learner": {"gamma": "high"}}, "^train.learner: Value .high. of type"),
    ],
)
def test_wrong_settings_are_said_before_anything_starts(tmp_path: Path, settings: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_trainer(tmp_path, SimpleNamespace(**vars(serial(1)), async_reset=pytest.fail), **settings)
