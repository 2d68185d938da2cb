"""Confidence intervals of means over splits, and ranks of candidates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, studentized_range
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


def rank_candidates(scores: Array) -> Array:
    """Return the rank of each candidate on each split and task; 1 is the best."""
    # Scores and ranks have the shape (n_candidates, n_splits, n_tasks). Without a
    # score a candidate shares the last place; NaN where no candidate has one.
    ranks = rankdata(-np.where(np.isnan(scores), -np.inf, scores), axis=0)
    return np.where(np.isnan(scores).all(axis=0), np.nan, ranks)


def mean_ranks(scores: Array) -> tuple[Array, Array]:
    """Return mean ranks by candidate and task, and by candidate."""
    ranks = rank_candidates(scores)
    return mean_of_known(ranks, axis=1), mean_of_known(
        ranks.reshape(len(ranks), -1), axis=1
    )


def order_by_rank(ranks: Array) -> list[int]:
    """Return the numbers of the candidates, the best first, those without one last."""
    return np.argsort(ranks, kind="stable").tolist()


def critical_difference(scores: Array, ratio: float, confidence: float) -> float:
    """Return the difference of mean ranks from which on two candidates differ."""
    # Nemenyi's test for k candidates in N blocks, each a split and a task (Demšar,
    # JMLR 2006): q / sqrt(2) * sqrt(k (k + 1) / 6 N), with the quantile q of the
    # studentized range. J splits that share training rows say as much as
    # 1 / (1 / J + n_test / n_train) that do not (Nadeau and Bengio, Machine Learning
    # 2003), which lowers N in proportion. NaN with one candidate or without scores.
    k, n_splits, _ = scores.shape
    n_blocks = (~np.isnan(scores).all(axis=0)).sum() / (1 + n_splits * ratio)
    if k < 2 or not n_blocks:
        return np.nan
    quantile = studentized_range.ppf(confidence, k, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(k * (k + 1) / (6 * n_blocks)))
