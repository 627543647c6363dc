"""The practice cartridge itself, in a bare PyBoy: header, boot, walking, menus, hooks, saving, RAM that stays true."""

from __future__ import annotations

import importlib.util
import io
import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pyboy import PyBoy

from daddy_puffer.envs.scripted import ScriptedPlayer
from daddy_puffer.envs.world import FACING_ACTION, STEPS, Attribute, Cell, World
from daddy_puffer.types import Action

ROM = Path(str(resources.files("daddy_puffer").joinpath("data/practice.gb")))
CARTRIDGE = Path(__file__).resolve().parent.parent / "cartridge"
SEED = 7

UI_STATE, UI_MENU, UI_CURSOR = 0xCD81, 0xCD82, 0xCD83
OVERWORLD, BUSY, TEXT, MENU = 0, 1, 2, 3
(MENU_TITLE, MENU_INTRO, MENU_START, MENU_PARTY, MENU_PARTY_ACTION, MENU_STATS, MENU_BAG, MENU_BAG_ACTION) = range(1, 9)
MENU_SAVE = 17
CUR_MAP, Y, X, FACING, FONT_LOADED = 0xD35E, 0xD361, 0xD362, 0xC109, 0xCFC4
BUTTONS = ("down", "left", "right", "up", "a", "b", "start")
BUTTON_OF = dict(zip((Action.DOWN, Action.LEFT, Action.RIGHT, Action.UP), BUTTONS, strict=False))
FACING_CODE = {action: code for code, action in FACING_ACTION.items()}
CUT_CAPABLE = {0x99, 0x09, 0x9A, 0xB0, 0xB1, 0xB2, 0x4E, 0x0B}  # those that the starter may be or become
HOOKS = {
    "warp": (0, 0x06CC),
    "black out": (0, 0x0931),
    "sign": (0, 0x0B54),
    "person": (0, 0x296E),
    "start menu": (0, 0x2ACD),
    "start menu again": (0, 0x2ADF),
    "last healing town": (0x01, 0x7090),
    "ball": (0x03, 0x56FA),
    "surf": (0x03, 0x59CD),
    "flute without effect": (0x03, 0x618A),
    "flute": (0x03, 0x6237),
    "no surf": (0x03, 0x65B6),
    "nothing to cut": (0x03, 0x6F77),
    "cut": (0x03, 0x6F82),
    "party": (0x04, 0x70A9),
    "stats": (0x04, 0x7149),
    "bag": (0x04, 0x7302),
    "item chosen": (0x04, 0x733F),
    "encounter": (0x04, 0x78ED),
    "hidden object": (0x11, 0x69F0),
    "healing": (0x1C, 0x4433),
}


class Game:
    """A PyBoy with the cartridge and a counter per hooked address."""

    def __init__(self, rom: Path = ROM, ram: bytes = b"\0" * 0x8000) -> None:
        self.pyboy = PyBoy(io.BytesIO(rom.read_bytes()), window="null", sound_emulated=False, ram_file=io.BytesIO(ram))
        self.pyboy.set_emulation_speed(0)
        self.memory = self.pyboy.memory
        self.passed: Counter[str] = Counter()

    def count_hooks(self) -> None:
        for name, (bank, address) in HOOKS.items():
            self.pyboy.hook_register(bank, address, lambda which: self.passed.update([which]), name)

    def ticks(self, count: int) -> None:
        self.pyboy.tick(count, False)

    def press(self, button: str, frames: int = 24) -> None:
        """One environment step: down for 8 frames, then released."""
        self.pyboy.button(button, 8)
        self.ticks(frames)

    def settle(self) -> int:
        """Runs until the game waits for a button; returns what for."""
        for _ in range(600):
            if self.memory[UI_STATE] != BUSY:
                return self.memory[UI_STATE]
            self.ticks(1)
        raise AssertionError("the game stays busy")

    def go(self, buttons: str) -> None:
        for button in buttons.split():
            self.press(button)
            self.settle()

    def menu(self) -> int:
        """Menu id that waits for a button, 0 = none."""
        return self.memory[UI_MENU] if self.settle() == MENU else 0

    def boot(self) -> None:
        self.ticks(120)
        for _ in range(60):
            if self.settle() == OVERWORLD:
                self.ticks(8)
                return
            self.press("start" if self.menu() == MENU_TITLE else "a")
        raise AssertionError("no way from the title to the first map")

    def bag(self) -> dict[int, int]:
        return {self.memory[0xD31E + 2 * i]: self.memory[0xD31F + 2 * i] for i in range(self.memory[0xD31D])}

    def place(self) -> Cell:
        return Cell(self.memory[CUR_MAP], self.memory[X], self.memory[Y])

    def save(self) -> bytes:
        state = io.BytesIO()
        self.pyboy.save_state(state)
        return state.getvalue()

    def load(self, state: bytes) -> None:
        self.pyboy.load_state(io.BytesIO(state))

    def ram(self) -> bytes:
        return bytes(self.memory[0x8000:0x10000])


