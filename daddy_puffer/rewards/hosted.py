"""Rewards inside another project's environment, whose reward classes *are* environments: two class factories.

`shaped(base)` adds weighted terms of ours to any such class. `fast_required_events(base)` is a drop-in for the host's
default class with the same rewards, observations and infos for less time. Both take the class that they build on as an
argument and find everything else of the host through it.

A host's reward is a dict of totals: a step pays the difference of its sum. The dict is asked for once a step, twice
more for a report and once at a reset, so asking has no effect.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import math
import sys
import textwrap
import tokenize
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from daddy_puffer.errors import UserError
from daddy_puffer.game import addresses as at
from daddy_puffer.game.state import (
    BAG_SLICE,
    EVENT_SLICE,
    MISSABLE_SLICE,
    OWNED_SLICE,
    PARTY_SLICE,
    SEEN_SLICE,
    GameState,
    RamReader,
    offset,
)
from daddy_puffer.rewards.sets import DEFAULT_WEIGHTS, RewardSet

DEFAULT_SHAPING = {"damage": 0.5, "heal": 0.5, "new_map": 2.0}  # what the host's own rewards lack
# Of `fast_required_events`: the host's functions that it stands in for, as they were when it was written.
KNOWN_HOST = "53f463a033e5d51e79f95ffbc912af01b4b7f55963f1a32ab0c8a7aaa7a8678d"

_MAP, _X, _Y, _TILESET = offset(at.MAP), offset(at.X), offset(at.Y), offset(at.TILESET)
_FACING, _BATTLE, _BADGES = offset(at.FACING), offset(at.IS_IN_BATTLE), offset(at.BADGES)
_PARTY_COUNT, _BLACKOUT, _SURFING = offset(at.PARTY_COUNT), offset(at.BLACKOUT_MAP), offset(at.SURFING)
_SCRIPT, _SAFARI = offset(at.SS_ANNE_2F_SCRIPT), offset(at.SAFARI_STEPS)
_MONS_SLICE = slice(offset(at.PARTY_MONS), offset(at.PARTY_MONS) + at.PARTY_SLOTS * at.PARTY_STRIDE)
_FLAG_SLICE = slice(offset(at.STATUS_FLAGS_1), offset(at.STATUS_FLAGS_1) + 13)  # to wElite4Flags
_DEX_SLICE = slice(OWNED_SLICE.start, SEEN_SLICE.stop)
_RIVAL_BEATEN = 4  # wSSAnne2FCurScript
_AFLOAT = 2  # wWalkBikeSurfState
_DARK = 6  # wMapPalOffset in a dark cave
_ENOUGH_MONEY = 10_000
_ON_FOOT_NO_MORE = 0x80  # wMovementFlags: sliding or on a spinner
_GREYS = (0, 85, 153, 255)  # of PyBoy's screen for a cartridge without colour
_COLOUR_FLAG, _COLOUR = 0x143, 0x80  # cartridge header
_SIX, _LEVELS = np.uint32(6), np.uint32(0x03030303)
_GATHER, _TOP_BYTE = np.uint32(1 << 30 | 1 << 20 | 1 << 10 | 1), np.uint32(24)
_FULL = np.float32(255)
Array8 = NDArray[np.uint8]
Arrays = dict[str, NDArray[np.generic]]

if TYPE_CHECKING:

    class _Host:
        """What the classes below are mixed into."""

        events: Any
        missables: Any
        flags: Any
        party: Any
        step_count: int
        total_reward: float
        total_heal_health: float
        died_count: int
        max_map_progress: int
        max_level_sum: int
        required_events: set[str]
        required_items: set[str]

        def __init__(self, env_config: Any, reward_config: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...
        def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]: ...
        def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]: ...
        def get_game_state_reward(self) -> dict[str, float]: ...
        def screen_obs(self) -> Arrays: ...
else:
    _Host = object


# --- shaping ---------------------------------------------------------------------------------------------------------


def shaped(base: type) -> type:
    """`base` with our shaping added: `Cls(env_config, reward_config)`.

    `reward_config.shaping` maps terms to weights (no such key: `DEFAULT_SHAPING`); all else there is for `base`.
    """
    return type(f"Shaped{base.__name__}", (_Shaped, base), {"__module__": __name__, "__doc__": _Shaped.__doc__})


class _Shaped(_Host):
    """Adds `shaping_<term>`: the weighted sum of the term over the steps since the reset."""

    def __init__(self, env_config: Any, reward_config: Any) -> None:
        """Signature of the host.

        Raises:
            UserError: an unknown term, or a weight that is no finite number.
        """
        chosen = (reward_config or {}).get("shaping")
        self._shaping = RewardSet(_weights(DEFAULT_SHAPING if chosen is None else chosen))
        self._shaping_keys = [f"shaping_{name}" for name in self._shaping.names]
        self._reader: RamReader | None = None
        self._sound: dict[str, float] = {}
        self._begin()
        super().__init__(env_config, reward_config)

    def _begin(self) -> None:
        self._cells: set[tuple[int, int, int]] = set()
        self._maps: set[int] = set()
        self._before: GameState | None = None  # at the end of the last step
        self._paid = [0.0] * len(self._shaping_keys)  # up to there
        self._now: GameState | None = None  # where the reward was asked for last
        self._owed = self._paid  # and what it said

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Reset; what was shaped counts from 0 again, as the host's own counters do."""
        self._begin()
        result = super().reset(seed=seed, options=options)
        self._settle()
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step."""
        result = super().step(action)
        self._settle()
        return result

    def get_game_state_reward(self) -> dict[str, float]:
        """The host's totals and ours; one that is no finite number keeps its last finite value.

        Raises:
            UserError: the host's class misses a weight.
        """
        try:
            rewards = dict(super().get_game_state_reward())
        except KeyError as error:
            raise UserError(f"the reward's configuration has no {error}: put it beside `shaping`") from error
        self._now = now = self._look()
        if self._before is not None:
            gained = self._shaping.by_term(self._before, now)
            self._owed = [total + value for total, value in zip(self._paid, gained, strict=True)]
        rewards.update(zip(self._shaping_keys, self._owed, strict=True))
        if not math.isfinite(sum(rewards.values())):
            self._mend(rewards)
        self._sound = rewards
        return rewards

    def _mend(self, rewards: dict[str, float]) -> None:
        for key, value in rewards.items():
            if not math.isfinite(value):
                warnings.warn(f"the reward {key!r} is {value}: its last value counts", RuntimeWarning, stacklevel=3)
                rewards[key] = self._sound.get(key, 0.0)

    def _look(self) -> GameState:
        if self._reader is None:
            self._reader = RamReader(self.pyboy.memory)
        ram = getattr(self, "_ram_now", None) or self._reader.read()  # read already where the base is fast
        cells = len(self._cells) + ((ram[_MAP], ram[_X], ram[_Y]) not in self._cells)
        return GameState(ram, cells_visited=cells, maps_visited=len(self._maps) + (ram[_MAP] not in self._maps))

    def _settle(self) -> None:
        """The step is over: what its reward said is paid."""
        now = self._now or self._look()
        self._before = now
        self._paid = self._owed
        self._cells.add((now.ram[_MAP], *now.position))
        self._maps.add(now.map_id)


def _weights(chosen: Any) -> dict[str, float]:
    """Every term's weight; 0 for those not named."""
    if not isinstance(chosen, Mapping):
        raise UserError(f"shaping must map terms to weights, got {chosen!r}")
    weights = dict.fromkeys(DEFAULT_WEIGHTS, 0.0)
    for term, weight in chosen.items():
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
            raise UserError(f"shaping.{term} must be a finite number, got {weight!r}")
        weights[str(term)] = float(weight)
    return weights


