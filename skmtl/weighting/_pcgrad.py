"""Conflicts between gradients projected away."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skmtl._core.layers import get_generator
from skmtl.weighting._base import (
    GradientWeighting,
    GradientWeightingModule,
    SolverModule,
)


class PCGrad(GradientWeighting):
    """Gradient surgery: every gradient loses what opposes another's.

    Each task's gradient meets the others in random order; where it has a negative inner
    product with one, it is projected onto that one's normal plane,
    ``g_i <- g_i - (g_i . g_j) / |g_j|^2 g_j``. The step is the sum of what remains
    [1]_.

    Parameters
    ----------
    gradient_at : {"representation", "parameters"}, default="representation"
        Where gradients are taken; see `GradientWeighting`.
    update_every : int, default=1
        Recompute the weights every k steps; the steps between use the last ones.

    References
    ----------
    .. [1] T. Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import PCGrad
    >>> MultiTaskClassifier(weighting=PCGrad()).weighting
    PCGrad()
    """

    name = "pcgrad"

    def build(self, n_tasks: int) -> GradientWeightingModule:
        """Build the solver."""
        return _PCGrad()


class _PCGrad(SolverModule):
    def solve(self, gramian: NDArray[Any], tasks: NDArray[Any]) -> NDArray[Any]:
        n = len(gramian)
        rows, squares = np.arange(n), gramian.diagonal()
        projected = np.eye(n)  # row i: coefficients of what is left of g_i
        inner = gramian.copy()  # [i, j]: inner product of what is left of g_i with g_j
        drawn = torch.rand(n, n, dtype=torch.float32, generator=get_generator())
        orders = drawn.argsort().numpy()
        for others in orders.T:  # each task meets its next one
            opposes = (inner[rows, others] < 0) & (others != rows)
            shares = np.where(opposes, -inner[rows, others] / squares[others], 0)
            projected[rows, others] += shares
            inner += shares[:, None] * gramian[others]
        return projected.sum(axis=0)  # type: ignore[no-any-return]
