"""A hold-out split that keeps every task's labels in proportion."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

#: Parts of equal size into which numeric labels are cut.
N_BINS = 4


def holdout_split(
    labels: Sequence[NDArray[Any]], fraction: float, random_state: RandomState
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows in two, stratified over several tasks as far as possible.

    Labels are served from the rarest to the most common: of the rows that carry one
    and are not yet placed, the hold-out gets as many as it still lacks. That is
    iterative stratification [1]_ for two parts, with missing and numeric labels.

    Parameters
    ----------
    labels : sequence of ndarray of shape (n_samples,)
        For each task, codes (negative where missing) or numbers (NaN where missing).
    fraction : float
        Share of rows to hold out.
    random_state : RandomState
        Source of the choice.

    Returns
    -------
    train, held_out : ndarray of int
        Sorted row numbers.

    References
    ----------
    .. [1] K. Sechidis, G. Tsoumakas and I. Vlahavas, "On the Stratification of
       Multi-Label Data", ECML PKDD 2011.
    """
    n = len(labels[0])
    n_held_out = min(max(round(fraction * n), 1), n - 1)
    order = random_state.permutation(n)
    codes = [_codes(task)[order] for task in labels]
    groups = [
        (t, c, int((code == c).sum()))
        for t, code in enumerate(codes)
        for c in np.unique(code[code >= 0])
    ]
    held_out = np.zeros(n, dtype=bool)
    placed = np.full(n, len(groups))  # rank of the label that placed a row
    by_count = sorted(groups, key=lambda group: group[2])
    for rank, (t, c, count) in enumerate(by_count):
        carriers = codes[t] == c
        rows = np.flatnonzero(carriers & (placed == len(groups)))
        lacking = round(fraction * count) - int((held_out & carriers).sum())
        room = n_held_out - int(held_out.sum())
        held_out[rows[: max(min(lacking, room), 0)]] = True
        placed[rows] = rank
    # Rounding may leave a few places: rows of the most common labels take them.
    rest = np.flatnonzero(~held_out)
    rest = rest[np.argsort(-placed[rest], kind="stable")]
    held_out[rest[: n_held_out - int(held_out.sum())]] = True
    return np.sort(order[~held_out]), np.sort(order[held_out])


def _codes(labels: NDArray[Any]) -> NDArray[Any]:
    if labels.dtype.kind != "f":
        return labels
    codes = np.full(len(labels), -1)
    present = ~np.isnan(labels)
    edges = np.quantile(labels[present], np.arange(1, N_BINS) / N_BINS)
    codes[present] = np.searchsorted(edges, labels[present])
    return codes
