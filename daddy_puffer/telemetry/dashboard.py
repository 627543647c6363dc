"""The picture of a run in a terminal: drawn in place, a few times a second at most, the log lines above it.

In: records. Out: text for a terminal. All of it is written by a thread of its own, so that a terminal that is slow or
held (Ctrl-S) keeps nobody waiting. The cursor stays visible and no key is caught: a run that is killed leaves the
terminal as it was.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from daddy_puffer.telemetry.records import EpisodeRecord, Event, Interval, Record
from daddy_puffer.telemetry.sinks import Sink
from daddy_puffer.telemetry.standing import (
    Plan,
    Reward,
    Standing,
    clock_text,
    episode_line,
    event_line,
    log_line,
    short_name,
    spawn_text,
)

FRAME_SECONDS = 0.5  # between two pictures
EPISODE_LINE_SECONDS = 5.0  # between two lines of ordinary episodes; the best ones always get theirs
LINES_WAITING = 200  # lines that a held terminal may lag behind; older ones are dropped
CLOSE_SECONDS = 5.0  # that a held terminal is waited for at the end
WIDE = 128  # columns from which on there are three parts side by side
RUN_WIDTH, REWARD_WIDTH = 44, 36  # of the first two then
BADGES = 8
BELIEFS, BAR, CURVE = 6, 10, 16  # milestones shown; columns of a bar, of a curve
_BLOCKS = "▁▂▃▄▅▆▇█"
_PLAIN = str.maketrans("▁▂▃▄▅▆▇█━╸─●○·…", "_.-=+*##==-*o.~")  # for a terminal without Unicode
_LABEL, _DIM, _STRONG = "dim", "dim", "bold"

_log = logging.getLogger(__name__)


def wants_dashboard(console: Console) -> bool:
    """Whether a picture may be drawn there: a terminal that can move its cursor, and nobody asked for plain text."""
    isatty = getattr(console.file, "isatty", lambda: False)()
    return bool(isatty and console.is_terminal and not console.is_dumb_terminal and not console.no_color)


class Lines:
    """Log lines about records: every interval and event, the best episodes, and of the others one now and then."""

    def __init__(self, standing: Standing, clock: Callable[[], float] = time.monotonic):
        """Lines about `standing`, which takes each record here as well."""
        self._standing = standing
        self._clock = clock
        self._said_at = -EPISODE_LINE_SECONDS

    def take(self, record: Record) -> str | None:
        """The line for it, if it gets one."""
        notable = isinstance(record, EpisodeRecord) and self._notable(record)
        self._standing.take(record)
        if isinstance(record, Interval):
            return log_line(self._standing)
        if isinstance(record, EpisodeRecord) and notable:
            return episode_line(record, self._standing.belief_about(record))
        return event_line(record) if isinstance(record, Event) else None

    def _notable(self, episode: EpisodeRecord) -> bool:
        now = self._clock()
        if not self._standing.is_best(episode) and now - self._said_at < EPISODE_LINE_SECONDS:
            return False
        self._said_at = now
        return True


class DashboardSink(Sink):
    """The picture, and the lines above it."""

    def __init__(self, plan: Plan, console: Console, clock: Callable[[], float] = time.monotonic):
        """Draw on `console` once the first record is there."""
        self._console, self._clock = console, clock
        self._standing = Standing(plan, clock)
        self._lines = Lines(self._standing, clock)
        self._waiting: deque[str] = deque(maxlen=LINES_WAITING)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, record: Record) -> None:
        """Note it; returns at once."""
        with self._lock:
            line = self._lines.take(record)
            if line is not None:
                self._waiting.append(line)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="dashboard", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Draw the last picture and leave it there."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        try:
            with Live(console=self._console, auto_refresh=False, vertical_overflow="crop") as live:
                self._console.show_cursor(True)
                ended = False
                while not ended:
                    ended = self._closing.wait(FRAME_SECONDS)
                    self._draw(live)
        except Exception as error:
            _log.warning("the dashboard is switched off, training goes on: %r", error)

    def _draw(self, live: Live) -> None:
        size = self._console.size
        with self._lock:
            lines = list(self._waiting)
            self._waiting.clear()
            picture = draw(self._standing, size.width, size.height, self._console.options.ascii_only)
        for line in lines:  # those of intervals say what the picture says: one row is enough for them
            cut = line.startswith("step ") and "  sps " in line
            live.console.print(Text(line, style=_DIM), no_wrap=cut, overflow="ellipsis" if cut else "fold")
        live.update(picture, refresh=True)


def draw(standing: Standing, width: int, height: int, plain: bool = False) -> RenderableType:
    """The picture for a terminal of so many columns and rows; `plain`: without Unicode."""
    width = max(20, width - 1)  # the last column stays free, where some terminals wrap
    run, rewards = _run_part(standing), _reward_part(standing)
    if width >= WIDE:
        rest = width - RUN_WIDTH - REWARD_WIDTH
        beliefs = _belief_part(standing, rest - 2)
        body = _side_by_side([(run, RUN_WIDTH), (rewards, REWARD_WIDTH), (beliefs, rest)])
    else:
        body = _side_by_side([(run, width // 2), (rewards, width - width // 2)])
    body += [Text(), *_wide_rows(standing, width, with_beliefs=width < WIDE)]
    lines = [_title(standing, width), _bar(standing, width), Text(), *body]
    if height < len(lines) + 2:
        lines = [_title(standing, width), _bar(standing, width), *run[1:2]]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
        if plain:
            line.plain = line.plain.translate(_PLAIN)
    return Text("\n").join(lines)


def _title(s: Standing, width: int) -> Text:
    left = s.seconds_left
    rest = s.ended or ("" if left is None else f"{clock_text(left)} left")
    times = " · ".join(filter(None, (clock_text(s.seconds), rest)))
    name = s.plan.name or "training"
    rule = "─" * max(1, width - len(name) - len(times) - 6)
    return Text.assemble(("── ", _DIM), (name, _STRONG), (f" {rule} ", _DIM), (times, ""))


def _bar(s: Standing, width: int) -> Text:
    percent = f" {s.share_done:4.0%}"
    room = width - len(percent)
    done = round(s.share_done * room)
    return Text.assemble(("━" * done, "cyan"), ("─" * (room - done), _DIM), (percent, ""))


def _run_part(s: Standing) -> list[Text]:
    speed = "…" if s.speed is None else f"{s.speed:,.0f} /s"
    values = s.values
    rows = [
        _row("steps", f"{s.step:,}", s.total.replace("/", " / ")),
        _row("speed", f"{speed:<10}", _curve(s.history.get("speed/steps_per_second", ()), from_zero=True)),
        _row("episodes", f"{s.episodes:,}", "" if s.mean_length is None else f"  mean length {s.mean_length:,.0f}"),
        _row("envs", f"{s.plan.num_envs}"),
        _row("epsilon", _number(values.get("exploration/epsilon"), ".2f")),
        _badges(s),
    ]
    return rows


def _badges(s: Standing) -> Text:
    dots = Text.assemble(("●" * s.best_badges, "yellow"), ("○" * (BADGES - s.best_badges), _DIM))
    mean = "" if s.mean_badges is None else f"  mean {s.mean_badges:.2f}"
    return _row("badges", dots, mean)


def _reward_part(s: Standing) -> list[Text]:
    rows = [Text(f"{'reward':<9}{'a step':>9}{'an episode':>12}", style=_LABEL)]
    rows += [_reward(reward) for reward in s.rewards()]
    curve = _curve(s.history.get("rollout/return_env_mean", ()))
    if curve:
        rows.append(Text.assemble((f"{'R_env':<9}", _LABEL), (curve, "cyan")))
    loss = _number(s.values.get("learner/loss"), ".3g")
    learner = f"loss {loss}  q {_number(s.values.get('learner/q_mean'), '.2f')}"
    rows.append(Text.assemble((f"{'learner':<9}", _LABEL), learner if "learner/loss" in s.values else ("waits", _DIM)))
    return rows


def _reward(reward: Reward) -> Text:
    style = _STRONG if reward.name == "r_total" else ""
    a_step, an_episode = _number(reward.step, ".4f"), _number(reward.episode, ".2f")
    return Text.assemble((f"{reward.name:<9}", _LABEL), (f"{a_step:>9}{an_episode:>12}", style))


def _belief_part(s: Standing, width: int) -> list[Text]:
    """A line each: name, bar, posterior mean and 95 % interval."""
    beliefs = s.shown_beliefs()
    room = width - len("━" * BAR + " 0.00 [0.00, 0.00]")
    rows = [Text(f"{'theta':<{room + BAR}} mean  95 %", style=_LABEL)] if beliefs else []
    for row in beliefs[:BELIEFS]:
        shade = _shade(row.mean, s.plan.target)
        done = round(row.mean * BAR)
        name = Text(short_name(row.milestone))
        name.truncate(room - 1, overflow="ellipsis")
        name.pad_right(room - name.cell_len)
        interval = f" [{row.lower:.2f}, {row.upper:.2f}]"
        bar = (("━" * done, shade), ("─" * (BAR - done), _DIM))
        rows.append(Text.assemble(name, *bar, (f" {row.mean:.2f}", shade), (interval, _DIM)))
    return rows


def _wide_rows(s: Standing, width: int, with_beliefs: bool) -> list[Text]:
    rows = []
    if shares := s.spawn_shares():
        starts, states = s.values.get("curriculum/true_start_share"), s.values.get("curriculum/states")
        more = f"   true start {_number(starts, '.0%')}   states {_number(states, ',.0f')}"
        rows.append(_row("spawn", spawn_text(shares), more))
    if with_beliefs and (beliefs := s.shown_beliefs()):
        words = [(f"{short_name(row.milestone)} {row.mean:.2f}", _shade(row.mean, s.plan.target)) for row in beliefs]
        rows.append(_joined("theta", words, "  "))
    if s.places:
        rows.append(_joined("map", [(f"{place} {count}", "") for place, count in s.places.most_common(8)], "  "))
    if s.values.get("progress/alarm"):
        rows.append(_row("alarm", Text("a milestone was lost or seems out of reach (progress.csv)", style="red")))
    for row in rows:
        row.truncate(width, overflow="ellipsis")
    return rows


def _joined(label: str, words: Iterable[tuple[str, str]], gap: str) -> Text:
    return _row(label, Text(gap).join(Text(word, style=style) for word, style in words))


def _row(label: str, value: str | Text, more: str = "") -> Text:
    return Text.assemble((f"{label:<10}", _LABEL), value, (more, _DIM))


def _side_by_side(parts: list[tuple[list[Text], int]]) -> list[Text]:
    """Parts with their widths, the gap behind them included."""
    rows = []
    for number in range(max(len(lines) for lines, _ in parts)):
        row = Text()
        for lines, width in parts:
            cell = lines[number].copy() if number < len(lines) else Text()
            cell.truncate(width - 1, overflow="ellipsis")
            cell.pad_right(width - cell.cell_len)
            row.append_text(cell)
        rows.append(row)
    return rows


def _shade(mean: float, target: float) -> str:
    return "green" if mean >= target else "yellow" if mean >= target / 2 else _DIM


def _number(value: float | None, form: str) -> str:
    return "…" if value is None else format(value, form)


def _curve(values: Iterable[float], from_zero: bool = False) -> str:
    """The newest values as blocks of eight heights, from zero or from their least to their greatest."""
    found = [value for value in values if math.isfinite(value)][-CURVE:]
    if len(found) < 2:
        return ""
    low = min([*found, 0.0] if from_zero else found)
    span = max(found) - low
    return "".join(_BLOCKS[round((value - low) / span * 7) if span > 0 else 0] for value in found)
