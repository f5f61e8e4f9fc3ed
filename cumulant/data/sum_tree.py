"""A sum tree: draws indices in proportion to their priorities, in logarithmic time."""

from __future__ import annotations

import numpy as np
from numba import njit

from cumulant.errors import ConfigError


class SumTree:
    """Priorities of ``size`` items, with their sums over blocks of 1, 2, 4, ... items.

    A sum is always computed anew from its two parts, never corrected by a difference, so that it cannot drift and a tree
    that is rebuilt from its priorities is the same to the last bit.

    Args:
        size: Number of items; all priorities start at 0.

    >>> tree = SumTree(3)
    >>> tree.set(np.array([0, 1, 2]), np.array([1.0, 0.0, 3.0]))
    >>> tree.total, tree.find(np.array([0.5, 1.0, 3.9])).tolist()
    (4.0, [0, 2, 2])
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ConfigError(f"size = {size}: a sum tree needs at least one item")
        self.size = size
        self._first_leaf = 1 << (size - 1).bit_length()
        self._nodes = np.zeros(2 * self._first_leaf)  # node 1 is the root, 2n and 2n + 1 are the parts of n

    @property
    def total(self) -> float:
        """Sum of all priorities."""
        return float(self._nodes[1])

    @property
    def priorities(self) -> np.ndarray:
        """Priorities, ``[size]`` float64; a view, to read only."""
        return self._nodes[self._first_leaf : self._first_leaf + self.size]

    def set(self, index: np.ndarray, priority: np.ndarray) -> None:
        """Set priorities.

        Args:
            index: Items, ``[N]`` int64; of one that occurs twice the last counts.
            priority: At least 0, ``[N]`` float64.
        """
        _set(self._nodes, self._first_leaf, index, priority)

    def find(self, mass: np.ndarray) -> np.ndarray:
        """Return the items in which points of the cumulative priority lie, ``[N]`` int64; never one of priority 0.

        Args:
            mass: Points in [0, total), ``[N]`` float64.
        """
        index = np.empty(len(mass), np.int64)
        _find(self._nodes, self._first_leaf, mass, index)
        return index


@njit(cache=True, error_model="numpy")
def _set(nodes, first_leaf, index, priority):  # type: ignore[no-untyped-def]
    for i in range(index.shape[0]):
        node = first_leaf + index[i]
        nodes[node] = priority[i]
        node >>= 1
        while node >= 1:
            nodes[node] = nodes[2 * node] + nodes[2 * node + 1]
            node >>= 1


@njit(cache=True, error_model="numpy")
def _find(nodes, first_leaf, mass, index):  # type: ignore[no-untyped-def]
    for i in range(mass.shape[0]):
        left, node = mass[i], 1
        while node < first_leaf:
            node *= 2
            # Rounding may leave a point just behind the last item: an empty right part is never entered.
            if left >= nodes[node] and nodes[node + 1] > 0.0:
                left -= nodes[node]
                node += 1
        index[i] = node - first_leaf
