"""Swaps between parts of a table that bring every label closer to its share."""

from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

#: Units of each part among which the best swap is sought.
N_CANDIDATES = 32
#: Trials in all, and those in a row without a swap after which to end.
MAX_TRIALS, PATIENCE = 5000, 200
#: Labels up to which those of candidates are kept as a dense array, which is faster.
MAX_DENSE = 2000


def improve_by_swaps(
    table: csr_array,
    part: NDArray[np.int64],
    shares: NDArray[np.float64],
    random_state: RandomState,
) -> NDArray[np.int64]:
    """Swap units between parts as long as that brings labels closer to their shares."""
    # With the weight c of a label in part f, its weight n in all parts and the share
    # s of the part, each swap lowers the sum over f and labels of (c - s n)² / (s n):
    # of a few random units of two parts, the two trade places whose swap lowers it
    # most. Parts keep their sizes.
    parts = _Parts(table, part, shares)
    trial = last_swap = 0
    while trial < min(MAX_TRIALS, last_swap + PATIENCE):
        trial += 1
        f = random_state.randint(len(shares))
        g = (f + random_state.randint(1, len(shares))) % len(shares)
        if parts.swap_best(f, g, random_state):
            last_swap = trial
    return parts.numbers()


class _Parts:
    """Units by the part that they are in, and what each part has too much of."""

    def __init__(
        self, table: csr_array, part: NDArray[np.int64], shares: NDArray[np.float64]
    ) -> None:
        n, n_parts = table.shape[0], len(shares)
        self.table = scale_counts(table)  # (n_units, n_labels)
        self.square = self.table.multiply(self.table).sum(axis=1)
        self.pull = 1 / shares
        self.sizes = np.bincount(part, minlength=n_parts)
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.units = np.argsort(part, kind="stable")  # of the first part, of the next…
        members = csr_array((np.ones(n), (part, np.arange(n))), shape=(n_parts, n))
        expected = np.outer(shares, self.table.sum(axis=0))
        self.surplus = (members @ self.table).toarray() - expected

    def swap_best(self, f: int, g: int, random_state: RandomState) -> bool:
        """Swap the two candidates that lower the sum most; tell if any do."""
        at = [self.starts[h] + _draw_rows(self.sizes[h], random_state) for h in (f, g)]
        n_first = len(at[0])
        units = self.units[np.concatenate(at)]
        labels = self.table[units]
        if labels.shape[1] <= MAX_DENSE:
            labels = labels.toarray()
        slope = self.pull[f] * self.surplus[f] - self.pull[g] * self.surplus[g]
        curvature = self.pull[f] + self.pull[g]
        quadratic, linear = curvature * self.square[units], 2 * (labels @ slope)
        common = _make_dense(labels[:n_first] @ labels[n_first:].T)
        rises = np.add.outer(
            (quadratic - linear)[:n_first], (quadratic + linear)[n_first:]
        )
        rises -= 2 * curvature * common  # (n_first, n_second)
        i, j = np.unravel_index(rises.argmin(), rises.shape)
        if rises[i, j] > -1e-10:
            return False
        self.units[at[0][i]], self.units[at[1][j]] = units[n_first + j], units[i]
        change = _make_dense(labels[[n_first + j]] - labels[[i]])[0]
        self.surplus[f] += change
        self.surplus[g] -= change
        return True

    def numbers(self) -> NDArray[np.int64]:
        """Return the part of each unit."""
        part = np.empty(len(self.units), dtype=np.int64)
        part[self.units] = np.repeat(np.arange(len(self.sizes)), self.sizes)
        return part


def _make_dense(array: Any) -> NDArray[np.float64]:
    """Return an array that is not sparse."""
    return array.toarray() if issparse(array) else array


def scale_counts(table: csr_array) -> csr_array:
    """Return the table in units in which the sum is that of squares."""
    total = table.sum(axis=0)
    return csr_array(table.multiply(1 / np.sqrt(np.where(total > 0, total, 1))))


def _draw_rows(size: int, random_state: RandomState) -> NDArray[np.int64]:
    """Return positions of candidates: all, or some."""
    if size <= N_CANDIDATES:
        return np.arange(size)
    return random_state.randint(size, size=N_CANDIDATES)
