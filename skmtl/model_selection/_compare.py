"""Candidates are compared on the same splits, from the same seeds."""

import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.exceptions import FitFailedWarning, UndefinedMetricWarning
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed
from tqdm.auto import tqdm

import skmtl
from skmtl._base import MultiTaskBase
from skmtl._columns import read_columns
from skmtl._validation import HasMethods, Interval, StrOptions, validate_params
from skmtl.metrics._metric import as_metric
from skmtl.model_selection._candidates import last_step, read_candidates
from skmtl.model_selection._cells import Cell, Failure, attempt, identity_of, kept
from skmtl.model_selection._comparison import SharingComparison

Array = NDArray[np.float64]
Split = tuple[NDArray[np.int64], NDArray[np.int64]]

#: The score of each kind of task where none is chosen.
SCORING = {"classification": "accuracy", "regression": "r2"}


@validate_params(
    {
        "estimators": "no_validation",
        "X": "no_validation",
        "y": "no_validation",
        "param_grid": [dict, list, None],
        "groups": ["array-like", None],
        "cv": ["cv_object"],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
        "scoring": [str, callable, dict, None],
        "baseline": [str],
        "confidence": [Interval(Real, 0, 1, closed="neither")],
        "error_score": [StrOptions({"raise"}), "real_not_int_or_nan"],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "memory": [str, HasMethods("__fspath__"), HasMethods("cache"), None],
        "verbose": ["verbose"],
    },
    prefer_skip_nested_validation=True,
)
def compare_sharing(
    estimators: Any,
    X: Any,
    y: Any,
    *,
    param_grid: Any = None,
    groups: Any = None,
    cv: Any = 5,
    n_repeats: int = 1,
    scoring: Any = None,
    baseline: str = "independent",
    confidence: float = 0.95,
    error_score: Any = np.nan,
    random_state: Any = None,
    n_jobs: int | None = None,
    memory: Any = None,
    verbose: int = 0,
) -> SharingComparison:
    ...
