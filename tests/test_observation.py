"""The observation's shortcuts give what building everything anew gives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daddy_puffer.envs import RedEnv
from daddy_puffer.envs.observation import UPSTREAM_KEYS, Observer, VisitedCells
from daddy_puffer.envs.scripted import ScriptedPlayer
from daddy_puffer.game import FEATURES, FeatureWriter
from daddy_puffer.game import addresses as at
from daddy_puffer.game.maps import world_cell
from daddy_puffer.game.state import RAM_SIZE, GameState, RamReader
from daddy_puffer.types import MOST_VISITED, Action

STEPS = 250


def test_every_step_equals_a_fresh_observer() -> None:
    env = RedEnv(max_steps=10**6)
    observation, _ = env.reset(seed=0)
    kept: list[tuple[NDArray[np.generic], bytes]] = []
    for step, action in enumerate(np.random.default_rng(1).integers(0, 7, STEPS)):
        if step == STEPS // 2:
            observation, _ = env.reset(seed=0)
        fresh = Observer(UPSTREAM_KEYS, True, True).observe(env._emulator.screen, env.game_state, env._visited)
        assert fresh.keys() == observation.keys()
        for key, array in fresh.items():
            np.testing.assert_array_equal(observation[key], array, err_msg=key)
        kept += [(array, array.tobytes()) for array in observation.values()]
        observation = env.step(action)[0]
    assert all(array.tobytes() == data for array, data in kept), "an observation that was kept has changed"
    env.close()


def test_a_new_episode_shows_none_of_the_old_ones_cells() -> None:
    observer, visited = Observer(("visited_mask",), True, False), VisitedCells()
    state, screen = GameState(bytes(RAM_SIZE)), np.zeros((144, 160, 4), np.uint8)
    lit = []
    for neighbour in (4, 6):  # as many cells, the same place to stand, another picture
        visited.clear()
        visited.visit(0, neighbour, 5)
        visited.visit(0, 5, 5)
        mask = observer.observe(screen, state, visited)["visited_mask"][:, :, 0]
        lit.append((bool(mask[32, 24 + 4]), bool(mask[32, 40 + 4])))
    assert lit == [(True, False), (False, True)]


def test_levels_count_how_often_the_player_came_there() -> None:
    visited = VisitedCells()
    levels = []
    for _ in range(8):
        for x in (5, 5, 6):  # standing still does not count
            cells, maps = visited.visit(0, x, 5)
        levels.append(int(visited.around()[4, 3]))
    assert levels == [1, 2, 2, 3, 3, 3, 3, 4] and (cells, maps) == (2, 1)
    for _ in range(1 << 16):
        visited.visit(0, 5, 5), visited.visit(0, 6, 5)
    assert visited.around()[4, 3] == MOST_VISITED
    visited.restore(visited.cells())
    assert visited.around()[4, 4] == 1 and visited.world.sum() == 2, "what was before counts once"


def test_blocks_around_count_the_cells_that_were_visited() -> None:
    visited, memory = VisitedCells(), bytearray(1 << 16)
    reader = RamReader(memory)
    walk = [(5, 5), (5, 6), (5, 7), (5, 7), (5, 6), (5, 8)]  # of map 0, which begins at a row and column of its own
    state: GameState | None = None
    for step, (x, y) in enumerate(walk):
        memory[at.X], memory[at.Y] = x, y
        state = visited.look(state, Action.B, reader, step)
    assert state is not None
    blocks = np.frombuffer(state.surroundings, np.uint8).reshape(9, 9)
    row, column = world_cell(0, 5, 8)
    rows = [world_cell(0, x, y)[0] // 4 - row // 4 for x, y in sorted(set(walk))]
    assert [int(blocks[4 + block, 4]) for block in sorted(set(rows))] == [rows.count(b) for b in sorted(set(rows))]
    assert blocks.sum() == state.cells_visited == 4 and state.since_new == 0
    state = visited.look(state, Action.B, reader, 9)
    assert state.since_new == 4
    values = dict(zip((name for name, _ in FEATURES), FeatureWriter(99).write(state, None), strict=True))
    assert values["visited_4_4"] == blocks[4, 4] / 16 and values["since_new"] == 4 / 128
    visited.restore(visited.cells())
    again = visited.look(None, Action.B, reader, 0)
    assert again.surroundings == state.surroundings and again.since_new == 0


def test_a_block_is_never_more_than_full() -> None:
    """Maps that are not known all lie on one place of the world."""
    visited, memory = VisitedCells(), bytearray(1 << 16)
    memory[at.MAP] = 255
    for x in range(256):
        memory[at.X] = x
        state = visited.look(None, Action.B, RamReader(memory), 0)
    assert state.cells_visited == 256 and max(state.surroundings) == 16


def test_the_first_word_with_everybody_counts_and_no_menu_does() -> None:
    env, player = RedEnv(max_steps=10**6, keys=("screen", "visited")), ScriptedPlayer()
    env.reset(seed=1)
    faced = False
    while not env.game_state.talks:  # the player goes straight to the first leader; a trainer speaks first on the way
        faced = env.game_state.faces_stranger
        env.step(player.act(env.memory))
    assert faced and not env.game_state.faces_stranger
    (x, y), talks = env.game_state.position, env.game_state.talks
    assert talks == 1 and env.game_state.facing == 1 and env.game_state.in_text
    leader = env.step(Action.B)[0]["visited"][3, 4]
    assert leader == 1 and (env.game_state.map_id, x, y - 1) not in set(map(tuple, env.visited_cells().tolist()))
    returns = env.summary()["returns"]
    assert returns["talk"] == 1.0
    env.reset(seed=1)
    for _ in range(3):
        env.step(Action.START)
        assert env.game_state.talks == 0 and not env.game_state.faces_stranger
        env.step(Action.B)
    env.close()


def test_only_the_keys_that_were_asked_for_are_there() -> None:
    for keys in (("screen",), ("map_id", "hp"), ("visited", "events", "screen"), UPSTREAM_KEYS):
        env = RedEnv(max_steps=10, keys=keys)
        observation, _ = env.reset(seed=0)
        assert observation.keys() == env.observation_space.spaces.keys() == set(keys)
        assert env.observation_space.contains(env.step(0)[0])
        env.close()
