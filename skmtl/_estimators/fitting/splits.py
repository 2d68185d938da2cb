"""Which rows a fit holds out, and what decides on them."""

from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from skmtl._data.stratification import split_holdout
from skmtl._data.targets import Targets
from skmtl._data.training_data import TrainingData
from skmtl._estimators.fitting.member_splits import (
    Part,
    make_bootstrap_splits,
    make_crossfit_splits,
)
from skmtl._estimators.fitting.run import Split
from skmtl._estimators.fitting.settings import FitSettings
from skmtl._estimators.fitting.validation_scorer import ValidationScorer
from skmtl.encoder._inputs import SMALL

#: Labelled rows from which early_stopping="auto" holds some out.
EARLY_STOPPING_ROWS = 500
#: Parameters with which more than the mean loss decides, and what they are without.
JUDGED = {
    "validation_metric": "loss",
    "validation_average": "macro",
    "stop_tasks": False,
}


def choose_validation_metric(estimator: Any) -> str | None:
    """Return a parameter with which more than the mean loss decides, or None."""
    given = (name for name, v in JUDGED.items() if getattr(estimator, name) != v)
    return next(given, None)


def split_validation(
    estimator: Any, data: TrainingData, random_state: RandomState
) -> Split | None:
    """Return positions of rows to train on and to hold out, or None."""
    n_rows = len(data.rows)
    few = n_rows < EARLY_STOPPING_ROWS and choose_validation_metric(estimator) is None
    if not estimator.early_stopping or (estimator.early_stopping == "auto" and few):
        return None
    _check_two(n_rows)
    labels = [task[data.rows] for task in data.labels]
    return split_holdout(labels, estimator.validation_fraction, random_state)


def split_members(
    estimator: Any,
    plan: FitSettings,
    data: TrainingData,
    targets: Targets,
    random_state: RandomState,
    *,
    resume: bool,
    one_pass: bool,
) -> list[Part]:
    """Return positions of rows to train on and to hold out for each member."""
    n_rows, n_estimators = len(data.rows), plan.n_estimators
    alike: Part = (np.arange(n_rows), None)
    if one_pass:
        return [alike] * n_estimators
    if estimator.resampling is None:
        return [split_validation(estimator, data, random_state) or alike] * n_estimators
    before = getattr(estimator, "_parts_of_fit", None) if resume else None
    if before is not None and before[0] == n_rows:
        return before[1]  # type: ignore[no-any-return]
    asked = (
        estimator.early_stopping is True
        or choose_validation_metric(estimator) is not None
    )
    if asked:
        _check_two(n_rows)
    if estimator.resampling == "bootstrap" and n_rows > 1:
        return make_bootstrap_splits(n_rows, n_estimators, random_state)
    if n_rows < SMALL and not asked:
        return [alike] * n_estimators
    labels = [task[data.rows] for task in data.labels]
    return make_crossfit_splits(labels, targets.names, n_estimators, random_state)


def _check_two(n_rows: int) -> None:
    if n_rows < 2:
        raise ValueError(
            "early_stopping=True needs at least 2 labelled rows to hold one out. "
            f"Got n_samples = {n_rows}."
        )


def make_validation_scorer(
    estimator: Any,
    targets: Targets,
    trained: NDArray[np.bool_],
    valid: TrainingData | None,
    data: TrainingData,
    split: Split | None,
    parts: list[Part] | None,
) -> ValidationScorer | None:
    """Return what decides on held-out rows, None where their mean loss does."""
    # trained of shape (n_tasks,).
    asked = choose_validation_metric(estimator)
    if asked is None or not trained.any():
        return None
    held = [split] if split is not None else parts or []
    rows = [data.rows[positions] for _, positions in held if positions is not None]
    if valid is not None:
        rows = [valid.rows]
    if not rows or estimator.early_stopping is False:
        raise ValueError(
            f"The '{asked}' parameter is for rows that are held out, but "
            "early_stopping=False: set it to 'auto' or True, or leave "
            f"'{asked}' out."
        )
    judge = ValidationScorer.from_metric(estimator, targets, valid or data, trained)
    for own in rows:
        judge.check(own)
    return judge
