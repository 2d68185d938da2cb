"""Class labels and class weights as the user gives and gets them."""

from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from skmtl._core.options import suggest
from skmtl._core.validation import StrOptions
from skmtl._data.labels import LabelTable, read_labels
from skmtl._data.targets import Targets
from skmtl._data.training_data import ClassWeight, get_class_labels

#: Constraint of the ``class_weight`` parameter.
CLASS_WEIGHT: list[Any] = [StrOptions({"balanced"}), dict, list, tuple, None]


def check_class_weight(class_weight: object, targets: Targets) -> ClassWeight | None:
    """Return one entry per task."""
    if class_weight is None:
        return None
    entries = _read_entries(class_weight, targets)
    if len(entries) != targets.n_tasks:
        raise ValueError(
            f"The 'class_weight' parameter must have one entry per task, "
            f"{targets.n_tasks}. Got {len(entries)}."
        )
    for entry, name in zip(entries, targets.names, strict=True):
        _check_entry(entry, name)
    if isinstance(class_weight, dict) and not _names_tasks(class_weight):
        _check_shared(class_weight, targets)
    elif not isinstance(class_weight, str):
        for entry, classes, name in zip(
            entries, targets.classes, targets.names, strict=True
        ):
            _check_known(entry, classes, name)
    return entries


def resolve_class_weight(class_weight: object, number: int, targets: Targets) -> Any:
    """Return the class weights of one task, to fit it alone."""
    if class_weight is None or isinstance(class_weight, str):
        return class_weight
    entry, classes = (
        _read_entries(class_weight, targets)[number],
        targets.classes[number],
    )
    if classes is None:
        return None
    if isinstance(entry, dict):
        return {c: entry[c] for c in get_class_labels(classes) if c in entry}
    return entry


def _read_entries(class_weight: Any, targets: Targets) -> list[Any]:
    """Return one entry per task."""
    if isinstance(class_weight, dict) and _names_tasks(class_weight):
        for name in class_weight:
            if name not in targets.names:
                raise ValueError(
                    f"The 'class_weight' parameter names the unknown task {name!r}."
                    f"{suggest(name, targets.names)} The tasks are {targets.names}."
                )
        return [class_weight.get(name) for name in targets.names]
    if isinstance(class_weight, str | dict):
        return [class_weight] * targets.n_tasks
    return list(class_weight)


def _names_tasks(class_weight: dict[Any, Any]) -> bool:
    """Return whether a dict has an entry per task, not a weight per class."""
    entries = class_weight.values()
    return any(e is None or e == "balanced" or isinstance(e, dict) for e in entries)


def _check_entry(entry: object, name: object) -> None:
    """Raise an error unless it is a class weight of a task."""
    if entry is None or (isinstance(entry, str) and entry == "balanced"):
        return
    if not isinstance(entry, dict):
        raise ValueError(
            "An entry of the 'class_weight' parameter must be None, 'balanced' or "
            f"a dict {{class: weight}}. Got {entry!r} for task {name!r}."
        )
    # Real has no order for mypy, which all of its types have.
    if not all(isinstance(w, Real) and 0 <= w < np.inf for w in entry.values()):  # type: ignore[operator]
        raise ValueError(
            "The 'class_weight' parameter must hold finite weights that are not "
            f"negative. Got {entry!r} for task {name!r}."
        )


def _check_known(entry: object, classes: NDArray[Any] | None, name: object) -> None:
    """Raise an error for the weights of a task that name none of its classes."""
    if entry is None or (isinstance(entry, dict) and not entry):
        return
    if classes is None:
        raise ValueError(
            f"The 'class_weight' parameter has {entry!r} for task {name!r}, a "
            "regression task, which has no classes: give None for it."
        )
    labels = get_class_labels(classes)
    if isinstance(entry, dict) and not set(labels) <= set(entry):
        _check_labels(entry, labels, f"task {name!r}, whose classes are {labels}")


def _check_shared(entry: dict[Any, Any], targets: Targets) -> None:
    """Raise an error for weights for all tasks that name classes of none of them."""
    of_tasks = [get_class_labels(c) for c in targets.classes if c is not None]
    labels = list(dict.fromkeys(label for task in of_tasks for label in task))
    if not labels or not set(labels) <= set(entry):
        _check_labels(entry, labels, f"all tasks, whose classes are {labels}")


def _check_labels(entry: dict[Any, Any], labels: list[Any], whose: str) -> None:
    for label in entry:
        if label not in labels:
            raise ValueError(
                f"The 'class_weight' parameter names the unknown class {label!r} for "
                f"{whose}.{suggest(label, labels)}"
            )


