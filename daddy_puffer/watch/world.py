"""Where the maps lie on the page: one picture of the world, for the practice cartridge or for any other ROM.

In: the cartridge's world, or the table of places. Out: plain dicts for JSON. Knows no run.

Of another game only places and sizes are known: plain rectangles.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from daddy_puffer.envs.world import World
from daddy_puffer.game.maps import MapKind, all_maps, map_name
from daddy_puffer.report.layout import Corner, place_maps


@cache
def practice_world() -> dict[str, Any]:
    """The cartridge's maps with their cells, and a line for every door."""
    world = World.load()
    corners = place_maps(world)
    facts = all_maps()
    maps = [
        {
            "id": game_map.id,
            "name": game_map.name,
            "kind": facts[game_map.id].kind.name.lower() if game_map.id in facts else "indoors",
            "x": corners[game_map.id][0],
            "y": corners[game_map.id][1],
            "width": game_map.width,
            "height": game_map.height,
            "cells": list(game_map.attributes),
        }
        for game_map in world.maps.values()
    ]
    return {"maps": maps, "doors": _doors(world, corners)}


@cache
def other_world() -> dict[str, Any]:
    """Every map that has a place in the world, without what is on it."""
    maps = [
        {
            "id": fact.id,
            "name": map_name(fact.id),
            "kind": MapKind(fact.kind).name.lower(),
            "x": fact.x,
            "y": fact.y,
            "width": fact.width,
            "height": fact.height,
        }
        for fact in all_maps().values()
    ]
    return {"maps": maps, "doors": []}


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
