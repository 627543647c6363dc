"""Red-v0 on the real cartridge and a real PyBoy."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

from daddy_puffer.envs import RedEnv
from daddy_puffer.envs.observation import pack_two_bit
from daddy_puffer.types import Action


@pytest.fixture(scope="module")
def env() -> Iterator[RedEnv]:
    made = RedEnv(max_steps=200)
    yield made
    made.close()


def ram_hash(env: RedEnv) -> str:
    return hashlib.sha256(env.memory_image()[0xC000:0xE000]).hexdigest()


def test_gymnasium_checks_pass_without_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        made = gymnasium.make("daddy_puffer/Red-v0")
        check_env(made.unwrapped, skip_render_check=False)
        made.close()


def test_same_state_and_actions_give_the_same_ram(env: RedEnv) -> None:
    actions = np.random.default_rng(3).integers(0, 7, 150)
    hashes = []
    for _ in range(2):
        env.reset(seed=5)
        rewards = [env.step(action)[1] for action in actions]
        hashes.append((ram_hash(env), rewards))
    assert hashes[0] == hashes[1]
    env.reset(seed=5)
    assert ram_hash(env) != hashes[0][0]


def test_saved_state_continues_the_same_game(env: RedEnv) -> None:
    env.reset(seed=0)
    for action in (3, 2, 2, 6, 4):
        env.step(action)
    state = env.save_state()
    ahead = []
    for _ in range(2):
        env.reset(options={"state": state})
        for action in (5, 5, 2, 0, 1, 3):
            env.step(action)
        ahead.append((ram_hash(env), env.render().tobytes()))
    assert ahead[0] == ahead[1]


def test_buttons_are_up_after_a_state_is_loaded(env: RedEnv) -> None:
    env.reset(seed=0)
    state = env.save_state()
    env._emulator._pyboy.button_press("right")  # held for ever
    env._emulator.wait(2)
    env.reset(options={"state": state})
    x = env.game_state.position
    env._emulator.wait(120)
    assert (env.memory[0xD362], env.memory[0xD361]) == x


def test_one_press_is_one_cell(env: RedEnv) -> None:
    env.reset(seed=0)
    moves = {Action.UP: (0, -1), Action.DOWN: (0, 1), Action.LEFT: (-1, 0), Action.RIGHT: (1, 0)}
    steps = set()
    for action in [Action.UP, Action.UP, Action.RIGHT, Action.DOWN, Action.LEFT, Action.DOWN]:
        x, y = env.game_state.position
        env.step(action)
        new_x, new_y = env.game_state.position
        assert (new_x - x, new_y - y) in ((0, 0), moves[action])
        steps.add((new_x - x, new_y - y))
    assert len(steps) >= 3  # it does walk


def test_truncation_comes_once_with_a_summary() -> None:
    env = RedEnv(max_steps=5)
    env.reset(seed=0)
    ends = [env.step(Action.UP)[2:] for _ in range(5)]
    assert [truncated for _, truncated, _ in ends] == [False] * 4 + [True]
    assert not any(terminated for terminated, _, _ in ends)
    assert [bool(info) for _, _, info in ends] == [False] * 4 + [True]
    assert ends[-1][2]["map"] == "RedsHouse2f"
    env.close()


def test_reward_is_the_sum_of_its_terms_over_an_episode() -> None:
    env = RedEnv(max_steps=120)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    total, info = 0.0, {}
    for action in rng.integers(0, 7, 120):
        _, reward, _, _, info = env.step(action)
        total += float(reward)
    assert total > 0.0
    assert sum(info["returns"].values()) == pytest.approx(total)
    assert info["returns"]["cell"] == pytest.approx(0.2 * (info["cells_visited"] - 1))
    env.close()


def slow_pack(greys: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = greys.shape
    packed = np.zeros((height, width // 4), np.uint8)
    for y in range(height):
        for x in range(width):
            packed[y, x // 4] |= (int(greys[y, x]) // 64) << (6 - 2 * (x % 4))
    return packed


def test_packing_equals_its_slow_twin(env: RedEnv) -> None:
    greys = np.random.default_rng(0).integers(0, 256, (72, 80), dtype=np.uint8)
    np.testing.assert_array_equal(pack_two_bit(greys), slow_pack(greys))
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(observation["screen"][:, :, 0], slow_pack(env.render()[::2, ::2, 1]))


def test_visited_mask_marks_the_player_where_upstream_does(env: RedEnv) -> None:
    observation, _ = env.reset(seed=0)
    mask = observation["visited_mask"][:, :, 0]
    marked = np.zeros((72, 20), np.uint8)
    marked[29:37, 32 // 4 : 40 // 4] = 255  # rows 29-36, columns 32-39
    np.testing.assert_array_equal(mask, marked)


@pytest.mark.parametrize(
    ("reduce_res", "two_bit", "shape"),
    [(True, True, (72, 20, 1)), (True, False, (72, 80, 1)), (False, True, (144, 40, 1)), (False, False, (144, 160, 1))],
)
def test_resolutions(reduce_res: bool, two_bit: bool, shape: tuple[int, ...]) -> None:
    env = RedEnv(reduce_res=reduce_res, two_bit=two_bit)
    observation, _ = env.reset(seed=0)
    assert observation["screen"].shape == observation["visited_mask"].shape == shape
    assert observation in env.observation_space
    env.close()


def test_observation_decodes_numbers_right(env: RedEnv) -> None:
    observation, _ = env.reset(seed=0)
    lead = env.game_state.party[0]
    assert (observation["hp"][0], observation["maxHP"][0]) == (lead.hp, lead.max_hp)
    assert 10 < lead.max_hp < 100
    assert observation["level"][0] == lead.level and (observation["species"][1:] == 0).all()
    assert observation["map_id"][0] == 38
    count = env.memory[0xD31D]
    assert list(observation["bag_items"][:count]) == list(env.game_state.bag)
    assert (observation["bag_items"][count:] == 0).all()


def test_random_wait_varies_the_start_and_seeds_repeat_it() -> None:
    env = RedEnv(random_wait=30)
    starts = []
    for seed in (1, 2, 3, 1):
        env.reset(seed=seed)
        starts.append(hashlib.sha256(env.memory_image()[0xC000:]).hexdigest())
    assert starts[0] == starts[3] and len(set(starts)) > 1
    env.close()
