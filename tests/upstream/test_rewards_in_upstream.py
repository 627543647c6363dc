"""FastRequiredEvents and Shaped in pokemonred_puffer's own environment, side by side with its default class."""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, packaged
from daddy_puffer.envs.scripted import ScriptedPlayer
from daddy_puffer.game import addresses as at
from daddy_puffer.rewards.hosted import fast_required_events, shaped
from daddy_puffer.types import Action

upstream = pytest.importorskip("pokemonred_puffer", reason="pokemonred_puffer is not importable here")
pytestmark = [
    pytest.mark.upstream,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # upstream sums generators with numpy
]

REWARD = "baseline.ObjectRewardRequiredEventsMapIdsFieldMoves"  # upstream's default
STEPS = 20_000
STEPS_TO_BOTH_BADGES = 1500
BOTH_BADGES = 3
EVENT_GOT_HM01, EVENT_GOT_HM03, EVENT_GOT_HM04, EVENT_GOT_POKE_FLUTE = 0x5E0, 0x880, 0x238, 0x118
EVENT_BOUGHT_TICKET, EVENT_BEAT_BROCK, HIDDEN_ROCKET = 0x068, 0x077, 70
GAVE_DRINK, GOT_LAPRAS = 0x40, 0x01
CELADON_MART, SAFARI_CENTER, FUCHSIA, SILPH_ELEVATOR = 122, 220, 7, 236
CUT, SURF, STRENGTH = 0x0F, 0x39, 0x46
HM_CUT, LEMONADE, POTION, NO_CUTTER = 0xC4, 0x3E, 0x14, 0x01
NO_ITEM, ENEMIES = 0x62, 0xD89C  # wEnemyPartyCount
DARK, MAP_PALETTE = 6, 0xD35D  # wMapPalOffset


def config(folder: Path, **settings: Any) -> Any:
    """Upstream's shipped configuration on our cartridge, with `settings` of the environment."""
    from omegaconf import OmegaConf

    shipped: Any = OmegaConf.load(Path(str(upstream.__path__[0])).parent / "config.yaml")
    shutil.copy(packaged(PRACTICE_ROM), folder / "practice.gb")
    shutil.copy(packaged(PRACTICE_START), folder / "practice.state")
    shipped.env.gb_path = str(folder / "practice.gb")
    shipped.env.state_dir, shipped.env.init_state = str(folder), "practice"
    for key, value in settings.items():
        shipped.env[key] = value
    return shipped


def theirs() -> Any:
    """Upstream's default class."""
    from pokemonred_puffer.rewards import baseline

    return getattr(baseline, REWARD.split(".")[1])


def make(cls: Any, shipped: Any, **reward: Any) -> Any:
    """An environment, with more keys in its reward's configuration."""
    from omegaconf import OmegaConf

    return cls(shipped.env, OmegaConf.merge(shipped.rewards[REWARD].reward, reward))


def assert_same(ours: Any, wanted: Any, where: str = "") -> None:
    """Equal up to 1e-6, arrays also in type and shape."""
    if isinstance(wanted, Mapping):
        assert list(ours) == list(wanted), where
        for key in wanted:
            assert_same(ours[key], wanted[key], f"{where}/{key}")
    elif isinstance(wanted, np.ndarray):
        assert (ours.dtype, ours.shape) == (wanted.dtype, wanted.shape), where
        assert np.array_equal(ours, wanted), where
    elif isinstance(wanted, (int, float, np.number)):
        assert float(ours) == pytest.approx(float(wanted), rel=0, abs=1e-6), where
    else:
        assert ours == wanted, where


