"""The three kinds of record a run emits. In: nothing. Out: frozen dataclasses of plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from daddy_puffer.types import Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRecord:
    """One finished episode; the fields are the columns of `episodes.csv`, in this order."""

    episode_id: int  # running number over all environments of the run
    env_id: int
    length_steps: int
    return_env: float  # unweighted sums of the four sources of reward
    return_rnd: float
    return_novel: float
    return_bayes: float
    return_total: float  # what the agent was given, weights included
    start_step_global: int  # environment steps of the whole run when the episode began
    end_step_global: int
    milestones_reached: str  # names joined by ";"
    savestate_tag: str  # the state it began from; empty = the start of the game
    badges: int
    map: str  # where it ended
    alarm_triggered: bool  # a milestone's posterior fell below its target


@dataclass(frozen=True, slots=True)
class Interval:
    """What was measured since the last one: one row of `metrics.csv`."""

    step: int  # environment steps
    scalars: tuple[Scalar, ...]

    @classmethod
    def of(cls, step: int, values: dict[str, float]) -> Interval:
        """Make one out of names and values."""
        return cls(step, tuple(Scalar(name, float(value), step) for name, value in values.items()))

    def values(self) -> dict[str, float]:
        """Value by name."""
        return {scalar.name: scalar.value for scalar in self.scalars}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened once: start, resume, checkpoint, stop."""

    name: str
    step: int
    details: dict[str, Any] = field(default_factory=dict)


Record = EpisodeRecord | Interval | Event
