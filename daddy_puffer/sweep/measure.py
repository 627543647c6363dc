"""How good a run was and what it cost. In: its `episodes.csv`, `outcome.json`. Out: objective, steps, seconds.

Only episodes that began at the true start count: where a curriculum spawns them says nothing of the agent. They are
those of training, played with exploration.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean

from daddy_puffer.errors import UserError
from daddy_puffer.files import replacing
from daddy_puffer.sweep.journal import LARGEST

OUTCOME_FILE = "outcome.json"  # in the run folder of a trial that has ended well
Row = Mapping[str, str]
OBJECTIVES: dict[str, Callable[[Row], float]] = {
    "return": lambda row: float(row["return_env"]),  # of the game's rewards, no intrinsic ones
    "badges": lambda row: float(row["badges"]),
    "milestones": lambda row: float(len([name for name in row["milestones_reached"].split(";") if name])),
}


def measure(folder: Path, objective: str, episodes: int) -> tuple[float, int]:
    """The objective's mean over the last `episodes` whole episodes from the true start, and of how many it is.

    Raises:
        UserError: there is no such episode.
    """
    path = folder / "episodes.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if not row["savestate_tag"]]
        values = [_finite(OBJECTIVES[objective](row)) for row in rows[-episodes:]]
    except (OSError, KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        raise UserError(f"{path} cannot be measured: {error!r}") from None
    if not values:
        raise UserError("no episode from the true start ended: more --steps, or a smaller env.max_steps")
    return fmean(values), len(values)


def write_outcome(folder: Path, steps: int, seconds: float) -> None:
    """Leave what a trial cost; the file is there only once it is whole."""
    with replacing(folder / OUTCOME_FILE) as temporary:
        temporary.write_text(json.dumps({"steps": steps, "seconds": seconds}), encoding="utf-8")


def read_outcome(folder: Path) -> tuple[int, float]:
    """Steps and seconds of a trial that has ended well.

    Raises:
        UserError: it has not.
    """
    try:
        outcome = json.loads((folder / OUTCOME_FILE).read_text(encoding="utf-8"))
        return int(_finite(outcome["steps"], 0)), float(_finite(outcome["seconds"], 0))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{folder / OUTCOME_FILE} cannot be read: {error!r}") from None


def _finite(value: float, least: float = -LARGEST) -> float:
    if not least <= value < LARGEST:
        raise ValueError(f"{str(value)[:40]} is no number that a trial can have")
    return value
