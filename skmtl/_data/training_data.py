"""Inputs, encoded labels, weights and row numbers of the training data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length

from skmtl._core.validation import check_sample_weight, count_rows, warn_user
from skmtl._data.labels import Labels, LabelTable
from skmtl._data.targets import Targets

RowIndex = NDArray[np.integer[Any]]


def choose_index_dtype(n: int) -> type[np.signedinteger[Any]]:
    """Return the smallest type that torch takes for the numbers of rows."""
    return np.int32 if n < 2**31 else np.int64


def find_rows(chosen: ArrayLike) -> RowIndex:
    """Return where a mask is true."""
    # chosen of shape (n,).
    return np.flatnonzero(chosen).astype(choose_index_dtype(np.size(chosen)))


#: One entry per task: None, "balanced" or {class: weight}.
ClassWeight = Sequence[str | Mapping[Any, float] | None]


@dataclass(frozen=True)
class TrainingData:
    """Checked inputs with encoded labels."""

    X: Any  # (n_samples, ...): Inputs.
    # (n_samples,): Per task, codes (-1 where missing) or standardised values (NaN where
    # missing).
    labels: list[Labels]
    # (n_samples, n_tasks): Weights of the labels; None where all count the same.
    weight: NDArray[np.float64] | None
    rows: RowIndex  # Rows that have at least one label.
    # (n_samples, n_tasks): Weights as the user gave them, without those of classes.
    given_weight: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class LabelCounts:
    """How many rows and labels there are."""

    n_rows: int  # Number of rows, with labels or without.
    # For each task how often each class occurs; of regression, the number of labels.
    of_classes: list[NDArray[np.int64]]

    @classmethod
    def from_data(cls, data: TrainingData, targets: Targets) -> "LabelCounts":
        """Count the labels of the training data."""
        counts = [
            np.bincount(labels[has_label(labels)], minlength=k)
            if k
            else np.array([has_label(labels).sum()])
            for labels, k in zip(data.labels, targets.n_classes, strict=True)
        ]
        return cls(data.X.shape[0], counts)

    def add(self, other: "LabelCounts") -> "LabelCounts":
        """Return the counts of both together."""
        pairs = zip(self.of_classes, other.of_classes, strict=True)
        return LabelCounts(self.n_rows + other.n_rows, [a + b for a, b in pairs])


def apply_sample_weight(
    X: object,
    columns: LabelTable,
    sample_weight: ArrayLike | None,
    name: str = "sample_weight",
) -> tuple[LabelTable, NDArray[np.float64] | None]:
    """Check lengths and weights; labels of weight zero count as missing."""
    # Returns weight of shape (n_samples, n_tasks).
    check_consistent_length(X, columns.columns[0].present)
    names = columns.task_names
    weight_table = check_sample_weight(sample_weight, columns.n_samples, names, name)
    if weight_table is None:
        return columns, None
    weight = np.broadcast_to(weight_table, (columns.n_samples, len(names)))
    if not weight.all():
        columns_left = [
            column.restrict(weight[:, t] > 0)
            for t, column in enumerate(columns.columns)
        ]
        columns = columns.with_columns(columns_left)
    n_labels = columns.get_mask()
    if weight_table.shape[1] == 1:
        n_labels = n_labels.sum(axis=1, keepdims=True)
    return columns, np.broadcast_to(count_rows(weight_table, n_labels), weight.shape)


def check_not_transposed(columns: LabelTable, n_samples: int) -> None:
    """Raise an error for labels with a row per task, as a list of arrays has."""
    n, n_columns = columns.n_samples, len(columns.columns)
    if n != n_samples == n_columns:
        raise ValueError(
            f"y must have one row per sample and one column per task. Got {n} rows and "
            f"{n_columns} columns for {n_columns} samples: give np.column_stack(y) for "
            "a list of arrays, one per task, or y.T."
        )


def encode_labels(
    X: object,
    columns: LabelTable,
    weight: NDArray[np.float64] | None,
    targets: Targets,
    class_weight: ClassWeight | None = None,
) -> TrainingData:
    """Encode labels, fold class weights into label weights, find the labelled rows."""
    # weight of shape (n_samples, n_tasks).
    labels, given_weight = targets.encode(columns), weight
    rows = find_rows(columns.get_mask().any(axis=1))
    if class_weight is not None and any(entry is not None for entry in class_weight):
        weight = (
            np.ones((columns.n_samples, targets.n_tasks)) if weight is None else weight
        )
        weight = weight.copy()
        for t, (entry, classes) in enumerate(
            zip(class_weight, targets.classes, strict=True)
        ):
            if entry is not None and classes is not None:
                present = labels[t] >= 0
                codes = labels[t][present]
                per_class = _expand_class_weight(
                    entry, classes, codes, weight[present, t]
                )
                weight[present, t] = multiply_weights(
                    weight[present, t],
                    per_class[codes],
                    "class_weight",
                    targets.names[t],
                )
    return TrainingData(X, labels, weight, rows, given_weight)


def _expand_class_weight(
    entry: str | Mapping[Any, float],
    classes: Labels,
    codes: Labels,
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    if isinstance(entry, str):  # "balanced"
        counts = np.bincount(codes, weights=weight, minlength=len(classes))
        with np.errstate(over="ignore"):  # refused where it makes weights infinite
            return counts.sum() / (len(classes) * np.where(counts > 0, counts, 1.0))
    return np.array(
        [float(entry.get(label, 1.0)) for label in get_class_labels(classes)]
    )


def get_class_labels(classes: Labels) -> list[Any]:
    """Return classes as Python's own scalars, dates as numpy's."""
    return list(classes) if classes.dtype.kind in "mM" else classes.tolist()


def check_some_weight(data: TrainingData, targets: Targets) -> None:
    """Reject class weights that leave a task without a label that counts."""
    for t, classes in enumerate(targets.classes):
        if classes is None or data.weight is None:
            continue
        if not data.weight[data.labels[t] >= 0, t].any():
            raise ValueError(
                f"The 'class_weight' parameter gives no label of task "
                f"{targets.names[t]!r} a positive weight: raise the weight of one of "
                f"its classes {classes.tolist()}."
            )


def warn_many_classes(data: TrainingData, targets: Targets, task_types: object) -> None:
    """Warn of tasks with more classes than half their labels."""
    if task_types is not None and not isinstance(task_types, dict):
        return
    for t, (name, k) in enumerate(zip(targets.names, targets.n_classes, strict=True)):
        n_labels = np.count_nonzero(has_label(data.labels[t])) if k > 10 else 0
        many = n_labels > 20 and k > round(0.5 * n_labels)
        if many and name not in (task_types or {}):
            warn_user(
                "The number of unique classes is greater than 50% of the number of "
                f"samples. Task {name!r} has {k} classes in {n_labels} labelled rows, "
                "and could be a regression problem: use MultiTaskRegressor, or "
                "MultiTaskEstimator for tasks of both kinds."
            )
            return


def multiply_weights(
    weight: NDArray[np.float64],
    factors: Labels,
    parameter: str,
    name: object,
) -> NDArray[np.float64]:
    """Return weights of a task's labels times what a parameter says of them."""
    with np.errstate(over="ignore"):
        product: NDArray[np.float64] = weight * factors
    if not np.isfinite(product).all():
        raise ValueError(
            f"The '{parameter}' parameter times sample_weight must be finite. Got "
            f"infinity for labels of task {name!r}: give smaller weights."
        )
    return product


