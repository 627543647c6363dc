"""`Curriculum`: episodes begin where others got to, and what is reached for the first time is kept to begin there.

In: an `EpsilonEnv` over a game that can be saved. Out: the same observation with `episode[2]` = number of the state
that the episode began from (0 = the true start), and `info["savestate_tag"]` at an episode's end: `FOREIGN` where the
episode began at a state that somebody else gave.

A state is kept when a map is entered for the first time in the episode, or a milestone is reached (a badge, a gym
leader, a story event, a key item), or, with `cell_size`, a cell of so many squares is; only where the player is free to
move, and only where the registry has too few states of the cell, a longer way to it, or by chance an old one. Its file
of actions holds all actions since the true start. An episode that began from a state is truncated after
`episode_steps`. The game counts its steps and rewards from 0 after every load, but the cells visited on the way to the
state count as visited: otherwise the way back, where everything could be found again, would pay more than the frontier.

Source: returning to states kept by cell is Go-Explore's (Ecoffet 2021); a share of episodes from the true start keeps
the distribution on which the agent is judged.
"""

from __future__ import annotations

import hashlib
import logging
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from numpy.typing import NDArray

from daddy_puffer.arrays import Arrays, as_bytes, as_json, from_json, part, under
from daddy_puffer.config import CurriculumConfig
from daddy_puffer.errors import UserError
from daddy_puffer.files import file_sha256
from daddy_puffer.game import addresses as at
from daddy_puffer.game.milestones import milestone_bits, milestones_reached
from daddy_puffer.game.state import GameState, offset
from daddy_puffer.swarm import Candidates, Chain, Machine, SavedState, StateFacts, StateRegistry, probabilities
from daddy_puffer.types import FLAGS_FIELD, SPAWN_FIELD, EpisodeFlag
from daddy_puffer.wrappers.epsilon import Observation, owner

FOREIGN = "foreign"  # tag of a start that is in no registry: another swarm's
BLOCK_SQUARES = 4  # a side of what counts as one place
STEPS_BETWEEN_SAVES = 16  # at least: saving takes as long as 50 steps
STEPS_BETWEEN_REFRESHES = 2048  # at least, where the cell has a state already: so it costs 3 % at most
_AT = "at_"  # under which name visits of a block are counted
_REFRESH_CHANCE = 0.2  # to keep a state of a cell that has one, over how many it has
_SHORTER = 0.9  # a way this much shorter is worth keeping
_MUCH_SHORTER = 0.75  # and this much at any time: it is the way that others go on from, and that may be learnt from
_ATTEMPTS = 3  # states tried before an episode begins at the true start
_JOY_IGNORE = offset(at.JOY_IGNORE)
# of an episode that is written down: numbers, texts and cells; sets of cells and texts
_PLAIN = (
    "_episode", "_steps", "_next_refresh", "_going", "_block", "_from_state", "_wait", "_tag", "_spawn_id",
    "_next_save", "_label", "_place", "_reached", "_first_reached",
)  # fmt: skip
_SETS = ("_blocks", "_places", "_seen")

_log = logging.getLogger(__name__)


def machine_of(env: gymnasium.Env[Any, Any], host: str = "") -> Machine:
    """What `env` plays: a new one, at its initial state; `host` as in `Machine`."""
    save_state: Callable[[], bytes] = env.get_wrapper_attr("save_state")
    return Machine(
        rom_sha256=file_sha256(env.get_wrapper_attr("rom_path")),
        start_sha256=hashlib.sha256(save_state()).hexdigest(),
        action_freq=env.get_wrapper_attr("action_freq"),
        emulator=f"PyBoy {version('pyboy')}",
        host=host,
    )


def open_registry(
    folder: Path, config: CurriculumConfig, env: gymnasium.Env[Any, Any], host: str = ""
) -> StateRegistry:
    """The registry at `folder` for states of a new `env`, which has not been reset yet; `host` as in `Machine`."""
    machine = machine_of(env, host)
    return StateRegistry(folder, machine, max_states=config.max_states, max_bytes=config.max_megabytes * 1_000_000)


