"""A share of each batch from demonstrations, the rest from what the run has seen (Paine 2019, R2D3, demo ratio).

In: what a run's replay takes. Out: `SequenceBatch`es that say which rows are to be imitated. Knows no torch.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from daddy_puffer.arrays import Arrays, as_json, from_json, part, under
from daddy_puffer.errors import UserError
from daddy_puffer.replay.demonstrations import DemoReplay
from daddy_puffer.replay.rollouts import Rollouts
from daddy_puffer.replay.sequence_store import SequenceReplay
from daddy_puffer.types import Array, SequenceBatch, StepBatch


class MixedReplay:
    """`own` replay with demonstrations mixed in; in all else it is `own`."""

    def __init__(self, own: SequenceReplay | Rollouts, demos: DemoReplay, ratio: float, seed: int):
        """Every sequence of a batch is a demonstration with chance `ratio`, once there are any."""
        self.own, self.demos, self.ratio = own, demos, ratio
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        """Transitions of the run's own."""
        return len(self.own)

    @property
    def ready(self) -> bool:
        """Whether the run's own replay is."""
        return self.own.ready

    @property
    def learned_share(self) -> float:
        """That of the run's own."""
        return self.own.learned_share

    def add(self, step: StepBatch, action: Array, state: Array) -> None:
        """Append one row of each environment to the run's own."""
        self.own.add(step, action, state)

    def sample(self, batch_size: int) -> SequenceBatch:
        """Draw from both; demonstrations come last and have index -1."""
        shown = int(self._rng.binomial(batch_size, self.ratio)) if self.demos.sequences else 0
        if not shown:
            return self.own.sample(batch_size)
        demos = self.demos.sample(shown)
        return demos if shown == batch_size else _side_by_side(self.own.sample(batch_size - shown), demos)

    def update_priorities(self, indices: Array, priorities: Array) -> None:
        """New priorities of the run's own; demonstrations have none."""
        own = indices >= 0
        self.own.update_priorities(indices[own], priorities[own])

    def get_state(self) -> Arrays:
        """Everything, as arrays for `np.savez`; views, to be written out before the next `add`."""
        rng = {"rng": as_json(self._rng.bit_generator.state)}
        return under("own", self.own.get_state()) | under("demos", self.demos.get_state()) | rng

    def set_state(self, state: Arrays) -> None:
        """Take over what `get_state` gave.

        Raises:
            UserError: the run's own replay has other settings, or it had no demonstrations; nothing has been changed.
        """
        if "rng" not in state or not part(state, "own"):
            raise UserError("the saved replay is of a run without demonstrations: resume with the same settings")
        self.own.set_state(part(state, "own"))
        self.demos.set_state(part(state, "demos"))
        self._rng.bit_generator.state = from_json(state["rng"])

    def check_valid(self) -> tuple[bool, str]:
        """Whether all parts of both agree; the reason if not."""
        valid, reason = self.own.check_valid()
        return self.demos.check_valid() if valid else (valid, reason)


def _side_by_side(own: SequenceBatch, demos: SequenceBatch) -> SequenceBatch:
    """One batch of both."""
    columns = ("state", "weights", "indices", "age")  # the others have time before them
    parts = {
        field.name: np.concatenate(
            [getattr(own, field.name), getattr(demos, field.name)], axis=0 if field.name in columns else 1
        )
        for field in fields(SequenceBatch)
        if field.name != "demonstrated"
    }
    assert demos.demonstrated is not None
    nothing = np.zeros_like(own.mask)
    return SequenceBatch(**parts, demonstrated=np.concatenate([nothing, demos.demonstrated], axis=1))
