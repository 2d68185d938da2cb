"""One score per task over the labels that are present."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skmtl._columns import Columns
from skmtl._targets import Targets, numeric
from skmtl.metrics._core import Comparison, metrics_of

#: How estimators score tasks, as scikit-learn's do.
METRICS = {"classification": "accuracy", "regression": "r2"}


def task_scores(
    targets: Targets,
    outputs: Tensor,
    codes: NDArray[np.int64],
    columns: Columns,
    weight: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Return each task's accuracy or R².

    Parameters
    ----------
    targets : Targets
        The tasks.
    outputs : Tensor of shape (n_samples, n_outputs)
        Packed outputs of the model.
    codes : ndarray of int of shape (n_samples, n_tasks)
        The classes that it predicts.
    columns : Columns
        True labels; one that training never saw counts as an error.
    weight : ndarray of shape (n_samples, n_tasks) or None
        Weights of the labels.

    Returns
    -------
    ndarray of shape (n_tasks,)
        NaN for a task without a label, and for R² of a single label.
    """
    predicted = targets.predict_columns(outputs, codes)
    read = list(columns.columns)
    for t, classes in enumerate(targets.classes):
        if classes is None and read[t].present.any():
            true = numeric(read[t], targets.names[t])
            unit = _unit(true)
            # Where squares of huge or tiny numbers would be infinite or zero.
            read[t] = replace(read[t], values=np.ldexp(true, -unit))
            predicted[t] = _in_units(predicted[t], unit)
    if weight is not None:
        weight = np.ldexp(weight, -_unit(weight))
    compared = Comparison(
        columns.with_columns(read),
        lambda _: predicted,
        targets.kinds,
        targets.classes,
        weight,
    )
    return compared.scores(metrics_of(METRICS, columns, targets.kinds))


def _unit(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the power of two in which the largest value of each column is near one."""
    return np.frexp(np.abs(values).max(axis=0))[1]


def _in_units(predicted: NDArray[np.float64], unit: Any) -> NDArray[np.float64]:
    """Return predictions in units of labels, without those that say no more."""
    with np.errstate(over="ignore"):
        return np.clip(np.ldexp(predicted, -unit), -1e100, 1e100)
