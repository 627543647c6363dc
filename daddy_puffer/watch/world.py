"""Where the maps lie on the page: one picture of the world, for the practice cartridge or for any other ROM.

In: the cartridge's world, or the table of places. Out: plain dicts for JSON. Knows no run.

Of another game only places and sizes are known: plain rectangles.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from daddy_puffer.envs.world import World
from daddy_puffer.game.maps import all_maps
from daddy_puffer.report import world as pictures
from daddy_puffer.report.layout import Corner


@cache
def practice_world() -> dict[str, Any]:
    """The cartridge's maps with their cells, and a line for every door."""
    world, picture = World.load(), pictures.practice_world()
    maps = [{**_map(place), "cells": list(world.maps[place.map_id].attributes)} for place in picture.places.values()]
    return {"maps": maps, "doors": _doors(world, {key: (place.x, place.y) for key, place in picture.places.items()})}


@cache
def other_world() -> dict[str, Any]:
    """Every map that has a place in the world, without what is on it."""
    return {"maps": [_map(place) for place in pictures.red_world().places.values()], "doors": []}


def _map(place: pictures.Place) -> dict[str, Any]:
    facts = all_maps()
    return {
        "id": place.map_id,
        "name": place.name,
        "kind": facts[place.map_id].kind.name.lower() if place.map_id in facts else "indoors",
        "x": place.x,
        "y": place.y,
        "width": place.width,
        "height": place.height,
    }


def _doors(world: World, corners: dict[int, Corner]) -> list[list[int]]:
    """[x, y, x, y] of both ends of every pair of doors, once."""
    lines = set()
    for game_map in world.maps.values():
        for x, y, target, index in game_map.warps:
            other = world.maps[target].warps[index]
            ends = (
                (corners[game_map.id][0] + x, corners[game_map.id][1] + y),
                (corners[target][0] + other[0], corners[target][1] + other[1]),
            )
            lines.add(tuple(sorted(ends)))
    return [[*a, *b] for a, b in sorted(lines)]
