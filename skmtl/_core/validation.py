"""Argument checks shared by the estimators; one error sentence each."""

import sys
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import HasMethods, Options, RealNotInt

from skmtl._core.dataframes import get_column_names, read_frame
from skmtl._core.options import Interval, StrOptions, suggest, validate_params

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
    "count_rows",
    "divide_by_largest",
    "fill_masked",
    "import_pandas",
    "match_tasks",
    "normalize_magnitude",
    "resolve_task",
    "resolve_tasks",
    "validate_params",
    "warn_user",
]

#: Packages whose calls stand between a user's line and what warns.
BETWEEN = {"contextlib", "functools", "joblib", "sklearn", "skmtl", "skorch", "torch"}
#: Names that an error lists, at most.
N_SHOWN = 20
#: How often a row may occur at most, for weights to be taken as numbers of rows.
MOST_TIMES = 1000
#: Difference of exponents up to which the weights of tasks have one unit.
MAX_SPREAD = 500
#: Types in which users give several tasks; a string is none.
SEQUENCES = (list, tuple, np.ndarray)


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's code that has called this package."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_between(frame.f_globals):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _is_between(names: Mapping[str, object]) -> bool:
    return str(names.get("__name__")).partition(".")[0] in BETWEEN


def choose_default_device() -> torch.device:
    """Return the device that "auto" stands for."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_device(device: str | int | torch.device) -> torch.device:
    """Return the torch device that a parameter names, if it can be used here."""
    if isinstance(device, str) and device == "auto":
        return choose_default_device()
    try:
        resolved = torch.device(device)
        torch.empty(1, device=resolved).cpu()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"The 'device' parameter must be 'auto' or a torch device that this "
            f"machine has, such as 'cpu'. Got {device!r}: "
            f"{str(error).splitlines()[0].split('. ')[0]}"
        ) from error
    return resolved


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


class _TakesShape(Protocol):
    input_ndim: int | None  # Number of dimensions of X; None for any.


def check_sample_shape(X: object, encoder: _TakesShape) -> None:
    """Reject a table where the encoder takes images, and images where it does not."""
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
    sample_weight: ArrayLike | None,
    n_samples: int,
    task_names: Sequence[Hashable],
    name: str,
) -> NDArray[np.float64] | None:
    """Return weights of shape (n_samples, 1) or (n_samples, n_tasks), or None."""
    if sample_weight is None:
        return None
    n_tasks = len(task_names)
    sample_weight = read_frame(sample_weight, name)
    weight = _as_numbers(sample_weight, name)
    if weight.ndim == 2 and weight.shape[1] == n_tasks > 1:
        order = match_tasks(get_column_names(sample_weight), task_names, name)
        weight = weight if order is None else weight[:, order]
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


def normalize_magnitude(
    values: NDArray[np.float64], usual: int = 0
) -> NDArray[np.float64]:
    """Return numbers of which only proportions matter in units that all types hold."""
    # values of shape (n,) or (n, n_tasks).
    exponent = np.frexp(np.abs(values).max(axis=0, initial=0.0))[1] - 1
    return np.ldexp(values, np.where(np.abs(exponent) < usual, 0, -exponent))


def divide_by_largest(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights over the largest, so that a common factor does not matter."""
    # weight of shape (n,) or (n, n_tasks).
    largest = weight.max(axis=0, initial=0.0)
    scaled: NDArray[np.float64] = weight / np.where(largest > 0, largest, 1.0)
    return scaled


