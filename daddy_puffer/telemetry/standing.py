"""How a run stands: what the log line, the episode line and the dashboard tell. In: records. Out: numbers and text.

Knows no terminal, no game: names of maps and the milestones that are watched come with the `Plan`.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from daddy_puffer.telemetry.records import EpisodeRecord, Event, Interval, ProgressRow, Record, StepRows

RECENT_EPISODES = 20  # behind the means of an episode, as in the metrics
SPEED_SECONDS = 60.0  # the speed behind "time left" is that of so long
HISTORY = 40  # intervals of a curve
SOURCES = {"env": "env", "rnd": "rnd", "novel": "novelty", "bayes": "bayes"}  # of reward, with their metrics' groups
STAGES = ("early", "mid", "late")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is known of a run before it begins."""

    name: str = ""
    total_steps: int
    max_seconds: float = 0.0  # 0 = no limit
    num_envs: int = 0
    watched: tuple[str, ...] = ()  # milestones, the first one first
    target: float = 0.4  # chance from where on a milestone is reliable
    map_names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reward:
    """One source of reward: means of a step of the last interval and of a recent episode; None = not known yet."""

    name: str
    step: float | None
    episode: float | None


class Standing:
    """Takes every record of a run; says at any time how it stands."""

    def __init__(self, plan: Plan, clock: Callable[[], float] = time.monotonic):
        """Nothing has happened yet; the clock runs."""
        self.plan = plan
        self.step = 0
        self.episodes = 0
        self.best_badges = 0
        self.ended = ""  # why, once it has
        self.values: dict[str, float] = {}  # of the newest interval
        self.beliefs: dict[str, ProgressRow] = {}  # the newest, by milestone, watched ones first
        self.places: Counter[str] = Counter()  # environments by map, where they were seen last
        self.history: dict[str, deque[float]] = {}  # newest last, by metric
        self._recent: deque[EpisodeRecord] = deque(maxlen=RECENT_EPISODES)
        self._best_return = -math.inf
        self._clock, self._started = clock, clock()
        self._passed: deque[tuple[float, int]] = deque()  # (time, step), newest last
        self._where: dict[int, str] = {}

    def take(self, record: Record) -> None:
        """Take a record of any kind."""
        if isinstance(record, Interval):
            self._pass(record.step)
            self.values = record.values()
            for name, value in self.values.items():
                self.history.setdefault(name, deque(maxlen=HISTORY)).append(value)
        elif isinstance(record, EpisodeRecord):
            self._pass(record.end_step_global)
            self._end(record)
        elif isinstance(record, ProgressRow):
            self.beliefs[record.milestone] = record
        elif isinstance(record, StepRows):
            self._pass(int(record.step_global[-1]))
            for env, place in zip(record.env_id.tolist(), record.map_id.tolist(), strict=True):
                self._stand(env, self.plan.map_names.get(place, f"map {place}"))
        elif isinstance(record, Event):
            self._pass(record.step)
            if record.name == "stop":
                self.ended = str(record.details.get("reason", "ended"))

    @property
    def seconds(self) -> float:
        """Since the beginning of this session."""
        return self._clock() - self._started

    @property
    def share_done(self) -> float:
        """Of the steps or of the time, whatever ends the run."""
        done = self.step / self.plan.total_steps
        if self.plan.max_seconds:
            done = max(done, self.seconds / self.plan.max_seconds)
        return min(1.0, done)

    @property
    def speed(self) -> float | None:
        """Environment steps a second, of the last minute."""
        if not self._passed or self._passed[-1][0] <= self._passed[0][0]:
            return self.values.get("speed/steps_per_second")
        (begun, first), (now, last) = self._passed[0], self._passed[-1]
        return (last - first) / (now - begun)

    @property
    def seconds_left(self) -> float | None:
        """Until the steps or the time are used up; None while that cannot be told."""
        left = [self.plan.max_seconds - self.seconds] if self.plan.max_seconds else []
        if self.speed:
            left.append((self.plan.total_steps - self.step) / self.speed)
        return max(0.0, min(left)) if left else None

    @property
    def total(self) -> str:
        """A slash and the steps in all; empty where the clock will end the run before."""
        limit, speed = self.plan.max_seconds, self.speed
        by_clock = limit and speed and (self.plan.total_steps - self.step) / speed > limit - self.seconds
        return "" if by_clock else f"/{self.plan.total_steps:,}"

    @property
    def mean_length(self) -> float | None:
        """Steps of a recent episode."""
        return self._mean(record.length_steps for record in self._recent)

    @property
    def mean_badges(self) -> float | None:
        """Badges at the end of a recent episode."""
        return self._mean(record.badges for record in self._recent)

    def rewards(self) -> list[Reward]:
        """The sources in use and, last, the total that the agent is given; sources are not weighted."""
        found = []
        for name, group in SOURCES.items():
            metric = "rollout/env_reward_per_step" if name == "env" else f"{group}/reward_per_step"
            a_step = self.values.get(metric)
            an_episode = self._mean(getattr(record, f"return_{name}") for record in self._recent)
            if name == "env" or a_step is not None or an_episode:
                found.append(Reward(f"r_{name}", a_step, an_episode))
        total = self._mean(record.return_total for record in self._recent)
        return [*found, Reward("r_total", self.values.get("rollout/reward_per_step"), total)]

    def spawn_shares(self) -> list[tuple[str, float]]:
        """Where the episodes began that began at a state; empty without a curriculum."""
        names = [(stage, f"curriculum/{stage}_share") for stage in STAGES]
        return [(stage, self.values[name]) for stage, name in names if name in self.values]

    def shown_beliefs(self) -> list[ProgressRow]:
        """The watched milestones in their order, then the others."""
        order = {name: place for place, name in enumerate(self.plan.watched)}
        return sorted(self.beliefs.values(), key=lambda row: order.get(row.milestone, len(order)))

    def belief_about(self, episode: EpisodeRecord) -> ProgressRow | None:
        """What is believed of the first watched milestone that the episode did not reach, else of the last."""
        reached = set(episode.milestones_reached.split(";"))
        watched = [self.beliefs[name] for name in self.plan.watched if name in self.beliefs]
        return next((row for row in watched if row.milestone not in reached), watched[-1] if watched else None)

    def is_best(self, episode: EpisodeRecord) -> bool:
        """Whether it has more badges, or a greater return, than any episode before it; ask before `take`."""
        return episode.badges > self.best_badges or episode.return_env > self._best_return

    def _end(self, episode: EpisodeRecord) -> None:
        self._recent.append(episode)
        self.episodes = max(self.episodes, episode.episode_id + 1)
        self.best_badges = max(self.best_badges, episode.badges)
        self._best_return = max(self._best_return, episode.return_env)
        self._stand(episode.env_id, episode.map)

    def _stand(self, env: int, place: str) -> None:
        before = self._where.get(env)
        if before is not None:
            self.places[before] -= 1
            if not self.places[before]:
                del self.places[before]
        self._where[env] = place
        self.places[place] += 1

    def _pass(self, step: int) -> None:
        if step < self.step:
            return
        self.step = step
        now = self._clock()
        self._passed.append((now, step))
        while now - self._passed[0][0] > SPEED_SECONDS and len(self._passed) > 2:
            self._passed.popleft()

    @staticmethod
    def _mean(values: Iterable[float]) -> float | None:
        found = list(values)
        return float(np.mean(found)) if found else None


