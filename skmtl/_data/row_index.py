"""Numbers of rows, of which a fit keeps several lists."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RowIndex = NDArray[np.integer[Any]]


def choose_index_dtype(n: int) -> type[np.signedinteger[Any]]:
    """Return the smallest type that torch takes for the numbers of rows."""
    return np.int32 if n < 2**31 else np.int64


def find_rows(chosen: ArrayLike) -> RowIndex:
    """Return where a mask is true."""
    # chosen of shape (n,).
    return np.flatnonzero(chosen).astype(choose_index_dtype(np.size(chosen)))
