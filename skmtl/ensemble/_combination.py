"""Combining what several models predict: weighted averages, or linear models."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl._data.labels import LabelColumn
from skmtl._data.training_data import has_label
from skmtl.ensemble._task_models import Predictions, TrainingTable, fill_classes
from skmtl.metrics._evaluation import Evaluation, resolve_metrics
from skmtl.metrics._metric import Metric
from skmtl.metrics._predictions import Prediction

Array = NDArray[np.float64]

#: Smallest probability of a class.
SMALLEST = 1e-12
#: Updates of the weights of a mixture, at most, and the change that ends them.
MAX_ITER, TOL = 500, 1e-6
#: Models that greedy selection picks, with replacement.
N_PICKS = 25


class TaskLabels(NamedTuple):
    """Labels of several tasks in one list, and what models predict for each."""

    # (n_models, n_labels): For classification the probability of the true class, for
    # regression the standardised prediction minus the standardised label.
    values: Array
    task: NDArray[np.int64]  # (n_labels,): Which of the tasks each label is of.
    weight: Array  # (n_labels,): Their mean in each task is one.


class WeightedAverage:
    """Average of the models' predictions, with weights for each task."""

    weights: Array  # (n_models, n_tasks), zero where a model does not predict a task

    def __init__(self, shrinkage: float, metric: Any = None) -> None:
        self.shrinkage = shrinkage
        self.metric = metric

    def fit(
        self,
        predictions: Sequence[Predictions],
        table: TrainingTable,
        rows: NDArray[np.bool_],
    ) -> Self:
        """Choose weights by predictions for rows that the models have not seen."""
        task_types = np.array(table.targets.task_types)
        predicted = np.array([[p is not None for p in model] for model in predictions])
        self.weights = predicted / predicted.sum(axis=0)
        for task_type in np.unique(task_types):
            tasks = np.flatnonzero(task_types == task_type)
            models = np.flatnonzero(predicted[:, tasks].any(axis=1))
            chosen = [predictions[k] for k in models.tolist()]
            labels = collect_labels(chosen, table, tasks, rows)
            if len(models) == 1 or not len(labels.task):
                continue
            if self.metric is not None:
                weights = self._select_greedily(chosen, table, tasks, rows)
            elif task_type == "classification":
                weights = fit_mixture_weights(labels, len(tasks), self.shrinkage)
            else:
                weights = fit_squared_error_weights(labels, len(tasks), self.shrinkage)
            self.weights[np.ix_(models, tasks)] = weights
        return self

    def combine(self, predictions: Sequence[Predictions]) -> Predictions:
        """Return the averages of each task's predictions."""
        return _average(predictions, self.weights)

    def _select_greedily(
        self,
        predictions: Sequence[Predictions],
        table: TrainingTable,
        tasks: NDArray[np.int64],
        rows: NDArray[np.bool_],
    ) -> Array:
        """Return weights (n_models, n_tasks) by the metric, drawn to common ones."""
        n_models, n_tasks = len(predictions), len(tasks)
        predicted = rows & find_predicted(predictions, tasks)

        def score(counts: Array) -> Array:
            weights = np.zeros((n_models, table.targets.n_tasks))
            weights[:, tasks] = counts / counts.sum(axis=0)
            average = _average(predictions, weights)
            return score_tasks(average, table, self.metric, predicted)[tasks]

        common = select_greedily(score, n_models, n_tasks, together=True)
        if np.isinf(self.shrinkage):
            return common
        each = select_greedily(score, n_models, n_tasks, together=False)
        labels = collect_labels(predictions, table, tasks, rows)
        n_labels = np.bincount(labels.task, minlength=n_tasks)
        share = n_labels / np.maximum(n_labels + self.shrinkage, 1)
        return common + share * (each - common)


