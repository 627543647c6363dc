"""Maps, people, scripts and texts of data/*.py to what the engine reads.

In: the tables. Out: `World`: resolved maps (for checks and export), texts with their ids, and the C lines of every map.
Source of all numbers behind names: the enums of src/format.h, data/events.py and the battle tables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from art import DataError
from data import creatures, events, items, maps, people, scripts, shops, sprites, texts, tilesets, trainers

FORMAT = Path(__file__).resolve().parent / "src" / "format.h"
LINE_LETTERS, PAGE_LINES = 18, 2
ALWAYS_THERE, NO_EVENT, NO_SHOP = 255, 0xFFFF, 255

# operands of an opcode: e event, t text, l label, i item, b badge, 1 byte, 2 word, h shop, r trainer, m missable,
# d direction, s species, a address
OPERANDS = {
    "END": "",
    "SAY": "t",
    "ASK": "tl",
    "JUMP": "l",
    "IF_EVENT": "el",
    "IF_NO_EVENT": "el",
    "SET_EVENT": "e",
    "CLEAR_EVENT": "e",
    "IF_ITEM": "il",
    "GIVE_ITEM": "i1l",
    "TAKE_ITEM": "i",
    "IF_BADGE": "bl",
    "GIVE_BADGE": "b",
    "BATTLE": "r",
    "HEAL": "",
    "SHOP": "h",
    "HIDE": "m",
    "SHOW": "m",
    "PUSH": "d1",
    "FACE_PLAYER": "",
    "GIVE_MON": "s1",
    "GIVE_MONEY": "2",
    "WARP": "111",
    "POKE": "a1",
    "OR": "a1",
}


@cache
def enums(prefix: str) -> dict[str, int]:
    """Members of format.h's enums whose names begin with `prefix`, without it."""
    source = re.sub(r"/\*.*?\*/", "", FORMAT.read_text(encoding="ascii"), flags=re.DOTALL)
    found = re.findall(rf"\b{prefix}(\w+)\s*=\s*(\d+)", source)
    return {name: int(value) for name, value in found}


@dataclass(slots=True, kw_only=True)
class Person:
    """One person, item ball or trainer with all names resolved."""

    x: int
    y: int
    picture: int
    facing: int
    movement: int
    range: int
    sight: int
    missable: int
    beaten_event: int
    role: str
    item: int
    shop: int
    events: list[str]
    script: list[Any]


@dataclass(slots=True, kw_only=True)
class GameMap:
    """One map with all names resolved; `cells` are metatile ids, `attributes` MT_* numbers."""

    id: int
    name: str
    tileset: int
    outdoor: bool
    width: int
    height: int
    letters: list[str]
    cells: list[list[int]]
    attributes: list[list[int]]
    border: int
    border_attribute: int
    connections: list[tuple[int, int, int]]
    warps: list[tuple[int, int, int, int]]
    people: list[Person]
    signs: list[tuple[int, int, list[Any]]]
    hidden: list[tuple[int, int, int, int]]
    triggers: list[tuple[int, int, list[Any]]]
    encounter_rate: int
    encounters: list[tuple[int, int]]
    lines: list[str] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class World:
    """Everything compiled."""

    maps: list[GameMap] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    text_ids: dict[str, int] = field(default_factory=dict)
    _by_text: dict[str, int] = field(default_factory=dict)

    def text(self, source: str) -> int:
        """Id of a text, given by name or as it is."""
        wrapped = wrap(texts.TEXTS.get(source, source))
        if wrapped not in self._by_text:
            self._by_text[wrapped] = len(self.texts)
            self.texts.append(wrapped)
        if source in texts.TEXTS:
            self.text_ids[source] = self._by_text[wrapped]
        return self._by_text[wrapped]


def wrap(source: str) -> str:
    """Break into lines of 18 letters and pages of two lines; `|` starts a page."""
    pages = []
    for part in source.split("|"):
        lines = [""]
        for word in part.split():
            if len(word) > LINE_LETTERS:
                raise DataError(f"text {source!r}: {word!r} is longer than a line")
            if lines[-1] and len(lines[-1]) + 1 + len(word) > LINE_LETTERS:
                lines.append(word)
            else:
                lines[-1] = f"{lines[-1]} {word}".strip()
        pages += ["\n".join(lines[i : i + PAGE_LINES]) for i in range(0, len(lines), PAGE_LINES)]
    text = "\f".join(pages)
    if not text.strip() or not all(letter in "\n\f" or 32 <= ord(letter) < 127 for letter in text):
        raise DataError(f"text {source!r}: empty, or a letter that the font lacks")
    return text


