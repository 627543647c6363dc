"""Checks of the world's tables that the C compiler cannot do.

In: the tables and the compiled `World`. Out: nothing, or `DataError` with one line that names the wrong entry. A map
must fit in the rectangle that its id has in the RAM map; doors must pair up; everything must be reachable on foot.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise, takewhile

from art import DataError
from compile_world import GameMap, Person, World, enums, species_ids
from data import creatures, events, maps, people, sprites, tilesets

MAX_PEOPLE, MAX_SIGNS, MAX_WARPS, MAX_HIDDEN, MAX_TRIGGERS = (12, 32, 40, 16, 32)  # as src/engine.h
PICTURE_TILES = 124
HIDDEN_EVENTS = 0xA00
ENCOUNTER_SLOTS = 10
FORBIDDEN_PICTURES = (0x3F, 0x43)

Place = tuple[int, int, int]


def need(condition: bool, message: str) -> None:
    """Stop with `message` unless `condition` holds."""
    if not condition:
        raise DataError(message)


def check_tables() -> None:
    """What can be seen without compiling."""
    pictures = [row[0] for row in (*sprites.PEOPLE.values(), *sprites.THINGS.values())]
    need(len(set(pictures)) == len(pictures), "sprites.py: a picture id is used twice")
    need(not set(pictures) & set(FORBIDDEN_PICTURES), "sprites.py: picture ids 0x3F and 0x43 are taken")
    ids = [table["id"] for table in maps.MAPS]
    need(len(set(ids)) == len(ids), "maps.py: a map id is used twice")
    for table in (people.PEOPLE, people.SIGNS, people.HIDDEN, people.TRIGGERS, creatures.WILD):
        for number in table:
            need(number in ids, f"map {number} is mentioned but not in maps.py")
    for name, index in events.EVENTS.items():
        limit = HIDDEN_EVENTS + 112
        need(0 <= index < limit and (index >= HIDDEN_EVENTS) == name.startswith("HIDDEN_"), f"event {name}: {index:#x}")
    for name, bit in events.MISSABLES.items():
        need(0 <= bit < 228, f"missable {name}: bit {bit} has no name in the RAM map")
    for name, legend in tilesets.TILESETS.items():
        letters = [letter for letter, _, _ in legend]
        need(len(set(letters)) == len(letters), f"tileset {name}: a letter is used twice")
        for _, drawing, attribute in legend:
            need(drawing in tilesets.ART and attribute in enums("MT_"), f"tileset {name}: {drawing} {attribute}")


def walkable(game_map: GameMap, x: int, y: int) -> bool:
    """A figure may stand here (a tree counts: it can be cut)."""
    kinds = enums("MT_")
    stand = {kinds[name] for name in ("WALK", "GRASS", "DOOR", "TREE")}
    return 0 <= x < game_map.width and 0 <= y < game_map.height and game_map.attributes[y][x] in stand


def check_map(game_map: GameMap, by_id: dict[int, GameMap]) -> None:
    """Bounds, counts, doors and edges of one map."""
    where = f"map {game_map.id}"
    width, height = maps.REAL_SIZES.get(game_map.id, (0, 0))
    need(game_map.width <= width and game_map.height <= height, f"{where}: larger than {width}x{height}")
    counts = (len(game_map.people), len(game_map.signs), len(game_map.warps), len(game_map.hidden))
    limits = (MAX_PEOPLE, MAX_SIGNS, MAX_WARPS, MAX_HIDDEN, MAX_TRIGGERS)
    for count, limit in zip((*counts, len(game_map.triggers)), limits, strict=True):
        need(count <= limit, f"{where}: {count} entries, at most {limit}")
    sizes = {row[0]: 24 for row in sprites.PEOPLE.values()} | {row[0]: 4 for row in sprites.THINGS.values()}
    used = {person.picture for person in game_map.people} | {sprites.PEOPLE["PLAYER"][0]}
    tiles = sum(sizes[picture] for picture in used)
    need(tiles <= PICTURE_TILES, f"{where}: its people's pictures need {tiles} tiles, at most {PICTURE_TILES}")
    need(len(game_map.encounters) in (0, ENCOUNTER_SLOTS), f"{where}: {len(game_map.encounters)} encounters, not 10")
    check_warps(game_map, by_id)
    for way, to, by in game_map.connections:
        check_connection(game_map, way, to, by, by_id)
    check_cells(game_map)


def check_warps(game_map: GameMap, by_id: dict[int, GameMap]) -> None:
    """Doors lie on door cells and lead to a door that leads back."""
    doors = {(x, y) for x, y, _, _ in game_map.warps}
    for y, row in enumerate(game_map.attributes):
        for x, attribute in enumerate(row):
            is_door = attribute == enums("MT_")["DOOR"]
            need(is_door == ((x, y) in doors), f"map {game_map.id}: door picture and warp differ at ({x}, {y})")
    for x, y, to, index in game_map.warps:
        need(to in by_id and index < len(by_id[to].warps), f"map {game_map.id}: warp ({x}, {y}) leads nowhere")
        target = by_id[to].warps[index]
        need(target[2] == game_map.id, f"map {game_map.id}: warp ({x}, {y}) is not answered by map {to}")


def check_connection(game_map: GameMap, way: int, to: int, by: int, by_id: dict[int, GameMap]) -> None:
    """An edge is answered by the other map's edge with the opposite offset; open cells meet open cells."""
    facing = enums("DIR_")
    opposite = {facing["UP"]: facing["DOWN"], facing["DOWN"]: facing["UP"]}
    opposite |= {facing["LEFT"]: facing["RIGHT"], facing["RIGHT"]: facing["LEFT"]}
    need(to in by_id and (opposite[way], game_map.id, -by) in by_id[to].connections, f"map {game_map.id}: edge to {to}")
    other = by_id[to]
    upright = way in (facing["UP"], facing["DOWN"])
    crossings = 0
    for along in range(game_map.width if upright else game_map.height):
        here = {
            facing["UP"]: (along, 0),
            facing["DOWN"]: (along, game_map.height - 1),
            facing["LEFT"]: (0, along),
            facing["RIGHT"]: (game_map.width - 1, along),
        }[way]
        there = {
            facing["UP"]: (along + by, other.height - 1),
            facing["DOWN"]: (along + by, 0),
            facing["LEFT"]: (other.width - 1, along + by),
            facing["RIGHT"]: (0, along + by),
        }[way]
        open_here, open_there = walkable(game_map, *here), walkable(other, *there)
        need(open_here == open_there, f"map {game_map.id}: its edge at {here} does not fit map {to} at {there}")
        crossings += open_here
    need(crossings > 0, f"map {game_map.id}: nothing is open at the edge to map {to}")