class LinearStacker:
    """Linear models of each task, which read the predictions for all tasks."""

    # Multi-target stacking: Spyromitros-Xioufis et al., Machine Learning 2016.

    models: list[Pipeline | None]  # One per task; None where a task has one class.

    def fit(
        self,
        predictions: Sequence[Predictions],
        table: TrainingTable,
        rows: NDArray[np.bool_],
    ) -> Self:
        """Fit to predictions for rows that the models have not seen."""
        data, self.targets = table.data, table.targets
        self.models, self.codes, self.n_labels = [], [], []
        every_task = np.arange(self.targets.n_tasks)
        rows = rows & find_predicted(predictions, every_task)
        features = self._make_features(predictions)
        for t, labels in enumerate(data.labels):
            labelled = rows & has_label(labels)
            y = labels[labelled]
            codes = np.unique(y) if self.targets.n_classes[t] else None
            model = None
            if len(y) and (codes is None or len(codes) > 1):
                last = (
                    RidgeCV(np.logspace(-2, 4, 13))
                    if codes is None
                    else LogisticRegression(C=0.1, max_iter=1000)
                )
                weight = data.given_weight
                weight = None if weight is None else weight[labelled, t]
                name = type(last).__name__.lower()
                model = make_pipeline(StandardScaler(), last).fit(
                    features[labelled], y, **{f"{name}__sample_weight": weight}
                )
            self.models.append(model)
            self.codes.append(codes)
            self.n_labels.append(len(y))
        return self

    def combine(self, predictions: Sequence[Predictions]) -> Predictions:
        """Return what the linear models predict for each task."""
        features = self._make_features(predictions)
        # Rows without a prediction of some model have none.
        known = np.isfinite(features).all(axis=1)
        combined: Predictions = []
        for t, (model, codes) in enumerate(zip(self.models, self.codes, strict=True)):
            k = self.targets.n_classes[t]
            shape = (len(features), k) if k else (len(features),)
            values = np.full(shape, np.nan)
            if model is None and codes is not None:
                constant = np.eye(k)[codes] if len(codes) else np.full((1, k), 1 / k)
                values[known] = constant
            elif model is None:
                values[known] = 0.0
            elif k:
                proba = model.predict_proba(features[known])
                values[known] = fill_classes(proba, codes, k, self.n_labels[t])
            else:
                values[known] = model.predict(features[known])
            combined.append(values)
        return combined

    def _make_features(self, predictions: Sequence[Predictions]) -> Array:
        """Return log-odds and values of all models and tasks, a row for each sample."""
        columns = []
        for model in predictions:
            for p, k in zip(model, self.targets.n_classes, strict=True):
                if p is None or k == 1:
                    continue
                if k:
                    log_p = np.log(np.clip(p, 1e-4, 1))
                    p = log_p[:, 1:] - log_p[:, :1] if k == 2 else log_p
                columns.append(p.reshape(len(p), -1))
        return np.hstack(columns)


def _average(predictions: Sequence[list[Any]], weights: Array) -> Predictions:
    """Return averages by weights (n_models, n_tasks); None for tasks of no weight."""
    averages: Predictions = []
    for t, task_weights in enumerate(weights.T):
        parts = [
            w * model[t]
            for w, model in zip(task_weights, predictions, strict=True)
            if w and model[t] is not None
        ]
        averages.append(np.sum(parts, axis=0) if parts else None)
    return averages


