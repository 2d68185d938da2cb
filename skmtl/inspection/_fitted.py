"""The fitted estimator that a display is of."""

from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skmtl._base import MultiTaskBase
from skmtl._records import Records


def fitted(estimator: Any, caller: str, X: Any = None) -> tuple[Any, Any]:
    """Return the multi-task estimator in a pipeline or search, and its inputs.

    Parameters
    ----------
    estimator : estimator
        A multi-task estimator, or a fitted pipeline or search that ends in one.
    caller : str
        What the user has called.
    X : array-like, default=None
        What the given estimator takes.

    Returns
    -------
    estimator : estimator
        The multi-task estimator.
    X : array-like or None
        What it takes.
    """
    inner = estimator
    while isinstance(inner, Pipeline) or hasattr(inner, "best_estimator_"):
        if hasattr(inner, "best_estimator_"):
            inner = inner.best_estimator_
            continue
        if X is not None and len(inner) > 1:
            X = inner[:-1].transform(X)
        inner = inner[-1]
    if not isinstance(inner, MultiTaskBase):
        raise ValueError(
            f"{caller} needs a fitted estimator of skmtl, such as MultiTaskClassifier, "
            f"or a fitted pipeline or search that ends in one. Got {estimator!r}."
        )
    check_is_fitted(inner)
    return inner, X


def read_records(estimator: Any, caller: str) -> tuple[Records, list[Any]]:
    """Return what the training of an estimator tells, and the tasks' names.

    Parameters
    ----------
    estimator : estimator
        A multi-task estimator, or a fitted pipeline or search that ends in one.
    caller : str
        What the user has called.

    Returns
    -------
    records : Records
        Losses, weights and gradients by epoch.
    names : list
        Names of the tasks.
    """
    estimator, _ = fitted(estimator, caller)
    if not estimator.n_iter_:
        raise ValueError(
            f"{caller} needs an estimator that has trained, but no task had anything "
            "to learn: give y a task with more than one class."
        )
    records = Records.of(estimator.history_, estimator.n_tasks_)
    return records, estimator.task_names_
