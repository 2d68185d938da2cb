"""The shortest combination of gradients."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from skmtl.weighting._base import (
    GradientWeighting,
    GradientWeightingModule,
    SolverModule,
)
from skmtl.weighting._gramian_solvers import factor_gramian


class MGDA(GradientWeighting):
    """Multiple-gradient descent: the shortest mean of the gradients.

    The weights minimise ``|sum_t w_t g_t|`` among those that are not negative and sum
    to one [1]_, which is a direction that lowers every loss, or zero where none does.
    Taking gradients at the representation is the paper's own upper bound [2]_. Long
    gradients get little weight, so tasks with small losses lead.

    The papers iterate after Frank and Wolfe; here one problem of non-negative least
    squares, ``min |sum_t u_t g_t|^2 + (1 - sum_t u_t)^2``, gives the exact answer: its
    u is a multiple of w.

    Parameters
    ----------
    gradient_at : {"representation", "parameters"}, default="representation"
        Where gradients are taken; see `GradientWeighting`.
    update_every : int, default=1
        Recompute the weights every k steps; the steps between use the last ones.

    References
    ----------
    .. [1] J.-A. Desideri, "Multiple-Gradient Descent Algorithm (MGDA) for
       Multiobjective Optimization", Comptes Rendus Mathematique 350, 2012.
    .. [2] O. Sener and V. Koltun, "Multi-Task Learning as Multi-Objective
       Optimization", NeurIPS 2018.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import MGDA
    >>> MultiTaskClassifier(weighting=MGDA()).weighting
    MGDA()
    """

    name = "mgda"

    def build(self, n_tasks: int) -> GradientWeightingModule:
        """Build the solver."""
        return _MGDA()


class _MGDA(SolverModule):
    def solve(self, gramian: NDArray[Any], tasks: NDArray[Any]) -> NDArray[Any]:
        n = len(gramian)
        A = np.vstack([factor_gramian(gramian), np.ones(n)])
        return nnls(A, np.eye(n + 1)[n])[0]  # type: ignore[no-any-return]
