"""Columns of a table: numbers, or categories, which get codes instead of labels."""

from collections.abc import Hashable, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn import config_context
from sklearn.preprocessing import OrdinalEncoder

from skmtl._core.dataframes import (
    get_column_names,
    replace_columns,
    split_frame,
    wrap_frame,
)
from skmtl._data.labels import Column, Labels, is_categorical, read_series

NUMBERS = Real | Decimal | np.bool_


class CategoryEncoder:
    """Which columns of a table hold categories, and their codes."""

    columns: list[int]  # Positions of these columns.
    names: list[Any]  # Their names.
    encoder: OrdinalEncoder  # Knows the categories.

    @classmethod
    def from_table(cls, X: object) -> Self | None:
        """Read the categories of a table."""
        columns = [
            i
            for i, s in enumerate(split_frame(X))
            if _infer_column_type(s) == "categories"
        ]
        if not columns:
            return None
        self = cls()
        self.columns = columns
        names = get_column_names(X)  # Python's own, where they are numbers
        self.names = [names[i] for i in columns] if names else []
        self.encoder = OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=-1
        ).fit(self._read_labels(X))
        return self

    def count_categories(self, n_features: int) -> tuple[int, ...]:
        """Return the number of categories of each column, zero for numbers."""
        sizes = np.zeros(n_features, dtype=np.int64)
        category_lists = self.encoder.categories_
        sizes[self.columns] = [
            sum(label == label for label in k) for k in category_lists
        ]
        return tuple(sizes.tolist())

    def get_categories(self) -> dict[int, list[Any]]:
        """Return the categories of each column of categories, without missing ones."""
        category_lists = [
            [label for label in k if label == label] for k in self.encoder.categories_
        ]
        return dict(zip(self.columns, category_lists, strict=True))

    def transform(self, X: Any) -> Any:
        """Return a table with codes in place of categories."""
        X = X.toarray() if issparse(X) else X
        if len(np.shape(X)) != 2 or np.shape(X)[1] <= self.columns[-1]:
            return X  # refused later, for its shape
        labels = self._read_labels(X)
        with config_context(transform_output="default"):  # whatever the user has set
            codes = self.encoder.transform(labels) + 1
        codes[labels != labels] = np.nan  # also where fit saw none missing
        if hasattr(X, "columns"):
            return replace_columns(X, dict(zip(self.columns, codes.T, strict=True)))
        X = np.array(X, dtype=object)
        X[:, self.columns] = codes
        return X

    def _read_labels(self, X: Any) -> Labels:
        """Return labels of shape (n_samples, n_columns), NaN where missing."""
        if not hasattr(X, "columns"):
            labels = np.array(X, dtype=object)[:, self.columns]
            labels[labels == None] = np.nan  # noqa: E711
            return labels
        labels = np.empty((len(X), len(self.columns)), dtype=object)
        for j, series in enumerate(split_frame(X, self.columns)):
            values, mask = read_series(series)
            labels[:, j] = values.tolist()
            labels[slice(0) if mask is None else mask, j] = np.nan
        return labels


def encode_categories(X: Any, categories: CategoryEncoder | None) -> Any:
    """Encode a table as numbers: codes for categories, floats for objects."""
    # A column without a value, whatever its type, is one of missing numbers.
    fitted_columns = set() if categories is None else set(categories.columns)
    objects = {
        i: _read_floats(series)
        for i, series in enumerate(split_frame(X))
        if i not in fitted_columns
        and not _is_numeric(series)
        and (_infer_column_type(series) == "numbers" or _has_numbers(series))
    }
    X = replace_columns(X, objects) if objects else X
    return X if categories is None else categories.transform(X)


def check_column_types(
    X: object, categories: CategoryEncoder | None, names: Sequence[Hashable] | None
) -> None:
    """Raise where columns are categories but fit had numbers, or vice versa."""
    series, given = split_frame(X), get_column_names(X)
    if not series or (names is not None and list(names) != given):
        return
    labels = {} if categories is None else categories.get_categories()
    for i, (name, column) in enumerate(zip(given or [], series, strict=True)):
        kind = _infer_column_type(column)
        if i not in labels and kind == "categories" and not _has_numbers(column):
            raise ValueError(
                f"Column {name!r} of X holds categories, but held numbers when "
                "the model was fitted: give numbers."
            )
        strings = i in labels and all(isinstance(label, str) for label in labels[i])
        if strings and kind == "numbers" and not _is_empty(column):
            raise ValueError(
                f"Column {name!r} of X holds numbers, but held categories such "
                f"as {labels[i][0]!r} when the model was fitted: give such categories."
            )


def _infer_column_type(series: Column) -> str:
    """Return whether a column holds "categories" or "numbers"; raise for others."""
    if _is_numeric(series):
        return "numbers"
    typed = is_categorical(series)
    if typed and series.implementation.is_polars():  # which are strings in any case
        return "categories"
    values, mask = read_series(_get_levels(series) if typed else series)
    present = values if mask is None else values[~mask]
    # As objects, dates in nanoseconds would be integers.
    dates = present.dtype.kind in "mM"
    types = {present.dtype.type} if dates else set(map(type, present.tolist()))
    strings = [issubclass(t, str) for t in types]
    if (types and all(strings)) or (typed and not any(strings)):
        return "categories"
    if not dates and all(issubclass(t, NUMBERS) for t in types):
        return "numbers"
    name = getattr(series.name, "item", lambda: series.name)()
    raise ValueError(
        f"Column {name!r} of X holds values of type "
        f"{' and '.join(sorted(t.__name__ for t in types))}, which are neither numbers "
        "nor strings alone: give numbers, such as days since a date, or strings for "
        "categories."
    )


def _is_numeric(series: Column) -> bool:
    """Return whether a column is of numbers, which numpy reads as floats."""
    # Types of numpy and pandas, also for bools and sparse columns.
    kind = getattr(getattr(series.to_native(), "dtype", None), "kind", "O")
    return kind in "biufc" or series.dtype.is_integer() or series.dtype.is_float()


def _get_levels(series: Column) -> Column:
    """Return the categories of a column that has a type for them."""
    # In narwhals they are strings, whatever they are in pandas or Arrow.
    native = series.to_native()
    if series.implementation.is_pyarrow():
        return wrap_frame(native.cast(native.type.value_type))
    labels = getattr(native.dtype, "categories", None)
    return series if labels is None else wrap_frame(labels.to_series())


def _has_numbers(series: Column) -> bool:
    """Return whether the categories of a column are numbers."""
    polars = series.implementation.is_polars()
    return is_categorical(series) and not polars and _is_numeric(_get_levels(series))


def _is_empty(series: Column) -> bool:
    mask = read_series(series)[1]
    return mask is not None and bool(mask.all())


def _read_floats(series: Column) -> NDArray[np.float64]:
    """Return numbers that come as objects, NaN where missing."""
    values, mask = read_series(series)
    floats = values.astype(np.float64)
    if mask is not None:
        floats[mask] = np.nan
    return floats
