"""Which labels each row carries, as one sparse table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack, triu


def make_label_matrix(codes: Sequence[NDArray[Any]]) -> csr_array:
    """Return a sparse matrix of ones where a row carries a label of a task."""
    # Codes are negative where a label is missing; the matrix has the shape
    # (n_samples, n_labels), the first columns are the codes of the first task.
    n_codes = [max(int(task.max()) + 1, 0) for task in codes]
    starts = np.cumsum([0, *n_codes])
    stacked = np.stack(codes, axis=1).astype(np.int64)  # (n, n_tasks)
    present = stacked >= 0
    columns = (stacked + starts[:-1])[present]
    ends = np.cumsum([0, *present.sum(axis=1)])
    ones = np.ones(len(columns))
    return csr_array((ones, columns, ends), shape=(len(stacked), starts[-1]))


def pair_table(table: csr_array, weight: float) -> csr_array:
    """Return the weight of a pair where a row carries both of its labels."""
    # Of shape (n_samples, n_pairs); pairs of only one row are left out.
    n, n_labels = table.shape
    together = triu(table.T @ table, 1).tocsr()
    first, second = (together > 1).nonzero()
    number = np.full((n_labels, n_labels), -1, dtype=np.int32)
    number[first, second] = np.arange(len(first))
    sizes = np.diff(table.indptr)
    rows, columns = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
    for size in np.unique(sizes[sizes > 1]):
        of_size = np.flatnonzero(sizes == size)
        labels = table.indices[table.indptr[of_size][:, None] + np.arange(size)]
        one, other = np.triu_indices(size, 1)
        numbers = number[labels[:, one], labels[:, other]]  # (n_of_size, n_pairs)
        row, pair = np.nonzero(numbers >= 0)
        rows.append(of_size[row].astype(np.int32))
        columns.append(numbers[row, pair])
    row, column = np.concatenate(rows), np.concatenate(columns)
    weights = np.full(len(row), weight)
    return csr_array((weights, (row, column)), shape=(n, len(first)))


def find_rows_per_label(table: csr_array) -> list[NDArray[np.int32]]:
    """Return the sorted rows that carry each label, the rarest label first."""
    columns = table.tocsc()
    return sorted(np.split(columns.indices, columns.indptr[1:-1]), key=len)


def sum_by_group(table: csr_array, groups: NDArray[np.int64]) -> csr_array:
    """Return how often each group carries each label, and its number of rows."""
    # Of shape (n_groups, n_labels + 1), with the numbers of rows in the last column.
    n = len(groups)
    membership = csr_array((np.ones(n), (groups, np.arange(n))))
    size = csr_array(np.ones((n, 1)))
    return csr_array(membership @ hstack([table, size], format="csr"))
