"""How rows are split where the user gives a number of folds."""

from numbers import Integral
from typing import Any

from numpy.random import RandomState
from sklearn.base import is_classifier, is_regressor
from sklearn.model_selection import check_cv

from skmtl.model_selection._candidates import last_step
from skmtl.model_selection._group_k_fold import MultiTaskStratifiedGroupKFold
from skmtl.model_selection._k_fold import MultiTaskStratifiedKFold

#: Number of folds by default.
N_FOLDS = 5


def check_multitask_cv(
    cv: Any, estimator: Any, random_state: RandomState, *, grouped: bool
) -> Any:
    """Return what splits rows.

    Parameters
    ----------
    cv : int, splitter, iterable or None
        As the user gave it.
    estimator : estimator
        What is fitted; it tells missing labels and kinds of tasks.
    random_state : RandomState
        Source of the folds.
    grouped : bool
        Whether there are groups of rows that stay together.

    Returns
    -------
    splitter
        For a number of folds one that stratifies all tasks, and splits the same way
        whenever it is asked.
    """
    if not isinstance(cv, Integral | None):
        return check_cv(cv)
    last = last_step(estimator)[0]
    folds = MultiTaskStratifiedGroupKFold if grouped else MultiTaskStratifiedKFold
    return folds(
        N_FOLDS if cv is None else int(cv),
        shuffle=True,
        random_state=int(random_state.randint(2**31 - 1)),
        missing_label=getattr(last, "missing_label", float("nan")),
        task_types=_kinds(last),
    )


def _kinds(last: Any) -> Any:
    """Return the kinds of the tasks, None where their labels are to tell."""
    if is_regressor(last):
        return "regression"
    if is_classifier(last):
        return "classification"
    return getattr(last, "task_types", None)
