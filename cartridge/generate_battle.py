"""Write the C tables of creatures, moves, items, trainers and shops from cartridge/data/*.py.

In: the tables and the enums of src/battle_tables.h. Out: battle_data.c (one constant bank) in the folder given by
--out. Knows nothing of maps. The same tables give the same bytes. Standard library only.
"""

import argparse
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent


def load_table(name: str) -> ModuleType:
    """Import cartridge/data/<name>.py under a name of its own (`types` would shadow the standard library)."""
    key = f"cartridge_data_{name}"
    spec = importlib.util.spec_from_file_location(key, HERE / "data" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module
    spec.loader.exec_module(module)
    return module


def header_enum(prefix: str) -> dict[str, int]:
    """Return the constants PREFIX_* of src/battle_tables.h, lower case and without the prefix."""
    text = (HERE / "src" / "battle_tables.h").read_text()
    return {name.lower(): int(value) for name, value in re.findall(rf"\b{prefix}_(\w+) = (\d+)", text)}


def check(condition: bool, message: str) -> None:
    """Stop with a message about a wrong table."""
    if not condition:
        raise SystemExit(f"cartridge/data: {message}")


def quoted(name: str, longest: int) -> str:
    """Return a C string of a name that fits its field and the font."""
    check(0 < len(name) <= longest and name.isascii() and not set('"\\@#%') & set(name), f"bad name {name!r}")
    return f'"{name}"'


def array(values: list[int]) -> str:
    """Return a brace list of numbers, 20 a line."""
    lines = [", ".join(map(str, values[i : i + 20])) for i in range(0, len(values), 20)]
    return "{\n  " + ",\n  ".join(lines) + "}"


def index_table(name: str, ids: list[int], first_row: int) -> str:
    """Return the table from id to row; ids that are not there get row 0."""
    check(len(set(ids)) == len(ids), f"{name}: an id is there twice")
    rows = [0] * 256
    for row, number in enumerate(ids, start=first_row):
        rows[number] = row
    return f"const u8 {name}[256] = {array(rows)};\n"


class Tables:
    """All tables, with names resolved to ids."""

    def __init__(self) -> None:
        """Read and cross-check."""
        self.types: dict[str, int] = load_table("types").TYPES
        self.chart = load_table("types").type_chart()
        self.moves = load_table("moves").MOVES
        self.creatures_module = load_table("creatures")
        self.creatures = self.creatures_module.CREATURES
        self.items_module = load_table("items")
        self.items = self.items_module.ITEMS
        self.trainers = load_table("trainers").TRAINERS
        self.shops = load_table("shops").SHOPS
        self.move_ids = {move.name: move.id for move in self.moves}
        self.species_ids = {creature.name: creature.id for creature in self.creatures}
        self.item_ids = {item.name: item.id for item in self.items}
        self.check()

    def check(self) -> None:
        """Hold the tables to the limits of the RAM map."""
        check(self.moves[0].id == 0, "the first move must have id 0")
        check(all(move.id <= 0xA3 for move in self.moves), "a move id is above 0xA3")
        check(all(0 < creature.id <= 0xBD for creature in self.creatures), "a species id is not in 1..0xBD")
        check(all(0 < creature.dex <= 151 for creature in self.creatures), "a dex number is not in 1..151")
        check(len({c.dex for c in self.creatures}) == len(self.creatures), "a dex number is there twice")
        legal = [i for i in range(1, 0x62)] + [i for i in range(0xC4, 0xFA)]
        check(all(item.id in legal for item in self.items), "an item id is not one of the RAM map")
        check([t.id for t in self.trainers] == list(range(1, len(self.trainers) + 1)), "trainer ids must be 1, 2, ...")
        check(list(self.shops) == list(range(len(self.shops))), "shop ids must be 0, 1, ...")


def moves_c(tables: Tables) -> str:
    """Return index and rows of the moves."""
    effects = header_enum("EFFECT")
    rows = [
        f"  {{{quoted(m.name, 12)}, {tables.types[m.type]}, {m.power}, {m.accuracy}, {m.pp}, "
        f"{effects[m.effect or 'none']}, {m.chance}}},"
        for m in tables.moves
    ]
    index = index_table("move_index", [m.id for m in tables.moves], first_row=0)
    return index + "const MoveRecord move_table[] = {\n" + "\n".join(rows) + "\n};\n"


def learns_c(tables: Tables) -> str:
    """Return one list of (level, move) pairs per creature."""
    lines = []
    for creature in tables.creatures:
        check(creature.learns == sorted(creature.learns, key=lambda pair: pair[0]), f"{creature.name}: levels unsorted")
        check(creature.learns[0][0] == 1, f"{creature.name} knows nothing at level 1")
        pairs = [n for level, move in creature.learns for n in (level, tables.move_ids[move])]
        lines.append(f"static const u8 learns_{creature.id:02x}[] = {{{', '.join(map(str, [*pairs, 0]))}}};")
    return "\n".join(lines) + "\n"


def species_c(tables: Tables) -> str:
    """Return index and rows of the creatures."""
    first = tables.creatures[0].id
    nobody = f'  {{"NOBODY", 0, 0, 0, {{40, 40, 40, 40, 40}}, 255, 50, 0, 0, 0, learns_{first:02x}}},'
    rows = [nobody]
    for c in tables.creatures:
        evolve_level, evolve_to = (c.evolves[0], tables.species_ids[c.evolves[1]]) if c.evolves else (0, 0)
        rows.append(
            f"  {{{quoted(c.name, 10)}, {c.dex}, {tables.types[c.types[0]]}, {tables.types[c.types[1]]}, "
            f"{{{', '.join(map(str, c.base))}}}, {c.catch_rate}, {c.experience}, {evolve_level}, {evolve_to}, "
            f"{int(c.cuts)}, learns_{c.id:02x}}},"
        )
    index = index_table("species_index", [c.id for c in tables.creatures], first_row=1)
    return index + "const SpeciesRecord species_table[] = {\n" + "\n".join(rows) + "\n};\n"


def items_c(tables: Tables) -> str:
    """Return index and rows of the items."""
    kinds = header_enum("ITEM")
    rows = ['  {"ODD THING", 0, 0, 0},']
    for item in tables.items:
        value = tables.move_ids[item.value] if isinstance(item.value, str) else item.value
        rows.append(f"  {{{quoted(item.name, 12)}, {kinds[item.kind]}, {value}, {item.price}}},")
    index = index_table("item_index", [item.id for item in tables.items], first_row=1)
    return index + "const ItemRecord item_table[] = {\n" + "\n".join(rows) + "\n};\n"


def trainers_c(tables: Tables) -> str:
    """Return the trainers, row = id; row 0 is never met."""
    rows = ['  {"NOBODY", 0, 0, 0, 1, {{2, ' + str(tables.creatures[0].id) + "}}},"]
    for t in tables.trainers:
        check(1 <= len(t.party) <= 6, f"{t.name}: party of {len(t.party)}")
        party = ", ".join(f"{{{level}, {tables.species_ids[species]}}}" for level, species in t.party)
        rows.append(f"  {{{quoted(t.name, 12)}, {t.skill}, {t.tonics}, {t.reward}, {len(t.party)}, {{{party}}}}},")
    body = "const TrainerRecord trainer_table[] = {\n" + "\n".join(rows) + "\n};\n"
    return body + f"const u8 n_trainers = {len(rows)};\n"


def shops_c(tables: Tables) -> str:
    """Return the shops, row = id."""
    rows = []
    for number, names in tables.shops.items():
        check(1 <= len(names) <= 8, f"shop {number} sells {len(names)} things")
        rows.append(f"  {{{len(names)}, {{{', '.join(str(tables.item_ids[name]) for name in names)}}}}},")
    return "const Shop shop_table[] = {\n" + "\n".join(rows) + f"\n}};\nconst u8 n_shops = {len(rows)};\n"


def rest_c(tables: Tables) -> str:
    """Return type chart and what a new game begins with."""
    chart = [10] * (27 * 27)
    for attacker, defender, factor in tables.chart:
        chart[attacker * 27 + defender] = factor
    name, level = tables.creatures_module.STARTER
    bag = [n for pair in tables.items_module.STARTING_BAG for n in pair]
    money = list(bytes.fromhex(f"{tables.items_module.STARTING_MONEY:06d}"))
    return (
        f"const u8 type_chart[N_TYPES * N_TYPES] = {array(chart)};\n"
        f"const u8 starter[2] = {{{tables.species_ids[name]}, {level}}};\n"
        f"const u8 starting_bag[] = {array([*bag, 0])};\n"
        f"const u8 starting_money[3] = {array(money)};\n"
    )


def generate() -> str:
    """Return the text of battle_data.c."""
    tables = Tables()
    head = '/* Written by generate_battle.py. */\n#pragma constseg CODE_9\n#include "battle_tables.h"\n'
    parts = (moves_c, learns_c, species_c, items_c, trainers_c, shops_c, rest_c)
    return head + "".join(part(tables) for part in parts)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Write battle_data.c from cartridge/data/*.py.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the generated file")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    target = out / "battle_data.c"
    temporary = target.with_suffix(".tmp")
    temporary.write_text(generate())
    temporary.replace(target)


if __name__ == "__main__":
    main()
