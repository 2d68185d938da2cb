"""The score of one task: labels and predictions meet in a metric."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from skmtl._core.validation import divide_by_largest
from skmtl._data.labels import TaskType
from skmtl.metrics._metric import Metric, metric_names

Array = NDArray[Any]

#: Means over classes, of which those without a label must be left out.
RANKINGS = (sk.roc_auc_score, sk.average_precision_score)
#: First labels to look for classes in, and how many it pays to compare with all labels.
N_FIRST, N_FEW = 256, 16


def score_task(
    metric: Metric,
    true: Array,
    predicted: Array,
    classes: Array | None,
    weight: Array | None,
    name: object,
) -> float:
    """Return the score of one task, NaN where its labels do not define it."""
    # Labels, predictions and weights are of labelled rows; predictions are labels,
    # values, scores of the larger class, or (n_labelled, n_classes), whose columns
    # are `classes` where these are not None.
    if not len(true) or not (metric.any_labels or _differ(true)):
        return np.nan
    kwargs = dict(metric.kwargs)
    if weight is not None:
        if metric.kind is not None:  # products of weights may overflow
            weight = divide_by_largest(weight)
        kwargs["sample_weight"] = weight
    if metric.kind == "regression" and predicted.ndim == 2:
        predicted = _select_column(predicted, name)
    elif metric.of_labels and predicted.ndim == 2:
        column_classes = resolve_classes(true, predicted, classes, name)
        predicted = column_classes[predicted.argmax(axis=1)]
    if metric.kind == "regression" or (metric.of_labels and metric.native):
        return _compute_value(metric, true, predicted, kwargs)
    if metric.function is sk.accuracy_score and not metric.kwargs:
        return float(np.average(true == predicted, weights=weight))
    if metric.of_labels:
        all_classes = _find_classes(name, true, predicted, classes)
        _check_two(metric, all_classes, name)
        codes = _encode_labels(predicted, all_classes)
        return _compute_value(metric, _encode_labels(true, all_classes), codes, kwargs)
    return _score_scores(metric, true, predicted, classes, kwargs, name)


def _score_scores(
    metric: Metric,
    true: Array,
    scores: Array,
    classes: Array | None,
    kwargs: dict[str, Any],
    name: object,
) -> float:
    """Score probabilities, or other scores of classes."""
    if scores.ndim == 1 and classes is not None and len(classes) == 1:
        scores = scores[:, None]
    column_classes = resolve_classes(true, scores, classes, name)
    all_classes = _find_classes(name, column_classes, true)
    _check_two(metric, all_classes, name)
    if scores.ndim == 1 and len(all_classes) > 2:
        raise ValueError(
            f"Task {name!r} has labels of the classes {all_classes.tolist()}, of which "
            "one score per row cannot tell: give one column per class."
        )
    if scores.ndim == 2:
        scores = _widen(scores, column_classes, all_classes)
    if metric.native:
        if scores.ndim == 2 and len(all_classes) == 2:
            positive = kwargs.get("pos_label")
            positive = all_classes[1] if positive is None else positive
            scores = scores[:, np.flatnonzero(all_classes == positive)[0]]
        return _compute_value(metric, true, scores, kwargs)
    codes = _encode_labels(true, all_classes)
    if len(all_classes) == 1:  # and nothing of another, which metrics ask for
        all_classes, scores = np.append(all_classes, all_classes), 1 - scores[:, 0]
    elif len(all_classes) == 2:
        scores = scores if scores.ndim == 1 else scores[:, 1]
    elif _lacks_classes(metric, codes, len(all_classes)):
        return metric.sign * _score_one_vs_rest(metric, codes, scores, kwargs)
    if metric.accepts("labels"):
        kwargs["labels"] = np.arange(len(all_classes))
    return _compute_value(metric, codes, scores, kwargs)


def _select_column(values: Array, name: object) -> Array:
    """Return the only column of predictions for regression."""
    if values.shape[1] != 1:
        raise ValueError(
            f"The predictions for task {name!r} must be one value per row for "
            f"regression. Got {values.shape[1]} columns."
        )
    return values[:, 0]


def _lacks_classes(metric: Metric, codes: Array, n_classes: int) -> bool:
    """Return whether a mean over classes has to leave some out."""
    if metric.function not in RANKINGS or metric.kwargs.get("multi_class") == "ovo":
        return False
    return bool((np.bincount(codes, minlength=n_classes) == 0).any())


def _score_one_vs_rest(
    metric: Metric, codes: Array, scores: Array, kwargs: dict[str, Any]
) -> float:
    """Return the mean over the classes that have labels, each against all others."""
    weight = kwargs.get("sample_weight")
    present = np.unique(codes)
    values = [
        metric.function(codes == k, scores[:, k], sample_weight=weight) for k in present
    ]
    if kwargs.get("average") != "weighted":
        return float(np.mean(values))
    shares = [np.average(codes == k, weights=weight) for k in present]
    return float(np.average(values, weights=shares))


def _compute_value(
    metric: Metric, true: Array, predicted: Array, kwargs: dict[str, Any]
) -> float:
    """Return the signed value of a metric."""
    if metric.accepts("zero_division"):
        kwargs.setdefault("zero_division", 0.0)  # the same value, without a warning
    if metric.function is sk.r2_score and _are_numbers(true, predicted):
        return _compute_r2(true, predicted, kwargs)
    return metric.sign * float(metric.function(true, predicted, **kwargs))


def _are_numbers(*arrays: Array) -> bool:
    """Return whether scikit-learn would take them, which says what is wrong if not."""
    return all(a.dtype.kind in "iuf" and np.isfinite(a).all() for a in arrays)


def _compute_r2(true: Array, predicted: Array, kwargs: dict[str, Any]) -> float:
    """Return R² in units in which squares are neither infinite nor zero."""
    # The unit of labels is a power of two, which rounds none; predictions and scores
    # beyond the range of numbers are clipped.
    true, predicted = (a.astype(np.float64) for a in (true, predicted))
    unit = np.frexp(np.abs(true).max())[1]
    with np.errstate(over="ignore"):
        predicted = np.clip(np.ldexp(predicted, -unit), -1e100, 1e100)
    with np.errstate(over="ignore"):
        score = float(sk.r2_score(np.ldexp(true, -unit), predicted, **kwargs))
    return max(score, -np.finfo(float).max) if score == score else score


def resolve_classes(
    true: Array, scores: Array, classes: Array | None, name: object
) -> Array:
    """Return the class of each column of scores, or both for scores of one."""
    # `classes` is None where neither the user nor the estimator names them.
    n_classes = 2 if scores.ndim == 1 else scores.shape[1]
    task_classes = np.unique(true) if classes is None else classes
    if len(task_classes) == n_classes:
        return task_classes
    if classes is None and n_classes == 2 and np.isin(task_classes, [0, 1]).all():
        return np.array([0, 1], dtype=task_classes.dtype)  # an indicator
    where = "its labels hold" if classes is None else "it has"
    raise ValueError(
        f"The predictions for task {name!r} have scores of {n_classes} classes, but "
        f"{where} the {len(task_classes)} classes {task_classes.tolist()}: give the "
        "classes of each task in the order of their columns as 'classes', or "
        "predictions that fit."
    )


def _widen(scores: Array, column_classes: Array, all_classes: Array) -> Array:
    """Return scores of all classes in order; of one that is not known the lowest."""
    if np.array_equal(column_classes, all_classes):
        return scores
    wide = np.full((len(scores), len(all_classes)), min(scores.min(), 0), scores.dtype)
    wide[:, np.searchsorted(all_classes, column_classes)] = scores
    return wide


def _check_two(metric: Metric, classes: Array, name: object) -> None:
    """Raise an error if a metric of two classes meets a task of more."""
    if len(classes) > 2 and metric.of_two_classes:
        ranks = metric.function is sk.roc_auc_score
        suggestion = "roc_auc_ovr" if ranks else f"{metric.name}_macro"
        suggestion = suggestion if suggestion in metric_names() else "balanced_accuracy"
        raise ValueError(
            f"The metric {metric.name!r} is for two classes, but task {name!r} has the "
            f"{len(classes)} classes {classes.tolist()}: choose one for several "
            f"classes, such as {suggestion!r}."
        )


def _differ(labels: Array) -> bool:
    """Return whether there are at least two different labels."""
    return bool((labels != labels[0]).any())


def _find_classes(name: object, *labels: Array | None) -> Array:
    """Return all classes that occur, sorted."""
    arrays = [array for array in labels if array is not None]
    try:
        return np.unique(np.concatenate([_find_distinct(array) for array in arrays]))
    except TypeError as error:
        types = sorted({type(v).__name__ for array in arrays for v in array})
        raise ValueError(
            f"The labels of task {name!r} mix the types {types}: give y_true and "
            "y_pred labels of one type."
        ) from error


def _find_distinct(labels: Array) -> Array:
    """Return the distinct labels; strings as objects, which others can be told from."""
    if labels.dtype.kind in "US":
        labels = labels.astype(object)
    first_labels = np.unique(labels[:N_FIRST])  # often all that there are
    if len(first_labels) <= N_FEW and np.isin(labels, first_labels).all():
        return first_labels
    return np.unique(labels)


def _encode_labels(labels: Array, classes: Array) -> Array:
    """Return the number of each label among sorted classes that hold it."""
    # Metrics are fastest with codes of one byte.
    dtype = np.int8 if len(classes) < 128 else np.int64
    if len(classes) == 2:
        return (labels == classes[1]).astype(dtype)
    if labels.dtype.kind in "iuf" and (classes == np.arange(len(classes))).all():
        return labels.astype(dtype)
    if labels.dtype.kind in "US":
        labels = labels.astype(object)
    return np.searchsorted(classes, labels).astype(dtype)


def check_kind(
    metric: Metric, kind: TaskType | None, true: Array, name: object
) -> None:
    """Raise an error for a metric of another kind of task than this one."""
    # `kind` is None where only the labels, `true`, show it.
    if metric.kind is None:
        return
    if kind is None:
        numbers = true.dtype.kind in "biuf"
        fractional = true.dtype.kind == "f" and (true != np.floor(true)).any()
        kind = "regression" if fractional else None if numbers else "classification"
    if kind not in (None, metric.kind) and len(true):
        raise ValueError(
            f"The metric {metric.name!r} is for {metric.kind}, but task {name!r} is "
            f"one of {kind}: choose another, or for tasks of both kinds one for each, "
            "such as {'classification': 'accuracy', 'regression': 'r2'}."
        )
