"""Reading y: one column per task, labels in their native type, and what is missing."""

from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import narwhals as nw
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse

from skmtl._core.dataframes import get_column_names, read_frame, split_frame, wrap_frame
from skmtl._core.validation import make_default_names, match_tasks, warn_user

TaskType = Literal["classification", "regression"]
#: A column of a DataFrame, as narwhals reads it.
Column: TypeAlias = "nw.Series[Any]"
#: Labels, classes or codes of a task, of whatever type they are.
Labels: TypeAlias = NDArray[Any]
TASK_TYPES: tuple[TaskType, TaskType] = ("classification", "regression")
#: Most different whole numbers that are classes in any case.
MOST_CODES = 10
#: Most different whole numbers that are classes where they count 0, 1, 2, ...
MOST_CLASSES = 20
#: Labels of a typical value from which on it may be a class.
ENOUGH_LABELS = 10
#: Tasks that a warning names, at most.
N_NAMED = 5


@dataclass(frozen=True)
class LabelColumn:
    """Labels of one task."""

    # (n_labelled,): The labels that are present, in their native type.
    values: Labels
    present: NDArray[np.bool_]  # (n_samples,): Which rows have a label.
    categorical: bool = False  # Whether the column has a type for categories.

    def restrict(self, keep: NDArray[np.bool_]) -> "LabelColumn":
        """Return the column with the labels of some rows only."""
        values = self.values[keep[self.present]]
        return replace(self, values=values, present=self.present & keep)


@dataclass(frozen=True)
class LabelTable:
    """All tasks' labels as given."""

    columns: list[LabelColumn]  # One per task.
    names: list[Any] | None  # Names of the tasks where y has them.
    one_d: bool  # Whether y is one-dimensional or a single column.
    # The common type of an array; None where columns have types of their own.
    dtype: np.dtype[Any] | None
    n_samples: int  # Number of rows.

    @property
    def task_names(self) -> list[Any]:
        """Names of the tasks, numbered where y has none."""
        return self.names or make_default_names(len(self.columns))

    def with_columns(self, columns: list[LabelColumn]) -> "LabelTable":
        """Return the same table with other labels."""
        return replace(self, columns=columns)

    def match_names(
        self, names: Sequence[Hashable] | None, table: str = "y"
    ) -> "LabelTable":
        """Return columns in the order of the fitted tasks, matched by name."""
        if names is None:
            return self
        order = match_tasks(self.names, names, table)
        columns = self.columns if order is None else [self.columns[i] for i in order]
        return replace(self, columns=columns, names=list(names))

    def get_mask(self) -> NDArray[np.bool_]:
        """Return which labels are present, of shape (n_samples, n_tasks)."""
        return np.column_stack([column.present for column in self.columns])


def read_labels(y: object, missing_label: object = np.nan) -> LabelTable:
    """Split y into columns."""
    # y of shape (n_samples,) or (n_samples, n_tasks).
    if y is None:
        raise ValueError("y cannot be None: give one label per row and task.")
    _check_missing_label(missing_label)
    y = read_frame(y, "y")
    names, raw, one_d, dtype = _split(y)
    if names is not None:
        _check_unique(names)
    for name, (values, _) in zip(
        names or make_default_names(len(raw)), raw, strict=True
    ):
        _check_single_values(values, name)
    columns = [_read(values, mask, missing_label) for values, mask in raw]
    for t, series in enumerate(split_frame(y) or [wrap_frame(y)]):
        if is_categorical(series):
            columns[t] = replace(columns[t], categorical=True)
    if not columns:
        raise ValueError("y has no column: give at least one task.")
    if not len(columns[0].present):
        raise ValueError("y has no row: give at least one labelled sample.")
    return LabelTable(columns, names, one_d, dtype, len(columns[0].present))


def infer_task_types(columns: LabelTable, task_types: Any) -> list[TaskType]:
    """Return the kind of each task: as given, else as its labels show."""
    names = columns.task_names
    declared = {} if task_types is None else task_types
    if not isinstance(declared, dict):
        if len(declared) != len(names):
            raise ValueError(
                f"The 'task_types' parameter must have one entry per task, "
                f"{len(names)}. Got {len(declared)}."
            )
        declared = dict(zip(names, declared, strict=True))
    for name, kind in declared.items():
        if name not in names or kind not in TASK_TYPES:
            raise ValueError(
                f"The 'task_types' parameter must give one of {TASK_TYPES} for names "
                f"among {names}. Got {name!r}: {kind!r}."
            )
    return [
        declared.get(name) or guess_task_type(column)[0]
        for name, column in zip(names, columns.columns, strict=True)
    ]


