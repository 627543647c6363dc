"""A bar on a terminal for what takes minutes. In: steps as they are made, lines. Out: a bar on stderr; lines on stdout.

Where stderr is no terminal there is no bar.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn


@dataclass(frozen=True, slots=True)
class StepsBar:
    """What is told while it goes on."""

    progress: Progress
    task: TaskID

    def advance(self, steps: int) -> None:
        """So many more steps are made, or are not needed after all."""
        self.progress.advance(self.task, steps)

    def say(self, line: str) -> None:
        """A line that stays."""
        if self.progress.disable:
            print(line, flush=True)
        else:
            self.progress.console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def steps_bar(text: str, total: int) -> Iterator[StepsBar]:
    """A bar of `total` steps, gone after the block."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        yield StepsBar(progress, progress.add_task(text, total=total))
