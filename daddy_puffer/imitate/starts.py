"""Where episodes of imitation begin: the true start, or states that a run's curriculum kept.

In: a `savestates/` folder of a run. Out: `Start`s, drawn by stage. Knows no network. The stage of a state is the
milestone that came last on the way there: of those it has, the one that the folder's states took longest to reach.
Every stage is drawn as often as any other, however many states it has (Ecoffet 2021 and Salimans 2018 begin at kept
states so that what is far away is seen as often as what is near).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daddy_puffer.config import CurriculumConfig
from daddy_puffer.demos.episode import NOTHING_VISITED
from daddy_puffer.demos.game import Game
from daddy_puffer.errors import UserError
from daddy_puffer.swarm import Machine, SavedState, StateRegistry
from daddy_puffer.wrappers.curriculum import open_registry

NO_MILESTONE = "start"  # stage of states that have none
_ATTEMPTS = 3  # states tried before an episode begins at the true start


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where an episode begins."""

    stage: str  # the milestone that came last
    state: bytes  # save state, empty = the game's own
    visited: NDArray[np.uint8] = field(default_factory=NOTHING_VISITED.copy)  # [V, 3] map, x, y


TRUE_START = Start(stage=NO_MILESTONE, state=b"")


class KeptStates:
    """The states of a folder, by stage."""

    def __init__(self, folder: Path, game: Game, from_milestone: str, until: str) -> None:
        """`game` is new; states with `until`, or without `from_milestone`, are left out; both may be empty.

        Raises:
            UserError: no state is left, or they are of another game.
        """
        if game.memory is None:
            raise UserError(f"--start-states are no states of {game.recipe.env_id}: leave them out")
        if not folder.is_dir():
            raise UserError(f"no folder {folder}: give a run's savestates/")
        self._registry: StateRegistry = open_registry(folder, CurriculumConfig(), game.env, game.host)
        self._registry.refresh(force=True)
        states = self._registry.states()
        names = Machine.__dataclass_fields__
        here = [s for s in states if all(getattr(s, n) == getattr(self._registry.machine, n) for n in names)]
        wanted = [
            s for s in here if until not in s.milestones and (not from_milestone or from_milestone in s.milestones)
        ]
        if not wanted:
            asked = f" with {from_milestone}" * bool(from_milestone) + f" without {until}" * bool(until)
            raise UserError(f"{folder} has {len(states)} states, {len(here)} of this game, none{asked}")
        self.stages = by_stage(wanted)

    def draw(self, rng: np.random.Generator) -> Start:
        """Any stage, any state of it; the true start when none can be read."""
        for _ in range(_ATTEMPTS):
            stage = list(self.stages)[rng.integers(len(self.stages))]
            states = self.stages[stage]
            found = self._registry.load(states[rng.integers(len(states))])
            if found is not None:
                return Start(stage=stage, state=found[0], visited=found[1].visited)
        return TRUE_START


def by_stage(states: Sequence[SavedState]) -> dict[str, list[SavedState]]:
    """States by the milestone that came last on the way to them, early stages first."""
    reached: dict[str, int] = {NO_MILESTONE: -1}
    for state in states:
        for name in state.milestones:
            reached[name] = min(reached.get(name, state.total_steps), state.total_steps)
    order = sorted(reached, key=lambda name: reached[name])
    found: dict[str, list[SavedState]] = {}
    for state in states:
        last = max((NO_MILESTONE, *state.milestones), key=order.index)
        found.setdefault(last, []).append(state)
    return {name: found[name] for name in order if name in found}


def starts_of(kept: KeptStates | None, share: float, episodes: int, seed: Sequence[int]) -> list[Start]:
    """Where each of so many episodes begins: about `share` of them at kept states; the seed says which."""
    if kept is None:
        return [TRUE_START] * episodes
    rng = np.random.default_rng(seed)
    return [kept.draw(rng) if rng.random() < share else TRUE_START for _ in range(episodes)]
