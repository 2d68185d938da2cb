"""One score per task from labels and predictions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmtl._core.validation import StrOptions, check_task_weight, validate_params
from skmtl._data.labels import (
    TASK_TYPES,
    LabelTable,
    TaskType,
    infer_task_types,
    read_labels,
)
from skmtl.metrics._evaluation import Evaluation, resolve_metrics, warn_undefined
from skmtl.metrics._predictions import read_predictions

Array = NDArray[np.float64]

#: Constraint of the ``average`` parameter.
AVERAGE: list[Any] = [
    StrOptions({"macro", "weighted", "min"}),
    "array-like",
    Mapping,
    None,
]
#: Constraint of the ``metric`` parameter.
METRIC: list[Any] = [str, callable, Mapping]


@validate_params(
    {
        "y_true": "no_validation",
        "y_pred": "no_validation",
        "metric": METRIC,
        "average": AVERAGE,
        "sample_weight": "no_validation",
        "classes": "no_validation",
        "task_types": "no_validation",
        "missing_label": "no_validation",
    },
    prefer_skip_nested_validation=True,
)
def task_scores(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    metric: object = "accuracy",
    *,
    average: object = None,
    sample_weight: ArrayLike | None = None,
    classes: object = None,
    task_types: object = None,
    missing_label: object = np.nan,
) -> NDArray[np.float64] | float:
    """Score each task over the labels that are present, by a metric of scikit-learn.

    Every metric of one target is computed task by task. Greater is better for all
    names, as for those of scikit-learn's scorers: "neg_log_loss" is negative.

    Metrics that compare classes with each other, which are all of classification but
    accuracy, log loss, the Brier score and top-k accuracy, say nothing where all labels
    of a task are of one class: its score is NaN, whatever was predicted, and so is that
    of a task without labels. One warning names these tasks.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_tasks)
        True labels. Missing ones count for nothing.
    y_pred : array-like or list
        Predictions: of the shape of y_true, labels or values for metrics such as
        "f1_macro" and "r2"; for metrics such as "roc_auc" and "neg_log_loss"
        probabilities (or other scores) of the larger of two classes, as multilabel
        estimators give. Or a list with an entry for each task: of shape (n_samples,),
        as before, or (n_samples, n_classes), from which metrics of labels take the most
        probable class. For one task also of shape (n_samples, n_classes).
    metric : str, callable, scorer or dict, default="accuracy"
        Name of a scorer of scikit-learn such as "balanced_accuracy", "roc_auc_ovr" or
        "r2"; a function of the true and predicted labels of one task, and of
        ``sample_weight`` where that is given; what `sklearn.metrics.make_scorer`
        returns; or a dict of these by name, number or kind of task, such as
        ``{"classification": "roc_auc", "regression": "r2"}``. Two classes are taken in
        sorted order, and the larger is the positive one.
    average : {"macro", "weighted", "min"}, array-like, dict or None, default=None
        None returns one score per task. Otherwise the mean, the mean weighted by
        numbers of labels (or sums of their weights), the lowest score, or the mean with
        weights of shape (n_tasks,) or by name, where a task left out weighs one. Tasks
        without a score are left out.
    sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), \
            default=None
        Weights of rows or of single labels.
    classes : list of array-like or array-like, default=None
        Classes of each task in the order of the columns of its predictions, None for
        regression; one array is that of all tasks. By default the sorted labels of a
        task where there are as many, or 0 and 1.
    task_types : dict or sequence of {"classification", "regression"}, default=None
        Kinds of tasks, all or by name, where their labels leave open which metric of a
        dict is theirs; a task left out is of the kind that its labels show, as in
        `skmtl.MultiTaskEstimator`.
    missing_label : object, default=nan
        What marks a missing label, beside None, NaN, NaT, ``pandas.NA`` and masked
        entries, which always do.

    Returns
    -------
    ndarray of shape (n_tasks,) or float
        The scores, or their average.

    Raises
    ------
    ValueError
        If y_true and y_pred are of different tasks, if there is no such metric, if it
        is none for tasks of this kind, or if it is open which classes y_pred is of.

    See Also
    --------
    make_multitask_scorer : The same for ``scoring`` of scikit-learn's tools.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.metrics import task_scores
    >>> Y = np.array([[0, 1.0], [1, np.nan], [1, 0.0], [0, 1.0]])
    >>> P = np.array([[0.1, 0.8], [0.9, 0.3], [0.4, 0.4], [0.5, 0.3]])
    >>> task_scores(Y, P > 0.5)
    array([0.75      , 0.66666667])
    >>> task_scores(Y, P, "roc_auc")
    array([0.75, 0.5 ])
    >>> task_scores(Y, P, "roc_auc", average="macro")
    0.625
    """
    columns = read_labels(y_true, missing_label)
    predictions = read_predictions(y_pred, columns)
    of_tasks = read_classes(classes, len(columns.columns))
    kinds = _read_kinds(columns, classes, of_tasks, task_types)
    metrics = resolve_metrics(metric, columns, kinds)
    evaluation = Evaluation.from_labels(
        columns, lambda _: predictions, kinds, of_tasks, sample_weight
    )
    check_some_labels(evaluation.columns)
    scores = evaluation.scores(metrics)
    warn_undefined(scores, metrics, evaluation.names)
    if average is None:
        return scores
    return average_scores(scores, evaluation.support, average, evaluation.names)


def read_classes(classes: Any, n_tasks: int) -> list[NDArray[Any] | None]:
    """Return the classes of each task, None where they are unknown."""
    if classes is None:
        return [None] * n_tasks
    entries = list(classes)
    is_per_task = any(
        e is None or (np.ndim(e) and not isinstance(e, str)) for e in entries
    )
    if not is_per_task:
        return [np.asarray(entries)] * n_tasks
    if len(entries) != n_tasks:
        raise ValueError(
            "The 'classes' parameter must have one entry per task, or be one array for "
            f"all. Got {len(entries)} entries for {n_tasks} tasks."
        )
    return [None if entry is None else np.asarray(entry) for entry in entries]


def _read_kinds(
    columns: LabelTable, classes: object, of_tasks: Sequence[Any], task_types: object
) -> Sequence[TaskType | None]:
    """Return the kinds of the tasks that the user has told."""
    names = columns.task_names
    kinds: list[TaskType | None] = [None] * len(names)
    if classes is not None:
        kinds = [TASK_TYPES[c is None] for c in of_tasks]
    if task_types is None:
        return kinds
    resolved_kinds = infer_task_types(columns, task_types)
    if not isinstance(task_types, Mapping):
        return resolved_kinds
    return [
        resolved_kind if name in task_types else kind
        for name, resolved_kind, kind in zip(names, resolved_kinds, kinds, strict=True)
    ]


def check_some_labels(columns: LabelTable) -> None:
    """Raise an error if all labels of all tasks are missing."""
    if not any(column.present.any() for column in columns.columns):
        raise ValueError(
            "y has no label to score: those of every task are missing or have weight "
            "zero."
        )


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
