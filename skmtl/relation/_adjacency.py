"""Weights between tasks: given, or estimated from their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmtl._core.dataframes import get_column_names
from skmtl._core.validation import fill_masked, resolve_tasks, warn_user
from skmtl.relation._label_dependence import (
    N_BINS,
    check_method,
    measure_dependence,
    safe_divide,
)

#: What weights can be estimated by.
ESTIMATES = ("correlation", "cooccurrence", "kl", "mutual_information")

Array = NDArray[np.float64]


def check_weights(adjacency: ArrayLike, signed: bool, parameter: str) -> None:
    """Raise an error for weights that no tasks can have."""
    try:
        if np.iscomplexobj(adjacency):
            raise TypeError("complex numbers have no order")
        A = np.asarray(fill_masked(adjacency), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{parameter} must hold numbers, a row and a column per task. Got "
            f"{adjacency!r}."
        ) from error
    if A.ndim != 2 or A.shape[0] != A.shape[1]:
        raise ValueError(
            f"{parameter} must have shape (n_tasks, n_tasks), a row and a column per "
            f"task. Got shape {A.shape}."
        )
    if not np.isfinite(A).all():
        raise ValueError(
            f"{parameter} must be finite. Got {A[~np.isfinite(A)][0]}: give zero where "
            "tasks are no neighbours."
        )
    if not signed and (A < 0).any():
        raise ValueError(
            f"{parameter} must not be negative with normalization='sym'. Got "
            f"{A.min()}: set normalization='row' or None."
        )


def read_adjacency(adjacency: ArrayLike, names: Sequence[Any], parameter: str) -> Array:
    """Return weights that a user gives, in the order of the tasks."""
    # adjacency of shape (n_tasks, n_tasks); returns (n_tasks, n_tasks).
    A = np.array(adjacency, dtype=np.float64)
    if len(A) != len(names):
        raise ValueError(
            f"{parameter} must have a row and a column for each of the {len(names)} "
            f"tasks. Got shape {A.shape}."
        )
    column_names = get_column_names(adjacency)
    if column_names is None:
        return A
    # Rows of frames that do not name them, as those of polars, stand as columns do.
    axes = (getattr(adjacency, "index", column_names), column_names)
    rows, columns = (resolve_tasks(axis, names, parameter) for axis in axes)
    aligned = np.empty_like(A)
    aligned[np.ix_(rows, columns)] = A
    return aligned


def estimate_adjacency(
    method: str,
    names: Sequence[Any],
    classes: Sequence[NDArray[Any] | None],
    labels: Sequence[NDArray[Any]],
    parameter: str,
    threshold: float = 0.4,
) -> Array:
    """Return weights from -1 to 1 that labels tell, over rows where both are there."""
    # labels lists of shape (n_samples,); returns (n_tasks, n_tasks).
    check_method(method, names, classes, parameter)
    n_classes = np.array([0 if c is None else len(c) for c in classes])
    value, n_rows = measure_dependence(labels, n_classes.tolist(), method)
    others = ~np.eye(len(value), dtype=bool)
    if len(value) > 1 and not n_rows[others].any():
        warn_user(
            f"{parameter} is {method!r}, but no row has the labels of two tasks that "
            "tell it: tasks have no neighbours. Give their weights.",
        )
    if method in ("correlation", "mutual_information"):
        value = _correct_bias(method, value, n_classes, n_rows)
    elif method == "kl":
        value = np.exp(-(value + value.T) / 2)
    elif method == "cooccurrence":
        value = (value >= threshold).astype(np.float64)
    return np.where(others & (n_rows > 0), value, 0)


def _correct_bias(
    method: str, value: Array, n_classes: NDArray[np.int64], n_rows: Array
) -> Array:
    """Return correlations less what independent labels have on average [1]_, [2]_.

    Mutual information I becomes the absolute correlation of normal labels that have as
    much, the root of 1 - exp(-2 I).

    References
    ----------
    .. [1] W. Bergsma, "A Bias-Correction for Cramér's V and Tschuprow's T", Journal of
       the Korean Statistical Society 42, 2013.
    .. [2] G. A. Miller, "Note on the Bias of Information Estimates", 1955.
    """
    n_levels = np.where(
        n_classes > 0, n_classes, 2 if method == "correlation" else N_BINS
    )
    free = np.maximum(n_levels - 1, 1)
    if method == "correlation":
        bias = safe_divide(np.maximum.outer(free, free), n_rows - 1)
        corrected: Array = np.sqrt(np.maximum(value**2 - bias, 0))
        return np.copysign(corrected, value)
    bias = safe_divide(np.outer(free, free), 2 * n_rows)
    unbiased: Array = np.sqrt(-np.expm1(-2 * np.maximum(value - bias, 0)))
    return unbiased


def match_outputs(
    task_of_output: NDArray[np.int64], classes: Sequence[NDArray[Any] | None] | None
) -> NDArray[np.bool_]:
    """Tell which outputs of tasks mean the same."""
    # task_of_output of shape (n_outputs,); returns (n_outputs, n_outputs).
    tasks, first, task, size = np.unique(
        task_of_output, return_index=True, return_inverse=True, return_counts=True
    )
    place = np.arange(len(task)) - first[task]
    kinds: dict[Any, int] = {}
    kind = np.empty(len(tasks), dtype=np.int64)
    for i, t in enumerate(tasks):
        task_classes = None if classes is None or size[i] == 1 else classes[t]
        key = int(size[i]) if task_classes is None else tuple(task_classes.tolist())
        kind[i] = kinds.setdefault(key, len(kinds))
    key = kind[task] * (place.max(initial=0) + 1) + place
    same: NDArray[np.bool_] = key[:, None] == key
    return same
