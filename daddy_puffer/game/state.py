"""`GameState`: what the RAM says at one moment, decoded when asked.

In: a 64 KiB memory image, or an emulator's memory through `RamReader` (a few slices, the hot path). Out: numbers with
their multi-byte order put right. A state is a short byte string and three counters of the episode, so that "nothing
changed" is one comparison of bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

from daddy_puffer.arrays import Arrays, as_bytes, as_json, from_json
from daddy_puffer.game import addresses as at
from daddy_puffer.game import facts
from daddy_puffer.game.maps import map_name

# what is kept of the RAM, in this order, back to back
SEGMENTS: tuple[tuple[int, int], ...] = (
    (at.MAP, 5),  # map, ., ., y, x: first, to be cheap to compare
    (at.FACING, 1),
    (at.CURRENT_MENU_ITEM, 1),
    (at.JOY_IGNORE, 1),
    (at.FONT_LOADED, 3),
    (at.ENEMY_FIGHTER, at.FIGHTER_BYTES),
    (at.IS_IN_BATTLE, 1),
    (at.PARTY_COUNT, at.PARTY_MONS - at.PARTY_COUNT + at.PARTY_SLOTS * at.PARTY_STRIDE),
    (at.DEX_OWNED, at.BADGES + 1 - at.DEX_OWNED),
    (at.TILESET, 1),
    (at.MISSABLES, at.MISSABLE_BYTES),
    (at.SS_ANNE_2F_SCRIPT, 1),
    (at.SURFING, at.MOVEMENT_FLAGS + 1 - at.SURFING),
    (at.EVENTS, at.EVENT_BYTES),
    (at.TEXT_ID, 1),
)
MEMORY_SIZE = 0x10000
AHEAD = ((0, 1), (0, -1), (-1, 0), (1, 0))  # x and y of the cell in front, by `GameState.facing`
BLOCK_CELLS = 4  # a side, on the picture of the world
SURROUNDING_BLOCKS = 9  # a side, the player's in the middle
_OFFSETS: dict[int, int] = {}
for _start, _length in SEGMENTS:
    _base = len(_OFFSETS)
    for _index in range(_length):
        _OFFSETS[_start + _index] = _base + _index
RAM_SIZE = len(_OFFSETS)


def offset(address: int) -> int:
    """Where `address` lies in `GameState.ram`. Raises KeyError when it is not kept."""
    return _OFFSETS[address]


_MAP, _X, _Y, _FACING = offset(at.MAP), offset(at.X), offset(at.Y), offset(at.FACING)
_BATTLE, _BADGES, _TILESET, _FONT = (
    offset(at.IS_IN_BATTLE),
    offset(at.BADGES),
    offset(at.TILESET),
    offset(at.FONT_LOADED),
)
_PARTY_COUNT, _PARTY_MONS = offset(at.PARTY_COUNT), offset(at.PARTY_MONS)
_EVENTS, _MISSABLES, _TEXT_ID = offset(at.EVENTS), offset(at.MISSABLES), offset(at.TEXT_ID)
_OWNED, _SEEN = offset(at.DEX_OWNED), offset(at.DEX_SEEN)
_BAG_COUNT, _BAG_ITEMS, _MONEY = offset(at.BAG_COUNT), offset(at.BAG_ITEMS), offset(at.MONEY)
_ENEMY = offset(at.ENEMY_FIGHTER)
PARTY_SLICE = slice(_PARTY_COUNT, _PARTY_MONS + at.PARTY_SLOTS * at.PARTY_STRIDE)
EVENT_SLICE = slice(_EVENTS, _EVENTS + at.EVENT_BYTES)
MISSABLE_SLICE = slice(_MISSABLES, _MISSABLES + at.MISSABLE_BYTES)
BAG_SLICE = slice(_BAG_COUNT, _BAG_ITEMS + 2 * at.BAG_SLOTS)
OWNED_SLICE = slice(_OWNED, _OWNED + at.DEX_BYTES)
SEEN_SLICE = slice(_SEEN, _SEEN + at.DEX_BYTES)
ENEMY_SLICE = slice(_ENEMY, _ENEMY + at.FIGHTER_BYTES)


@dataclass(frozen=True, slots=True)
class Creature:
    """One creature out of its 44-byte struct."""

    species: int
    level: int
    hp: int
    max_hp: int
    status: int
    types: tuple[int, int]
    moves: tuple[int, int, int, int]
    power_points: tuple[int, int, int, int]
    attack: int
    defense: int
    speed: int
    special: int

    @classmethod
    def from_struct(cls, data: bytes) -> Creature:
        """Decode 44 bytes."""

        def big(position: int) -> int:
            return data[position] << 8 | data[position + 1]

        moves, points = data[at.MON_MOVES : at.MON_MOVES + 4], data[at.MON_PP : at.MON_PP + 4]
        return cls(
            species=data[at.MON_SPECIES],
            level=data[at.MON_LEVEL],
            hp=big(at.MON_HP),
            max_hp=big(at.MON_MAX_HP),
            status=data[at.MON_STATUS],
            types=(data[at.MON_TYPE_1], data[at.MON_TYPE_2]),
            moves=(moves[0], moves[1], moves[2], moves[3]),
            power_points=(points[0] & 0x3F, points[1] & 0x3F, points[2] & 0x3F, points[3] & 0x3F),
            attack=big(at.MON_ATTACK),
            defense=big(at.MON_DEFENSE),
            speed=big(at.MON_SPEED),
            special=big(at.MON_SPECIAL),
        )


@dataclass(frozen=True, slots=True)
class Opponent:
    """What a trained eye sees of the opponent's creature, out of its battle struct."""

    species: int
    level: int
    hp: int
    max_hp: int

    @classmethod
    def from_struct(cls, data: bytes) -> Opponent:
        """Decode 29 bytes."""
        hp, most = data[at.FIGHTER_HP : at.FIGHTER_HP + 2], data[at.FIGHTER_MAX_HP : at.FIGHTER_MAX_HP + 2]
        return cls(
            species=data[at.FIGHTER_SPECIES],
            level=data[at.FIGHTER_LEVEL],
            hp=int.from_bytes(hp, "big"),
            max_hp=int.from_bytes(most, "big"),
        )


