"""What a person sees while it trains: a picture in place on a terminal, else plain lines (a log file of a batch job).

In: records. Out: text on stdout. Plain lines hold no escape sequence; `NO_COLOR` and `TERM=dumb` get them too.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console

from daddy_puffer.telemetry.dashboard import DashboardSink, Lines, wants_dashboard
from daddy_puffer.telemetry.records import Record
from daddy_puffer.telemetry.sinks import Sink
from daddy_puffer.telemetry.standing import Plan, Standing


class ConsoleSink(Sink):
    """A line an interval, an event, and an episode now and then."""

    def __init__(self, plan: Plan, console: Console, clock: Callable[[], float] = time.monotonic):
        """Print on `console`."""
        self._console = console
        self._lines = Lines(Standing(plan, clock), clock)

    def take(self, record: Record) -> None:
        """Print the line for it, if it gets one."""
        line = self._lines.take(record)
        if line is not None:
            self._console.file.write(line + "\n")
            self._console.file.flush()


def console_sink(plan: Plan, console: Console | None = None) -> Sink:
    """The picture where there is a terminal for it, else lines."""
    console = console or Console(highlight=False)
    return DashboardSink(plan, console) if wants_dashboard(console) else ConsoleSink(plan, console)
