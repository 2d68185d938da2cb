"""Reading X: one array of numbers, or a table that stays on disk."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from skmtl._core.dataframes import read_frame
from skmtl._core.validation import (
    CHANNELS_LAST,
    check_sample_shape,
    fill_masked,
    has_channels_last,
    import_pandas,
    warn_user,
)
from skmtl._data.categories import (
    CategoryEncoder,
    check_column_types,
    encode_categories,
)
from skmtl._data.streamed_table import StreamedTable

if TYPE_CHECKING:
    from skmtl.encoder import Encoder

#: Types of dates and times that arrays of objects may hold.
DATES = (
    datetime.date,
    datetime.time,
    datetime.timedelta,
    np.datetime64,
    np.timedelta64,
)


def validate_inputs(
    estimator: BaseEstimator, X: Any, encoder: Encoder, reset: bool
) -> Any:
    """Return inputs as one array of numbers, categories as codes."""
    check_form(X)
    X = _read_array(X)
    check_sample_shape(X, encoder)
    if reset and has_channels_last(getattr(X, "shape", ())[1:]):
        warn_user(
            f"X has images of shape {tuple(X.shape[1:])}, which are read as (channels, "
            f"height, width): {CHANNELS_LAST}."
        )
    table = _make_category_frame(X) if isinstance(X, StreamedTable) else X
    if reset:
        estimator._categories = CategoryEncoder.from_table(table)
        _check_categories(estimator._categories, encoder)
    else:
        names = getattr(estimator, "feature_names_in_", None)
        check_column_types(table, estimator._categories, names)
    if isinstance(X, StreamedTable):  # its numbers are checked when they are read
        validate_data(estimator, table, reset=reset, skip_check_array=True)
        values = np.asarray(
            encode_categories(table, estimator._categories), dtype=np.float64
        )
        return X.with_codes({j: values[:, j] for j in X.levels}, encoder.allow_nan)
    try:
        return validate_data(
            estimator,
            encode_categories(X, estimator._categories),
            reset=reset,
            accept_sparse="csr",
            dtype=(np.float64, np.float32),
            allow_nd=True,
            ensure_all_finite="allow-nan" if encoder.allow_nan else True,
        )
    except (TypeError, ValueError):
        _check_no_dates(X)  # which are no numbers either
        raise


def _read_array(X: object) -> Any:
    """Return a tensor or a masked array as an array, and DataFrames of any kind."""
    X = read_frame(X, "X")
    if isinstance(X, Tensor):
        X = X.float() if X.dtype == torch.bfloat16 else X  # numpy has no such type
        return X.detach().cpu().numpy()
    if np.ma.isMaskedArray(X):
        X = fill_masked(X)
    kind = getattr(getattr(X, "dtype", None), "kind", None)
    if isinstance(X, list | tuple) or kind in ("m", "M"):
        _check_no_dates(X)
    return X


def _check_no_dates(X: object) -> None:
    """Reject arrays and lists of dates and times, as DataFrames of them are."""
    if hasattr(X, "columns") or issparse(X):
        return
    try:
        values = np.asarray(X)
    except ValueError:  # rows of different lengths, which scikit-learn refuses
        return
    dates = {values.dtype.type} if values.dtype.kind in "mM" else set()
    if values.dtype.kind == "O":
        dates = {t for t in set(map(type, values.flat)) if issubclass(t, DATES)}
    if dates:
        names = " and ".join(sorted(kind.__name__ for kind in dates))
        raise ValueError(
            f"X holds values of type {names}, which are not numbers: give numbers, "
            "such as days since a date."
        )


def check_channels(X: object, expected: Sequence[int]) -> None:
    """Reject images whose channels come last where those of training came first."""
    shape = tuple(getattr(X, "shape", ())[1:])
    if len(shape) == 3 and shape != tuple(expected) == (shape[2], *shape[:2]):
        raise ValueError(
            f"X has images of shape {shape}, but training had {tuple(expected)}: "
            f"{CHANNELS_LAST}."
        )


def check_form(X: object) -> None:
    """Reject torch's data sets, rows of different lengths and complex numbers."""
    if isinstance(X, Dataset | DataLoader):
        raise TypeError(
            f"X must be a table, an array or a tensor. Got torch's {type(X).__name__}: "
            "give the tensors of all samples, such as those of "
            "X, y = torch.utils.data.default_collate(list(dataset))."
        )
    if isinstance(X, list | tuple):
        try:
            X = np.asarray(X)
        except ValueError as error:
            if "inhomogeneous" not in str(error):
                raise
            raise ValueError(
                "X must have the same number of features in every row. Got rows of "
                "different lengths: give one column per feature, NaN where a value is "
                "missing."
            ) from error
    X = read_frame(X, "X")
    dtype = getattr(X, "dtype", None)
    dtypes = getattr(X, "dtypes", ()) if dtype is None else [dtype]
    kinds = {getattr(each, "kind", None) for each in dtypes}
    if "c" in kinds or getattr(dtype, "is_complex", False):
        raise ValueError(
            "Complex data not supported: X must hold real numbers. Give the real and "
            "the imaginary parts as columns, np.hstack([X.real, X.imag])."
        )


def _make_category_frame(X: StreamedTable) -> Any:
    """Return a DataFrame with all labels of columns of categories, zero for numbers."""
    pd = import_pandas("open_table")
    n_rows = max(map(len, X.levels.values()), default=1)
    columns = [pd.Series(np.zeros(n_rows)) for _ in X.names]
    for j, labels in X.levels.items():
        columns[j] = pd.Series([*labels, *labels[:1] * (n_rows - len(labels))])
        columns[j] = columns[j].astype("category")
    return pd.concat(columns, axis=1, keys=X.names)


def _check_categories(categories: CategoryEncoder | None, encoder: Encoder) -> None:
    if categories is not None and not encoder.takes_categories:
        raise ValueError(
            f"The encoder {type(encoder).__name__} takes no columns of categories. Got "
            f"{categories.names}: give numbers, for example by a OneHotEncoder in a "
            "ColumnTransformer, or use encoder='mlp'."
        )
