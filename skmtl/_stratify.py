"""Hold-out splits and folds that keep every task's labels in proportion."""

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
    groups = _groups(codes)
    held_out = np.zeros(n, dtype=bool)
    placed = np.full(n, len(groups))  # rank of the label that placed a row
    for rank, (t, c, count) in enumerate(groups):
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


def _groups(codes: Sequence[NDArray[Any]]) -> list[tuple[int, int, int]]:
    """Return task, code and number of carriers of each label, the rarest first."""
    groups = [
        (t, c, int((code == c).sum()))
        for t, code in enumerate(codes)
        for c in np.unique(code[code >= 0])
    ]
    return sorted(groups, key=lambda group: group[2])


def _codes(labels: NDArray[Any]) -> NDArray[Any]:
    if labels.dtype.kind != "f":
        return labels
    codes = np.full(len(labels), -1)
    present = ~np.isnan(labels)
    edges = np.quantile(labels[present], np.arange(1, N_BINS) / N_BINS)
    codes[present] = np.searchsorted(edges, labels[present])
    return codes


def stratified_folds(
    labels: Sequence[NDArray[Any]], n_folds: int, random_state: RandomState
) -> NDArray[np.int64]:
    """Deal rows to folds of equal size, stratified over several tasks.

    Labels are served from the rarest to the most common: rows that carry one go, one
    after the other, to the fold that has fewest of it, as in iterative stratification
    [1]_; of equal folds, to the one with most room.

    Parameters
    ----------
    labels : sequence of ndarray of shape (n_samples,)
        For each task, codes (negative where missing) or numbers (NaN where missing).
    n_folds : int
        Number of folds, at most one per row.
    random_state : RandomState
        Source of the choice.

    Returns
    -------
    ndarray of int of shape (n_samples,)
        The fold of each row; their sizes differ by one at most.

    References
    ----------
    .. [1] K. Sechidis, G. Tsoumakas and I. Vlahavas, "On the Stratification of
       Multi-Label Data", ECML PKDD 2011.
    """
    n = len(labels[0])
    order = random_state.permutation(n)
    codes = [_codes(task)[order] for task in labels]
    fold = np.full(n, -1)
    room = np.full(n_folds, n // n_folds)
    room[random_state.permutation(n_folds)[: n % n_folds]] += 1
    for t, c, _ in _groups(codes):
        carriers = codes[t] == c
        rows = np.flatnonzero(carriers & (fold < 0))
        have = np.bincount(fold[carriers & (fold >= 0)], minlength=n_folds)
        _deal(fold, rows, have, room)
    _deal(fold, np.flatnonzero(fold < 0), np.zeros(n_folds, dtype=int), room)
    folds = np.empty(n, dtype=np.int64)
    folds[order] = fold
    return folds


def _deal(
    fold: NDArray[np.int64],
    rows: NDArray[np.int64],
    have: NDArray[np.int64],
    room: NDArray[np.int64],
) -> None:
    """Give each of some rows to the fold that then has fewest of its label."""
    if not len(rows):
        return
    places = np.minimum(room, len(rows))
    of_fold = np.repeat(np.arange(len(room)), places)
    nth = np.arange(len(of_fold)) - np.repeat(places.cumsum() - places, places)
    # A place counts as what its fold has by then; larger folds fill up first.
    first = np.lexsort((-(room[of_fold] - nth), have[of_fold] + nth))[: len(rows)]
    fold[rows] = of_fold[first]
    room -= np.bincount(of_fold[first], minlength=len(room))
