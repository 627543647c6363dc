"""The terms a reward is made of: pure functions (before, after) -> float, unweighted.

All but `heal`, `key_item` and `damage` are differences of a potential, so that nothing is won by going back and forth;
`idle` only costs.
"""

from __future__ import annotations

from collections.abc import Callable

from daddy_puffer.game import addresses
from daddy_puffer.game.milestones import MILESTONES
from daddy_puffer.game.state import (
    BAG_SLICE,
    ENEMY_SLICE,
    EVENT_SLICE,
    OWNED_SLICE,
    PARTY_SLICE,
    SEEN_SLICE,
    GameState,
    offset,
)

Term = Callable[[GameState, GameState], float]

LEVEL_KNEE = 15  # level sum from which on a level counts a quarter (upstream's get_levels_reward)
_FACING = offset(addresses.FACING)
KEY_ITEMS = frozenset(milestone.item for milestone in MILESTONES if milestone.kind == "item")


def event(before: GameState, after: GameState) -> float:
    """Story flags newly set, minus those cleared."""
    if before.ram[EVENT_SLICE] == after.ram[EVENT_SLICE]:
        return 0.0
    return float(after.event_count - before.event_count)


def badge(before: GameState, after: GameState) -> float:
    """Badges won."""
    return float(after.badges - before.badges)


def cell(before: GameState, after: GameState) -> float:
    """Cells stepped on for the first time in this episode."""
    return float(after.cells_visited - before.cells_visited)


def new_map(before: GameState, after: GameState) -> float:
    """Maps entered for the first time in this episode."""
    return float(after.maps_visited - before.maps_visited)


def talk(before: GameState, after: GameState) -> float:
    """People spoken to and signs read for the first time in this episode, wherever they stand."""
    return float(after.talks - before.talks)


def level(before: GameState, after: GameState) -> float:
    """Levels of the whole party gained; a quarter each above a sum of 15."""
    if before.ram[PARTY_SLICE] == after.ram[PARTY_SLICE]:
        return 0.0
    return _level_potential(after) - _level_potential(before)


def heal(before: GameState, after: GameState) -> float:
    """Share of the party's HP regained, without a new creature or level in between."""
    if before.ram[PARTY_SLICE] == after.ram[PARTY_SLICE] or before.levels != after.levels:
        return 0.0
    return max(0.0, after.hp_share - before.hp_share)


def damage(before: GameState, after: GameState) -> float:
    """Share of the opponent's hit points taken from it; a battle is otherwise paid only when it is over."""
    if not (before.battle_kind and after.battle_kind) or before.ram[ENEMY_SLICE] == after.ram[ENEMY_SLICE]:
        return 0.0
    was, now = before.enemy, after.enemy
    if (was.species, was.level, was.max_hp) != (now.species, now.level, now.max_hp) or not now.max_hp:
        return 0.0
    return max(0, was.hp - now.hp) / now.max_hp


def idle(before: GameState, after: GameState) -> float:
    """-1 for a step that changed nothing but the direction looked in: a wall, a finished text, a menu left alone.

    Without it all buttons are worth the same where nothing is left to be found, and the agent stays there.
    """
    same = before.ram[:_FACING] == after.ram[:_FACING] and before.ram[_FACING + 1 :] == after.ram[_FACING + 1 :]
    return -1.0 if same else 0.0


def key_item(before: GameState, after: GameState) -> float:
    """Required items that came into the bag; giving one away is not punished."""
    if before.ram[BAG_SLICE] == after.ram[BAG_SLICE]:
        return 0.0
    return float(len((KEY_ITEMS & after.bag.keys()) - before.bag.keys()))


def party(before: GameState, after: GameState) -> float:
    """Creatures gained."""
    return float(after.party_size - before.party_size)


def seen(before: GameState, after: GameState) -> float:
    """Species seen for the first time."""
    if before.ram[SEEN_SLICE] == after.ram[SEEN_SLICE]:
        return 0.0
    return float(after.seen - before.seen)


def owned(before: GameState, after: GameState) -> float:
    """Species owned for the first time."""
    if before.ram[OWNED_SLICE] == after.ram[OWNED_SLICE]:
        return 0.0
    return float(after.owned - before.owned)


def _level_potential(state: GameState) -> float:
    total = sum(state.levels)
    return min(total, LEVEL_KNEE) + max(0, total - LEVEL_KNEE) / 4


TERMS: dict[str, Term] = {
    "event": event,
    "badge": badge,
    "cell": cell,
    "new_map": new_map,
    "talk": talk,
    "level": level,
    "heal": heal,
    "damage": damage,
    "idle": idle,
    "key_item": key_item,
    "party": party,
    "seen": seen,
    "owned": owned,
}
