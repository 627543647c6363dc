"""Maps by id: name, kind, size, and where they lie on one picture of the world.

Kinds follow the id ranges of pret/pokered's map constants: 0-10 towns and cities, 12-36 routes, the rest indoors;
dungeons are the caves, towers, hideouts and forests among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache

from daddy_puffer.game import facts

WORLD_HEIGHT, WORLD_WIDTH, WORLD_PADDING = 484, 476, 20  # cells of upstream's explore map, 20 of padding each side
_DUNGEON_WORDS = (
    "FOREST", "MT_MOON", "TUNNEL", "CAVE", "TOWER", "HIDEOUT", "SILPH", "MANSION", "SEAFOAM", "VICTORY_ROAD", "SAFARI",
    "POWER_PLANT", "UNDERGROUND",
)  # fmt: skip
_NOT_A_DUNGEON = ("POKECENTER", "GATE", "HOUSE", "REST_HOUSE")


class MapKind(IntEnum):
    """What sort of place a map is."""

    INDOORS = 0
    CITY = 1
    ROUTE = 2
    DUNGEON = 3


@dataclass(frozen=True, slots=True)
class MapFact:
    """One map; `x`, `y`: its top left cell on the world picture without padding."""

    id: int
    name: str
    kind: MapKind
    x: int
    y: int
    width: int
    height: int


@cache
def all_maps() -> dict[int, MapFact]:
    """Every map that has a place in the world, by id."""
    found = {}
    for row in facts.rows("maps"):
        map_id = int(row["id"])
        place = [int(row[key]) for key in ("global_x", "global_y", "width", "height")]
        found[map_id] = MapFact(map_id, row["name"], _kind(map_id, row["name"]), *place)
    return found


def map_name(map_id: int) -> str:
    """`PEWTER_CITY` as `PewterCity`; `Map200` when the id has no place in the world."""
    fact = all_maps().get(map_id)
    return "".join(word.capitalize() for word in fact.name.split("_")) if fact else f"Map{map_id}"


def world_cell(map_id: int, x: int, y: int) -> tuple[int, int]:
    """(row, column) in the padded world picture; an unknown or overrun map goes to the middle, as upstream does."""
    fact = all_maps().get(map_id)
    if fact is None or x >= fact.width or y >= fact.height:
        return WORLD_HEIGHT // 2, WORLD_WIDTH // 2
    return fact.y + y + WORLD_PADDING, fact.x + x + WORLD_PADDING


def _kind(map_id: int, name: str) -> MapKind:
    if map_id <= 0x0A:
        return MapKind.CITY
    if 0x0C <= map_id <= 0x24:
        return MapKind.ROUTE
    dungeon = any(word in name for word in _DUNGEON_WORDS) and not any(word in name for word in _NOT_A_DUNGEON)
    return MapKind.DUNGEON if dungeon else MapKind.INDOORS
