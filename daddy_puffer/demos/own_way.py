"""A run's own best way as its demonstration: the shortest one that the curriculum has kept to a milestone.

In: the registry of save states, of which each knows the actions that led there from the true start. Out: `DemoRows`.
Knows no network.

Where episodes begin at kept states, a milestone is reached long before anybody gets there from the true start: in bits,
by chance and detours, of which the registry keeps the shortest. Played in one piece they are an episode that nobody has
played, and one to learn from. Sources: Ecoffet 2021 (Go-Explore, robustification by imitating the trajectories found);
Oh 2018 (self-imitation).

Before the first milestone of those asked for, the way may be one to the map that is furthest away.

Of what was done at a place only the last counts, which led away from it for good: what lies between was a detour, which
is experience but not imitated. A place is where the player stands and what was reached; in battles everything counts.

An action a call: so a run plays it beside its own episodes, and nobody waits. These are steps in the game as all
others, to be counted. Rewards for curiosity are not among the rewards.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daddy_puffer.arrays import Arrays, as_json, from_json
from daddy_puffer.config import Config
from daddy_puffer.demos.game import INPUTS
from daddy_puffer.envs import make_red_env
from daddy_puffer.errors import UserError
from daddy_puffer.game.milestones import MILESTONES
from daddy_puffer.game.state import GameState
from daddy_puffer.replay import DemoRows
from daddy_puffer.swarm import Chain, SavedState
from daddy_puffer.wrappers import EpsilonEnv, open_registry

FURTHEST = "furthest"  # in place of a milestone: the map that takes longest to get to, until a milestone is reached
_SHORTER = 0.9  # a way to the same milestone that is this much shorter is worth playing

_log = logging.getLogger(__name__)


class OwnWay:
    """See the module's text."""

    def __init__(self, config: Config, savestates: Path) -> None:
        """The registry at `savestates`; the settings say to which milestones, the last of them that was reached counts.

        Raises:
            UserError: a milestone is unknown.
        """
        known = {milestone.name for milestone in MILESTONES}
        for name in config.demos.own_way:
            if name not in known | {FURTHEST}:
                raise UserError(f"demos.own_way: no milestone is called {name!r} (and it is not {FURTHEST!r})")
        self._milestones = [name for name in config.demos.own_way if name != FURTHEST]
        self._also_furthest = FURTHEST in config.demos.own_way
        self._maps: dict[int, int] = {}  # steps of the way that was played to a map without a milestone
        self._longest = config.env.max_steps
        self._red = make_red_env(config.env, config.rewards, progress=config.progress_reward)
        self._env = EpsilonEnv(self._red, config.env.frame_stack)
        self._registry = open_registry(savestates, config.curriculum, self._env)
        self._found: SavedState | None = None  # where the way leads that was played last, or is being played
        self._playing: Iterator[DemoRows | None] | None = None
        self._played = 0  # actions of it

    @property
    def playing(self) -> bool:
        """Whether a way is being played."""
        return self._playing is not None

    @property
    def goal(self) -> str:
        """The last milestone on the way that was played last, or else the map."""
        if self._found is None:
            return ""
        reached = [name for name in self._milestones if name in self._found.milestones]
        return reached[-1] if reached else self._found.map_name

    def look(self) -> bool:
        """Look for a way to a later milestone, or a much shorter one; whether it is being played now."""
        self._registry.refresh(force=True)
        better = self._better()
        loaded = None if better is None else self._registry.load(better)
        if better is None or loaded is None:
            return False
        self._found = better
        self._playing, self._played = self._play(better, loaded[1]), 0
        return True

    def advance(self) -> DemoRows | None:
        """Play one more action; the whole way, once it was the last one and the game is the one that was kept."""
        assert self._playing is not None
        self._played += 1
        try:
            return next(self._playing)
        except StopIteration:  # it led elsewhere
            self._playing = None
            return None

    def close(self) -> None:
        """Switch the game off."""
        self._env.close()

    def get_state(self) -> Arrays:
        """Which ways are known, and how far one has been played."""
        found = None if self._found is None else asdict(self._found)
        return {"known": as_json([found, list(self._maps.items()), self._played if self.playing else -1])}

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave; what has been played of a way is played again, which takes no step."""
        found, maps, played = from_json(state["known"])
        self._maps = {int(map_id): int(steps) for map_id, steps in maps}
        self._found = None if found is None else SavedState(**found)
        loaded = None if self._found is None or played < 0 else self._registry.load(self._found)
        if self._found is None or loaded is None:
            return
        self._playing, self._played = self._play(self._found, loaded[1]), 0
        for _ in range(played):
            self.advance()

    def _better(self) -> SavedState | None:
        states = [saved for saved in self._registry.states() if saved.total_steps <= self._longest]
        for milestone in reversed(self._milestones):
            there = [saved for saved in states if milestone in saved.milestones]
            if not there:
                continue
            best = min(there, key=lambda saved: saved.total_steps)
            found = self._found
            if found is None or milestone not in found.milestones or best.total_steps < _SHORTER * found.total_steps:
                return best
            return None
        return self._furthest(states) if self._also_furthest and states else None

    def _furthest(self, states: Sequence[SavedState]) -> SavedState | None:
        """The shortest way to the map to which that is longest, unless about the same has been played."""
        nearest: dict[int, SavedState] = {}
        for saved in states:
            known = nearest.get(saved.map_id)
            if known is None or saved.total_steps < known.total_steps:
                nearest[saved.map_id] = saved
        target = max(nearest.values(), key=lambda saved: saved.total_steps)
        if target.total_steps >= _SHORTER * self._maps.get(target.map_id, np.inf):
            return None
        self._maps[target.map_id] = target.total_steps
        return target

    def _play(self, saved: SavedState, chain: Chain) -> Iterator[DemoRows | None]:
        """None after each action but the last."""
        observation, _ = self._env.reset(options={"wait": int(chain.waits[0])})
        seen, rewards, places = [newest(observation)], [], [_place_of(self._red.game_state, 0)]
        begins = dict(zip(np.cumsum(chain.lengths).tolist(), chain.waits[1:].tolist(), strict=False))
        for step, action in enumerate(chain.actions.tolist(), start=1):
            observation, reward, *_ = self._env.step(np.int64(action))
            seen.append(newest(observation))
            rewards.append(float(reward))
            places.append(_place_of(self._red.game_state, step))
            if step in begins:  # here an episode of the curriculum began
                self._red.wait(begins[step])
            if step < len(chain.actions):
                yield None
        if hashlib.sha256(self._env.get_wrapper_attr("save_state")()).hexdigest() != saved.sha256:
            _log.warning("the way to %s leads elsewhere: it is not learnt from", saved.tag)
            return
        self._playing = None
        yield as_rows(seen, chain.actions.tolist(), rewards, places[:-1])


def as_rows(
    seen: Sequence[dict[str, Any]], actions: Sequence[int], rewards: Sequence[float], places: Sequence[object]
) -> DemoRows:
    """A way of T actions to its goal, where it is cut off; `seen` as `newest` gives it, `[T + 1]`, `places` `[T]`."""
    return DemoRows(
        seen={name: np.stack([row[name] for row in seen]) for name in INPUTS},
        action=np.array(actions, np.int64),
        reward=np.array(rewards, np.float32),
        terminated=False,
        imitated=without_loops(places),
    )


def without_loops(places: Sequence[object]) -> NDArray[np.bool_]:
    """Which steps are left when from each place on all is cut out until it is left for good, bool `[T]`."""
    last = {place: step for step, place in enumerate(places)}
    kept, step = np.zeros(len(places), bool), 0
    while step < len(places):
        step = last[places[step]]
        kept[step] = True
        step += 1
    return kept


def _place_of(state: GameState, step: int) -> tuple[object, ...]:
    """Where the player is in the game; a place of its own while somebody fights."""
    if state.battle_kind:
        return ("battle", step)
    return (state.map_id, *state.position, state.in_text, state.event_count, state.badges, state.talks)


def newest(observation: dict[str, Any]) -> dict[str, Any]:
    """What replay needs of an observation: of the frames the newest."""
    return {name: observation[name][-1] if name == "frames" else observation[name] for name in INPUTS}
