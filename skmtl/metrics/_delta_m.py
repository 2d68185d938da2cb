"""The mean relative gain over tasks."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmtl._core.dataframes import get_column_names
from skmtl._core.numerics import mean_of_known
from skmtl._core.validation import fill_masked, match_tasks

Array = NDArray[np.float64]


def delta_m(
    scores: ArrayLike, baseline_scores: ArrayLike, greater_is_better: Any = True
) -> float:
    r"""Return the mean over tasks of the gain as a share of the baseline's score.

    .. math:: \Delta_m = \frac{1}{T} \sum_t (-1)^{l_t} \frac{M_t - B_t}{|B_t|}

    with the scores M of a model and B of what it is compared with, such as one model
    per task, and l = 1 where lower is better [1]_. It says little where a score of the
    baseline is close to zero.

    Parameters
    ----------
    scores : array-like of shape (n_tasks,) or (n_splits, n_tasks)
        Scores of the model, of each split where there are several.
    baseline_scores : array-like of shape (n_tasks,) or (n_splits, n_tasks)
        Those of the baseline, on the same splits. Where both are a Series, or a
        DataFrame with a column per task, they are matched by the tasks' names.
    greater_is_better : bool or array-like of bool of shape (n_tasks,), default=True
        Whether a higher score is better, for all tasks or each of them.

    Returns
    -------
    float
        0.05 for a mean gain of 5 %. Tasks without a score, and those in which that of
        the baseline is zero, are left out; NaN if none is left.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.

    References
    ----------
    .. [1] K.-K. Maninis, I. Radosavovic and I. Kokkinos, "Attentive Single-Tasking of
       Multiple Tasks", CVPR 2019.

    Examples
    --------
    >>> from skmtl.metrics import delta_m
    >>> delta_m([0.75, 0.5], [0.5, 0.5])
    0.25
    >>> delta_m([0.75, 3.0], [0.5, 4.0], greater_is_better=[True, False])
    0.375
    """
    new, old = (
        np.atleast_2d(np.asarray(fill_masked(s), dtype=np.float64))
        for s in (scores, baseline_scores)
    )
    if new.shape == old.shape:
        names, baseline_names = (
            _read_task_names(scores),
            _read_task_names(baseline_scores),
        )
        order = match_tasks(baseline_names, names, "baseline_scores", "entry")
        old = old if order is None else old[:, order]
    better = np.asarray(greater_is_better)
    if new.shape != old.shape or new.ndim > 2:
        raise ValueError(
            "The 'scores' and 'baseline_scores' parameters of delta_m must have the "
            "same shape, (n_tasks,) or (n_splits, n_tasks). Got "
            f"{np.shape(scores)} and {np.shape(baseline_scores)}."
        )
    if not new.size:
        raise ValueError(
            "The 'scores' and 'baseline_scores' parameters of delta_m must hold the "
            "score of at least one task. Got none."
        )
    if better.dtype != bool or better.shape not in [(), new.shape[1:]]:
        raise ValueError(
            "The 'greater_is_better' parameter of delta_m must be a bool, or one for "
            f"each of the {new.shape[1]} tasks. Got {greater_is_better!r}."
        )
    gains = compute_relative_gains(new, old, better)
    return float(mean_of_known(mean_of_known(gains, 0), 0))


def _read_task_names(scores: Any) -> list[Any] | None:
    """Return the names that a DataFrame or a pandas Series has for tasks."""
    names = get_column_names(scores)
    series = names is None and hasattr(scores, "iloc")
    return list(scores.index) if series else names


def compute_relative_gains(
    scores: Array, baseline: Array, greater_is_better: Any
) -> Array:
    """Return gains as shares of the baseline's mean score, NaN where it is zero."""
    # Scores and gains have the shape (n_splits, n_tasks).
    gains = np.where(greater_is_better, 1, -1) * (scores - baseline)
    scale = abs(mean_of_known(baseline, 0))
    relative: Array = gains / np.where(scale > 0, scale, np.nan)
    return relative
