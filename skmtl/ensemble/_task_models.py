"""A model of several tasks: fitted task by task, or once where it takes them all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, get_tags
from sklearn.utils.validation import has_fit_parameter

from skmtl._core.dataframes import get_column_names, read_frame
from skmtl._data.labels import LabelTable, TaskType
from skmtl._data.targets import Targets
from skmtl._data.training_data import TrainingData, has_label
from skmtl._estimators.base import MultiTaskBase

#: Predictions of each task: probabilities (n_samples, n_classes) or standardised
#: values (n_samples,); None for a task that a model does not predict.
Predictions = list[NDArray[np.float64] | None]


@dataclass(frozen=True)
class TrainingTable:
    """Training data, as the user gave them and as they were read."""

    X: Any
    y: Any
    sample_weight: Any
    columns: LabelTable
    data: TrainingData  # inputs as numbers, codes for categories
    targets: Targets


@dataclass(frozen=True)
class TaskModel:
    """An unfitted model and the tasks that it is for."""

    name: str
    estimators: Mapping[TaskType, Any]  # One for each kind of tasks that it predicts.
    tasks: list[int]
    encoded: bool = False  # Whether it gets inputs and classes as numbers.

    def fit(self, table: TrainingTable, rows: NDArray[np.int64]) -> "FittedModel":
        """Fit copies of the estimators to some rows."""
        (estimator, *_) = self.estimators.values()
        if isinstance(find_last_step(estimator)[1], MultiTaskBase):
            part = self._fit_network(estimator, table, rows)
            return FittedModel(self, table.targets, [part])
        parts: list[Part] = []
        for task_type, estimator in self.estimators.items():
            tasks = [t for t in self.tasks if table.targets.task_types[t] == task_type]
            together = self._takes_all(tasks, estimator, table, rows)
            parts += [
                self._fit_tasks(group, estimator, table, rows)
                for group in ([tasks] if together else [[t] for t in tasks])
            ]
        return FittedModel(self, table.targets, parts)

    def _takes_all(
        self,
        tasks: list[int],
        estimator: BaseEstimator,
        table: TrainingTable,
        rows: NDArray[np.int64],
    ) -> bool:
        """Return whether one copy can be fitted to all tasks at once."""
        if len(tasks) < 2 or not get_tags(estimator).target_tags.multi_output:
            return False
        labels, weight = table.data.labels, table.data.given_weight
        same = weight is None or bool((weight == weight[:, :1]).all())
        return same and all(has_label(labels[t][rows]).all() for t in tasks)

    def _fit_network(
        self, estimator: BaseEstimator, table: TrainingTable, rows: NDArray[np.int64]
    ) -> "Part":
        """Fit an estimator of skmtl to all its tasks."""
        y, weight = table.y, table.sample_weight
        if len(self.tasks) < table.targets.n_tasks:
            y = select_tasks(y, self.tasks)
            if weight is not None and np.ndim(weight) == 2:
                weight = select_tasks(weight, self.tasks)
        estimator = clone(estimator)
        weight = None if weight is None else _safe_indexing(weight, rows)
        X = _safe_indexing(table.data.X if self.encoded else table.X, rows)
        _fit_weighted(estimator, X, _safe_indexing(y, rows), weight)
        last = find_last_step(estimator)[1]
        codes = [
            None if c is None else table.targets.encode_classes(c, t)
            for t, c in zip(self.tasks, last._targets.classes, strict=True)
        ]
        return Part(self.tasks, estimator, codes, len(rows))

    def _fit_tasks(
        self,
        tasks: list[int],
        estimator: BaseEstimator,
        table: TrainingTable,
        rows: NDArray[np.int64],
    ) -> "Part":
        """Fit a copy to a task, or to several with all labels."""
        data, targets = table.data, table.targets
        rows = rows[has_label(data.labels[tasks[0]][rows])]
        if not len(rows):
            return Part(tasks, None, [None] * len(tasks), 0)
        labels = [data.labels[t][rows] for t in tasks]
        codes: list[NDArray[np.int64] | None] = [None] * len(tasks)
        if targets.classes[tasks[0]] is None:
            y = np.column_stack(labels) * targets.scale[tasks] + targets.mean[tasks]
        elif self.encoded or (len(tasks) > 1 and targets.dtype == object):
            # Consecutive codes, as some packages need, or as the one type of several.
            pairs = [np.unique(task, return_inverse=True) for task in labels]
            codes = [classes for classes, _ in pairs]
            y = np.column_stack([inverse for _, inverse in pairs])
        else:
            codes = [np.unique(task) for task in labels]
            classes_of_tasks: list[Any] = [targets.classes[t] for t in tasks]
            pairs_of_tasks = zip(classes_of_tasks, labels, strict=True)
            y = np.column_stack([classes[task] for classes, task in pairs_of_tasks])
        y = y[:, 0] if len(tasks) == 1 else y
        constant = len(tasks) == 1 and codes[0] is not None and len(codes[0]) == 1
        model = DummyClassifier() if constant else clone(estimator)
        weight = data.given_weight
        weight = None if weight is None else weight[rows, tasks[0]]
        X = _safe_indexing(table.data.X if self.encoded else table.X, rows)
        _fit_weighted(model, X, y, weight)
        return Part(tasks, model, codes, len(rows))


@dataclass(frozen=True)
class Part:
    """A fitted estimator and the tasks that it predicts."""

    tasks: list[int]
    estimator: Any  # None where no row has a label
    # Codes of the classes of each task's probabilities, None for regression.
    codes: list[NDArray[np.int64] | None]
    n_labels: int

    def predict(self, X: Any, targets: Targets, out: Predictions) -> None:
        """Fill in the predictions of the part's tasks."""
        proba, values = self._predict_raw(X, targets)
        for j, (t, codes) in enumerate(zip(self.tasks, self.codes, strict=True)):
            k = targets.n_classes[t]
            if k and self.estimator is None:
                out[t] = np.full((len(values), k), 1 / k)
            elif k:
                out[t] = fill_classes(proba[j], codes, k, self.n_labels)
            else:
                out[t] = (values[:, j] - targets.mean[t]) / targets.scale[t]

    def _predict_raw(self, X: Any, targets: Targets) -> tuple[Any, Any]:
        """Return the probabilities, and an array with a column for each task."""
        if self.estimator is None:
            means = targets.mean[self.tasks]
            return None, np.broadcast_to(means, (X.shape[0], len(means)))
        n_classes = [targets.n_classes[t] for t in self.tasks]
        proba: Any = [None] * len(self.tasks)
        if any(n_classes):
            proba = self.estimator.predict_proba(X)
            if not isinstance(proba, list):
                # Of multilabel indicators there is the probability of the label alone.
                multilabel = len(self.tasks) > 1
                proba = (
                    [np.column_stack([1 - p, p]) for p in proba.T]
                    if multilabel
                    else [proba]
                )
        if all(n_classes):
            return proba, None
        values = np.asarray(self.estimator.predict(X))
        return proba, values.reshape(len(values), -1)


