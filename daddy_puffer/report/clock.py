"""How long training had taken at a step. In: the speeds of `metrics.csv`. Out: `Clock`, and an axis that shows it.

Every interval of the log says how many steps a second it made; their lengths add up. Time between two sessions of a run
does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike

from daddy_puffer.report.runs import Metrics
from daddy_puffer.report.style import QUIET
from daddy_puffer.types import Array

_UNITS = ((3 * 3600.0, 3600.0, "h"), (180.0, 60.0, "min"), (0.0, 1.0, "s"))  # from so many seconds on


@dataclass(frozen=True, slots=True, eq=False)
class Clock:
    """Seconds of training by environment step, both f64 [K] and rising from 0; straight between and beyond them."""

    steps: Array
    seconds: Array

    @classmethod
    def of(cls, metrics: Metrics) -> Clock | None:
        """What the log says; None where it holds no speed."""
        speed = metrics.get("speed/steps_per_second")
        if speed is None:
            return None
        step, speed = metrics.step[speed > 0], speed[speed > 0]
        rises = step > np.maximum.accumulate(np.append(0, step))[:-1]
        steps = np.append(0.0, step[rises])
        seconds = np.append(0.0, np.cumsum(np.diff(steps) / speed[rises]))
        return cls(steps, seconds) if len(steps) > 1 else None

    def seconds_at(self, steps: ArrayLike) -> Array:
        """Of training until these steps."""
        return _along(np.asarray(steps, np.float64), self.steps, self.seconds)

    def steps_at(self, seconds: ArrayLike) -> Array:
        """Taken after so long."""
        return _along(np.asarray(seconds, np.float64), self.seconds, self.steps)


def time_axis(axes: Axes, clock: Clock) -> None:
    """A second x axis above: the training time at the steps below."""
    last = float(clock.seconds_at(axes.get_xlim()[1]))
    _, size, unit = next(row for row in _UNITS if last >= row[0])
    above = axes.secondary_xaxis(
        "top", functions=(lambda x: clock.seconds_at(x) / size, lambda t: clock.steps_at(np.asarray(t) * size))
    )
    above.set_xlabel(f"training time, {unit}", color=QUIET)
    above.xaxis.set_major_locator(MaxNLocator(5))
    above.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    above.spines["top"].set_visible(False)


def _along(x: Array, known_x: Array, known_y: Array) -> Array:
    slope = (known_y[-1] - known_y[-2]) / (known_x[-1] - known_x[-2])
    beyond = known_y[-1] + (x - known_x[-1]) * slope
    return np.where(x > known_x[-1], beyond, np.interp(x, known_x, known_y))