def guess_task_type(column: LabelColumn) -> tuple[TaskType, bool]:
    """Return the kind of task that labels show, and whether they leave no doubt."""
    values = column.values
    if values.dtype.kind not in "iuf" or not len(values):
        return "classification", True
    if values.dtype.kind == "f" and (values != np.floor(values)).any():
        return "regression", True
    two = values.max() <= values.min() + 1
    if two or column.categorical or np.isinf(values).any():
        return "classification", True
    levels, counts = np.unique(values, return_counts=True)
    span = int(levels[-1]) - int(levels[0]) + 1
    numbered = bool(levels[0] in (0, 1) and span == len(levels) and counts.min() > 1)
    typical = float(np.median(counts))
    if len(levels) <= MOST_CODES:
        return "classification", numbered or len(levels) <= 3 or typical > 2
    if numbered and len(levels) <= MOST_CLASSES:
        return "classification", True
    many = len(levels) > MOST_CLASSES
    return "regression", many and not numbered and typical < ENOUGH_LABELS


def warn_unclear_task_types(columns: LabelTable, task_types: object) -> None:
    """Warn of whole numbers that may be classes or quantities."""
    if task_types is not None and not isinstance(task_types, dict):
        return
    guessed = {
        name: guess_task_type(column)
        for name, column in zip(columns.task_names, columns.columns, strict=True)
        if name not in (task_types or {})
    }
    unclear = {name: kind for name, (kind, clear) in guessed.items() if not clear}
    if unclear:
        named = ", ".join(f"{k!r} as {v}" for k, v in list(unclear.items())[:N_NAMED])
        more = f" and {len(unclear) - N_NAMED} more" if len(unclear) > N_NAMED else ""
        warn_user(
            "The whole numbers of some tasks may be classes or quantities, and are "
            f"taken so: {named}{more}. Set task_types, such as task_types="
            f"{dict([next(iter(unclear.items()))])}, to choose."
        )


_Raw = tuple[Labels, NDArray[np.bool_] | None]


def _split(
    y: Any,
) -> tuple[list[Any] | None, list[_Raw], bool, np.dtype[Any] | None]:
    """Return names, (values, mask of what is missing) per column, one_d and dtype."""
    names = get_column_names(y)
    if names is not None:
        return names, list(map(read_series, split_frame(y))), len(names) == 1, None
    series = wrap_frame(y)
    if isinstance(series, nw.Series):
        name: Any = series.name
        unnamed = name is None or (isinstance(name, str) and not name)
        return (None if unnamed else [name]), [read_series(series)], True, None
    if issparse(y):
        y = y.toarray()
    elif hasattr(y, "detach"):  # a torch tensor
        y = y.detach().cpu().numpy()
    if not isinstance(y, np.ndarray):
        y = _read_sequence(y)
    if y.ndim == 0:
        scalar = y.item()
        simple = isinstance(scalar, str | bool | int | float)
        raise ValueError(
            "y must be a table with one label per row and task. Got "
            f"{repr(scalar) if simple else 'a ' + type(scalar).__name__}."
        )
    if y.ndim > 2:
        raise ValueError(
            "y must have shape (n_samples,) or (n_samples, n_tasks). Got an array of "
            f"shape {y.shape}."
        )
    if y.dtype.names is not None and y.ndim == 1:
        return _split_fields(y)
    mask = np.ma.getmaskarray(y) if np.ma.isMaskedArray(y) else None
    shape = (len(y), 1) if y.ndim == 1 else y.shape
    values = np.ma.getdata(y, subok=False).reshape(shape)
    values = np.asfortranarray(values)  # columns are read one by one
    raw: list[_Raw] = [
        (values[:, t], None if mask is None else mask.reshape(shape)[:, t])
        for t in range(shape[1])
    ]
    return None, raw, values.shape[1] == 1, y.dtype if y.dtype != object else None


def _split_fields(
    y: Labels,
) -> tuple[list[Any], list[_Raw], bool, None]:
    """Return the fields of a structured array, as `_split` returns columns."""
    names: list[Any] = list(y.dtype.names or ())
    masks = [np.ma.getmaskarray(y[name]) for name in names]
    raw = [
        (np.ma.getdata(y[name], subok=False), mask if mask.any() else None)
        for name, mask in zip(names, masks, strict=True)
    ]
    return names, raw, len(names) == 1, None


def _read_sequence(y: ArrayLike) -> Labels:
    """Turn nested lists into an array that keeps the types of their values."""
    if hasattr(y, "__array__"):
        return np.asarray(y)
    y = list(y) if isinstance(y, Iterator) else y
    try:
        array = np.asarray(y, dtype=object)
        ragged = array.ndim == 1 and any(np.ndim(value) for value in array)
    except ValueError:
        ragged = True
    if ragged:
        raise ValueError(
            "y must have the same number of labels in every row. Got rows of different "
            "lengths: for rows with any number of labels, make a column of 0 and 1 for "
            "each label with sklearn.preprocessing.MultiLabelBinarizer."
        )
    types = {type(value) for value in array.flat}
    several = _find_collections(array.ravel())
    if several or len(types) > 1 or any(map(_is_missing, array.flat)):
        return array
    return np.asarray(y)


def is_categorical(series: object) -> bool:
    """Return whether a column has a type for categories."""
    dtype = getattr(series, "dtype", None)
    typed = isinstance(dtype, nw.Categorical | nw.Enum)
    return typed or str(dtype) == "category"  # of pandas, where it is no Series


