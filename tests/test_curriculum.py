"""The curriculum on the real cartridge: what is kept, where episodes begin; a chain of states can be replayed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from daddy_puffer.config import Config, load_config
from daddy_puffer.envs import make_red_env
from daddy_puffer.envs.red import RedEnv
from daddy_puffer.game import MILESTONES
from daddy_puffer.game import addresses as at
from daddy_puffer.swarm import Chain, SavedState, StateFacts
from daddy_puffer.swarm.outcomes import Outcomes
from daddy_puffer.types import Action, EpisodeFlag
from daddy_puffer.vector import RedFactory, make_vector
from daddy_puffer.wrappers import Curriculum, EpsilonEnv, Novelty, Patience, open_registry
from daddy_puffer.wrappers.curriculum import STEPS_BETWEEN_SAVES, _region_of, holes


def settings(**changes: Any) -> Config:
    short = {"curriculum.mode": "progress", "curriculum.cell_size": 4, "curriculum.episode_steps": 40}
    return load_config(None, {"env.max_steps": 120, **short, **changes})


def game(folder: Path, **changes: Any) -> Curriculum:
    config = settings(**changes)
    env = EpsilonEnv(make_red_env(config.env, {}), 1)
    return Curriculum(env, config.curriculum, open_registry(folder, config.curriculum, env))


def buttons(count: int, seed: int = 0) -> np.ndarray:
    """Long walks in random directions with some A in between: leaves the house."""
    rng = np.random.default_rng(seed)
    runs = rng.choice(6, count, p=[0.2, 0.2, 0.2, 0.2, 0.15, 0.05])
    return np.repeat(runs, rng.integers(1, 6, count))[:count]


def play(env: gymnasium.Env, actions: np.ndarray) -> list[dict[str, Any]]:
    """Step, and begin anew at each end; the infos of the ends."""
    ends = []
    for action in actions:
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            ends.append(info)
            env.reset()
    return ends


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Curriculum:
    """A game that has been played for some episodes."""
    env = game(tmp_path_factory.mktemp("states"))
    env.reset(seed=1)
    play(env, buttons(900))
    return env


def replay(env: RedEnv, chain: Chain) -> None:
    """Play a chain as `Chain` says, in a game that has just been reset without waiting."""
    position = 0
    for wait, length in zip(chain.waits, chain.lengths, strict=True):
        env._emulator.load_state(env.save_state() if position else env._start)
        if wait:
            env._emulator.wait(int(wait))
        env._emulator.render_frame()
        for action in chain.actions[position : position + length]:
            env.step(int(action))
        position += length


def test_a_chain_of_states_can_be_replayed_to_the_last_bit(played: Curriculum) -> None:
    depth = {}
    for saved in played.registry.states():
        state, chain = played.registry.load(saved) or pytest.fail("not found")
        depth[len(chain.lengths)] = (saved, state, chain)
        assert saved.total_steps == len(chain.actions) and saved.episode_steps == chain.lengths[-1]
        assert bool(saved.parent) == (len(chain.lengths) > 1)
    assert max(depth) >= 2, depth  # at least one state that was reached from another one
    env = make_red_env(settings().env, {})
    for _, state, chain in depth.values():
        replay(env, chain)
        assert hashlib.sha256(env.save_state()).hexdigest() == hashlib.sha256(state).hexdigest()
    env.close()


def test_states_are_kept_where_the_player_is_free_and_say_what_the_memory_says(played: Curriculum) -> None:
    states = played.registry.states()
    assert len({saved.cell for saved in states}) >= 4 and len({saved.map_id for saved in states}) >= 2
    env = RedEnv()
    for saved in states:
        state, _ = played.registry.load(saved) or pytest.fail("not found")
        env.reset(options={"state": state})
        found = env.game_state
        assert (found.map_id, found.map_name, found.badges) == (saved.map_id, saved.map_name, saved.badges)
        assert not found.battle_kind and not found.in_text
        x, y = found.position
        assert saved.cell.startswith(f"{found.map_id}_{x // 4}_{y // 4}_{found.badges}_")
    env.close()


def from_a_state(env: Curriculum) -> tuple[dict[str, np.ndarray], SavedState]:
    """Reset until the episode begins from a state."""
    for _ in range(50):
        observation, _ = env.reset()
        by_number = {saved.spawn_id: saved for saved in env.registry.states()}
        if observation["episode"][2]:
            return observation, by_number[int(observation["episode"][2])]
    raise AssertionError("no episode began from a state")


def test_an_episode_from_a_state_begins_there_remembers_the_way_and_ends_in_time(played: Curriculum) -> None:
    observation, saved = from_a_state(played)
    game_state = played.get_wrapper_attr("game_state")
    assert (game_state.map_id, game_state.step) == (saved.map_id, 0)
    way = played.registry.load(saved)[1].visited
    assert len(way) == len(np.unique(way, axis=0)) == game_state.cells_visited > 1
    assert game_state.maps_visited == len(np.unique(way[:, 0])) and saved.map_id in way[:, 0]
    restored = played.get_wrapper_attr("visited_cells")()
    assert sorted(map(tuple, restored)) == sorted(map(tuple, way))
    assert observation["episode"][1:].tolist() == [0, saved.spawn_id, EpisodeFlag.FIRST]
    for step in range(1, 41):
        observation, _, terminated, truncated, info = played.step(np.int64(5))
        assert (terminated, truncated) == (False, step == 40)
        flags = EpisodeFlag.TRUNCATED if step == 40 else 0
        assert observation["episode"][1:].tolist() == [step, saved.spawn_id, flags]
    assert info["savestate_tag"] == saved.tag
    assert {"badges", "map", "milestones", "cells_visited", "returns"} <= info.keys()


def test_a_wrapper_around_it_that_ends_an_episode_says_where_it_began(played: Curriculum) -> None:
    env = Patience(played, 3)
    for _ in range(50):
        observation, _ = env.reset()
        if observation["episode"][2]:
            break
    numbers = {saved.tag: saved.spawn_id for saved in played.registry.states()}
    for _ in range(40):  # against a wall nothing is gained
        _, _, _, truncated, info = env.step(np.int64(5))
        if truncated:
            break
    assert numbers[info["savestate_tag"]] == observation["episode"][2] and "badges" in info


def test_an_episode_from_the_true_start_is_marked_0_and_has_its_full_length(tmp_path: Path) -> None:
    env = game(tmp_path, **{"curriculum.true_start_share": 1.0, "env.max_steps": 60})
    for _ in range(3):
        observation, _ = env.reset(seed=1)
        for step in range(1, 61):
            assert observation["episode"][2] == 0
            observation, _, _, truncated, info = env.step(np.int64(step % 4))
            assert truncated == (step == 60)
        assert info["savestate_tag"] == ""
    env.close()


def test_the_share_of_true_starts_is_kept_and_everybody_is_counted(tmp_path: Path) -> None:
    env = game(tmp_path, **{"curriculum.true_start_share": 0.5, "curriculum.episode_steps": 1, "env.max_steps": 150})
    env.reset(seed=3)
    play(env, buttons(149))
    assert env.registry.states()
    tags = []
    for _ in range(50):
        env.reset()
        tags.append(env.step(np.int64(0))[4].get("savestate_tag", ""))
    assert 11 <= sum(tag == "" for tag in tags) <= 39  # 25 +- 4 standard deviations
    env.registry.refresh(force=True)
    tallies = env.registry.tallies
    assert sum(tallies.drawn.values()) == sum(tallies.ended.values()) >= sum(tag != "" for tag in tags)
    assert set(tallies.ended) >= set(tags) - {""}
    env.close()


def test_cells_with_a_state_are_saved_again_only_now_and_then_or_for_a_much_shorter_way(played: Curriculum) -> None:
    ways: dict[str, list[int]] = {}
    for saved in played.registry.states():  # oldest first
        ways.setdefault(saved.cell, []).append(saved.total_steps)
    assert len(ways) >= 3 and any(len(found) > 1 for found in ways.values())
    others = [way for found in ways.values() for i, way in enumerate(found[1:], 1) if way >= 0.75 * min(found[:i])]
    assert len(others) <= 1  # 900 steps, fewer than between two refreshes


def test_saves_keep_their_distance(tmp_path: Path) -> None:
    env = game(tmp_path, **{"curriculum.cell_size": 1, "curriculum.true_start_share": 1.0})
    env.reset(seed=1)
    play(env, buttons(119))
    steps = np.array([saved.episode_steps for saved in env.registry.states()])
    assert len(steps) >= 3 and (np.diff(steps) >= STEPS_BETWEEN_SAVES).all()
    env.close()


def test_without_cells_only_maps_and_milestones_are_kept(tmp_path: Path) -> None:
    env = game(tmp_path, **{"curriculum.cell_size": 0, "env.max_steps": 700, "curriculum.true_start_share": 1.0})
    env.reset(seed=1)
    start = env.get_wrapper_attr("game_state").map_id
    play(env, buttons(650))
    states = env.registry.states()
    assert states and len({saved.cell for saved in states}) == len(states)
    assert all(saved.map_id != start or saved.milestones for saved in states)
    env.close()


def test_a_bad_state_is_put_aside_and_the_episode_begins_all_the_same(tmp_path: Path) -> None:
    env = game(tmp_path, **{"curriculum.true_start_share": 0.0})
    env.reset(seed=1)
    while not env.registry.states():
        play(env, buttons(120))
    (good, *others) = env.registry.states()
    for other in others:
        (tmp_path / f"{other.tag}.json").unlink()
    state, chain = env.registry.load(good) or pytest.fail("not found")
    shared = {name: getattr(good, name) for name in ("label", "cell", "map_id", "map_name", "badges", "maker")}
    facts_type = type(good).__mro__[1]
    lies = facts_type(**shared, milestones=["Boulder"], episode_steps=1, total_steps=1, parent="")
    noise = facts_type(**shared, milestones=[], episode_steps=1, total_steps=1, parent="")
    liar = env.registry.register(state, lies, chain)
    cut = env.registry.register(state[:5000], noise, chain)
    env.registry.quarantine(good.tag, "not needed")
    env.registry.refresh(force=True)
    observation, _ = env.reset()
    assert observation["episode"][2] == 0 and env.registry.states() == []
    reasons = {path.stem: path.read_text() for path in (tmp_path / "quarantine").glob("*.txt")}
    assert "Boulder" in reasons[liar.tag] and "does not fit" in reasons[cut.tag]
    env.step(np.int64(0))
    env.close()


def test_a_full_disk_does_not_stop_the_game(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder can be made here")
    env = game(blocked / "states")
    env.reset(seed=1)
    play(env, buttons(200))
    assert "cannot be used" in caplog.text and env.registry.states() == []
    env.close()


def test_a_state_from_elsewhere_is_played_and_nothing_of_it_is_kept(played: Curriculum, tmp_path: Path) -> None:
    state, _ = played.registry.load(played.registry.states()[-1]) or pytest.fail("not found")
    env = game(tmp_path)
    start, _ = env.reset(seed=1)
    observation, _ = env.reset(options={"state": state})
    number = observation["episode"][2]
    assert number > 0 and start["episode"][2] == 0
    assert env.get_wrapper_attr("game_state").map_id == played.registry.states()[-1].map_id
    for action in buttons(119):
        observation, *_ = env.step(action)
        assert observation["episode"][2] == number
    assert env.step(np.int64(0))[4]["savestate_tag"] == "foreign"  # in its full length, as from the true start
    assert env.registry.states() == []
    other, _ = env.reset(options={"state": env.get_wrapper_attr("save_state")()})
    assert other["episode"][2] not in (0, number)
    assert env.reset(options={"state": state})[0]["episode"][2] == number
    env.close()


def test_the_vectorized_environment_has_it_only_where_a_folder_is_given(tmp_path: Path) -> None:
    on = settings(**{"train.vectorization": "serial", "intrinsic.novelty_weight": 1.0})
    env = RedFactory(on, tmp_path)()
    assert isinstance(env, Novelty) and isinstance(env.env, Curriculum)
    env.close()
    off = settings(**{"curriculum.mode": "off"})
    for config, folder in ((on, None), (off, tmp_path)):
        env = RedFactory(config, folder)()
        wrappers = []
        while isinstance(env, gymnasium.Wrapper):
            wrappers.append(type(env))
            env = env.env
        assert Curriculum not in wrappers and EpsilonEnv in wrappers
        env.close()


def test_workers_share_the_states_and_say_at_the_end_where_an_episode_began(tmp_path: Path) -> None:
    config = settings(**{"train.num_workers": 2, "env.max_steps": 90, "curriculum.true_start_share": 0.1})
    tags = []
    with make_vector(config, num_envs=2, savestates=tmp_path) as env:
        env.reset(seed=0)
        for one, other in zip(buttons(350), buttons(350, seed=1), strict=True):
            batch = env.step(np.array([one, other]))
            tags += [info["savestate_tag"] for info in batch.infos]
    assert "" in tags and len(set(tags)) >= 3
    assert len(list((tmp_path / "outcomes").glob("*.jsonl"))) == 2


def test_a_badge_and_a_key_item_are_kept_as_soon_as_the_player_is_free(tmp_path: Path) -> None:
    env = game(tmp_path, **{"curriculum.cell_size": 0})
    env.reset(seed=1)
    memory = env.get_wrapper_attr("memory")
    wait = [np.int64(Action.B)] * STEPS_BETWEEN_SAVES
    memory[at.BADGES], memory[at.FONT_LOADED] = 1, 1  # as after a gym leader's last words
    env.step(wait[0])
    assert env.get_wrapper_attr("game_state").in_text and env.registry.states() == []
    memory[at.FONT_LOADED] = 0
    env.step(wait[0])
    (badge,) = env.registry.states()
    assert (badge.label, badge.milestones, badge.badges, badge.episode_steps) == ("Boulder", ["Boulder"], 1, 2)
    item = next(milestone for milestone in MILESTONES if milestone.kind == "item")
    for count in (1, 0, 1):  # got, handed over and got again: that is new once
        memory[at.BAG_ITEMS], memory[at.BAG_COUNT] = item.item, count
        play(env, np.array(wait))
    assert [saved.label for saved in env.registry.states()] == ["Boulder", item.name]
    env.close()


def test_an_episode_that_gained_a_milestone_is_counted_for_the_state_it_began_from(tmp_path: Path) -> None:
    env = game(tmp_path, **{"curriculum.true_start_share": 0.0, "curriculum.episode_steps": 3})
    env.reset(seed=1)
    while not env.registry.states():
        play(env, buttons(60))
    for badges in (0, 1):
        _, saved = from_a_state(env)
        before = Outcomes(tmp_path / "outcomes").read()
        env.get_wrapper_attr("memory")[at.BADGES] = badges
        for _ in range(3):
            env.step(np.int64(Action.B))
        after = Outcomes(tmp_path / "outcomes").read()
        assert after.ended[saved.tag] - before.ended[saved.tag] == 1
        assert after.gained[saved.tag] - before.gained[saved.tag] == (badges and not saved.badges)
        assert after.seen[saved.cell] > before.seen[saved.cell]
    env.close()


def test_mixture_asks_what_came_of_a_start_of_late(tmp_path: Path) -> None:
    env = game(tmp_path, **{"curriculum.mode": "mixture", "curriculum.true_start_share": 0.0})
    env.reset(seed=1)
    alike = {"label": "", "map_id": 1, "map_name": "", "milestones": [], "badges": 0, "episode_steps": 1}
    tags = [
        env.registry.register(
            b"state", StateFacts(cell=cell, **alike, total_steps=1, parent="", maker=""), Chain.empty()
        ).tag
        for cell in ("1_0_0_0_0", "1_0_1_0_0")
    ]
    for number in range(200):  # one fails at first, the other succeeds half of the time
        env.registry.outcomes.end(tags[0], False, False, [])
        env.registry.outcomes.end(tags[1], number % 2 == 0, False, [])
    for number in range(50):  # then both do
        for tag in tags:
            env.registry.outcomes.end(tag, number % 2 == 0, False, [])
    env.registry.refresh(force=True)
    drawn = [env._draw() for _ in range(600)]
    assert 0.4 < np.mean([saved is not None and saved.tag == tags[0] for saved in drawn]) < 0.6
    env.close()


@pytest.mark.parametrize(
    ("mode", "shares"),
    [
        # maps were seen 8 and 3 times: 1/3 to 1/2, and within the first its cells 8 times and never: 1/3 to 1
        ("go_explore", (0.1, 0.3, 0.6)),
        ("rubinstein", (0.0, 0.0, 1.0)),
        ("frontier", (0.0, 1.0, 0.0)),  # whence 50 of 50 episodes found something
        ("progress", (1 / 4, 1 / 4, 1 / 2)),  # milestones above the least, and one
    ],
)
def test_every_mode_draws_by_what_came_of_the_states(
    tmp_path: Path, mode: str, shares: tuple[float, float, float]
) -> None:
    env = game(tmp_path, **{"curriculum.mode": mode, "curriculum.true_start_share": 0.0})
    env.reset(seed=1)
    known = {"label": "", "map_name": "", "badges": 0, "episode_steps": 1, "parent": "", "maker": ""}
    states = [("1_0_0_0_0", 1, []), ("1_0_1_0_0", 1, []), ("2_0_0_0_1", 2, ["Boulder"])]
    tags = [
        env.registry.register(
            b"state", StateFacts(cell=cell, map_id=map_id, milestones=milestones, total_steps=9, **known), Chain.empty()
        ).tag
        for cell, map_id, milestones in states
    ]
    for tag, (cell, map_id, _), seen in zip(tags, states, (8, 0, 3), strict=True):
        for _ in range(seen):
            env.registry.outcomes.end(tag, False, False, [cell, _region_of(map_id)])
    for _ in range(50):
        env.registry.outcomes.end(tags[1], False, True, [])
    env.registry.refresh(force=True)
    drawn = [saved.tag for _ in range(1500) if (saved := env._draw()) is not None]
    assert len(drawn) == 1500
    for tag, share in zip(tags, shares, strict=True):
        assert drawn.count(tag) / 1500 == pytest.approx(share, abs=4 * (share * (1 - share) / 1500) ** 0.5)
    env.close()


def test_a_hole_is_a_block_between_others_that_nobody_has_been_to() -> None:
    # map 5 as known:  .##   map 6: #     (1, 1) of map 5 is a hole with four neighbours, (0, 0) one in a corner
    #                  #.#
    #                  ###
    known = {(5, 1, 0), (5, 2, 0), (5, 0, 1), (5, 2, 1), (5, 0, 2), (5, 1, 2), (5, 2, 2), (6, 0, 0)}
    seen = {f"at_{map_id}_{x}_{y}": 3 for map_id, x, y in known} | {"map_5": 9, "5_1_0_0_0": 9}
    cells = ["5_1_0_0_0", "5_2_0_0_0", "5_0_1_2_7", "5_2_2_0_0", "5_1_2_0_0", "6_0_0_0_0", "7_3_3_0_0"]
    assert holes(cells, seen, 4).tolist() == [2, 0, 2, 0, 1, 0, 0]
    # cells of two squares: four of them are one block of 4x4
    assert holes(["5_2_0_0_0", "5_3_1_0_0", "5_4_0_0_0"], seen, 2).tolist() == [2, 2, 0]
    damaged = {**seen, "at_5]1_2": 1, "at_5": 1}
    assert holes([*cells, "5_1", "x"], damaged, 4).tolist()[:2] == [2, 0]
    assert holes(cells, seen, 0).tolist() == [0] * len(cells)
