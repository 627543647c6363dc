"""Random network distillation without the networks: what they see, how their error is scaled, when they learn.

In: frames u8 `[B, stack, 72, 20]` and structured numbers f32 `[B, F]`, and a `Distillation`: a pair of networks. Out:
bonuses f32 `[B]`, finite and within 0 .. 5. Knows no torch, no environment and no weight.

Source: Burda et al. 2018, section 2. The networks see a fixed embedding, standardised by its running mean and deviation
and clipped to +-5; the bonus is their squared error over the running deviation of its discounted sum, whose mean is not
taken off, so that it stays positive. Deviations from it: the screen goes through a random projection instead of
convolutions, and the networks learn from rows of all environments as these come, not from rollouts.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from daddy_puffer.types import PACKED_WIDTH, SCREEN_HEIGHT, Array

INPUT_LIMIT = 5.0  # of the standardised embedding
INPUT_DEVIATION_FLOOR = 0.01  # what has hardly ever changed may count a lot when it does, but not without end
BONUS_LIMIT = 5.0
RETURN_DISCOUNT = 0.99  # of the sum whose deviation scales the bonus
WARM_UP_ROWS = 512  # seen before the first error is taken, and as many errors before the first bonus is given
MOST_ROWS = 256  # of one update: with many environments the newest rows are thinned out to about so many
LINE_STEP = 4  # every fourth line of pixels is looked at
SCREEN_NUMBERS = 32
ID_NUMBERS = 8  # a random code for each id: two neighbouring maps have nothing in common
# as arrays: numpy takes longer over a number of Python's, and one look in a while finds all its code out of the caches
_HIGHEST, _LOWEST = np.array(INPUT_LIMIT, np.float32), np.array(-INPUT_LIMIT, np.float32)

IdFields = tuple[tuple[str, int, int], ...]  # (vocabulary, field of `structured`, number of ids)
State = dict[str, Any]  # a tree of numpy arrays and numbers


class Distillation(Protocol):
    """A fixed random network and one that learns to foretell its output."""

    def errors(self, inputs: Array) -> Array:
        """Mean squared error f32 `[N]` for inputs f32 `[N, D]`."""

    def learn(self, inputs: Array) -> None:
        """One update on inputs f32 `[N, D]`."""


class RunningMoments:
    """Mean and variance of all rows so far, in double precision (Welford 1962, in batches by Chan 1979)."""

    def __init__(self, size: int) -> None:
        """Of rows `[size]`."""
        self.count = 0
        self.mean = np.zeros(size)
        self._squares = np.zeros(size)  # sum of squared distances from the mean

    @property
    def deviation(self) -> Array:
        """Standard deviation f64 `[size]`, 0 before the second row."""
        return np.sqrt(self._squares / max(1, self.count))

    def add(self, rows: Array) -> None:
        """Take rows `[N, size]` into account; one that is not finite is left out."""
        rows = np.asarray(rows, np.float64)
        rows = rows[np.isfinite(rows).all(axis=1)]
        if not len(rows):
            return
        total = self.count + len(rows)
        mean = rows.mean(axis=0)
        apart = mean - self.mean
        self._squares += ((rows - mean) ** 2).sum(axis=0) + apart**2 * (self.count * len(rows) / total)
        self.mean += apart * (len(rows) / total)
        self.count = total

    def state_dict(self) -> State:
        """Everything."""
        return {"count": self.count, "mean": self.mean.copy(), "squares": self._squares.copy()}

    def load_state_dict(self, state: State) -> None:
        """Put back what `state_dict` returned."""
        self.count = int(state["count"])
        self.mean[:], self._squares[:] = state["mean"], state["squares"]


class Embedding:
    """A fixed random view of an observation: the structured numbers, a code for each id, the screen projected."""

    def __init__(self, structured_size: int, id_fields: IdFields, seed: int) -> None:
        """The same seed gives the same view. From here on numpy multiplies matrices on one thread in this process."""
        # these are small: beside other processes its threads wait for each other forty times as long as they work
        threadpool_limits(limits=1, user_api="blas")
        rng = np.random.default_rng(seed)
        levels = np.arange(256)[:, None] >> np.arange(0, 8, 2) & 3
        self._ink = (3 - levels).mean(axis=1).astype(np.float32)  # of the four pixels in a byte
        pixels = SCREEN_HEIGHT // LINE_STEP * PACKED_WIDTH
        self._projection = (rng.standard_normal((pixels, SCREEN_NUMBERS)) / math.sqrt(pixels)).astype(np.float32)
        self._columns = np.array([field for _, field, _ in id_fields], np.int64)
        self._counts = np.array([count for _, _, count in id_fields], np.int64)
        self._offsets = np.cumsum(self._counts) - self._counts
        self._codes = rng.choice(np.array([-1, 1], np.float32), (self._counts.sum(), ID_NUMBERS))
        self.size = structured_size + ID_NUMBERS * len(id_fields) + SCREEN_NUMBERS

    def __call__(self, frames: Array, structured: Array) -> Array:
        """F32 `[B, size]`; only the newest frame is looked at."""
        count = len(structured)
        screen = self._ink.take(frames[:, -1, ::LINE_STEP]).reshape(count, -1) @ self._projection
        if not len(self._columns):
            return np.concatenate((structured, screen), axis=1)
        ids = structured.take(self._columns, 1).astype(np.int64) % self._counts  # some id also for what is no number
        codes = self._codes.take(ids + self._offsets, 0).reshape(count, -1)
        return np.concatenate((structured, codes, screen), axis=1)


class Curiosity:
    """The bonus of rows of environments, and all that must be remembered for it."""

    def __init__(self, embedding: Embedding, networks: Distillation, *, num_envs: int, rows_per_update: int) -> None:
        """The networks learn when at least `rows_per_update` rows have come."""
        self._embedding, self._networks, self._rows_per_update = embedding, networks, rows_per_update
        self._inputs = RunningMoments(embedding.size)
        self._returns = RunningMoments(1)
        self._running: Array = np.zeros(num_envs)  # discounted sum of errors
        self._rows: list[Array] = []  # embeddings since the last update
        self._sums: list[Array] = []
        self._waiting = self._updates = 0
        self._refresh()

    def bonus(self, frames: Array, structured: Array, env_ids: Array | slice = slice(None)) -> Array:
        """Bonuses f32 `[B]` of these rows of environments `env_ids`, then learn from them if it is time."""
        rows = self._embedding(frames, structured)
        self._rows.append(rows)
        self._waiting += len(rows)
        if self._inputs.count < WARM_UP_ROWS:
            bonus: Array = np.zeros(len(rows), np.float32)
        else:
            errors = self._networks.errors(self._standardised(rows))
            running = self._running[env_ids] * RETURN_DISCOUNT + errors
            self._running[env_ids] = running
            self._sums.append(running)
            bonus = np.minimum(errors * self._bonus_factor, BONUS_LIMIT)
        if self._waiting >= self._rows_per_update:
            self._learn()
        return bonus

    def state_dict(self) -> State:
        """Everything but the networks and the embedding, which its seed tells."""
        return {
            "inputs": self._inputs.state_dict(),
            "returns": self._returns.state_dict(),
            "running": self._running.copy(),
            "rows": list(self._rows),
            "sums": list(self._sums),
            "updates": self._updates,
        }

    def load_state_dict(self, state: State) -> None:
        """Put back what `state_dict` returned; of another number of environments the sums are shared out in turn.

        Raises:
            ValueError: it is of another observation.
        """
        self._inputs.load_state_dict(state["inputs"])
        self._returns.load_state_dict(state["returns"])
        self._running[:] = np.resize(state["running"], len(self._running))
        self._rows, self._sums = list(state["rows"]), list(state["sums"])
        self._waiting, self._updates = sum(map(len, self._rows)), int(state["updates"])
        self._refresh()

    def _learn(self) -> None:
        rows = np.concatenate(self._rows)
        if self._sums:
            stride = math.ceil(len(rows) / MOST_ROWS)
            # another offset each time, so that every environment has its turn
            self._networks.learn(self._standardised(rows[self._updates % stride :: stride]))
            self._returns.add(np.concatenate(self._sums)[:, None])
            self._updates += 1
        self._inputs.add(rows)
        self._rows.clear()
        self._sums.clear()
        self._waiting = 0
        self._refresh()

    def _refresh(self) -> None:
        """What is kept ready because every step needs it."""
        self._mean = self._inputs.mean.astype(np.float32)
        self._input_factor = (1 / np.maximum(self._inputs.deviation, INPUT_DEVIATION_FLOOR)).astype(np.float32)
        begun = self._returns.count >= WARM_UP_ROWS
        deviation = max(float(self._returns.deviation[0]), float(np.finfo(np.float32).tiny))
        self._bonus_factor = np.float32(1 / deviation if begun else 0.0)

    def _standardised(self, rows: Array) -> Array:
        """F32 `[N, D]`, every number finite: `fmax` and `fmin` take the bound where the other is no number."""
        scaled = rows - self._mean
        scaled *= self._input_factor
        np.fmax(scaled, _LOWEST, out=scaled)
        return np.fmin(scaled, _HIGHEST, out=scaled)
