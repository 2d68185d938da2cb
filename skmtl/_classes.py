"""Class labels and class weights as the user gives and gets them."""

from numbers import Real
from typing import Any

import numpy as np

from skmtl._columns import read_columns
from skmtl._data import ClassWeight
from skmtl._targets import Targets
from skmtl._validation import StrOptions

#: Constraint of the ``class_weight`` parameter.
CLASS_WEIGHT: list[Any] = [StrOptions({"balanced"}), dict, list, tuple, None]


def check_class_weight(class_weight: Any, targets: Targets) -> ClassWeight | None:
    """Return one entry per task.

    Parameters
    ----------
    class_weight : dict, "balanced", list or None
        As given by the user.
    targets : Targets
        The tasks.

    Returns
    -------
    list or None
        For each task None, "balanced" or {class: weight}.
    """
    if class_weight is None:
        return None
    entries = class_weight
    if isinstance(class_weight, str | dict):
        entries = [class_weight] * targets.n_tasks
    if len(entries) != targets.n_tasks:
        raise ValueError(
            f"The 'class_weight' parameter must have one entry per task, "
            f"{targets.n_tasks}. Got {len(entries)}."
        )
    for entry, name in zip(entries, targets.names, strict=True):
        if entry is None or (isinstance(entry, str) and entry == "balanced"):
            continue
        if not isinstance(entry, dict):
            raise ValueError(
                "An entry of the 'class_weight' parameter must be None, 'balanced' or "
                f"a dict. Got {entry!r} for task {name!r}."
            )
        if not all(
            isinstance(w, Real) and 0 <= float(w) < np.inf for w in entry.values()
        ):
            raise ValueError(
                "The 'class_weight' parameter must hold finite weights that are not "
                f"negative. Got {entry!r} for task {name!r}."
            )
    return list(entries)


def check_declared_classes(estimator: Any, y: Any, classes: Any) -> list[Any] | None:
    """Return what ``partial_fit`` was told of the classes, as one entry per task.

    Parameters
    ----------
    estimator : estimator
        The estimator.
    y : object
        The labels of this call.
    classes : array-like, list or None
        As given by the user.

    Returns
    -------
    list or None
        One array per task; None after the first call.
    """
    if estimator.class_weight is not None and "balanced" in _entries(
        estimator.class_weight
    ):
        raise ValueError(
            "class_weight='balanced' needs all rows at once, which partial_fit has "
            "not: give the weights as {label: weight}."
        )
    if estimator.__sklearn_is_fitted__():
        if classes is not None:
            _check_unchanged(estimator._targets, classes)
        return None
    if y is None:
        return None
    columns = read_columns(y, estimator.missing_label)
    n_tasks = len(columns.columns)
    kinds = estimator._kinds(columns)
    if classes is None:
        if "classification" in kinds:
            raise ValueError(
                "classes must be passed on the first call to partial_fit: the labels "
                "of all tasks, as a list of one array per task."
            )
        return None
    classes = [classes] if columns.one_d and not _is_nested(classes) else list(classes)
    if len(classes) != n_tasks or not all(
        (entry is None) == (kind == "regression")
        for entry, kind in zip(classes, kinds, strict=False)
    ):
        raise ValueError(
            f"classes must be a list with the labels of each of the {n_tasks} tasks, "
            f"and None for regression. Got {len(classes)} entries."
        )
    return classes


def published_classes(estimator: Any, targets: Targets) -> None:
    """Set ``classes_`` and ``n_classes_``.

    Parameters
    ----------
    estimator : estimator
        The estimator that was fitted.
    targets : Targets
        The tasks.
    """
    single = targets.one_d and targets.classes[0] is not None
    estimator.classes_ = targets.classes[0] if single else list(targets.classes)
    estimator.n_classes_ = targets.n_classes[0] if single else targets.n_classes


def _entries(class_weight: Any) -> list[Any]:
    return (
        [class_weight] if isinstance(class_weight, str | dict) else list(class_weight)
    )


def _is_nested(classes: Any) -> bool:
    first = next(iter(classes), None)
    return first is None or (np.ndim(first) > 0 and not isinstance(first, str))


def _check_unchanged(targets: Targets, classes: Any) -> None:
    given = classes if _is_nested(classes) else [classes]
    same = len(given) == targets.n_tasks and all(
        (new is None and old is None)
        or (new is not None and old is not None and np.array_equal(np.unique(new), old))
        for new, old in zip(given, targets.classes, strict=True)
    )
    if not same:
        raise ValueError(
            f"classes={classes!r} is not what the first call to partial_fit was given: "
            f"{[None if c is None else c.tolist() for c in targets.classes]}."
        )
