"""Novelty on the real cartridge: what is paid, once, and shared by every environment."""

from __future__ import annotations

import multiprocessing
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest

from daddy_puffer.config import EnvConfig, load_config
from daddy_puffer.envs import make_red_env
from daddy_puffer.errors import UserError
from daddy_puffer.types import Action
from daddy_puffer.vector import make_vector
from daddy_puffer.wrappers import EpsilonEnv, Novelty, VisitCounts
from daddy_puffer.wrappers.novelty import CELLS, cell_index


def game(weight: float, counts: VisitCounts, **settings: Any) -> Novelty:
    return Novelty(EpsilonEnv(make_red_env(EnvConfig(max_steps=200), {}), 1), weight, counts, **settings)


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
                assert counts.add(cell_index(map_id, x, y)) == 1


def test_counts_are_shared_with_worker_processes() -> None:
    counts = VisitCounts()
    worker = multiprocessing.get_context("fork").Process(target=counts.add, args=(3,))
    worker.start()
    worker.join(30)
    assert counts.add(3) == 2


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


class Scripted(gymnasium.Env):
    """Goes where it is told: an action is an index into `PLACES`; milestones are told by `flags`."""

    PLACES = ((1, 0, 0), (1, 1, 0), (1, 1, 1), (2, 1, 1))

    def __init__(self) -> None:
        self.flags = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.look(0), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.look(action), 0.25, False, False, {}

    def look(self, place: int) -> dict[str, Any]:
        map_id, *position = self.PLACES[place]
        self.game_state = SimpleNamespace(map_id=map_id, position=tuple(position))
        return {"ledger": np.zeros(4, np.float32), "milestones": np.array([self.flags], np.uint8)}


def paid(env: Novelty, *places: int) -> list[float]:
    """r_novel of going there."""
    return [float(env.step(place)[0]["ledger"][2]) for place in places]


def test_episode_scope_pays_less_with_every_return_and_anew_in_the_next_episode() -> None:
    env = Novelty(Scripted(), 2.0, VisitCounts(), scope="episode")
    for _ in range(2):
        env.reset()
        expected = [1, 0, 2**-0.5, 2**-0.5, 3**-0.5, 1]  # the start was visited by being there
        assert paid(env, 1, 1, 0, 1, 0, 2) == pytest.approx(expected)
    assert env.step(0)[1] == pytest.approx(0.25 + 2.0 * 4**-0.5)


def test_first_ever_is_paid_once_to_the_whole_swarm() -> None:
    counts = VisitCounts()
    for scope in ("swarm", "episode"):
        counts.load_state_dict(VisitCounts().state_dict())
        env, other = (Novelty(Scripted(), 1.0, counts, scope=scope, first=5.0) for _ in range(2))
        env.reset()
        other.reset()
        assert paid(env, 1, 2) == [6, 6]
        second = 2**-0.5 if scope == "swarm" else 1
        assert paid(other, 1, 3) == pytest.approx([second, 6])
        env.reset()
        third = 3**-0.5 if scope == "swarm" else 1
        assert paid(env, 1) == pytest.approx([third])


def test_cells_count_anew_with_other_milestones_where_asked() -> None:
    for milestones in (False, True):
        env = Novelty(Scripted(), 1.0, VisitCounts(), milestones=milestones)
        env.reset()
        assert paid(env, 1, 0, 1) == [1, 0, 0]
        env.unwrapped.flags = 4
        assert paid(env, 0, 1) == ([1, 1] if milestones else [0, 0])


def test_an_endless_episode_takes_no_endless_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daddy_puffer.wrappers.novelty.EPISODE_CELLS", 2)
    env = Novelty(Scripted(), 1.0, VisitCounts(), scope="episode")
    env.reset()
    assert paid(env, 1, 2, 3, 2, 0) == pytest.approx([1, 1, 1, 2**-0.5, 1])  # the start has been forgotten
    assert len(env._times) == 2


def test_milestones_do_not_move_a_cell_out_of_the_table() -> None:
    seen = {cell_index(map_id, x, 7, 0xABCDE) for map_id in range(256) for x in range(64)}
    assert len(seen) == 256 * 64 and min(seen) >= 0 and max(seen) < CELLS


def test_unknown_scope_is_a_user_error() -> None:
    with pytest.raises(UserError, match="got 'run'"):
        Novelty(Scripted(), scope="run")
    with pytest.raises(UserError, match="intrinsic.novelty_scope must be one of"):
        load_config(None, {"intrinsic.novelty_scope": "run"})


def test_counts_survive_in_their_state_and_workers_see_them_restored() -> None:
    counts, other = VisitCounts(), VisitCounts()
    for index in (5, 5, CELLS - 1):
        counts.add(index)
    other.add(17)
    results = multiprocessing.get_context("fork").Queue()
    gate = multiprocessing.get_context("fork").Event()
    worker = multiprocessing.get_context("fork").Process(target=_look, args=(other, gate, results))
    worker.start()
    other.load_state_dict(counts.state_dict())
    gate.set()
    assert results.get(timeout=30) == {5: 2, CELLS - 1: 1}
    worker.join(30)
    assert len(counts.state_dict()["index"]) == 2


def _look(counts: VisitCounts, gate: Any, results: Any) -> None:
    gate.wait(30)
    results.put({int(index): int(counts.counts[index]) for index in np.flatnonzero(counts.counts)})