def lookup(table: dict[str, int], name: str, what: str) -> int:
    """`table[name]`, or an error that says what is missing."""
    if name not in table:
        raise DataError(f"{what} {name!r} is not in the tables")
    return table[name]


def item_name(item: int) -> str:
    """What the player calls an item."""
    for entry in items.ITEMS:
        if entry.id == item:
            return entry.name
    raise DataError(f"item {item:#x} is not in data/items.py")


@cache
def species_ids() -> dict[str, int]:
    """Numbers of creatures by name."""
    return {creature.name: creature.id for creature in creatures.CREATURES}


def species_plans() -> list[tuple[int, str]]:
    """(number, body plan) of every creature."""
    return sorted((creature.id, creature.body) for creature in creatures.CREATURES)


def encode(world: World, script: list[Any], name: str) -> list[int]:
    """Bytecode of a script."""
    opcodes = enums("OP_")
    out: list[int] = []
    labels: dict[str, int] = {}
    holes: list[tuple[int, str]] = []
    for line in script:
        if isinstance(line, str):
            labels[line.rstrip(":")] = len(out)
            continue
        opcode, *operands = line
        kinds = OPERANDS.get(opcode)
        if kinds is None or len(kinds) != len(operands):
            raise DataError(f"script {name}: {line} is no instruction")
        out.append(opcodes[opcode])
        for kind, operand in zip(kinds, operands, strict=True):
            if kind == "l":
                holes.append((len(out), operand))
                out += [0, 0]
            else:
                out += operand_bytes(world, kind, operand)
    for position, label in holes:
        if label not in labels:
            raise DataError(f"script {name}: no label {label!r}")
        out[position : position + 2] = [labels[label] & 255, labels[label] >> 8]
    if not script or script[-1] != ("END",):
        raise DataError(f"script {name} does not end with END")
    return out


def operand_bytes(world: World, kind: str, operand: Any) -> list[int]:
    """One operand other than a label."""
    if kind in "te2a":
        if kind == "t":
            value = world.text(operand)
        elif kind == "e":
            value = lookup(events.EVENTS, operand, "event")
        elif kind == "a":
            value = lookup(events.ADDRESSES, operand, "address")
        else:
            value = int(operand)
        return [value & 255, value >> 8]
    if kind == "r":
        number = lookup(events.TRAINERS, operand, "trainer")
        if number not in {trainer.id for trainer in trainers.TRAINERS}:
            raise DataError(f"trainer {operand} ({number}) is not in data/trainers.py")
        return [number]
    if kind == "h":
        number = lookup(events.SHOPS, operand, "shop")
        if number not in shops.SHOPS:
            raise DataError(f"shop {operand} ({number}) is not in data/shops.py")
        return [number]
    if kind == "i":
        item_name(lookup(events.ITEMS, operand, "item"))
    if kind == "d":
        return [enums("DIR_")[operand.upper()]]
    tables: dict[str, dict[str, int]] = {"i": events.ITEMS, "b": events.BADGES, "m": events.MISSABLES}
    tables["s"] = species_ids()
    return [lookup(tables[kind], operand, "name") if kind in tables else int(operand)]


def person_script(entry: dict[str, Any]) -> list[Any]:
    """The script of a person: its own, or the usual one of its kind."""
    if "script" in entry:
        if entry["script"] not in scripts.SCRIPTS:
            raise DataError(f"script {entry['script']!r} is not in data/scripts.py")
        return scripts.SCRIPTS[entry["script"]]
    if entry["kind"] == "ball":
        found = f"You found {item_name(lookup(events.ITEMS, entry['item'], 'item'))}!"
        take = [("GIVE_ITEM", entry["item"], 1, "full"), ("HIDE", entry["missable"]), ("SAY", found), ("END",)]
        return [*take, "full:", ("SAY", "BAG_FULL"), ("END",)]
    if entry["kind"] == "trainer":
        fight = [("IF_EVENT", entry["event"], "after"), ("SAY", entry["before"]), ("BATTLE", entry["trainer"])]
        fight += [("SET_EVENT", entry["event"]), ("END",)]
        return [*fight, "after:", ("FACE_PLAYER",), ("SAY", entry["after"]), ("END",)]
    return [("FACE_PLAYER",), ("SAY", entry["text"]), ("END",)]