def _check_missing_label(missing_label: Any) -> None:
    """Raise an error for several values, or what can be no label."""
    several = isinstance(missing_label, Collection) and not isinstance(
        missing_label, str | bytes
    )
    if several or np.ndim(missing_label):
        raise ValueError(
            "The 'missing_label' parameter must be one value, such as -1 or 'unknown'. "
            f"Got {missing_label!r}: replace others by NaN in y."
        )


def read_series(series: Column) -> _Raw:
    """Return the values of a column of narwhals and which are missing."""
    mask = series.is_null().to_native().to_numpy()
    observed = series.drop_nulls() if mask.any() else series
    if series.implementation.is_polars() and series.dtype.is_nested():
        present = _make_objects(observed.to_list())  # without more axes
    else:
        present = observed.to_native().to_numpy()
    if not mask.any():
        return present, None
    values = np.zeros(len(mask), dtype=present.dtype)
    values[~mask] = present
    return values, mask


def _make_objects(values: list[object]) -> Labels:
    """Return an array with one object for each value, which may hold several."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _find_collections(values: Labels) -> set[type]:
    """Return the types of lists, sets, arrays and the like among objects."""
    kinds = {
        kind
        for kind in set(map(type, values))
        if kind is np.void or issubclass(kind, Collection)
        if not issubclass(kind, str | bytes)
    }
    if not kinds:
        return kinds
    # Arrays and tensors without an axis hold one value.
    return {
        type(v) for v in values if type(v) in kinds and getattr(v, "ndim", True)
    } | (kinds & {np.void})


def _check_single_values(values: Labels, name: object) -> None:
    """Raise an error for labels that are lists, tuples, sets or arrays."""
    kinds: set[type] = set()
    if values.ndim > 1 or values.dtype.kind == "V":
        kinds = {np.ndarray if values.ndim > 1 else tuple}
    elif values.dtype.kind == "O":
        kinds = _find_collections(values)
    if kinds:
        raise ValueError(
            f"Task {name!r} must have one label in each row. Got several, as values of "
            f"type {' and '.join(sorted(kind.__name__ for kind in kinds))}: make a "
            "column of 0 and 1 for each label with "
            "sklearn.preprocessing.MultiLabelBinarizer."
        )


def _read(
    values: NDArray[Any], missing: NDArray[np.bool_] | None, missing_label: object
) -> LabelColumn:
    present = np.ones(len(values), dtype=bool) if missing is None else ~missing
    kind = values.dtype.kind
    if kind == "f":
        present &= ~np.isnan(values)
    elif kind in "mM":
        present &= ~np.isnat(values)
    elif kind == "O":
        present &= ~np.frompyfunc(_is_missing, 1, 1)(values).astype(bool)
    if not _is_missing(missing_label):
        present[present] = ~_find_equal(values[present], missing_label)
    observed = values[present]
    return LabelColumn(_narrow_dtype(observed) if kind == "O" else observed, present)


def _find_equal(values: Labels, label: object) -> NDArray[np.bool_]:
    if values.dtype.kind == "O":
        return np.frompyfunc(lambda v: _is_same_kind(v, label) and v == label, 1, 1)(
            values
        ).astype(bool)
    if not len(values) or not _is_same_kind(values[0], label):
        return np.zeros(len(values), dtype=bool)
    return values == label  # type: ignore[no-any-return]


def _is_same_kind(value: object, label: object) -> bool:
    """Check whether two labels can be equal: False is not 0, nor is a date a number."""
    kinds = (str, bytes, bool | np.bool_, np.datetime64, np.timedelta64)
    return all(isinstance(value, k) == isinstance(label, k) for k in kinds)  # type: ignore[arg-type]


def _is_missing(value: object) -> bool:
    if value is None or value is np.ma.masked:
        return True
    if type(value).__name__ in ("NAType", "NaTType"):
        return True
    numbers = float | np.floating | np.datetime64 | np.timedelta64 | Decimal
    return isinstance(value, numbers) and value != value


def _narrow_dtype(values: Labels) -> Labels:
    """Convert objects to the type that all values have; strings stay objects."""
    types = {type(value) for value in values}
    if all(issubclass(t, str) for t in types) or not types:
        return values
    if all(issubclass(t, bool | np.bool_) for t in types):
        return values.astype(bool)
    if any(issubclass(t, bool | np.bool_ | str) for t in types):
        return values
    if all(issubclass(t, int | np.integer) for t in types):
        integers = np.array(values.tolist())  # wider than int64 where need be
        return integers if integers.dtype.kind in "iu" else values
    if all(issubclass(t, int | float | np.number) for t in types):
        return values.astype(np.float64)
    return values


def _check_unique(names: list[Hashable]) -> None:
    duplicates = [name for name, count in Counter(names).items() if count > 1]
    if duplicates:
        raise ValueError(
            f"Task names must be unique. Got {duplicates} more than once among the "
            "columns of y: rename them."
        )
