"""Argument checks shared by the estimators; one error sentence each."""

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    Options,
    RealNotInt,
    StrOptions,
    validate_params,
)

__all__ = [
    "SEQUENCES",
    "HasMethods",
    "Interval",
    "Options",
    "RealNotInt",
    "StrOptions",
    "check_device",
    "check_sample_shape",
    "check_sample_weight",
    "check_task_weight",
    "near_one",
    "pandas_for",
    "task_number",
    "task_numbers",
    "validate_params",
    "warn_user",
]

#: Largest exponent of weights whose sums and products no type has trouble with.
USUAL = 53
#: Packages whose calls stand between a user's line and what warns.
BETWEEN = {"contextlib", "functools", "joblib", "sklearn", "skmtl", "skorch", "torch"}
#: Types in which users give several tasks; a string is none.
SEQUENCES = (list, tuple, np.ndarray)


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's code that has called this package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_between(frame.f_globals):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _is_between(names: Mapping[str, Any]) -> bool:
    return str(names.get("__name__")).partition(".")[0] in BETWEEN


def default_device() -> torch.device:
    """Return the device that "auto" stands for."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_device(device: Any) -> torch.device:
    """Return the torch device that a parameter names, if it can be used here."""
    if isinstance(device, str) and device == "auto":
        return default_device()
    try:
        found = torch.device(device)
        torch.empty(1, device=found).cpu()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"The 'device' parameter must be 'auto' or a torch device that this "
            f"machine has, such as 'cpu'. Got {device!r}: "
            f"{str(error).splitlines()[0].split('. ')[0]}"
        ) from error
    return found


#: What encoders take, by the number of dimensions; how else to give it to them.
_INPUTS = {
    2: (
        "tables, X of shape (n_samples, n_features): for images set encoder='cnn', or "
        "flatten them, X.reshape(len(X), -1)"
    ),
    4: (
        "images, X of shape (n_samples, channels, height, width): reshape X to that, "
        "such as X.reshape(-1, 1, 8, 8), or for tables set encoder='mlp'"
    ),
}


def check_sample_shape(X: Any, encoder: Any) -> None:
    """Refuse a table where the encoder takes images, and images where it does not."""
    expected = encoder.input_ndim
    if expected not in _INPUTS:
        return
    shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
    # scikit-learn has its own words for what has no axis of features.
    if len(shape) > 1 and len(shape) != expected:
        raise ValueError(
            f"X has samples of shape {tuple(shape[1:])}, but the encoder "
            f"{type(encoder).__name__} takes {_INPUTS[expected]}."
        )


def check_sample_weight(
    sample_weight: ArrayLike | None, n_samples: int, n_tasks: int, name: str
) -> NDArray[np.float64] | None:
    """Return weights of shape (n_samples, 1) or (n_samples, n_tasks), or None."""
    if sample_weight is None:
        return None
    weight = _as_numbers(sample_weight, name)
    if weight.shape not in [(n_samples,), (n_samples, n_tasks)]:
        raise ValueError(
            f"{name} must have shape {(n_samples,)} or {(n_samples, n_tasks)}: one "
            f"weight per row or per label. Got shape {weight.shape}."
        )
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError(
            f"{name} must be finite and not negative. Got values from "
            f"{weight.min()} to {weight.max()}."
        )
    if not weight.any():
        raise ValueError(
            f"{name} is zero for every row: give at least one row a positive weight."
        )
    return weight.reshape(n_samples, -1)


def near_one(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers of which only proportions matter in units that all types hold.

    Parameters
    ----------
    values : ndarray of shape (n,) or (n, n_tasks)
        Weights, or other numbers.

    Returns
    -------
    ndarray of the same shape
        Numbers over a power of two, which rounds none: one where the largest, or that
        of each column, is neither huge nor tiny, else so that it lies in [1, 2).
    """
    exponent = np.frexp(np.abs(values).max(axis=0, initial=0.0))[1] - 1
    return np.ldexp(values, np.where(np.abs(exponent) < USUAL, 0, -exponent))


def _as_numbers(weight: Any, name: str) -> NDArray[np.float64]:
    try:
        return np.asarray(weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must hold numbers, as many in every row. Got a "
            f"{type(weight).__name__} that cannot be read so: {error}."
        ) from error


def check_task_weight(
    task_weight: ArrayLike | Mapping[Any, float] | None,
    names: list[Any],
    parameter: str = "The 'task_weight' parameter",
) -> NDArray[np.float64]:
    """Return one finite weight per task; tasks left out of a dict weigh one."""
    if task_weight is None:
        return np.ones(len(names))
    if isinstance(task_weight, Mapping):
        unknown = [name for name in task_weight if name not in names]
        if unknown:
            raise ValueError(
                f"{parameter} names the unknown task {unknown[0]!r}. "
                f"The tasks are {names}."
            )
        task_weight = [task_weight.get(name, 1.0) for name in names]
    weight = _as_numbers(task_weight, parameter)
    if weight.shape != (len(names),):
        raise ValueError(
            f"{parameter} must have one weight per task, shape "
            f"({len(names)},). Got shape {weight.shape}."
        )
    if not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise ValueError(
            f"{parameter} must be finite, not negative and positive "
            f"for at least one task. Got {weight.tolist()}."
        )
    return weight


def task_number(task: Any, names: Sequence[Any], parameter: str) -> int:
    """Return the number of a task given by name or number."""
    names = list(names)
    if task in names:
        return names.index(task)
    if isinstance(task, Integral) and int(task) in range(len(names)):
        return int(task)
    raise ValueError(
        f"{parameter} names the unknown task {task!r}. The tasks are {names}: "
        f"give one of them or its number, from 0 to {len(names) - 1}."
    )


def task_numbers(
    tasks: Iterable[Any], names: Sequence[Any], parameter: str
) -> list[int]:
    """Return the numbers of tasks given by name or number: all of them, each once."""
    names = list(names)
    numbers = [task_number(task, names, parameter) for task in tasks]
    counts = np.bincount(numbers, minlength=len(names))
    faults = [
        f"{verb} {[names[t] for t in np.flatnonzero(found)]}"
        for verb, found in (("misses", counts == 0), ("repeats", counts > 1))
        if found.any()
    ]
    if faults:
        raise ValueError(
            f"{parameter} must hold every task once, but {' and '.join(faults)}."
        )
    return numbers


def pandas_for(caller: str) -> Any:
    """Return pandas, or say what needs it.

    Parameters
    ----------
    caller : str
        What the user has called.

    Returns
    -------
    module
        pandas.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            f"{caller} needs pandas: install it with `pip install 'skmtl[pandas]'`."
        ) from error
    return pandas
