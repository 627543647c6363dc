"""The learner: known values on a tiny chain, targets, masks, burn-in, target copies, state; memory on a recall task."""

from __future__ import annotations

import dataclasses
import io
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import greedy_return, make_tiny, train_tiny

from daddy_puffer.config import Config, ExplorationConfig, LearnerConfig, PolicyConfig, ReplayConfig, TrainConfig
from daddy_puffer.envs.tiny import Chain, CueRecall, TMaze
from daddy_puffer.errors import UserError
from daddy_puffer.learner.learner import Learner, NotFiniteError, milestones_ahead
from daddy_puffer.learner.networks import choose_device
from daddy_puffer.numerics.rescaling import rescale, unrescale
from daddy_puffer.policies.hierq import HierQState
from daddy_puffer.types import Array, SequenceBatch

FEED_FORWARD = {"use_gru": False, "use_lstm": False, "use_ssm": False}
BURN_IN, TRAINED, BATCH = 2, 5, 3
ROWS = BURN_IN + TRAINED + 1


def settings(
    policy: dict[str, Any] | None = None,
    burn_in: int = BURN_IN,
    seed: int = 1,
    temperature: float = 0.0,
    **learner: Any,
) -> Config:
    return Config(
        exploration=ExplorationConfig(temperature=temperature),
        policy=PolicyConfig(**(policy or {})),
        replay=ReplayConfig(
            capacity=8000,
            burn_in=burn_in,
            sequence_length=TRAINED,
            sequence_period=4,
            batch_size=16,
            learning_starts=200,
            prioritized=True,
        ),
        learner=LearnerConfig(
            **{"learning_rate": 2e-3, "target_period_updates": 100, "expected_bootstrap": False, **learner}
        ),
        train=TrainConfig(num_envs=8, seed=seed, device="cpu"),
    )


def chain_learner(config: Config) -> Learner:
    return make_tiny(Chain, config)[1]


def sequences(learner: Learner, seed: int = 0) -> SequenceBatch:
    """Random rows. Sequence 0 has no end; 1 terminates at row 4 (5 is its final observation); 2 is truncated there."""
    rng = np.random.default_rng(seed)
    terminated, truncated, first = (np.zeros((ROWS, BATCH), bool) for _ in range(3))
    mask = np.ones((ROWS, BATCH), bool)
    mask[-1] = False
    terminated[4, 1] = truncated[4, 2] = True
    mask[5, 1:] = False
    first[6, 1:] = first[0, 0] = True
    state = rng.normal(size=(BATCH, learner.state_size)).astype(np.float32)
    layout = learner.networks.online.layout
    state[:, layout.gru + 2 * layout.lstm :][:, : layout.clock] = 0.0  # a clock stands at a whole number
    return SequenceBatch(
        frames=np.zeros((ROWS, BATCH, 1, 72, 20), np.uint8),
        visited=np.zeros((ROWS, BATCH, 9, 10), np.uint8),
        structured=rng.normal(size=(ROWS, BATCH, 6)).astype(np.float32),
        milestones=rng.integers(0, 256, (ROWS, BATCH, 1), dtype=np.uint8),
        action=rng.integers(0, 2, (ROWS, BATCH)),
        reward=rng.normal(size=(ROWS, BATCH)).astype(np.float32),
        terminated=terminated,
        truncated=truncated,
        first=first,
        mask=mask,
        state=state,
        weights=np.ones(BATCH, np.float32),
        indices=np.arange(BATCH),
        age=np.zeros(BATCH, np.int64),
    )


def parameters(learner: Learner) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in learner.networks.online.parameters()]


@pytest.mark.parametrize(
    ("policy", "learner"),
    [
        ({}, {}),
        ({}, {"double_q": False}),
        ({"dueling": False}, {}),
        ({}, {"value_rescaling": True}),
        ({}, {"trace_decay": 0.8}),
        ({}, {"target_network": False}),
    ],
)
@pytest.mark.learning
def test_values_of_the_chain_converge_to_the_known_ones(policy: dict[str, Any], learner: dict[str, Any]) -> None:
    """Half of the actions are random and most episodes are truncated: neither may leave a bias."""
    gamma = 0.8
    config = settings({**FEED_FORWARD, **policy}, burn_in=0, gamma=gamma, **learner)
    env, agent = make_tiny(Chain, config)
    train_tiny(env, agent, steps=1200, steps_per_update=1, epsilon=lambda _: 0.5)
    task = Chain()
    got = values_of_chain(agent, task.size)
    got = unrescale(torch.from_numpy(got)).numpy() if learner.get("value_rescaling") else got
    np.testing.assert_allclose(got, task.optimal_values(gamma), atol=0.02)


