"""Fit a candidate to some rows and score each task on others, or note the error."""

import os
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from time import perf_counter
from traceback import format_exception_only
from typing import Any, NamedTuple

import joblib
import numpy as np
import sklearn
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_memory

from skmtl._estimators.base import MultiTaskBase
from skmtl.metrics._evaluation import resolve_metrics
from skmtl.metrics._responses import Responses
from skmtl.metrics._unwrap import unwrap_estimator

Array = NDArray[np.float64]


class FitResult(NamedTuple):
    """Scores of the tasks, times and number of parameters of a fitted candidate."""

    scores: Array  # (n_tasks,), NaN where the test rows do not define one
    fit_seconds: float
    predict_seconds: float  # of the test rows
    n_parameters: float  # trained ones; NaN where the estimator is none of skmtl


class FitFailure(NamedTuple):
    """The error of a fit that failed."""

    reason: str


def fit_and_score(
    estimator: BaseEstimator,
    X: Any,
    y: ArrayLike,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    seed: int | None,
    metric: object,
    missing_label: object,
    identity: Any = None,  # noqa: ARG001 - the cache finds results by it
) -> FitResult:
    """Fit a copy of an estimator to the training rows and score it on the test rows."""
    # A seed sets every random_state; None leaves them as they are.
    fitted = clone(estimator) if seed is None else set_seed(estimator, seed)
    rows = [_safe_indexing(data, part) for part in (train, test) for data in (X, y)]
    X_train, y_train, X_test, y_test = rows
    with warnings.catch_warnings():
        # Of gradients that independent networks do not share.
        warnings.filterwarnings("ignore", ".* but they share none", UserWarning)
        start = perf_counter()
        fitted.fit(X_train, y_train)
    fit_seconds = perf_counter() - start
    responses = Responses(fitted, X_test)
    start = perf_counter()
    responses.call("predict")
    predict_seconds = perf_counter() - start
    with warnings.catch_warnings():
        # Results say which tasks have no score.
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        evaluation = responses.evaluate(y_test, None, missing_label)
        scores = evaluation.scores(
            resolve_metrics(metric, evaluation.columns, evaluation.kinds)
        )
    return FitResult(scores, fit_seconds, predict_seconds, _count_parameters(fitted))


def set_seed(estimator: BaseEstimator, seed: int) -> Any:
    """Return a copy of which every part, in a pipeline too, has one random state."""
    copy = clone(estimator)
    names = [n for n in copy.get_params() if n.split("__")[-1] == "random_state"]
    return copy.set_params(**dict.fromkeys(names, seed))


def _count_parameters(fitted: Any) -> float:
    """Return the number of trained parameters, NaN where it is none of skmtl."""
    last = unwrap_estimator(fitted)
    if not isinstance(last, MultiTaskBase):
        return np.nan
    return float(sum(p.numel() for p in last.module_.parameters()))


def try_fit_and_score(
    run: Callable[..., FitResult], *args: Any, strict: bool
) -> FitResult | FitFailure:
    """Return the result of a fit, or its error unless errors are to be raised."""
    try:
        return run(*args)
    except Exception as error:
        if strict:
            raise
        return FitFailure("".join(format_exception_only(error)).strip())


def get_cached_fit(memory: object, X: Any, y: ArrayLike) -> Callable[..., FitResult]:
    """Return `fit_and_score` that reads finished results of the same X and y."""
    if memory is None:
        return fit_and_score
    if isinstance(memory, os.PathLike):
        memory = os.fspath(memory)
    cached = check_memory(memory).cache(fit_and_score, ignore=["X", "y"])
    versions = version("skmtl"), sklearn.__version__
    # X and y are hashed once here, not for every fit.
    return partial(cached, identity=joblib.hash((X, y, versions)))
