"""Which rows a fit holds out, and what decides on them."""

from collections.abc import Sequence

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from skmtl._data.stratification import split_holdout
from skmtl._data.targets import Targets
from skmtl._data.training_data import TrainingData
from skmtl._estimators.fitting.member_splits import (
    Split,
    make_bootstrap_splits,
    make_crossfit_splits,
)
from skmtl._estimators.fitting.settings import FitSettings
from skmtl._estimators.fitting.validation_scorer import ValidationScorer
from skmtl.encoder._inputs import SMALL

#: Labelled rows from which early_stopping="auto" holds some out.
EARLY_STOPPING_ROWS = 500


def split_validation(
    settings: FitSettings, data: TrainingData, random_state: RandomState
) -> Split:
    """Return positions of rows to train on and to hold out of a single network."""
    n_rows, stops = len(data.rows), settings.early_stopping
    few = n_rows < EARLY_STOPPING_ROWS and settings.judging_parameter is None
    if not stops or (stops == "auto" and few):
        return np.arange(n_rows), None
    _check_two(n_rows)
    labels = [task[data.rows] for task in data.labels]
    return split_holdout(labels, settings.validation_fraction, random_state)


def split_members(
    settings: FitSettings,
    data: TrainingData,
    targets: Targets,
    random_state: RandomState,
    *,
    fitted: tuple[int, list[Split]] | None,
    one_pass: bool,
) -> list[Split]:
    """Return positions of rows to train on and to hold out for each member."""
    n_rows, n_estimators = len(data.rows), settings.n_estimators
    if one_pass:
        return [(np.arange(n_rows), None)] * n_estimators
    if settings.resampling is None:
        return [split_validation(settings, data, random_state)] * n_estimators
    if fitted is not None and fitted[0] == n_rows:
        return fitted[1]
    stops = settings.early_stopping is True or settings.judging_parameter is not None
    if stops:
        _check_two(n_rows)
    if settings.resampling == "bootstrap" and n_rows > 1:
        return make_bootstrap_splits(n_rows, n_estimators, random_state)
    if n_rows < SMALL and not stops:
        return [(np.arange(n_rows), None)] * n_estimators
    labels = [task[data.rows] for task in data.labels]
    return make_crossfit_splits(labels, targets.names, n_estimators, random_state)


def _check_two(n_rows: int) -> None:
    if n_rows < 2:
        raise ValueError(
            "early_stopping=True needs at least 2 labelled rows to hold one out. "
            f"Got n_samples = {n_rows}."
        )


def make_validation_scorer(
    settings: FitSettings,
    targets: Targets,
    trained: NDArray[np.bool_],
    valid: TrainingData | None,
    data: TrainingData,
    splits: Sequence[Split],
) -> ValidationScorer | None:
    """Return what decides on held-out rows, None where their mean loss does."""
    # trained of shape (n_tasks,).
    parameter = settings.judging_parameter
    if parameter is None or not trained.any():
        return None
    rows = [data.rows[held_out] for _, held_out in splits if held_out is not None]
    if valid is not None:
        rows = [valid.rows]
    if not rows or settings.early_stopping is False:
        raise ValueError(
            f"The '{parameter}' parameter is for rows that are held out, but "
            "early_stopping=False: set it to 'auto' or True, or leave "
            f"'{parameter}' out."
        )
    scorer = ValidationScorer.from_settings(settings, targets, valid or data, trained)
    for held_out_rows in rows:
        scorer.check(held_out_rows)
    return scorer
