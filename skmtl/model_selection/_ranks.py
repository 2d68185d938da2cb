"""Ranks of candidates, and how far apart they must be to differ."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, studentized_range

from skmtl._core.history import mean_of_known

Array = NDArray[np.float64]


def split_ranks(scores: Array) -> Array:
    """Return the rank of each candidate on each split and task; 1 is the best.

    Parameters
    ----------
    scores : ndarray of shape (n_candidates, n_splits, n_tasks)
        Scores, greater is better. A candidate without a score where others have one
        shares the last place.

    Returns
    -------
    ndarray of shape (n_candidates, n_splits, n_tasks)
        Equal scores share the mean of their ranks; NaN where no candidate has one.
    """
    ranks = rankdata(-np.where(np.isnan(scores), -np.inf, scores), axis=0)
    return np.where(np.isnan(scores).all(axis=0), np.nan, ranks)


def mean_ranks(scores: Array) -> tuple[Array, Array]:
    """Return the mean ranks of candidates.

    Parameters
    ----------
    scores : ndarray of shape (n_candidates, n_splits, n_tasks)
        Scores, greater is better.

    Returns
    -------
    of_tasks : ndarray of shape (n_candidates, n_tasks)
        Means over splits.
    overall : ndarray of shape (n_candidates,)
        Means over splits and tasks.
    """
    ranks = split_ranks(scores)
    return mean_of_known(ranks, axis=1), mean_of_known(
        ranks.reshape(len(ranks), -1), axis=1
    )


def critical_difference(scores: Array, ratio: float, confidence: float) -> float:
    r"""Return the difference of mean ranks from which on two candidates differ.

    That of Nemenyi's test [1]_ for k candidates ranked in N blocks,

    .. math:: \frac{q_{k, \infty}}{\sqrt 2} \sqrt{\frac{k (k + 1)}{6 N}}

    with the quantile q of the studentized range. A block is a split and a task. Splits
    share training rows, so that J of them say as much as
    :math:`1 / (1 / J + n_{test} / n_{train})` that do not [2]_: N is the number of
    blocks, lowered in this proportion.

    Parameters
    ----------
    scores : ndarray of shape (n_candidates, n_splits, n_tasks)
        Scores, greater is better.
    ratio : float
        Number of test rows by that of training rows.
    confidence : float
        Level of the test.

    Returns
    -------
    float
        NaN with a single candidate, or without scores.

    References
    ----------
    .. [1] J. Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets",
       Journal of Machine Learning Research 2006.
    .. [2] C. Nadeau and Y. Bengio, "Inference for the Generalization Error", Machine
       Learning 2003.
    """
    k, n_splits, _ = scores.shape
    n_blocks = (~np.isnan(scores).all(axis=0)).sum() / (1 + n_splits * ratio)
    if k < 2 or not n_blocks:
        return np.nan
    quantile = studentized_range.ppf(confidence, k, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(k * (k + 1) / (6 * n_blocks)))