# --- the host's default reward, faster -------------------------------------------------------------------------------


def fast_required_events(base: type) -> type:
    """A drop-in for the host's default class `base`.

    Where its code is not the one that this was written for, `base` itself with a warning: right before fast.
    """
    try:
        facts = _Facts.of(base)
        known = fingerprint(base) == KNOWN_HOST and facts.greys == _GREYS
    except (AttributeError, KeyError, OSError):
        known = False
    if not known:
        warnings.warn(
            f"FastRequiredEvents does not know this version of {base.__module__}.{base.__name__}: that runs as it is",
            RuntimeWarning,
            stacklevel=2,
        )
        return base
    return type(
        "FastRequiredEvents", (_Fast, base), {"__module__": __name__, "__doc__": _Fast.__doc__, "_facts": facts}
    )


_STOOD_IN_FOR = (
    "step", "reset", "init_mem", "run_action_on_emulator", "update_seen_coords", "update_health", "update_pokedex",
    "update_tm_hm_obtained_move_ids", "update_max_op_level", "update_map_progress", "update_safari_zone",
    "check_num_bag_items", "remove_all_nonuseful_items", "read_hp_fraction", "check_if_party_has_hm",
    "party_has_cut_capable_mon", "scale_map_id", "get_required_events", "get_required_items", "get_hm_count",
    "screen_obs", "_get_obs", "update_reward", "update_max_event_rew", "get_all_events_reward", "get_levels_reward",
    "get_game_state_reward",
)  # fmt: skip