def check_declared_classes(
    estimator: BaseEstimator, y: ArrayLike, classes: object
) -> list[Any] | None:
    """Return what ``partial_fit`` was told of the classes, as one entry per task."""
    if _has_balanced(estimator.class_weight):
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
    columns = read_labels(y, estimator.missing_label)
    if classes is None:
        if "classification" in estimator._infer_task_types(columns):
            raise ValueError(
                "classes must be passed on the first call to partial_fit: the labels "
                "of all tasks, as a list of one array per task."
            )
        return None
    return _read_declared(estimator, classes, columns)


def make_class_attributes(estimator: BaseEstimator, targets: Targets) -> None:
    """Set ``classes_`` and ``n_classes_``."""
    single = targets.one_d and targets.classes[0] is not None
    estimator.classes_ = targets.classes[0] if single else list(targets.classes)
    estimator.n_classes_ = targets.n_classes[0] if single else targets.n_classes


def _has_balanced(class_weight: dict[Any, Any] | str | list[Any] | None) -> bool:
    entries = class_weight.values() if isinstance(class_weight, dict) else class_weight
    return "balanced" in ([entries] if isinstance(entries, str) else entries or [])


def _read_declared(
    estimator: BaseEstimator, classes: object, columns: LabelTable
) -> list[Any]:
    """Return the labels of each task that a first call to partial_fit declares."""
    names = columns.task_names
    entries = _read_declared_entries(classes, names, columns.one_d)
    if len(entries) != len(names):
        raise ValueError(
            f"classes must be a list with the labels of each of the {len(names)} "
            f"tasks, and None for regression. Got {len(entries)} entries."
        )
    for entry, name in zip(entries, names, strict=True):
        if entry is not None:
            _check_declared(entry, name)
    kinds = estimator._infer_task_types(columns, entries)
    for entry, kind, name in zip(entries, kinds, names, strict=True):
        if (entry is None) != (kind == "regression"):
            need = "None" if kind == "regression" else "an array of labels"
            raise ValueError(
                f"classes must have {need} for task {name!r}, one of {kind}. Got "
                f"{entry!r}."
            )
    return entries


def _read_declared_entries(classes: object, names: list[Any], one_d: bool) -> list[Any]:
    if isinstance(classes, dict):
        for name in classes:
            if name not in names:
                raise ValueError(
                    f"classes names the unknown task {name!r}.{suggest(name, names)} "
                    f"The tasks are {names}."
                )
        return [classes.get(name) for name in names]
    if isinstance(classes, str) or not isinstance(classes, Iterable):
        raise ValueError(
            "classes must be a list of one array of labels per task, or a dict of "
            f"these by task name. Got {classes!r}."
        )
    return [classes] if one_d and not _is_nested(classes) else list(classes)


def _check_declared(labels: Any, name: object) -> None:
    """Raise an error for declared labels that are no classes of one task."""
    listed = isinstance(labels, Iterable) and not isinstance(labels, str | bytes | dict)
    values = list(labels) if listed and np.ndim(labels) else []
    if not values or any(np.ndim(value) for value in values):
        raise ValueError(
            f"classes must have a 1-D array of labels for task {name!r}. Got "
            f"{labels!r}: give one array per task, such as [[0, 1], [0, 1]] for two "
            "tasks of these classes."
        )
    if not read_labels(np.array(values, dtype=object)).get_mask().all():
        raise ValueError(
            f"classes must be no missing labels. Got {labels!r} for task {name!r}: "
            "leave NaN and None out."
        )
    if len(set(values)) < len(values):
        raise ValueError(
            f"classes must be unique. Got {labels!r} for task {name!r}: give each once."
        )


def _is_nested(classes: Any) -> bool:
    first = next(iter(classes), None)
    return first is None or (np.ndim(first) > 0 and not isinstance(first, str))


def _check_unchanged(targets: Targets, classes: Any) -> None:
    if isinstance(classes, dict):
        classes = _read_declared_entries(classes, targets.names, targets.one_d)
    entries = classes if _is_nested(classes) else [classes]
    same = len(entries) == targets.n_tasks and all(
        (new is None and old is None)
        or (new is not None and old is not None and np.array_equal(np.unique(new), old))
        for new, old in zip(entries, targets.classes, strict=True)
    )
    if not same:
        raise ValueError(
            f"classes={classes!r} is not what the first call to partial_fit was given: "
            f"{[None if c is None else c.tolist() for c in targets.classes]}."
        )