class Pair:
    """Upstream's environment and ours, played with the same buttons and compared after each."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        shipped = config(folder, **settings)
        self.wanted, self.ours = make(theirs(), shipped), make(fast_required_events(theirs()), shipped)
        self.ours.env_id = self.wanted.env_id
        self.infos = 0
        self.reset()

    def reset(self, options: dict[str, Any] | None = None) -> None:
        wanted, ours = self.wanted.reset(options=options), self.ours.reset(options=options)
        assert_same(dict(enumerate(ours)), dict(enumerate(wanted)), "reset")
        assert self.ours.progress_reward == pytest.approx(self.wanted.progress_reward, abs=1e-6)

    def step(self, action: int) -> bool:
        wanted, ours = self.wanted.step(action), self.ours.step(action)
        where = f"step {self.wanted.step_count}"
        assert_same(dict(enumerate(ours)), dict(enumerate(wanted)), where)
        assert list(self.ours.progress_reward) == list(self.wanted.progress_reward)
        self.infos += bool(wanted[4])
        if wanted[2]:
            self.reset()
        return bool(wanted[2])

    def play(self, act: Callable[[Any], int], steps: int, until: Callable[[], bool] = lambda: False) -> int:
        for step in range(steps):
            if until():
                return step
            self.step(int(act(self.wanted.pyboy.memory)))
        return steps

    def poke(self, address: int, *values: int) -> None:
        for env in (self.wanted, self.ours):
            for index, value in enumerate(values):
                env.pyboy.memory[address + index] = value

    def set_event(self, index: int) -> None:
        address = at.EVENTS + index // 8
        self.poke(address, self.wanted.pyboy.memory[address] | 1 << index % 8)

    def check_counters(self) -> None:
        """Everything that upstream keeps between steps, by attribute."""
        for name, wanted in vars(self.wanted).items():
            if isinstance(wanted, (int, float, str, set, dict, np.ndarray, np.number)) and name != "env_id":
                assert_same(getattr(self.ours, name), wanted, name)

    def close(self) -> None:
        for env in (self.wanted, self.ours):
            env.pyboy.stop(save=False)


def buttons(seed: int) -> Callable[[Any], int]:
    """Random buttons."""
    chance = random.Random(seed)
    return lambda _: chance.randrange(len(Action))


def noisy(seed: int, share: float) -> Callable[[Any], int]:
    """The scripted player, with a share of random buttons."""
    chance, player = random.Random(seed), ScriptedPlayer()
    return lambda memory: chance.randrange(len(Action)) if chance.random() < share else player.act(memory)


def test_it_is_another_class_with_the_same_face() -> None:
    fast = fast_required_events(theirs())
    assert fast is not theirs() and issubclass(fast, theirs())


def test_equal_over_random_and_scripted_steps(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    memory = pair.wanted.pyboy.memory
    steps = pair.play(ScriptedPlayer().act, STEPS_TO_BOTH_BADGES, lambda: memory[at.BADGES] == BOTH_BADGES)
    assert steps < STEPS_TO_BOTH_BADGES and pair.infos >= 4, "milestones"
    pair.check_counters()
    steps += pair.play(noisy(1, 0.3), 3500)
    pair.reset()  # the game goes on
    steps += pair.play(buttons(2), 5000)
    pair.wanted.first = pair.ours.first = True  # from the start again
    pair.reset()
    pair.play(buttons(3), STEPS - steps)
    pair.check_counters()
    assert len(pair.wanted.seen_coords) > 2 and pair.wanted.seen_npcs and pair.wanted.seen_signs
    pair.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"two_bit": False},
        {"reduce_res": False},
        {"reduce_res": False, "two_bit": False, "use_global_map": True},
        {"use_global_map": True, "skip_safari_zone": True, "disable_ai_actions": True},
        {"exploration_inc": 0.07, "exploration_max": 0.9, "map_id_scalefactor": 3.3},
        {"log_frequency": 7, "max_steps": 100, "max_steps_scaling": 1.0, "save_state": False},
        {"perfect_ivs": True, "infinite_health": True, "infinite_money": False, "auto_flash": False},
        {"disable_wild_encounters": True, "auto_remove_all_nonuseful_items": False},
        {"disable_wild_encounters": ["VIRIDIAN_CITY"], "auto_pokeflute": False, "auto_use_surf": False},
        {"required_tolerance": 1.5},
    ],
    ids=str,
)
def test_equal_under_other_settings(tmp_path: Path, settings: dict[str, Any]) -> None:
    pair = Pair(tmp_path, **settings)
    pair.play(noisy(5, 0.2), 500)
    pair.play(buttons(6), 200)
    pair.check_counters()
    pair.close()


ALL_SCRIPTS = dict.fromkeys(
    ("auto_teach_cut", "auto_use_cut", "auto_teach_surf", "auto_use_surf", "auto_teach_strength", "auto_use_strength",
     "auto_solve_strength_puzzles", "auto_pokeflute", "auto_next_elevator_floor", "skip_safari_zone",
     "insert_saffron_guard_drinks", "infinite_safari_steps", "auto_flash"), True)  # fmt: skip


@pytest.fixture
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Settings by indirect parameter."""
    made = Pair(tmp_path, **getattr(request, "param", {}))
    yield made
    made.check_counters()
    made.close()


