"""The world as a picture: where each map lies on it, and how often a run was there.

In: the practice cartridge's tables, or the table of map sizes for another ROM. Out: `WorldPicture`, counts by cell.
Only sizes, places and names are drawn, nothing out of a game. Knows no figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from daddy_puffer.envs.world import GameMap, World
from daddy_puffer.game.maps import MapKind, all_maps, map_name
from daddy_puffer.report.layout import Corner, place_maps
from daddy_puffer.report.runs import Steps
from daddy_puffer.types import Array

GROUND = (
    "#f4f2ec", "#cfd2d6", "#e3ecd9", "#d9d4c7", "#d9d4c7", "#d9d4c7", "#b9a98c", "#b8c9ae", "#d3e4ef", "#c4bdb0",
)  # colours by attribute: walk, solid, grass, three ledges, door, tree, water, counter  # fmt: skip
_SOLID = 1  # a cell's attribute (cartridge/src/format.h)
_GRASS, _TREE, _WATER = 2, 7, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One map on the picture: its top left cell and its size, in cells."""

    map_id: int
    name: str
    x: int
    y: int
    width: int
    height: int
    outdoors: bool
    ground: Array  # u8 [height, width]: attribute of each cell as in the tables, 0 where nothing is known


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldPicture:
    """All maps on one sheet of `width` by `height` cells."""

    places: Mapping[int, Place]  # by map id
    width: int
    height: int

    def name(self, map_id: int) -> str:
        """What to call a map."""
        return self.places[map_id].name if map_id in self.places else map_name(map_id)


def world_picture(is_practice: bool) -> WorldPicture:
    """That of the practice cartridge, or of pokered's maps."""
    return practice_world() if is_practice else red_world()


@cache
def practice_world() -> WorldPicture:
    """Maps that touch lie as they touch, rooms beside their doors."""
    world = World.load()
    corners = place_maps(world)
    return _picture({game_map.id: _practice_place(game_map, corners[game_map.id]) for game_map in world.maps.values()})


@cache
def red_world() -> WorldPicture:
    """Rectangles at the places that upstream's explore map gives them."""
    places = {
        fact.id: Place(
            map_id=fact.id,
            name=map_name(fact.id),
            x=fact.x,
            y=fact.y,
            width=fact.width,
            height=fact.height,
            outdoors=fact.kind in (MapKind.CITY, MapKind.ROUTE),
            ground=np.zeros((fact.height, fact.width), np.uint8),
        )
        for fact in all_maps().values()
    }
    return _picture(places)


def visits(steps: Steps, picture: WorldPicture, chosen: Array) -> Array:
    """F64 [height, width]: samples by cell among the `chosen` (bool [N]); NaN off the maps and on solid ground.

    A sample without a position is spread evenly over the open cells of its map.
    """
    counts = np.full((picture.height, picture.width), np.nan)
    ids, xs, ys = steps.map_id[chosen], steps.x[chosen], steps.y[chosen]
    for place in picture.places.values():
        here = ids == place.map_id
        view = counts[place.y : place.y + place.height, place.x : place.x + place.width]
        is_open = ~np.isin(place.ground, (_SOLID, _WATER, _TREE))
        view[is_open] = np.nan_to_num(view[is_open])
        known = here & (xs >= 0) & (xs < place.width) & (ys >= 0) & (ys < place.height)
        hits = np.zeros(view.shape)
        np.add.at(hits, (ys[known], xs[known]), 1.0)
        rest = int(here.sum() - known.sum())
        hits[is_open] += rest / max(int(is_open.sum()), 1)
        view[:] = np.where(np.isnan(view) & (hits == 0), np.nan, np.nan_to_num(view) + hits)
    return counts


def map_order(steps: Steps) -> list[int]:
    """Ids of the maps seen, by the first time."""
    ids, first = np.unique(steps.map_id, return_index=True)
    return [int(ids[index]) for index in np.argsort(first)]


def _practice_place(game_map: GameMap, corner: Corner) -> Place:
    return Place(
        map_id=game_map.id,
        name=game_map.name,
        x=corner[0],
        y=corner[1],
        width=game_map.width,
        height=game_map.height,
        outdoors=bool(game_map.connections),
        ground=np.array([[int(digit, 16) for digit in row] for row in game_map.attributes], np.uint8),
    )


def _picture(places: Mapping[int, Place]) -> WorldPicture:
    return WorldPicture(
        places=places,
        width=max(place.x + place.width for place in places.values()),
        height=max(place.y + place.height for place in places.values()),
    )
