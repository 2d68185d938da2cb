"""The multi-task estimator that a user has given, alone or at the end of a pipeline."""

from typing import Any

from skmtl._estimators.base import MultiTaskBase


def multitask(estimator: Any, function: str) -> MultiTaskBase:
    """Return the estimator that is given, or the last step of a pipeline.

    Parameters
    ----------
    estimator : object
        What the user gave.
    function : str
        What the user called, for the error.

    Returns
    -------
    MultiTaskBase
        The estimator itself, not a copy.
    """
    last = estimator
    while hasattr(last, "steps"):
        last = last.steps[-1][1]
    if not isinstance(last, MultiTaskBase):
        raise ValueError(
            f"The 'estimator' parameter of {function} must be an estimator of skmtl, "
            f"or a pipeline that ends with one. Got {estimator!r}."
        )
    return last


def before_last(estimator: Any, X: Any) -> Any:
    """Return inputs as the last step of a fitted pipeline gets them."""
    while hasattr(estimator, "steps"):
        X = estimator[:-1].transform(X) if len(estimator.steps) > 1 else X
        estimator = estimator.steps[-1][1]
    return X
