"""From pixels and RAM to arrays: the keys of upstream's observation, with multi-byte numbers decoded right.

In: the screen (144, 160, 4), a `GameState`, the visited cells. Out: arrays by key.
Deviations from upstream: HP and stats are big-endian numbers (upstream's are byte-swapped); visited cells are of this
episode; scalars have shape (1,).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from daddy_puffer.arrays import Arrays, as_json, from_json
from daddy_puffer.game import addresses as at
from daddy_puffer.game.maps import WORLD_HEIGHT, WORLD_WIDTH, world_cell
from daddy_puffer.game.state import (
    AHEAD,
    BAG_SLICE,
    BLOCK_CELLS,
    EVENT_SLICE,
    PARTY_SLICE,
    SURROUNDING_BLOCKS,
    GameState,
    RamReader,
    offset,
)
from daddy_puffer.types import MOST_VISITED, VISITED_SHAPE, Action

Array8 = NDArray[np.uint8]
Builder = Callable[[bytes], dict[str, NDArray[np.generic]]]
_PARTY_BYTES = ("species", "status", "type1", "type2", "level")
_PARTY_BYTE_OFFSETS = (at.MON_SPECIES, at.MON_STATUS, at.MON_TYPE_1, at.MON_TYPE_2, at.MON_LEVEL)
_PARTY_WORDS = ("hp", "maxHP", "attack", "defense", "speed", "special")
_PARTY_WORD_OFFSETS = (at.MON_HP, at.MON_MAX_HP, at.MON_ATTACK, at.MON_DEFENSE, at.MON_SPEED, at.MON_SPECIAL)
_SCALARS = (
    "direction", "blackout_map_id", "battle_type", "map_id", "rival_3", "game_corner_rocket", "saffron_guard", "lapras",
)  # fmt: skip
_MAP, _BLACKOUT = offset(at.MAP), offset(at.BLACKOUT_MAP)
_FACING, _BATTLE, _SCRIPT = offset(at.FACING), offset(at.IS_IN_BATTLE), offset(at.SS_ANNE_2F_SCRIPT)
_SAFARI, _FLAGS_1, _FLAGS_4 = offset(at.SAFARI_STEPS), offset(at.STATUS_FLAGS_1), offset(at.STATUS_FLAGS_4)
_HIDE_ROCKET = 70  # missable bit of the game corner's guard
_BLOCK_MARGIN = SURROUNDING_BLOCKS // 2
_BLOCKS_SHAPE = tuple(-(-side // BLOCK_CELLS) + 2 * _BLOCK_MARGIN for side in (WORLD_HEIGHT, WORLD_WIDTH))
_SIX, _LEVELS, _TOP_BYTE = np.uint32(6), np.uint32(0x03030303), np.uint32(24)
_GATHER = np.uint32(1 << 30 | 1 << 20 | 1 << 10 | 1)
UPSTREAM_KEYS = (
    "screen", "visited_mask", *_SCALARS, "bag_items", "bag_quantity", *_PARTY_BYTES, *_PARTY_WORDS, "moves", "events",
    "safari_steps",
)  # fmt: skip


def screen_shape(reduce_res: bool, two_bit: bool) -> tuple[int, int, int]:
    """Height, width (bytes when packed), 1."""
    height, width = (72, 80) if reduce_res else (144, 160)
    return height, width // 4 if two_bit else width, 1


def pack_two_bit(greys: Array8) -> Array8:
    """Greys `[H, W]` to bytes of four pixels `[H, W // 4]`, leftmost in bits 7-6; grey >> 6 is the level 0..3."""
    # four greys at once: their levels lie at bits 0, 8, 16, 24, and one product moves them to bits 30, 28, 26, 24
    quads = np.ascontiguousarray(greys).view("<u4") >> _SIX
    quads &= _LEVELS
    quads *= _GATHER
    quads >>= _TOP_BYTE
    return quads.astype(np.uint8)


class VisitedCells:
    """How often this episode came onto each cell, as counts and as a picture of the world.

    The picture shows levels: 0 never, 1 once, 2 two or three times, 3 four to seven times, at most `MOST_VISITED`.
    Where all that is in sight is known, they tell a way tried twice from one that was walked to and fro. Whoever
    was spoken to stands on a cell that is not 0 any more. A coarse picture, of blocks of cells, reaches further than
    the screen: it tells which way there is something left where all in sight is known.
    """

    def __init__(self) -> None:
        """Nothing visited."""
        self.version = 0  # another one for every other picture of the world
        self.world: Array8 = np.zeros((WORLD_HEIGHT, WORLD_WIDTH), np.uint8)
        self._blocks: Array8 = np.zeros(_BLOCKS_SHAPE, np.uint8)  # visited cells
        self._surroundings = bytes(SURROUNDING_BLOCKS**2)
        self._new_at = 0  # step
        self._times: dict[tuple[int, int, int], int] = {}  # the player came onto the cell
        self._maps: set[int] = set()
        self._addressed: set[tuple[int, int]] = set()  # map and number on it
        self._cell: tuple[int, int, int] | None = None
        self._here = (0, 0)

    def clear(self) -> None:
        """A new episode."""
        self.version += 1
        self.world[:] = self._blocks[:] = 0
        self._new_at = 0
        self._times.clear()
        self._maps.clear()
        self._addressed.clear()
        self._cell = None

    def visit(self, map_id: int, x: int, y: int) -> tuple[int, int]:
        """Stand on a cell; returns how many cells and maps were visited so far."""
        cell = (map_id, x, y)
        if cell != self._cell:
            self._cell, self._here = cell, world_cell(map_id, x, y)
            self._maps.add(map_id)
            self._times[cell] = times = self._times.get(cell, 0) + 1
            level = min(times.bit_length(), MOST_VISITED)
            if self.world[self._here] != level:
                self.world[self._here] = level
                self.version += 1
            self._look_around(times == 1)
        return len(self._times), len(self._maps)

    def _look_around(self, new: bool) -> None:
        """Count a `new` cell in its block; remember the blocks around it."""
        row, column = (place // BLOCK_CELLS + _BLOCK_MARGIN for place in self._here)
        if new and self._blocks[row, column] < BLOCK_CELLS**2:  # cells of unknown maps all lie on one place
            self._blocks[row, column] += 1
        rows = slice(row - _BLOCK_MARGIN, row + _BLOCK_MARGIN + 1)
        self._surroundings = self._blocks[rows, column - _BLOCK_MARGIN : column + _BLOCK_MARGIN + 1].tobytes()

    def look(self, before: GameState | None, action: int, reader: RamReader, step: int) -> GameState:
        """What is read after `action`, `before` being the state before it (None: an episode begins)."""
        ram = reader.read()
        state = GameState(ram)
        x, y = state.position
        known = len(self._times)
        cells, maps = self.visit(state.map_id, x, y)
        if cells > known or before is None:
            self._new_at = step
        if before and action == Action.A and state.in_text and not (before.in_text or state.battle_kind):
            self._address(state)
        person = reader.person_ahead(state)
        return GameState(
            ram,
            cells_visited=cells,
            maps_visited=maps,
            talks=len(self._addressed),
            faces_stranger=bool(person) and (state.map_id, person) not in self._addressed,
            since_new=max(0, step - self._new_at),  # a host may begin to count anew
            surroundings=self._surroundings,
            step=step,
        )

    def _address(self, state: GameState) -> None:
        """A text box opened at the press of A: somebody, or a sign, is in front of the player."""
        self._addressed.add((state.map_id, state.text_id))
        (row, column), (right, down) = self._here, AHEAD[state.facing & 3]
        if not self.world[row + down, column + right]:
            self.world[row + down, column + right] = 1
            self.version += 1

    def cells(self) -> Array8:
        """Map, x and y of those visited, u8 `[V, 3]`, in no order."""
        return np.array(list(self._times), np.uint8).reshape(-1, 3)

    def restore(self, cells: Array8) -> None:
        """Make exactly these `[V, 3]` the visited ones, once each."""
        self.clear()
        for map_id, x, y in cells.tolist():
            self.visit(map_id, x, y)

    def get_state(self) -> Arrays:
        """Everything."""
        world, blocks = np.flatnonzero(self.world), np.flatnonzero(self._blocks)
        rest = [self._new_at, sorted(self._maps), sorted(self._addressed), self._cell, self._here]
        return {
            "times": np.array([(*cell, times) for cell, times in self._times.items()], np.int64).reshape(-1, 4),
            "world": np.stack([world, self.world.flat[world]]),
            "blocks": np.stack([blocks, self._blocks.flat[blocks]]),
            "surroundings": np.frombuffer(self._surroundings, np.uint8),
            "rest": as_json(rest),
        }

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave."""
        self.clear()
        self._times.update(((map_id, x, y), times) for map_id, x, y, times in state["times"].tolist())
        for picture, name in ((self.world, "world"), (self._blocks, "blocks")):
            picture.flat[state[name][0]] = state[name][1]
        self._surroundings = state["surroundings"].tobytes()
        self._new_at, maps, addressed, cell, here = from_json(state["rest"])
        self._maps.update(maps)
        self._addressed.update((map_id, number) for map_id, number in addressed)
        self._cell = None if cell is None else tuple(cell)
        self._here = tuple(here)

    @property
    def view_key(self) -> tuple[int, tuple[int, int]]:
        """Equal keys, equal `around`."""
        return self.version, self._here

    def around(self, rows: int = VISITED_SHAPE[0]) -> Array8:
        """U8 `[rows, 10]`: levels of the cells on the screen, the player's at [4, 4]; a view."""
        row, column = self._here
        return self.world[row - 4 : row - 4 + rows, column - 4 : column + 6]


