"""Fair shares of the step."""

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from skmtl._core.validation import Interval
from skmtl.weighting._base import (
    GradientWeighting,
    GradientWeightingModule,
    SolverModule,
)
from skmtl.weighting._gramian_solvers import NOISE, factor_gramian, normalize_gramian


class FairGrad(GradientWeighting):
    """Alpha-fair descent: what each task gains is shared out fairly.

    The direction d maximises sum_t (g_t . d)^(1 - alpha) / (1 - alpha) over a ball, so
    that the weights solve G w = w^(-1 / alpha) with the Gramian G [1]_. With
    ``alpha=1`` the sum is that of logarithms and the direction is that of `NashMTL`;
    large values help the worst task most.

    The paper calls a general solver of least squares; here Newton's method minimises
    the convex function whose gradient the equation is. A millionth is added to the
    squares of unit gradients, so that there is a solution also where gradients oppose
    each other.

    Parameters
    ----------
    alpha : float, default=2.0
        Kind of fairness, from 0.1 to 10.
    gradient_at : {"representation", "parameters"}, default="representation"
        Where gradients are taken; see `GradientWeighting`.
    update_every : int, default=1
        Recompute the weights every k steps; the steps between use the last ones.

    References
    ----------
    .. [1] H. Ban and K. Ji, "Fair Resource Allocation in Multi-Task Learning", ICML
       2024.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import FairGrad
    >>> MultiTaskClassifier(weighting=FairGrad(alpha=1.0)).weighting
    FairGrad(alpha=1.0)
    """

    name = "fairgrad"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GradientWeighting._parameter_constraints,
        "alpha": [Interval(Real, 0.1, 10, closed="both")],
    }

    def __init__(
        self,
        alpha: float = 2.0,
        gradient_at: str = "representation",
        update_every: int = 1,
    ) -> None:
        super().__init__(gradient_at, update_every)
        self.alpha = alpha

    def build(self, n_tasks: int) -> GradientWeightingModule:
        """Build the solver."""
        return FairShares(self.alpha)


class FairShares(SolverModule):
    """Weights that solve G w = w^(-1 / alpha)."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.power = 1 / alpha

    def solve(self, gramian: NDArray[Any], tasks: NDArray[Any]) -> NDArray[Any]:
        """Solve C v = a v^-p for unit gradients, where w = v / |g|."""
        cosines, norms = normalize_gramian(gramian)
        R = factor_gramian(cosines)  # rounding errors can make cosines indefinite
        C = R.T @ R + NOISE * np.eye(len(R))
        p, a = self.power, norms ** (self.power - 1)

        v = a ** (1 / (1 + p))  # the answer for orthogonal gradients
        for _ in range(200):
            pull = a * v**-p
            step = np.linalg.solve(C + np.diag(p * pull / v), pull - C @ v)
            # Up to 0.9 of the way to where the first of v would be zero.
            v = v + min(1, 0.9 / max((-step / v).max(), 1e-300)) * step
            if (np.abs(step) < 1e-7 * v.max()).all():  # the next is of its square
                return v / norms  # type: ignore[no-any-return]
        raise RuntimeError("Newton's method did not converge.")