def values_of_chain(agent: Learner, size: int) -> Array:
    states = np.eye(size, dtype=np.float32)[:-1]
    count = len(states)
    blank = {"frames": np.zeros((count, 1, 72, 20), np.uint8), "visited": np.zeros((count, 9, 10), np.uint8)}
    everywhere = np.ones(count, bool)
    result = agent.act({**blank, "structured": states}, everywhere, agent.initial_state(count), np.zeros(count))
    return result.q_values


@pytest.mark.parametrize(
    "learner", [{"n_step": 3}, {"munchausen_scale": 0.9}, {"trace_decay": 0.8, "cut_traces": False}]
)
@pytest.mark.learning
def test_biased_targets_still_find_the_way(learner: dict[str, Any]) -> None:
    """Uncorrected n-step targets and Munchausen's have other values, but the same best actions."""
    env, agent = make_tiny(Chain, settings(FEED_FORWARD, burn_in=0, gamma=0.8, **learner))
    train_tiny(env, agent, steps=800, steps_per_update=1, epsilon=lambda _: 0.2)
    assert values_of_chain(agent, 6).argmax(1).tolist() == [1] * 5


@pytest.mark.learning
def test_memory_recalls_a_cue_and_nothing_else_does() -> None:
    returns = {}
    for name, policy in (("all memories", {}), ("none", FEED_FORWARD)):
        config = settings(policy, burn_in=0, gamma=0.95)
        config = dataclasses.replace(config, replay=dataclasses.replace(config.replay, sequence_length=8))
        env, agent = make_tiny(lambda: CueRecall(delay=6), config)
        train_tiny(env, agent, steps=1000, steps_per_update=2, epsilon=lambda step: max(0.1, 1 - step / 500))
        returns[name] = greedy_return(env, agent, episodes=200)
    assert returns["all memories"] > 0.95
    assert returns["none"] < 0.3  # a coin flip: 0 on average


@pytest.mark.learning
def test_memory_finds_the_way_through_a_t_maze_and_nothing_else_does() -> None:
    returns = {}
    for name, policy in (("all memories", {}), ("none", FEED_FORWARD)):
        config = settings(policy, burn_in=0, gamma=0.97)
        config = dataclasses.replace(config, replay=dataclasses.replace(config.replay, sequence_length=14))
        env, agent = make_tiny(lambda: TMaze(length=10), config)
        train_tiny(env, agent, steps=1200, steps_per_update=2, epsilon=lambda step: max(0.1, 1 - step / 600))
        returns[name] = greedy_return(env, agent, episodes=200)
    assert returns["all memories"] > 0.95
    assert returns["none"] < 0.3  # a guess at the junction: 0 on average


def test_td_zero_targets_are_reward_plus_discounted_value_of_the_next_row() -> None:
    agent = chain_learner(settings(gamma=0.5))
    batch = sequences(agent)
    reward = np.arange(ROWS * BATCH, dtype=np.float32).reshape(ROWS, BATCH)
    batch = dataclasses.replace(batch, reward=reward)
    online = torch.tensor([1.0, 0.0]).expand(TRAINED + 1, BATCH, 2)  # prefers action 0
    target = torch.tensor([10.0, 100.0]).expand(TRAINED + 1, BATCH, 2)
    got = agent._targets(batch, online, target).numpy()
    np.testing.assert_allclose(got[:, 0], reward[BURN_IN:-1, 0] + 0.5 * 10.0)
    assert got[2, 1] == reward[4, 1]  # terminated: nothing follows
    assert got[2, 2] == reward[4, 2] + 0.5 * 10.0  # truncated: the final observation's value


def test_without_double_q_the_target_network_chooses_itself() -> None:
    agent = chain_learner(settings(gamma=0.5, double_q=False))
    batch = sequences(agent)
    online = torch.tensor([1.0, 0.0]).expand(TRAINED + 1, BATCH, 2)
    target = torch.tensor([10.0, 100.0]).expand(TRAINED + 1, BATCH, 2)
    got = agent._targets(batch, online, target).numpy()
    np.testing.assert_allclose(got[:, 0], batch.reward[BURN_IN:-1, 0] + 0.5 * 100.0, rtol=1e-6)