class Observer:
    """Builds the wanted keys of the observation."""

    def __init__(self, keys: tuple[str, ...], reduce_res: bool, two_bit: bool) -> None:
        """`keys`: of `UPSTREAM_KEYS` or "visited"."""
        self._keys = frozenset(keys)
        self._stride = 2 if reduce_res else 1
        self._two_bit = two_bit
        self._shape = screen_shape(reduce_res, two_bit)
        every = self._all_spaces()
        self.space = spaces.Dict({key: every[key] for key in keys})
        of_ram = every.keys() - {"screen", "visited", "visited_mask"}
        self._wants_ram, self._wants_all_ram = bool(self._keys & of_ram), self._keys >= of_ram
        self._parts: tuple[tuple[slice, Builder], ...] = (
            (PARTY_SLICE, self._party_arrays),
            (BAG_SLICE, self._bag_arrays),
            (EVENT_SLICE, self._event_arrays),
        )
        self._mask_key: tuple[int, tuple[int, int]] | None = None
        self._mask: Array8 = np.zeros(self._shape, np.uint8)
        self._seen: dict[Builder, bytes] = {}
        self._built: dict[Builder, dict[str, NDArray[np.generic]]] = {}

    def _all_spaces(self) -> dict[str, spaces.Box]:
        def byte(*shape: int) -> spaces.Box:
            return spaces.Box(0, 255, shape, np.uint8)

        def word(*shape: int) -> spaces.Box:
            return spaces.Box(0, 0xFFFF, shape, np.uint32)

        found = {"screen": byte(*self._shape), "visited_mask": byte(*self._shape), "visited": byte(*VISITED_SHAPE)}
        found |= {key: byte(1) for key in _SCALARS}
        found |= {"bag_items": byte(at.BAG_SLOTS), "bag_quantity": byte(at.BAG_SLOTS)}
        found |= {key: byte(at.PARTY_SLOTS) for key in _PARTY_BYTES}
        found |= {key: word(at.PARTY_SLOTS) for key in _PARTY_WORDS}
        found |= {"moves": byte(at.PARTY_SLOTS, 4), "events": byte(at.EVENT_BYTES)}
        return found | {"safari_steps": word(1)}

    def observe(self, screen: Array8, state: GameState, visited: VisitedCells) -> dict[str, NDArray[np.generic]]:
        """The observation; its arrays may be kept, and must not be written to."""
        keys = self._keys
        found: dict[str, NDArray[np.generic]] = {}
        if "screen" in keys:
            stride = self._stride
            pixels = screen[::stride, ::stride, 1]
            found["screen"] = (pack_two_bit(pixels) if self._two_bit else pixels.copy())[:, :, None]
        if "visited" in keys:
            in_battle = state.battle_kind
            found["visited"] = np.zeros(VISITED_SHAPE, np.uint8) if in_battle else visited.around().copy()
        if "visited_mask" in keys:
            found["visited_mask"] = self._visited_mask(state, visited)
        if self._wants_ram:
            found |= self._scalars(state)
            for part, build in self._parts:
                data = state.ram[part]
                if self._seen.get(build) != data:  # arrays are built anew when their bytes changed, never written to
                    self._seen[build], self._built[build] = data, build(data)
                found |= self._built[build]
            if not self._wants_all_ram:
                found = {key: found[key] for key in self.space.spaces}
        return found

    def _visited_mask(self, state: GameState, visited: VisitedCells) -> Array8:
        """Cells of 8x8 pixels (16x16 at full resolution), the player's at rows 29-36, columns 32-39 (29 = 32 - 3)."""
        if state.battle_kind:
            return np.zeros(self._shape, np.uint8)
        if self._mask_key != visited.view_key:  # mostly one stands where one stood
            self._mask_key, self._mask = visited.view_key, self._draw_mask(visited)
        return self._mask

    def _draw_mask(self, visited: VisitedCells) -> Array8:
        height, width, _ = self._shape
        cell = 16 // self._stride
        # one broadcast copy: [10 cells, pixels of a cell, 10 cells, bytes of a cell]
        mask = np.empty((10, cell, 10, width // 10), np.uint8)
        mask[:] = ((visited.around(10) != 0) * np.uint8(255))[:, None, :, None]
        top = 3 * cell // 8
        return mask.reshape(-1, width, 1)[top : top + height]

    def _party_arrays(self, data: bytes) -> dict[str, NDArray[np.generic]]:
        structs = np.frombuffer(data, np.uint8)[at.PARTY_MONS - at.PARTY_COUNT :].reshape(at.PARTY_SLOTS, -1)
        arrays: dict[str, NDArray[np.generic]] = {
            key: structs[:, where].copy() for key, where in zip(_PARTY_BYTES, _PARTY_BYTE_OFFSETS, strict=True)
        }
        for key, where in zip(_PARTY_WORDS, _PARTY_WORD_OFFSETS, strict=True):
            arrays[key] = structs[:, where].astype(np.uint32) << 8 | structs[:, where + 1]
        return arrays | {"moves": structs[:, at.MON_MOVES : at.MON_MOVES + 4].copy()}

    def _bag_arrays(self, data: bytes) -> dict[str, NDArray[np.generic]]:
        pairs = np.frombuffer(data, np.uint8)[1:].copy()
        pairs[2 * data[0] :] = 0
        return {"bag_items": pairs[0::2].copy(), "bag_quantity": pairs[1::2].copy()}

    def _event_arrays(self, data: bytes) -> dict[str, NDArray[np.generic]]:
        return {"events": np.frombuffer(data, np.uint8)}

    def _scalars(self, state: GameState) -> dict[str, NDArray[np.generic]]:
        ram = state.ram
        values = np.array(
            (
                ram[_FACING] // 4,
                ram[_BLACKOUT],
                (ram[_BATTLE] + 1) & 0xFF,
                ram[_MAP],
                ram[_SCRIPT] == 4,
                state.missable(_HIDE_ROCKET),
                ram[_FLAGS_1] >> 6 & 1,
                ram[_FLAGS_4] & 1,
            ),
            np.uint8,
        )
        found: dict[str, NDArray[np.generic]] = {key: values[i : i + 1] for i, key in enumerate(_SCALARS)}
        found["safari_steps"] = np.array((ram[_SAFARI] << 8 | ram[_SAFARI + 1],), np.uint32)
        return found
