"""The world as a picture: where each map lies on it, and how often a run was there.

In: the practice cartridge's tables, or the table of map sizes for another ROM. Out: `WorldPicture`, counts by cell.
Only sizes, places and names are drawn, nothing out of a game. Knows no figure.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from daddy_puffer.game.maps import MapKind, all_maps, map_name
from daddy_puffer.report.runs import Steps
from daddy_puffer.types import Array

GAP = 2  # cells between maps that do not touch
LABEL_ROWS = 2  # cells above an indoor map for its name
_DOWN, _UP, _LEFT, _RIGHT = 0, 4, 8, 12  # facing codes in the tables' connections
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
    """Maps that touch lie as they touch, the others in shelves beside them."""
    text = resources.files("daddy_puffer").joinpath("data/practice_world.json").read_text(encoding="utf-8")
    tables = {int(key): table for key, table in json.loads(text)["maps"].items()}
    corners: dict[int, tuple[int, int]] = {}
    right, bottom, last = 0, 0, 0
    outdoors = [map_id for map_id, table in tables.items() if table["connections"]]
    for map_id in outdoors:
        if map_id in corners:
            continue
        part = _touching(tables, map_id)
        left, top = min(x for x, _ in part.values()), min(y for _, y in part.values())
        corners.update({key: (x - left + right, y - top) for key, (x, y) in part.items()})
        last = right
        right = max(corners[key][0] + tables[key]["width"] for key in part) + GAP
        bottom = max(bottom, *(corners[key][1] + tables[key]["height"] for key in part))
    below = max(corners[key][1] + tables[key]["height"] for key in outdoors if corners[key][0] >= last) + GAP
    inside = [map_id for map_id in tables if map_id not in corners]
    corners.update(_shelves([(key, tables[key]["width"], tables[key]["height"]) for key in inside], last, below, 56))
    places = {key: _practice_place(key, tables[key], corners[key]) for key in tables}
    return _picture(places)


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


def _touching(tables: Mapping[int, Mapping[str, Any]], start: int) -> dict[int, tuple[int, int]]:
    """Corners of all maps that hang together with `start`, which lies at (0, 0)."""
    corners = {start: (0, 0)}
    queue = deque([start])
    while queue:
        map_id = queue.popleft()
        x, y = corners[map_id]
        table = tables[map_id]
        for facing, target, offset in table["connections"]:
            if target in corners:
                continue
            other = tables[target]
            corners[target] = {
                _DOWN: (x - offset, y + table["height"]),
                _UP: (x - offset, y - other["height"]),
                _LEFT: (x - other["width"], y - offset),
                _RIGHT: (x + table["width"], y - offset),
            }[facing]
            queue.append(target)
    return corners


def _shelves(
    sizes: Sequence[tuple[int, int, int]], left: int, top: int, width: int
) -> Iterable[tuple[int, tuple[int, int]]]:
    """(id, width, height) packed in rows of at most `width` cells from (left, top), the highest first."""
    x, y, tallest = 0, top, 0
    for map_id, map_width, map_height in sorted(sizes, key=lambda size: (-size[2], size[0])):
        if x and x + map_width > width:
            x, y, tallest = 0, y + tallest + GAP + LABEL_ROWS, 0
        yield map_id, (left + x, y + LABEL_ROWS)
        x, tallest = x + map_width + GAP, max(tallest, map_height)


def _practice_place(map_id: int, table: Mapping[str, Any], corner: tuple[int, int]) -> Place:
    ground = np.array([[int(digit, 16) for digit in row] for row in table["attributes"]], np.uint8)
    return Place(
        map_id=map_id,
        name=table["name"],
        x=corner[0],
        y=corner[1],
        width=table["width"],
        height=table["height"],
        outdoors=bool(table["connections"]),
        ground=ground,
    )


def _picture(places: Mapping[int, Place]) -> WorldPicture:
    return WorldPicture(
        places=places,
        width=max(place.x + place.width for place in places.values()),
        height=max(place.y + place.height for place in places.values()),
    )
