"""Predictions in all forms that estimators give them, as one entry per task."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmtl._core.validation import fill_masked
from skmtl._data.labels import LabelColumn, LabelTable, read_labels

#: Labels, values or scores of one per row; scores of classes; nothing for the task.
Prediction = LabelColumn | NDArray[Any] | None


def read_predictions(y_pred: Any, columns: LabelTable) -> list[Prediction]:
    """Return the predictions of each task, from any form estimators give them in."""
    # `y_pred` is (n_samples,) or (n_samples, n_tasks), or a list with an entry per
    # task: (n_samples,), (n_samples, n_classes) or None; for one task it may also be
    # (n_samples, n_classes).
    names = columns.task_names
    if _is_per_task(y_pred, columns):
        _check_number(len(y_pred), names)
        return [
            _read_entry(entry, name, columns)
            for entry, name in zip(y_pred, names, strict=True)
        ]
    table = read_labels(y_pred)
    if len(names) == 1 and len(table.columns) > 1:
        return [_read_entry(y_pred, names[0], columns)]
    _check_number(len(table.columns), names)
    _check_length(table.n_samples, columns)
    return list(table.match_names(names, "y_pred").columns)


def select_labelled(
    prediction: Prediction, column: LabelColumn, name: object
) -> NDArray[Any]:
    """Return a task's predictions for the rows that have a label."""
    if prediction is None:
        raise ValueError(
            f"y_pred has nothing for task {name!r}: give its predictions, or a metric "
            "for each task."
        )
    rows = column.present
    if not isinstance(prediction, LabelColumn):
        return prediction if rows.all() else prediction[rows]
    has_prediction = prediction.present
    if has_prediction.all():
        return prediction.values if rows.all() else prediction.values[rows]
    if not has_prediction[rows].all():
        raise ValueError(
            f"y_pred lacks predictions for {np.sum(rows & ~has_prediction)} labelled "
            f"rows of task {name!r}: give one for each label."
        )
    return prediction.restrict(rows).values


def _is_per_task(y_pred: ArrayLike, columns: LabelTable) -> bool:
    """Tell a list with an entry per task from a table."""
    if getattr(y_pred, "ndim", 2) == 3:
        return True
    if not isinstance(y_pred, list | tuple) or not y_pred:
        return False
    shapes = [_measure_shape(entry) for entry in y_pred if entry is not None]
    if not shapes or any(len(shape) > 1 for shape in shapes):
        return True
    n, n_tasks = columns.n_samples, len(columns.columns)
    per_row = len(y_pred) == n and shapes == [(n_tasks,)] * n
    arrays = any(hasattr(entry, "shape") and len(entry.shape) for entry in y_pred)
    return arrays and not (per_row and n != n_tasks)


def _measure_shape(entry: Any) -> tuple[int, ...]:
    """Return the shape of an array or of nested lists."""
    if hasattr(entry, "shape"):
        return tuple(entry.shape)
    nested = isinstance(entry, list | tuple) and len(entry) > 0
    return (len(entry), *_measure_shape(entry[0])) if nested else ()


def _read_entry(entry: object, name: object, columns: LabelTable) -> Prediction:
    """Return the predictions of one task."""
    if entry is None:
        return None
    if len(_measure_shape(entry)) < 2:
        column = read_labels(entry).columns[0]
        _check_length(len(column.present), columns)
        return column
    scores = np.asarray(fill_masked(entry))
    if scores.ndim != 2 or scores.dtype.kind not in "biuf":
        raise ValueError(
            f"The predictions for task {name!r} must be numbers of shape (n_samples, "
            f"n_classes) where they have several columns. Got {scores.dtype} of shape "
            f"{scores.shape}."
        )
    _check_length(len(scores), columns)
    return scores


def _check_length(n_samples: int, columns: LabelTable) -> None:
    """Raise an error if labels and predictions have different numbers of rows."""
    if n_samples != columns.n_samples:
        raise ValueError(
            "y_true and y_pred must have the same number of rows. Got "
            f"{columns.n_samples} and {n_samples}."
        )


def _check_number(n_tasks: int, names: Sequence[Any]) -> None:
    """Raise an error if predictions are of another number of tasks."""
    if n_tasks != len(names):
        raise ValueError(
            f"y_true and y_pred must be of the same tasks. Got {len(names)} tasks, "
            f"{list(names)}, and predictions for {n_tasks}."
        )
