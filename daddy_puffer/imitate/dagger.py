"""DAgger (Ross 2011): the student rolls out, an expert labels every state, the student learns from all labels so far.

In: games, experts, a `Student`, a folder. Out: `rounds/round_000/episode_0001.npz`, ..., checkpoints, evaluations.

A round: roll-outs of the mixture of expert and student, labelled; updates on the labels of all rounds; an evaluation of
the student alone. In round 0 the expert plays. After it, its share of the actions is `decay ** round * (1 - success)`,
with the success that the evaluation before measured: the guarantee needs the mean of the shares to go to 0 (Ross 2011,
theorem 3.1), which the first factor sees to whatever happens; the second hands over earlier where the student can do
without, and keeps the expert's hand on one that would not get far enough to see anything new (as SafeDAgger lets the
expert act where the student is not safe, Zhang 2017; here by what is measured rather than by a network that guesses).
Every second roll-out is the student's alone: where it gets stuck, the expert's first action would get it out, and that
place would hardly be among what is learnt, though the student alone would stay there for good.

Every round begins with a new optimiser on the network of the round before: its data are others; its learning rate falls
to 0, and a recurrent student is shown sequences from anywhere: a few whole episodes at a time, in their order, are
hundreds of rows of the same place one after the other where somebody got stuck, and what is learnt of other places is
forgotten meanwhile.

A roll-out is cut off after `CUT` times the longest episode of round 0, and once its return has had no new best for
`PATIENCE` times as long as it ever had none in round 0: a student that is stuck shows the same again and again, and
thousands of such rows would be what is learnt from, instead of what is hard.

A round that is over has `done.json`; it is written last. After a kill the finished rounds are read, the network comes
from their last checkpoint, and what is missing is played and learnt as it would have been: all chance in a round comes
from the seed and the round's number.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from daddy_puffer.demos.episode import Episode, read_episode, read_folder, write_episode
from daddy_puffer.demos.game import Game
from daddy_puffer.errors import UserError
from daddy_puffer.files import replacing
from daddy_puffer.imitate.bc import BcSettings, clone_behaviour
from daddy_puffer.imitate.data import Demonstrations, Goal, as_demonstrations, merged
from daddy_puffer.imitate.evaluation import SEED, evaluate
from daddy_puffer.imitate.experts import Expert
from daddy_puffer.imitate.log import Log
from daddy_puffer.imitate.mixture import Limits, RollOut, count_labels, longest_wait, play_mixture
from daddy_puffer.imitate.starts import KeptStates, starts_of
from daddy_puffer.imitate.students import Student

CUT = 3  # times the longest episode of round 0: roll-outs and evaluations are no longer
PATIENCE = 1.5  # times the longest wait for a new best return in round 0: roll-outs do not wait longer
FIRST_SEED = 2 * SEED  # of roll-outs: apart from those of evaluations
DONE = "done.json"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaggerSettings:
    """How to go about it."""

    rounds: int = 8  # the expert's own included
    episodes: int = 8  # roll-outs in a round
    updates: int = 400  # in a round
    batch_size: int = 512  # rows
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    class_weights: str = "none"
    decay: float = 0.5  # of the expert's share, by round
    eval_episodes: int = 10  # in a round; 0 = no evaluations
    start_share: float = 0.5  # of the episodes begin at kept states, if there are any
    seed: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        if min(self.rounds, self.episodes, self.updates) < 1 or self.eval_episodes < 0:
            whole = (self.rounds, self.episodes, self.updates, self.eval_episodes)
            raise UserError(f"rounds, episodes and updates from 1, evaluation episodes from 0, got {whole}")
        if not (0.0 <= self.decay <= 1.0 and 0.0 <= self.start_share <= 1.0):
            raise UserError(f"decay and share of starts are 0..1, got {self.decay, self.start_share}")
        self.cloning(0)

    def cloning(self, number: int) -> BcSettings:
        """How to learn in a round."""
        return BcSettings(
            total_training_steps=self.updates,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            class_weights=self.class_weights,
            seed=_seeds(self.seed, number, 1)[0],
            shuffled=True,
            anneal=True,
        )


def expert_share(number: int, success: float, decay: float) -> float:
    """Share of a round's actions that are the expert's, by the student's success in the round before."""
    return 1.0 if number == 0 else float(decay**number * (1.0 - success))


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Who sits at it."""

    games: Sequence[Game]
    experts: Sequence[Expert]  # of each game
    student: Student
    kept: KeptStates | None  # where episodes begin, beside the true start
    picture_size: tuple[int, int] | None  # that the student learns from; None = the inputs of HierQ
    reload: Callable[[int], Student]  # the student after so many updates


class Dagger:
    """One run in a folder; see the module's text."""

    def __init__(self, settings: DaggerSettings, table: Table, goal: Goal | None, folder: Path) -> None:
        """`goal`: None = what all episodes of round 0 reached."""
        self._settings, self._table, self._goal, self._folder = settings, table, goal, folder
        self._student = table.student
        self._parts: list[Demonstrations] = []  # by round
        self._limits = Limits()
        self._done = finished_rounds(folder)

    def run(self, log: Log) -> None:
        """Play, learn and evaluate until the rounds are over."""
        resumed = len(self._done)
        for number in range(self._settings.rounds):
            finished = number < resumed
            if number and number == resumed:
                self._student = self._table.reload(self._updates(number))
            episodes = self._read(number) if finished else self._collect(number)
            self._aggregate(number, episodes)
            if not finished:
                self._learn(number, log)
                self._finish(number, episodes, log)

    def _updates(self, rounds: int) -> int:
        return rounds * self._settings.updates

    def _round(self, number: int) -> Path:
        return self._folder / "rounds" / f"round_{number:03d}"

    def _read(self, number: int) -> dict[str, Episode]:
        episodes, damaged = read_folder(self._round(number))
        for line in damaged:
            _log.warning("skipped %s of round %d", line, number)
        return episodes

    def _collect(self, number: int) -> dict[str, Episode]:
        """Play what is missing of a round; games that are played together are so again, for the same chance."""
        settings, games = self._settings, self._table.games
        success = self._done[-1].get("success", 0.0) if self._done else 0.0
        share = expert_share(number, success, settings.decay)
        seeds = _seeds(settings.seed, number, settings.episodes + 1)[1:]
        starts = starts_of(self._table.kept, settings.start_share, settings.episodes, [settings.seed, number])
        roll_outs = [
            RollOut(seed=seed, start=start, expert_share=0.0 if number and index % 2 else share)
            for index, (seed, start) in enumerate(zip(seeds, starts, strict=True))
        ]
        found: dict[str, Episode] = {}
        for first in range(0, settings.episodes, len(games)):
            together = roll_outs[first : first + len(games)]
            episodes = self._played(number, first, len(together))
            if episodes is None:
                self._student.reseed(seeds[first])
                count = len(together)
                experts = self._table.experts[:count]
                episodes = play_mixture(
                    games[:count], experts, self._student, together, self._limits, f"dagger round {number}"
                )
                for offset, episode in enumerate(episodes):
                    write_episode(self._round(number), first + offset + 1, episode)
            found |= {f"round {number} episode {first + i + 1}": episode for i, episode in enumerate(episodes)}
        return found

    def _played(self, number: int, first: int, count: int) -> list[Episode] | None:
        """Episodes that were played together, if all of them are there."""
        paths = [self._round(number) / f"episode_{first + offset + 1:04d}.npz" for offset in range(count)]
        try:
            return [read_episode(path) for path in paths]
        except UserError:
            return None

    def _aggregate(self, number: int, episodes: dict[str, Episode]) -> None:
        part = as_demonstrations(episodes, self._table.picture_size)
        if number == 0:
            self._goal = self._goal or part.goal
            waits = [longest_wait(episode.rewards) for episode in episodes.values()]
            self._limits = Limits(
                steps=CUT * max(len(episode) for episode in episodes.values()),
                waiting=math.ceil(PATIENCE * max(waits)),
            )
        self._parts.append(part)

    def _learn(self, number: int, log: Log) -> None:
        demos = merged(self._parts)
        settings = self._settings.cloning(number)
        torch.manual_seed(settings.seed)
        for measured in clone_behaviour(self._student, demos, settings, self._updates(number)):
            log.update(measured)

    def _finish(self, number: int, episodes: dict[str, Episode], log: Log) -> None:
        """Evaluate and save; the best is that of the highest success, of equal ones the last: it knows more."""
        settings, step = self._settings, self._updates(number + 1)
        counts = count_labels(list(episodes.values()))
        facts: dict[str, Any] = {"round": number, **asdict(counts)}
        assert self._goal is not None, "a round has been played"
        self._student.goal = self._goal
        row: dict[str, Any] = {"step": step, **facts}
        if settings.eval_episodes:
            starts = starts_of(self._table.kept, settings.start_share, settings.eval_episodes, [settings.seed, SEED])
            self._student.reseed(_seeds(settings.seed, number, 1)[0])
            found = evaluate(
                self._table.games, self._student, self._goal, settings.eval_episodes, SEED, starts, self._limits.steps
            )
            best = found.success >= max((done.get("success", 0.0) for done in self._done), default=0.0)
            if best:
                self._student.save(self._folder, step, best=True)
            row = log.evaluation(step, float("nan"), found, best, facts)
        self._student.save(self._folder, step, best=False)
        with replacing(self._round(number) / DONE) as temporary:
            temporary.write_text(json.dumps(row) + "\n", encoding="utf-8")
        self._done.append(row)


def finished_rounds(folder: Path) -> list[dict[str, Any]]:
    """What the rounds that are over came to, in order.

    Raises:
        UserError: a file cannot be read.
    """
    found: list[dict[str, Any]] = []
    while (path := folder / "rounds" / f"round_{len(found):03d}" / DONE).is_file():
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            int(row["step"]), float(row.get("success", 0.0))
            found.append(row)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} cannot be read: remove it, and the round is learnt again ({error})") from error
    return found


def _seeds(seed: int, number: int, count: int) -> list[int]:
    """Of a round: the first for learning, the others for its roll-outs."""
    rng = np.random.default_rng([seed, number])
    return [int(found) for found in rng.integers(FIRST_SEED, 2**31, count)]
