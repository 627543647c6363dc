"""Epsilon-greedy as a distribution."""

from __future__ import annotations

import pytest
import torch

from daddy_puffer.policies.exploration import epsilon_greedy_logits, epsilon_greedy_probabilities, sample

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
