"""One score per task over the labels that are present."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import r2_score
from torch import Tensor

from skmtl._columns import Columns
from skmtl._targets import Targets, numeric


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
    values = targets.values(outputs)
    scores = np.full(targets.n_tasks, np.nan)
    for t, column in enumerate(columns.columns):
        present = column.present
        w = None if weight is None else weight[present, t]
        classes = targets.classes[t]
        if classes is not None and present.any():
            right = targets.codes_of(column.values, t) == codes[present, t]
            scores[t] = np.average(right, weights=w)
        elif classes is None and present.sum() > 1:
            truth = numeric(column, targets.names[t])
            scores[t] = r2_score(truth, values[present, t], sample_weight=w)
    return scores
