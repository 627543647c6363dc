"""A player of the practice cartridge that presses buttons only: the yardstick, the demonstrator, the expert.

In: the game's RAM (a 64 KiB image or anything indexable by address). Out: the next button. It reads what a person would
see: where it stands, who is near, which menu is open, how the fight goes; it never writes RAM. What to do next follows
from badges, events, bag and health alone, so it has an answer from any state, whoever played before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from daddy_puffer.envs.world import FACING_ACTION, STEPS, Attribute, Cell, Person, World
from daddy_puffer.game import addresses as at
from daddy_puffer.types import Action

# what the cartridge says about its screen (UI_*, MENU_* of cartridge/src/format.h)
UI_STATE, UI_MENU, UI_CURSOR = 0xCD81, 0xCD82, 0xCD83
UI_OVERWORLD, UI_BUSY, UI_TEXT = 0, 1, 2
MENU_TITLE, MENU_INTRO, MENU_START, MENU_BAG, MENU_BAG_ACTION, MENU_YES_NO = 1, 2, 3, 7, 8, 9
MENU_SHOP, MENU_SHOP_BUY, MENU_BATTLE, MENU_MOVES, MENU_BATTLE_BAG = 10, 11, 12, 13, 14
MENU_SWITCH, MENU_LEARN, MENU_TARGET = 15, 16, 18
START_BAG, FIGHT, ITEM, RUN, BUY = 2, 0, 1, 3, 0  # entries of those menus

SPRITE_PICTURE, SPRITE_Y, SPRITE_X = 0xC100, 0xC204, 0xC205  # + 16 * slot; map coordinate + 4
FIGHTER_SLOT = 0xCC2F  # wPlayerMonNumber
ENEMY = 0xCFE5  # wEnemyMon: the one that fights now
TREE_TILES = (0x3D, 0x50)
WILD = 1

EVENT_OAK_GOT_PARCEL, EVENT_GOT_OAKS_PARCEL, EVENT_GOT_HM01 = 0x038, 0x039, 0x5E0
ITEM_PARCEL, ITEM_HM_CUT, MOVE_CUT = 0x46, 0xC4, 0x0F
POTION, SUPER_POTION = 0x14, 0x13
MAP_LAB, MAP_MART, MAP_GYM_1, MAP_GYM_2 = 40, 42, 54, 65
ALWAYS_THERE, NO_SHOP = 255, 255

WEAK_SHARE = 0.3  # of full HP: to the next centre
FIT_SHARE = 0.85  # below this a centre is worth a short detour
SHORT_DETOUR = 40  # steps
POTION_SHARE = 0.4  # of full HP: drink in a trainer's battle
RUN_SHARE = 0.3  # of full HP: run from a wild one
POTIONS_WANTED = 5
PATIENCE = 12  # calls without any change before trying something else


class Memory(Protocol):
    """RAM, one byte an address."""

    def __getitem__(self, address: int, /) -> int:
        """The byte at `address`."""
        ...


@dataclass(frozen=True, slots=True)
class Creature:
    """One member of the party, out of its 44-byte struct."""

    species: int
    hp: int
    max_hp: int
    types: tuple[int, int]
    moves: tuple[int, ...]
    power_points: tuple[int, ...]

    @classmethod
    def read(cls, memory: Memory, base: int) -> Creature:
        """Read the struct at `base` (numbers big-endian)."""
        return cls(
            species=memory[base],
            hp=memory[base + at.MON_HP] << 8 | memory[base + at.MON_HP + 1],
            max_hp=memory[base + at.MON_MAX_HP] << 8 | memory[base + at.MON_MAX_HP + 1],
            types=(memory[base + at.MON_TYPE_1], memory[base + at.MON_TYPE_2]),
            moves=tuple(memory[base + at.MON_MOVES + i] for i in range(4)),
            power_points=tuple(memory[base + at.MON_PP + i] & 0x3F for i in range(4)),
        )

    @property
    def share(self) -> float:
        """HP left, 0..1."""
        return self.hp / max(1, self.max_hp)


def party(memory: Memory) -> list[Creature]:
    """The player's creatures."""
    count = min(memory[at.PARTY_COUNT], at.PARTY_SLOTS)
    return [Creature.read(memory, at.PARTY_MONS + at.PARTY_STRIDE * i) for i in range(count)]


