"""Checks that an estimator is of skmtl and, for displays, fitted and trained."""

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skmtl._core.history import TrainingHistory
from skmtl._estimators.base import MultiTaskBase
from skmtl.metrics._unwrap import unwrap_estimator, unwrap_inputs, unwrap_pipeline


def check_multitask(estimator: BaseEstimator, caller: str) -> MultiTaskBase:
    """Return an estimator of skmtl, or the one that a pipeline ends with."""
    return _check_class(unwrap_pipeline(estimator)[0], estimator, caller)


def check_fitted(
    estimator: BaseEstimator, caller: str, X: Any = None
) -> tuple[Any, Any]:
    """Return the fitted estimator in a pipeline or search, and its own inputs."""
    last = _check_class(unwrap_estimator(estimator), estimator, caller)
    check_is_fitted(last)
    return last, None if X is None else unwrap_inputs(estimator, X)


def _check_class(
    last: BaseEstimator, estimator: BaseEstimator, caller: str
) -> MultiTaskBase:
    """Raise an error if the end of an estimator is none of skmtl."""
    if not isinstance(last, MultiTaskBase):
        raise ValueError(
            f"The 'estimator' parameter of {caller} must be an estimator of skmtl, "
            f"or a pipeline that ends with one. Got {estimator!r}."
        )
    return last


def read_records(
    estimator: BaseEstimator, caller: str
) -> tuple[TrainingHistory, list[Any]]:
    """Return losses, weights and gradients by epoch, and the tasks' names."""
    last, _ = check_fitted(estimator, caller)
    if not last.n_iter_:
        raise ValueError(
            f"{caller} needs an estimator that has trained, but no task had anything "
            "to learn: give y a task with more than one class."
        )
    records = TrainingHistory.from_skorch(last.history_, last.n_tasks_)
    return records, last.task_names_
