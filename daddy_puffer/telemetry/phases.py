"""Where the wall time of a loop goes. In: `with timers("act")` blocks. Out: seconds by phase that add up.

Phases do not nest; what no block covers is the phase `other`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class PhaseTimers:
    """Seconds spent in each named phase since the last `take`."""

    def __init__(self, *names: str, clock: Callable[[], float] = time.perf_counter):
        """Name the phases; `clock` is there for tests."""
        self._clock = clock
        self._spent = dict.fromkeys(names, 0.0)
        self._since = clock()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the block's time to phase `name`."""
        start = self._clock()
        try:
            yield
        finally:
            self._spent[name] += self._clock() - start

    def take(self) -> tuple[dict[str, float], float]:
        """Seconds by phase, `other` among them, and the wall seconds they add up to; starts anew."""
        now = self._clock()
        wall = now - self._since
        spent = {**self._spent, "other": wall - sum(self._spent.values())}
        self._spent = dict.fromkeys(self._spent, 0.0)
        self._since = now
        return spent, wall
