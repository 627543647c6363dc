"""Roll-outs of a mixture of expert and student, every state of which the expert labels.

In: games, an expert for each, a `Student`. Out: `Episode`s with `labels`. Before every action a coin with the expert's
share says whose is taken (Ross 2011, algorithm 3.1); where the expert knows nothing it is the student's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daddy_puffer.demos.episode import UNLABELLED, Episode
from daddy_puffer.demos.game import Game
from daddy_puffer.demos.record import Recording
from daddy_puffer.imitate.experts import Expert
from daddy_puffer.imitate.starts import Start
from daddy_puffer.imitate.students import Student

_COINS = 0xDA  # beside an episode's seed, for the coins


@dataclass(frozen=True, slots=True, kw_only=True)
class RollOut:
    """One episode to be played."""

    seed: int
    start: Start
    expert_share: float  # of the actions


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a roll-out is cut off; 0 = never."""

    steps: int = 0
    waiting: int = 0  # steps in a row in which the return had no new best


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the labels of some episodes come to."""

    rows: int  # states visited
    labelled: int
    skipped: int  # the expert knew nothing
    expert_share: float  # of the actions taken
    agreement: float | None  # share of the student's own actions that were the expert's, of those that it labelled


def play_mixture(
    games: Sequence[Game],
    experts: Sequence[Expert],
    student: Student,
    roll_outs: Sequence[RollOut],
    limits: Limits,
    name: str = "dagger",
) -> list[Episode]:
    """An episode of each game, as long as that lasts and `limits` allow; `name`: what the files say of it."""
    recordings, views, coins = [], [], []
    for game, todo in zip(games, roll_outs, strict=True):
        begin = todo.start
        views.append(game.reset(todo.seed, begin.state, begin.visited))
        coins.append(np.random.default_rng([todo.seed, _COINS]))
        player = f"{name}, expert's share {todo.expert_share:.3f}"
        recordings.append(
            Recording(game=game, player=player, seed=todo.seed, start_state=begin.state, start_visited=begin.visited)
        )
    student.begin(len(games))
    waits = [Wait() for _ in games]
    going = list(range(len(games)))
    while going:
        own = student.act([views[number] for number in going], going)
        over: set[int] = set()
        for number, action in zip(going, own, strict=True):
            label = experts[number].label(views[number])
            by_expert = bool(coins[number].random() < roll_outs[number].expert_share) and label is not None
            taken = label if by_expert and label is not None else action
            outcome = games[number].step(taken)
            row = (UNLABELLED if label is None else label, by_expert)
            recordings[number].add(views[number], taken, outcome, row)
            views[number] = outcome.view
            waited = waits[number].after(outcome.reward)
            if outcome.done or len(recordings[number]) == limits.steps or 0 < limits.waiting <= waited:
                over.add(number)
        going = [number for number in going if number not in over]
    return [recording.finish() for recording in recordings]


class Wait:
    """Steps since the return of an episode was higher than ever before."""

    def __init__(self) -> None:
        self._total, self._best, self._steps = 0.0, 0.0, 0

    def after(self, reward: float) -> int:
        """Count one more step."""
        self._total += reward
        self._steps = 0 if self._total > self._best else self._steps + 1
        self._best = max(self._best, self._total)
        return self._steps


def longest_wait(rewards: NDArray[np.float32]) -> int:
    """The most steps in a row in which the return of an episode had no new best; rewards f32 `[T]`."""
    wait = Wait()
    return max(map(wait.after, rewards.tolist()), default=0)


def count_labels(episodes: Sequence[Episode]) -> Counts:
    """Of episodes with labels."""
    labels, by_expert, actions = _joined(episodes)
    known = labels != UNLABELLED
    own = known & ~by_expert
    return Counts(
        rows=len(labels),
        labelled=int(known.sum()),
        skipped=int((~known).sum()),
        expert_share=float(by_expert.mean()),
        agreement=float((actions == labels)[own].mean()) if own.any() else None,
    )


def _joined(episodes: Sequence[Episode]) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int32]]:
    """Labels, whether the expert acted, and actions, of all rows that have labels."""
    found = [(e.labels, e.by_expert, e.actions) for e in episodes if e.labels is not None and e.by_expert is not None]
    labels, by_expert, actions = zip(*found, strict=True)
    return np.concatenate(labels), np.concatenate(by_expert), np.concatenate(actions)
