"""Where the cartridge's maps lie on one sheet: rooms beside the doors that lead to them.

In: `World`. Out: a corner for every map. Knows no picture.

The cartridge says which maps lie side by side and where doors lead, so every group of maps joined at their edges is
put as near as it goes to the door that leads to it.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from daddy_puffer.envs.world import FACING_ACTION, GameMap, World
from daddy_puffer.types import Action, Array

MARGIN = 2  # free cells around a group of maps
_ROOM = 96  # cells around the first group in which the others find their places

Corner = tuple[int, int]


def place_maps(world: World) -> dict[int, Corner]:
    """Top left cell (x, y) of every map; no two overlap, the smallest x and y are 0."""
    first = next(game_map.id for game_map in world.maps.values() if game_map.connections)
    placed = _group(world, first)
    queue = deque(placed)
    while queue:
        inside = world.maps[queue.popleft()]
        for x, y, target, index in inside.warps:
            if target in placed:
                continue
            group = _group(world, target)
            door = world.maps[target].warps[index]
            wish = (placed[inside.id][0] + x - door[0], placed[inside.id][1] + y - door[1])  # one door on the other
            dx, dy = _nearest_free(world, placed, group, wish)
            placed.update({key: (corner[0] + dx, corner[1] + dy) for key, corner in group.items()})
            queue.extend(group)
    left, top = (min(corner[axis] for corner in placed.values()) for axis in (0, 1))
    return {key: (x - left, y - top) for key, (x, y) in placed.items()}


def _group(world: World, first: int) -> dict[int, Corner]:
    """The maps joined to `first` at their edges, `first` at (0, 0)."""
    found: dict[int, Corner] = {first: (0, 0)}
    queue = deque([first])
    while queue:
        here = world.maps[queue.popleft()]
        for facing, target, offset in here.connections:
            if target not in found:
                found[target] = _neighbour(here, found[here.id], world.maps[target], FACING_ACTION[facing], offset)
                queue.append(target)
    return found


def _neighbour(here: GameMap, corner: Corner, other: GameMap, side: Action, offset: int) -> Corner:
    """Crossing the edge at x (or y) arrives at x + offset of the other map (or y + offset)."""
    x, y = corner
    if side is Action.DOWN:
        return x - offset, y + here.height
    if side is Action.UP:
        return x - offset, y - other.height
    return (x - other.width if side is Action.LEFT else x + here.width), y - offset


def _nearest_free(world: World, placed: dict[int, Corner], group: dict[int, Corner], wish: Corner) -> Corner:
    """By how much to move `group` so that it lies as near to `wish` as it can without touching what is placed."""
    xs, ys = np.meshgrid(np.arange(-_ROOM, _ROOM + 1), np.arange(-_ROOM, _ROOM + 1))
    xs, ys = xs + wish[0], ys + wish[1]
    free: Array = np.ones(xs.shape, bool)
    for mine, (mx, my) in group.items():
        for other, (ox, oy) in placed.items():
            here, there = world.maps[mine], world.maps[other]
            beside = (xs + mx >= ox + there.width + MARGIN) | (xs + mx + here.width + MARGIN <= ox)
            above = (ys + my >= oy + there.height + MARGIN) | (ys + my + here.height + MARGIN <= oy)
            free &= beside | above
    far = np.hypot(xs - wish[0], ys - wish[1])
    far[~free] = np.inf
    row, column = np.unravel_index(int(np.argmin(far)), far.shape)
    return int(xs[row, column]), int(ys[row, column])
