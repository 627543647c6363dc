"""Updates beside acting: one at a time, in a thread of its own, so that neither environments nor actor wait for it.

In: `SequenceBatch`es. Out: `UpdateResult`s. The actor plays with a copy of the weights, which gets the new ones when
`finish` is called: what it does depends on when that is, never on how fast the thread was. PyTorch lets go of
Python's lock while it computes, which is what makes the thread worth having; where there can be a process,
`process.py` is faster.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from daddy_puffer.errors import UserError
from daddy_puffer.learner.learner import Learner, UpdateResult
from daddy_puffer.types import SequenceBatch


class LearnerDiedError(UserError):
    """What runs the updates is gone, and with it what was learnt since the last checkpoint."""


class BackgroundLearner:
    """Runs the updates of `learner`."""

    def __init__(self, learner: Learner):
        """Give the actor weights of its own; `busy_seconds` counts the time that finished updates took."""
        self._learner = learner
        learner.separate_actor()
        # a new thread does not take over the number of threads that the main one was told to use
        threads = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(1, "updates", initializer=torch.set_num_threads, initargs=(threads,))
        self._running: Future[tuple[UpdateResult, float]] | None = None
        self.busy_seconds = 0.0

    def begin(self, batch: SequenceBatch) -> None:
        """Start an update; the one before it has been finished."""
        assert self._running is None
        self._running = self._pool.submit(self._update, batch)

    def finish(self) -> UpdateResult | None:
        """Wait for the update in progress and show its weights to the actor; None if there is none.

        Raises:
            NotFiniteError: as the learner's `update`.
        """
        if self._running is None:
            return None
        running, self._running = self._running, None
        result, seconds = running.result()
        self.busy_seconds += seconds
        self._learner.publish()
        return result

    def bring_back(self) -> None:
        """Nothing to do: the learner that is trained is the one that is saved."""

    def __enter__(self) -> BackgroundLearner:
        """Use as a context."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let the update in progress end, and the thread with it."""
        self._pool.shutdown()

    def _update(self, batch: SequenceBatch) -> tuple[UpdateResult, float]:
        started = time.perf_counter()
        result = self._learner.update(batch)
        return result, time.perf_counter() - started