def count_rows(
    weight: NDArray[np.float64], n_labels: NDArray[np.number | np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return weights as numbers of rows, whatever their common factor."""
    # weight of shape (n_samples,) or (n_samples, n_tasks).
    n_labels = np.ones(weight.shape) if n_labels is None else n_labels
    weight = np.where(n_labels > 0, weight, 0.0)
    exponents = np.frexp(weight.max(axis=0, initial=0.0))[1]
    if np.ptp(exponents) > MAX_SPREAD:  # over the largest, a task would have none
        weight = normalize_magnitude(weight)
    weight = divide_by_largest(weight.ravel())
    positive = weight > 0
    if not positive.any():
        return weight.reshape(n_labels.shape)
    smallest = weight[positive].min()
    with np.errstate(over="ignore", invalid="ignore"):
        times = weight / smallest
        whole = times.round()
        near = np.abs(times - whole) <= 1e-6 * whole
    if near.all() and whole.max() <= MOST_TIMES:
        return whole.reshape(n_labels.shape)
    mean = np.average(weight[positive], weights=n_labels.ravel()[positive])
    return (weight / mean).reshape(n_labels.shape)


def _as_numbers(weight: object, name: str) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(fill_masked(weight))
        if np.iscomplexobj(numbers):
            raise TypeError("complex numbers have no order")
        return numbers.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must hold numbers, as many in every row. Got a "
            f"{type(weight).__name__} that cannot be read so: {error}."
        ) from error


def check_task_weight(
    task_weight: Any,
    names: Sequence[Hashable],
    parameter: str = "The 'task_weight' parameter",
) -> NDArray[np.float64]:
    """Return one finite weight per task; tasks left out of a dict weigh one."""
    if task_weight is None:
        return np.ones(len(names))
    if isinstance(task_weight, Mapping):
        unknown = [name for name in task_weight if name not in names]
        if unknown:
            raise ValueError(
                f"{parameter} names the unknown task {unknown[0]!r}."
                f"{suggest(unknown[0], names)} The tasks are {names}."
            )
        task_weight = [task_weight.get(name, 1.0) for name in names]
    weight = _as_numbers(task_weight, parameter)
    if hasattr(task_weight, "iloc") and weight.ndim == 1:  # a pandas Series
        order = match_tasks(list(task_weight.index), names, parameter, "entry")
        weight = weight if order is None else weight[order]
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


def resolve_task(task: object, names: Sequence[Hashable], parameter: str) -> int:
    """Return the number of a task given by name or number."""
    names = list(names)
    if task in names:
        return names.index(task)
    if isinstance(task, Integral) and int(task) in range(len(names)):
        return int(task)
    raise ValueError(
        f"{parameter} names the unknown task {task!r}.{suggest(task, names)} The tasks "
        f"are {names}: give one of them or its number, from 0 to {len(names) - 1}."
    )


def resolve_tasks(
    tasks: Iterable[Hashable], names: Sequence[Hashable], parameter: str
) -> list[int]:
    """Return the numbers of tasks given by name or number: all of them, each once."""
    names = list(names)
    numbers = [resolve_task(task, names, parameter) for task in tasks]
    counts = np.bincount(numbers, minlength=len(names))
    faults = [
        f"{verb} {[names[t] for t in np.flatnonzero(mask)]}"
        for verb, mask in (("misses", counts == 0), ("repeats", counts > 1))
        if mask.any()
    ]
    if faults:
        raise ValueError(
            f"{parameter} must hold every task once, but {' and '.join(faults)}."
        )
    return numbers


def fill_masked(values: object) -> Any:
    """Return a masked array with NaN where masked; anything else as it is."""
    if not np.ma.isMaskedArray(values) or values.dtype.kind in "mMV":
        return values
    data = np.ma.getdata(values, subok=False)
    if not np.ma.getmaskarray(values).any():
        return data
    filled = data.astype(np.result_type(data.dtype, np.float16))
    filled[np.ma.getmaskarray(values)] = np.nan
    return filled


def match_tasks(
    given: Sequence[Hashable] | None,
    names: Sequence[Hashable] | None,
    table: str,
    part: str = "column",
) -> list[int] | None:
    """Return which column of a table holds each task."""
    if given is None or names is None or list(given) == list(names):
        return None
    for candidate_names in (names, range(len(names))):
        if len(given) == len(candidate_names) and set(given) == set(candidate_names):
            column = {name: i for i, name in enumerate(given)}
            return [column[name] for name in candidate_names]
    if list(names) == make_default_names(len(names)):
        return None
    raise ValueError(_describe_other_tasks(given, names, table, part))


def make_default_names(n_tasks: int) -> list[str]:
    """Return the names of tasks that were given none."""
    return [f"task{t}" for t in range(n_tasks)]


def _describe_other_tasks(
    given: Sequence[Hashable], names: Sequence[Hashable], table: str, part: str
) -> str:
    """Return an error that tells how a table's columns differ from the tasks."""
    unknown = [name for name in given if name not in set(names)]
    missing = [name for name in names if name not in set(given)]
    hint = suggest(unknown[0], missing) if unknown else ""
    faults = [
        f"{word} {_show_names(task_names)}"
        for word, task_names in (("has no task", missing), ("has", unknown))
        if task_names
    ] or [f"repeats some of {_show_names(given)}"]
    return (
        f"{table} must have one {part} for each task, named as the tasks are, in any "
        f"order, but {' and '.join(faults)}.{hint} The tasks are {_show_names(names)}: "
        f"rename the {part}s, or give an array in this order."
    )


def _show_names(names: Sequence[Hashable]) -> str:
    """Return the first names of a list."""
    more = f" and {len(names) - N_SHOWN} more" if len(names) > N_SHOWN else ""
    return f"{list(names)[:N_SHOWN]}{more}"


def import_pandas(caller: str) -> Any:
    """Return pandas, or say what needs it."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            f"{caller} needs pandas: install it with `pip install 'skmtl[pandas]'`."
        ) from error
    return pandas


#: What to do with images whose channels come last.
CHANNELS_LAST = "channels last? Use X.transpose(0, 3, 1, 2)"


def has_channels_last(shape: Sequence[int]) -> bool:
    """Return whether images look as if their channels came last."""
    return len(shape) == 3 and shape[2] in (1, 3, 4) and shape[0] == shape[1] > 4
