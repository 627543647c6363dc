"""Random network distillation: what is new pays more, what is known pays less, and nothing is ever no number."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from daddy_puffer.config import Config, EnvConfig
from daddy_puffer.envs import make_red_env
from daddy_puffer.envs.tiny import TinyVector
from daddy_puffer.errors import UserError
from daddy_puffer.learner.checkpoint import load_checkpoint, save_checkpoint
from daddy_puffer.learner.rnd import Rnd
from daddy_puffer.numerics.curiosity import BONUS_LIMIT, WARM_UP_ROWS, Curiosity, Embedding, RunningMoments
from daddy_puffer.types import Array, StepBatch
from daddy_puffer.wrappers import RND, EpsilonEnv
from daddy_puffer.wrappers.rnd import SmallNetworks

SIDE = 8
CPU = torch.device("cpu")


class GridWorld:
    """A square of cells; actions 0..3 go, 4 stays. Nobody gets beyond `wall`. Pays nothing, never ends."""

    num_actions = 5
    size = 2

    def __init__(self, wall: int = SIDE) -> None:
        self.wall = wall

    def reset(self, rng: np.random.Generator) -> Array:
        self.place = [0, 0]
        return self.observe()

    def step(self, action: int) -> tuple[Array, float, bool, bool]:
        x, y = self.place
        dx, dy = ((1, 0), (-1, 0), (0, 1), (0, -1), (0, 0))[action]
        self.place = [min(max(x + dx, 0), self.wall - 1), min(max(y + dy, 0), SIDE - 1)]
        return self.observe(), 0.0, False, False

    def observe(self) -> Array:
        return np.array(self.place, np.float32) / SIDE - 0.5


class GridEnv(gymnasium.Env):
    """One of them, with the observation of the pipeline."""

    def __init__(self, wall: int) -> None:
        self.vector = TinyVector([GridWorld(wall)])
        self.observation_space = self.vector.observation_space
        self.action_space = gymnasium.spaces.Discrete(5)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.first(self.vector.reset(seed or 0)), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.first(self.vector.step(np.array([action]))), 0.5, False, False, {}

    def first(self, batch: StepBatch) -> dict[str, Array]:
        return {name: rows[0] for name, rows in batch.observation.items()}

    @property
    def task(self) -> Any:
        return self.vector._tasks[0]


def trainer_form(env: TinyVector, weight: float = 2.0) -> Rnd:
    return Rnd(env.observation_space.spaces, env.num_envs, weight, 0, CPU)


def explore(rnd: Rnd, env: TinyVector, steps: int, rng: np.random.Generator) -> Array:
    """Random steps; r_rnd `[steps, B]`."""
    return np.array([
        rnd.add_to(env.step(rng.integers(0, 5, env.num_envs))).observation["ledger"][:, 1] for _ in range(steps)
    ])  # fmt: skip


def scores(rnd: Rnd, env: TinyVector) -> Array:
    """r_rnd of every cell `[x, y]`, without learning from it."""
    cells = [GridWorld() for _ in range(SIDE**2)]
    everywhere = TinyVector(cells)
    everywhere.reset(0)
    for index, cell in enumerate(cells):
        cell.place = [index // SIDE, index % SIDE]
    batch = everywhere.step(np.full(SIDE**2, 4))
    batch = replace(batch, env_ids=np.zeros(SIDE**2, np.int64))
    return copy.deepcopy(rnd).add_to(batch).observation["ledger"][:, 1].reshape(SIDE, SIDE)


def test_trainer_form_scores_unvisited_cells_higher_and_forgets_novelty_with_time() -> None:
    rng = np.random.default_rng(0)
    env = TinyVector([GridWorld(wall=SIDE // 2) for _ in range(8)])
    rnd = trainer_form(env)
    env.reset(0)
    early = explore(rnd, env, 400, rng)
    explore(rnd, env, 1000, rng)
    known = scores(rnd, env)
    old, new = known[: SIDE // 2], known[SIDE // 2 + 1 :]  # the first column beyond is much like the last one before
    assert new.min() > old.max() and new.mean() > 5 * old.mean()
    late = explore(rnd, env, 100, rng)
    assert 0 < late.mean() < 0.2 * early[early > 0].mean()
    for task in env._tasks:
        task.wall = SIDE
    explore(rnd, env, 1500, rng)
    assert scores(rnd, env)[SIDE // 2 + 1 :].mean() < 0.2 * new.mean()


def walk(env: RND, steps: int, rng: np.random.Generator) -> Array:
    """r_rnd of random steps `[steps]`; checks the reward."""
    paid = []
    for action in rng.integers(0, 5, steps):
        observation, reward, *_ = env.step(action)
        paid.append(observation["ledger"][1])
        assert float(reward) == pytest.approx(0.5 + 2.0 * paid[-1])
    return np.array(paid)


def test_wrapper_scores_unvisited_cells_higher_and_forgets_novelty_with_time() -> None:
    rng = np.random.default_rng(0)
    grid = GridEnv(wall=SIDE // 2)
    env = RND(grid, weight=2.0, stride=1)
    env.reset()
    early = walk(env, 2000, rng)
    walk(env, 8000, rng)
    known = np.zeros((SIDE, SIDE))
    for x in range(SIDE):
        for y in range(SIDE):
            probe = copy.deepcopy(env)
            probe.unwrapped.task.wall, probe.unwrapped.task.place = SIDE, [x, y]
            known[x, y] = probe.step(4)[0]["ledger"][1]
    old, new = known[: SIDE // 2], known[SIDE // 2 + 1 :]  # the first column beyond is much like the last one before
    assert new.min() > old.max() and new.mean() > 5 * old.mean()
    assert 0 < walk(env, 500, rng).mean() < 0.2 * early[early > 0].mean()


def test_first_rows_get_nothing_and_the_weighted_bonus_is_in_the_reward() -> None:
    env = TinyVector([GridWorld() for _ in range(4)])
    rnd, rng = trainer_form(env, weight=2.0), np.random.default_rng(1)
    env.reset(0)
    explore(rnd, env, 400, rng)
    batch = env.step(np.zeros(4, np.int64))
    batch = replace(batch, first=np.array([True, False, False, True]), reward=np.float32([1, 1, 0, 0]))
    given = rnd.add_to(batch)
    bonus = given.observation["ledger"][:, 1]
    assert (bonus == 0).tolist() == [True, False, False, True]
    np.testing.assert_array_equal(given.reward, batch.reward + np.float32(2) * bonus)
    assert not batch.observation["ledger"][:, 1].any()  # what was handed in stays as it is


def test_restored_from_a_checkpoint_it_gives_the_same_bonuses(tmp_path: Any) -> None:
    env = TinyVector([GridWorld() for _ in range(3)])  # 3: an update does not fall together with the end of a step
    rnd = trainer_form(env)
    env.reset(0)
    explore(rnd, env, 500, np.random.default_rng(2))
    path = save_checkpoint(tmp_path, 1, {"rnd": rnd.state_dict()}, Config(), 1)
    other = trainer_form(env)
    other.load_state_dict(load_checkpoint(path)["rnd"])
    again = copy.deepcopy(env)
    expected = explore(rnd, env, 200, np.random.default_rng(3))
    assert expected.any()
    np.testing.assert_array_equal(explore(other, again, 200, np.random.default_rng(3)), expected)


def test_restored_wrapper_gives_the_same_bonuses() -> None:
    env = RND(GridEnv(SIDE), weight=2.0, stride=1)
    env.reset()
    walk(env, 1503, np.random.default_rng(2))
    other = RND(copy.deepcopy(env.env), weight=2.0, stride=1)
    other.load_state_dict(copy.deepcopy(env.state_dict()))
    expected = walk(env, 200, np.random.default_rng(3))
    assert expected.any()
    np.testing.assert_array_equal(walk(other, 200, np.random.default_rng(3)), expected)


@pytest.mark.parametrize("count", [2, 7])
def test_restored_with_another_number_of_environments_it_pays_as_before(count: int) -> None:
    env = TinyVector([GridWorld() for _ in range(4)])
    rnd = trainer_form(env)
    env.reset(0)
    explore(rnd, env, 500, np.random.default_rng(2))
    others = TinyVector([GridWorld() for _ in range(count)])
    other = trainer_form(others)
    other.load_state_dict(rnd.state_dict())
    np.testing.assert_array_equal(scores(other, others), scores(rnd, env))
    others.reset(0)
    assert explore(other, others, 200, np.random.default_rng(3)).any()


def test_state_of_another_observation_is_a_user_error() -> None:
    env = TinyVector([GridWorld()])
    state = trainer_form(env).state_dict()
    state["curiosity"]["inputs"]["mean"] = state["curiosity"]["inputs"]["mean"][1:]
    with pytest.raises(UserError, match="with the observations of before"):
        trainer_form(env).load_state_dict(state)


def test_global_random_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trainer_form(TinyVector([GridWorld()]))
    assert torch.equal(torch.rand(3), expected)


def test_no_gradient_reaches_the_target() -> None:
    env = TinyVector([GridWorld() for _ in range(8)])
    rnd, rng = trainer_form(env), np.random.default_rng(1)
    before = copy.deepcopy(rnd.state_dict()["weights"])
    env.reset(0)
    explore(rnd, env, 300, rng)
    after = rnd.state_dict()["weights"]
    for name, weights in before.items():
        assert torch.equal(weights, after[name]) == name.startswith("target"), name


def test_a_million_rows_with_bad_numbers_among_them_give_sound_bonuses() -> None:
    """Scales from 1e-6 to 1e6, constants, jumps, and rows that are no numbers at all."""
    rng = np.random.default_rng(0)
    fields, batch = 12, 4000
    embedding = Embedding(fields, (("map", 0, 256),), 0)
    curiosity = Curiosity(embedding, SmallNetworks(embedding.size, 0), num_envs=batch, rows_per_update=64)
    frames = rng.integers(0, 256, (batch, 1, 72, 20), dtype=np.uint8)
    scale = np.logspace(-6, 6, fields, dtype=np.float32)
    most = 0.0
    for number in range(250):
        rows = rng.standard_normal((batch, fields), dtype=np.float32) * scale + (number > 100)
        rows[:, 3] = 7.0
        rows[number % batch, number % fields] = (np.nan, np.inf, -np.inf, 1e30)[number % 4]
        bonus = curiosity.bonus(np.roll(frames, number, axis=0), rows)
        assert np.isfinite(bonus).all() and bonus.min() >= 0 and bonus.max() <= BONUS_LIMIT
        most = max(most, float(bonus.max()))
    assert most > 0


@pytest.mark.usefixtures("one_thread")
def test_trainer_form_is_sound_and_curious_after_a_million_steps_with_bad_numbers_among_them() -> None:
    """A row in every batch, those of the warm-up too, is no number or beyond all sense; no use to learn from."""
    rng = np.random.default_rng(0)
    env = TinyVector([GridWorld() for _ in range(1000)])
    rnd = trainer_form(env, weight=2.0)
    batch = replace(env.reset(0), first=np.zeros(env.num_envs, bool))
    bad = ((0, np.nan), (1, 1e30), (0, np.inf), (1, -3e38), (0, -np.inf))

    def bonuses(rows: Array) -> Array:
        given = rnd.add_to(replace(batch, observation={**batch.observation, "structured": rows}))
        bonus = given.observation["ledger"][:, 1]
        assert np.isfinite(bonus).all() and bonus.min() >= 0 and bonus.max() <= BONUS_LIMIT
        np.testing.assert_array_equal(given.reward, batch.reward + np.float32(2) * bonus)
        return bonus

    usual = []
    for number in range(1000):
        rows = rng.uniform(-1, 1, (env.num_envs, 2)).astype(np.float32)
        at = number % env.num_envs
        field, value = bad[number % len(bad)]
        rows[at, field] = value
        usual.append(np.median(bonuses(rows)))
    for name, weights in rnd.state_dict()["weights"].items():
        assert torch.isfinite(weights).all(), name
    early, late = np.mean(usual[10:30]), np.mean(usual[-100:])
    rows[:, 0] = 3.0
    assert 0 < late < 0.2 * early and late < 0.2 * bonuses(rows).mean()


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_moments_of_a_million_rows_are_exact(offset: float) -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((1_000_000, 2)) * [1.0, 1e-3] + offset).astype(np.float32)
    moments = RunningMoments(2)
    for part in np.split(rows, np.arange(7, len(rows), 977)):
        moments.add(part)
    exact = rows.astype(np.float64)
    assert moments.count == len(rows)
    np.testing.assert_allclose(moments.mean, exact.mean(0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(moments.deviation, exact.std(0), rtol=1e-7)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6), max_size=5), min_size=1, max_size=8))
def test_moments_do_not_depend_on_how_rows_come(parts: list[list[float]]) -> None:
    moments = RunningMoments(1)
    for part in parts:
        moments.add(np.array(part).reshape(-1, 1))
    rows = np.array(sum(parts, []))
    if len(rows):
        assert moments.mean[0] == pytest.approx(rows.mean(), abs=1e-6)
        assert moments.deviation[0] == pytest.approx(rows.std(), abs=1e-3, rel=1e-6)


class KnownErrors:
    """Networks whose error is told by the test; remembers how many rows it learned from."""

    def __init__(self) -> None:
        self.learned: list[int] = []

    def errors(self, inputs: Array) -> Array:
        return np.full(len(inputs), 0.25, np.float32)

    def learn(self, inputs: Array) -> None:
        self.learned.append(len(inputs))


def test_bonus_begins_after_warm_up_and_is_scaled_by_the_deviation_of_discounted_sums() -> None:
    networks = KnownErrors()
    curiosity = Curiosity(Embedding(2, (), 0), networks, num_envs=64, rows_per_update=64)
    frames, rows = np.zeros((64, 1, 72, 20), np.uint8), np.zeros((64, 2), np.float32)
    given = [curiosity.bonus(frames, rows) for _ in range(40)]
    silent = 2 * WARM_UP_ROWS // 64
    assert [bool(bonus.any()) for bonus in given] == [False] * silent + [True] * (40 - silent)
    sums = 0.25 * np.cumsum(0.99 ** np.arange(40 - silent // 2))  # of every environment, from the end of warm-up on
    np.testing.assert_allclose(given[-1], min(0.25 / sums[:-1].std(), BONUS_LIMIT), rtol=1e-5)


def test_with_many_environments_updates_are_of_thinned_out_rows() -> None:
    networks = KnownErrors()
    curiosity = Curiosity(Embedding(2, (), 0), networks, num_envs=1000, rows_per_update=64)
    for _ in range(5):
        curiosity.bonus(np.zeros((1000, 1, 72, 20), np.uint8), np.zeros((1000, 2), np.float32))
    assert networks.learned == [250] * 4  # none while inputs are only looked at


def test_neighbouring_ids_and_other_screens_look_different() -> None:
    embedding = Embedding(3, (("map", 0, 256),), 0)
    blank = np.zeros((4, 2, 72, 20), np.uint8)
    rows = np.zeros((4, 3), np.float32)
    rows[1, 0] = 1
    blank[2, -1, 20:40] = 255
    blank[3, 0] = 255  # an older frame is not looked at
    seen = embedding(blank, rows)
    apart = np.abs(seen - seen[0])[:, 3:].sum(axis=1)  # but the number itself
    assert apart[1] > 4 and apart[2] > 0.1 and apart[3] == 0


def test_wrapper_on_the_game_pays_what_its_ledger_says() -> None:
    env = RND(EpsilonEnv(make_red_env(EnvConfig(max_steps=4000), {}), 1), weight=0.5, stride=3)
    env.reset(seed=0)
    rng, paid = np.random.default_rng(0), []
    for action in rng.integers(0, 7, 3 * 1100):
        observation, reward, *_ = env.step(action)
        r_env, r_rnd, *_ = observation["ledger"]
        assert float(reward) == pytest.approx(r_env + 0.5 * r_rnd, abs=1e-5)
        paid.append(r_rnd)
    assert not any(paid[: 6 * WARM_UP_ROWS])
    assert [value > 0 for value in paid[-120:]] == [False, False, True] * 40
    env.close()


def test_wrapper_refuses_a_stride_of_nothing() -> None:
    with pytest.raises(UserError, match="at least 1 step, got 0"):
        RND(GridEnv(SIDE), stride=0)
