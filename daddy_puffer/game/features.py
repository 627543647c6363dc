"""The structured observation: `FEATURE_COUNT` float32 numbers out of a `GameState`, the last action and the time.

Fields named in `ID_FIELDS` hold raw ids to be looked up in an embedding; every other field is scaled to about [-1, 1].
`FEATURES` lists all fields in order with what they mean.
"""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

from daddy_puffer.game import addresses as at
from daddy_puffer.game.maps import MapKind, all_maps
from daddy_puffer.game.state import (
    BLOCK_CELLS,
    ENEMY_SLICE,
    PARTY_SLICE,
    RAM_SIZE,
    SURROUNDING_BLOCKS,
    GameState,
    offset,
)
from daddy_puffer.types import Action

FEATURES: tuple[tuple[str, str], ...] = (
    ("map_id", "raw id of the map"),
    ("lead_species", "raw species id of the first creature"),
    ("enemy_species", "raw species id of the opponent's creature in battle, else 0"),
    ("cell", "map, column and row, hashed to `CELL_IDS` ids: what is learned of a place need not be a smooth function"),
    ("x", "column / 32 - 1"),
    ("y", "row / 32 - 1"),
    *((f"facing_{name}", "1 when facing so") for name in ("down", "up", "left", "right")),
    *((f"place_{kind.name.lower()}", "1 when the map is such a place") for kind in MapKind),
    ("in_text", "1 while a text box is open"),
    ("battle_wild", "1 in a wild battle"),
    ("battle_trainer", "1 in a trainer battle"),
    ("menu_item", "cursor of the newest menu / 8, at most 1"),
    ("surfing", "1 while surfing"),
    *((f"badge_{index}", "1 when held") for index in range(1, 9)),
    ("party_size", "creatures / 6"),
    ("party_hp", "party HP over its maximum"),
    *((f"level_{slot}", "level of this party slot / 50") for slot in range(1, 7)),
    *((f"hp_{slot}", "HP share of this party slot") for slot in range(1, 7)),
    *((f"power_points_{move}", "power points of the lead's move / 32") for move in range(1, 5)),
    ("enemy_hp", "HP share of the opponent's creature in battle, else 0"),
    ("enemy_level", "its level / 50"),
    ("money", "money / 10000, at most 1"),
    ("bag_items", "kinds of items / 20"),
    ("seen", "species seen / 32, at most 1"),
    ("owned", "species owned / 16, at most 1"),
    ("event_count", "story flags set / 64, at most 1"),
    ("cells_visited", "cells visited in this episode / 512, at most 1"),
    ("maps_visited", "maps visited in this episode / 32, at most 1"),
    ("episode_time", "share of the episode's step limit gone"),
    ("faces_stranger", "1 when somebody stands in front who was not spoken to in this episode"),
    ("since_new", "steps since the last cell that was new / 128, at most 1"),
    *(
        (f"visited_{row}_{column}", "share of this block of 4x4 cells that was visited, the player's being 4, 4")
        for row in range(SURROUNDING_BLOCKS)
        for column in range(SURROUNDING_BLOCKS)
    ),
    *(
        (f"last_{action.name.lower()}", "1 when this was the last action; none at an episode's start")
        for action in Action
    ),
)
FEATURE_COUNT = len(FEATURES)
CELL_IDS = 1 << 13  # an episode sees some hundred cells, so few of them share an id
ID_FIELDS: tuple[tuple[str, int, int], ...] = (
    ("map", 0, 256),
    ("species", 1, 256),
    ("species", 2, 256),
    ("cell", 3, CELL_IDS),
)

_INDEX = {name: index for index, (name, _) in enumerate(FEATURES)}
_FACING, _PLACE, _TEXT, _BADGE = _INDEX["facing_down"], _INDEX["place_indoors"], _INDEX["in_text"], _INDEX["badge_1"]
_PARTY, _ENEMY, _MONEY = _INDEX["party_size"], _INDEX["enemy_hp"], _INDEX["money"]
_CELLS, _LAST = _INDEX["cells_visited"], _INDEX["last_down"]
_AROUND = slice(_INDEX["visited_0_0"], _INDEX["visited_0_0"] + SURROUNDING_BLOCKS**2)
_X = _INDEX["x"]
_EVENT_COUNT = _INDEX["event_count"]
_WILD, _MENU, _SURFING = _INDEX["battle_wild"], _INDEX["menu_item"], _INDEX["surfing"]
_MENU_ITEM, _SURF = offset(at.CURRENT_MENU_ITEM), offset(at.SURFING)
# the parts of `GameState.ram` that change together: place, facing, menu and text; battle; (the party;) all the rest
_PLACE_END = offset(at.FONT_LOADED) + 1
_BATTLE_SLICE = slice(offset(at.ENEMY_FIGHTER), offset(at.IS_IN_BATTLE) + 1)
_STORY_SLICE = slice(offset(at.DEX_OWNED), RAM_SIZE)


def cell_id(map_id: int, x: int, y: int) -> int:
    """An id below `CELL_IDS`; cells of one map up to 32 columns wide differ where their rows lie within 256."""
    return (map_id * 2654435761 + y * 32 + x) % CELL_IDS


