"""The practice cartridge's map tables as a graph that a player can be led through.

In: `data/practice_world.json`, written by the cartridge's generator. Out: `World`: cells, doors, people, and for every
cell and direction the cell one arrives at. Knows the cartridge's world only, no emulator, no RAM.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from importlib import resources
from typing import Any, NamedTuple

from daddy_puffer.types import Action


class Attribute(IntEnum):
    """What a cell is (`MT_*` of the cartridge's `format.h`)."""

    WALK = 0
    SOLID = 1
    GRASS = 2
    LEDGE_DOWN = 3
    LEDGE_LEFT = 4
    LEDGE_RIGHT = 5
    DOOR = 6
    TREE = 7
    WATER = 8
    COUNTER = 9


class Cell(NamedTuple):
    """A place: map id, column, row."""

    map: int
    x: int
    y: int


WALKABLE = frozenset({Attribute.WALK, Attribute.GRASS, Attribute.DOOR, Attribute.TREE})
GRASS_COST = 3  # steps a chance of a wild battle is worth
STEPS: dict[Action, tuple[int, int]] = {
    Action.DOWN: (0, 1),
    Action.LEFT: (-1, 0),
    Action.RIGHT: (1, 0),
    Action.UP: (0, -1),
}
FACING_ACTION: dict[int, Action] = {0: Action.DOWN, 4: Action.UP, 8: Action.LEFT, 12: Action.RIGHT}
LEDGE_ACTION = {
    Attribute.LEDGE_DOWN: Action.DOWN,
    Attribute.LEDGE_LEFT: Action.LEFT,
    Attribute.LEDGE_RIGHT: Action.RIGHT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody or something on a map; `slot` is the sprite slot in RAM (1-based)."""

    slot: int
    home: Cell
    missable: int  # bit that hides it when set; 255 = always there
    beaten_event: int  # 0xFFFF = not a trainer
    role: str
    item: int
    shop: int  # 255 = none
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GameMap:
    """One map of the cartridge."""

    id: int
    name: str
    width: int
    height: int
    attributes: tuple[str, ...]  # a row each, one hex digit a cell
    connections: tuple[tuple[int, int, int], ...]  # facing code, map, offset along the edge
    warps: tuple[tuple[int, int, int, int], ...]  # x, y, destination map, index of its warp
    people: tuple[Person, ...]

    def attribute(self, x: int, y: int) -> Attribute:
        """What lies at (x, y); SOLID outside."""
        if 0 <= x < self.width and 0 <= y < self.height:
            return Attribute(int(self.attributes[y][x], 16))
        return Attribute.SOLID


class World:
    """All maps, and the graph of steps between their cells."""

    def __init__(self, tables: Mapping[str, Any]) -> None:
        """`tables`: the parsed JSON."""
        self.maps = {int(key): _parse_map(int(key), value) for key, value in tables["maps"].items()}
        self.start = Cell(*tables["start"])
        self.moves = {int(key): tuple(value) for key, value in tables["moves"].items()}
        self.species = {int(key): tuple(value) for key, value in tables["species"].items()}
        self.cutters = frozenset(int(species) for species in tables["cutters"])
        self.shops = {int(key): tuple(value) for key, value in tables["shops"].items()}
        self.prices = {int(key): int(value) for key, value in tables["prices"].items()}
        self.effectiveness = {(attacker, defender): factor / 10 for attacker, defender, factor in tables["type_chart"]}

    @classmethod
    def load(cls) -> World:
        """The world of the cartridge in the package."""
        text = resources.files("daddy_puffer").joinpath("data/practice_world.json").read_text(encoding="utf-8")
        return cls(json.loads(text))

    def people(self) -> Iterator[Person]:
        """Everybody on every map."""
        for game_map in self.maps.values():
            yield from game_map.people

    def destination(self, cell: Cell, action: Action) -> Cell | None:
        """Where a step from `cell` ends: next cell, over a ledge, through a door or over an edge; None = blocked."""
        game_map = self.maps[cell.map]
        dx, dy = STEPS[action]
        x, y = cell.x + dx, cell.y + dy
        if not (0 <= x < game_map.width and 0 <= y < game_map.height):
            return self._across_edge(game_map, cell, action)
        attribute = game_map.attribute(x, y)
        if LEDGE_ACTION.get(attribute) == action:
            x, y = x + dx, y + dy
            return Cell(cell.map, x, y) if game_map.attribute(x, y) in WALKABLE else None
        if attribute not in WALKABLE:
            return None
        for warp_x, warp_y, target, index in game_map.warps:
            if (warp_x, warp_y) == (x, y):
                warp = self.maps[target].warps[index]
                return Cell(target, warp[0], warp[1])
        return Cell(cell.map, x, y)

    def _across_edge(self, game_map: GameMap, cell: Cell, action: Action) -> Cell | None:
        for facing, target, offset in game_map.connections:
            if FACING_ACTION[facing] is not action:
                continue
            other = self.maps[target]
            arrived = {
                Action.DOWN: Cell(target, cell.x + offset, 0),
                Action.UP: Cell(target, cell.x + offset, other.height - 1),
                Action.LEFT: Cell(target, other.width - 1, cell.y + offset),
                Action.RIGHT: Cell(target, 0, cell.y + offset),
            }[action]
            return arrived if other.attribute(arrived.x, arrived.y) in WALKABLE else None
        return None

    @cached_property
    def arrivals(self) -> dict[Cell, list[tuple[Cell, Action]]]:
        """For every cell the steps that end there."""
        found: dict[Cell, list[tuple[Cell, Action]]] = {}
        for game_map in self.maps.values():
            for y in range(game_map.height):
                for x in range(game_map.width):
                    cell = Cell(game_map.id, x, y)
                    if game_map.attribute(x, y) not in WALKABLE:
                        continue
                    for action in STEPS:
                        target = self.destination(cell, action)
                        if target is not None:
                            found.setdefault(target, []).append((cell, action))
        return found

    def distances(self, goals: Iterable[Cell], blocked: frozenset[Cell]) -> dict[Cell, int]:
        """Cost of the way to the nearest of `goals` from every cell that can reach one without entering `blocked`.

        A step costs 1, one into tall grass `GRASS_COST`. Ledges are one-way. A door is entered by its cell, so a
        person who stands in it blocks it.
        """
        distance: dict[Cell, int] = {}
        queue = [(0, goal) for goal in goals if goal not in blocked]
        heapq.heapify(queue)
        while queue:
            cost, cell = heapq.heappop(queue)
            if cell in distance:
                continue
            distance[cell] = cost
            cost += self.step_cost(cell)
            for before, _action in self.arrivals.get(cell, []):
                if before not in distance and before not in blocked:
                    heapq.heappush(queue, (cost, before))
        return distance

    def step_cost(self, cell: Cell) -> int:
        """What a step into `cell` costs."""
        return GRASS_COST if cell in self._grass else 1

    @cached_property
    def _grass(self) -> frozenset[Cell]:
        return frozenset(self.cells(Attribute.GRASS))

    def cells(self, attribute: Attribute) -> Iterator[Cell]:
        """All cells of a kind."""
        for game_map in self.maps.values():
            for y, row in enumerate(game_map.attributes):
                for x, digit in enumerate(row):
                    if int(digit, 16) == attribute:
                        yield Cell(game_map.id, x, y)


def _parse_map(map_id: int, table: Mapping[str, Any]) -> GameMap:
    people = tuple(
        Person(
            slot=index + 1,
            home=Cell(map_id, person["x"], person["y"]),
            missable=person["missable"],
            beaten_event=person["beaten_event"],
            role=person["role"],
            item=person["item"],
            shop=person["shop"],
            events=tuple(person["events"]),
        )
        for index, person in enumerate(table["people"])
    )
    return GameMap(
        id=map_id,
        name=table["name"],
        width=table["width"],
        height=table["height"],
        attributes=tuple(table["attributes"]),
        connections=tuple((c[0], c[1], c[2]) for c in table["connections"]),
        warps=tuple((w[0], w[1], w[2], w[3]) for w in table["warps"]),
        people=people,
    )
