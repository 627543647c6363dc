"""What a person sees while it trains: a progress bar on a terminal, one log line an interval everywhere.

In: records. Out: text on stdout. Without a terminal there is no bar and no escape sequence.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from daddy_puffer.telemetry.records import EpisodeRecord, Event, Interval
from daddy_puffer.telemetry.sinks import Sink

# name, text before it, format: the log line in this order; what an interval lacks is left out
LINE = (
    ("speed/steps_per_second", "sps", "{:,.0f}"),
    ("rollout/return_env_mean", "return", "{:.2f}"),
    ("rollout/length_mean", "length", "{:.0f}"),
    ("rollout/badges_mean", "badges", "{:.2f}"),
    ("rollout/reward_per_step", "reward/step", "{:.4f}"),
    ("exploration/epsilon", "epsilon", "{:.2f}"),
    ("learner/loss", "loss", "{:.4g}"),
    ("learner/q_mean", "q", "{:.3f}"),
    ("replay/ratio", "replay ratio", "{:.2f}"),
    ("speed/learner_busy", "learner", "{:.0%}"),
    ("phase/env", "env", "{:.0%}"),
    ("phase/act", "act", "{:.0%}"),
)


class ConsoleSink(Sink):
    """Progress bar and log lines."""

    def __init__(
        self,
        total_steps: int,
        max_seconds: float = 0.0,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Show progress towards `total_steps` environment steps or, if it comes earlier, `max_seconds` (0 = none)."""
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._episodes = 0
        self._total_steps, self._max_seconds = total_steps, max_seconds
        self._clock, self._started = clock, clock()
        if self._console.is_terminal:
            columns = (TextColumn("training"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
            text = TextColumn("{task.description}")
            self._progress = Progress(*columns, text, console=self._console, refresh_per_second=2)
            self._task = self._progress.add_task("", total=1.0)
            self._progress.start()

    def interval(self, interval: Interval) -> None:
        """Print the log line, move the bar."""
        values = interval.values()
        parts = [f"{label} {form.format(values[name])}" for name, label, form in LINE if name in values]
        done = interval.step / self._total_steps
        if self._max_seconds:
            done = max(done, (self._clock() - self._started) / self._max_seconds)
        step = f"step {interval.step:,} ({min(done, 1.0):.0%})"
        self._console.print("  ".join([step, f"episodes {self._episodes}", *parts]), markup=False)
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, description="  ".join(parts[:2]))

    def episode(self, episode: EpisodeRecord) -> None:
        """Count it."""
        self._episodes += 1

    def event(self, event: Event) -> None:
        """Print what happened."""
        details = "  ".join(f"{name} {value}" for name, value in event.details.items())
        self._console.print(f"step {event.step:,}  {event.name}: {details}", markup=False)

    def close(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