def worth_trying(structured: NDArray[np.float32]) -> NDArray[np.int64]:
    """For each row `[B, F]` an action i64 `[B]` that a newcomer would try there, -1 = none: A before a stranger.

    -1 too for other observations than those of `FEATURES`.
    """
    if structured.shape[-1] != FEATURE_COUNT:
        return np.full(len(structured), -1, np.int64)
    return np.where(structured[:, _INDEX["faces_stranger"]] > 0, Action.A.value, -1).astype(np.int64)


def place_of(structured: NDArray[np.float32]) -> tuple[float, ...] | None:
    """Where a row `[F]` says that the player is in the game: cell, text, badges, story; None while somebody fights."""
    if structured[_WILD] or structured[_WILD + 1]:
        return None
    cell, text, story = structured[_X - 1], structured[_TEXT], structured[_EVENT_COUNT]
    return (float(cell), float(text), float(story), *structured[_BADGE : _BADGE + 8].tolist())


class FeatureWriter:
    """Writes the features of successive states into one row, redoing only the parts whose bytes changed.

    The row is an `array`: numpy takes several times as long to put a single number into its place.
    """

    def __init__(self, max_steps: int) -> None:
        """`max_steps`: the episode's step limit, for `episode_time`."""
        self._row = array("f", bytes(4 * FEATURE_COUNT))
        self._values: NDArray[np.float32] = np.frombuffer(self._row, np.float32)
        self._max_steps = max_steps
        self._ram = self._surroundings = b""
        self._facing, self._kind, self._last = _FACING, _PLACE, _LAST  # the field of each group that is 1

    def write(self, state: GameState, last_action: int | None) -> NDArray[np.float32]:
        """F32 `[FEATURE_COUNT]`, a new array every time."""
        row, ram, before = self._row, state.ram, self._ram
        if ram != before:
            if ram[:_PLACE_END] != before[:_PLACE_END]:
                self._place(state)
            if ram[_BATTLE_SLICE] != before[_BATTLE_SLICE]:
                self._battle(state)
            if ram[PARTY_SLICE] != before[PARTY_SLICE]:
                self._party(state)
            if ram[_STORY_SLICE] != before[_STORY_SLICE]:
                self._story(state)
            self._ram = ram
        row[_CELLS] = min(state.cells_visited / 512, 1.0)
        row[_CELLS + 1] = min(state.maps_visited / 32, 1.0)
        row[_CELLS + 2] = state.step / self._max_steps
        row[_CELLS + 3] = state.faces_stranger
        row[_CELLS + 4] = min(state.since_new / 128, 1.0)
        if state.surroundings != self._surroundings:
            self._surroundings = state.surroundings
            self._values[_AROUND] = np.frombuffer(state.surroundings, np.uint8) / np.float32(BLOCK_CELLS**2)
        row[self._last] = 0.0
        if last_action is not None:
            self._last = _LAST + last_action
            row[self._last] = 1.0
        return self._values.copy()

    def _place(self, state: GameState) -> None:
        row, ram = self._row, state.ram
        map_id, (x, y) = state.map_id, state.position
        row[0] = map_id
        row[_X - 1] = cell_id(map_id, x, y)
        row[_X], row[_X + 1] = x / 32 - 1, y / 32 - 1
        row[self._facing] = 0.0
        self._facing = _FACING + (state.facing & 3)
        row[self._facing] = 1.0
        fact = all_maps().get(map_id)
        row[self._kind] = 0.0
        self._kind = _PLACE + (fact.kind if fact else MapKind.INDOORS)
        row[self._kind] = 1.0
        row[_TEXT] = state.in_text
        row[_MENU] = min(ram[_MENU_ITEM] / 8, 1.0)

    def _battle(self, state: GameState) -> None:
        row, kind = self._row, state.battle_kind
        row[_WILD], row[_WILD + 1] = kind == 1, kind == 2
        enemy = state.enemy if kind in (1, 2) and any(state.ram[ENEMY_SLICE]) else None
        row[2] = enemy.species if enemy else 0
        row[_ENEMY] = enemy.hp / max(1, enemy.max_hp) if enemy else 0.0
        row[_ENEMY + 1] = enemy.level / 50 if enemy else 0.0

    def _party(self, state: GameState) -> None:
        creatures = state.party
        fields = [len(creatures) / 6, state.hp_share]
        padding = [0.0] * (at.PARTY_SLOTS - len(creatures))
        fields += [creature.level / 50 for creature in creatures] + padding
        fields += [creature.hp / max(1, creature.max_hp) for creature in creatures] + padding
        fields += [points / 32 for points in creatures[0].power_points] if creatures else [0.0] * 4
        self._row[_PARTY : _PARTY + len(fields)] = array("f", fields)
        self._row[1] = creatures[0].species if creatures else 0

    def _story(self, state: GameState) -> None:
        """What seldom changes: badges, money, bag, species known, flags."""
        row, bits = self._row, state.badge_bits
        row[_SURFING] = state.ram[_SURF] == 2
        for badge in range(8):
            row[_BADGE + badge] = bits >> badge & 1
        row[_MONEY] = min(state.money / 10_000, 1.0)
        row[_MONEY + 1] = len(state.bag) / at.BAG_SLOTS
        row[_MONEY + 2] = min(state.seen / 32, 1.0)
        row[_MONEY + 3] = min(state.owned / 16, 1.0)
        row[_EVENT_COUNT] = min(state.event_count / 64, 1.0)
