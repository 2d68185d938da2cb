"""Weights of labels by a weighting, and odds of rows by the ``sampling`` parameter."""

from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from skmtl._core.validation import Interval, StrOptions
from skmtl._data.targets import Targets
from skmtl._data.training_data import (
    RowIndex,
    TrainingData,
    has_label,
    multiply_weights,
)
from skmtl.weighting import TaskLabels, Weighting

#: Constraint of the parameter.
SAMPLING: list[Any] = [
    StrOptions({"classes", "tasks"}),
    Interval(Real, 0, None, closed="neither"),
    None,
]


class SamplingWeights:
    """How often rows are drawn, relative to drawing all alike."""

    # A task gets its share of the draws, and each of its labels an equal part of it (of
    # the equal share of its class with "classes"); a row gets what its labels get.
    # trained (n_tasks,): Which tasks count.

    def __init__(
        self,
        data: TrainingData,
        rows: RowIndex,
        n_classes: Sequence[int],
        sampling: str | float,
        trained: NDArray[np.bool_],
    ) -> None:
        counts = {
            t: _count_labels(
                data, t, rows, n_classes[t] if sampling == "classes" else 0
            )
            for t in np.flatnonzero(trained).tolist()
        }
        counts = {t: count for t, count in counts.items() if count.any()}
        self.per_label: dict[int, NDArray[np.float64]] = {}
        if not counts:
            return
        n_labels = np.array([count.sum() for count in counts.values()])
        temperature = np.inf if isinstance(sampling, str) else sampling
        shares = softmax(np.log(n_labels) / temperature)  # (tasks with labels,)
        for (t, count), share in zip(counts.items(), shares, strict=True):
            filled = count > 0
            odds = len(rows) * share / np.count_nonzero(filled)
            self.per_label[t] = np.divide(
                odds, count, out=np.zeros(len(count)), where=filled
            )

    def from_labels(self, data: TrainingData) -> NDArray[np.float64]:
        """Return the odds of all rows; their mean over those drawn from is one."""
        # Returns (n_samples,).
        odds = np.zeros(data.X.shape[0])
        for t, per_label in self.per_label.items():
            codes = data.labels[t] if len(per_label) > 1 else 0
            odds += np.where(_find_weighted(data, t), per_label[codes], 0)
        return odds if self.per_label else odds + 1


def _find_weighted(data: TrainingData, task: int) -> NDArray[np.bool_]:
    present = has_label(data.labels[task])
    return present if data.weight is None else present & (data.weight[:, task] > 0)


def _count_labels(
    data: TrainingData, task: int, rows: RowIndex, n_classes: int
) -> NDArray[np.int64]:
    """Return how many labels each class has, or the task, where n_classes is zero."""
    counted = _find_weighted(data, task)[rows]
    if not n_classes:
        return np.array([np.count_nonzero(counted)])
    return np.bincount(data.labels[task][rows][counted], minlength=n_classes)


def apply_sampling_weights(
    data: TrainingData, odds: NDArray[np.float64]
) -> TrainingData:
    """Return the data with all labels of each row weighted by its odds."""
    # odds of shape (n_samples,).
    shape = (len(odds), len(data.labels))
    weight = np.broadcast_to(1.0, shape) if data.weight is None else data.weight
    return replace(data, weight=weight * odds[:, None])


def make_task_labels(data: TrainingData, targets: Targets) -> list[TaskLabels]:
    """Return what a weighting may know of the tasks."""
    tasks = []
    for t, labels in enumerate(data.labels):
        present = has_label(labels)
        weight = None if data.weight is None else data.weight[present, t]
        tasks.append(
            TaskLabels(
                targets.names[t],
                targets.classes[t],
                labels[present],
                weight,
                float(targets.mean[t]),
                float(targets.scale[t]),
            )
        )
    return tasks


def reweight_labels(
    data: TrainingData, weighting: Weighting, targets: Targets
) -> TrainingData:
    """Multiply weights of labels by the factors that a weighting gives."""
    if type(weighting).label_weights is Weighting.label_weights:
        return data
    weight = None
    for t, labels in enumerate(data.labels):
        present = has_label(labels)
        factors = weighting.label_weights(t, labels[present])
        if factors is None:
            continue
        if weight is None:
            shape = (len(labels), len(data.labels))
            weight = np.ones(shape) if data.weight is None else data.weight.copy()
        weight[present, t] = multiply_weights(
            weight[present, t], factors, "weighting", targets.names[t]
        )
    return data if weight is None else replace(data, weight=weight)
