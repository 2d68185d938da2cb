"""The estimator inside pipelines and searches, and the inputs that reach it."""

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.model_selection._search import BaseSearchCV


def unwrap_pipeline(estimator: BaseEstimator) -> tuple[Any, str]:
    """Return the last step, not a copy, and the prefix of its parameters' names."""
    prefix = ""
    while hasattr(estimator, "steps"):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return estimator, prefix


def unwrap_estimator(estimator: BaseEstimator) -> Any:
    """Return the estimator at the end of searches, fitted or not, and pipelines."""
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        elif isinstance(estimator, BaseSearchCV):
            estimator = estimator.estimator
        else:
            return estimator


def unwrap_inputs(estimator: BaseEstimator, X: Any) -> Any:
    """Return inputs as the estimator at the end of fitted pipelines gets them."""
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            X = estimator[:-1].transform(X) if len(estimator.steps) > 1 else X
            estimator = estimator.steps[-1][1]
        else:
            return X
