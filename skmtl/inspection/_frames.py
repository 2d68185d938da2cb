"""Matrices between tasks, with the tasks' names where they have any."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmtl._core.dataframes import get_column_names, make_frame
from skmtl._core.validation import fill_masked


def make_framer(frame: Any, names: Sequence[Any]) -> Callable[[Any], Any]:
    """Return a function that makes a matrix a table if the user gave one."""
    if hasattr(frame, "iloc") and hasattr(frame, "columns"):
        import pandas as pd

        return lambda matrix: pd.DataFrame(matrix, index=names, columns=names)

    def like_frame(matrix: Any) -> Any:
        """Return the matrix as a DataFrame of the same library, if there is one."""
        columns = dict(zip(names, np.asarray(matrix).T, strict=True))
        table = make_frame(columns, frame)
        return matrix if table is None else table

    return like_frame


def read_affinity(affinity: Any, where: str) -> tuple[list[Any], NDArray[np.float64]]:
    """Return the tasks' names, or numbers for an array, and a copy of the matrix."""
    # `where` names the parameter in errors.
    try:
        matrix = np.array(fill_masked(affinity), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where} must hold numbers, one row and column per task: {error}."
        ) from error
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise ValueError(
            f"{where} must have one row and one column per task. Got shape "
            f"{matrix.shape}."
        )
    columns = get_column_names(affinity)
    names = list(range(len(matrix))) if columns is None else columns
    if hasattr(affinity, "iloc") and list(affinity.index) != names:
        raise ValueError(
            f"{where} must have the same tasks as index and as columns, in the same "
            f"order. Got the index {list(affinity.index)} and the columns {names}."
        )
    return names, matrix
