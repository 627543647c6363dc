"""A run's own best episodes as demonstrations: those from the true start that got to a milestone, the newest of them.

In: what the environments show, step by step, and what was done. Out: `DemoRows`, cut off at the milestone. Knows no
network and no game but its features.

A single way (`demos.OwnWay`) says nothing of what to do beside it, where chance soon leads. Episodes that got there do:
each left the way elsewhere, and came back. They cost no step. As with the single way, what lay between two visits of a
place was a detour, which is not imitated. Source: Oh 2018 (self-imitation).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from daddy_puffer.arrays import Arrays, as_json, from_json, part, under
from daddy_puffer.demos.own_way import as_rows, newest
from daddy_puffer.game.features import place_of
from daddy_puffer.game.milestones import MILESTONES
from daddy_puffer.replay import DemoRows
from daddy_puffer.types import SPAWN_FIELD, Array, StepBatch


@dataclass(slots=True)
class _Episode:
    """What one environment showed since its true start, before each action."""

    seen: list[dict[str, Array]] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)  # that followed them
    reached: int = 0  # bits of the milestones

    def to_arrays(self) -> Arrays:
        """At least one observation is there."""
        seen = {name: np.stack([row[name] for row in self.seen]) for name in self.seen[0]}
        return under("seen", seen) | {"rest": as_json([self.actions, self.rewards, self.reached])}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> _Episode:
        seen = part(arrays, "seen")
        rows = [dict(zip(seen, row, strict=True)) for row in zip(*seen.values(), strict=True)]
        return cls(rows, *from_json(arrays["rest"]))


class OwnWins:
    """See the module's text."""

    def __init__(self, num_envs: int, milestones: Sequence[str], most: int, longest: int) -> None:
        """Keep the newest `most` episodes to one of `milestones` that took `longest` actions or fewer."""
        self._goals = sum(1 << milestone.index for milestone in MILESTONES if milestone.name in milestones)
        self._longest = longest
        self._episodes: list[_Episode | None] = [None] * num_envs
        self._wins: deque[DemoRows] = deque(maxlen=most)
        self._news = False

    @property
    def news(self) -> bool:
        """Whether there was another one since `episodes` was called."""
        return self._news

    def episodes(self) -> list[DemoRows]:
        """The newest ones."""
        self._news = False
        return list(self._wins)

    def note(self, batch: StepBatch, actions: Array) -> None:
        """Take what all environments show, and what is done there next, i64 `[B]`."""
        for row in range(len(actions)):
            if batch.first[row]:
                true_start = not batch.observation["episode"][row, SPAWN_FIELD]
                self._episodes[row] = _Episode(reached=self._flags(batch, row)) if true_start else None
            episode = self._episodes[row]
            if episode is None:
                continue
            seen = newest({name: array[row] for name, array in batch.observation.items()})
            if not batch.first[row]:
                episode.rewards.append(float(batch.reward[row]))
            episode.seen.append({name: value.copy() for name, value in seen.items()})
            flags = self._flags(batch, row)
            if flags & ~episode.reached:
                self._wins.append(_rows(episode))
                self._news = True
                episode.reached = flags
            over = batch.terminated[row] or batch.truncated[row]
            if over or len(episode.actions) == self._longest:
                self._episodes[row] = None
            else:
                episode.actions.append(int(actions[row]))

    def get_state(self) -> Arrays:
        """Episodes that won, and those under way."""
        under_way = {row: episode for row, episode in enumerate(self._episodes) if episode is not None}
        state = {"counts": as_json([len(self._wins), list(under_way), self._news])}
        for number, win in enumerate(self._wins):
            state |= under(f"win{number}", win.to_arrays())
        for row, episode in under_way.items():
            state |= under(f"env{row}", episode.to_arrays())
        return state

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave; episodes of environments that are there no more are forgotten."""
        wins, under_way, self._news = from_json(state["counts"])
        self._wins.extend(DemoRows.from_arrays(part(state, f"win{number}")) for number in range(wins))
        for row in under_way:
            if row < len(self._episodes):
                self._episodes[row] = _Episode.from_arrays(part(state, f"env{row}"))

    def _flags(self, batch: StepBatch, row: int) -> int:
        return int.from_bytes(batch.observation["milestones"][row].tobytes(), "little") & self._goals


def _rows(episode: _Episode) -> DemoRows:
    """The episode so far, its last observation where it leads."""
    places = [place_of(seen["structured"]) or ("battle", step) for step, seen in enumerate(episode.seen[:-1])]
    return as_rows(episode.seen, episode.actions, episode.rewards, places)
