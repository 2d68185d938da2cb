"""The splitter that a ``cv`` parameter stands for."""

from numbers import Integral
from typing import Any

from numpy.random import RandomState
from sklearn.base import BaseEstimator
from sklearn.model_selection import check_cv

from skmtl.metrics._responses import read_kind
from skmtl.metrics._unwrap import unwrap_estimator
from skmtl.model_selection._group_k_fold import MultiTaskStratifiedGroupKFold
from skmtl.model_selection._k_fold import MultiTaskStratifiedKFold

#: Number of folds by default.
N_FOLDS = 5


def check_multitask_cv(
    cv: Any,
    estimator: BaseEstimator,
    random_state: RandomState | None = None,
    *,
    grouped: bool,
) -> Any:
    """Return a splitter; for a number of folds, one that stratifies all tasks."""
    if not is_number_of_folds(cv):
        return check_cv(cv)
    # A number of folds is split the same way whenever the splitter is asked.
    seed = None if random_state is None else int(random_state.randint(2**31 - 1))
    last = unwrap_estimator(estimator)
    folds = MultiTaskStratifiedGroupKFold if grouped else MultiTaskStratifiedKFold
    return folds(
        N_FOLDS if cv is None else int(cv),
        shuffle=seed is not None,
        random_state=seed,
        missing_label=getattr(last, "missing_label", float("nan")),
        task_types=read_kind(last) or getattr(last, "task_types", None),
    )


def is_number_of_folds(cv: object) -> bool:
    """Tell a number of folds, or None for the default one, from a splitter."""
    return isinstance(cv, Integral | None)


def check_repeats(cv: object, n_repeats: int, caller: str) -> None:
    """Raise an error for repeats of anything but a number of folds."""
    if n_repeats > 1 and not is_number_of_folds(cv):
        raise ValueError(
            f"The 'n_repeats' parameter of {caller} must be 1 where 'cv' is no "
            f"number of folds. Got {n_repeats}: use a splitter that repeats, such as "
            "RepeatedKFold."
        )