def find_predicted(
    predictions: Sequence[Predictions], tasks: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return the rows for which all models predict all of some tasks."""
    arrays = [model[t] for model in predictions for t in tasks]
    finite = [
        np.isfinite(p).reshape(len(p), -1).all(axis=1) for p in arrays if p is not None
    ]
    return np.logical_and.reduce(finite)


def collect_labels(
    predictions: Sequence[list[Any]],
    table: TrainingTable,
    tasks: NDArray[np.int64],
    rows: NDArray[np.bool_],
) -> TaskLabels:
    """Return the labels of tasks of one kind for which all models have predictions."""
    data = table.data
    rows = rows & find_predicted(predictions, tasks)
    values, task, weights = [np.empty((len(predictions), 0))], [], [np.empty(0)]
    for j, t in enumerate(tasks):
        labelled = rows & has_label(data.labels[t])
        y = data.labels[t][labelled]
        n = len(y)
        if table.targets.n_classes[t]:
            values.append(
                np.stack([p[t][labelled][np.arange(n), y] for p in predictions])
            )
        else:
            values.append(np.stack([p[t][labelled] - y for p in predictions]))
        task += [np.full(n, j)]
        w = np.ones(n) if data.given_weight is None else data.given_weight[labelled, t]
        weights.append(w / w.mean() if n else w)
    indices = np.concatenate([np.empty(0, dtype=np.int64), *task])
    return TaskLabels(np.hstack(values), indices, np.concatenate(weights))


def score_tasks(
    predictions: Sequence[Any],
    table: TrainingTable,
    metric: object,
    rows: NDArray[np.bool_],
) -> Array:
    """Return the score of each task on some rows, greater for better ones."""
    columns, targets, data = table.columns, table.targets, table.data

    def answer(metric: Metric) -> list[Prediction]:
        """Return probabilities, or labels and values, as a metric needs them."""
        if "predict_proba" in metric.responses:
            return list(predictions)
        return [
            LabelColumn(
                p * targets.scale[t] + targets.mean[t]
                if targets.classes[t] is None
                else np.asarray(targets.classes[t])[p.argmax(axis=1)],
                np.ones(len(p), dtype=bool),
            )
            if p is not None
            else None
            for t, p in enumerate(predictions)
        ]

    kept = [
        column.restrict(rows if p is not None else np.zeros_like(rows))
        for column, p in zip(columns.columns, predictions, strict=True)
    ]
    evaluation = Evaluation(
        columns.with_columns(kept),
        answer,
        targets.task_types,
        targets.classes,
        data.given_weight,
    )
    return evaluation.scores(resolve_metrics(metric, columns, targets.task_types))


def select_greedily(
    score: Callable[[Array], Array], n_models: int, n_tasks: int, *, together: bool
) -> Array:
    """Return shares (n_models, n_tasks) of models picked one by one for their score."""
    # Ensemble selection with replacement: Caruana et al., ICML 2004.
    counts = np.zeros((n_models, n_tasks))
    for _ in range(N_PICKS):
        picks = np.eye(n_models)[:, :, None]
        scores = np.stack([score(counts + pick) for pick in picks])
        if together:
            scores = np.nanmean(scores, axis=1, keepdims=True)
        best = np.nan_to_num(scores, nan=-np.inf).argmax(axis=0)
        counts[np.broadcast_to(best, n_tasks), np.arange(n_tasks)] += 1
    return counts / N_PICKS


def fit_mixture_weights(labels: TaskLabels, n_tasks: int, shrinkage: float) -> Array:
    """Return weights (n_models, n_tasks) that maximise the likelihood of mixtures."""
    # A task's weights have a Dirichlet prior of `shrinkage` pseudo-labels, distributed
    # as the weights that all tasks have in common.
    start = np.full((len(labels.values), 1), 1 / len(labels.values))
    together = labels._replace(task=np.zeros_like(labels.task))
    common = _maximize_likelihood(together, start, 0.0)
    if np.isinf(shrinkage):
        return np.repeat(common, n_tasks, axis=1)
    return _maximize_likelihood(labels, np.repeat(common, n_tasks, axis=1), shrinkage)


def _maximize_likelihood(labels: TaskLabels, prior: Array, shrinkage: float) -> Array:
    """Return mixture weights by expectation maximisation, which starts at the prior."""
    n_tasks, likelihood = prior.shape[1], np.maximum(labels.values, SMALLEST)
    total = np.bincount(labels.task, labels.weight, n_tasks) + shrinkage
    weights = prior
    for _ in range(MAX_ITER):
        shares = weights[:, labels.task] * likelihood
        shares *= labels.weight / shares.sum(axis=0)
        sums = np.stack([np.bincount(labels.task, share, n_tasks) for share in shares])
        updated = np.divide(
            sums + shrinkage * prior, total, out=prior.copy(), where=total > 0
        )
        change, weights = abs(updated - weights).max(), updated
        if change < TOL:
            break
    return weights


def fit_squared_error_weights(
    labels: TaskLabels, n_tasks: int, shrinkage: float
) -> Array:
    """Return weights (n_models, n_tasks) of averages with the least squared error."""
    # A penalty of `shrinkage` / number of labels on the squared distance draws a task's
    # weights to those that all tasks have in common.
    n_models = len(labels.values)
    n_labels = np.bincount(labels.task, labels.weight, n_tasks)
    products = np.zeros((n_tasks, n_models, n_models))
    for i in range(n_models):
        for j in range(n_models):
            product = labels.weight * labels.values[i] * labels.values[j]
            products[:, i, j] = np.bincount(labels.task, product, n_tasks)
    labelled = n_labels > 0
    products[labelled] /= n_labels[labelled, None, None]
    common = _minimize_on_simplex(products[labelled].mean(axis=0))
    if np.isinf(shrinkage):
        return np.repeat(common[:, None], n_tasks, axis=1)
    # On the simplex, |w - common| is |(I - common 1') w|.
    distance = np.eye(n_models) - common[:, None]
    penalty = shrinkage * distance.T @ distance
    weights = [
        _minimize_on_simplex(product + penalty / n) if n else common
        for product, n in zip(products, n_labels, strict=True)
    ]
    return np.stack(weights, axis=1)


def _minimize_on_simplex(quadratic: Array) -> Array:
    """Return the w of least w' Q w among the non-negative ones of sum one."""
    # It is a multiple of the non-negative w of least w' Q w + (1 - sum(w))^2, whose
    # minimum over multiples rises with w' Q w.
    values, vectors = np.linalg.eigh(quadratic)
    root = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    unit = np.linalg.norm(root) or 1.0
    rows = np.vstack([root / unit, np.ones(len(root))])
    weights = nnls(rows, np.append(np.zeros(len(root)), 1.0))[0]
    return weights / weights.sum()
