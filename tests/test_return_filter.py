"""Learning from the better trajectories only: replay against a list that keeps everything, and a known answer."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from test_replay import MILESTONE_BYTES, STATE, STRUCTURED, Stream, make_replay
from tiny_training import make_tiny

from daddy_puffer import plugin
from daddy_puffer.config import Config, ExplorationConfig, LearnerConfig, PolicyConfig, ReplayConfig, TrainConfig
from daddy_puffer.errors import UserError
from daddy_puffer.learner.hosted_ppo import keep_best_segments, share_of_segments
from daddy_puffer.policies.hierq import HierQ, ObservationSpec
from daddy_puffer.policies.hosted import HostedHierQ
from daddy_puffer.replay import Rollouts, SequenceReplay
from daddy_puffer.replay import make_replay as replay_of
from daddy_puffer.replay.return_filter import returns_above
from daddy_puffer.types import Array, StepBatch

ROWS = 40  # of each environment


class Episodes(Stream):
    """Episodes of few different returns, from the true start and from states, some of them broken off."""

    def __init__(self, seed: int, num_envs: int, end_probability: float, break_probability: float = 0.0):
        super().__init__(seed, num_envs, 1, end_probability)
        self.break_probability = break_probability
        self.spawn = np.zeros(num_envs, np.int64)

    def step(self) -> StepBatch:
        self.ended |= self.rng.random(self.num_envs) < self.break_probability
        step = super().step()
        self.spawn[step.first] = self.rng.integers(0, 3, self.num_envs)[step.first]
        episode = np.zeros((self.num_envs, 4), np.int32)
        episode[:, 2] = self.spawn
        observation = step.observation | {"episode": episode}
        return replace(step, observation=observation, reward=np.sign(step.reward) * np.float32(0.25))


class Past:
    """Every row there was; says anew each time what is learned from."""

    def __init__(self, num_envs: int) -> None:
        self.steps: list[StepBatch] = []
        self.num_envs = num_envs

    def kept(self, share: float) -> Array:
        """Transitions that are learned from, bool `[num_envs, all rows]`, of the last `ROWS` rows."""
        count = len(self.steps)
        oldest = max(0, count - ROWS)
        kept = np.zeros((self.num_envs, count), bool)
        ended: list[tuple[int, int, int, float, int]] = []  # environment, begin, end, return, kind
        for env in range(self.num_envs):
            begin = 0
            for at in range(1, count):
                step = self.steps[at]
                if step.first[env]:
                    begin = at
                    continue
                kept[env, at - 1] = at - 1 >= oldest
                if (step.terminated | step.truncated)[env] and at >= oldest:
                    total = sum(float(s.reward[env]) for s in self.steps[begin + 1 : at + 1])
                    kind = int(self.steps[begin].observation["episode"][env, 2] > 0)
                    ended.append((env, begin, at, total, kind))
        for env, begin, end, total, kind in ended:
            alike = sorted(each[3] for each in ended if each[4] == kind)
            worse = sum(each < total for each in alike)
            # the border is the return at place floor((1 - share) * n): what lies below it is left out
            border = alike[min(int((1 - share) * len(alike) + 1e-9), len(alike) - 1)]
            assert (total < border) <= (worse < (1 - share) * len(alike))
            if total < border:
                kept[env, begin:end] = False
        return kept


def run(replay: SequenceReplay, stream: Episodes, past: Past, steps: int) -> None:
    for _ in range(steps):
        step = stream.step()
        past.steps.append(step)
        replay.add(step, np.zeros(stream.num_envs, np.int64), np.zeros((stream.num_envs, STATE), np.float32))


def drawable(replay: SequenceReplay, kept: Array, num_envs: int) -> set[int]:
    """Sequences with a transition to train that is learned from."""
    config, count = replay.config, kept.shape[1]
    oldest = max(0, count - ROWS)
    found = set()
    for start in range(0, count - replay.length + 1, config.sequence_period):
        for env in range(num_envs):
            trained = kept[env, start + config.burn_in :][: config.sequence_length]
            if start >= oldest and trained.any():
                found.add(start // config.sequence_period * num_envs + env)
    return found


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_envs=st.integers(1, 3),
    share=st.sampled_from([0.05, 0.3, 0.5, 0.8, 0.99]),
    end_probability=st.sampled_from([0.05, 0.2, 0.6, 1.0]),
    break_probability=st.sampled_from([0.0, 0.1]),
    prioritized=st.booleans(),
    steps=st.integers(15, 60),
)
def test_what_is_drawn_and_trained_is_of_the_better_episodes(
    seed: int,
    num_envs: int,
    share: float,
    end_probability: float,
    break_probability: float,
    prioritized: bool,
    steps: int,
) -> None:
    replay = make_replay(num_envs, 1, prioritized=prioritized, return_filter=share)
    stream, past = Episodes(seed, num_envs, end_probability, break_probability), Past(num_envs)
    for _ in range(3):  # the ring wraps up to four times
        run(replay, stream, past, steps)
        assert replay.check_valid() == (True, "")
        kept = past.kept(share)
        expected = drawable(replay, kept, num_envs)
        assert replay.learned_share == (pytest.approx(kept.sum() / len(replay)) if len(replay) else 1.0)
        assert replay.ready == bool(expected)
        if not expected:
            with pytest.raises(ValueError, match="no sequence is held of an episode that is learned from"):
                replay.sample(1)
            continue
        batch = replay.sample(16)
        assert set(batch.indices.tolist()) <= expected
        start, env = np.divmod(batch.indices, num_envs)
        times = start * replay.config.sequence_period + np.arange(replay.length)[:, None]
        expected_mask = kept[env, times]
        expected_mask[-1] = False
        burn_in = replay.config.burn_in
        np.testing.assert_array_equal(batch.mask[burn_in:], expected_mask[burn_in:])
        assert batch.mask[burn_in:].any(axis=0).all()
        replay.update_priorities(batch.indices, stream.rng.random(16))


@pytest.mark.parametrize("prioritized", [False, True])
def test_frequencies_are_those_of_the_priorities_of_what_is_left(prioritized: bool) -> None:
    share = 0.5
    replay = make_replay(3, 1, prioritized=prioritized, return_filter=share, priority_exponent=0.5)
    stream, past = Episodes(4, 3, 0.2), Past(3)
    run(replay, stream, past, 70)
    everything = np.array([number * 3 + env for number in replay._starts() for env in range(3)])
    priorities = stream.rng.random(len(everything)) * 10
    replay.update_priorities(everything, priorities)  # of the filtered ones too
    left = np.array(sorted(drawable(replay, past.kept(share), 3)))
    assert 5 < len(left) < len(everything)
    probability = priorities[np.searchsorted(everything, left)] ** 0.5 if prioritized else np.ones(len(left))
    probability = probability / probability.sum()
    batch = replay.sample(20_000)
    drawn, counts = np.unique(batch.indices, return_counts=True)
    np.testing.assert_array_equal(drawn, left)
    np.testing.assert_allclose(counts, 20_000 * probability, atol=2.0)
    expected = probability[np.searchsorted(left, batch.indices)] ** -0.6
    np.testing.assert_allclose(batch.weights, expected / expected.max(), rtol=1e-5)


def scripted(returns: list[float], spawn: list[int], length: int) -> list[StepBatch]:
    """One environment: an episode of `length` transitions after the other, each paying its return at its end."""
    stream, steps = Stream(0, 1, 1, 0.0), []
    for total, state in zip(returns, spawn, strict=True):
        for at in range(length + 1):
            step = stream.step()
            step.observation["episode"] = np.array([[0, at, state, 0]], np.int32)
            last = np.array([at == length])
            reward = np.array([total if at == length else 0.0], np.float32)
            begins = np.array([at == 0])
            steps.append(replace(step, reward=reward, first=begins, terminated=last, truncated=~last & last))
    return steps


def trained_episodes(replay: SequenceReplay, length: int) -> set[int]:
    """Numbers of the episodes whose rows come with a mask."""
    batch = replay.sample(300)
    times = batch.indices * replay.config.sequence_period + np.arange(replay.length)[:, None]
    burn_in = replay.config.burn_in
    return set((times[burn_in:] // (length + 1))[batch.mask[burn_in:]].tolist())


def test_wrap_around_forgets_the_returns_too() -> None:
    """7 rows an episode, 40 in the ring: the sixth before the newest is gone."""
    replay = make_replay(1, 1, return_filter=0.5)
    for step in scripted([5.0, 9.0, 8.0, 7.0, 1.0, 2.0], [0] * 6, 6)[:-1]:
        replay.add(step, np.zeros(1, np.int64), np.zeros((1, STATE)))
    assert trained_episodes(replay, 6) == {1, 2, 3, 5}  # of 5, 9, 8, 7, 1 two at most go; the sixth has not ended
    for step in scripted([5.0, 9.0, 8.0, 7.0, 1.0, 2.0, 2.0, 1.0, 1.0, 1.0], [0] * 10, 6)[41:]:
        replay.add(step, np.zeros(1, np.int64), np.zeros((1, STATE)))
    # 1, 2, 2, 1, 1, 1 are held (of the first of them a row or two): what was bad is now among the best
    assert trained_episodes(replay, 6) >= {5, 6}
    assert replay.check_valid() == (True, "")


def test_starts_are_compared_with_their_own_kind() -> None:
    replay = make_replay(1, 1, return_filter=0.5)
    for step in scripted([10.0, 1.0, 12.0, 2.0, 11.0], [0, 7, 0, 8, 0], 6):
        replay.add(step, np.zeros(1, np.int64), np.zeros((1, STATE)))
    # true starts 10, 12, 11: the lowest goes; from states 1, 2: the lower goes, though 2 is below all true starts
    assert trained_episodes(replay, 6) == {2, 3, 4}


@pytest.mark.parametrize("prioritized", [False, True])
def test_state_round_trip(prioritized: bool) -> None:
    ours = make_replay(2, 1, prioritized=prioritized, return_filter=0.6)
    stream = Episodes(6, 2, 0.2, 0.05)
    run(ours, stream, Past(2), 73)
    if prioritized:
        ours.update_priorities(ours.sample(8).indices, stream.rng.random(8) * 5)
    saved = {name: array.copy() for name, array in ours.get_state().items()}
    theirs = make_replay(2, 1, prioritized=prioritized, return_filter=0.6, seed=99)
    theirs.set_state(saved)
    assert theirs.check_valid() == (True, "")
    for _ in range(60):
        step = stream.step()
        for replay in (ours, theirs):
            replay.add(step, np.zeros(2, np.int64), np.zeros((2, STATE)))
        assert theirs.check_valid() == (True, "")
        one, other = ours.sample(4), theirs.sample(4)
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_array_equal(one.weights, other.weights)
    with pytest.raises(UserError, match=r"replay\.return_filter"):
        make_replay(2, 1, prioritized=True).set_state(saved)


def test_rollouts_of_the_lowest_returns_are_left_out() -> None:
    config = ReplayConfig(kind="rollouts", burn_in=0, sequence_length=5, return_filter=0.5)
    sizes = {"structured_size": STRUCTURED, "milestone_size": MILESTONE_BYTES, "state_size": STATE, "seed": 0}
    rollouts = Rollouts(config, num_envs=6, frame_stack=1, **sizes)
    stream = Stream(3, 6, 1, 0.2)
    steps = [stream.step() for _ in range(31)]
    for at, step in enumerate(steps):
        rollouts.add(step, np.zeros(6, np.int64), np.zeros((6, STATE), np.float32))
        if at < 5:
            continue
        start = (at // 5 - 1) * 5
        returns = sum(np.where(s.first, 0.0, s.reward.astype(np.float64)) for s in steps[start + 1 : start + 6])
        best = set(np.argsort(returns)[3:].tolist())
        assert set(rollouts.sample(3).indices.tolist()) == best == set(rollouts.sample(3).indices.tolist())
        assert rollouts.learned_share == 0.5


@settings(deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.floats(0.01, 1.0))
def test_never_more_than_the_rest_is_left_out_and_never_one_of_equals(returns: list[int], share: float) -> None:
    values = np.array(returns, np.float64)
    kept = returns_above(values, share)
    assert kept.sum() >= share * len(values) - 1e-6 and kept.any()
    if not kept.all():
        assert values[~kept].max() < values[kept].min()
    exact = returns_above(np.arange(10.0), 0.8)
    assert exact.tolist() == [False] * 2 + [True] * 8


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(UserError, match=r"replay\.return_filter must be in \(0, 1\]"):
        ReplayConfig(return_filter=share)


class Fork:
    """One step that tells nothing, then a choice: action 1 pays 1, action 0 nothing."""

    num_actions = 2
    size = 2

    def reset(self, rng: np.random.Generator) -> Array:
        self._place = 0
        return np.eye(2, dtype=np.float32)[0]

    def step(self, action: int) -> tuple[Array, float, bool, bool]:
        self._place += 1
        ended = self._place == 2
        return np.eye(2, dtype=np.float32)[1], float(ended and action == 1), ended, False


def learned_value(share: float, prioritized: bool) -> float:
    """Value of the fork's first action under the behaviour in replay: three of four episodes choose badly."""
    config = Config(
        policy=PolicyConfig(use_gru=False, use_lstm=False, use_ssm=False),
        replay=ReplayConfig(
            capacity=600,
            burn_in=0,
            sequence_length=2,
            sequence_period=3,  # a sequence is an episode: none ends in a bootstrap
            batch_size=64,
            learning_starts=50,
            prioritized=prioritized,
            return_filter=share,
            importance_sampling_exponent=1.0,
        ),
        learner=LearnerConfig(
            learning_rate=3e-3, gamma=0.8, trace_decay=1.0, cut_traces=False, milestone_loss_weight=0.0
        ),
        exploration=ExplorationConfig(),
        train=TrainConfig(num_envs=4, vectorization="serial"),
    )
    env, learner = make_tiny(Fork, config, 16)
    replay = replay_of(config, env.observation_space.spaces, learner.state_size, 4)
    batch, state = env.reset(0), learner.initial_state(4)
    for step in range(120):
        good = np.arange(4) == step // 3 % 4
        actions = np.where(batch.observation["structured"][:, 1] > 0, good, 0).astype(np.int64)
        replay.add(batch, actions, state)
        batch = env.step(actions)
    for _ in range(150):
        sampled = replay.sample(64)
        replay.update_priorities(sampled.indices, learner.update(sampled).priorities)
    beginning = {name: value[:1] for name, value in env.reset(1).observation.items()}
    nothing = np.zeros(1, np.float32)
    return float(learner.act(beginning, np.ones(1, bool), state[:1], nothing).q_values[0, 0])


