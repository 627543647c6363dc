"""Patience on the real cartridge: ends what brings nothing, as a truncation, and only that."""

from __future__ import annotations

import numpy as np

from daddy_puffer.config import EnvConfig, load_config
from daddy_puffer.envs import make_red_env
from daddy_puffer.types import Action, EpisodeFlag
from daddy_puffer.vector import make_vector
from daddy_puffer.wrappers import EpsilonEnv, Patience


def game(steps: int, max_steps: int = 100) -> Patience:
    return Patience(EpsilonEnv(make_red_env(EnvConfig(max_steps=max_steps), {}), 1), steps)


def length(env: Patience, actions: list[Action]) -> tuple[int, dict[str, object]]:
    """Steps until the episode ends, with its info; the actions are repeated."""
    env.reset(seed=0)
    for step in range(1000):
        observation, _, terminated, truncated, info = env.step(np.int64(actions[step % len(actions)]))
        if truncated:
            assert not terminated and observation["episode"][3] & EpisodeFlag.TRUNCATED
            return step + 1, info
    raise AssertionError("no end")


def test_an_episode_without_reward_ends() -> None:
    env = game(7)
    steps, info = length(env, [Action.B])  # does nothing, costs a little
    assert steps == 7
    assert info["map"] == "RedsHouse2f" and info["badges"] == 0
    assert length(env, [Action.B])[0] == 7, "the next episode is waited for as long"
    env.close()


def test_a_reward_renews_patience() -> None:
    env = game(7)
    assert length(env, [Action.UP, Action.UP, Action.B])[0] > 8
    env.close()


def test_the_games_own_end_comes_first() -> None:
    env = game(50, max_steps=5)
    assert length(env, [Action.B])[0] == 5
    env.close()


def test_training_has_it_where_the_configuration_says_so() -> None:
    settings = {"train.vectorization": "serial", "env.patience_steps": 4}
    with make_vector(load_config(None, settings), 1) as env:
        env.reset(0)
        ends = []
        for _ in range(12):
            env.send(np.array([Action.B]))
            ends.append(bool(env.recv().truncated[0]))
    assert ends == [False, False, False, True, False] * 2 + [False, False]
