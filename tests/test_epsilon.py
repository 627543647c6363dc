"""EpsilonEnv: stack, features, marks of beginning and end."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from daddy_puffer.config import EnvConfig
from daddy_puffer.envs import make_red_env
from daddy_puffer.game import FEATURES, MILESTONE_BYTES
from daddy_puffer.types import EpisodeFlag
from daddy_puffer.wrappers import EpsilonEnv

NAMES = [name for name, _ in FEATURES]


@pytest.fixture
def env() -> Iterator[EpsilonEnv]:
    made = EpsilonEnv(make_red_env(EnvConfig(max_steps=6), {}), frame_stack=3)
    yield made
    made.close()


def test_observations_belong_to_the_space(env: EpsilonEnv) -> None:
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    assert env.step(np.int64(3))[0] in env.observation_space
    assert observation["milestones"].shape == (MILESTONE_BYTES,)


def test_stack_is_the_last_frames_oldest_first(env: EpsilonEnv) -> None:
    observation, _ = env.reset(seed=0)
    first = observation["frames"][-1]
    assert all((frame == first).all() for frame in observation["frames"])
    history = [first, first, first]
    for action in (2, 2, 3, 0):
        observation = env.step(np.int64(action))[0]
        history.append(observation["frames"][-1].copy())
        np.testing.assert_array_equal(observation["frames"], np.stack(history[-3:]))
    assert len({frame.tobytes() for frame in history}) > 2


def test_marks_of_an_episode(env: EpsilonEnv) -> None:
    marks = [env.reset(seed=0)[0]["episode"]]
    rewards = [0.0]
    ledgers = [0.0]
    for _ in range(6):
        observation, reward, _, truncated, _ = env.step(np.int64(3))
        marks.append(observation["episode"])
        rewards.append(float(reward))
        ledgers.append(observation["ledger"][0])
    assert truncated
    marks.append(env.reset()[0]["episode"])
    assert [mark[0] for mark in marks] == [0] * 7 + [1]
    assert [mark[1] for mark in marks] == [0, 1, 2, 3, 4, 5, 6, 0]
    assert [mark[3] for mark in marks] == [EpisodeFlag.FIRST, 0, 0, 0, 0, 0, EpisodeFlag.TRUNCATED, EpisodeFlag.FIRST]
    np.testing.assert_allclose(ledgers, rewards, rtol=1e-6)


def test_structured_carries_the_last_action_and_the_time(env: EpsilonEnv) -> None:
    first = env.reset(seed=0)[0]["structured"]
    assert first[NAMES.index("last_down") :].sum() == 0
    after = env.step(np.int64(4))[0]["structured"]
    assert after[NAMES.index("last_a")] == 1 and after[NAMES.index("last_down") :].sum() == 1
    assert after[NAMES.index("episode_time")] == pytest.approx(1 / 6)
    assert after[NAMES.index("map_id")] == 38


def test_visited_has_the_player_in_the_middle(env: EpsilonEnv) -> None:
    observation, _ = env.reset(seed=0)
    visited = observation["visited"]
    assert visited[4, 4] == 1 and visited.sum() == 1


def test_options_reach_the_environment(env: EpsilonEnv) -> None:
    env.reset(seed=0)
    for action in (3, 3, 2):
        env.step(np.int64(action))
    state, place = env.env.save_state(), env.env.game_state.position  # type: ignore[attr-defined]
    env.reset(seed=0)
    assert env.env.game_state.position != place  # type: ignore[attr-defined]
    env.reset(seed=0, options={"state": state})
    assert env.env.game_state.position == place  # type: ignore[attr-defined]
