"""What demonstrations ask of a run: how much imitation counts, recurrent states that are not too old, its own ones.

In: `DemoReplay`, the learner, how far the run is, whoever plays the own way and gathers what was won. Out: the
learner's `imitation`, the replay's states and its episodes, up to date. Knows no environment.
"""

from __future__ import annotations

from typing import Protocol

from daddy_puffer.arrays import Arrays, Stateful, as_json, from_json, part, under
from daddy_puffer.config import Config
from daddy_puffer.learner.learner import Learner
from daddy_puffer.numerics.schedules import linear
from daddy_puffer.replay.demonstrations import DemoReplay, DemoRows
from daddy_puffer.types import Array, StepBatch


class Way(Stateful, Protocol):
    """What is needed of `demos.OwnWay`."""

    @property
    def playing(self) -> bool:
        """Whether a way is being played."""

    @property
    def goal(self) -> str:
        """Where the way leads that was played last."""

    def look(self) -> bool:
        """Look for a better way than the last; whether it is being played now."""

    def advance(self) -> DemoRows | None:
        """Play one more action; the whole way once it was the last one."""

    def close(self) -> None:
        """Switch the game off."""


class Wins(Stateful, Protocol):
    """What is needed of `demos.OwnWins`."""

    @property
    def news(self) -> bool:
        """Whether there was another one since `episodes` was called."""

    def episodes(self) -> list[DemoRows]:
        """The newest ones."""

    def note(self, batch: StepBatch, actions: Array) -> None:
        """Take what is shown, and what is done there next."""


class Teaching:
    """Keeps a learner and its demonstrations together."""

    def __init__(
        self,
        config: Config,
        learner: Learner,
        demos: DemoReplay,
        own_way: Way | None = None,
        own_wins: Wins | None = None,
    ):
        """Of one run; `own_way` and `own_wins`, if it has them, fill `demos`."""
        self._config, self._learner, self.demos = config, learner, demos
        self._own_way, self._own_wins = own_way, own_wins
        self._way: list[DemoRows] = []
        self._next_look = 0  # environment steps
        self._refreshed_at: int | None = None  # updates

    def coefficient(self, step: int) -> float:
        """What imitation counts after so many environment steps, 1 to 0."""
        duration = self._config.demos.anneal_steps
        return linear(step, 1.0, 0.0, duration) if duration else 1.0

    def prepare(self, step: int, updates: int) -> None:
        """Before an update, while none is in progress: states are recomputed with the weights that act."""
        self._learner.imitation = self.coefficient(step)
        due = self._refreshed_at is None or updates - self._refreshed_at >= self._config.demos.refresh_updates
        if due:
            self.demos.refresh(self._learner.states_after)
            self._refreshed_at = updates

    def note(self, batch: StepBatch, actions: Array) -> None:
        """Take what the environments show, and what is done there next, i64 `[B]`."""
        if self._own_wins is not None:
            self._own_wins.note(batch, actions)

    def play(self, step: int) -> tuple[int, dict[str, object] | None]:
        """Play one action of the run's own way, if there is one; environment steps taken, and what was learnt of it."""
        way = self._own_way
        if way is None:
            return 0, None
        if not way.playing:
            if step < self._next_look:
                return 0, None
            self._next_look = step + self._config.demos.own_way_interval
            if self._own_wins is not None and self._own_wins.news:
                self._fill()
            if not way.look():
                return 0, None
        rows = way.advance()
        if rows is None:
            return 1, None
        self._way = [rows]
        self._fill()
        return 1, {"goal": way.goal, "steps": len(rows.action), "reward": round(float(rows.reward.sum()), 2)}

    def _fill(self) -> None:
        """Put the run's own demonstrations in place of those held."""
        wins = [] if self._own_wins is None else self._own_wins.episodes()
        self.demos.replace([*self._way, *wins])
        self._refreshed_at = None

    def close(self) -> None:
        """Switch the game of the own way off."""
        if self._own_way is not None:
            self._own_way.close()

    def get_state(self) -> Arrays:
        """Everything but `demos`: what fills it, and when."""
        state = {"when": as_json([self._next_look, self._refreshed_at])}
        for rows in self._way:
            state |= under("way", rows.to_arrays())
        for name, own in (("own_way", self._own_way), ("own_wins", self._own_wins)):
            state |= {} if own is None else under(name, own.get_state())
        return state

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave; what one of the two runs has not is left out."""
        if not state:
            return
        self._next_look, self._refreshed_at = from_json(state["when"])
        self._way = [DemoRows.from_arrays(rows) for rows in [part(state, "way")] if rows]
        for name, own in (("own_way", self._own_way), ("own_wins", self._own_wins)):
            saved = part(state, name)
            if own is not None and saved:
                own.set_state(saved)

    def warms_up(self, updates: int) -> bool:
        """Whether another update on demonstrations alone comes before the first step."""
        return updates < self._config.demos.warm_up_updates and self.demos.sequences > 0
