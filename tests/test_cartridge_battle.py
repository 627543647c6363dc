"""Battles, party and items of the practice cartridge, played with buttons in PyBoy on the built ROM.

A game is put into a wanted state by writing a saved game into the cartridge's RAM and choosing CONTINUE, so the real
loading code runs. RAM is read by address: this file tests what other programs see.
"""

import importlib.util
import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

pyboy = pytest.importorskip("pyboy")

DATA = Path(__file__).resolve().parents[1] / "daddy_puffer" / "data"
ROM = DATA / "practice.gb"
WORLD = DATA / "practice_world.json"

UI_STATE, UI_MENU, UI_CURSOR = 0xCD81, 0xCD82, 0xCD83
OVERWORLD, BUSY, TEXT, MENU = 0, 1, 2, 3
MENU_TITLE, MENU_START, MENU_PARTY, MENU_ACTION, MENU_STATS, MENU_BAG = 1, 3, 4, 5, 6, 7
MENU_BATTLE, MENU_MOVES, MENU_BATTLE_BAG, MENU_SWITCH, MENU_LEARN, MENU_TARGET = 12, 13, 14, 15, 16, 18

IN_BATTLE, ENEMY_COUNT, ENEMY_MONS = 0xD057, 0xD89C, 0xD8A4
PARTY_COUNT, PARTY_SPECIES, PARTY = 0xD163, 0xD164, 0xD16B
MAP, Y, X, TOWN = 0xD35E, 0xD361, 0xD362, 0xD719
BAG_COUNT, BAG, MONEY, OWNED, SEEN = 0xD31D, 0xD31E, 0xD347, 0xD2F7, 0xD30A
SAVED, SAVED_END, SAVE_BYTES = 0xD158, 0xD8A4, 0xA010

STARTER, PEBBLOP, LARVOL = 0xB0, 0xA9, 0x70
CATCH_ORB, TONIC, SURE_ORB, SLASH_DISC, MOVE_CUT = 0x04, 0x14, 0x01, 0xC4, 0x0F
ROUTE_1, GYM_1 = 12, 54


def word(data: bytes | list[int]) -> int:
    """Return a big-endian 16-bit number."""
    return data[0] << 8 | data[1]