def bag(memory: Memory) -> dict[int, int]:
    """Item id to quantity, in bag order."""
    count = min(memory[at.BAG_COUNT], at.BAG_SLOTS)
    return {memory[at.BAG_ITEMS + 2 * i]: memory[at.BAG_ITEMS + 2 * i + 1] for i in range(count)}


def money(memory: Memory) -> int:
    """Three bytes of decimal digits."""
    return int("".join(f"{memory[at.MONEY + i]:02x}" for i in range(3)))


def event(memory: Memory, index: int) -> bool:
    """Whether a story event has happened."""
    return bool(memory[at.EVENTS + index // 8] >> index % 8 & 1)


def potions(memory: Memory) -> int:
    """Healing drinks in the bag."""
    items = bag(memory)
    return items.get(POTION, 0) + items.get(SUPER_POTION, 0)


def knows_cut(memory: Memory) -> bool:
    """A party member can cut trees, and the badge allows it."""
    return bool(memory[at.BADGES] & 1) and any(MOVE_CUT in creature.moves for creature in party(memory))


def choose(memory: Memory, wanted: int) -> Action:
    """Move the cursor to the entry `wanted`, then press A."""
    cursor = memory[UI_CURSOR]
    if cursor == wanted:
        return Action.A
    return Action.DOWN if cursor < wanted else Action.UP


class ScriptedPlayer:
    """Says which button to press now.

    Keeps one counter between calls, to get out of a place where its plan does not move it.
    """

    def __init__(self, world: World | None = None, detours: bool = True) -> None:
        """`world`: the map tables; None = those of the cartridge in the package; `detours`: to healers while fit."""
        self.world = world or World.load()
        self._detours = detours
        self._distances = lru_cache(maxsize=128)(self.world.distances)
        self._trees = frozenset(self.world.cells(Attribute.TREE))
        self._nurses = self._people("nurse")
        self._last_place: tuple[object, ...] | None = None
        self._still = 0  # calls without any change of place, facing or screen

    def act(self, memory: Memory) -> Action:
        """The button for this moment."""
        plan = self.plan(memory)
        action = Action.B if plan is None else plan  # without a way: somebody stands in it, wait
        return action if memory[UI_STATE] in (UI_TEXT, UI_BUSY) else self._unstick(memory, action)

    def plan(self, memory: Memory) -> Action | None:
        """What `act` would do in this moment alone, whatever was pressed before; None where it knows no way."""
        state = memory[UI_STATE]
        if state == UI_OVERWORLD:
            return self._overworld(memory)
        if state == UI_TEXT:
            return Action.A
        if state == UI_BUSY:
            return Action.B
        return self._fight(memory) if memory[at.IS_IN_BATTLE] in (1, 2) else self._menu(memory)

    # ---- what to do ----

    def _overworld(self, memory: Memory) -> Action | None:
        if self._wants_to_teach(memory):
            return Action.START
        goal = self._next_people(memory)
        return self._talk_to(memory, self._nurses if self._should_heal(memory, goal) else goal)

    def _wants_to_teach(self, memory: Memory) -> bool:
        able = any(creature.species in self.world.cutters for creature in party(memory))
        return able and bool(memory[at.BADGES] & 1) and ITEM_HM_CUT in bag(memory) and not knows_cut(memory)

    def _next_people(self, memory: Memory) -> Sequence[Person]:
        """Who is to be talked to next, any of them."""
        badges = memory[at.BADGES]
        if not badges & 1 or not event(memory, EVENT_GOT_HM01):
            return self._people("leader", MAP_GYM_1)
        if self._wants_potions(memory) and memory[at.MAP] == MAP_MART and event(memory, EVENT_GOT_OAKS_PARCEL):
            return self._people("clerk", MAP_MART)
        if not event(memory, EVENT_OAK_GOT_PARCEL):
            has_parcel = ITEM_PARCEL in bag(memory) or event(memory, EVENT_GOT_OAKS_PARCEL)
            return self._people("quest", MAP_LAB) if has_parcel else self._people("clerk", MAP_MART)
        if not badges & 2:
            return self._people("leader", MAP_GYM_2)
        return self._nurses

    def _wants_potions(self, memory: Memory) -> bool:
        return potions(memory) < POTIONS_WANTED and money(memory) >= self.world.prices[POTION]

    def _people(self, role: str, map_id: int | None = None) -> tuple[Person, ...]:
        return tuple(p for p in self.world.people() if p.role == role and map_id in (None, p.home.map))

    def _should_heal(self, memory: Memory, goal: Sequence[Person]) -> bool:
        """The party is weak, or somewhat hurt and a healer is near the way."""
        creatures = party(memory)
        health = sum(creature.hp for creature in creatures) / max(1, sum(creature.max_hp for creature in creatures))
        fighter = creatures[0] if creatures else None
        if health < WEAK_SHARE or (fighter and fighter.moves[0] and not any(fighter.power_points)):
            return True
        if health >= FIT_SHARE or not self._detours:
            return False
        here = self._here(memory)
        to_goal, to_nurse = self._ways(memory, goal), self._ways(memory, self._nurses)
        if here not in to_goal or here not in to_nurse:
            return False
        nurse = self._end_of_way(here, to_nurse)
        return to_nurse[here] + to_goal.get(nurse, SHORT_DETOUR) - to_goal[here] <= SHORT_DETOUR

    def _end_of_way(self, here: Cell, ways: dict[Cell, int]) -> Cell:
        """Where the way by `ways` ends."""
        while ways[here] and (step := self._best_step(here, ways)) is not None:
            here = step[1]
        return here

    # ---- how to get there ----

    def _here(self, memory: Memory) -> Cell:
        return Cell(memory[at.MAP], memory[at.X], memory[at.Y])

    def _position(self, memory: Memory, person: Person) -> Cell | None:
        """Where the person is now; None when hidden."""
        bit = person.missable
        if bit != ALWAYS_THERE and memory[at.MISSABLES + bit // 8] >> bit % 8 & 1:
            return None
        if person.home.map != memory[at.MAP]:
            return person.home
        base = 16 * person.slot
        if memory[SPRITE_PICTURE + base] == 0:
            return None
        return Cell(person.home.map, memory[SPRITE_X + base] - 4, memory[SPRITE_Y + base] - 4)

    def _blocked(self, memory: Memory) -> frozenset[Cell]:
        """Cells that people stand on, and trees that cannot be cut yet."""
        cells = frozenset(place for p in self.world.people() if (place := self._position(memory, p)) is not None)
        return cells if knows_cut(memory) else cells | self._trees

    def _stands(self, memory: Memory, person: Person) -> tuple[Cell, ...]:
        """Cells from which the person can be talked to: beside, or across a counter; in the order of STEPS."""
        position = self._position(memory, person) or person.home
        game_map = self.world.maps[position.map]
        cells: list[Cell] = []
        for dx, dy in STEPS.values():
            x, y = position.x - dx, position.y - dy
            if game_map.attribute(x, y) is Attribute.COUNTER:
                x, y = x - dx, y - dy
            cells.append(Cell(position.map, x, y))
        return tuple(cells)

    def _ways(self, memory: Memory, people: Iterable[Person]) -> dict[Cell, int]:
        """Cost of the way to any of `people` from every cell."""
        stands = tuple(cell for person in people for cell in self._stands(memory, person))
        return self._distances(stands, self._blocked(memory))

    def _talk_to(self, memory: Memory, people: Sequence[Person]) -> Action | None:
        here = self._here(memory)
        for person in people:
            stands = self._stands(memory, person)
            if here in stands:
                towards = list(STEPS)[stands.index(here)]
                return Action.A if FACING_ACTION.get(memory[at.FACING]) is towards else towards
        return self._step(memory, here, self._ways(memory, people))

    def _best_step(self, here: Cell, ways: dict[Cell, int]) -> tuple[Action, Cell] | None:
        """The step on the cheapest way, and where it ends."""
        steps = [(action, target) for action in STEPS if (target := self.world.destination(here, action)) in ways]
        return min(steps, key=lambda step: ways[step[1]] + self.world.step_cost(step[1]), default=None)

    def _step(self, memory: Memory, here: Cell, ways: dict[Cell, int]) -> Action | None:
        best = self._best_step(here, ways)
        if best is None:
            return None
        action = best[0]
        facing = FACING_ACTION.get(memory[at.FACING])
        if facing is action and memory[at.TILE_IN_FRONT] in TREE_TILES and self._tree_ahead(here, action):
            return Action.A
        return action

    def _tree_ahead(self, here: Cell, action: Action) -> bool:
        dx, dy = STEPS[action]
        return self.world.maps[here.map].attribute(here.x + dx, here.y + dy) is Attribute.TREE

    def _unstick(self, memory: Memory, action: Action) -> Action:
        """After many calls without any change, try other buttons in turn."""
        facts = (at.FACING, at.BAG_COUNT, UI_STATE, UI_MENU, UI_CURSOR, ENEMY + at.MON_HP + 1)
        place = (self._here(memory), *(memory[address] for address in facts))
        self._still = self._still + 1 if place == self._last_place else 0
        self._last_place = place
        if self._still <= PATIENCE:
            return action
        others = [*STEPS, Action.B] if memory[UI_STATE] == UI_OVERWORLD else [Action.B, Action.A]
        return others[self._still % len(others)]

    # ---- menus ----

    def _menu(self, memory: Memory) -> Action:
        menu = memory[UI_MENU]
        if menu in (MENU_TITLE, MENU_INTRO):
            return choose(memory, 0)
        if menu == MENU_LEARN:
            return Action.A  # the cursor waits on the weakest move
        if menu in (MENU_SHOP, MENU_SHOP_BUY):
            return self._shop(memory, menu)
        if not self._wants_to_teach(memory):
            return Action.B
        if menu == MENU_START:
            return choose(memory, START_BAG)
        if menu == MENU_BAG:
            return choose(memory, list(bag(memory)).index(ITEM_HM_CUT))
        if menu == MENU_BAG_ACTION:
            return choose(memory, 0)
        return Action.A if menu == MENU_TARGET else Action.B  # the cursor waits on one who can learn

    def _shop(self, memory: Memory, menu: int) -> Action:
        clerks = [p for p in self.world.maps[memory[at.MAP]].people if p.shop != NO_SHOP]
        goods = self.world.shops[clerks[0].shop] if clerks else ()
        if POTION not in goods or not self._wants_potions(memory):
            return Action.B
        return choose(memory, BUY if menu == MENU_SHOP else goods.index(POTION))

    # ---- fights ----

    def _fight(self, memory: Memory) -> Action:
        menu = memory[UI_MENU]
        creatures = party(memory)
        fighter = creatures[min(memory[FIGHTER_SLOT], len(creatures) - 1)]
        if menu == MENU_BATTLE:
            return choose(memory, self._tactic(memory, fighter, creatures))
        if menu == MENU_MOVES:
            return choose(memory, self._best_move(memory, fighter))
        if menu == MENU_BATTLE_BAG:
            return self._drink(memory, fighter)
        if menu == MENU_SWITCH:
            return choose(memory, max(range(len(creatures)), key=lambda i: creatures[i].hp))
        return Action.A if menu in (MENU_TARGET, MENU_LEARN) else Action.B

    def _tactic(self, memory: Memory, fighter: Creature, creatures: Sequence[Creature]) -> int:
        if memory[at.IS_IN_BATTLE] == WILD:
            alone = sum(creature.hp > 0 for creature in creatures) == 1
            return RUN if alone and fighter.share < RUN_SHARE else FIGHT
        return ITEM if fighter.share < POTION_SHARE and potions(memory) else FIGHT

    def _drink(self, memory: Memory, fighter: Creature) -> Action:
        items = list(bag(memory))
        if fighter.share >= POTION_SHARE:
            return Action.B
        for item in (SUPER_POTION, POTION):
            if item in items:
                return choose(memory, items.index(item))
        return Action.B

    def _best_move(self, memory: Memory, mine: Creature) -> int:
        """Index of the move with the highest expected damage that has power points left."""
        enemy_types = {memory[ENEMY + at.MON_TYPE_1], memory[ENEMY + at.MON_TYPE_2]}

        def worth(index: int) -> float:
            move = mine.moves[index]
            if move not in self.world.moves or mine.power_points[index] == 0:
                return -1.0
            kind, power, accuracy = self.world.moves[move]
            factor = 1.5 if kind in mine.types else 1.0
            for enemy_type in enemy_types:
                factor *= self.world.effectiveness.get((kind, enemy_type), 1.0)
            return power * accuracy * factor

        return max(range(4), key=worth)
