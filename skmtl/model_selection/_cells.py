"""One cell of a comparison: a candidate is fitted and scored on a split."""

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
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_memory

from skmtl._estimators.base import MultiTaskBase
from skmtl.metrics._core import resolve_metrics
from skmtl.metrics._responses import Responses, innermost

Array = NDArray[np.float64]


class FitResult(NamedTuple):
    """What came out of a fit.

    Attributes
    ----------
    scores : ndarray of shape (n_tasks,)
        Score of each task; NaN where the test rows do not define it.
    fit_seconds : float
        Time of the fit.
    predict_seconds : float
        Time to predict the test rows.
    n_parameters : float
        Number of trained parameters; NaN where the estimator is none of skmtl.
    """

    scores: Array
    fit_seconds: float
    predict_seconds: float
    n_parameters: float


class FitFailure(NamedTuple):
    """A fit that failed.

    Attributes
    ----------
    reason : str
        The error.
    """

    reason: str


def run_cell(
    estimator: Any,
    X: Any,
    y: Any,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    seed: int,
    metric: Any,
    missing_label: Any,
    identity: Any,  # noqa: ARG001 - what is kept is found by it
) -> FitResult:
    """Fit a copy of an estimator to some rows and score it on others.

    Parameters
    ----------
    estimator : estimator
        The candidate.
    X, y : array-like
        All rows.
    train, test : ndarray of int
        Numbers of the rows to fit to and to score on.
    seed : int
        What each ``random_state`` of the candidate is set to.
    metric : str, callable or dict
        How a task is scored.
    missing_label : object
        What marks missing labels.
    identity : object
        What tells X and y, and the versions of the code, from others: cells that are
        kept are found by it.

    Returns
    -------
    FitResult
        Scores, times and size.
    """
    fitted = set_seed(estimator, seed)
    rows = [_safe_indexing(data, part) for part in (train, test) for data in (X, y)]
    X_train, y_train, X_test, y_test = rows
    with warnings.catch_warnings():
        # Of gradients that independent networks do not share.
        warnings.filterwarnings("ignore", ".* but they share none", UserWarning)
        start = perf_counter()
        fitted.fit(X_train, y_train)
    fit_seconds = perf_counter() - start
    start = perf_counter()
    fitted.predict(X_test)
    predict_seconds = perf_counter() - start
    with warnings.catch_warnings():
        # The comparison tells once which tasks have no score.
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        compared = Responses(fitted, X_test).evaluate(y_test, None, missing_label)
        scores = compared.scores(
            resolve_metrics(metric, compared.columns, compared.kinds)
        )
    return FitResult(scores, fit_seconds, predict_seconds, _n_parameters(fitted))


def set_seed(estimator: Any, seed: int) -> Any:
    """Return a copy whose parts with a ``random_state`` all have the same one.

    Parameters
    ----------
    estimator : estimator
        What to copy; parts of pipelines and of meta-estimators count.
    seed : int
        The random state.

    Returns
    -------
    estimator
        The copy.
    """
    copy = clone(estimator)
    names = [n for n in copy.get_params() if n.split("__")[-1] == "random_state"]
    return copy.set_params(**dict.fromkeys(names, seed))


def _n_parameters(fitted: Any) -> float:
    last = innermost(fitted)
    if not isinstance(last, MultiTaskBase):
        return np.nan
    return float(sum(p.numel() for p in last.module_.parameters()))


def try_fit(
    run: Callable[..., FitResult], *args: Any, strict: bool
) -> FitResult | FitFailure:
    """Run a cell; an error is returned, or raised where one is strict.

    Parameters
    ----------
    run : callable
        `run_cell`, or what keeps its results.
    *args : tuple
        Its arguments.
    strict : bool
        Whether to raise errors.

    Returns
    -------
    FitResult or FitFailure
        What came out.
    """
    try:
        return run(*args)
    except Exception as error:
        if strict:
            raise
        return FitFailure("".join(format_exception_only(error)).strip())


def get_cached_fit(memory: Any, X: Any, y: Any) -> Callable[..., FitResult]:
    """Return `run_cell` such that finished cells are kept.

    Parameters
    ----------
    memory : str, path-like, joblib.Memory or None
        Where to keep them.
    X, y : array-like
        All rows. They are hashed once, not for every cell.

    Returns
    -------
    callable
        `run_cell` without its ``identity``.
    """
    if memory is None:
        return partial(run_cell, identity=None)
    if isinstance(memory, os.PathLike):
        memory = os.fspath(memory)
    cached = check_memory(memory).cache(run_cell, ignore=["X", "y"])
    versions = version("skmtl"), sklearn.__version__
    return partial(cached, identity=joblib.hash((X, y, versions)))