@dataclass(frozen=True, slots=True)
class GameState:
    """One moment. `ram`: the kept segments; the counters are of the episode so far and come from the environment."""

    ram: bytes
    cells_visited: int = 0
    maps_visited: int = 0
    talks: int = 0
    faces_stranger: bool = False  # somebody in front to whom the player has not spoken yet
    since_new: int = 0  # steps since the last cell that was new
    surroundings: bytes = bytes(SURROUNDING_BLOCKS**2)  # visited cells of the blocks around, row by row
    step: int = 0

    def to_arrays(self) -> Arrays:
        """As arrays for `np.savez`."""
        numbers = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("ram", "surroundings")}
        kept = {"ram": as_bytes(self.ram), "surroundings": as_bytes(self.surroundings)}
        return {**kept, "numbers": as_json(numbers)}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> GameState:
        """The inverse of `to_arrays`.

        Raises:
            ValueError: they are of another size.
        """
        sizes = arrays["ram"].size, arrays["surroundings"].size
        if sizes != (RAM_SIZE, SURROUNDING_BLOCKS**2):
            raise ValueError(f"the game's memory and surroundings are {sizes[0]} and {sizes[1]} bytes")
        numbers = from_json(arrays["numbers"])
        return cls(ram=arrays["ram"].tobytes(), surroundings=arrays["surroundings"].tobytes(), **numbers)

    @classmethod
    def from_memory(cls, image: bytes | Sequence[int]) -> GameState:
        """Out of a 64 KiB memory image.

        Raises:
            ValueError: the image is not 65,536 bytes.
        """
        if len(image) != MEMORY_SIZE:
            raise ValueError(f"a memory image has {MEMORY_SIZE} bytes, got {len(image)}")
        return cls(b"".join(bytes(image[start : start + length]) for start, length in SEGMENTS))

    @property
    def map_id(self) -> int:
        """Current map."""
        return self.ram[_MAP]

    @property
    def map_name(self) -> str:
        """Current map's name."""
        return map_name(self.ram[_MAP])

    @property
    def position(self) -> tuple[int, int]:
        """(x, y) in cells."""
        return self.ram[_X], self.ram[_Y]

    @property
    def facing(self) -> int:
        """0 down, 1 up, 2 left, 3 right."""
        return self.ram[_FACING] // 4

    @property
    def tileset(self) -> int:
        """Tileset id of the map."""
        return self.ram[_TILESET]

    @property
    def in_text(self) -> bool:
        """A text box is open."""
        return self.ram[_FONT] != 0

    @property
    def text_id(self) -> int:
        """Number on this map of whom or what the last text was of."""
        return self.ram[_TEXT_ID]

    @property
    def battle_kind(self) -> int:
        """0 none, 1 wild, 2 trainer, 255 lost."""
        return self.ram[_BATTLE]

    @property
    def badges(self) -> int:
        """Number of badges."""
        return self.ram[_BADGES].bit_count()

    @property
    def badge_bits(self) -> int:
        """Bit i = badge i + 1."""
        return self.ram[_BADGES]

    @property
    def party_size(self) -> int:
        """Creatures in the party, at most 6."""
        return min(self.ram[_PARTY_COUNT], at.PARTY_SLOTS)

    def slot(self, index: int) -> Creature:
        """The struct of slot 0..5, in use or not."""
        start = _PARTY_MONS + index * at.PARTY_STRIDE
        return Creature.from_struct(self.ram[start : start + at.PARTY_STRIDE])

    @property
    def party(self) -> list[Creature]:
        """The creatures in use."""
        return [self.slot(index) for index in range(self.party_size)]

    @property
    def enemy(self) -> Opponent:
        """Who stands against the player; out of battle, who did so last."""
        return Opponent.from_struct(self.ram[ENEMY_SLICE])

    @property
    def levels(self) -> list[int]:
        """Level of each creature in the party."""
        first = _PARTY_MONS + at.MON_LEVEL
        return [self.ram[first + index * at.PARTY_STRIDE] for index in range(self.party_size)]

    @property
    def hp_share(self) -> float:
        """Party HP over party maximum, 0..1."""
        hp = most = 0
        for index in range(self.party_size):
            start = _PARTY_MONS + index * at.PARTY_STRIDE
            hp += self.ram[start + at.MON_HP] << 8 | self.ram[start + at.MON_HP + 1]
            most += self.ram[start + at.MON_MAX_HP] << 8 | self.ram[start + at.MON_MAX_HP + 1]
        return hp / most if most else 0.0

    @property
    def bag(self) -> dict[int, int]:
        """Item id to quantity."""
        count = min(self.ram[_BAG_COUNT], at.BAG_SLOTS)
        pairs = self.ram[_BAG_ITEMS : _BAG_ITEMS + 2 * count]
        return dict(zip(pairs[::2], pairs[1::2], strict=True))

    @property
    def money(self) -> int:
        """Decimal digits put together; half bytes above 9 (upstream writes such money) count as they are."""
        value = 0
        for byte in self.ram[_MONEY : _MONEY + 3]:
            value = value * 100 + (byte >> 4) * 10 + (byte & 0xF)
        return value

    @property
    def seen(self) -> int:
        """Species seen."""
        return int.from_bytes(self.ram[SEEN_SLICE], "little").bit_count()

    @property
    def owned(self) -> int:
        """Species owned."""
        return int.from_bytes(self.ram[OWNED_SLICE], "little").bit_count()

    @property
    def event_bits(self) -> bytes:
        """The 320 bytes of wEventFlags."""
        return self.ram[EVENT_SLICE]

    @property
    def event_count(self) -> int:
        """Story flags that are set."""
        return int.from_bytes(self.ram[EVENT_SLICE], "little").bit_count()

    def event(self, name: str) -> bool:
        """Whether the named story event has happened. Raises KeyError for a name the game does not have."""
        index = facts.event_index()[name]
        return bool(self.ram[_EVENTS + index // 8] >> index % 8 & 1)

    @property
    def events(self) -> list[str]:
        """Names of all events that have happened."""
        return [name for name in facts.event_index() if self.event(name)]

    def missable(self, bit: int) -> bool:
        """Whether the hide bit of a person or thing is set."""
        return bool(self.ram[_MISSABLES + bit // 8] >> bit % 8 & 1)


class SlicedMemory(Protocol):
    """An emulator's memory: `memory[start:stop]` gives the bytes as integers."""

    def __getitem__(self, key: slice, /) -> Sequence[int]:
        """Bytes start..stop-1."""
        ...


class RamReader:
    """Reads the kept segments out of an emulator's memory: the hot path, one call a step."""

    def __init__(self, memory: SlicedMemory) -> None:
        """`memory`: something like `pyboy.memory`."""
        self._memory = memory
        self._slices = [slice(start, start + length) for start, length in SEGMENTS]

    def read(self) -> bytes:
        """The bytes of a `GameState.ram`."""
        memory = self._memory
        kept: list[int] = []
        for part in self._slices:
            kept += memory[part]
        return bytes(bytearray(kept))  # five times as fast as bytes(kept)

    def person_ahead(self, state: GameState) -> int:
        """Number on the map of whoever stands on the cell in front of the player, 0 = nobody; that of `text_id`.

        Where people stand is no part of `GameState.ram`: they walk about while the player does nothing.
        """
        count = min(self._memory[at.SPRITE_COUNT : at.SPRITE_COUNT + 1][0], at.MOST_SPRITES)
        if not count or state.battle_kind:
            return 0
        (x, y), (right, down) = state.position, AHEAD[state.facing & 3]
        wanted = [y + down + at.SPRITE_OFFSET, x + right + at.SPRITE_OFFSET]
        places = self._memory[at.SPRITES : at.SPRITES + at.SPRITE_BYTES * count]
        for number in range(count):
            begin = number * at.SPRITE_BYTES
            if list(places[begin : begin + 2]) == wanted:
                return number + 1
        return 0
