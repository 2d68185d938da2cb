"""Matrices between tasks, with the tasks' names where they have any."""

from collections.abc import Callable, Sequence
from typing import Any


def framer(frame: Any, names: Sequence[Any]) -> Callable[[Any], Any]:
    """Return what turns a matrix between tasks into a table like the one given.

    Parameters
    ----------
    frame : DataFrame or array-like
        What the user gave.
    names : sequence
        Names of the tasks.

    Returns
    -------
    callable
        Makes a DataFrame of pandas or polars where a DataFrame was given, else nothing.
    """
    if not hasattr(frame, "columns"):
        return lambda matrix: matrix
    if hasattr(frame, "iloc"):
        import pandas as pd

        return lambda matrix: pd.DataFrame(matrix, index=names, columns=names)
    import polars as pl

    return lambda matrix: pl.DataFrame(matrix, schema=list(names))
