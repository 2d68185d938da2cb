"""The fitted estimator that a display is of."""

from typing import Any

from sklearn.utils.validation import check_is_fitted

from skmtl._core.history import TrainingHistory
from skmtl.inspection._estimators import before_last, multitask


def check_fitted(estimator: Any, caller: str, X: Any = None) -> tuple[Any, Any]:
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
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    last = multitask(estimator, caller)
    check_is_fitted(last)
    return last, None if X is None else before_last(estimator, X)


def read_records(estimator: Any, caller: str) -> tuple[TrainingHistory, list[Any]]:
    """Return what the training of an estimator tells, and the tasks' names.

    Parameters
    ----------
    estimator : estimator
        A multi-task estimator, or a fitted pipeline or search that ends in one.
    caller : str
        What the user has called.

    Returns
    -------
    records : TrainingHistory
        Losses, weights and gradients by epoch.
    names : list
        Names of the tasks.
    """
    estimator, _ = check_fitted(estimator, caller)
    if not estimator.n_iter_:
        raise ValueError(
            f"{caller} needs an estimator that has trained, but no task had anything "
            "to learn: give y a task with more than one class."
        )
    records = TrainingHistory.from_skorch(estimator.history_, estimator.n_tasks_)
    return records, estimator.task_names_