@pytest.mark.parametrize("prioritized", [False, True])
def test_values_become_those_of_the_better_trajectories(prioritized: bool) -> None:
    """Peng's returns, uncut, are those of the behaviour: 0.8 * 1/4 over all episodes, 0.8 over the better quarter."""
    assert learned_value(1.0, prioritized) == pytest.approx(0.2, abs=0.1)
    assert learned_value(0.25, prioritized) == pytest.approx(0.8, abs=0.1)


class Batches:
    """A host's buffer: `sort_training_data` and `flatten_batch` lay a batch out as pokemonred_puffer's do."""

    def __init__(self, rows: int, minibatches: int, horizon: int):
        self.shape, size = (rows, minibatches, horizon), rows * minibatches * horizon
        self.rewards, self.values, self.obs = torch.zeros(size), torch.arange(size) * 1.0, torch.arange(size)

    def sort_training_data(self) -> None:
        """The steps are in order."""
        self.b_idxs_obs = torch.arange(len(self.obs)).view(self.shape).transpose(0, 1)

    def flatten_batch(self, advantages: Array) -> None:
        self.b_obs = self.b_actions = self.b_logprobs = self.b_dones = self.obs[self.b_idxs_obs]
        self.b_values = self.values[self.b_idxs_obs].flatten(1)
        self.b_advantages = torch.from_numpy(advantages)[self.b_idxs_obs].flatten(1)
        self.b_returns = self.b_advantages + self.b_values


