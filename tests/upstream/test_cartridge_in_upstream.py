"""pokemonred_puffer's unmodified environment on the practice cartridge: no exception, no print, counters move.

Runs where `pokemonred_puffer` is importable from a checkout (its `config.yaml` lies beside the package).
"""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_world_tour import Tourist, keep_well, thing

from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, packaged
from daddy_puffer.envs.scripted import UI_OVERWORLD, UI_STATE, ScriptedPlayer
from daddy_puffer.game import addresses as at
from daddy_puffer.types import Action

upstream = pytest.importorskip("pokemonred_puffer", reason="pokemonred_puffer is not importable here")
pytestmark = [pytest.mark.upstream, pytest.mark.timeout(900)]

REWARD = "baseline.ObjectRewardRequiredEventsMapIdsFieldMoves"  # upstream's default
RANDOM_STEPS = 20_000
STEPS_TO_BOTH_BADGES = 1500
BOTH_BADGES = 3
SECOND_TOWN, FOREST = 1, 51
HIDDEN_X, HIDDEN_Y = 2, 10
MENU_COUNTERS = (
    "seen_start_menu", "seen_pokemon_menu", "seen_stats_menu", "seen_bag_menu", "seen_action_bag_menu",
)  # fmt: skip


def make_env(folder: Path) -> Any:
    """Upstream's default reward class with its shipped configuration, on our cartridge."""
    from omegaconf import OmegaConf
    from pokemonred_puffer.rewards import baseline

    checkout = Path(str(upstream.__path__[0])).parent
    shipped: Any = OmegaConf.load(checkout / "config.yaml")
    shutil.copy(packaged(PRACTICE_ROM), folder / "practice.gb")
    shutil.copy(packaged(PRACTICE_START), folder / "practice.state")
    shipped.env.gb_path = str(folder / "practice.gb")
    shipped.env.state_dir, shipped.env.init_state = str(folder), "practice"
    name = REWARD.split(".")[1]
    return getattr(baseline, name)(shipped.env, shipped.rewards[REWARD].reward)


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Any]:
    """One environment, reset; warnings are errors from here on."""
    with warnings.catch_warnings():
        made = make_env(tmp_path)
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)  # Python shows none of these by default
        made.reset()
        yield made
        made.pyboy.stop(save=False)


def play(env: Any, act: Callable[[Any], int], steps: int, until: Callable[[], bool] = lambda: False) -> int:
    """Steps taken until the condition holds, at most `steps`; upstream never ends an episode here."""
    for step in range(steps):
        if until():
            return step
        _, reward, terminated, truncated, _ = env.step(int(act(env.pyboy.memory)))
        assert reward == reward and not terminated and not truncated, step
    return steps


def printed(capfd: pytest.CaptureFixture[str]) -> str:
    """What came out on both streams."""
    streams = capfd.readouterr()
    return streams.out + streams.err


def test_random_buttons(env: Any, capfd: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(11)
    play(env, lambda _: chance.randrange(len(Action)), RANDOM_STEPS)
    assert printed(capfd) == ""
    assert env.step_count in (RANDOM_STEPS, RANDOM_STEPS % env.max_steps)
    assert [getattr(env, counter) for counter in MENU_COUNTERS] == [1] * len(MENU_COUNTERS)
    assert env.seen_warps and env.seen_npcs and env.seen_signs
    assert len(env.seen_coords) > 1


def test_scripted_game_through_both_badges(env: Any, capfd: pytest.CaptureFixture[str]) -> None:
    memory, player = env.pyboy.memory, ScriptedPlayer()
    milestones = len(env.required_events) + len(env.required_items)
    steps = play(env, player.act, STEPS_TO_BOTH_BADGES, lambda: memory[at.BADGES] == BOTH_BADGES)
    assert steps < STEPS_TO_BOTH_BADGES
    assert env.get_badges() == 2
    assert len(env.required_events) + len(env.required_items) >= milestones + 4
    assert len(env.seen_npcs) >= 4 and len(env.seen_warps) >= 8
    assert env.valid_cut_coords, "the tree"
    assert env.agent_stats(Action.A)["stats"]["required_count"] >= milestones + 4
    assert printed(capfd) == ""


def walking_in(env: Any, map_id: int) -> Callable[[], bool]:
    """Whether the player can walk on that map now."""
    memory = env.pyboy.memory
    return lambda: memory[at.MAP] == map_id and memory[UI_STATE] == UI_OVERWORLD


def hurt(memory: Any) -> None:
    """Leave every creature that stands one point."""
    for slot in range(memory[at.PARTY_COUNT]):
        base = at.PARTY_MONS + at.PARTY_STRIDE * slot + at.MON_HP
        memory[base], memory[base + 1] = 0, min(1, memory[base] + memory[base + 1])


def test_healing_hidden_item_and_blackout(env: Any, capfd: pytest.CaptureFixture[str]) -> None:
    memory, player = env.pyboy.memory, ScriptedPlayer()
    play(env, player.act, STEPS_TO_BOTH_BADGES, walking_in(env, SECOND_TOWN))
    assert (env.pokecenter_heal, env.blackout_check) == (0, 0)
    hurt(memory)  # off to the nurse
    play(env, player.act, 400, lambda: env.blackout_check > 0)
    assert (env.pokecenter_heal, env.blackout_check) == (1, SECOND_TOWN)

    tourist = Tourist()
    tourist.target = thing(FOREST, HIDDEN_X, HIDDEN_Y)

    def tour(memory: Any) -> int:
        keep_well(memory)
        return tourist.act(memory)

    assert not env.seen_hidden_objs
    play(env, tour, 600, lambda: bool(env.seen_hidden_objs))
    assert env.seen_hidden_objs == {(FOREST, 0): 1.0}

    def weak(memory: Any) -> int:
        if memory[at.IS_IN_BATTLE]:
            hurt(memory)
        return player.act(memory)

    assert env.blackout_count == 0
    play(env, weak, STEPS_TO_BOTH_BADGES, lambda: env.blackout_count > 0)
    town = memory[at.BLACKOUT_MAP]
    play(env, lambda _: Action.A, 100, walking_in(env, town))
    assert env.blackout_count == 1 and walking_in(env, town)(), "one wakes up where one was healed last"
    assert printed(capfd) == ""
