"""Confidence intervals of means over splits that share training rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from skmtl._core.numerics import mean_of_known

Array = NDArray[np.float64]


def compute_corrected_interval(values: Array, ratio: float, confidence: float) -> Array:
    """Return intervals of the means over splits of each task's values."""
    # Values have the shape (n_splits, n_tasks), NaN where a split defines none;
    # intervals (n_tasks, 2), NaN with fewer than two values.
    n = (~np.isnan(values)).sum(axis=0)
    several = n > 1
    mean = mean_of_known(values, axis=0)
    squares = np.nansum((values - mean) ** 2, axis=0)
    n = np.where(several, n, 2)
    variance = np.where(several, squares / (n - 1), np.nan)
    quantile = student_t.ppf((1 + confidence) / 2, n - 1)
    half = quantile * np.sqrt((1 / n + ratio) * variance)
    return np.stack([mean - half, mean + half], axis=1)


def compute_test_ratio(splits: Sequence[tuple[Any, Any]]) -> float:
    """Return the mean number of test rows by that of training rows."""
    return float(np.mean([len(test) / len(train) for train, test in splits]))