_LAYOUT = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


def fingerprint(base: type) -> str:
    """Digest of the host's functions that `_Fast` stands in for, blind to layout and comments.

    Raises:
        AttributeError, OSError: a function or its source is missing.
    """
    functions = [vars(c)[name] for name in _STOOD_IN_FOR for c in base.__mro__ if name in vars(c)]
    if len(functions) < len(_STOOD_IN_FOR):
        raise AttributeError("functions are missing")
    digest = hashlib.sha256()
    for function in functions:
        lines = io.StringIO(textwrap.dedent(inspect.getsource(function)))
        tokens = [t.string for t in tokenize.generate_tokens(lines.readline) if t.type not in _LAYOUT]
        digest.update("".join(tokens).encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _Facts:
    """Tables and classes of the host."""

    press: list[Any]
    release: list[Any]
    button_a: Any
    classes: tuple[Any, Any, Any, Any]  # of event, missable and status flags, and of the party
    map_ids: Any
    local_to_global: Callable[[int, int, int], tuple[int, int]]
    outside_safari: frozenset[int]
    unscaled: frozenset[int]
    cutters: frozenset[int]  # species that can learn to cut
    surfers: frozenset[int]
    strong: frozenset[int]
    cut: int
    surf: int
    strength: int
    save_to: Any
    event_mask: int
    museum_ticket: int
    required_events: tuple[str, ...]
    required_items: tuple[tuple[str, int], ...]
    useful_items: tuple[tuple[str, int], ...]
    greys: tuple[int, ...]  # of the four levels
    mask_byte: Array8  # four equal pixels of the mask, by value

    @classmethod
    def of(cls, base: Any) -> _Facts:
        """Read them out of the modules of `base`."""
        env, rewards = base.run_action_on_emulator.__globals__, vars(sys.modules[base.__module__])
        names = [name for name, *_ in dict(env["EventFlags"]._fields_)["b"]._fields_]
        maps = env["MapIds"]
        safari = {member.value for member in maps if "SAFARI_ZONE" in member.name}
        moves = env["TmHmMoves"]
        return cls(
            press=env["VALID_ACTIONS"],
            release=env["VALID_RELEASE_ACTIONS"],
            button_a=env["WindowEvent"].PRESS_BUTTON_A,
            classes=(env["EventFlags"], env["MissableFlags"], env["Flags"], env["PartyMons"]),
            map_ids=maps,
            local_to_global=env["local_to_global"],
            outside_safari=frozenset(member.value for member in maps) - safari,
            unscaled=frozenset(m.value for m in maps) - {m.value for m in env["MAP_ID_COMPLETION_EVENTS"]},
            cutters=frozenset(env["CUT_SPECIES_IDS"]),
            surfers=frozenset(env["SURF_SPECIES_IDS"]),
            strong=frozenset(env["STRENGTH_SPECIES_IDS"]),
            cut=moves.CUT.value,
            surf=moves.SURF.value,
            strength=moves.STRENGTH.value,
            save_to=env["io"].BytesIO,
            event_mask=sum(1 << i for i, name in enumerate(names) if name in rewards["EVENTS"]),
            museum_ticket=names.index("EVENT_BOUGHT_MUSEUM_TICKET"),
            required_events=tuple(rewards["REQUIRED_EVENTS"]),
            required_items=tuple((item.name, item.value) for item in rewards["REQUIRED_ITEMS"]),
            useful_items=tuple((item.name, item.value) for item in rewards["USEFUL_ITEMS"]),
            greys=tuple(env["PIXEL_VALUES"].tolist()),
            mask_byte=(np.digitize(np.arange(256), [0, 64, 128, 255], right=True) * 0x55).astype(np.uint8),
        )


@dataclass(frozen=True, slots=True)
class _Party:
    """What the party's bytes say."""

    health: float  # share of all hit points
    level_sum: int
    moves: frozenset[int]
    species: frozenset[int]

    @classmethod
    def read(cls, data: bytes) -> _Party:
        """`data`: `PARTY_SLICE`; at most six creatures."""
        first = at.PARTY_MONS - at.PARTY_COUNT
        mons = [data[i : i + at.PARTY_STRIDE] for i in range(first, first + data[0] * at.PARTY_STRIDE, at.PARTY_STRIDE)]
        hp = sum(mon[at.MON_HP] << 8 | mon[at.MON_HP + 1] for mon in mons)
        most = sum(mon[at.MON_MAX_HP] << 8 | mon[at.MON_MAX_HP + 1] for mon in mons)
        return cls(
            health=hp / max(most, 1),
            level_sum=sum(mon[at.MON_LEVEL] for mon in mons),
            moves=frozenset(move for mon in mons for move in mon[at.MON_MOVES : at.MON_MOVES + 4]),
            species=frozenset(mon[at.MON_SPECIES] for mon in mons),
        )


@dataclass(frozen=True, slots=True)
class _Bag:
    """What the bag's bytes say."""

    ids: frozenset[int]
    required: set[str]
    hidden_moves: int
    items: Array8
    quantities: Array8


def _party_arrays(data: bytes) -> Arrays:
    """The party's observations out of its 264 bytes; numbers of two bytes are read little-endian, as the host does."""
    structs = np.frombuffer(data, np.uint8).reshape(at.PARTY_SLOTS, at.PARTY_STRIDE)

    def byte(where: int) -> Array8:
        return structs[:, where].copy()

    def word(where: int) -> NDArray[np.uint32]:
        wide = structs[:, where : where + 2].astype(np.uint32)
        return wide[:, 0] | wide[:, 1] << np.uint32(8)

    return {
        "species": byte(at.MON_SPECIES),
        "hp": word(at.MON_HP),
        "status": byte(at.MON_STATUS),
        "type1": byte(at.MON_TYPE_1),
        "type2": byte(at.MON_TYPE_2),
        "level": byte(at.MON_LEVEL),
        "maxHP": word(at.MON_MAX_HP),
        "attack": word(at.MON_ATTACK),
        "defense": word(at.MON_DEFENSE),
        "speed": word(at.MON_SPEED),
        "special": word(at.MON_SPECIAL),
        "moves": structs[:, at.MON_MOVES : at.MON_MOVES + 4].copy(),
    }


class _Fast(_Host):
    """The host's default environment and reward: RAM is read once a step, and what did not change is not redone."""

    _facts: _Facts

    def __init__(self, env_config: Any, reward_config: Any) -> None:
        """Signature of the host."""
        self._ram_now: bytes | None = None  # from the end of a step's frames to the end of the step
        self._forget()
        super().__init__(env_config, reward_config)
        self._reader = RamReader(self.pyboy.memory)
        self._four_greys = not self.pyboy.memory[_COLOUR_FLAG] & _COLOUR
        names = ("wMapPalOffset", "wRepelRemainingSteps", "wEnemyPartyCount")
        self._palette, self._repel, self._enemies = (self.pyboy.symbol_lookup(name)[1] for name in names)

    def _forget(self) -> None:
        """Nothing is known. What is kept from here on is kept beside the bytes or the array that it comes from."""
        self._party_bytes, self._party_facts = b"", _Party(0.0, 0, frozenset(), frozenset())
        self._mons_bytes, self._mons_arrays = b"", dict[str, Any]()
        self._bag_bytes, self._bag_facts = (
            b"",
            _Bag(frozenset(), set(), 0, np.empty(0, np.uint8), np.empty(0, np.uint8)),
        )
        self._counted: dict[str, tuple[Any, int]] = {}
        self._dex_bytes, self._learnt_bytes = b"", b""
        self._events_bytes, self._event_total = b"", 0
        self._story_key: tuple[Any, ...] = ()
        self._story: dict[str, float] = {}
        self._completed_key: tuple[Any, ...] = ()
        self._completed: set[str] = set()
        self._explored: float | None = None
        self._near_bytes, self._mask = b"", np.empty(0, np.uint8)

    @property
    def reward_explore_map(self) -> NDArray[np.float32]:
        """The host's array. Who asks for it may write to it, so its sum is taken anew."""
        self._explored = None
        return self._explore_rewards

    @reward_explore_map.setter
    def reward_explore_map(self, value: NDArray[np.float32]) -> None:
        self._explored = None
        self._explore_rewards = value

    # ---- reading ----

    def _ram(self) -> bytes:
        return self._ram_now or self._reader.read()

    def _party(self, ram: bytes) -> _Party:
        data = ram[PARTY_SLICE]
        if data != self._party_bytes:
            if data[0] > at.PARTY_SLOTS:
                self.read_m(f"wPartyMon{data[0]}Level")  # raises what the host raises
            self._party_bytes, self._party_facts = data, _Party.read(data)
        return self._party_facts

    def _bag(self, ram: bytes) -> _Bag:
        data = ram[BAG_SLICE]
        if data != self._bag_bytes:
            pairs = np.frombuffer(data, np.uint8)[1:].copy()
            ids = frozenset(data[1 : 1 + 2 * data[0] : 2])
            pairs[2 * data[0] :] = 0
            required, hidden_moves = self.get_required_items(), self.get_hm_count()
            self._bag_facts = _Bag(ids, required, hidden_moves, pairs[::2].copy(), pairs[1::2].copy())
            self._bag_bytes = data
        return self._bag_facts

    def _count(self, name: str) -> int:
        """Sum of the array of that name; it is another array, or was marked, whenever it has changed."""
        array, known = getattr(self, name), self._counted.get(name)
        if known is None or known[0] is not array:
            known = self._counted[name] = (array, int(array.sum(dtype=np.int64)))
        return known[1]

    def _refresh(self, ram: bytes) -> None:
        """The host's own objects over story, hidden things, status and party, made anew where bytes have changed."""
        events, missables, flags, party = self._facts.classes
        if bytes(self.events) != ram[EVENT_SLICE]:
            self.events = events(self.pyboy)
        if bytes(self.missables) != ram[MISSABLE_SLICE]:
            self.missables = missables(self.pyboy)
        if bytes(self.flags) != ram[_FLAG_SLICE]:
            self.flags = flags(self.pyboy)
        if bytes(self.party) != ram[_MONS_SLICE] or self.party.party_size != ram[_PARTY_COUNT]:
            self.party = party(self.pyboy)
        if ram[_DEX_SLICE] != self._dex_bytes:
            self._dex_bytes = ram[_DEX_SLICE]
            self.update_pokedex()
        if ram[PARTY_SLICE] != self._learnt_bytes:
            self._learnt_bytes = ram[PARTY_SLICE]
            self.update_tm_hm_obtained_move_ids()
            self._counted.pop("obtained_move_ids", None)

    # ---- a step ----

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, in the host's order."""
        if self.step_count >= self.get_max_steps():
            self.step_count = 0
        if self.save_video and self.step_count == 0:
            self.start_video()
        self._prepare()
        if self._facts.press[action] == self._facts.button_a:
            self.update_a_press()
        self.run_action_on_emulator(action)
        self._ram_now = ram = self._reader.read()
        try:
            return self._conclude(action, ram)
        finally:
            self._ram_now = None

    def _prepare(self) -> None:
        memory = self.pyboy.memory
        if self.auto_flash and memory[self._palette] == _DARK:
            memory[self._palette] = 0
        if self.auto_remove_all_nonuseful_items and memory[at.BAG_COUNT] == at.BAG_SLOTS:
            self.remove_all_nonuseful_items()
        if self.infinite_money:
            money = slice(at.MONEY, at.MONEY + 3)
            if int.from_bytes(memory[money], "little") < _ENOUGH_MONEY:
                memory[money] = _ENOUGH_MONEY.to_bytes(3, "little")
        if (
            self.disable_wild_encounters
            and self._facts.map_ids(self.blackout_check).name not in self.disable_wild_encounters_maps
        ):
            memory[self._repel] = 0xFF
        if memory[at.MAP] not in self._facts.outside_safari:
            self.update_safari_zone()
        if memory[at.BAG_COUNT] >= at.BAG_SLOTS:
            self.check_num_bag_items()

    def run_action_on_emulator(self, action: Any) -> None:
        """Press, wait, record the place, get through dialogues, run the scripts whose conditions hold."""
        self.action_hist[action] += 1
        pyboy, frames = self.pyboy, self.action_freq
        if not self.disable_ai_actions:
            pyboy.send_input(self._facts.press[action])
            pyboy.send_input(self._facts.release[action], delay=8)
        pyboy.tick(frames - 1, render=False)
        self.update_seen_coords()
        for _ in range(1000):
            if not pyboy.memory[at.JOY_IGNORE]:
                break
            pyboy.button("a", 8)
            pyboy.tick(frames, render=False)
        self._run_scripts(action)
        pyboy.tick(1, render=True)

    def _run_scripts(self, action: Any) -> None:
        facts, event = self._facts, self.events.get_event
        if event("EVENT_GOT_HM01"):
            if self.auto_teach_cut and not self.check_if_party_has_hm(facts.cut):
                self.teach_hm(facts.cut, 30, facts.cutters)
            if self.auto_use_cut:
                self.cut_if_next()
        if event("EVENT_GOT_HM03"):
            self._run_surf(action)
        if event("EVENT_GOT_HM04"):
            self._run_strength()
        if event("EVENT_GOT_POKE_FLUTE") and self.auto_pokeflute:
            self.use_pokeflute()
        if self.skip_safari_zone and self.get_game_coords() == (18, 4, 7):
            self.skip_safari_zone_atn()
        if self.auto_next_elevator_floor:
            self.next_elevator_floor()
        if self.insert_saffron_guard_drinks:
            self.insert_guard_drinks()

    def _run_surf(self, action: Any) -> None:
        facts = self._facts
        if self.auto_teach_surf and not self.check_if_party_has_hm(facts.surf):
            self.teach_hm(facts.surf, 15, facts.surfers)
        if self.auto_use_surf:
            self.surf_if_attempt(facts.press[action])

    def _run_strength(self) -> None:
        facts = self._facts
        if self.auto_teach_strength and not self.check_if_party_has_hm(facts.strength):
            self.teach_hm(facts.strength, 15, facts.strong)
        if self.auto_solve_strength_puzzles:
            self.solve_strength_puzzle()
        if self.auto_use_strength and not self.check_if_party_has_hm(facts.strength):
            self.use_strength()

    def update_seen_coords(self) -> None:
        """Record the place; the arithmetic is the host's, for the same rounding."""
        memory, most = self.pyboy.memory, self.exploration_max
        increment = 0.5 if memory[at.MOVEMENT_FLAGS] & _ON_FOOT_NO_MORE else self.exploration_inc
        near = memory[at.MAP : at.TILESET + 1]
        map_id, y, x, tileset = near[0], near[at.Y - at.MAP], near[at.X - at.MAP], near[-1]
        seen = self.seen_coords.get(tileset)
        if seen is None:
            seen = self.seen_coords[tileset] = {}
        seen[x, y, map_id] = min(seen.get((x, y, map_id), 0.0) + increment, most)
        cell = self._facts.local_to_global(y, x, map_id)
        explored, rewards = self.explore_map, self._explore_rewards
        scaled = map_id not in self._facts.unscaled and self.scale_map_id(map_id)
        factor = self.map_id_scalefactor if scaled else 1.0
        full = explored.item(cell) == most and increment >= 0 and rewards.item(cell) == most * factor
        if not full:
            explored[cell] = min(explored[cell] + increment, most)
            before = rewards[cell]
            rewards[cell] = min(explored[cell] + increment, most) * factor
            if rewards[cell] != before:
                self._explored = None
        self.seen_map_ids[map_id] = 1

    def _conclude(self, action: Any, ram: bytes) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """What follows the frames."""
        party = self._party(ram)
        self._heal(party, ram)
        self._refresh(ram)
        self.party_size = ram[_PARTY_COUNT]
        if self.pyboy.memory[self._enemies]:
            self.update_max_op_level()
        reward = self.update_reward()
        self._note(party, ram)
        done, info = self._milestones(action, ram)
        observation = self._get_obs()
        self.step_count += 1
        if not party.species & self._facts.cutters:
            self.first = True
            reward = -self.total_reward * 0.5
            done = True if done is None else done
        if self.save_video:
            self.add_video_frame()
        return observation, reward, bool(done), False, info

    def _heal(self, party: _Party, ram: bytes) -> None:
        if party.health > self.last_health and ram[_PARTY_COUNT] == self.party_size:
            if self.last_health > 0:
                self.total_heal_health += party.health - self.last_health
            else:
                self.died_count += 1

    def _note(self, party: _Party, ram: bytes) -> None:
        self.last_health = party.health
        self.max_map_progress = max(0, self.max_map_progress, self.get_map_progress(ram[_MAP]))
        if self.perfect_ivs:
            self.set_perfect_iv_dvs()
        moves, facts = party.moves, self._facts
        self.taught_cut, self.taught_surf = facts.cut in moves, facts.surf in moves
        self.taught_strength = facts.strength in moves
        self.pokecenters[ram[_BLACKOUT]] = 1
        if ram[_SURFING] == _AFLOAT:
            self.use_surf = 1
        if self.infinite_health:
            self.reverse_damage()

    def _milestones(self, action: Any, ram: bytes) -> tuple[bool | None, dict[str, Any]]:
        """Whether the episode ends for being ahead (None: that was not asked), and the step's info."""
        events, items = self._completed_events(ram), self._bag(ram).required
        new = bool(events - self.required_events or items - self.required_items)
        info: dict[str, Any] = {}
        if self.save_state and new:
            state = self._facts.save_to()
            self.pyboy.save_state(state)
            info["state"] = {tuple(sorted([*events, *items])): state.getvalue()}
            info["required_count"] = len(events) + len(items)
            info["env_id"] = self.env_id
            info |= self.agent_stats(action)
        elif self.step_count and self.log_frequency and self.step_count % self.log_frequency == 0:
            info |= self.agent_stats(action)
        self.required_events, self.required_items = events, items
        if not new or self.required_tolerance is None:
            return None, info
        return len(events) + len(items) - self.required_rate > self.required_tolerance, info

    def _completed_events(self, ram: bytes) -> set[str]:
        key = (ram[EVENT_SLICE], ram[_SCRIPT], ram[MISSABLE_SLICE], ram[_FLAG_SLICE])
        if key != self._completed_key:
            self._completed_key, self._completed = key, self.get_required_events()
        return self._completed

    # ---- reward ----

    def update_reward(self) -> float:
        """What the totals have grown by."""
        self.progress_reward = self.get_game_state_reward()
        before, self.total_reward = self.total_reward, sum(self.progress_reward.values())
        return self.total_reward - before

    def get_game_state_reward(self) -> dict[str, float]:
        """The host's totals, in its order (a sum of floats depends on it)."""
        ram = self._ram()
        weights, bag, story = self.reward_config, self._bag(ram), self._story_rewards(ram)
        required = weights["required_event"]
        return {
            "cut_tiles": weights["cut_tiles"] * sum(self.cut_tiles.values()),
            "event": weights["event"] * self.update_max_event_rew(),
            "seen_pokemon": weights["seen_pokemon"] * self._count("seen_pokemon"),
            "caught_pokemon": weights["caught_pokemon"] * self._count("caught_pokemon"),
            "obtained_move_ids": weights["obtained_move_ids"] * self._count("obtained_move_ids"),
            "hm_count": weights["hm_count"] * bag.hidden_moves,
            "level": weights["level"] * self._level_reward(ram),
            "badges": weights["badges"] * ram[_BADGES].bit_count(),
            "valid_cut_coords": weights["valid_cut_coords"] * len(self.valid_cut_coords),
            "invalid_cut_coords": weights["invalid_cut_coords"] * len(self.invalid_cut_coords),
            "start_menu": weights["start_menu"] * self.seen_start_menu,
            "pokemon_menu": weights["pokemon_menu"] * self.seen_pokemon_menu,
            "stats_menu": weights["stats_menu"] * self.seen_stats_menu,
            "bag_menu": weights["bag_menu"] * self.seen_bag_menu,
            "explore_hidden_objs": sum(self.seen_hidden_objs.values()),
            "explore_signs": sum(self.seen_signs.values()) * weights["explore_signs"],
            "seen_action_bag_menu": self.seen_action_bag_menu * weights["seen_action_bag_menu"],
            "pokecenter_heal": self.pokecenter_heal * weights["pokecenter_heal"],
            "rival3": required * int(ram[_SCRIPT] == _RIVAL_BEATEN),
            "game_corner_rocket": required * float(self.missables.get_missable("HS_GAME_CORNER_ROCKET")),
            "saffron_guard": required * float(self.flags.get_bit("BIT_GAVE_SAFFRON_GUARDS_DRINK")),
            "lapras": required * float(self.flags.get_bit("BIT_GOT_LAPRAS")),
            "a_press": len(self.a_press) * weights["a_press"],
            "warps": len(self.seen_warps) * weights["explore_warps"],
            "use_surf": weights["use_surf"] * self.use_surf,
            "exploration": weights["exploration"] * self._explored_sum(),
            "safari_zone": sum(weights["safari_zone"] * v for v in self.safari_zone_steps.values()) / 502.0,
            "use_ball_count": weights["use_ball_count"] * self.use_ball_count,
            "pokeflute_tiles": weights["pokeflute_tiles"] * sum(self.pokeflute_tiles.values()),
            "surf_tiles": weights["surf_tiles"] * sum(self.surf_tiles.values()),
            **story,
            "valid_pokeflute_coords": weights["valid_pokeflute_coords"] * len(self.valid_pokeflute_coords),
            "invalid_pokeflute_coords": weights["invalid_pokeflute_coords"] * len(self.invalid_pokeflute_coords),
            "valid_surf_coords": weights["valid_surf_coords"] * len(self.valid_surf_coords),
            "invalid_surf_coords": weights["invalid_surf_coords"] * len(self.invalid_surf_coords),
        }

    def _story_rewards(self, ram: bytes) -> dict[str, float]:
        """Rewards of required events, required items and useful items."""
        bag, key = self._bag(ram), (bytes(self.events), ram[BAG_SLICE])
        if key != self._story_key:
            weights, facts, event = self.reward_config, self._facts, self.events.get_event
            story = {name: weights["required_event"] * float(event(name)) for name in facts.required_events}
            story |= {n: weights["required_item"] * float(item in bag.ids) for n, item in facts.required_items}
            story |= {n: weights["useful_item"] * float(item in bag.ids) for n, item in facts.useful_items}
            self._story_key, self._story = key, story
        return self._story

    def get_all_events_reward(self) -> int:
        """Named events that have happened since the start, without the ticket."""
        data = bytes(self.events)
        if data != self._events_bytes:
            bits = int.from_bytes(data, "little")
            happened = (bits & self._facts.event_mask).bit_count() - (bits >> self._facts.museum_ticket & 1)
            self._events_bytes, self._event_total = data, happened
        return max(self._event_total - int(self.base_event_flags), 0)

    def _level_reward(self, ram: bytes) -> float:
        self.max_level_sum = total = max(self.max_level_sum, self._party(ram).level_sum)
        return total if total < 15 else 15 + (total - 15) / 4

    def _explored_sum(self) -> float:
        if self._explored is None:
            self._explored = float(np.sum(self._explore_rewards))
        return self._explored

    # ---- observation ----

    def _get_obs(self) -> Arrays:
        ram = self._ram()
        mons = bytes(self.party)
        if mons != self._mons_bytes:
            self._mons_bytes, self._mons_arrays = mons, _party_arrays(mons)
        bag = self._bag(ram)
        scalars = np.array([ram[_FACING] // 4, ram[_BLACKOUT], (ram[_BATTLE] + 1) & 0xFF, ram[_MAP]], np.uint8)
        rival, rocket = ram[_SCRIPT] == _RIVAL_BEATEN, self.missables.get_missable("HS_GAME_CORNER_ROCKET")
        drink, lapras = self.flags.get_bit("BIT_GAVE_SAFFRON_GUARDS_DRINK"), self.flags.get_bit("BIT_GOT_LAPRAS")
        story = np.array([rival, rocket, drink, lapras], np.uint8)
        found: Arrays = {
            **self.screen_obs(),
            "direction": scalars[0, ...],
            "blackout_map_id": scalars[1, ...],
            "battle_type": scalars[2, ...],
            "map_id": scalars[3, ...],
            "bag_items": bag.items.copy(),
            "bag_quantity": bag.quantities.copy(),
        }
        for key, array in self._mons_arrays.items():
            found[key] = array.copy()
        found["events"] = np.frombuffer(bytes(self.events), np.uint8).copy()
        found["rival_3"], found["game_corner_rocket"] = story[0, ...], story[1, ...]
        found["saffron_guard"], found["lapras"] = story[2, ...], story[3, ...]
        if not self.skip_safari_zone:
            found["safari_steps"] = np.array(ram[_SAFARI] << 8 | ram[_SAFARI + 1], np.uint32)
        return found

    def screen_obs(self) -> Arrays:
        """Screen and mask of visited cells; other than packed, or with the world's map, they are the host's own."""
        if self.use_global_map or not self.two_bit or not self._four_greys:
            return super().screen_obs()
        ram, stride = self._ram(), 2 if self.reduce_res else 1
        # the upper two bits of each grey are its level; four levels lie at bits 0, 8, 16, 24 and one product moves them
        # to bits 30, 28, 26, 24
        quads = np.ascontiguousarray(self.screen.ndarray[::stride, ::stride, 1]).view("<u4") >> _SIX
        quads &= _LEVELS
        quads *= _GATHER
        quads >>= _TOP_BYTE
        screen = quads.astype(np.uint8)[:, :, None]
        if ram[_BATTLE]:
            return {"screen": screen, "visited_mask": np.zeros_like(screen)}
        row, column = self._facts.local_to_global(ram[_Y], ram[_X], ram[_MAP])
        near = self.explore_map[row - 4 : row + 6, column - 4 : column + 6]
        key = near.tobytes()
        if key != self._near_bytes:
            self._near_bytes, self._mask = key, self._draw_mask(near, 16 // stride)
        return {"screen": screen, "visited_mask": self._mask.copy()}

    def _draw_mask(self, near: NDArray[np.float32], cell: int) -> Array8:
        """Ten by ten cells of `cell` pixels, less what the screen does not show above and below."""
        mask = np.empty((10, cell, 10, cell // 4), np.uint8)
        mask[:] = self._facts.mask_byte[(_FULL * near).astype(np.uint8)][:, None, :, None]
        return mask.reshape(10 * cell, -1, 1)[6 * cell // 16 : -10 * cell // 16].copy()
