"""A walk over the whole world on the real cartridge: everybody talks, every sign reads, every item can be had."""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping, Sequence
from importlib import resources
from typing import Any, cast

import pytest

from daddy_puffer.envs.emulator import Emulator
from daddy_puffer.envs.rom import find_rom, find_state
from daddy_puffer.envs.scripted import UI_OVERWORLD, UI_STATE, Memory, ScriptedPlayer, bag
from daddy_puffer.envs.world import Cell, Person, World
from daddy_puffer.game import addresses as at
from daddy_puffer.types import Action

ACTION_FRAMES = 24
HIDDEN_FLAGS, HIDDEN_EVENTS = 0xD6F0, 0xA00
EMPTY_SPRITE_SLOT = 15
MOST_STEPS = 400  # from one target to the next
BOTH_BADGES = 3


class Tourist(ScriptedPlayer):
    """Walks to one target and presses A before it."""

    target: Person

    def stands_before_target(self, memory: Memory) -> bool:
        """Not, for example, before a tree on the way."""
        return self._here(memory) in self._stands(memory, self.target)

    def _next_people(self, memory: Memory) -> Sequence[Person]:
        return (self.target,)

    def _should_heal(self, memory: Memory, goal: Sequence[Person]) -> bool:
        return False


def thing(map_id: int, x: int, y: int) -> Person:
    """A sign or a hidden item, to be faced like a person."""
    return Person(
        slot=EMPTY_SPRITE_SLOT,
        home=Cell(map_id, x, y),
        missable=255,
        beaten_event=0xFFFF,
        role="thing",
        item=0,
        shop=255,
        events=(),
    )


def keep_well(memory: Memory) -> None:
    """Full HP and no condition: wild creatures shall not end the walk."""
    ram = cast(MutableMapping[int, int], memory)
    for slot in range(memory[at.PARTY_COUNT]):
        base = at.PARTY_MONS + at.PARTY_STRIDE * slot
        ram[base + at.MON_STATUS] = 0
        for byte in (0, 1):
            ram[base + at.MON_HP + byte] = memory[base + at.MON_MAX_HP + byte]


@pytest.fixture(scope="module")
def tables() -> dict[str, Any]:
    """The map tables as they ship."""
    text = resources.files("daddy_puffer").joinpath("data/practice_world.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@pytest.fixture(scope="module")
def finished() -> Iterator[Emulator]:
    """The game after the second badge: every gate is open."""
    rom = find_rom("")
    state = find_state("", rom)
    assert state is not None
    emulator = Emulator(rom)
    emulator.load_state(state)
    player = ScriptedPlayer()
    for _ in range(1500):
        emulator.tap(player.act(emulator.memory), ACTION_FRAMES)
        if emulator.memory[at.BADGES] == BOTH_BADGES:
            break
    assert emulator.memory[at.BADGES] == BOTH_BADGES
    yield emulator
    emulator.close()


def visit(emulator: Emulator, tourist: Tourist, target: Person) -> bool:
    """Go there and press A; true when the game answers."""
    memory = emulator.memory
    tourist.target = target
    for _ in range(MOST_STEPS):
        keep_well(memory)
        there = memory[UI_STATE] == UI_OVERWORLD and tourist.stands_before_target(memory)
        action = tourist.act(memory)
        emulator.tap(action, ACTION_FRAMES)
        if there and action is Action.A and memory[UI_STATE] != UI_OVERWORLD:
            break
    else:
        return False
    for _ in range(MOST_STEPS):  # read to the end, fight if it is a fight
        if memory[UI_STATE] == UI_OVERWORLD:
            return True
        keep_well(memory)
        emulator.tap(tourist.act(memory), ACTION_FRAMES)
    return False


def test_everything_answers(finished: Emulator, tables: dict[str, Any]) -> None:
    world = World.load()
    tourist = Tourist(world)
    memory = finished.memory
    silent = []
    for map_id, game_map in sorted(world.maps.items()):
        table = tables["maps"][str(map_id)]
        signs = [thing(map_id, x, y) for x, y in table["signs"]]
        hidden = [thing(map_id, x, y) for x, y, _, _ in table["hidden"]]
        for target in (*game_map.people, *signs, *hidden):
            gone = target.missable != 255 and memory[at.MISSABLES + target.missable // 8] >> target.missable % 8 & 1
            if not gone and not visit(finished, tourist, target):
                silent.append((game_map.name, target.home))
    assert silent == []

    taken = {p.missable for p in world.people() if p.role == "item"}
    assert len(taken) >= 4
    assert all(memory[at.MISSABLES + bit // 8] >> bit % 8 & 1 for bit in taken)
    found = [entry[3] - HIDDEN_EVENTS for table in tables["maps"].values() for entry in table["hidden"]]
    assert len(found) >= 2
    assert all(memory[HIDDEN_FLAGS + bit // 8] >> bit % 8 & 1 for bit in found)
    assert {p.item for p in world.people() if p.role == "item"} <= set(bag(memory))