class Game:
    """The cartridge in PyBoy; one press takes 24 frames, as one step of the environment."""

    def __init__(self) -> None:
        """Switch on."""
        self.emulator = pyboy.PyBoy(str(ROM), window="null", sound_emulated=False)
        self.emulator.set_emulation_speed(0)
        self.memory = self.emulator.memory
        self.hooked: list[str] = []

    def watch(self, name: str, bank: int, address: int) -> None:
        """Note each time the game passes a ROM address."""
        self.emulator.hook_register(bank, address, self.hooked.append, name)

    def wait(self, frames: int = 600) -> int:
        """Let frames go by until the game reads buttons; return the state it waits in."""
        for _ in range(frames):
            self.emulator.tick(1, False)
            if self.memory[UI_STATE] != BUSY:
                return self.memory[UI_STATE]
        raise AssertionError("the game never asks for a button")

    def press(self, button: str) -> None:
        """One step: the button is down for 8 of 24 frames."""
        self.emulator.button_press(button)
        self.emulator.tick(8, False)
        self.emulator.button_release(button)
        self.emulator.tick(16, False)
        check_memory(self)

    def choose(self, menu: int, entry: int) -> None:
        """Wait for a menu, put the cursor on an entry and press A."""
        for _ in range(60):
            self.wait()
            if self.memory[UI_STATE] == MENU and self.memory[UI_MENU] == menu:
                at = self.memory[UI_CURSOR]
                self.press("a" if at == entry else "down" if at < entry else "up")
                if at == entry:
                    return
            else:
                self.press("a" if self.memory[UI_STATE] == TEXT else "b")
        raise AssertionError(f"menu {menu} never came, menu {self.memory[UI_MENU]} is open")

    def until(self, done: Callable[[], bool], button: str = "a", presses: int = 200) -> int:
        """Press a button until something holds; return the number of presses."""
        for count in range(presses):
            self.wait()
            if done():
                return count
            self.press(button)
        raise AssertionError(f"not reached in {presses} presses of {button}")

    def fighting(self) -> bool:
        """Whether the RAM says so."""
        return self.memory[IN_BATTLE] != 0

    def party(self, slot: int = 0) -> list[int]:
        """Return the 44 bytes of a member."""
        return self.memory[PARTY + 44 * slot : PARTY + 44 * (slot + 1)]

    def money(self) -> int:
        """Return the BCD digits as a number."""
        return int(bytes(self.memory[MONEY : MONEY + 3]).hex())

    def hold(self, item: int) -> int:
        """Return how many of an item the bag holds."""
        pairs = self.memory[BAG : BAG + 2 * self.memory[BAG_COUNT]]
        return dict(zip(pairs[::2], pairs[1::2], strict=True)).get(item, 0)

    def poke(self, address: int, values: list[int]) -> None:
        """Write bytes as another program would."""
        for offset, value in enumerate(values):
            self.memory[address + offset] = value

    def poke_bag(self, *pairs: tuple[int, int]) -> None:
        """Fill the bag with kinds of items."""
        flat = [number for pair in pairs for number in pair]
        self.poke(BAG, flat + [0xFF] * (41 - len(flat)))
        self.memory[BAG_COUNT] = len(pairs)

    def poke_hp(self, hp: int, slot: int = 0) -> None:
        """Set the HP of a member."""
        self.poke(PARTY + 44 * slot + 1, [hp >> 8, hp & 255])

    def seek_battle(self) -> None:
        """Walk to and fro in the grass until something appears."""
        for count in range(400):
            if self.fighting():
                break
            self.press("left" if count & 2 else "right")
        assert self.memory[IN_BATTLE] == 1

    def stop(self) -> None:
        """Switch off without leaving a file."""
        self.emulator.stop(save=False)


def check_memory(game: Game) -> None:
    """Assert what must hold at the end of every step for programs that read the RAM map."""
    memory = game.memory
    count = memory[PARTY_COUNT]
    assert 1 <= count <= 6
    assert memory[PARTY_SPECIES + count] == 0xFF
    members = memory[PARTY : PARTY + 264]
    for slot in range(6):
        member = members[44 * slot : 44 * slot + 44]
        if slot >= count:
            assert not any(member)
            continue
        assert member[0] == memory[PARTY_SPECIES + slot] and 1 <= member[0] <= 0xBD
        assert member[5] <= 0x19 and member[6] <= 0x19
        assert all(move <= 0xA3 for move in member[8:12])
        assert 1 <= member[0x21] <= 100
        assert word(member[1:3]) <= word(member[0x22:0x24])
    assert {0xB0, 0xB2, 0xB4} & set(memory[PARTY_SPECIES : PARTY_SPECIES + count])  # what can cut
    assert memory[ENEMY_COUNT] <= 6
    assert memory[IN_BATTLE] in (0, 1, 2)
    kinds = memory[BAG_COUNT]
    assert 1 <= kinds <= 19
    assert 0xFF not in memory[BAG : BAG + 2 * kinds : 2]
    assert memory[BAG + 2 * kinds] == 0xFF


def saved_game(memory: list[int], facing: int) -> list[int]:
    """Return the bytes of a saved game: mark, checksum of the RAM map, facing, the bytes."""
    checksum = 0x1234
    for value in memory:
        checksum = ((checksum << 1) + (checksum >> 15) + value) & 0xFFFF
    return [*b"PRAC", checksum & 255, checksum >> 8, facing, *[0] * 9, *memory]


@pytest.fixture(scope="module")
def new_game() -> list[int]:
    """Return the RAM map after title and introduction."""
    game = Game()
    game.emulator.tick(150, False)
    for _ in range(60):
        if game.wait(1200) == OVERWORLD:
            break
        game.emulator.button("a", 4)
        game.emulator.tick(8, False)
    memory = game.memory[SAVED:SAVED_END]
    game.stop()
    return memory


