"""Which labels each row carries, as one sparse table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack


def label_table(codes: Sequence[NDArray[Any]]) -> csr_array:
    """Return the labels of all rows.

    Parameters
    ----------
    codes : sequence of ndarray of int of shape (n_samples,)
        For each task the code of each row's label, negative where it has none.

    Returns
    -------
    csr_array of shape (n_samples, n_labels)
        Ones where a row carries a label; the first columns are the codes 0, 1, … of the
        first task.
    """
    n_codes = [max(int(task.max()) + 1, 0) for task in codes]
    starts = np.cumsum([0, *n_codes])
    stacked = np.stack(codes, axis=1).astype(np.int64)  # (n, n_tasks)
    present = stacked >= 0
    columns = (stacked + starts[:-1])[present]
    ends = np.cumsum([0, *present.sum(axis=1)])
    ones = np.ones(len(columns))
    return csr_array((ones, columns, ends), shape=(len(stacked), starts[-1]))


def pair_table(table: csr_array, weight: float) -> csr_array:
    """Return the pairs of labels that some rows carry together.

    Parameters
    ----------
    table : csr_array of shape (n_samples, n_labels)
        The labels that make pairs.
    weight : float
        Weight of a pair.

    Returns
    -------
    csr_array of shape (n_samples, n_pairs)
        The weight where a row carries a pair; pairs of only one row are left out.
    """
    n, n_labels = table.shape
    sizes = np.diff(table.indptr)
    rows, pairs = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for size in np.unique(sizes[sizes > 1]):
        of_size = np.flatnonzero(sizes == size)
        labels = table.indices[table.indptr[of_size][:, None] + np.arange(size)]
        first, second = np.triu_indices(size, 1)
        found = labels[:, first].astype(np.int64) * n_labels + labels[:, second]
        rows.append(np.repeat(of_size, len(first)))
        pairs.append(found.ravel())
    row, pair = np.concatenate(rows), np.concatenate(pairs)
    _, column, count = np.unique(pair, return_inverse=True, return_counts=True)
    several = count[column] > 1
    number = np.cumsum(count > 1) - 1
    row, column = row[several], number[column[several]]
    shape = (n, int((count > 1).sum()))
    return csr_array((np.full(len(row), weight), (row, column)), shape=shape)


def summed_by(table: csr_array, groups: NDArray[np.int64]) -> csr_array:
    """Return how often each group carries each label.

    Parameters
    ----------
    table : csr_array of shape (n_samples, n_labels)
        The labels of the rows.
    groups : ndarray of int of shape (n_samples,)
        Number of each row's group, from zero.

    Returns
    -------
    csr_array of shape (n_groups, n_labels + 1)
        The counts, and in the last column the number of the group's rows.
    """
    n = len(groups)
    membership = csr_array((np.ones(n), (groups, np.arange(n))))
    size = csr_array(np.ones((n, 1)))
    return csr_array(membership @ hstack([table, size], format="csr"))
