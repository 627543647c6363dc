"""The tiny tasks are what they claim to be."""

from __future__ import annotations

import numpy as np

from daddy_puffer.envs.tiny import Chain, CueRecall, TinyVector, TMaze
from daddy_puffer.types import EpisodeFlag


def test_optimal_values_of_the_chain_solve_its_equations() -> None:
    gamma, task = 0.7, Chain(length=5)
    values = np.zeros((5, 2))  # the last state is terminal
    for _ in range(200):
        for state in range(4):
            for action in range(2):
                task._state, task._steps = state, 0
                observation, reward, terminated, _ = task.step(action)
                values[state, action] = reward + gamma * (not terminated) * values[observation.argmax()].max()
    np.testing.assert_allclose(task.optimal_values(gamma), values[:4])


def test_ends_are_followed_by_a_reset_row() -> None:
    env = TinyVector([Chain(length=3, limit=2) for _ in range(40)])
    batch = env.reset(seed=0)
    assert batch.first.all() and set(batch.observation["structured"].argmax(1)) == {0, 1}
    ended, kinds = np.zeros(40, bool), set()
    rng = np.random.default_rng(0)
    for _ in range(30):
        before = batch
        batch = env.step(rng.integers(0, 2, 40))
        np.testing.assert_array_equal(batch.first, ended)
        assert not batch.reward[batch.first].any()
        np.testing.assert_array_equal(batch.reward, batch.terminated)
        assert not (batch.terminated & batch.truncated).any()
        flags = batch.observation["episode"][:, 3]
        np.testing.assert_array_equal((flags & EpisodeFlag.FIRST) != 0, batch.first)
        np.testing.assert_array_equal((flags & EpisodeFlag.TERMINATED) != 0, batch.terminated)
        np.testing.assert_array_equal((flags & EpisodeFlag.TRUNCATED) != 0, batch.truncated)
        steps = batch.observation["episode"][:, 1] - before.observation["episode"][:, 1]
        assert (steps[~batch.first] == 1).all() and not batch.observation["episode"][batch.first, 1].any()
        ended = batch.terminated | batch.truncated
        kinds |= {"terminated"} if batch.terminated.any() else set()
        kinds |= {"truncated"} if batch.truncated.any() else set()
    assert kinds == {"terminated", "truncated"}


def test_cue_is_shown_once_and_asked_for_after_the_delay() -> None:
    task = CueRecall(delay=3)
    for seed in range(10):
        first = task.reset(np.random.default_rng(seed))
        cue = int(first[:2].argmax())
        assert first[:2].sum() == 1.0
        asked = []
        for _ in range(4):
            observation, reward, terminated, _ = task.step(0)
            assert not observation[:2].any() and reward == 0.0 and not terminated
            asked.append(observation[3])
        assert asked == [0.0, 0.0, 0.0, 1.0]
        _, reward, terminated, _ = task.step(cue if seed % 2 else 1 - cue)
        assert terminated and reward == (1.0 if seed % 2 else -1.0)


def test_t_maze_shows_the_cue_once_and_pays_for_the_turn_it_told() -> None:
    task = TMaze(length=3)
    for seed in range(10):
        cue = 1 + int(task.reset(np.random.default_rng(seed)).argmax())
        observation, reward, terminated, _ = task.step(cue)  # too early
        assert (reward, terminated) == (-0.1, False)
        seen = []
        for _ in range(3):
            observation, reward, terminated, _ = task.step(0)
            seen.append(int(observation.argmax()))
            assert (reward, terminated) == (0.0, False)
        assert seen == [2, 2, 3]
        _, reward, terminated, truncated = task.step(cue if seed % 2 else 3 - cue)
        assert terminated and not truncated and reward == (1.0 if seed % 2 else -1.0)
    task.reset(np.random.default_rng(0))
    assert [task.step(1)[3] for _ in range(12)] == [False] * 11 + [True]