@pytest.fixture
def start(new_game: list[int]) -> Iterator[Callable[..., Game]]:
    """Return a function that starts a saved game at a place."""
    games = []

    def begin(place: tuple[int, int, int], facing: int = 0, level: int = 6) -> Game:
        memory = list(new_game)
        for address, value in zip((MAP, X, Y), place, strict=True):
            memory[address - SAVED] = value
        game = Game()
        games.append(game)
        for offset, value in enumerate(saved_game(memory, facing)):
            game.memory[0, 0xA000 + offset] = value
        game.emulator.tick(150, False)
        while game.wait(1200) != OVERWORLD:
            game.emulator.button("a", 4)
            game.emulator.tick(8, False)
        assert (game.memory[MAP], game.memory[X], game.memory[Y]) == place
        if level != 6:
            strengthen(game, level)
        return game

    yield begin
    for game in games:
        game.stop()


def strengthen(game: Game, level: int) -> None:
    """Give the first member the numbers of a high level (an environment may write such bytes)."""
    game.memory[PARTY + 0x21] = level
    for offset in (1, 0x22, 0x24, 0x26, 0x28, 0x2A):
        game.poke(PARTY + offset, [0, 2 * level])
    game.poke(PARTY + 0x0E, list((level**3).to_bytes(3, "big")))


def grass() -> tuple[int, int, int]:
    """Return a cell of the first route with grass at both sides."""
    rows = json.loads(WORLD.read_text())["maps"][str(ROUTE_1)]["attributes"]
    y, x = next((y, row.index("222") + 1) for y, row in enumerate(rows) if "222" in row)
    return ROUTE_1, x, y


def person_at(place: int, role: str) -> tuple[int, int, int]:
    """Return the free cell below a person of a map."""
    people = json.loads(WORLD.read_text())["maps"][str(place)]["people"]
    person = next(person for person in people if person["role"] == role)
    return place, person["x"], person["y"] + 1


@pytest.fixture
def meadow(start: Callable[..., Game]) -> Game:
    """Return a game that stands in the grass of the first route."""
    return start(grass())


def second_member(game: Game, species: int = STARTER) -> None:
    """Put a copy of the first member into the second slot, as another species."""
    member = game.party()
    member[0] = species
    game.poke(PARTY + 44, member)
    game.poke(PARTY_SPECIES, [STARTER, species, 0xFF])
    game.memory[PARTY_COUNT] = 2


def member_moves(game: Game, *moves: int) -> None:
    """Overwrite the moves of the first member, as an environment may."""
    padded = list(moves) + [0] * (4 - len(moves))
    game.poke(PARTY + 8, padded)
    game.poke(PARTY + 0x1D, [20 if move else 0 for move in padded])


def experience(game: Game) -> int:
    """Return the points of the first member."""
    return int.from_bytes(bytes(game.party()[0x0E:0x11]), "big")


GLOWER, BUMP = 0x2D, 0x21


def test_pressing_only_a_wins_a_wild_battle_in_few_presses(meadow: Game) -> None:
    meadow.seek_battle()
    assert meadow.memory[ENEMY_COUNT] == 1 and meadow.memory[ENEMY_MONS + 0x21] in range(2, 6)
    before = experience(meadow)
    presses = meadow.until(lambda: not meadow.fighting())
    assert experience(meadow) > before
    assert presses <= 20
    assert meadow.wait() == OVERWORLD and meadow.memory[MAP] == ROUTE_1


def test_running_ends_a_wild_battle_without_reward(meadow: Game) -> None:
    meadow.seek_battle()
    before = experience(meadow)
    for _ in range(10):
        if meadow.wait() == MENU or meadow.fighting():
            meadow.choose(MENU_BATTLE, 3)
        meadow.wait()
        if not meadow.fighting():
            break
    assert not meadow.fighting() and experience(meadow) == before


