"""DataFrames of all kinds: which are read, and what is given back."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
from narwhals.exceptions import DuplicateError
from numpy.typing import NDArray

#: Packages whose objects are taken as they are.
PLAIN = {"builtins", "numpy", "pandas", "scipy", "skmtl", "torch"}


def read_frame(table: object, name: str) -> Any:
    """Convert a table in memory to pandas, polars or Arrow; keep anything else."""
    module = type(table).__module__
    package = module.partition(".")[0]
    if package in PLAIN:
        return table
    if package in ("dask", "dask_expr") and "arr" not in module:
        raise TypeError(_explain_not_in_memory(name, table, "call .compute() on it"))
    if package == "datasets":
        advice = "open it with skmtl.datasets.open_table, which returns X and y"
        raise TypeError(_explain_not_in_memory(name, table, advice))
    try:
        frame = wrap_frame(_join_chunks(table) if package == "pyarrow" else table)
    except DuplicateError as error:
        raise ValueError(
            f"Column names of {name} must be unique, but {error}: rename the columns."
        ) from error
    if isinstance(frame, nw.LazyFrame):
        raise TypeError(_explain_not_in_memory(name, table, "call .collect() on it"))
    if not isinstance(frame, nw.DataFrame | nw.Series):
        return table
    like_pandas = frame.implementation.is_pandas_like()
    is_supported = frame.implementation.is_pandas() or not like_pandas
    return frame.to_native() if is_supported else frame.to_pandas()


def wrap_frame(table: object) -> Any:
    """Wrap a DataFrame or Series by narwhals; return anything else unchanged."""
    native = nw.to_native(table, pass_through=True)
    return nw.from_native(native, pass_through=True, allow_series=True)


def get_column_names(table: object) -> list[Any] | None:
    """Return the names of a DataFrame's columns; None of what has none."""
    if hasattr(table, "iloc"):  # pandas, whose names may be of any type
        return list(table.columns) if hasattr(table, "columns") else None
    frame = wrap_frame(table)
    return frame.columns if isinstance(frame, nw.DataFrame) else None


def split_frame(table: Any, columns: Sequence[int] | None = None) -> list[Any]:
    """Return columns of a DataFrame, all by default; none of anything else."""
    framed = hasattr(table, "iloc") and hasattr(table, "columns")
    if framed and not table.columns.is_unique:  # which narwhals refuses
        table = table.set_axis(range(table.shape[1]), axis=1)
    frame = wrap_frame(table)
    if not isinstance(frame, nw.DataFrame):
        return []
    if columns is None:
        return list(frame.iter_columns())
    names = frame.columns
    return [frame.get_column(names[i]) for i in columns]


def replace_columns(table: Any, columns: Mapping[int, NDArray[np.generic]]) -> Any:
    """Return a DataFrame with other columns of numbers in some places."""
    if hasattr(table, "iloc"):  # pandas, whose names may occur twice
        table = table.copy(deep=False)
        for i, values in columns.items():
            table.isetitem(i, values)
        return table
    frame = wrap_frame(table)
    series = [
        nw.new_series(frame.columns[i], values, backend=frame.implementation)
        for i, values in columns.items()
    ]
    return frame.with_columns(*series).to_native()


def make_frame(columns: Mapping[Hashable, NDArray[np.generic]], like: object) -> Any:
    """Return columns as a DataFrame of the kind of another, which is not of pandas."""
    if type(like).__module__.partition(".")[0] in PLAIN:
        return None
    frame = wrap_frame(like)
    if not isinstance(frame, nw.DataFrame):
        return None
    listed = {
        str(name): values.tolist() if values.dtype.kind in "OUS" else values
        for name, values in columns.items()
    }
    made: Any = nw.from_dict(listed, backend=frame.implementation)
    return made if isinstance(like, nw.DataFrame) else made.to_native()


def _explain_not_in_memory(name: str, table: object, advice: str) -> str:
    kind = f"{type(table).__module__.partition('.')[0]}.{type(table).__name__}"
    return f"{name} must be a table in memory. Got a {kind}: {advice}."


def _join_chunks(table: object) -> Any:
    """Return batches and arrays of Arrow as tables and columns, as narwhals has."""
    import pyarrow as pa

    if isinstance(table, pa.RecordBatch):
        return pa.Table.from_batches([table])
    return pa.chunked_array([table]) if isinstance(table, pa.Array) else table
