"""Reward terms by visible arithmetic; the set's sum is the reward."""

from __future__ import annotations

import pytest
from ram_images import creature, fighter, image

from daddy_puffer.errors import UserError
from daddy_puffer.game import GameState
from daddy_puffer.rewards import DEFAULT_WEIGHTS, TERMS, RewardSet


def state(cells: int = 0, maps: int = 0, talks: int = 0, **bytes_at: int | bytes) -> GameState:
    ram = GameState.from_memory(image(**bytes_at)).ram
    return GameState(ram, cells_visited=cells, maps_visited=maps, talks=talks)


def party(*members: bytes) -> bytes:
    return bytes([len(members)]) + b"\xb0" * len(members) + b"\xff" * (7 - len(members)) + b"".join(members)


LEVEL_9 = party(creature(1, 9, 10, 40))


@pytest.mark.parametrize(
    ("term", "before", "after", "value"),
    [
        ("event", state(), state(ad747=0b1001), 2),
        ("event", state(ad747=0b1001), state(ad747=0b1), -1),
        ("badge", state(ad356=1), state(ad356=3), 1),
        ("cell", state(cells=4), state(cells=5), 1),
        ("new_map", state(maps=1), state(maps=2), 1),
        ("talk", state(talks=3), state(talks=4), 1),
        ("level", state(ad163=LEVEL_9), state(ad163=party(creature(1, 11, 10, 40))), 2),
        ("level", state(ad163=party(creature(1, 14, 9, 9))), state(ad163=party(creature(1, 19, 9, 9))), 1 + 4 / 4),
        ("heal", state(ad163=LEVEL_9), state(ad163=party(creature(1, 9, 40, 40))), 30 / 40),
        ("heal", state(ad163=LEVEL_9), state(ad163=party(creature(1, 9, 5, 40))), 0),
        ("heal", state(ad163=LEVEL_9), state(ad163=party(creature(1, 10, 40, 40))), 0),
        ("damage", state(ad057=1, acfe5=fighter(7, 5, 20, 20)), state(ad057=1, acfe5=fighter(7, 5, 15, 20)), 5 / 20),
        ("damage", state(ad057=2, acfe5=fighter(7, 5, 5, 20)), state(ad057=2, acfe5=fighter(7, 5, 0, 20)), 5 / 20),
        ("damage", state(ad057=1, acfe5=fighter(7, 5, 15, 20)), state(ad057=1, acfe5=fighter(7, 5, 20, 20)), 0),
        ("damage", state(ad057=2, acfe5=fighter(7, 5, 15, 20)), state(ad057=2, acfe5=fighter(8, 5, 10, 20)), 0),
        ("damage", state(ad057=0, acfe5=fighter(7, 5, 15, 20)), state(ad057=1, acfe5=fighter(7, 5, 10, 20)), 0),
        ("damage", state(ad057=1, acfe5=fighter(7, 5, 15, 20)), state(ad057=0, acfe5=fighter(7, 5, 10, 20)), 0),
        ("idle", state(ad361=3, ac109=4), state(ad361=3, ac109=8), -1),
        ("idle", state(ad361=3), state(ad361=4), 0),
        ("idle", state(acfc4=1), state(), 0),
        ("key_item", state(ad31d=b"\x01\x04\x01"), state(ad31d=b"\x02\x04\x01\x46\x01"), 1),
        ("key_item", state(ad31d=b"\x02\x04\x01\x46\x01"), state(ad31d=b"\x01\x04\x01"), 0),
        ("key_item", state(ad31d=b"\x01\x04\x01"), state(ad31d=b"\x02\x04\x01\x14\x01"), 0),
        ("party", state(ad163=LEVEL_9), state(ad163=party(creature(1, 9, 9, 9), creature(2, 3, 9, 9))), 1),
        ("seen", state(ad30a=1), state(ad30a=b"\x03\x80"), 2),
        ("owned", state(), state(ad2f7=b"\0\x01"), 1),
    ],
)
def test_term(term: str, before: GameState, after: GameState, value: float) -> None:
    assert TERMS[term](before, after) == pytest.approx(value)


def test_every_term_but_idle_is_zero_when_nothing_changes() -> None:
    same = state(cells=3, maps=2, ad163=LEVEL_9, ad747=7, ad356=1)
    rewards = RewardSet()
    terms = dict(zip(rewards.names, rewards.by_term(same, same), strict=True))
    assert terms == {**dict.fromkeys(DEFAULT_WEIGHTS, 0.0), "idle": -DEFAULT_WEIGHTS["idle"]}


def test_weights_replace_switch_off_and_are_checked() -> None:
    rewards = RewardSet({"badge": 2.0, "cell": 0.0})
    assert "cell" not in rewards.names
    terms = dict(zip(rewards.names, rewards.by_term(state(), state(cells=9, ad356=1)), strict=True))
    assert terms["badge"] == 2.0 and sum(terms.values()) == 2.0
    with pytest.raises(UserError, match=r"'bagde'.*known are event, badge"):
        RewardSet({"bagde": 1.0})
