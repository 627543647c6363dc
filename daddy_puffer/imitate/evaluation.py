"""How well a student plays: whole episodes, several games side by side.

In: games, a `Student`. Out: `Evaluation`. Episode i has seed `seed + i` whatever the number of games, so evaluations
of the same seed begin alike; the student's own chance goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daddy_puffer.demos.game import Game
from daddy_puffer.errors import UserError
from daddy_puffer.imitate.data import Goal
from daddy_puffer.imitate.starts import TRUE_START, Start
from daddy_puffer.imitate.students import Student

SEED = 1_000_000  # of the first evaluation episode: far from those of demonstrations


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What episodes came to."""

    episodes: int
    mean_return: float
    mean_length: float  # actions
    success: float  # share that reached the goal
    milestones: dict[str, float] = field(default_factory=dict)  # share that reached each; those that some episode did
    stages: dict[str, float] = field(default_factory=dict)  # success by stage begun at, where there are several

    @property
    def rank(self) -> tuple[float, float]:
        """Greater is better: success, then return."""
        return self.success, self.mean_return


def evaluate(
    games: Sequence[Game],
    student: Student,
    goal: Goal,
    episodes: int,
    seed: int = SEED,
    starts: Sequence[Start] = (),
    most_steps: int = 0,
) -> Evaluation:
    """Play `episodes` whole ones, as many at a time as there are games.

    `starts`: where each of them begins, none = at the true start; `most_steps`: actions after which they are cut off,
    0 = as the game does.
    """
    starts = starts or [TRUE_START] * episodes
    totals: list[float] = []
    lengths: list[int] = []
    reached: list[list[str]] = []
    for begin in range(0, episodes, len(games)):
        playing = games[: episodes - begin]
        begun = starts[begin : begin + len(playing)]
        for total, length in _play_together(playing, student, seed + begin, begun, most_steps):
            totals.append(total)
            lengths.append(length)
        reached += [game.milestones for game in playing]
    counts = Counter(name for names in reached for name in names)
    successes = [goal.reached(names, total) for names, total in zip(reached, totals, strict=True)]
    stages: dict[str, list[bool]] = {}
    for start, success in zip(starts, successes, strict=True):
        stages.setdefault(start.stage, []).append(success)
    return Evaluation(
        episodes=episodes,
        mean_return=float(np.mean(totals)),
        mean_length=float(np.mean(lengths)),
        success=float(np.mean(successes)),
        milestones={name: count / episodes for name, count in counts.most_common()},
        stages={name: float(np.mean(found)) for name, found in stages.items()} if len(stages) > 1 else {},
    )


def _play_together(
    games: Sequence[Game], student: Student, seed: int, starts: Sequence[Start], most_steps: int
) -> list[tuple[float, int]]:
    """One episode of each; returns and lengths."""
    views = [
        game.reset(seed + number, start.state, start.visited)
        for number, (game, start) in enumerate(zip(games, starts, strict=True))
    ]
    totals, lengths = [0.0] * len(games), [0] * len(games)
    student.begin(len(games))
    going = list(range(len(games)))
    while going:
        actions = student.act([views[number] for number in going], going)
        over: set[int] = set()
        for number, action in zip(going, actions, strict=True):
            outcome = games[number].step(action)
            views[number] = outcome.view
            totals[number] += outcome.reward
            lengths[number] += 1
            if outcome.done or lengths[number] == most_steps:
                over.add(number)
        going = [number for number in going if number not in over]
    return list(zip(totals, lengths, strict=True))


def check_fits(game: Game, num_actions: int, inputs: Mapping[str, NDArray[Any]] | None = None) -> None:
    """Whether a student of so many actions, that learnt from `inputs`, can play.

    Raises:
        UserError: the game has another number of them, or gives its observations in another layout.
    """
    if game.num_actions != num_actions:
        raise UserError(f"{game.recipe.env_id} has {game.num_actions} actions, the student knows {num_actions}")
    for name, rows in (inputs or {}).items():
        now = game.inputs[name].shape
        if rows.shape[1:] != (now[1:] if name == "frames" else now):
            raise UserError(f"the demonstrations have {name} of {rows.shape[1:]}, the game now {now}: record them anew")
