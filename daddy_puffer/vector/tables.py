"""What all environments of a run know together, where no memory can be shared: by notes that travel.

In: what an environment's wrappers count. Out: `Notes` of it, and the same tables everywhere one step later. Knows no
Ray. The trainer's tables are the run's; every worker has a copy, which it brings up to date before each step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daddy_puffer.types import Array
from daddy_puffer.wrappers import SharedPosteriors, VisitCounts

Notes = tuple[list[int], list[tuple[Array, Array]]]  # cells arrived at; trials: counted and outcome, bool `[M]`


class NotedVisits(VisitCounts):
    """`VisitCounts` that keep a list of what was added; a pickled copy begins empty."""

    def __init__(self) -> None:
        """Nobody has been anywhere."""
        super().__init__()
        self.notes: list[int] = []

    def add(self, index: int) -> int:
        """As `VisitCounts.add`, and note it."""
        self.notes.append(index)
        return super().add(index)

    def __reduce__(self) -> tuple[Any, ...]:
        """What another process gets."""
        return NotedVisits, ()


class NotedPosteriors(SharedPosteriors):
    """`SharedPosteriors` that keep a list of the trials taken; a pickled copy begins empty."""

    def __init__(self, forgetting: float) -> None:
        """Nothing has been tried yet."""
        super().__init__(forgetting)
        self.notes: list[tuple[Array, Array]] = []

    def update(self, counted: Array, outcome: Array) -> None:
        """As `Posteriors.update`, and note it."""
        self.notes.append((counted.copy(), outcome.copy()))
        super().update(counted, outcome)

    def __reduce__(self) -> tuple[Any, ...]:
        """What another process gets."""
        return NotedPosteriors, (self.forgetting,)


class NotedTables:
    """Both tables of one side."""

    def __init__(self, forgetting: float) -> None:
        """`forgetting` as in `Posteriors`."""
        self.visits = NotedVisits()
        self.posteriors = NotedPosteriors(forgetting)

    def take(self) -> Notes:
        """What was noted since the last call."""
        notes = (self.visits.notes, self.posteriors.notes)
        self.visits.notes, self.posteriors.notes = [], []
        return notes

    def apply(self, notes: Notes) -> None:
        """Take over what others noted, without noting it again."""
        cells, trials = notes
        np.add.at(self.visits.counts, cells, 1)
        for counted, outcome in trials:
            super(NotedPosteriors, self.posteriors).update(counted, outcome)

    def state_dict(self) -> dict[str, Any]:
        """All that is known."""
        return {"visits": self.visits.state_dict(), "posteriors": self.posteriors.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Know just that."""
        self.take()
        self.visits.load_state_dict(state["visits"])
        self.posteriors.load_state_dict(state["posteriors"])


def joined(notes: list[Notes]) -> Notes:
    """Several notes as one."""
    return [cell for cells, _ in notes for cell in cells], [trial for _, trials in notes for trial in trials]
