"""The scripted player on the real cartridge: it plays through, from any state, by buttons alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import cast

import pytest

from daddy_puffer.envs.emulator import Emulator
from daddy_puffer.envs.rom import find_rom, find_state
from daddy_puffer.envs.scripted import (
    FIT_SHARE,
    UI_OVERWORLD,
    UI_STATE,
    WEAK_SHARE,
    ScriptedPlayer,
    bag,
    money,
    party,
)
from daddy_puffer.envs.world import World
from daddy_puffer.game import addresses as at
from daddy_puffer.types import Action

ACTION_FRAMES = 24
FIRST_BADGE, BOTH_BADGES = 1, 3
STEPS_TO_FIRST_BADGE, STEPS_TO_BOTH_BADGES = 500, 1500
BACK_TO_WALKING = 20  # buttons out of any menu
START_X = 1


@dataclass
class Game:
    """The cartridge, stepped as the environment steps it."""

    emulator: Emulator
    start: bytes

    def press(self, action: int) -> None:
        """One environment step, without drawing."""
        self.emulator.tap(int(action), ACTION_FRAMES)

    def play(self, player: ScriptedPlayer, badges: int, most_steps: int) -> int:
        """Steps until all bits of `badges` are held, at most `most_steps`."""
        for step in range(most_steps):
            if self.emulator.memory[at.BADGES] & badges == badges:
                return step
            self.press(player.act(self.emulator.memory))
        return most_steps

    def walking(self) -> bool:
        """The player has control on the map."""
        return self.emulator.memory[UI_STATE] == UI_OVERWORLD and self.emulator.memory[at.PARTY_COUNT] > 0


@pytest.fixture(scope="module")
def cartridge() -> Iterator[Game]:
    """One emulator for all tests of this file."""
    rom = find_rom("")
    start = find_state("", rom)
    assert start is not None
    emulator = Emulator(rom)
    yield Game(emulator, start)
    emulator.close()


@pytest.fixture
def game(cartridge: Game) -> Game:
    """The cartridge in its start state."""
    cartridge.emulator.load_state(cartridge.start)
    return cartridge


@pytest.fixture(scope="module")
def world() -> World:
    """The map tables, read once."""
    return World.load()


def test_both_badges_from_the_start_state(game: Game, world: World) -> None:
    player = ScriptedPlayer(world)
    first = game.play(player, FIRST_BADGE, STEPS_TO_FIRST_BADGE)
    assert first < STEPS_TO_FIRST_BADGE
    assert first + game.play(player, BOTH_BADGES, STEPS_TO_BOTH_BADGES) < STEPS_TO_BOTH_BADGES


def test_both_badges_from_power_on(world: World) -> None:
    emulator = Emulator(find_rom(""))
    try:
        game, player = Game(emulator, b""), ScriptedPlayer(world)
        intro = 0
        while not game.walking():
            game.press(player.act(emulator.memory))
            intro += 1
            assert intro < 100
        assert game.play(player, BOTH_BADGES, STEPS_TO_BOTH_BADGES) < STEPS_TO_BOTH_BADGES
    finally:
        emulator.close()


@pytest.mark.parametrize("detours", [True, False])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_both_badges_after_random_buttons(game: Game, world: World, seed: int, detours: bool) -> None:
    generator = random.Random(seed)
    for _ in range(300):
        game.press(generator.randrange(len(Action)))
    assert game.play(ScriptedPlayer(world, detours), BOTH_BADGES, STEPS_TO_BOTH_BADGES) < STEPS_TO_BOTH_BADGES


def test_without_detours_it_goes_to_a_healer_only_when_weak(game: Game, world: World) -> None:
    player, hurried, memory = ScriptedPlayer(world), ScriptedPlayer(world, detours=False), game.emulator.memory
    differing: list[float] = []
    for _ in range(STEPS_TO_BOTH_BADGES):
        if memory[at.BADGES] & BOTH_BADGES == BOTH_BADGES:
            break
        if player.plan(memory) != hurried.plan(memory):
            creatures = party(memory)
            differing.append(sum(c.hp for c in creatures) / sum(c.max_hp for c in creatures))
        game.press(player.act(memory))
    assert differing and WEAK_SHARE <= min(differing) and max(differing) < FIT_SHARE


def test_first_badge_with_every_third_button_random(game: Game, world: World) -> None:
    """It keeps no plan that another player's button could spoil."""
    generator = random.Random(4)
    player = ScriptedPlayer(world)
    for _ in range(2 * STEPS_TO_FIRST_BADGE):
        wanted = player.act(game.emulator.memory)
        game.press(generator.randrange(len(Action)) if generator.random() < 1 / 3 else wanted)
        if game.emulator.memory[at.BADGES] & FIRST_BADGE:
            return
    pytest.fail("no badge")


def test_plays_on_after_a_blackout(game: Game, world: World) -> None:
    player, emulator = ScriptedPlayer(world), game.emulator
    ram = emulator.memory
    had = money(ram)
    for _ in range(STEPS_TO_FIRST_BADGE):
        if ram[at.IS_IN_BATTLE] == 2:
            break
        game.press(player.act(ram))
    assert ram[at.IS_IN_BATTLE] == 2
    write = cast(MutableMapping[int, int], ram)
    for _ in range(200):  # against one that never falls
        if not ram[at.IS_IN_BATTLE]:
            break
        write[0xD8A4 + at.MON_HP + 1] = 200  # wEnemyMon1, which the cartridge copies to the one that fights
        write[at.PARTY_MONS + at.MON_HP + 1] = min(3, ram[at.PARTY_MONS + at.MON_HP + 1])
        game.press(Action.A)
    while not game.walking():
        game.press(Action.A)
    assert money(ram) < had
    assert party(ram)[0].share == 1.0  # healed
    assert game.play(ScriptedPlayer(world), BOTH_BADGES, STEPS_TO_BOTH_BADGES) < STEPS_TO_BOTH_BADGES


def test_a_memory_image_gives_the_same_buttons_as_the_live_memory(game: Game, world: World) -> None:
    live, by_image = ScriptedPlayer(world), ScriptedPlayer(world)
    for step in range(230):
        action = live.act(game.emulator.memory)
        if step % 5 == 0:
            assert by_image.act(game.emulator.memory_image()) is action
        else:
            by_image.act(game.emulator.memory)
        game.press(action)


@pytest.mark.parametrize("downs", range(5))
def test_leaves_every_entry_of_the_start_menu(game: Game, world: World, downs: int) -> None:
    for action in (Action.START, *[Action.DOWN] * downs, Action.A, Action.A):
        game.press(action)
    player = ScriptedPlayer(world)
    for _ in range(BACK_TO_WALKING):
        game.press(player.act(game.emulator.memory))
        if game.walking() and game.emulator.memory[at.X] > START_X:
            return
    pytest.fail("it has not walked on")


def test_never_tosses_what_it_needs_and_buys_potions(game: Game, world: World) -> None:
    player = ScriptedPlayer(world)
    game.play(player, FIRST_BADGE, STEPS_TO_FIRST_BADGE)
    had = money(game.emulator.memory)
    for _ in range(400):
        game.press(player.act(game.emulator.memory))
    assert 0x14 in bag(game.emulator.memory)
    assert money(game.emulator.memory) < had