def check_cells(game_map: GameMap) -> None:
    """People stand on free floor, signs on solid cells, hidden things and triggers where one can walk."""
    where = f"map {game_map.id}"
    taken: set[tuple[int, int]] = {(x, y) for x, y, _, _ in game_map.warps}
    for person in game_map.people:
        place = (person.x, person.y)
        need(walkable(game_map, *place) and place not in taken, f"{where}: a person cannot stand at {place}")
        taken.add(place)
        need(person.beaten_event < HIDDEN_EVENTS or person.beaten_event == 0xFFFF, f"{where}: event of {place}")
    for x, y, _ in game_map.signs:
        inside = 0 <= x < game_map.width and 0 <= y < game_map.height
        need(inside and not walkable(game_map, x, y), f"{where}: a sign needs a solid cell at ({x}, {y})")
    for x, y, item, event in game_map.hidden:
        need(walkable(game_map, x, y) and event >= HIDDEN_EVENTS and item > 0, f"{where}: hidden thing ({x}, {y})")
    for x, y, _ in game_map.triggers:
        need(walkable(game_map, x, y), f"{where}: nobody can step on the trigger at ({x}, {y})")


def steps(game_map: GameMap, x: int, y: int, by_id: dict[int, GameMap], blocked: set[Place]) -> list[Place]:
    """Places one step from (x, y) leads to, on foot and with every tree cut."""
    kinds, facing = enums("MT_"), enums("DIR_")
    found: list[Place] = []
    for name, dx, dy in (("DOWN", 0, 1), ("UP", 0, -1), ("LEFT", -1, 0), ("RIGHT", 1, 0)):
        to_x, to_y = x + dx, y + dy
        if not (0 <= to_x < game_map.width and 0 <= to_y < game_map.height):
            for way, to, by in game_map.connections:
                if way == facing[name]:
                    other = by_id[to]
                    place = (x + by, {"UP": other.height - 1, "DOWN": 0}.get(name, 0))
                    if name in ("LEFT", "RIGHT"):
                        place = ({"LEFT": other.width - 1, "RIGHT": 0}[name], y + by)
                    if walkable(other, *place):
                        found.append((to, *place))
            continue
        if game_map.attributes[to_y][to_x] == kinds.get(f"LEDGE_{name}"):
            to_x, to_y = to_x + dx, to_y + dy
        if walkable(game_map, to_x, to_y):
            door = next((warp for warp in game_map.warps if warp[:2] == (to_x, to_y)), None)
            place3 = (door[2], *by_id[door[2]].warps[door[3]][:2]) if door else (game_map.id, to_x, to_y)
            found.append(place3)
    return [place for place in found if place not in blocked]