def test_without_a_target_network_the_online_values_are_the_targets() -> None:
    agent = chain_learner(settings(target_network=False))
    with torch.no_grad():
        for parameter in agent.networks.target.parameters():
            parameter.mul_(2.0)
    q_online, q_target, _ = agent._unroll(sequences(agent))
    assert torch.equal(q_online, q_target) and q_online.requires_grad and not q_target.requires_grad


def test_traces_go_on_behind_random_actions_only_where_they_are_not_cut() -> None:
    """Rows where the other action is the best one: Watkins's return ends there, Peng's does not."""
    values = torch.zeros(TRAINED + 1, BATCH, 2)
    values[..., 0] = 1.0
    got = {}
    for cut in (True, False):
        agent = chain_learner(settings(gamma=0.5, trace_decay=1.0, cut_traces=cut))
        batch = dataclasses.replace(
            sequences(agent), reward=np.ones((ROWS, BATCH), np.float32), action=np.ones((ROWS, BATCH), np.int64)
        )
        got[cut] = agent._targets(batch, values, values)[0, 0].item()
    assert got[True] == 1 + 0.5 * 1.0
    assert got[False] == sum(0.5**k for k in range(TRAINED)) + 0.5**TRAINED


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_updates_equal_the_others() -> None:
    config = settings(FEED_FORWARD | {"use_gru": True})
    compiled = dataclasses.replace(config, train=dataclasses.replace(config.train, compile=True))
    one, other = chain_learner(config), chain_learner(compiled)
    assert other._unroll_trained is not other.networks.online.unroll
    batch = sequences(one)
    for _ in range(2):
        scalars, again = one.update(batch).scalars, other.update(batch).scalars
        assert again == pytest.approx(scalars, rel=1e-4, abs=1e-6)
    for mine, theirs in zip(parameters(one), parameters(other), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_the_learning_rate_falls_to_nothing_where_it_is_asked_to() -> None:
    for begin in (0.0, 0.5, 1.0):
        agent = chain_learner(settings(anneal_from=begin))
        begun = [group["lr"] for group in agent.optimizer.param_groups]
        left = {0.0: (1.0, 0.25, 0.0), 0.5: (1.0, 0.5, 0.0), 1.0: (1.0, 1.0, 1.0)}[begin]
        for share, part in zip((0.0, 0.75, 1.5), left, strict=True):
            agent.anneal(share)
            expected = [lr * part for lr in begun]
            assert [group["lr"] for group in agent.optimizer.param_groups] == pytest.approx(expected)
        before, batch = parameters(agent), sequences(agent)
        agent.update(batch)
        held = all(torch.equal(one, other) for one, other in zip(before, parameters(agent), strict=True))
        assert held == (begin < 1.0)


def test_a_resumed_run_learns_at_the_rate_of_its_settings() -> None:
    """Of a run that had annealed it to nothing, or that had another one."""
    ended, former = (chain_learner(settings(**changes)) for changes in ({"anneal_from": 0.6}, {"learning_rate": 0.5}))
    ended.anneal(1.0)
    rates = [group["lr"] for group in chain_learner(settings()).optimizer.param_groups]
    for saved in (ended, former):
        resumed = chain_learner(settings(anneal_from=0.6))
        resumed.load_state_dict(saved.state_dict())
        assert [group["lr"] for group in resumed.optimizer.param_groups] == rates
        resumed.anneal(1.0)
        resumed.anneal(0.06)  # more steps are wanted than before
        assert [group["lr"] for group in resumed.optimizer.param_groups] == rates


def test_bfloat16_updates_are_near_the_others_and_learn() -> None:
    config = settings(burn_in=BURN_IN)
    coarse = dataclasses.replace(config, policy=dataclasses.replace(config.policy, bf16=True))
    one, other = chain_learner(config), chain_learner(coarse)
    batch = sequences(one)
    before = [one.update(batch).scalars["loss"], other.update(batch).scalars["loss"]]
    assert before[1] != before[0], "bfloat16 is used"
    assert before[1] == pytest.approx(before[0], rel=0.02)
    assert all(parameter.dtype == torch.float32 for parameter in parameters(other))
    for _ in range(30):
        after = other.update(batch).scalars["loss"]
    assert after < 0.5 * before[1]
    state = other.initial_state(BATCH)
    observation = {name: getattr(batch, name)[0] for name in ("frames", "structured", "visited")}
    acted = other.act(observation, batch.first[0], state, np.zeros(BATCH, np.float32))
    assert acted.state.dtype == acted.q_values.dtype == np.float32


def test_policy_churn_is_the_share_of_best_actions_an_update_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daddy_puffer.learner.learner.CHURN_PERIOD", 2)
    agent = chain_learner(settings(learning_rate=1e-9))
    batch = sequences(agent)
    assert agent.update(batch).scalars["policy_churn"] == 0.0
    assert "policy_churn" not in agent.update(batch).scalars
    q_before = agent._unroll(batch)[0]
    mask = torch.from_numpy(batch.mask[BURN_IN:])
    for parameter in agent.networks.online.head.parameters():
        parameter.data.neg_()  # turns the order of the actions round
    expected = (agent._unroll(batch)[0].argmax(-1) != q_before.argmax(-1))[mask].float().mean().item()
    assert agent._churn(batch, q_before) == pytest.approx(expected) and expected > 0.0


def test_expected_bootstrap_weighs_values_by_the_softmax_policy() -> None:
    config = settings(gamma=0.5, expected_bootstrap=True, temperature=0.5)
    agent = chain_learner(config)
    batch = sequences(agent)
    online = torch.tensor([1.0, 0.0]).expand(TRAINED + 1, BATCH, 2)
    target = torch.tensor([10.0, 100.0]).expand(TRAINED + 1, BATCH, 2)
    share = 1 / (1 + np.exp(-1.0 / 0.5))
    got = agent._targets(batch, online, target).numpy()
    expected = batch.reward[BURN_IN:-1, 0] + 0.5 * (share * 10.0 + (1 - share) * 100.0)
    np.testing.assert_allclose(got[:, 0], expected, rtol=1e-5)
    with pytest.raises(UserError, match="temperature above 0"):
        settings(expected_bootstrap=True, temperature=0.0)


def test_rescaled_targets() -> None:
    agent = chain_learner(settings(gamma=0.5, value_rescaling=True))
    batch = sequences(agent)
    values = torch.tensor([3.0, 1.0]).expand(TRAINED + 1, BATCH, 2)
    expected = rescale(torch.from_numpy(batch.reward[BURN_IN:-1, 0]) + 0.5 * unrescale(torch.tensor(3.0)))
    torch.testing.assert_close(agent._targets(batch, values, values)[:, 0], expected)


def test_three_step_targets_end_at_episode_ends() -> None:
    agent = chain_learner(settings(gamma=0.5, n_step=3))
    batch = dataclasses.replace(sequences(agent), reward=np.ones((ROWS, BATCH), np.float32))
    values = torch.full((TRAINED + 1, BATCH, 2), 8.0)
    got = agent._targets(batch, values, values).numpy()
    assert got[0].tolist() == [1 + 0.5 + 0.25 + 1.0, 1 + 0.5 + 0.25, 1 + 0.5 + 0.25 + 0.125 * 8]
    assert got[1].tolist() == [1 + 0.5 + 0.25 + 1.0, 1 + 0.5, 1 + 0.5 + 0.25 * 8]
    assert got[4].tolist() == [1 + 0.5 * 8] * 3  # the last row bootstraps at once


def test_both_networks_unroll_their_own_state_and_burn_in_has_no_gradient() -> None:
    agent = chain_learner(settings())
    with torch.no_grad():
        for parameter in agent.networks.target.parameters():
            parameter.mul_(1.1)
    batch = sequences(agent)
    q_online, q_target, _ = agent._unroll(batch)
    online, target = agent.networks.online, agent.networks.target
    inputs = [torch.from_numpy(part) for part in (batch.frames, batch.structured, batch.visited, batch.first)]
    stored = HierQState.from_flat(torch.from_numpy(batch.state), online.layout)
    torch.testing.assert_close(q_target, target.unroll(*inputs, stored)[0][BURN_IN:])
    torch.testing.assert_close(q_online, online.unroll(*inputs, stored)[0][BURN_IN:])
    before = online.unroll(*(part[:BURN_IN] for part in inputs), stored)[1].detach()
    expected = online.unroll(*(part[BURN_IN:] for part in inputs), before)[0]
    for parameter, (one, other) in zip(
        online.gru.parameters(),
        zip(*(torch.autograd.grad(q.sum(), list(online.gru.parameters())) for q in (q_online, expected)), strict=True),
        strict=True,
    ):
        assert parameter.shape == one.shape
        torch.testing.assert_close(one, other)
    assert not q_target.requires_grad


@pytest.mark.parametrize("learner", [{}, {"n_step": 3}, {"trace_decay": 0.7}, {"munchausen_scale": 0.9}])
def test_rows_outside_the_mask_change_nothing(learner: dict[str, Any]) -> None:
    results = []
    for junk in (0.0, 1e6):
        agent = chain_learner(settings(seed=4, **learner))
        batch = sequences(agent)
        outside = ~batch.mask
        reward, action, structured = batch.reward.copy(), batch.action.copy(), batch.structured.copy()
        terminated = batch.terminated.copy()
        reward[outside] += junk
        if junk:
            action[outside] = 1 - action[outside]
            terminated[outside] = ~terminated[outside]
            structured[5, 1] = junk  # nobody looks beyond a termination
        changed = dataclasses.replace(batch, reward=reward, action=action, structured=structured, terminated=terminated)
        result = agent.update(changed)
        results.append((parameters(agent), result.priorities, result.scalars))
    for one, other in zip(results[0][0], results[1][0], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)
    np.testing.assert_allclose(results[0][1], results[1][1])
    assert results[0][2] == pytest.approx(results[1][2], rel=1e-4)


def test_rows_inside_the_mask_do() -> None:
    results = []
    for addition in (0.0, 1.0):
        agent = chain_learner(settings(seed=4))
        batch = sequences(agent)
        reward = batch.reward.copy()
        reward[3, 0] += addition
        results.append(agent.update(dataclasses.replace(batch, reward=reward)).scalars["loss"])
    assert results[0] != results[1]


def test_burn_in_rows_are_not_trained() -> None:
    losses = []
    for addition in (0.0, 1e6):
        agent = chain_learner(settings(seed=4))
        batch = sequences(agent)
        reward = batch.reward.copy()
        reward[:BURN_IN] += addition
        losses.append(agent.update(dataclasses.replace(batch, reward=reward)).scalars["loss"])
    assert losses[0] == losses[1]


def test_importance_weights_scale_the_loss() -> None:
    losses = []
    for weight in (1.0, 0.5):
        agent = chain_learner(settings(seed=4, milestone_loss_weight=0.0))
        batch = dataclasses.replace(sequences(agent), weights=np.full(BATCH, weight, np.float32))
        losses.append(agent.update(batch).scalars["loss"])
    assert losses[1] == pytest.approx(0.5 * losses[0])


def test_target_network_is_copied_every_period() -> None:
    agent = chain_learner(settings(target_period_updates=3))
    batch = sequences(agent)
    pair = agent.networks

    def equal() -> bool:
        return all(
            torch.equal(one, other)
            for one, other in zip(pair.online.parameters(), pair.target.parameters(), strict=True)
        )

    assert equal()
    history = []
    for _ in range(6):
        agent.update(batch)
        history.append(equal())
    assert history == [False, False, True, False, False, True]
    assert agent.updates == 6


def test_an_update_trains_every_parameter_and_memories_more_slowly() -> None:
    agent = chain_learner(settings(recurrent_learning_rate_scale=0.5))
    rates = {group["lr"]: len(group["params"]) for group in agent.optimizer.param_groups}
    recurrent = len(agent.networks.online.recurrent_parameters())
    everything = len(list(agent.networks.online.parameters()))
    assert rates == {2e-3: everything - recurrent, 1e-3: recurrent}
    before = parameters(agent)
    agent.update(sequences(agent))
    for name, one, other in zip(dict(agent.networks.online.named_parameters()), before, parameters(agent), strict=True):
        assert not torch.equal(one, other), name


def test_priorities_mix_largest_and_mean_error_of_each_sequence() -> None:
    agent = chain_learner(settings())
    batch = sequences(agent)
    td_error = agent._loss(batch)[1].abs().numpy()
    priorities = agent.update(batch).priorities
    valid = np.delete(td_error[:, 1], 5 - BURN_IN)
    assert priorities.shape == (BATCH,)
    assert priorities[1] == pytest.approx(0.9 * valid.max() + 0.1 * valid.mean(), rel=1e-5)


def test_diagnostics_are_named_and_finite() -> None:
    agent = chain_learner(settings())
    scalars = agent.update(sequences(agent)).scalars
    names = "td_loss milestone_loss td_error_mean q_mean q_max target_gap loss grad_norm policy_churn"
    assert set(scalars) == set(names.split())
    assert all(np.isfinite(value) for value in scalars.values())
    assert scalars["target_gap"] < 1e-5  # the networks start equal
    assert agent.update(sequences(agent)).scalars["target_gap"] > 1e-3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_no_number_stops_before_anything_is_changed(value: float) -> None:
    agent = chain_learner(settings())
    agent.update(sequences(agent))
    before = parameters(agent)
    batch = sequences(agent)
    batch.reward[3, 0] = value
    with pytest.raises(NotFiniteError, match="loss is"):
        agent.update(batch)
    assert all(torch.equal(one, other) for one, other in zip(before, parameters(agent), strict=True))
    assert agent.updates == 1 and agent.is_finite()
    with torch.no_grad():
        next(agent.networks.online.parameters()).view(-1)[0] = value
    assert not agent.is_finite()


def test_state_round_trip_gives_the_same_next_update_and_actions_bit_for_bit() -> None:
    agent, other = chain_learner(settings(seed=1)), chain_learner(settings(seed=2))
    for seed in range(3):
        agent.update(sequences(agent, seed))
    file = io.BytesIO()
    torch.save(agent.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.updates == 3
    batch = sequences(agent, 9)
    one, two = agent.update(batch), other.update(batch)
    assert one.scalars == two.scalars
    np.testing.assert_array_equal(one.priorities, two.priorities)
    for left, right in zip(parameters(agent), parameters(other), strict=True):
        assert torch.equal(left, right)
    observation = {name: getattr(batch, name)[0] for name in ("frames", "visited", "structured")}
    inputs = (observation, batch.first[0], batch.state, np.full(BATCH, 0.7, np.float32))
    for _ in range(20):
        acted, again = agent.act(*inputs), other.act(*inputs)
        np.testing.assert_array_equal(acted.actions, again.actions)
        np.testing.assert_array_equal(acted.state, again.state)


def test_acting_is_greedy_without_epsilon_random_with_it_and_resets_where_told() -> None:
    agent = chain_learner(settings())
    batch = sequences(agent)
    count = 600
    observation = {
        name: np.repeat(getattr(batch, name)[0, :1], count, axis=0) for name in ("frames", "visited", "structured")
    }
    state = np.repeat(batch.state[:1], count, axis=0)
    first = np.arange(count) % 2 == 0
    epsilon = np.where(np.arange(count) < 300, 0.0, 1.0).astype(np.float32)
    result = agent.act(observation, first, state, epsilon)
    np.testing.assert_array_equal(result.actions[:300], result.q_values[:300].argmax(1))
    assert 100 < result.actions[300:].sum() < 200
    assert result.state.shape == (count, agent.state_size) and result.state.dtype == np.float32
    fresh = agent.act(observation, np.zeros(count, bool), agent.initial_state(count), epsilon)
    np.testing.assert_allclose(result.q_values[first], fresh.q_values[first], atol=1e-6)
    assert np.abs(result.q_values[~first] - fresh.q_values[~first]).max() > 1e-4


def test_milestones_ahead_are_those_of_the_episode_s_last_row() -> None:
    milestones = np.array([[1, 10], [2, 20], [3, 30], [4, 40]], np.uint8)[..., None]
    first = np.array([[True, False], [False, False], [False, True], [False, False]])
    assert milestones_ahead(milestones, first)[..., 0].tolist() == [[4, 20], [4, 20], [4, 40], [4, 40]]


def test_milestone_head_learns_what_is_ahead() -> None:
    agent = chain_learner(settings(milestone_loss_weight=1.0, learning_rate=1e-2))
    batch = sequences(agent)
    losses = [agent.update(batch).scalars["milestone_loss"] for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_unknown_or_missing_device_is_the_user_s_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(UserError, match="no GPU"):
        choose_device("cuda")
    with pytest.raises(UserError, match="must be auto, cpu or cuda"):
        choose_device("tpu")