@pytest.mark.parametrize("pair", [ALL_SCRIPTS], indirect=True, ids=["all scripts"])
def test_scripts_run_alike(pair: Pair) -> None:
    memory, act = pair.wanted.pyboy.memory, noisy(7, 0.2)
    pair.play(act, 150)
    for index in (EVENT_GOT_HM01, EVENT_GOT_HM03, EVENT_GOT_HM04, EVENT_GOT_POKE_FLUTE):
        pair.set_event(index)
        pair.play(act, 60)
    moves = {
        memory[at.PARTY_MONS + at.PARTY_STRIDE * mon + at.MON_MOVES + i]
        for mon in range(memory[at.PARTY_COUNT])
        for i in range(4)
    }
    assert CUT in moves and moves & {SURF, STRENGTH}, "taught"
    pair.poke(MAP_PALETTE, DARK)
    pair.step(Action.B)
    assert memory[MAP_PALETTE] != DARK


@pytest.mark.parametrize("pair", [ALL_SCRIPTS], indirect=True, ids=["all scripts"])
@pytest.mark.parametrize("place", [CELADON_MART, SAFARI_CENTER, FUCHSIA, SILPH_ELEVATOR])
def test_scripts_of_far_places_run_alike(pair: Pair, place: int) -> None:
    memory = pair.wanted.pyboy.memory
    pair.play(noisy(8, 0.2), 150)
    home = (memory[at.MAP], memory[at.Y], memory[at.X])
    items = memory[at.BAG_COUNT]
    pair.poke(at.MAP, place)
    if place == FUCHSIA:
        pair.poke(at.Y, 4, 18)
    for _ in range(3):
        pair.step(Action.B)
    assert (memory[at.BAG_COUNT] > items) == (place in (CELADON_MART, FUCHSIA))
    assert any(pair.wanted.safari_zone_steps.values()) == (place == SAFARI_CENTER)
    pair.poke(at.MAP, home[0])
    pair.poke(at.Y, *home[1:])
    pair.play(buttons(9), 50)


def test_a_full_bag_and_a_party_that_cannot_cut(pair: Pair, capfd: pytest.CaptureFixture[str]) -> None:
    memory = pair.wanted.pyboy.memory
    pair.play(noisy(10, 0.2), 100)
    pair.poke(at.BAG_COUNT, at.BAG_SLOTS, *([POTION, 3] * (at.BAG_SLOTS - 1)), HM_CUT, 1, 0xFF)
    pair.step(Action.B)
    assert memory[at.BAG_COUNT] == 1
    for mon in range(memory[at.PARTY_COUNT]):
        pair.poke(at.PARTY_MONS + at.PARTY_STRIDE * mon, NO_CUTTER)
    assert pair.step(Action.B), "the episode ends and begins anew"
    assert not pair.step(Action.B)
    pair.play(noisy(11, 0.2), 100)


@pytest.mark.parametrize("pair", [{"auto_remove_all_nonuseful_items": False}], indirect=True, ids=str)
def test_a_full_bag_is_reported(pair: Pair, capfd: pytest.CaptureFixture[str]) -> None:
    pair.poke(at.BAG_COUNT, at.BAG_SLOTS, *([POTION, 3] * at.BAG_SLOTS), 0xFF)
    capfd.readouterr()
    pair.step(Action.B)
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0] == lines[1] and "full bag" in lines[0]


def test_story_that_the_cartridge_does_not_tell(pair: Pair) -> None:
    memory = pair.wanted.pyboy.memory
    pair.step(Action.B)
    before = dict(pair.wanted.progress_reward)
    rocket = at.MISSABLES + HIDDEN_ROCKET // 8
    pair.poke(rocket, memory[rocket] | 1 << HIDDEN_ROCKET % 8)
    pair.step(Action.B)
    pair.poke(at.STATUS_FLAGS_1, memory[at.STATUS_FLAGS_1] | GAVE_DRINK)
    pair.step(Action.B)
    pair.poke(at.STATUS_FLAGS_4, memory[at.STATUS_FLAGS_4] | GOT_LAPRAS)
    pair.step(Action.B)
    pair.poke(at.SS_ANNE_2F_SCRIPT, 4)
    pair.step(Action.B)
    after = pair.wanted.progress_reward
    assert all(after[key] > before[key] == 0 for key in ("game_corner_rocket", "saffron_guard", "lapras", "rival3"))
    pair.poke(at.SURFING, 2)
    pair.step(Action.B)
    assert pair.wanted.use_surf == 1
    pair.set_event(EVENT_BOUGHT_TICKET)
    pair.step(Action.B)
    pair.set_event(EVENT_BEAT_BROCK)
    pair.step(Action.B)
    pair.poke(at.DEX_OWNED, 0xFF)
    pair.step(Action.B)