def test_ball_catches_marks_the_dex_and_leaves_the_bag(meadow: Game) -> None:
    meadow.watch("ball", 3, 0x56FA)
    meadow.poke_bag((0x05, 1), (SURE_ORB, 2))
    meadow.seek_battle()
    caught = meadow.memory[ENEMY_MONS]
    enemy = meadow.memory[ENEMY_MONS : ENEMY_MONS + 44]
    meadow.choose(MENU_BATTLE, 1)
    meadow.choose(MENU_BATTLE_BAG, 1)
    meadow.until(lambda: not meadow.fighting())
    assert meadow.hooked == ["ball"] and meadow.hold(SURE_ORB) == 1
    assert meadow.memory[PARTY_COUNT] == 2 and meadow.memory[PARTY_SPECIES + 1] == caught
    assert meadow.party(1) == enemy
    assert sum(bin(byte).count("1") for byte in meadow.memory[OWNED : OWNED + 19]) == 2


def test_full_party_still_counts_a_catch_as_owned(meadow: Game) -> None:
    for slot in range(1, 6):
        meadow.poke(PARTY + 44 * slot, meadow.party())
    meadow.poke(PARTY_SPECIES, [STARTER] * 6 + [0xFF])
    meadow.memory[PARTY_COUNT] = 6
    meadow.poke_bag((SURE_ORB, 1), (0x05, 1))
    meadow.seek_battle()
    meadow.choose(MENU_BATTLE, 1)
    meadow.choose(MENU_BATTLE_BAG, 0)
    meadow.until(lambda: not meadow.fighting())
    assert meadow.memory[PARTY_COUNT] == 6
    assert sum(bin(byte).count("1") for byte in meadow.memory[OWNED : OWNED + 19]) == 2


def test_level_up_raises_stats_and_keeps_the_wound(meadow: Game) -> None:
    meadow.seek_battle()
    meadow.poke(PARTY + 0x0E, list((7**3 - 1).to_bytes(3, "big")))
    before = meadow.party()
    meadow.until(lambda: not meadow.fighting())
    after = meadow.party()
    assert after[0x21] == 7
    for offset in range(0x22, 0x2C, 2):
        assert word(after[offset : offset + 2]) >= word(before[offset : offset + 2])
    assert word(after[0x22:0x24]) == word(before[0x22:0x24]) + 2  # 2 * 60 * level // 100 + level + 10


def test_fallen_member_is_replaced_by_the_player_choice(meadow: Game) -> None:
    second_member(meadow)
    member_moves(meadow, GLOWER)
    meadow.seek_battle()
    for _ in range(60):
        meadow.wait()
        if meadow.memory[UI_MENU] == MENU_SWITCH and meadow.memory[UI_STATE] == MENU:
            break
        meadow.poke_hp(1)
        meadow.press("a")
    assert word(meadow.party()[1:3]) == 0
    meadow.press("b")  # there is no way back
    meadow.choose(MENU_SWITCH, 1)
    meadow.until(lambda: meadow.memory[UI_MENU] == MENU_BATTLE and meadow.memory[UI_STATE] == MENU)
    assert meadow.memory[0xCC2F] == 1 and meadow.memory[0xD014] == STARTER
    meadow.until(lambda: not meadow.fighting())
    assert experience(meadow) == 6**3  # the fallen one learns nothing


def test_last_member_fallen_is_a_blackout(meadow: Game) -> None:
    meadow.watch("blackout", 0, 0x0931)
    member_moves(meadow, GLOWER)
    meadow.seek_battle()
    money = meadow.money()

    def out() -> bool:
        if meadow.fighting() and word(meadow.party()[1:3]):
            meadow.poke_hp(1)
        return not meadow.fighting() and meadow.memory[UI_STATE] == OVERWORLD

    meadow.until(out)
    meadow.wait()
    assert meadow.hooked == ["blackout"]
    assert meadow.memory[MAP] != ROUTE_1 and meadow.money() == money // 2
    assert meadow.party()[1:3] == meadow.party()[0x22:0x24]


