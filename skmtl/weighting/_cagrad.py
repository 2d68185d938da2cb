"""The best direction for the worst task, near the mean gradient."""

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from skmtl._core.validation import Interval
from skmtl.weighting._base import (
    GradientWeighting,
    GradientWeightingModule,
    SolverModule,
)
from skmtl.weighting._gramian_solvers import factor_gramian, minimize_norm


class CAGrad(GradientWeighting):
    """Conflict-averse descent: what helps the worst task, near the mean gradient.

    The direction d maximises ``min_t g_t . d`` within ``|d - g_0| <= c |g_0|``, where
    g_0 is the mean gradient [1]_.

    The paper solves the dual over the weights; here the level that min_t g_t . d can
    reach is found by bisection, where the nearest d to g_0 of each level is one
    problem of non-negative least squares. The answer is exact to rounding errors.

    Parameters
    ----------
    c : float, default=0.4
        Radius in terms of the mean gradient, at least 0, which is the mean gradient,
        and below 1, where d could be zero.
    gradient_at : {"representation", "parameters"}, default="representation"
        Where gradients are taken; see `GradientWeighting`.
    update_every : int, default=1
        Recompute the weights every k steps; the steps between use the last ones.

    References
    ----------
    .. [1] B. Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning",
       NeurIPS 2021.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import CAGrad
    >>> MultiTaskClassifier(weighting=CAGrad(c=0.2)).weighting
    CAGrad(c=0.2)
    """

    name = "cagrad"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GradientWeighting._parameter_constraints,
        "c": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self, c: float = 0.4, gradient_at: str = "representation", update_every: int = 1
    ) -> None:
        super().__init__(gradient_at, update_every)
        self.c = c

    def build(self, n_tasks: int) -> GradientWeightingModule:
        """Build the solver."""
        return _CAGrad(self.c)


class _CAGrad(SolverModule):
    def __init__(self, c: float) -> None:
        super().__init__()
        self.c = c

    def solve(self, gramian: NDArray[Any], tasks: NDArray[Any]) -> NDArray[Any]:
        n = len(gramian)
        mean = np.full(n, 1 / n)
        radius = self.c * np.sqrt((mean @ gramian @ mean).clip(min=0))
        if radius < 1e-7:  # of the gradients' lengths: there is nothing to move
            return mean
        R, slopes = factor_gramian(gramian) / radius, gramian @ mean / radius**2

        def inside(level: float) -> float:  # zero where the nearest is on the ball
            return minimize_norm(R, level - slopes)[1] - 0.5

        lowest = slopes.min()
        highest = (slopes + np.sqrt(gramian.diagonal()) / radius).min()
        highest += 0.01 * (highest - lowest)
        level = brentq(inside, lowest, highest, xtol=1e-15 * (highest - lowest))
        u, rho = minimize_norm(R, level - slopes)
        return mean + u / rho  # type: ignore[no-any-return]