def standing(world: World) -> set[Place]:
    """Places that people who stay put take up."""
    return {(entry.id, person.x, person.y) for entry in world.maps for person in entry.people if person.range == 0}


def reach(world: World, start: Place, blocked: set[Place] | None = None) -> dict[Place, int]:
    """Steps from `start` to every place, around `blocked` (None: standing people), with every tree cut."""
    by_id = {entry.id: entry for entry in world.maps}
    blocked = standing(world) if blocked is None else blocked
    distance = {start: 0}
    queue = deque([start])
    while queue:
        place = queue.popleft()
        for after in steps(by_id[place[0]], place[1], place[2], by_id, blocked):
            if after not in distance:
                distance[after] = distance[place] + 1
                queue.append(after)
    return distance


def beside(game_map: GameMap, person: Person) -> list[Place]:
    """Places from which one can talk to somebody: next to them, or across a counter."""
    counter = enums("MT_")["COUNTER"]
    found = []
    for dx, dy in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        x, y = person.x + dx, person.y + dy
        if 0 <= x < game_map.width and 0 <= y < game_map.height and game_map.attributes[y][x] == counter:
            x, y = x + dx, y + dy
        found.append((game_map.id, x, y))
    return found


def line_of_sight(game_map: GameMap, person: Person) -> list[Place]:
    """Cells on which a trainer sees the player, the nearest first."""
    dx, dy = {0: (0, 1), 4: (0, -1), 8: (-1, 0), 12: (1, 0)}[person.facing]
    cells = [(person.x + dx * step, person.y + dy * step) for step in range(1, person.sight + 1)]
    free = list(takewhile(lambda cell: walkable(game_map, *cell), cells))
    return [(game_map.id, x, y) for x, y in free]


def check_trainer(world: World, game_map: GameMap, person: Person, start: Place) -> None:
    """A trainer who walked up to the player stays there: that must not close the way to anybody else.

    Only cells on which the player can be seen first count: those with a way from `start` that no other cell of the
    line of sight lies on.
    """
    by_id = {entry.id: entry for entry in world.maps}
    seen = line_of_sight(game_map, person)
    home: Place = (game_map.id, person.x, person.y)
    unseen = reach(world, start, standing(world) | set(seen))
    first = {after for place in unseen for after in steps(by_id[place[0]], place[1], place[2], by_id, set())}
    for stop, cell in pairwise([home, *seen]):
        if cell in first:
            reached = reach(world, cell, standing(world) - {home} | {stop})
            others = [(entry, other) for entry in world.maps for other in entry.people if other is not person]
            lost = [entry.id for entry, other in others if not any(near in reached for near in beside(entry, other))]
            need(not lost, f"map {game_map.id}: the trainer at {home[1:]} closes the way to people of maps {lost}")


def check_world(world: World) -> None:
    """Every check that needs all maps."""
    by_id = {entry.id: entry for entry in world.maps}
    for game_map in world.maps:
        check_map(game_map, by_id)
    start = (maps.START_MAP, *maps.START_AT)
    towns = [(number, x, y) for number, (x, y) in maps.TOWNS.items()]
    reached = reach(world, start)
    need(all(town in reached for town in towns), "a blackout would end where nobody can walk")
    for town in towns:
        lost = set(reached) - set(reach(world, town))
        need(not lost, f"from town {town} one cannot walk back to {sorted(lost)[:1]}")
    for game_map in world.maps:
        need(any(place[0] == game_map.id for place in reached), f"map {game_map.id} cannot be reached")
        for person in game_map.people:
            near = any(place in reached for place in beside(game_map, person))
            need(near, f"map {game_map.id}: nobody can talk to the person at ({person.x}, {person.y})")
            if person.sight:
                check_trainer(world, game_map, person, start)
        for x, y, *_ in game_map.hidden:
            need((game_map.id, x, y) in reached, f"map {game_map.id}: hidden thing at ({x}, {y}) is out of reach")
    need(len(set(species_ids().values())) == len(species_ids()), "creatures.py: a species id is used twice")