class Curriculum(gymnasium.Wrapper[Observation, np.int64, Observation, np.int64]):
    """See the module's text."""

    def __init__(
        self,
        env: gymnasium.Env[Observation, np.int64],
        config: CurriculumConfig,
        registry: StateRegistry,
        forgetting: float = 0.95,
    ) -> None:
        """`registry` may be shared by the environments of a process.

        `forgetting`: what an episode from a state still counts after one more from there, where mode `mixture` asks how
        often a start succeeds.
        """
        super().__init__(env)
        self.registry = registry
        self._config, self._forgetting = config, forgetting
        self._name = os.urandom(4).hex()
        self._game = owner(env, "game_state")
        self._save_state: Callable[[], bytes] = env.get_wrapper_attr("save_state")
        self._visited_cells: Callable[[], NDArray[np.uint8]] = env.get_wrapper_attr("visited_cells")
        self._rng = np.random.default_rng()
        self._episode = -1
        self._steps = self._next_refresh = 0  # of this environment, over all episodes
        self._going = False
        self._block = (-1, 0, 0)
        self._blocks: set[tuple[int, int, int]] = set()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode at a state that is drawn, or at the true start; `options["state"]` goes before."""
        self._report()
        if seed is not None:
            self._rng = np.random.default_rng([seed, 0xC0FFEE])
        self._try(self.registry.refresh)
        if options and options.get("state") is not None:  # somebody else's: no way to it is known
            observation, info = self.env.reset(seed=seed, options=options)
            number = zlib.crc32(options["state"]) & 0x7FFFFFFF or 1
            return self._begin(observation, None, None, (FOREIGN, number)), info
        for _ in range(_ATTEMPTS):
            saved = self._draw()
            if saved is None:
                break
            begun = self._begin_at(saved, seed, options or {})
            if begun is not None:
                return begun
        observation, info = self.env.reset(seed=seed, options=options)
        return self._begin(observation, None, Chain.empty()), info

    def step(self, action: np.int64) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step; keep the state if it is worth it; end the episode in time."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._actions.append(int(action))
        self._steps += 1
        state = self._state
        place, flags = self._place_of(state), observation["milestones"].tobytes()
        if place != self._place or flags != self._flags:
            self._arrive(state, place, flags)
        block = _block_of(state)
        if block != self._block:
            self._block = block
            self._blocks.add(block)
        if self._label and not terminated and len(self._actions) >= self._next_save and _is_free(state):
            self._keep(state)
        observation["episode"][SPAWN_FIELD] = self._spawn_id
        if not (terminated or truncated) and self._from_state and len(self._actions) >= self._config.episode_steps:
            truncated = True
            observation["episode"][FLAGS_FIELD] |= EpisodeFlag.TRUNCATED
            info = {**info, **self.summary()}
        if terminated or truncated:
            info = {**info, "savestate_tag": self._tag}
            self._report()
        return observation, reward, terminated, truncated, info

    def summary(self) -> dict[str, Any]:
        """What the info says at an episode's end; for a wrapper around this one that ends the episode, too."""
        return {**self.env.get_wrapper_attr("summary")(), "savestate_tag": self._tag}

    def get_state(self) -> Arrays:
        """The episode under way, the dice, and when a state may be kept next; the registry is not part of it."""
        rest = {name: getattr(self, name) for name in _PLAIN}
        sets = {name: sorted(getattr(self, name)) for name in _SETS}
        chain = {} if self._chain is None else under("chain", self._chain.to_arrays())
        rng = self._rng.bit_generator.state
        return {**chain, "actions": as_bytes(self._actions), "rest": as_json([rest, sets, self._flags.hex(), rng])}

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave."""
        chain = part(state, "chain")
        self._chain = Chain(**chain) if chain else None
        self._actions = bytearray(state["actions"])
        rest, sets, flags, self._rng.bit_generator.state = from_json(state["rest"])
        for name in _PLAIN:
            setattr(self, name, _hashable(rest[name]))
        for name in _SETS:
            setattr(self, name, {_hashable(member) for member in sets[name]})
        self._flags = bytes.fromhex(flags)

    @property
    def _state(self) -> GameState:
        return self._game.game_state

    def _draw(self) -> SavedState | None:
        states = self.registry.states()
        if not states or self._rng.random() < self._config.true_start_share:
            return None
        candidates = _candidates(states, self.registry, self._config, self._forgetting)
        chances = probabilities(self._config.mode, candidates, self._rng)
        return states[self._rng.choice(len(states), p=chances)]

    def _begin_at(
        self, saved: SavedState, seed: int | None, options: dict[str, Any]
    ) -> tuple[Observation, dict[str, Any]] | None:
        """Start an episode at `saved`; None when it is gone or bad."""
        loaded = self.registry.load(saved)
        if loaded is None:
            return None
        state, chain = loaded
        ours = self.registry.is_new(saved)  # of this run and whole; others are tried with care, which takes 40 ms
        load = {"state": state, "visited": chain.visited, "no_way_back": ours}
        load |= {"way": chain, "savestate_tag": saved.tag}  # for whoever takes notes of actions
        try:
            observation, info = self.env.reset(seed=seed, options={**options, **load})
            _compare(saved, self._state)
        except UserError as error:
            self.registry.quarantine(saved.tag, str(error))
            return None
        return self._begin(observation, saved, chain, (saved.tag, saved.spawn_id)), info

    def _begin(
        self, observation: Observation, spawn: SavedState | None, chain: Chain | None, origin: tuple[str, int] = ("", 0)
    ) -> Observation:
        """Forget the last episode; without `chain` nothing is kept in this one. `origin`: tag and number."""
        state = self._state
        self._episode += 1
        self._going = True
        self._from_state, self._chain, self._wait = spawn is not None, chain, self._game.last_wait
        self._tag, self._spawn_id = origin
        self._actions = bytearray()
        self._next_save = 1
        self._label = ""
        self._place, self._flags = self._place_of(state), observation["milestones"].tobytes()
        self._places = {self._place}
        self._reached = self._first_reached = int.from_bytes(self._flags, "little")
        self._seen = {self._cell_of(state), _region_of(state.map_id)}
        self._block = _block_of(state)
        self._blocks = {self._block}
        if spawn:
            self._try(self.registry.outcomes.draw, spawn.tag)
        observation["episode"][SPAWN_FIELD] = self._spawn_id
        return observation

    def _place_of(self, state: GameState) -> tuple[int, int, int]:
        size = self._config.cell_size
        if not size:
            return state.map_id, 0, 0
        x, y = state.position
        return state.map_id, x // size, y // size

    def _cell_of(self, state: GameState) -> str:
        flags = int.from_bytes(self._flags, "little")
        return "_".join(map(str, (*self._place, state.badges, flags.bit_count())))

    def _arrive(self, state: GameState, place: tuple[int, int, int], flags: bytes) -> None:
        """Take note of another place, or of other milestones."""
        self._place, self._flags = place, flags
        self._seen |= {self._cell_of(state), _region_of(state.map_id)}
        new = int.from_bytes(flags, "little") & ~self._reached
        if new:
            self._reached |= new
            self._label = milestones_reached(new.to_bytes(len(flags), "little"))[-1]
        if place not in self._places:
            self._places.add(place)
            self._label = self._label or state.map_name

    def _keep(self, state: GameState) -> None:
        """Save the game, unless there is enough of the kind."""
        label, self._label = self._label, ""
        cell = self._cell_of(state)
        if self._chain is None or not self._is_wanted(cell, len(self._chain.actions) + len(self._actions)):
            return
        self._next_save = len(self._actions) + STEPS_BETWEEN_SAVES
        if self.registry.in_cell(cell):
            self._next_refresh = self._steps + STEPS_BETWEEN_REFRESHES
        facts = StateFacts(
            label=label,
            cell=cell,
            map_id=state.map_id,
            map_name=state.map_name,
            milestones=milestones_reached(self._flags),
            badges=state.badges,
            episode_steps=len(self._actions),
            total_steps=len(self._chain.actions) + len(self._actions),
            parent=self._tag,
            maker=f"environment {self._name} episode {self._episode}",
        )
        chain = self._chain.then(self._wait, bytes(self._actions), self._visited_cells())
        self._try(self.registry.register, self._save_state(), facts, chain)

    def _is_wanted(self, cell: str, total_steps: int) -> bool:
        known = self.registry.in_cell(cell)
        if not known:
            return True
        shortest = min(saved.total_steps for saved in known)
        if total_steps < _MUCH_SHORTER * shortest:
            return True
        if self._steps < self._next_refresh:
            return False
        if total_steps < _SHORTER * shortest:
            return True
        return self._rng.random() < _REFRESH_CHANCE / len(known)

    def _report(self) -> None:
        """Tell the others what came of the episode, once."""
        if self._going:
            self._going = False
            gained = bool(self._reached & ~self._first_reached)
            blocks = {f"{_AT}{map_id}_{x}_{y}" for map_id, x, y in self._blocks}
            found = self.registry.note_places(blocks)
            self._try(self.registry.outcomes.end, self._tag, gained, found, self._seen | blocks)

    def _try(self, act: Callable[..., object], *arguments: Any) -> None:
        """A disk that is full or gone does not stop the training."""
        try:
            act(*arguments)
        except OSError as error:
            _log.warning("the registry of save states cannot be used: %s", error)


def _hashable(value: Any) -> Any:
    """A cell has become a list in JSON."""
    return tuple(value) if isinstance(value, list) else value


def _is_free(state: GameState) -> bool:
    """The player can walk: no battle, no text, no scripted walk."""
    return not (state.battle_kind or state.in_text or state.ram[_JOY_IGNORE])


def _block_of(state: GameState) -> tuple[int, int, int]:
    """Where the player is, to some squares: what counts as a place that somebody has been to."""
    x, y = state.position
    return state.map_id, x // BLOCK_SQUARES, y // BLOCK_SQUARES


def _region_of(map_id: int) -> str:
    """Under which name visits of a whole map are counted, beside those of its cells."""
    return f"map_{map_id}"


def _compare(saved: SavedState, state: GameState) -> None:
    """The game is what the sidecar says.

    Raises:
        UserError: it is not.
    """
    found = (state.map_id, state.badges, milestones_reached(milestone_bits(state)))
    said = (saved.map_id, saved.badges, saved.milestones)
    if found != said:
        raise UserError(f"the memory says map, badges, milestones are {found}, its sidecar {said}")


def _numbers_in(name: str) -> tuple[int, int, int] | None:
    """Map, column and row that a name begins with; None of one that was damaged."""
    try:
        map_id, x, y = map(int, name.split("_")[:3])
    except ValueError:
        return None
    return map_id, x, y


def holes(cells: Sequence[str], seen: Mapping[str, int], cell_size: int) -> NDArray[np.float64]:
    """For each cell how many of the four blocks beside it nobody has been to, f64 `[N]`; `seen` as in `Tallies`.

    Only within what is known of the map from west to east and from north to south: nobody knows where a map ends.
    """
    if not cell_size:  # a cell is a whole map
        return np.zeros(len(cells))
    known = {numbers for name in seen if name.startswith(_AT) and (numbers := _numbers_in(name.removeprefix(_AT)))}
    reach: dict[int, list[int]] = {}  # map -> least and greatest column and row
    for map_id, x, y in known:
        west, east, north, south = reach.get(map_id, (x, x, y, y))
        reach[map_id] = [min(west, x), max(east, x), min(north, y), max(south, y)]
    found = np.zeros(len(cells))
    for row, cell in enumerate(cells):
        numbers = _numbers_in(cell)
        if numbers is None:
            continue
        map_id, *corner = numbers
        x, y = (number * cell_size // BLOCK_SQUARES for number in corner)
        west, east, north, south = reach.get(map_id, (x, x, y, y))
        beside = ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1))
        inside = [(map_id, *at) for at in beside if west <= at[0] <= east and north <= at[1] <= south]
        found[row] = sum(at not in known for at in inside)
    return found


def _candidates(
    states: list[SavedState], registry: StateRegistry, config: CurriculumConfig, forgetting: float
) -> Candidates:
    tallies = registry.tallies
    size = config.cell_size if config.mode == "frontier" else 0  # no other mode asks for holes
    recent = np.zeros((len(states), 2))
    if config.mode == "mixture":  # no other mode asks for these
        recent[:] = [tallies.recent(saved.tag, forgetting) for saved in states]
    cells = _numbers([saved.cell for saved in states])
    return Candidates(
        cell=cells,
        place=_numbers([saved.cell.rsplit("_", 1)[0] for saved in states]),  # without the number of milestones
        region=np.array([saved.map_id for saved in states]),
        region_visits=np.array([tallies.seen[_region_of(saved.map_id)] for saved in states], np.float64),
        distance=np.array([saved.total_steps for saved in states], np.float64),
        progress=np.array([saved.progress for saved in states], np.float64),
        made=np.array([saved.made for saved in states]),
        visits=np.array([tallies.seen[saved.cell] for saved in states], np.float64),
        tried=np.array([tallies.ended[saved.tag] for saved in states], np.float64),
        gained=recent[:, 0],
        missed=recent[:, 1],
        found=np.array([tallies.found[saved.tag] for saved in states], np.float64),
        holes=holes([saved.cell for saved in states], tallies.seen, size),
    )


def _numbers(names: list[str]) -> NDArray[np.int64]:
    """The same number for the same name."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])