def test_segments_of_the_lowest_returns_are_taken_out_of_a_batch() -> None:
    experience: Any = Batches(rows=4, minibatches=3, horizon=2)
    experience.rewards[:] = torch.tensor([1.0, 3.0, 0.0, 2.0]).repeat_interleave(6)
    experience.rewards[12] = 100.0  # came with the segment's first step, for what was done before it
    keep_best_segments(SimpleNamespace(experience=experience), 0.5)
    for _ in range(2):  # every batch anew
        experience.sort_training_data()
        experience.flatten_batch(np.arange(24, dtype=np.float32) / 10)
        kept = [torch.arange(6, 12), torch.arange(18, 24)]
        expected = torch.stack([segment.view(3, 2) for segment in kept], dim=1)
        assert torch.equal(experience.b_obs, expected) and torch.equal(experience.b_dones, expected)
        assert torch.equal(experience.b_values, expected.flatten(1) * 1.0)
        torch.testing.assert_close(experience.b_returns, expected.flatten(1) * 1.1)


def test_the_share_of_segments_is_read_and_checked() -> None:
    assert share_of_segments(OmegaConf.create({})) == 1.0
    assert share_of_segments(OmegaConf.create({"replay": {"return_filter": 0.8, "capacity": 99}})) == 0.8
    with pytest.raises(UserError, match=r"^replay\.return_filter must be in"):
        share_of_segments(OmegaConf.create({"replay": {"return_filter": 2.0}}))
    with pytest.raises(UserError, match="keeps no such batches"):
        keep_best_segments(SimpleNamespace(), 0.5)


