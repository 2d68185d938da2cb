"""Predictions, kinds and classes of tasks, read from any estimator of several."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, is_classifier, is_regressor

from skmtl._data.labels import LabelTable, TaskType, read_labels
from skmtl.metrics._evaluation import Answer, Evaluation
from skmtl.metrics._metric import Metric
from skmtl.metrics._predictions import Prediction, read_predictions
from skmtl.metrics._unwrap import unwrap_estimator


class Responses:
    """An estimator and inputs; each of its methods is called at most once."""

    def __init__(self, estimator: BaseEstimator, X: Any) -> None:
        self.estimator = estimator
        self._X = X
        self._predictions: dict[str, Any] = {}

    def evaluate(
        self, y: ArrayLike, sample_weight: ArrayLike | None, missing_label: object
    ) -> Evaluation:
        """Return the labels of the inputs with what the estimator predicts."""
        # A `missing_label` of None is that of the estimator.
        columns = read_task_labels(self.estimator, y, missing_label)
        n_tasks = len(columns.columns)
        kinds = _read_kinds(self.estimator, n_tasks)
        classes = get_estimator_classes(self.estimator, n_tasks)
        answer = self._answer(columns)
        return Evaluation.from_labels(columns, answer, kinds, classes, sample_weight)

    def _answer(self, columns: LabelTable) -> Answer:
        """Return a function that gives the predictions a metric asks for."""
        split: dict[str, Sequence[Prediction]] = {}

        def predictions(metric: Metric) -> Sequence[Prediction]:
            """Return the predictions of all tasks, split once for each method."""
            method = self._method(metric)
            if method not in split:
                split[method] = read_predictions(self.call(method), columns)
            return split[method]

        return predictions

    def _method(self, metric: Metric) -> str:
        """Return the first method of a metric that the estimator has."""
        last = unwrap_estimator(self.estimator)
        for method in metric.responses:
            # Some searches have every method, whatever the estimator inside has.
            if all(hasattr(e, method) for e in (self.estimator, last)):
                return method
        raise ValueError(
            f"The metric {metric.name!r} needs {' or '.join(metric.responses)}, which "
            f"{type(self.estimator).__name__} does not have: choose a metric of "
            "predicted labels, such as 'balanced_accuracy', or another estimator."
        )

    def call(self, method: str) -> Any:
        """Return the predictions of a method, computed at its first call."""
        if method not in self._predictions:
            self._predictions[method] = getattr(self.estimator, method)(self._X)
        return self._predictions[method]


def read_task_labels(
    estimator: BaseEstimator, y: ArrayLike, missing_label: object
) -> LabelTable:
    """Return labels in the order of the estimator's tasks, and named as they are."""
    # A `missing_label` of None is that of the estimator.
    last = unwrap_estimator(estimator)
    if missing_label is None:
        missing_label = getattr(last, "missing_label", np.nan)
    columns = read_labels(y, missing_label)
    names = getattr(last, "task_names_", None)
    if names is None or len(names) != len(columns.columns):
        return columns
    return columns.match_names(names)


def get_estimator_classes(
    estimator: BaseEstimator, n_tasks: int
) -> list[NDArray[Any] | None]:
    """Return the classes of each task, None for regression or where unknown."""
    # Estimators of multilabel indicators number tasks in ``classes_``, not classes.
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return [None] * n_tasks
    is_per_task = isinstance(classes, list | tuple) and len(classes) == n_tasks
    if is_per_task and all(c is None or np.ndim(c) == 1 for c in classes):
        return [None if c is None else np.asarray(c) for c in classes]
    is_single = n_tasks == 1 and np.ndim(classes) == 1
    return [np.asarray(classes)] if is_single else [None] * n_tasks


def _read_kinds(estimator: BaseEstimator, n_tasks: int) -> list[TaskType | None]:
    """Return the kind of each task, None where the estimator does not tell."""
    kinds = getattr(unwrap_estimator(estimator), "task_types_", None)
    if kinds is not None and len(kinds) == n_tasks:
        return list(kinds)
    return [read_kind(estimator)] * n_tasks


def read_kind(estimator: BaseEstimator) -> TaskType | None:
    """Return the kind of all tasks of a classifier or regressor, None of others."""
    if hasattr(estimator, "__sklearn_tags__"):
        if is_classifier(estimator):
            return "classification"
        if is_regressor(estimator):
            return "regression"
    return None
