"""The practice world's tables: the generator refuses broken ones, and what ships says what the tables say."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from daddy_puffer.envs.world import Cell, World
from daddy_puffer.game.facts import event_index
from daddy_puffer.types import Action

CARTRIDGE = Path(__file__).resolve().parents[1] / "cartridge"
sys.path.insert(0, str(CARTRIDGE))

import check_world  # noqa: E402
import compile_world  # noqa: E402
import export_world  # noqa: E402
import generate  # noqa: E402
from art import DataError  # noqa: E402
from data import events, maps, people, scripts, texts  # noqa: E402

HOME = Cell(38, 1, 4)
LEADER_1, PUPIL_1, LEADER_2 = Cell(54, 4, 2), Cell(54, 3, 6), Cell(65, 4, 2)


@pytest.fixture
def tables() -> Iterator[None]:
    """Give a test tables that it may break."""
    modules = {maps: ("MAPS",), people: ("PEOPLE", "SIGNS"), scripts: ("SCRIPTS",), texts: ("TEXTS",)}
    kept = [(module, name, getattr(module, name)) for module, names in modules.items() for name in names]
    for module, name, value in kept:
        setattr(module, name, deepcopy(value))
    yield
    for module, name, value in kept:
        setattr(module, name, value)


def game_map(number: int) -> dict[str, Any]:
    """Table of one map."""
    return next(entry for entry in maps.MAPS if entry["id"] == number)


def replace_letter(number: int, x: int, y: int, letter: str) -> None:
    """Change one cell of a map."""
    rows = game_map(number)["cells"].strip("\n").split("\n")
    rows[y] = rows[y][:x] + letter + rows[y][x + 1 :]
    game_map(number)["cells"] = "\n".join(rows)


def wall_in_the_door_of_the_wood() -> None:
    replace_letter(51, 9, 16, "#")


def door_without_a_way_back() -> None:
    game_map(39)["warps"] = [(2, 5, 1, 1), (3, 5, 0, 1)]


def edge_that_does_not_fit() -> None:
    game_map(0)["connections"] = [("up", 12, -1)]
    game_map(12)["connections"] = [("down", 0, 1), ("up", 1, 3)]


def map_larger_than_in_the_ram_map() -> None:
    game_map(38)["cells"] = "\n".join(row + ".." for row in game_map(38)["cells"].strip("\n").split("\n"))


def person_in_a_wall() -> None:
    people.PEOPLE[37][0]["at"] = (0, 0)


def sign_that_can_be_walked_on() -> None:
    people.SIGNS[0].append((3, 6, "Here?"))


def word_longer_than_a_line() -> None:
    texts.TEXTS["MOTHER"] = "Incomprehensibilities!"


def event_without_a_name() -> None:
    scripts.SCRIPTS["mother"].insert(0, ("SET_EVENT", "SOMETHING_NEW"))


def jump_to_nowhere() -> None:
    scripts.SCRIPTS["guard"][1] = ("IF_NO_EVENT", "GOT_POKEDEX", "nowhere")


def too_many_pictures() -> None:
    kinds = ("NURSE", "CLERK", "GUARD", "HIKER")
    for x, picture in enumerate(kinds, 1):
        people.PEOPLE[0].append({"kind": "talk", "at": (x, 5), "picture": picture, "text": "Hello!"})


def trainer_who_walks_into_the_only_way() -> None:
    pupil = next(entry for entry in people.PEOPLE[65] if entry.get("trainer") == "TIDE_PUPIL_B")
    pupil["sight"] = 5


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (wall_in_the_door_of_the_wood, "a blackout would end where nobody can walk"),
        (door_without_a_way_back, "is not answered by map 39"),
        (edge_that_does_not_fit, "edge"),
        (map_larger_than_in_the_ram_map, "map 38: larger than 8x8"),
        (person_in_a_wall, r"map 37: a person cannot stand at \(0, 0\)"),
        (sign_that_can_be_walked_on, "map 0: a sign needs a solid cell"),
        (word_longer_than_a_line, "longer than a line"),
        (event_without_a_name, "event 'SOMETHING_NEW'"),
        (jump_to_nowhere, "no label 'nowhere'"),
        (trainer_who_walks_into_the_only_way, r"map 65: the trainer at \(3, 5\) closes the way"),
        (too_many_pictures, "map 0: its people's pictures need"),
    ],
)
def test_generator_refuses_broken_tables(
    tables: None, tmp_path: Path, damage: Callable[[], None], message: str
) -> None:
    damage()
    with pytest.raises(DataError, match=message):
        generate.generate(tmp_path, None)


def test_two_runs_write_the_same_files(tmp_path: Path) -> None:
    for name in ("first", "second"):
        generate.generate(tmp_path / name, tmp_path / f"{name}.json")
    first = {path.name: path.read_bytes() for path in (tmp_path / "first").iterdir()}
    second = {path.name: path.read_bytes() for path in (tmp_path / "second").iterdir()}
    assert first == second
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()


def test_shipped_tables_are_those_of_the_cartridge() -> None:
    shipped = resources.files("daddy_puffer").joinpath("data/practice_world.json").read_text(encoding="utf-8")
    made = export_world.export_world(compile_world.compile_world())
    assert json.loads(shipped) == json.loads(made), "run `make cartridge`"


def test_texts_fit_the_box() -> None:
    compiled = compile_world.compile_world()
    for text in compiled.texts:
        for page in text.split("\f"):
            lines = page.split("\n")
            assert 1 <= len(lines) <= 2
            assert all(1 <= len(line) <= 18 for line in lines), text


def test_wrapping_keeps_every_word() -> None:
    assert compile_world.wrap("one two three four five six seven eight|nine") == (
        "one two three four\nfive six seven\feight\fnine"
    )


def test_story_events_have_the_numbers_of_the_ram_map() -> None:
    story = {name: index for name, index in events.EVENTS.items() if not name.startswith("HIDDEN_")}
    known = event_index()
    assert {name: known.get(f"EVENT_{name}") for name in story} == story


def player_distances(world: World, start: Cell) -> dict[Cell, int]:
    """Steps from `start` over the graph of envs/world.py, standing people in the way."""
    movement = json.loads(
        resources.files("daddy_puffer").joinpath("data/practice_world.json").read_text(encoding="utf-8")
    )["maps"]
    blocked = {
        Cell(int(number), person["x"], person["y"])
        for number, table in movement.items()
        for person in table["people"]
        if person["range"] == 0
    }
    distance, frontier = {start: 0}, [start]
    while frontier:
        reached = []
        for cell in frontier:
            for action in (Action.DOWN, Action.LEFT, Action.RIGHT, Action.UP):
                after = world.destination(cell, action)
                if after is not None and after not in distance and after not in blocked:
                    distance[after] = distance[cell] + 1
                    reached.append(after)
        frontier = reached
    return distance


def test_players_graph_agrees_with_the_generators() -> None:
    ours = player_distances(World.load(), HOME)
    theirs = check_world.reach(compile_world.compile_world(), tuple(HOME))
    assert {tuple(cell): steps for cell, steps in ours.items()} == theirs


def test_first_leader_is_110_to_160_steps_away() -> None:
    distance = player_distances(World.load(), HOME)
    in_front = Cell(LEADER_1.map, LEADER_1.x, LEADER_1.y + 1)
    assert 110 <= distance[in_front] <= 160


def test_pupil_of_the_first_gym_cannot_be_avoided() -> None:
    world = compile_world.compile_world()
    gym = next(entry for entry in world.maps if entry.id == LEADER_1.map)
    pupil = next(person for person in gym.people if (person.x, person.y) == (PUPIL_1.x, PUPIL_1.y))
    right = compile_world.enums("DIR_")["RIGHT"]
    assert pupil.facing == right
    seen = {(gym.id, pupil.x + step, pupil.y) for step in range(1, pupil.sight + 1)}
    by_id = {entry.id: entry for entry in world.maps}
    standing = {(gym.id, person.x, person.y) for person in gym.people}
    reached, frontier = {(54, 4, 12)}, [(54, 4, 12)]
    while frontier:
        place = frontier.pop()
        for after in check_world.steps(gym, place[1], place[2], by_id, seen | standing):
            if after not in reached:
                reached.add(after)
                frontier.append(after)
    assert (54, LEADER_1.x, LEADER_1.y + 1) not in reached


def test_tree_closes_the_road_to_the_second_gym() -> None:
    world = compile_world.compile_world()
    tree = compile_world.enums("MT_")["TREE"]
    trees = {
        (entry.id, x, y)
        for entry in world.maps
        for y, row in enumerate(entry.attributes)
        for x, attribute in enumerate(row)
        if attribute == tree
    }
    solid = compile_world.enums("MT_")["SOLID"]
    for number, x, y in trees:
        entry = next(entry for entry in world.maps if entry.id == number)
        entry.attributes[y][x] = solid
    reached = check_world.reach(world, tuple(HOME))
    assert not any(place[0] == LEADER_2.map for place in reached)
    assert any(place[0] == 14 for place in reached)
