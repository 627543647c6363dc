"""The world as JSON for programs that play the game (daddy_puffer/data/practice_world.json).

In: the compiled `World` and the battle tables. Out: text with sorted keys, the same for the same tables. `attributes`
has one hex digit (MT_* of src/format.h) a cell; people are in the order of their sprite slots.
"""

from __future__ import annotations

import json
from typing import Any

from compile_world import GameMap, World
from data import creatures, maps, moves, shops, trainers
from data import items as item_tables
from data import types as battle_types


def export_map(game_map: GameMap) -> dict[str, Any]:
    """One map."""
    people = [
        {
            "x": person.x,
            "y": person.y,
            "picture": person.picture,
            "facing": person.facing,
            "movement": person.movement,
            "range": person.range,
            "sight": person.sight,
            "missable": person.missable,
            "beaten_event": person.beaten_event,
            "role": person.role,
            "item": person.item,
            "shop": person.shop,
            "events": person.events,
        }
        for person in game_map.people
    ]
    return {
        "name": game_map.name,
        "tileset": game_map.tileset,
        "width": game_map.width,
        "height": game_map.height,
        "outdoor": game_map.outdoor,
        "attributes": ["".join(f"{attribute:x}" for attribute in row) for row in game_map.attributes],
        "border": game_map.border_attribute,
        "connections": [list(entry) for entry in game_map.connections],
        "warps": [list(entry) for entry in game_map.warps],
        "people": people,
        "signs": [[x, y] for x, y, _ in game_map.signs],
        "hidden": [list(entry) for entry in game_map.hidden],
        "triggers": [[x, y] for x, y, _ in game_map.triggers],
        "encounter_rate": game_map.encounter_rate,
    }


def export_world(world: World) -> str:
    """Everything, as JSON."""
    item_ids = {item.name: item.id for item in item_tables.ITEMS}
    kinds = battle_types.TYPES
    tables = {
        "start": [maps.START_MAP, *maps.START_AT],
        "towns": {str(number): list(at) for number, at in maps.TOWNS.items()},
        "maps": {str(game_map.id): export_map(game_map) for game_map in world.maps},
        "moves": {str(move.id): [kinds[move.type], move.power, move.accuracy] for move in moves.MOVES},
        "species": {str(entry.id): [kinds[name] for name in entry.types] for entry in creatures.CREATURES},
        "type_chart": [list(row) for row in battle_types.type_chart()],
        "shops": {str(number): [item_ids[name] for name in names] for number, names in shops.SHOPS.items()},
        "cutters": [entry.id for entry in creatures.CREATURES if entry.cuts],
        "prices": {str(item.id): item.price for item in item_tables.ITEMS if item.price},
        "trainers": {str(trainer.id): trainer.name for trainer in trainers.TRAINERS},
    }
    return json.dumps(tables, indent=1, sort_keys=True) + "\n"
