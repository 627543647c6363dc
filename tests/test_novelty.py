"""Novelty on the real cartridge: what is paid, once, and shared by every environment."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

from daddy_puffer.config import EnvConfig, load_config
from daddy_puffer.envs import make_red_env
from daddy_puffer.types import Action
from daddy_puffer.vector import make_vector
from daddy_puffer.wrappers import EpsilonEnv, Novelty, VisitCounts


def game(weight: float, counts: VisitCounts) -> Novelty:
    return Novelty(EpsilonEnv(make_red_env(EnvConfig(max_steps=200), {}), 1), weight, counts)


def walk(env: Novelty) -> list[float]:
    """r_novel of the same forty steps in a new episode; checks the reward."""
    env.reset(seed=0)
    paid, rng = [], np.random.default_rng(3)
    for action in rng.integers(0, 4, 40):
        observation, reward, *_ = env.step(action)
        r_env, _, r_novel, _ = observation["ledger"]
        assert float(reward) == pytest.approx(r_env + 0.5 * r_novel)
        paid.append(float(r_novel))
    return paid


def test_a_cell_pays_once_an_episode_and_less_in_each_later_one() -> None:
    counts = VisitCounts()
    env, other = game(0.5, counts), game(0.5, counts)
    first = walk(env)
    new_cells = sum(value == 1.0 for value in first)
    assert 3 <= new_cells < 30 and set(first) == {0.0, 1.0}
    for episode, player in enumerate((env, other, other), start=2):
        np.testing.assert_allclose(walk(player), np.array(first) / episode**0.5, rtol=1e-6)
    assert counts.counts.sum() == 4 * new_cells
    env.close()
    other.close()


def test_every_cell_of_a_small_map_has_a_count_of_its_own() -> None:
    counts = VisitCounts()
    for map_id in (0, 1, 255):
        for x in range(64):
            for y in range(64):
                assert counts.add(map_id, x, y) == 1


def test_counts_are_shared_with_worker_processes() -> None:
    counts = VisitCounts()
    worker = multiprocessing.get_context("fork").Process(target=counts.add, args=(3, 4, 5))
    worker.start()
    worker.join(30)
    assert counts.add(3, 4, 5) == 2


def test_the_vectorized_environment_pays_for_novelty_where_asked() -> None:
    for weight in (0.0, 2.0):
        config = load_config(None, {"intrinsic.novelty_weight": weight, "train.vectorization": "serial"})
        with make_vector(config, num_envs=2) as env:
            env.reset(seed=0)
            batches = [env.step(np.full(2, Action.DOWN)) for _ in range(8)]
        novelty = np.array([batch.observation["ledger"][:, 2] for batch in batches])
        assert (novelty.sum() > 0) == (weight > 0)
        for batch in batches:
            r_env, r_novel = batch.observation["ledger"][:, 0], batch.observation["ledger"][:, 2]
            np.testing.assert_allclose(batch.reward, r_env + weight * r_novel, rtol=1e-6)
