"""What splitters keep in proportion: classes, parts of numbers, gaps and pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack, triu

from skmtl._core.validation import warn_user
from skmtl._data.labels import (
    TASK_TYPES,
    LabelColumn,
    LabelTable,
    TaskType,
    infer_task_types,
    read_labels,
    warn_unclear_task_types,
)
from skmtl._data.stratification import bin_by_quantiles
from skmtl._data.targets import to_float


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


#: Parts of equal size into which splitters cut numeric labels by default.
N_BINS = 10
#: Classes or tasks that a warning names, at most.
N_NAMED = 3


@dataclass(frozen=True)
class Labels:
    """Weights of labels in rows, and the classes that the columns stand for."""

    table: csr_array  # (n_samples, n_labels)
    classes: list[tuple[Any, Any] | None]  # task and class; None for bins and gaps


class Stratified:
    """What splitters are told of the labels that they keep in proportion."""

    order: int
    n_bins: int
    missing_label: Any
    task_types: Any

    def _set_labels(
        self, order: int, n_bins: int, missing_label: object, task_types: object
    ) -> None:
        """Check and keep the parameters that all splitters have."""
        if order not in (1, 2):
            raise ValueError(
                "The 'order' parameter must be 1, for labels, or 2, for pairs of "
                f"labels too. Got {order!r} instead."
            )
        if not isinstance(n_bins, Integral) or n_bins < 1:
            raise ValueError(
                "The 'n_bins' parameter must be an integer of at least 1. "
                f"Got {n_bins!r} instead."
            )
        if isinstance(task_types, str) and task_types not in TASK_TYPES:
            raise ValueError(
                f"The 'task_types' parameter must be one of {TASK_TYPES}, or one of "
                f"them for each task. Got {task_types!r} instead."
            )
        self.order = order
        self.n_bins = n_bins
        self.missing_label = missing_label
        self.task_types = task_types

    def _labels(self, y: Any, n_parts: int) -> Labels:
        """Read labels of which each of some parts is to get its share."""
        columns = read_labels(y, self.missing_label)
        n_tasks = len(columns.columns)
        is_single = isinstance(self.task_types, str)
        task_types = [self.task_types] * n_tasks if is_single else self.task_types
        kinds = infer_task_types(columns, task_types)
        warn_unclear_task_types(columns, task_types)
        codes, classes = _encode(columns, kinds, self.n_bins, n_parts)
        table = make_label_matrix(codes)
        if self.order == 2:
            minor = [np.where(c == np.bincount(c).argmax(), -1, c) for c in codes]
            # So light that they do not outweigh the labels that they are made of.
            pairs = pair_table(make_label_matrix(minor), 1 / n_tasks)
            table = csr_array(hstack([table, pairs], format="csr"))
        return Labels(table, classes)


def _encode(
    columns: LabelTable, kinds: list[TaskType], n_bins: int, n_parts: int
) -> tuple[list[NDArray[np.int64]], list[tuple[Any, Any] | None]]:
    """Return the codes of each task, and what all codes stand for."""
    codes, classes = [], []
    for column, kind, name in zip(
        columns.columns, kinds, columns.task_names, strict=True
    ):
        task_classes: list[tuple[Any, Any] | None] = []
        if kind == "classification":
            task_codes, labels = _factorize(column.values)
            task_classes = [(name, label) for label in labels]
        else:
            task_codes = _bin_values(column, name, n_bins, n_parts)
            task_classes = [None] * (task_codes.max(initial=-1) + 1)
        # A missing label is a label too.
        task = np.full(columns.n_samples, len(task_classes))
        task[column.present] = task_codes
        codes.append(task)
        classes += [*task_classes, None][: task.max() + 1]
    return codes, classes


def _factorize(values: NDArray[Any]) -> tuple[NDArray[np.int64], list[Any]]:
    """Return codes and the labels that they stand for, of any types."""
    if values.dtype != object:
        labels, codes = np.unique(values, return_inverse=True)
        return codes, labels.tolist()
    number: dict[Any, int] = {}
    codes = np.array([number.setdefault(v, len(number)) for v in values], np.int64)
    return codes, list(number)


def _bin_values(
    column: LabelColumn, name: object, n_bins: int, n_parts: int
) -> NDArray[np.int64]:
    """Cut numbers into parts of which each fold can have some."""
    values = to_float(column, name)
    return bin_by_quantiles(values, max(1, min(n_bins, len(values) // n_parts)))


def list_first(words: list[str]) -> str:
    """Return the first words of a list, and the number of the others."""
    more = f" and {len(words) - N_NAMED} more" if len(words) > N_NAMED else ""
    return f"{', '.join(words[:N_NAMED])}{more}"


def warn_of_rare(labels: Labels, table: csr_array, n_parts: int, what: str) -> None:
    """Warn of classes that some parts must lack."""
    # `table` holds the labels of rows or groups; `what` names parts and units.
    carriers = np.diff(table.tocsc().indptr)
    rare = [
        f"class {named[1]!r} of task {named[0]!r} ({count})"
        for named, count in zip(labels.classes, carriers, strict=False)
        if named is not None and count < n_parts
    ]
    if rare:
        parts, units = what.split()
        warn_user(
            f"Some classes have fewer {units} than there are {parts}, {n_parts}, so "
            f"that some {parts} lack them: {list_first(rare)}. Use "
            "fewer, merge classes, or set task_types where labels are numbers.",
        )
