"""Which rows each network of a fit trains on, and which are held out of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from skmtl._core.validation import warn_user
from skmtl._data.stratification import make_stratified_folds, split_holdout
from skmtl._data.targets import Targets
from skmtl._data.training_data import (
    RowIndex,
    TrainingData,
    choose_index_dtype,
    find_rows,
    has_label,
)
from skmtl._estimators.fitting.settings import FitSettings
from skmtl.encoder._inputs import SMALL

#: Positions of rows to train on and to hold out; None where none is.
Split = tuple[RowIndex, RowIndex | None]
#: Labelled rows from which early_stopping="auto" holds some out of a single network, of
#: regression alone and with a classification task: probabilities of networks that train
#: to the end have about twice the log-loss, while a table of fewer rows than features
#: needs all of them for regression.
REGRESSION_ROWS, CLASSIFICATION_ROWS = 500, SMALL


def split_rows(
    settings: FitSettings,
    data: TrainingData,
    targets: Targets,
    random_state: RandomState,
    *,
    fitted: tuple[int, list[Split]] | None,
    one_pass: bool,
    validated: bool,
) -> list[Split]:
    """Choose the rows that each network trains on, and those held out of it."""
    # A fit that trains on has the splits before where it has as many rows; nothing is
    # held out in one pass, nor of a single network beside a validation set.
    n_rows, n_estimators = len(data.rows), settings.n_estimators
    if one_pass or (n_estimators == 1 and validated):
        return [_use_all(n_rows)] * n_estimators
    if n_estimators == 1 or settings.resampling is None:
        split = split_validation(settings, data, targets, random_state)
        return [split] * n_estimators
    if fitted is not None and fitted[0] == n_rows:
        return fitted[1]
    stops = settings.early_stopping is True or settings.judging_parameter is not None
    if stops:
        _check_two(n_rows)
    if settings.resampling == "bootstrap" and n_rows > 1:
        return make_bootstrap_splits(n_rows, n_estimators, random_state)
    if n_rows < SMALL and not stops:
        return [_use_all(n_rows)] * n_estimators
    labels = [task[data.rows] for task in data.labels]
    return make_crossfit_splits(labels, targets.names, n_estimators, random_state)


def split_validation(
    settings: FitSettings,
    data: TrainingData,
    targets: Targets,
    random_state: RandomState,
) -> Split:
    """Return positions of rows to train on and to hold out of a single network."""
    n_rows, stops = len(data.rows), settings.early_stopping
    least = REGRESSION_ROWS if targets.only_regression else CLASSIFICATION_ROWS
    few = n_rows < least and settings.judging_parameter is None
    if not stops or (stops == "auto" and few):
        return _use_all(n_rows)
    _check_two(n_rows)
    labels = [task[data.rows] for task in data.labels]
    return split_holdout(labels, settings.validation_fraction, random_state)


def _use_all(n_rows: int) -> Split:
    return np.arange(n_rows, dtype=choose_index_dtype(n_rows)), None


def _check_two(n_rows: int) -> None:
    if n_rows < 2:
        raise ValueError(
            "early_stopping=True needs at least 2 labelled rows to hold one out. "
            f"Got n_samples = {n_rows}."
        )


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
