"""The kinds of record a run emits. In: nothing. Out: frozen dataclasses of plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from daddy_puffer.types import Array, Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRecord:
    """One finished episode; the fields are the columns of `episodes.csv`, in this order."""

    episode_id: int  # running number over all environments of the run, given when an episode begins
    env_id: int
    length_steps: int
    return_env: float  # unweighted sums of the four sources of reward
    return_rnd: float
    return_novel: float
    return_bayes: float
    return_total: float  # what the agent was given, weights included
    start_step_global: int  # environment steps of the whole run when the episode began
    end_step_global: int
    milestones_reached: str  # names joined by ";" of those held at any time of it, also an item that left the bag
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

    def with_values(self, values: dict[str, float]) -> Interval:
        """The same with more measurements."""
        return Interval(self.step, self.scalars + Interval.of(self.step, values).scalars)

    def values(self) -> dict[str, float]:
        """Value by name."""
        return {scalar.name: scalar.value for scalar in self.scalars}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened once: start, resume, checkpoint, stop."""

    name: str
    step: int
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressRow:
    """The posterior of one milestone at one time; the fields are the columns of `progress.csv`, in this order."""

    step: int  # environment steps of the whole run
    milestone: str
    alpha: float  # theta ~ Beta(alpha, beta) is the chance to reach it within its budget of steps
    beta: float
    mean: float
    lower: float  # 95 % interval
    upper: float
    alarm_score: float  # trials in a row after which the mean was below progress.target


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRows:
    """One step of N environments, one row each, W watched milestones; the fields are the columns in `steps/`."""

    step_global: Array  # i64 [N] environment steps of the whole run, this one included
    episode_id: Array  # i64 [N] as in `episodes.csv`
    env_id: Array  # i64 [N]
    r_env: Array  # f32 [N] the four sources of reward, unweighted
    r_rnd: Array  # f32 [N]
    r_novel: Array  # f32 [N]
    r_bayes: Array  # f32 [N]
    r_total: Array  # f32 [N] what the agent was given, weights included
    milestones: Array  # u8 [N, M] reached ones as packed bits, lowest first
    map_id: Array  # i64 [N]
    x: Array  # i64 [N] column of the cell on the map
    y: Array  # i64 [N] and its row
    city_id: Array  # i64 [N] the map's id where it is a town or city, else -1
    quest_id: Array  # i64 [N] index of the first watched milestone not reached yet; W when all are
    posterior_mean: Array  # f32 [N, W] of the chance to reach it within its budget
    alarm_score: Array  # f32 [N, W]


Record = EpisodeRecord | Interval | Event | ProgressRow | StepRows