def role(entry: dict[str, Any], script: list[Any]) -> str:
    """What a person is for, to programs that play."""
    used = {line[0] for line in script if not isinstance(line, str)}
    order = (
        ("GIVE_BADGE", "leader"),
        ("SHOP", "clerk"),
        ("HEAL", "nurse"),
        ("BATTLE", "trainer"),
        ("HIDE", "item"),
        ("GIVE_ITEM", "quest"),
        ("TAKE_ITEM", "quest"),
        ("IF_NO_EVENT", "guard"),
    )
    return next((name for opcode, name in order if opcode in used), "talk")


def compile_person(entry: dict[str, Any]) -> Person:
    """Names to numbers."""
    script = person_script(entry)
    pictures = {name: row[0] for name, row in sprites.PEOPLE.items()}
    pictures |= {name: row[0] for name, row in sprites.THINGS.items()}
    sets = [line[1] for line in script if not isinstance(line, str) and line[0] == "SET_EVENT"]
    return Person(
        x=entry["at"][0],
        y=entry["at"][1],
        picture=lookup(pictures, entry.get("picture", "BALL"), "picture"),
        facing=enums("DIR_")[entry.get("facing", "down").upper()],
        movement=enums("MOVE_")[entry.get("move", "stand").upper()],
        range=entry.get("range", 0),
        sight=entry.get("sight", 0),
        missable=lookup(events.MISSABLES, entry["missable"], "missable") if "missable" in entry else ALWAYS_THERE,
        beaten_event=lookup(events.EVENTS, entry["event"], "event") if "event" in entry else NO_EVENT,
        role=role(entry, script),
        item=lookup(events.ITEMS, entry["item"], "item") if "item" in entry else 0,
        shop=next((events.SHOPS[line[1]] for line in script if line[0] == "SHOP"), NO_SHOP),
        events=list(dict.fromkeys(sets)),
        script=script,
    )


def sign_script(source: str) -> list[Any]:
    """A sign's own script, or its text."""
    return scripts.SCRIPTS.get(source, [("SAY", source), ("END",)])


def compile_map(table: dict[str, Any]) -> GameMap:
    """One entry of maps.MAPS."""
    number = table["id"]
    letters = table["cells"].strip("\n").split("\n")
    legend = tilesets.TILESETS[tilesets.TILESET_IDS[table["tileset"]]]
    by_letter = {letter: index for index, (letter, _, _) in enumerate(legend)}
    unknown = {letter for row in letters for letter in row} - set(by_letter)
    if unknown or len({len(row) for row in letters}) != 1:
        raise DataError(f"map {number}: rows of {sorted({len(row) for row in letters})}, unknown {sorted(unknown)}")
    cells = [[by_letter[letter] for letter in row] for row in letters]
    kinds = enums("MT_")
    rate, wild = creatures.WILD.get(number, (0, []))
    return GameMap(
        id=number,
        name=table["name"],
        tileset=table["tileset"],
        outdoor=table.get("outdoor", False),
        width=len(letters[0]),
        height=len(letters),
        letters=letters,
        cells=cells,
        attributes=[[kinds[legend[cell][2]] for cell in row] for row in cells],
        border=0,
        border_attribute=kinds[legend[0][2]],
        connections=[(enums("DIR_")[way.upper()], to, by) for way, to, by in table.get("connections", [])],
        warps=list(table.get("warps", [])),
        people=[compile_person(entry) for entry in people.PEOPLE.get(number, [])],
        signs=[(x, y, sign_script(source)) for x, y, source in people.SIGNS.get(number, [])],
        hidden=[
            (x, y, lookup(events.ITEMS, item, "item"), lookup(events.EVENTS, event, "event"))
            for x, y, item, event in people.HIDDEN.get(number, [])
        ],
        triggers=[(x, y, scripts.SCRIPTS[name]) for x, y, name in people.TRIGGERS.get(number, [])],
        encounter_rate=rate,
        encounters=[(level, lookup(species_ids(), name, "creature")) for level, name in wild],
    )


