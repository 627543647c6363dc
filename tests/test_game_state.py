"""GameState, maps, milestones and features on hand-made memory images."""

from __future__ import annotations

import numpy as np
import pytest
from ram_images import creature, fighter, image

from daddy_puffer.game import (
    FEATURE_COUNT,
    FEATURES,
    ID_FIELDS,
    MILESTONES,
    FeatureWriter,
    GameState,
    RamReader,
    milestone_bits,
    milestones_reached,
)
from daddy_puffer.game import addresses as at
from daddy_puffer.game.features import CELL_IDS, cell_id
from daddy_puffer.game.maps import MapKind, all_maps, map_name, world_cell

NAMES = [name for name, _ in FEATURES]


def test_position_money_badges_and_bag() -> None:
    state = GameState.from_memory(
        image(
            ad35e=54, ad361=7, ad362=3, ac109=8, ad347=b"\x01\x23\x45", ad356=0b101, ad31d=b"\x02\x04\x05\x46\x01\xff"
        )
    )
    assert (state.map_id, state.map_name, state.position, state.facing) == (54, "PewterGym", (3, 7), 2)
    assert (state.money, state.badges, state.badge_bits) == (12_345, 2, 5)
    assert state.bag == {0x04: 5, 0x46: 1}


def test_party_numbers_are_big_endian() -> None:
    party = b"\x02\xb0\x99\xff\0\0\0\0" + creature(0xB0, 9, 20, 300) + creature(0x99, 5, 150, 300)
    state = GameState.from_memory(image(ad163=party))
    first = state.party[0]
    assert (first.species, first.level, first.hp, first.max_hp) == (0xB0, 9, 20, 300)
    assert (first.types, first.moves, first.power_points) == ((0x16, 3), (0x0F, 0x21, 0, 0), (0x1E, 0x23, 0, 0))
    assert state.levels == [9, 5]
    assert state.hp_share == (20 + 150) / (300 + 300)


def test_events_by_name_and_missables() -> None:
    index = 0x77  # EVENT_BEAT_BROCK: 0xD755 bit 7, as the milestone table says
    state = GameState.from_memory(image(**{f"a{0xD747 + index // 8:x}": 1 << index % 8, "ad5ae": 1 << 6}))
    assert state.events == ["EVENT_BEAT_BROCK"]
    assert state.event("EVENT_BEAT_BROCK") and not state.event("EVENT_BEAT_MISTY")
    assert state.event_count == 1
    assert state.missable(70) and not state.missable(71)
    with pytest.raises(KeyError):
        state.event("EVENT_NOT_IN_THE_GAME")


def test_image_of_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="65536 bytes, got 3"):
        GameState.from_memory(b"abc")


def test_reader_and_image_agree() -> None:
    memory = bytearray(np.random.default_rng(0).integers(0, 256, 0x10000, dtype=np.uint8).tobytes())
    assert RamReader(list(memory)).read() == GameState.from_memory(bytes(memory)).ram


def test_maps_have_kinds_names_and_places() -> None:
    assert map_name(51) == "ViridianForest" and map_name(250) == "Map250"
    kinds = {map_id: fact.kind for map_id, fact in all_maps().items()}
    assert (kinds[2], kinds[14], kinds[51], kinds[59], kinds[54]) == (
        MapKind.CITY,
        MapKind.ROUTE,
        MapKind.DUNGEON,
        MapKind.DUNGEON,
        MapKind.INDOORS,
    )
    assert kinds[58] is MapKind.INDOORS and kinds[68] is MapKind.INDOORS  # centres, Mt Moon's too
    assert world_cell(0, 0, 0) == (318 + 20, 64 + 20)
    assert world_cell(250, 3, 3) == world_cell(0, 99, 0) == (242, 238)


def test_milestones_of_every_kind() -> None:
    assert len(MILESTONES) == 8 + 76
    assert [m.index for m in MILESTONES] == list(range(84))
    state = GameState.from_memory(
        image(ad356=1, ad755=1 << 7, ad665=4, ad728=1 << 6, ad31d=b"\x02\xc4\x01\x14\x03\xff")
    )
    reached = milestones_reached(milestone_bits(state))
    assert reached == ["Boulder", "EVENT_BEAT_BROCK", "rival3", "saffron_guard", "HM_01"]
    later = GameState.from_memory(image(ad665=5, ad31d=b"\x00\xc4\x01"))  # the script moved on, the bag is empty
    assert milestones_reached(milestone_bits(later)) == []


def test_every_cell_of_a_map_has_an_id_of_its_own() -> None:
    for map_id in (0, 54, 247):
        ids = {cell_id(map_id, x, y) for x in range(32) for y in range(128)}
        assert len(ids) == 32 * 128 and 0 <= min(ids) and max(ids) < CELL_IDS
    assert cell_id(0, 1, 1) != cell_id(1, 1, 1)


def test_features_say_what_they_document() -> None:
    party = b"\x01\xb0\xff\0\0\0\0\0" + creature(0xB0, 10, 15, 30)
    memory = image(
        ad35e=54, ad361=16, ad362=8, ac109=12, ad057=2, ad163=party, ad356=2, acfc4=1, acfe5=fighter(0x24, 5, 5, 20)
    )
    base = GameState.from_memory(memory)
    state = GameState(base.ram, cells_visited=128, maps_visited=8, step=512)
    values = dict(zip(NAMES, FeatureWriter(2048).write(state, 4), strict=True))
    assert [values[NAMES[field]] for _, field, _ in ID_FIELDS] == [54, 0xB0, 0x24, cell_id(54, 8, 16)]
    expected = {
        "x": 8 / 32 - 1,
        "y": 16 / 32 - 1,
        "facing_right": 1,
        "place_indoors": 1,
        "in_text": 1,
        "battle_trainer": 1,
        "badge_2": 1,
        "party_size": 1 / 6,
        "party_hp": 0.5,
        "level_1": 0.2,
        "hp_1": 0.5,
        "enemy_hp": 0.25,
        "enemy_level": 0.1,
        "cells_visited": 0.25,
        "maps_visited": 0.25,
        "episode_time": 0.25,
        "last_a": 1,
    }
    assert {key: pytest.approx(values[key]) for key in expected} == expected
    for name in ("facing_down", "battle_wild", "badge_1", "last_b", "level_2"):
        assert values[name] == 0


def test_incremental_features_equal_fresh_ones() -> None:
    rng = np.random.default_rng(1)
    memory = bytearray(0x10000)
    writer = FeatureWriter(2048)
    addresses = [
        at.MAP,
        at.X,
        at.Y,
        at.IS_IN_BATTLE,
        at.BADGES,
        at.PARTY_COUNT,
        at.PARTY_MONS + at.MON_LEVEL,
        at.EVENTS,
    ]
    for step in range(300):
        for address in rng.choice(addresses, 2):
            memory[address] = int(rng.integers(0, 7)) if address != at.IS_IN_BATTLE else int(rng.integers(0, 3))
        state = GameState(GameState.from_memory(memory).ram, cells_visited=step, step=step)
        fresh = FeatureWriter(2048).write(state, step % 7)
        np.testing.assert_array_equal(writer.write(state, step % 7), fresh)
        assert fresh.shape == (FEATURE_COUNT,) and np.isfinite(fresh).all()
