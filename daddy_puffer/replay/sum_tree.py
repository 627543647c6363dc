"""Sum tree: draws indices in proportion to their values in logarithmic time, many at once.

In: values f64, indices i64. Out: indices. Knows no replay. float64, since float32 sums of many priorities drift away
from the leaves and then find leaves of value 0.
"""

from __future__ import annotations

import numpy as np

from daddy_puffer.types import Array


class SumTree:
    """Complete binary tree in one array: node i has children 2i and 2i + 1, node 1 is the root, leaves come last."""

    def __init__(self, size: int):
        """All `size` values are 0."""
        self.size = size
        self._depth = max(1, int(size - 1).bit_length())
        self._first_leaf = 1 << self._depth
        self._nodes = np.zeros(2 * self._first_leaf)

    @property
    def total(self) -> float:
        """Sum of all values."""
        return float(self._nodes[1])

    @property
    def nbytes(self) -> int:
        """Memory of the tree."""
        return self._nodes.nbytes

    @property
    def values(self) -> Array:
        """All values, f64 `[size]`; a view."""
        return self._nodes[self._first_leaf : self._first_leaf + self.size]

    def get(self, indices: Array) -> Array:
        """Values at `indices`."""
        return self._nodes[self._first_leaf + indices]

    def set(self, indices: Array, values: Array) -> None:
        """Replace values; of an index that occurs twice the last one counts.

        Raises:
            ValueError: a value is negative, infinite or no number; nothing has been changed then.
        """
        if not np.all(np.isfinite(values) & (np.asarray(values) >= 0.0)):
            raise ValueError(f"values of a sum tree must be finite and not negative, got {values}")
        nodes = self._first_leaf + indices
        self._nodes[nodes] = values
        for _ in range(self._depth):
            nodes = nodes >> 1  # siblings share a parent: it is then written twice with the same sum
            self._nodes[nodes] = self._nodes[2 * nodes] + self._nodes[2 * nodes + 1]

    def set_all(self, values: Array) -> None:
        """Replace all values, f64 `[size]`."""
        self.values[:] = values
        for depth in range(self._depth - 1, -1, -1):
            level = slice(1 << depth, 2 << depth)
            self._nodes[level] = self._nodes[2 << depth : 4 << depth].reshape(-1, 2).sum(axis=1)

    def find(self, targets: Array) -> Array:
        """For each target in `[0, total)` the index whose share of the running sum it falls into, i64.

        That is `searchsorted(cumsum(values), targets, side="right")`. An index of value 0 is never found, whatever
        rounding does, unless all are 0.
        """
        rest = np.array(targets, dtype=np.float64)
        nodes = np.ones(rest.shape, dtype=np.int64)
        for _ in range(self._depth):
            nodes *= 2
            left = self._nodes[nodes]
            right = (rest >= left) & (self._nodes[nodes + 1] > 0.0)
            rest -= left * right
            nodes += right
        return nodes - self._first_leaf

    def check_valid(self) -> tuple[bool, str]:
        """Whether each node is the sum of its children; the reason if not."""
        if self._nodes.min() < 0.0 or not np.isfinite(self._nodes).all():
            return False, "a node is negative or not finite"
        parents = self._nodes[1 : self._first_leaf]
        sums = self._nodes[2:].reshape(-1, 2).sum(axis=1)
        wrong = np.flatnonzero(parents != sums)
        if wrong.size:
            return False, f"node {wrong[0] + 1} is {parents[wrong[0]]}, its children sum to {sums[wrong[0]]}"
        if self._nodes[self._first_leaf + self.size :].any():
            return False, "a leaf beyond the size is not 0"
        return True, ""