@pytest.fixture(scope="module")
def started() -> Iterator[bytes]:
    """The save state in which the player can walk for the first time."""
    game = Game()
    game.boot()
    yield game.save()
    game.pyboy.stop(save=False)


@pytest.fixture
def game(started: bytes) -> Iterator[Game]:
    game = Game()
    game.load(started)
    yield game
    game.pyboy.stop(save=False)


@pytest.fixture(scope="module")
def tables() -> dict[str, Any]:
    """The world's tables as the generator wrote them."""
    text = resources.files("daddy_puffer").joinpath("data/practice_world.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def test_header_is_a_mebibyte_mbc3_without_logo() -> None:
    rom = ROM.read_bytes()
    assert len(rom) == 1 << 20
    assert (rom[0x143], rom[0x147], rom[0x148], rom[0x149]) == (0, 0x13, 5, 3)
    assert rom[0x104:0x134] == bytes(0x30)
    assert -sum(byte + 1 for byte in rom[0x134:0x14D]) & 0xFF == rom[0x14D]
    assert (sum(rom) - rom[0x14E] - rom[0x14F]) & 0xFFFF == rom[0x14E] << 8 | rom[0x14F]


def test_every_hooked_address_holds_a_return() -> None:
    rom = ROM.read_bytes()
    offsets = [bank * 0x4000 + (address if bank == 0 else address - 0x4000) for bank, address in HOOKS.values()]
    assert [rom[offset] for offset in offsets] == [0xC9] * 21


def test_title_needs_start_or_a_and_the_intro_needs_a() -> None:
    game = Game()
    game.ticks(120)
    game.go("b up down")
    assert game.menu() == MENU_TITLE
    game.go("start")
    assert game.settle() == TEXT
    while game.settle() == TEXT:
        game.press("a")
    assert game.menu() == MENU_INTRO
    game.go("b start up down left b")
    assert game.menu() == MENU_INTRO
    while game.memory[UI_CURSOR] != 1:
        game.go("down")
    game.go("a")
    assert game.menu() == MENU_INTRO, "only the first entry goes on"
    while game.memory[UI_CURSOR] != 0:
        game.go("up")
    game.go("a")
    while game.settle() == TEXT:
        game.press("a")
    assert game.settle() == OVERWORLD
    assert game.place() == World.load().start
    game.pyboy.stop(save=False)


def free_run(world: World, start: Cell, action: Action, cells: int) -> bool:
    """Whether `cells` steps that way stay on plain floor of the same map."""
    for _ in range(cells):
        after = world.destination(start, action)
        if after is None or after.map != start.map or abs(after.x - start.x) + abs(after.y - start.y) != 1:
            return False
        start = after
    return True


def test_held_direction_walks_a_cell_every_16_frames(game: Game) -> None:
    world, start = World.load(), game.place()
    action = next(action for action in BUTTON_OF if free_run(world, start, action, 2))
    game.pyboy.button_press(BUTTON_OF[action])
    changes, before = [], game.place()
    for frame in range(40):
        game.ticks(1)
        if game.place() != before:
            changes.append(frame)
            before = game.place()
    assert changes == [16, 32]


def test_a_short_press_is_exactly_one_step_of_16_frames(game: Game) -> None:
    world = World.load()
    for action in (*BUTTON_OF, *BUTTON_OF):
        before, wanted = game.place(), world.destination(game.place(), action)
        if wanted is None or wanted.map != before.map:
            continue
        game.pyboy.button(BUTTON_OF[action], 8)
        states = []
        for _ in range(24):
            game.ticks(1)
            states.append((game.place(), game.memory[UI_STATE]))
        assert states[:16] == [(before, BUSY)] * 16, action
        assert states[16:] == [(wanted, OVERWORLD)] * 8, action


def test_a_wall_turns_the_player_without_a_step(game: Game) -> None:
    world = World.load()
    for action in (Action.LEFT, Action.LEFT, Action.LEFT, Action.LEFT):
        wanted = world.destination(game.place(), action)
        before = game.place()
        game.go(BUTTON_OF[action])
        assert game.place() == (wanted or before)
        assert game.memory[FACING] == 8


def test_menus_pass_their_hooks_and_say_what_they_are(game: Game) -> None:
    game.count_hooks()
    game.go("start")
    assert game.menu() == MENU_START
    game.go("down a")
    assert game.menu() == MENU_PARTY
    game.go("a")
    assert game.menu() == MENU_PARTY_ACTION
    game.go("a")
    assert game.menu() == MENU_STATS
    game.go("b b")
    while game.menu() != MENU_START:
        game.go("b")
    game.go("down a")
    assert game.menu() == MENU_BAG
    game.go("a")
    assert game.menu() == MENU_BAG_ACTION
    game.go("b b b")
    assert game.settle() == OVERWORLD
    assert game.passed == {"start menu": 1, "start menu again": 2, "party": 1, "stats": 1, "bag": 1, "item chosen": 1}


def test_a_door_passes_the_warp_hook_with_its_destination(game: Game) -> None:
    world, seen = World.load(), []
    read = game.memory
    game.pyboy.hook_register(0, 0x06CC, lambda _: seen.append((read[CUR_MAP], read[0xFF8B], read[0xD42F])), None)
    table = world.maps[game.place().map]
    _, _, destination, index = table.warps[0]
    arrival = Cell(destination, *world.maps[destination].warps[index][:2])
    walk_to(game, world, arrival)
    assert seen == [(table.id, destination, index)]


def ways_to(world: World, goal: Cell) -> dict[Cell, int]:
    """Cost of the way to `goal` from wherever it can be reached past people and without cutting trees."""
    blocked = frozenset({person.home for person in world.people()} | set(world.cells(Attribute.TREE)))
    return world.distances([goal], blocked)


def walk_to(game: Game, world: World, goal: Cell) -> None:
    """Walks to `goal` along the graph of the tables; lets the scripted player fight and read what comes between."""
    player = ScriptedPlayer(world)
    distance = ways_to(world, goal)
    for _ in range(600):
        here, busy = game.place(), game.settle() != OVERWORLD
        if here == goal and not busy:
            return
        if busy:
            game.press(BUTTONS[player.act(game.memory)])
            continue
        ways = {action: world.destination(here, action) for action in BUTTON_OF}
        costs = [(distance.get(after, 9999), action) for action, after in ways.items() if after is not None]
        game.press(BUTTON_OF[min(costs)[1]])
    raise AssertionError(f"{goal} was not reached, the player is at {game.place()}")


def look_at(game: Game, world: World, thing: Cell) -> None:
    """Stops beside `thing`, facing it: by a step towards it, or by turning where no step can be taken."""
    for action, (dx, dy) in STEPS.items():
        beside, behind = (Cell(thing.map, thing.x - n * dx, thing.y - n * dy) for n in (1, 2))
        if game.place() not in ways_to(world, beside):
            continue
        if world.destination(beside, action) is None:
            walk_to(game, world, beside)
        elif world.destination(behind, action) == beside and game.place() in ways_to(world, behind):
            walk_to(game, world, behind)
        else:
            continue
        game.go(BUTTON_OF[action])
        assert (game.place(), game.memory[FACING]) == (beside, FACING_CODE[action])
        return
    raise AssertionError(f"{thing} cannot be looked at")


def read_on(game: Game) -> int:
    """Presses A until the player can walk; returns how often."""
    for presses in range(20):
        if game.settle() == OVERWORLD:
            return presses
        game.press("a")
    raise AssertionError("the text does not end")


def test_signs_balls_hidden_things_and_the_gate(game: Game, tables: dict[str, Any]) -> None:
    world = World.load()
    game.count_hooks()
    town, wood, gate_town = (tables["maps"][key] for key in ("0", "51", "2"))

    look_at(game, world, Cell(0, *town["signs"][0]))
    game.go("a")
    assert (game.passed["sign"], game.memory[0xFF8C]) == (1, len(town["people"]) + 1)
    assert game.memory[FONT_LOADED] != 0
    assert read_on(game) >= 1
    assert game.memory[FONT_LOADED] == 0

    slot, ball = next((slot, one) for slot, one in enumerate(wood["people"], 1) if one["role"] == "item")
    look_at(game, world, Cell(51, ball["x"], ball["y"]))
    game.go("a")
    assert game.memory[0xFF8C] == slot
    read_on(game)
    assert ball["item"] in game.bag()
    assert game.memory[0xD5A6 + ball["missable"] // 8] >> ball["missable"] % 8 & 1, "taken things are gone"
    assert game.memory[0xC100 + 16 * slot] == 0

    (x, y, item, event), *_ = wood["hidden"]
    look_at(game, world, Cell(51, x, y))
    had = game.bag().get(item, 0)
    game.go("a")
    assert game.passed["hidden object"] == 1
    read_on(game)
    assert game.bag()[item] == had + 1
    assert game.memory[0xD6F0 + (event - 0xA00) // 8] >> (event - 0xA00) % 8 & 1
    game.go("a")
    assert (game.settle(), game.passed["hidden object"]) == (OVERWORLD, 1), "it is found once"

    gate = Cell(2, *gate_town["triggers"][0])
    walk_to(game, world, Cell(2, gate.x - 1, gate.y))
    game.go("right")
    assert game.settle() == TEXT, "the gate is closed"
    read_on(game)
    assert game.place() == Cell(2, gate.x - 1, gate.y)


def test_same_state_and_buttons_give_the_same_ram(started: bytes) -> None:
    images = []
    for _ in range(2):
        game = Game()
        game.load(started)
        chance = random.Random(SEED)
        for _ in range(150):
            game.press(chance.choice(BUTTONS))
        images.append(game.ram())
        game.pyboy.stop(save=False)
    assert images[0] == images[1]


def broken_invariants(memory: Any, world: World) -> list[str]:
    """What observers rely on and does not hold now."""
    read = memory.__getitem__
    count, items = read(0xD31D), [read(0xD31E + 2 * i) for i in range(20)]
    party = read(0xD163)
    mons = [read(slice(0xD16B + 44 * i, 0xD16B + 44 * i + 44)) for i in range(6)]
    here = world.maps.get(read(CUR_MAP))
    holds = {
        "bag count": 1 <= count <= 19,
        "bag items": all(0 < item < 0x62 or 0xC4 <= item <= 0xF9 for item in items[:count]),
        "party count": 1 <= party <= 6,
        "cut-capable": any(mon[0] in CUT_CAPABLE for mon in mons[:party]),
        "species, types, moves": all(
            mon[0] <= 0xBD and max(mon[5:7]) <= 0x19 and max(mon[8:12]) <= 0xA3 for mon in mons
        ),
        "unused slots zero": not any(any(mon) for mon in mons[party:]),
        "enemy count": read(0xD89C) <= 6,
        "blackout map": read(0xD719) <= 10,
        "place": here is not None and read(X) < here.width and read(Y) < here.height,
        "joypad not ignored": read(0xCD6B) == 0,
        "facing": read(FACING) in (0, 4, 8, 12),
        "figures": read(0xD4E1) <= 15,
        "box empty": read(0xDA80) == 0,
    }
    return [name for name, held in holds.items() if not held]


def test_ram_invariants_hold_in_every_frame(game: Game) -> None:
    world, chance = World.load(), random.Random(SEED)
    for press in range(250):
        game.pyboy.button(chance.choice(BUTTONS), 8)
        for frame in range(24):
            game.ticks(1)
            assert broken_invariants(game.memory, world) == [], (press, frame, game.place())


def test_invariants_hold_from_the_title_on() -> None:
    game, world = Game(), World.load()
    game.ticks(120)
    assert game.menu() == MENU_TITLE
    broken = broken_invariants(game.memory, world)
    game.pyboy.stop(save=False)
    assert broken == []


def test_saved_game_goes_on_where_it_was_saved(game: Game) -> None:
    world = World.load()
    action = next(action for action in BUTTON_OF if free_run(world, game.place(), action, 1))
    game.go(BUTTON_OF[action])
    saved_at, facing = game.place(), game.memory[FACING]
    game.go("start down down down a")
    assert game.menu() == MENU_SAVE
    game.go("a a b")
    assert game.settle() == OVERWORLD
    again = Game(ram=bytes(game.memory[0, 0xA000:0xB000]).ljust(0x8000, b"\0"))
    again.ticks(120)
    again.go("start")
    assert again.menu() == MENU_TITLE, "CONTINUE or NEW GAME"
    again.go("a")
    assert again.settle() == OVERWORLD
    place, faces, broken = (again.place(), again.memory[FACING], broken_invariants(again.memory, world))
    again.pyboy.stop(save=False)
    assert (place, faces, broken) == (saved_at, facing, [])


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """cartridge/build.py as a module."""
    spec = importlib.util.spec_from_file_location("cartridge_build", CARTRIDGE / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hex_record(address: int, data: bytes) -> str:
    body = bytes([len(data), address >> 8, address & 0xFF, 0]) + data
    return ":" + (body + bytes([-sum(body) & 0xFF])).hex().upper()


def test_build_refuses_a_byte_written_twice(build: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "game.ihx"
    path.write_text(f"{hex_record(0x2AC0, bytes(14))}\n{hex_record(0x2ACD, b'x')}\n")
    with pytest.raises(build.BuildError, match="0x02acd"):
        build.read_hex(path)


def test_build_says_what_to_do_without_the_compiler(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    with pytest.raises(build.BuildError, match="apt-get install sdcc"):
        build.find_compiler()


@pytest.mark.skipif(shutil.which("sdcc") is None, reason="sdcc is not installed: the ROM cannot be rebuilt here")
def test_two_builds_give_the_same_bytes(build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = ["20" if flag.isdigit() else flag for flag in build.SDCC_FLAGS]  # less optimisation: a third of the time
    monkeypatch.setattr(build, "SDCC_FLAGS", quick)
    data = tmp_path / "data"
    data.mkdir()
    build.generate(data, None)
    roms = [tmp_path / name / "game.gb" for name in ("one", "two")]
    for rom in roms:
        build.build(rom, rom.parent / "work", generated=data)
    assert roms[0].read_bytes() == roms[1].read_bytes()
