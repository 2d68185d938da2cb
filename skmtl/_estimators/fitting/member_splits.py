"""Which rows each member trains on, and which are held out of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from skmtl._core.validation import warn_user
from skmtl._data.row_index import RowIndex, choose_index_dtype, find_rows
from skmtl._data.stratification import make_stratified_folds
from skmtl._data.training_data import has_label

#: Positions of rows to train on and to hold out; None where none is.
Split = tuple[RowIndex, RowIndex | None]


def make_crossfit_splits(
    labels: Sequence[NDArray[Any]],
    names: Sequence[Any],
    n_estimators: int,
    random_state: RandomState,
) -> list[Split]:
    """Hold each row out of one member, or of several where members outnumber rows."""
    # labels lists of shape (n_rows,).
    n = len(labels[0])
    n_folds = min(n_estimators, n)
    counts = np.array([has_label(task).sum() for task in labels])
    if n_folds < n_estimators:
        warn_user(
            f"n_estimators={n_estimators} is more than the {n} labelled rows: members "
            "share folds of one row; use fewer.",
        )
    elif counts.min() < n_folds:
        t = int(counts.argmin())
        warn_user(
            f"Task {names[t]!r} has {counts[t]} labelled rows, fewer than the "
            f"{n_folds} folds: members without one of them stop by the other tasks.",
        )
    fold = make_stratified_folds(labels, n_folds, random_state)
    return [
        (find_rows(fold != i % n_folds), find_rows(fold == i % n_folds))
        for i in range(n_estimators)
    ]


def make_bootstrap_splits(
    n_rows: int, n_estimators: int, random_state: RandomState
) -> list[Split]:
    """Draw rows with replacement for each member, and hold out those not drawn."""
    splits: list[Split] = []
    for _ in range(n_estimators):
        unseen = np.zeros(n_rows, dtype=bool)
        while not unseen.any():  # as few rows may all be drawn
            drawn = np.sort(random_state.randint(n_rows, size=n_rows))
            unseen[:] = True
            unseen[drawn] = False
        splits.append((drawn.astype(choose_index_dtype(n_rows)), find_rows(unseen)))
    return splits