def log_line(standing: Standing) -> str:
    """One line an interval; what is not known is left out."""
    s, plan = standing, standing.plan
    parts = [f"step {s.step:,}{s.total} ({s.share_done:.0%})"]
    numbers: list[tuple[str, float | None, str]] = [
        ("sps", s.values.get("speed/steps_per_second"), ",.0f"),
        ("episodes", float(s.episodes), ".0f"),
        ("envs", float(plan.num_envs) or None, ".0f"),
        ("epsilon", s.values.get("exploration/epsilon"), ".2f"),
        ("length", s.mean_length, ".0f"),
        *((reward.name, reward.episode, ".2f") for reward in s.rewards()),
        ("badges", s.mean_badges, ".2f"),
        ("loss", s.values.get("learner/loss"), ".4g"),
        ("q", s.values.get("learner/q_mean"), ".3f"),
    ]
    parts += [f"{name} {value:{form}}" for name, value, form in numbers if value is not None]
    if s.seconds_left is not None:
        parts.insert(1, f"left {clock_text(s.seconds_left)}")
    return "  ".join([*parts, *_summaries(s)])


def _summaries(standing: Standing) -> list[str]:
    found = []
    if shares := standing.spawn_shares():
        found.append("spawn: " + spawn_text(shares))
    if beliefs := standing.shown_beliefs():
        found.append("theta: " + " ".join(f"{short_name(row.milestone)} {row.mean:.2f}" for row in beliefs))
    if standing.places:
        found.append("map: " + " ".join(f"{place} {count}" for place, count in standing.places.most_common(4)))
    return found


def episode_line(episode: EpisodeRecord, belief: ProgressRow | None = None) -> str:
    """One line an episode, every word of it `name=value`; `savestate_tag=-` is the true start."""
    words = [
        f"[EP {episode.episode_id} env={episode.env_id}]",
        f"len={episode.length_steps}",
        f"R_env={episode.return_env:.1f}",
        f"R_total={episode.return_total:.1f}",
        f"badges={episode.badges}",
        f"map={episode.map.replace(' ', '_') or '-'}",
        f"savestate_tag={episode.savestate_tag or '-'}",
    ]
    if belief is not None:
        words.append(f"theta_{short_name(belief.milestone)}={belief.mean:.2f}")
    return " ".join([*words, "alarm=1"] if episode.alarm_triggered else words)


def event_line(event: Event) -> str:
    """What happened."""
    details = "  ".join(f"{name} {value}" for name, value in event.details.items())
    return f"step {event.step:,}  {event.name}: {details}"


def spawn_text(shares: Iterable[tuple[str, float]]) -> str:
    """`early 45% | mid 35% | late 20%`."""
    return " | ".join(f"{stage} {share:.0%}" for stage, share in shares)


def short_name(milestone: str) -> str:
    """`EVENT_GOT_STARTER` becomes `got_starter`; a badge keeps its name."""
    return milestone.removeprefix("EVENT_").lower() if milestone.isupper() else milestone


def clock_text(seconds: float) -> str:
    """`4:26`, `3:04:26`, `2d 3:04`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}:{minutes:02d}"
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
