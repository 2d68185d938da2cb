"""What an estimator answers about several tasks, and what it tells of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier, is_regressor

from skmtl._data.labels import TASK_TYPES, LabelTable, TaskType, read_labels
from skmtl.metrics._core import Answer, Evaluation
from skmtl.metrics._metric import Metric
from skmtl.metrics._predictions import Prediction, read_predictions
from skmtl.metrics._unwrap import unwrap_estimator


class Responses:
    """An estimator and inputs; each of its methods is called once at most.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator of one or several tasks.
    X : array-like or sparse matrix
        Inputs.
    """

    def __init__(self, estimator: Any, X: Any) -> None:
        self.estimator = estimator
        self._X = X
        self._given: dict[str, Any] = {}

    def evaluate(self, y: Any, sample_weight: Any, missing_label: Any) -> Evaluation:
        """Return the labels of the inputs with what the estimator predicts.

        Parameters
        ----------
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels.
        sample_weight : array-like or None
            Weights of rows or of single labels.
        missing_label : object
            What marks missing labels; None for what the estimator takes for missing.

        Returns
        -------
        Evaluation
            The comparison.
        """
        columns = read_task_labels(self.estimator, y, missing_label)
        n_tasks = len(columns.columns)
        kinds = _kinds(self.estimator, n_tasks)
        classes = estimator_classes(self.estimator, n_tasks)
        answer = self._answer(columns)
        return Evaluation.from_labels(columns, answer, kinds, classes, sample_weight)

    def _answer(self, columns: LabelTable) -> Answer:
        split: dict[str, Sequence[Prediction]] = {}

        def predictions(metric: Metric) -> Sequence[Prediction]:
            method = self._method(metric)
            if method not in split:
                split[method] = read_predictions(self.call(method), columns)
            return split[method]

        return predictions

    def _method(self, metric: Metric) -> str:
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
        if method not in self._given:
            self._given[method] = getattr(self.estimator, method)(self._X)
        return self._given[method]


def read_task_labels(estimator: Any, y: Any, missing_label: Any) -> LabelTable:
    """Return labels in the order of the estimator's tasks, and named as they are.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator.
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Labels.
    missing_label : object
        What marks missing ones; None for what the estimator takes for missing.

    Returns
    -------
    LabelTable
        The labels.
    """
    last = unwrap_estimator(estimator)
    if missing_label is None:
        missing_label = getattr(last, "missing_label", np.nan)
    columns = read_labels(y, missing_label)
    names = getattr(last, "task_names_", None)
    if names is None or len(names) != len(columns.columns):
        return columns
    return columns.match_names(names)


def estimator_classes(estimator: Any, n_tasks: int) -> list[NDArray[Any] | None]:
    """Return the classes of each task that an estimator predicts.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator.
    n_tasks : int
        Number of tasks.

    Returns
    -------
    list of ndarray or None
        None for regression, and where the estimator numbers tasks in ``classes_``
        instead of classes, as those of multilabel indicators do.
    """
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return [None] * n_tasks
    nested = isinstance(classes, list | tuple) and len(classes) == n_tasks
    if nested and all(c is None or np.ndim(c) == 1 for c in classes):
        return [None if c is None else np.asarray(c) for c in classes]
    alone = n_tasks == 1 and np.ndim(classes) == 1
    return [np.asarray(classes)] if alone else [None] * n_tasks


def _kinds(estimator: Any, n_tasks: int) -> list[TaskType | None]:
    """Return the kind of each task, None where the estimator does not tell."""
    kinds = getattr(unwrap_estimator(estimator), "task_types_", None)
    if kinds is not None and len(kinds) == n_tasks:
        return list(kinds)
    if hasattr(estimator, "__sklearn_tags__"):
        if is_classifier(estimator):
            return [TASK_TYPES[0]] * n_tasks
        if is_regressor(estimator):
            return [TASK_TYPES[1]] * n_tasks
    return [None] * n_tasks


#: The name by which ``_estimators/fitting/distillation.py`` imports it.
innermost = unwrap_estimator
