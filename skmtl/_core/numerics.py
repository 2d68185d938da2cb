"""Means of the values that are not missing, and the trace norm of a matrix."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def trace_norm(matrix: Tensor) -> Tensor:
    """Return the sum of the singular values of a matrix."""
    # Values that are zero but for rounding get no gradient, the smallest subgradient.
    # matrix of shape (n_rows, n_columns); returns ().
    if not matrix.numel():  # of tasks that have one class each
        return matrix.sum()
    values: Tensor = torch.linalg.svdvals(matrix)
    rounding = max(matrix.shape) * torch.finfo(matrix.dtype).eps
    return values.where(values > rounding * values.amax(), 0).sum()


def mean_of_known(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return means over the values that are not NaN, without a warning."""
    defined = ~np.isnan(values)
    n_known = np.asarray(defined.sum(axis=axis))
    total = np.where(defined, values, 0.0).sum(axis=axis)
    means = np.full(n_known.shape, np.nan)
    return np.divide(total, n_known, out=means, where=n_known > 0)