def test_invalid_ram_raises_what_upstream_raises(pair: Pair) -> None:
    spoilt = ((at.PARTY_COUNT, 7), (at.BAG_COUNT, 0), (at.BAG_ITEMS, NO_ITEM), (at.BLACKOUT_MAP, 255), (ENEMIES, 7))
    for address, value in spoilt:
        state = save(pair.wanted)
        pair.poke(address, value)
        with pytest.raises(Exception) as wanted:
            pair.wanted.step(Action.B)
        with pytest.raises(wanted.type):
            pair.ours.step(Action.B)
        pair.reset({"state": state})
        pair.play(buttons(12), 20)


def save(env: Any) -> bytes:
    """The emulator's state."""
    target = io.BytesIO()
    env.pyboy.save_state(target)
    return target.getvalue()


def test_a_state_from_the_swarm(pair: Pair) -> None:
    pair.play(noisy(13, 0.1), 300)
    state = save(pair.wanted)
    pair.play(buttons(14), 100)
    pair.reset({"state": state})
    pair.play(noisy(15, 0.1), 100)


def test_wrappers_may_write_to_the_maps(pair: Pair) -> None:
    from omegaconf import OmegaConf
    from pokemonred_puffer.wrappers.exploration import OnResetExplorationWrapper

    options = OmegaConf.create({"full_reset_frequency": 1, "jitter": 0})
    bare = pair.wanted, pair.ours
    for env in bare:
        env.max_steps = 60
    pair.wanted, pair.ours = (OnResetExplorationWrapper(env, options) for env in bare)
    act, most = noisy(16, 0.3), 0.0
    for _ in range(400):
        wanted, ours = pair.wanted.step(action := act(bare[0].pyboy.memory)), pair.ours.step(action)
        assert_same(dict(enumerate(ours)), dict(enumerate(wanted)))
        most = max(most, float(bare[0].reward_explore_map.sum()))
    assert 0 < bare[0].reward_explore_map.sum() < most, "the wrapper has cleared it"
    for env in bare:
        env.reward_explore_map[200:210] = 2.5
    pair.wanted, pair.ours = bare
    pair.step(Action.B)
    pair.play(act, 50)


@pytest.mark.parametrize("base", ["theirs", "fast"])
def test_shaped_pays_the_terms_on_top(tmp_path: Path, base: str) -> None:
    shipped, weights = config(tmp_path, log_frequency=50), {"damage": 3.0, "cell": 0.5, "event": 0.25}
    plain = make(theirs(), shipped)
    cls = shaped(theirs() if base == "theirs" else fast_required_events(theirs()))
    env = make(cls, shipped, shaping=weights, base="any")
    plain.reset()
    env.reset()
    act, paid, cells = noisy(17, 0.2), dict.fromkeys(weights, 0.0), set()
    for _ in range(600):
        action = int(act(plain.pyboy.memory))
        before = dict(env.progress_reward)
        reward, (_, more, done, _, info) = plain.step(action)[1], env.step(action)
        gained = {term: env.progress_reward[f"shaping_{term}"] - before[f"shaping_{term}"] for term in weights}
        assert more == pytest.approx(reward + sum(gained.values()), abs=1e-6) and not done
        assert not info or info["reward_sum"] == pytest.approx(sum(info["reward"].values()))
        paid = {term: paid[term] + value for term, value in gained.items()}
        cells.add(plain.get_game_coords())
    memory = plain.pyboy.memory
    assert len(cells) <= 1 + paid["cell"] / 0.5 + 1 and paid["cell"] > 10, "one a cell"
    assert paid["event"] == 0.25 * (sum(b.bit_count() for b in memory[at.EVENTS : at.EVENTS + at.EVENT_BYTES]))
    assert paid["damage"] > 0
    assert env.progress_reward["event"] == plain.progress_reward["event"]
