"""DataFrames of all kinds: which are read, and what is given back."""

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

#: Packages whose objects are taken as they are.
PLAIN = {"builtins", "numpy", "pandas", "scipy", "skmtl", "torch"}


def read_frame(table: Any, name: str) -> Any:
    """Return a DataFrame or Series as pandas or polars has it, anything else as it is.

    Parameters
    ----------
    table : object
        What the user has given.
    name : str
        What the user calls it.

    Returns
    -------
    object
        Arrow tables, and those of packages that follow pandas, become tables of pandas.

    Raises
    ------
    TypeError
        If the table is not in memory.
    """
    module = type(table).__module__
    package = module.partition(".")[0]
    if package in PLAIN:
        return table
    if package in ("dask", "dask_expr") and "arr" not in module:
        raise TypeError(_not_in_memory(name, table, "call .compute() on it"))
    if package == "datasets":
        advice = "open it with skmtl.datasets.open_table, which returns X and y"
        raise TypeError(_not_in_memory(name, table, advice))
    frame = wrap_frame(table)
    if isinstance(frame, nw.LazyFrame):
        raise TypeError(_not_in_memory(name, table, "call .collect() on it"))
    if not isinstance(frame, nw.DataFrame | nw.Series):
        return _read_arrow(table) if package == "pyarrow" else table
    if frame.implementation.is_pyarrow():
        return _read_arrow(frame.to_native())
    kept = frame.implementation.is_pandas() or frame.implementation.is_polars()
    return frame.to_native() if kept else frame.to_pandas()


def wrap_frame(table: Any) -> Any:
    """Return a table as narwhals has it; what is no table as it is."""
    native = nw.to_native(table, pass_through=True)
    return nw.from_native(native, pass_through=True, allow_series=True)


def make_frame(columns: Mapping[Any, NDArray[Any]], like: Any) -> Any:
    """Return columns as a DataFrame of the kind of another, which is not of pandas.

    Parameters
    ----------
    columns : dict
        Columns by name.
    like : object
        A table; None is returned where it is of pandas, or no DataFrame.

    Returns
    -------
    DataFrame or None
        Of polars, Arrow or narwhals.
    """
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


def _not_in_memory(name: str, table: Any, advice: str) -> str:
    kind = f"{type(table).__module__.partition('.')[0]}.{type(table).__name__}"
    return f"{name} must be a table in memory. Got a {kind}: {advice}."


def _read_arrow(table: Any) -> Any:
    """Return an Arrow table or column as pandas has it, whole numbers as such."""
    import pyarrow as pa

    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    if not isinstance(table, pa.Table | pa.ChunkedArray | pa.Array):
        return table
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            "Arrow tables need pandas: install it with `pip install 'skmtl[tables]'`."
        ) from error
    columns = table.columns if isinstance(table, pa.Table) else [table]
    # Where some are missing, they would become floats.
    gaps = {c.type for c in columns if c.null_count and pa.types.is_integer(c.type)}
    empty = {kind: np.empty(0, kind.to_pandas_dtype()) for kind in gaps}
    nullable = {k: pd.Series(v).convert_dtypes().dtype for k, v in empty.items()}
    return table.to_pandas(types_mapper=nullable.get)
