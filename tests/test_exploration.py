"""Epsilon-greedy as a distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from daddy_puffer.game.features import FEATURE_COUNT, FEATURES, worth_trying
from daddy_puffer.policies.exploration import (
    RepeatedExploration,
    epsilon_greedy_logits,
    epsilon_greedy_probabilities,
    sample,
)
from daddy_puffer.types import Action

Q_VALUES = torch.tensor([[0.0, 3.0, 1.0, 2.0], [5.0, 1.0, 1.0, 1.0], [-1.0, -2.0, -3.0, -0.5]])


def test_probabilities_are_those_of_the_mixture() -> None:
    got = epsilon_greedy_probabilities(Q_VALUES, torch.tensor([0.2, 1.0, 0.0]))
    expected = [[0.2 / 4, 0.8 + 0.2 / 4, 0.2 / 4, 0.2 / 4], [1 / 4, 1 / 4, 1 / 4, 1 / 4], [0.0, 0.0, 0.0, 1.0]]
    torch.testing.assert_close(got, torch.tensor(expected))


def test_logits_are_normalised_log_probabilities() -> None:
    epsilon = torch.tensor([0.2, 1.0, 0.0])
    logits = epsilon_greedy_logits(Q_VALUES, epsilon)
    assert logits.isfinite().all()
    torch.testing.assert_close(logits.logsumexp(-1), torch.zeros(3))
    torch.testing.assert_close(logits.softmax(-1), epsilon_greedy_probabilities(Q_VALUES, epsilon))
    assert logits[0, 1].item() == pytest.approx(torch.tensor(0.85).log().item())


def test_equal_values_make_one_action_greedy() -> None:
    got = epsilon_greedy_probabilities(torch.zeros(1, 3), torch.tensor([0.3]))
    torch.testing.assert_close(got, torch.tensor([[0.8, 0.1, 0.1]]))


def test_temperature_shares_out_what_epsilon_leaves() -> None:
    got = epsilon_greedy_probabilities(Q_VALUES, torch.tensor([0.0, 0.5, 1.0]), temperature=2.0)
    torch.testing.assert_close(got[0], (Q_VALUES[0] / 2.0).softmax(-1))
    torch.testing.assert_close(got[1], 0.5 * (Q_VALUES[1] / 2.0).softmax(-1) + 0.5 / 4)
    torch.testing.assert_close(got[2], torch.full((4,), 0.25))
    cold = epsilon_greedy_probabilities(Q_VALUES, torch.zeros(3), temperature=1e-3)
    torch.testing.assert_close(cold, epsilon_greedy_probabilities(Q_VALUES, torch.zeros(3)))


def test_drawn_actions_have_the_mixture_s_frequencies_for_each_environment() -> None:
    epsilon = torch.tensor([0.2, 1.0, 0.0])
    probabilities = epsilon_greedy_probabilities(Q_VALUES, epsilon)
    generator = torch.Generator().manual_seed(0)
    draws = 20_000
    counts = torch.zeros(3, 4)
    for _ in range(draws // 1000):
        actions = sample(probabilities.repeat(1000, 1), generator).view(1000, 3)
        counts += torch.nn.functional.one_hot(actions, 4).sum(0)
    margin = 4 * (0.25 / draws) ** 0.5  # four standard errors
    torch.testing.assert_close(counts / draws, probabilities, rtol=0, atol=margin)
    assert counts[2].tolist() == [0, 0, 0, draws]


def test_draws_follow_the_caller_s_generator() -> None:
    probabilities = torch.full((64, 7), 1 / 7)
    one, other = (sample(probabilities, torch.Generator().manual_seed(3)) for _ in range(2))
    assert one.dtype == torch.int64 and one.shape == (64,)
    assert torch.equal(one, other)


def test_runs_of_random_actions_have_zeta_lengths_and_frequency() -> None:
    """With epsilon 1 everything is runs of n ~ zeta(2), cut at 4: mean (1 + 2/4 + 3/9 + 4 * rest) in units of zeta."""
    explorer = RepeatedExploration(num_envs=2000, num_actions=1_000_003, exponent=2.0, longest=4, seed=0)
    first = np.zeros(2000, bool)
    steps = np.stack([explorer.choose(np.full(2000, -1), 1.0, first) for _ in range(60)])
    assert (steps >= 0).all()  # epsilon 1: never the greedy action
    changes = 1 + (steps[1:] != steps[:-1]).sum(0)  # runs seen by each environment
    zeta = math.pi**2 / 6
    head = [1 / zeta, 1 / 4 / zeta, 1 / 9 / zeta]
    mean_length = head[0] + 2 * head[1] + 3 * head[2] + 4 * (1 - sum(head))
    assert steps.shape[0] / changes.mean() == pytest.approx(mean_length, rel=0.03)


def test_share_of_runs_begun_is_epsilon_and_length_one_is_plain_epsilon_greedy() -> None:
    explorer = RepeatedExploration(num_envs=5000, num_actions=7, exponent=2.0, longest=1, seed=1)
    first = np.zeros(5000, bool)
    steps = np.stack([explorer.choose(np.full(5000, 99), 0.25, first) for _ in range(20)])
    assert (steps != 99).mean() == pytest.approx(0.25, abs=0.01)
    assert np.bincount(steps[steps != 99], minlength=7) / (steps != 99).sum() == pytest.approx(1 / 7, abs=0.01)


def test_an_episodes_first_step_ends_a_run() -> None:
    explorer = RepeatedExploration(num_envs=200, num_actions=7, exponent=1.01, longest=32, seed=2)
    explorer.choose(np.full(200, 99), 1.0, np.zeros(200, bool))
    running = explorer.choose(np.full(200, 99), 0.0, np.zeros(200, bool)) != 99
    assert running.any()
    assert (explorer.choose(np.full(200, 99), 0.0, np.ones(200, bool)) == 99).all()


def test_exploration_state_round_trip() -> None:
    one, other = (RepeatedExploration(8, 7, 2.0, 32, seed) for seed in (3, 4))
    first, greedy = np.zeros(8, bool), np.zeros(8, np.int64)
    for _ in range(10):
        one.choose(greedy, 0.5, first)
    other.load_state_dict(one.state_dict())
    for _ in range(10):
        np.testing.assert_array_equal(one.choose(greedy, 0.5, first), other.choose(greedy, 0.5, first))


@pytest.mark.parametrize("count", [3, 14])
def test_exploration_goes_on_with_another_number_of_environments(count: int) -> None:
    """No run of actions goes on; what is drawn does."""
    saved, restored, fresh = (RepeatedExploration(n, 7, 2.0, 32, seed=3) for n in (8, count, count))
    saved.choose(np.zeros(8, np.int64), 1.0, np.zeros(8, bool))
    restored.load_state_dict(saved.state_dict())
    first, greedy = np.zeros(count, bool), np.full(count, 99)
    assert (restored.choose(greedy, 0.0, first) == 99).all()
    fresh._rng.bit_generator.state = saved.state_dict()["rng"]
    fresh.choose(greedy, 0.0, first)
    np.testing.assert_array_equal(restored.choose(greedy, 0.5, first), fresh.choose(greedy, 0.5, first))


def test_what_is_suggested_is_tried_so_often() -> None:
    explorer = RepeatedExploration(10_000, 7, 2.0, 4, seed=5, try_suggested=0.2)
    greedy, none = np.full(10_000, 3), np.zeros(10_000)
    suggested = np.where(np.arange(10_000) % 2, 4, -1)
    actions = explorer.choose(greedy, none, none > 0, suggested)
    assert (actions[::2] == 3).all() and set(actions[1::2]) == {3, 4}
    assert (actions == 4).sum() == pytest.approx(1000, abs=120)  # four standard errors


def test_a_newcomer_tries_a_before_a_stranger() -> None:
    structured = np.zeros((2, FEATURE_COUNT), np.float32)
    structured[1, [name for name, _ in FEATURES].index("faces_stranger")] = 1.0
    assert worth_trying(structured).tolist() == [-1, Action.A]
    assert worth_trying(structured[:, :5]).tolist() == [-1, -1], "of a game that is not known"
