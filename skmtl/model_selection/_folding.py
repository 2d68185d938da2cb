"""How rows are split where the user gives a number of folds."""

from numbers import Integral
from typing import Any

from numpy.random import RandomState
from sklearn.base import is_classifier, is_regressor
from sklearn.model_selection import check_cv

from skmtl.model_selection._candidates import last_step
from skmtl.model_selection._k_fold import (
    MultiTaskStratifiedKFold,
    RepeatedMultiTaskStratifiedKFold,
)

#: Number of folds by default.
N_FOLDS = 5


def splitter(
    cv: Any,
    estimator: Any,
    random_state: RandomState,
    caller: str,
    n_repeats: int = 1,
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
    caller : str
        What the user called, for the error.
    n_repeats : int, default=1
        How often to deal the rows to folds anew.

    Returns
    -------
    splitter
        For a number of folds one that stratifies all tasks, and splits the same way
        whenever it is asked.
    """
    if not isinstance(cv, Integral | None):
        if n_repeats > 1:
            raise ValueError(
                f"The 'n_repeats' parameter of {caller} must be 1 where 'cv' is no "
                f"number of folds. Got {n_repeats}: use a splitter that repeats."
            )
        return check_cv(cv)
    last = last_step(estimator)[0]
    settings: dict[str, Any] = {
        "n_splits": N_FOLDS if cv is None else int(cv),
        "random_state": int(random_state.randint(2**31 - 1)),
        "task_types": _kinds(last),
    }
    if hasattr(last, "missing_label"):
        settings["missing_label"] = last.missing_label
    if n_repeats > 1:
        return RepeatedMultiTaskStratifiedKFold(n_repeats=n_repeats, **settings)
    return MultiTaskStratifiedKFold(shuffle=True, **settings)


def _kinds(last: Any) -> Any:
    """Return the kinds of the tasks, None where their labels are to tell."""
    if is_regressor(last):
        return "regression"
    return (
        "classification" if is_classifier(last) else getattr(last, "task_types", None)
    )