class Trainer:
    """A host's, with such a buffer."""

    def __init__(self, config: Any, vecenv: Any, policy: Any):
        self.experience = Batches(rows=4, minibatches=3, horizon=2)
        self.archive_path = None


@pytest.mark.parametrize(("share", "ours", "left"), [(0.5, True, 2), (1.0, True, 4), (0.5, False, 4)])
def test_the_plugin_filters_the_hosts_ppo_of_our_policy(share: float, ours: bool, left: int) -> None:
    network = HierQ(ObservationSpec(stack=1, structured=5, milestones=8), 7, PolicyConfig())
    policy = HostedHierQ(network, {}) if ours else torch.nn.Linear(1, 1)
    sizes = {"num_envs": 4, "batch_size": 24, "minibatch_size": 8, "bptt_horizon": 2}
    config = OmegaConf.create({"algorithm": "ppo", **sizes, "replay": {"return_filter": share}})
    plain = SimpleNamespace(emulated_observation_dtype=np.dtype(np.uint8))  # without our wrappers
    vecenv = SimpleNamespace(agents_per_batch=4, driver_env=SimpleNamespace(emulated=plain))
    trainer = plugin.make_trainer(ModuleType("host"), Trainer, config=config, vecenv=vecenv, policy=policy)
    trainer.experience.rewards[:] = torch.arange(24.0)
    trainer.experience.sort_training_data()
    trainer.experience.flatten_batch(np.zeros(24, np.float32))
    assert trainer.experience.b_obs.shape == (3, left, 2)