def test_leader_gives_badge_money_and_cannot_be_fled_or_robbed(start: Callable[..., Game]) -> None:
    game = start(person_at(GYM_1, "leader"), facing=4, level=40)
    game.poke_bag((SURE_ORB, 1), (0x05, 1))
    money = game.money()
    game.until(game.fighting)
    assert game.memory[IN_BATTLE] == 2 and game.memory[ENEMY_COUNT] == 2
    game.choose(MENU_BATTLE, 3)
    assert game.wait() == TEXT and game.fighting()
    game.choose(MENU_BATTLE, 1)
    game.choose(MENU_BATTLE_BAG, 0)
    assert game.fighting() and game.hold(SURE_ORB) == 1
    game.until(lambda: game.memory[UI_MENU] == MENU_BATTLE and game.memory[UI_STATE] == MENU, "b")
    game.until(lambda: not game.fighting() and game.memory[UI_STATE] == OVERWORLD)
    assert game.memory[0xD356] == 1 and game.hold(SLASH_DISC) == 1
    assert game.memory[0xD747 + 0x077 // 8] >> 0x077 % 8 & 1
    assert game.money() > money


def test_starter_beats_the_first_leader_by_pressing_a(start: Callable[..., Game]) -> None:
    game = start(person_at(GYM_1, "leader"), facing=4)
    game.until(game.fighting)
    won = game.until(lambda: not game.fighting())
    assert won <= 60 and word(game.party()[1:3]) > 0


def test_tonic_heals_in_battle_and_costs_the_turn(meadow: Game) -> None:
    meadow.poke_bag((0x05, 1), (TONIC, 2))
    meadow.seek_battle()
    meadow.poke_hp(5)
    meadow.choose(MENU_BATTLE, 1)
    meadow.choose(MENU_BATTLE_BAG, 1)
    meadow.choose(MENU_TARGET, 0)
    assert word(meadow.party()[1:3]) == min(5 + 20, word(meadow.party()[0x22:0x24]))
    meadow.until(lambda: meadow.memory[UI_MENU] == MENU_BATTLE and meadow.memory[UI_STATE] == MENU)
    assert meadow.hold(TONIC) == 1 and meadow.fighting()


def test_last_kind_of_item_stays_in_the_bag(meadow: Game) -> None:
    meadow.poke_bag((TONIC, 1))
    meadow.poke_hp(5)
    meadow.press("start")
    meadow.choose(MENU_START, 2)
    meadow.choose(MENU_BAG, 0)
    meadow.until(lambda: word(meadow.party()[1:3]) > 5)
    assert meadow.memory[BAG_COUNT] == 1


def test_without_pp_fight_strikes_at_once_and_hurts(meadow: Game) -> None:
    meadow.seek_battle()
    meadow.poke(PARTY + 0x1D, [0, 0, 0, 0])
    meadow.choose(MENU_BATTLE, 0)
    meadow.until(lambda: not meadow.fighting())
    assert word(meadow.party()[1:3]) < word(meadow.party()[0x22:0x24])
    assert meadow.party()[0x1D:0x21] == [0, 0, 0, 0]


def test_unknown_moves_written_from_outside_do_no_harm(meadow: Game) -> None:
    member_moves(meadow, 0x83, 0xA3)
    meadow.seek_battle()
    meadow.until(lambda: not meadow.fighting() and meadow.memory[UI_STATE] == OVERWORLD)


def test_disc_teaches_the_cutting_move_and_stays(meadow: Game) -> None:
    meadow.poke_bag((SLASH_DISC, 1), (0x05, 1))
    meadow.press("start")
    meadow.choose(MENU_START, 2)
    meadow.choose(MENU_BAG, 0)
    meadow.choose(8, 0)
    meadow.choose(MENU_TARGET, 0)
    assert meadow.party()[8:12] == [0x16, BUMP, MOVE_CUT, 0]
    assert meadow.party()[0x1D:0x21] == [30, 35, 30, 0]
    assert meadow.hold(SLASH_DISC) == 1


def test_party_screen_shows_stats_swaps_members_and_passes_its_hooks(meadow: Game) -> None:
    second_member(meadow, PEBBLOP)
    second = meadow.party(1)
    meadow.watch("party", 4, 0x70A9)
    meadow.watch("stats", 4, 0x7149)
    meadow.press("start")
    meadow.choose(MENU_START, 1)
    meadow.choose(MENU_PARTY, 1)
    meadow.choose(MENU_ACTION, 0)
    meadow.wait()
    assert meadow.memory[UI_MENU] == MENU_STATS and meadow.hooked == ["party", "stats"]
    meadow.choose(MENU_PARTY, 0)
    meadow.choose(MENU_ACTION, 1)
    meadow.choose(MENU_SWITCH, 1)
    meadow.wait()
    assert meadow.party(0) == second and meadow.memory[PARTY_SPECIES] == PEBBLOP
    meadow.until(lambda: meadow.memory[UI_STATE] == OVERWORLD, "b")


def test_random_buttons_keep_the_memory_true(meadow: Game) -> None:
    chance = random.Random(7)
    buttons = ["a", "a", "a", "up", "down", "left", "right", "b"]
    battles = 0
    for step in range(1500):
        before = meadow.fighting()
        meadow.press(chance.choice(buttons))
        battles += meadow.fighting() and not before
        if step % 100 == 0:
            meadow.poke_bag((0x05, 1), (CATCH_ORB, 5), (TONIC, 5))
    assert battles >= 3


def ready_to_grow(game: Game, level: int) -> None:
    """Let the first member stand one point below a level."""
    strengthen(game, level - 1)
    game.poke(PARTY + 0x0E, list((level**3 - 1).to_bytes(3, "big")))


def win_until_menu(game: Game, menu: int) -> None:
    """Fight with the third move until a menu opens."""
    for _ in range(80):
        game.wait()
        if game.memory[UI_STATE] == MENU and game.memory[UI_MENU] == menu:
            return
        if game.memory[UI_STATE] == MENU and game.memory[UI_MENU] == MENU_MOVES:
            game.choose(MENU_MOVES, 2)
        else:
            game.press("a")
    raise AssertionError("the menu never came")


@pytest.mark.parametrize("keep", [False, True])
def test_full_move_list_asks_and_never_offers_up_the_cutting_move(meadow: Game, keep: bool) -> None:
    member_moves(meadow, MOVE_CUT, GLOWER, BUMP, 0x6A)
    meadow.seek_battle()
    ready_to_grow(meadow, 9)  # learns SIP
    win_until_menu(meadow, MENU_LEARN)
    assert meadow.memory[UI_CURSOR] == 1
    if keep:
        meadow.press("b")
    else:
        meadow.choose(MENU_LEARN, 0)
        assert meadow.party()[8] == MOVE_CUT
        meadow.choose(MENU_LEARN, 1)
    meadow.until(lambda: not meadow.fighting())
    assert meadow.party()[8:12] == [MOVE_CUT, GLOWER if keep else 0x47, BUMP, 0x6A]


def test_starter_grows_into_another_species_that_cuts(meadow: Game) -> None:
    member_moves(meadow, BUMP)
    meadow.seek_battle()
    ready_to_grow(meadow, 14)
    assert meadow.party()[0] == STARTER
    meadow.until(lambda: not meadow.fighting())
    assert meadow.party()[0] == 0xB2 and meadow.memory[PARTY_SPECIES] == 0xB2


def generator() -> ModuleType:
    """Import cartridge/generate_battle.py."""
    path = ROM.parents[2] / "cartridge" / "generate_battle.py"
    spec = importlib.util.spec_from_file_location("generate_battle", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_give_the_same_text_twice_and_refuse_a_bad_name() -> None:
    module = generator()
    assert module.generate() == module.generate()
    with pytest.raises(SystemExit, match="bad name"):
        module.quoted("A NAME TOO LONG", 12)


def test_a_battle_replays_exactly_from_a_saved_state(meadow: Game) -> None:
    meadow.seek_battle()
    state = io.BytesIO()
    meadow.emulator.save_state(state)
    ends = []
    for _ in range(2):
        state.seek(0)
        meadow.emulator.load_state(state)
        for _ in range(30):
            meadow.press("a")
        ends.append(bytes(meadow.memory[0xC000:0xE000]))
    assert ends[0] == ends[1]