class MapWriter:
    """C lines of one map."""

    def __init__(self, world: World, game_map: GameMap) -> None:
        """Texts of scripts go to `world`, lines to `game_map`."""
        self.world, self.map = world, game_map
        self.scripts: dict[tuple[int, ...], str] = {}

    def array(self, kind: str, name: str, rows: list[str], size: int) -> str:
        """Declare `static const kind mN_name[]`; "0" when it is empty."""
        if not rows:
            return "0"
        full = f"m{self.map.id}_{name}"
        self.map.lines.append(f"static const {kind} {full}[{len(rows)}] = {{")
        self.map.lines += ["  " + ", ".join(rows[i : i + 24]) + "," for i in range(0, len(rows), 24)]
        self.map.lines.append("};")
        self.map.size += size * len(rows)
        return full

    def script(self, script: list[Any], where: str) -> str:
        """Name of the bytes of a script, shared by equal ones of the map."""
        code = encode(self.world, script, f"{where} of map {self.map.id}")
        key = tuple(code)
        if key not in self.scripts:
            self.scripts[key] = self.array("u8", f"script_{len(self.scripts)}", [str(byte) for byte in code], 1)
        return self.scripts[key]

    def person(self, entry: Person) -> str:
        """Initializer of a Person."""
        values = [entry.x, entry.y, entry.picture, entry.facing, entry.movement, entry.range, entry.sight]
        numbers = ", ".join(str(value) for value in (*values, entry.missable))
        return f"{{{numbers}, {self.script(entry.script, 'person')}, {entry.beaten_event}}}"

    def write(self) -> None:
        """All arrays and the header."""
        game_map = self.map
        rows = {
            "people": [self.person(entry) for entry in game_map.people],
            "signs": [f"{{{x}, {y}, {self.script(script, 'sign')}}}" for x, y, script in game_map.signs],
            "triggers": [f"{{{x}, {y}, {self.script(script, 'trigger')}}}" for x, y, script in game_map.triggers],
            "connections": [f"{{{way}, {to}, {by}}}" for way, to, by in game_map.connections],
            "warps": [f"{{{x}, {y}, {to}, {index}}}" for x, y, to, index in game_map.warps],
            "hidden": [f"{{{x}, {y}, {item}, {event}}}" for x, y, item, event in game_map.hidden],
            "encounters": [f"{{{level}, {species}}}" for level, species in game_map.encounters],
        }
        types = {"people": ("Person", 12), "signs": ("Sign", 4), "triggers": ("Trigger", 4), "warps": ("Warp", 4)}
        types |= {"connections": ("Connection", 3), "hidden": ("Hidden", 5), "encounters": ("Encounter", 2)}
        names = {key: self.array(types[key][0], key, rows[key], types[key][1]) for key in rows}
        cells = self.array("u8", "cells", [str(cell) for row in game_map.cells for cell in row], 1)
        listed = ", ".join(f"{len(rows[key])}, {names[key]}" for key in ("connections", "warps", "people", "signs"))
        listed += f", {len(rows['hidden'])}, {names['hidden']}, {len(rows['triggers'])}, {names['triggers']}"
        game_map.lines.append(
            f"const MapHeader map_{game_map.id} = {{{game_map.id}, {game_map.tileset}, {game_map.width}, "
            f"{game_map.height}, {cells}, {game_map.border}, {int(game_map.outdoor)}, {listed}, "
            f"{game_map.encounter_rate}, {names['encounters']}}};"
        )
        game_map.size += 32


def compile_world() -> World:
    """All tables."""
    world = World()
    for name in texts.TEXTS:
        world.text(name)
    for table in maps.MAPS:
        game_map = compile_map(table)
        MapWriter(world, game_map).write()
        world.maps.append(game_map)
    world.maps.sort(key=lambda entry: entry.id)
    return world