@dataclass(frozen=True)
class FittedModel:
    """A model that predicts its tasks."""

    model: TaskModel
    targets: Targets
    parts: list[Part]

    def get_estimators(self) -> Any:
        """Return the estimator of all tasks, or a list with that of each task."""
        if len(self.parts) == 1:
            return self.parts[0].estimator
        by_task = {t: part.estimator for part in self.parts for t in part.tasks}
        return [by_task.get(t) for t in range(self.targets.n_tasks)]

    def predict(self, X: Any) -> Predictions:
        """Return the predictions of all tasks."""
        predictions: Predictions = [None] * self.targets.n_tasks
        for part in self.parts:
            part.predict(X, self.targets, predictions)
        return predictions

    def get_out_of_fold(self) -> Predictions | None:
        """Return out-of-fold predictions of an ensemble of networks, if there are."""
        part = self.parts[0]
        if not isinstance(part.estimator, MultiTaskBase):
            return None
        try:
            raw = part.estimator.oof_prediction_
        except AttributeError:  # one network, or too few rows for folds
            return None
        predictions: Predictions = [None] * self.targets.n_tasks
        for t, values, codes in zip(part.tasks, raw, part.codes, strict=True):
            if codes is None:
                values = (values - self.targets.mean[t]) / self.targets.scale[t]
            else:
                k = self.targets.n_classes[t]
                values = fill_classes(values, codes, k, part.n_labels)
            predictions[t] = values
        return predictions


def fit_and_predict(
    model: TaskModel,
    table: TrainingTable,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
) -> Predictions:
    """Fit to the training rows and predict the test rows."""
    X = _safe_indexing(table.data.X if model.encoded else table.X, test)
    return model.fit(table, train).predict(X)


def find_last_step(estimator: BaseEstimator) -> tuple[str, Any]:
    """Return the last step of pipelines, and what its parameters begin with."""
    prefix = ""
    while isinstance(estimator, Pipeline):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return prefix, estimator


def select_tasks(table: Any, tasks: Sequence[int]) -> Any:
    """Return some columns of y or of weights."""
    table = read_frame(table, "y")
    names = get_column_names(table)
    if names is None:
        return np.asarray(table)[:, list(tasks)]
    return nw.from_native(table).select([names[t] for t in tasks]).to_native()


def _fit_weighted(estimator: Any, X: Any, y: ArrayLike, weight: Any) -> None:
    """Fit an estimator or a pipeline, with weights if its last step takes any."""
    prefix, last = find_last_step(estimator)
    params = {}
    if weight is not None and has_fit_parameter(last, "sample_weight"):
        params[f"{prefix}sample_weight"] = weight
    with config_context(enable_metadata_routing=False):  # which has no such prefix
        estimator.fit(X, y, **params)


def fill_classes(
    proba: NDArray[np.float64],
    codes: NDArray[np.int64] | None,
    n_classes: int,
    n_labels: int,
) -> NDArray[np.float64]:
    """Return probabilities of all classes; those without a label get a small one."""
    assert codes is not None  # it is a task of classes
    if len(codes) == n_classes:
        return np.asarray(proba, dtype=np.float64)
    filled = np.full((len(proba), n_classes), 1 / (n_labels + n_classes))
    rest = 1 - (n_classes - len(codes)) / (n_labels + n_classes)
    filled[:, codes] = rest * proba
    return filled
