"""The trace norm of a matrix."""

import torch
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