def has_label(labels: Labels) -> NDArray[np.bool_]:
    """Return which labels are not missing."""
    # labels of shape (n_samples,); returns (n_samples,).
    return ~np.isnan(labels) if labels.dtype.kind == "f" else labels >= 0


def count_labels(data: TrainingData) -> list[int]:
    """Return how many labels each task has."""
    return [int(has_label(labels).sum()) for labels in data.labels]


def sum_row_weights(data: TrainingData, rows: RowIndex) -> NDArray[np.float64] | None:
    """Return the weights of rows: each row has that of its heaviest label."""
    # Returns (n_rows,).
    if data.weight is None:
        return None
    weight = np.zeros(len(rows))
    for t, labels in enumerate(data.labels):
        present = has_label(labels[rows])
        np.maximum(weight, data.weight[rows, t] * present, out=weight)
    return weight


def compute_prior_outputs(data: TrainingData, targets: Targets) -> NDArray[np.float64]:
    """Return the outputs of a model that knows only how often each class occurs."""
    # Returns (n_outputs,).
    parts = [np.empty(0)]
    for block in targets.blocks:
        for t in block.tasks:
            present = has_label(data.labels[t])
            weight = None if data.weight is None else data.weight[present, t]
            y = data.labels[t][present]
            parts.append(block.compute_prior(y, weight, targets.n_classes[t]))
    return np.concatenate(parts)
