"""One number for the scores of all tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmtl._core.validation import StrOptions, check_task_weight

Array = NDArray[np.float64]

#: Constraint of the ``average`` parameter.
AVERAGE: list[Any] = [
    StrOptions({"macro", "weighted", "min"}),
    "array-like",
    Mapping,
    None,
]


def average_scores(
    scores: Array, support: Array, average: object, names: Sequence[Any]
) -> float:
    """Return the average of the tasks' scores, leaving out those that are NaN."""
    # Scores and support have the shape (n_tasks,); NaN if no task is left.
    weight = np.ones(len(scores))
    if isinstance(average, str):
        weight = support if average == "weighted" else weight
    else:
        weight = check_task_weight(average, list(names), "The 'average' parameter")
    counts = ~np.isnan(scores) & (weight > 0)
    if not counts.any():
        return np.nan
    if isinstance(average, str) and average == "min":
        return float(scores[counts].min())
    return float(np.average(scores[counts], weights=weight[counts]))
