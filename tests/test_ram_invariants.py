"""At the end of every environment step the RAM is what observers rely on, under random and under purposeful play."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from test_cartridge import broken_invariants

from daddy_puffer.envs.emulator import Emulator
from daddy_puffer.envs.rom import find_rom, find_state
from daddy_puffer.envs.scripted import ScriptedPlayer
from daddy_puffer.envs.world import World
from daddy_puffer.game import addresses as at
from daddy_puffer.game.facts import event_index
from daddy_puffer.types import Action

ACTION_FRAMES = 24
RANDOM_STEPS = 3000
SCRIPTED_STEPS = 1500
BOTH_BADGES = 3


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    made = Emulator(find_rom(""))
    yield made
    made.close()


def named_event_bits() -> int:
    """The story flags that have a name, as one number."""
    return sum(1 << index for index in set(event_index().values()))


def play(emulator: Emulator, act: Callable[[Any], int], steps: int) -> None:
    """Steps from the start state until both badges are held, looking at the RAM after each."""
    state = find_state("", emulator.rom)
    assert state is not None
    emulator.load_state(state)
    memory, world, named = emulator.memory, World.load(), named_event_bits()
    for step in range(steps):
        emulator.tap(act(memory), ACTION_FRAMES)
        assert broken_invariants(memory, world) == [], step
        events = int.from_bytes(bytes(memory[at.EVENTS : at.EVENTS + at.EVENT_BYTES]), "little")
        assert events & ~named == 0, (step, "an event without a name")
        if memory[at.BADGES] == BOTH_BADGES:
            break


def test_under_random_buttons(emulator: Emulator) -> None:
    chance = random.Random(5)
    play(emulator, lambda _: chance.randrange(len(Action)), RANDOM_STEPS)


def test_through_both_badges(emulator: Emulator) -> None:
    play(emulator, ScriptedPlayer().act, SCRIPTED_STEPS)
    assert emulator.memory[at.BADGES] == BOTH_BADGES
