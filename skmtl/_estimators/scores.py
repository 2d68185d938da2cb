"""One score per task over the labels that are present."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skmtl._data.labels import LabelTable
from skmtl._data.targets import Targets, to_float
from skmtl.metrics._evaluation import Evaluation, resolve_metrics

#: How estimators score tasks, as scikit-learn's do.
METRICS = {"classification": "accuracy", "regression": "r2"}


def task_scores(
    targets: Targets,
    outputs: Tensor,
    codes: NDArray[np.int64],
    columns: LabelTable,
    weight: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Return each task's accuracy or R²."""
    # outputs of shape (n_samples, n_outputs), codes of shape (n_samples, n_tasks),
    # weight of shape (n_samples, n_tasks); returns (n_tasks,).
    predicted = targets.predict_columns(outputs, codes)
    for column, classes, name in zip(
        columns.columns, targets.classes, targets.names, strict=True
    ):
        if classes is None and column.present.any():
            to_float(column, name)
    compared = Evaluation(
        columns, lambda _: predicted, targets.task_types, targets.classes, weight
    )
    return compared.scores(resolve_metrics(METRICS, columns, targets.task_types))
