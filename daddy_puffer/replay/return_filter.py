"""Which trajectories are worth learning from: all but those whose returns are the lowest.

In: rows of B environments as replay gets them. Out: by row of a ring whether it is learned from. Knows no torch, no
priorities. `returns_above` is the rule; it is also that of rollouts and of a host's PPO.

Of n trajectories the worst `floor((1 - share) * n)` are left out; of equal ones at the border none is, so that where
nothing tells them apart all are learned from. An episode is compared once it has ended, with those alone that are still
held and began alike: at the true start of the game, or at a kept state. An episode from a state is shorter and earns
what is to be had there: among those from the true start it would be the worst, or the best, for where it began. What is
in progress has no return yet and is learned from; so is an episode that was broken off, by a resume or a host.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import astuple, dataclass

import numpy as np

from daddy_puffer.types import SPAWN_FIELD, Array, EpisodeFlag, StepBatch

Stretch = tuple[int, int, int]  # environment, first row and the one after the last, by the time they were written
_ROUNDING = 1e-9  # (1 - 0.8) * 5 is a little less than 1
_NOT_BEGUN = -1
_ENDED = EpisodeFlag.TERMINATED.value | EpisodeFlag.TRUNCATED.value


def left_out(share: float, count: int) -> int:
    """How many of so many trajectories are left out at most; one is always kept."""
    return min(int((1.0 - share) * count + _ROUNDING), count - 1)


def returns_above(returns: Array, share: float) -> Array:
    """Which of the trajectories are learned from, bool `[N]`, by their returns `[N]`; at least one is."""
    if not len(returns):
        return np.ones(0, bool)
    above: Array = returns >= np.sort(returns)[left_out(share, len(returns))]
    return above


@dataclass(frozen=True, slots=True)
class _Episode:
    """One that has ended; rows `begin` to `end - 1` are transitions, `end` its final observation."""

    number: int
    kind: int  # 0 began at the true start, 1 at a kept state
    env: int
    begin: int
    end: int
    total: float


class _Ranking:
    """The ended episodes of one kind, the lowest return first."""

    def __init__(self, share: float):
        self._share = share
        self._keys: list[tuple[float, int]] = []  # return and number
        self._episodes: list[_Episode] = []
        self.border = -np.inf  # lowest return that is learned from

    def add(self, episode: _Episode) -> list[_Episode]:
        """Compare one more; returns those of which it may no longer be true what was."""
        place = bisect_left(self._keys, (episode.total, episode.number))
        self._keys.insert(place, (episode.total, episode.number))
        self._episodes.insert(place, episode)
        return [*self._moved(), episode]

    def forget(self, episode: _Episode) -> list[_Episode]:
        """The same, of one that is not held any longer."""
        place = bisect_left(self._keys, (episode.total, episode.number))
        del self._keys[place], self._episodes[place]
        return self._moved()

    def _moved(self) -> list[_Episode]:
        """Renew the border; returns the episodes between the old and the new one."""
        before, count = self.border, len(self._keys)
        self.border = self._keys[left_out(self._share, count)][0] if count else -np.inf
        low, high = sorted((before, self.border))
        return self._episodes[self._place(low) : self._place(high)]

    def _place(self, border: float) -> int:
        return bisect_left(self._keys, (border, _NOT_BEGUN))


class ReturnFilter:
    """See the module's text."""

    def __init__(self, share: float, num_envs: int, rows: int):
        """Of the episodes in a ring of so many `rows` of each environment, learn from this `share`, in (0, 1)."""
        self.kept = np.ones((num_envs, rows), bool)  # by row of the ring
        self._share, self._rows = share, rows
        self._rankings = [_Ranking(share) for _ in range(2)]  # by kind
        self._held: deque[_Episode] = deque()  # all that have ended, in the order of their ends
        self._ended = 0
        self._begin = np.full(num_envs, _NOT_BEGUN, np.int64)  # of the episodes in progress
        self._total = np.zeros(num_envs)
        self._kind = np.zeros(num_envs, np.int64)

    @property
    def nbytes(self) -> int:
        """Memory of what grows with the ring."""
        return self.kept.nbytes

    def add(self, step: StepBatch, at: int) -> list[Stretch]:
        """Row `at` of each environment has been written; returns the stretches of `kept` that may have changed."""
        ended = step.terminated | step.truncated
        self.kept[:, at % self._rows] = ~ended  # a final observation is no transition
        self._total += step.reward
        if step.first.any():
            self.kept[step.first, (at - 1) % self._rows] &= at == 0  # nor is the last row of what was broken off
            self._begin[step.first] = at
            self._total[step.first] = 0.0  # a reset's reward belongs to no action
            self._kind[step.first] = step.observation["episode"][step.first, SPAWN_FIELD] != 0
        oldest = at + 1 - self._rows
        changed: list[_Episode] = []
        while self._held and self._held[0].end < oldest:
            gone = self._held.popleft()
            changed += self._rankings[gone.kind].forget(gone)
        for env in np.flatnonzero(ended & (self._begin != _NOT_BEGUN)).tolist():
            changed += self._end(env, at)
        return [self._mark(episode, max(0, oldest)) for episode in changed]

    def get_state(self) -> dict[str, Array]:
        """Everything, for `np.savez`."""
        episodes = np.array([astuple(episode) for episode in self._held], np.float64)
        running = np.stack([self._begin, self._total, self._kind], axis=1)
        return {"episodes": episodes.reshape(-1, 6), "running": running, "ended": np.array(self._ended)}

    def set_state(self, state: dict[str, Array], flags: Array, count: int) -> None:
        """Take over what `get_state` gave; the ring has these `flags` `[num_envs, rows]` and `count` rows written."""
        self._begin, self._kind = (state["running"][:, column].astype(np.int64) for column in (0, 2))
        self._total = state["running"][:, 1].copy()
        self._ended = int(state["ended"])
        self.kept[:] = self._transitions(flags, count)
        self._rankings = [_Ranking(self._share) for _ in range(2)]
        self._held.clear()
        for number, kind, env, begin, end, total in state["episodes"].tolist():
            episode = _Episode(int(number), int(kind), int(env), int(begin), int(end), total)
            self._held.append(episode)
            self._rankings[episode.kind].add(episode)
        for episode in self._held:
            self._mark(episode, max(0, count - self._rows))

    def check_valid(self, flags: Array, count: int) -> tuple[bool, str]:
        """Whether `kept` follows from the episodes held and the ring's flags; the reason if not."""
        expected, oldest = self._transitions(flags, count), max(0, count - self._rows)
        for kind in range(2):
            held = [episode for episode in self._held if episode.kind == kind]
            learned = returns_above(np.array([episode.total for episode in held]), self._share)
            for episode, kept in zip(held, learned, strict=True):
                times = np.arange(max(oldest, episode.begin), episode.end)
                expected[episode.env, times % self._rows] = kept
        wrong = np.argwhere(expected != self.kept)
        if len(wrong):
            return False, f"environment {wrong[0][0]} is filtered wrongly at row {wrong[0][1]} of the ring"
        return True, ""

    def _transitions(self, flags: Array, count: int) -> Array:
        """Which rows are transitions as far as is known, bool `[num_envs, rows]`; those not written yet are."""
        times = np.arange(max(0, count - self._rows), count) % self._rows
        held, found = flags[:, times], np.ones_like(self.kept)
        found[:, times] = held & _ENDED == 0
        found[:, times[:-1]] &= held[:, 1:] & EpisodeFlag.FIRST.value == 0
        return found

    def _end(self, env: int, at: int) -> list[_Episode]:
        begin, self._begin[env] = int(self._begin[env]), _NOT_BEGUN
        if begin == at:
            return []
        episode = _Episode(self._ended, int(self._kind[env]), env, begin, at, float(self._total[env]))
        self._ended += 1
        self._held.append(episode)
        return self._rankings[episode.kind].add(episode)

    def _mark(self, episode: _Episode, oldest: int) -> Stretch:
        """Say of its rows whether they are learned from."""
        begin = max(episode.begin, oldest)
        rows = np.arange(begin, episode.end) % self._rows
        self.kept[episode.env, rows] = episode.total >= self._rankings[episode.kind].border
        return episode.env, begin, episode.end
