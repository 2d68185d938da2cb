"""Equal projections on all gradients."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmtl.weighting._base import (
    GradientWeighting,
    GradientWeightingModule,
    SolverModule,
)
from skmtl.weighting._gramian_solvers import NOISE, normalize_gramian


class IMTLG(GradientWeighting):
    """Impartial gradients: the step has equal projections on all of them.

    The weights make d = sum_t w_t g_t have the same inner product with every unit
    gradient ``g_t / |g_t|`` [1]_. Some may be negative, namely where a gradient lies
    between others. The paper makes the weights sum to one even where that turns d
    round, so that it raises every loss; such a step, and one whose weights almost
    cancel, has equal weights here and is counted as a failure.

    Parameters
    ----------
    gradient_at : {"representation", "parameters"}, default="representation"
        Where gradients are taken; see `GradientWeighting`.
    update_every : int, default=1
        Recompute the weights every k steps; the steps between use the last ones.

    References
    ----------
    .. [1] L. Liu et al., "Towards Impartial Multi-Task Learning", ICLR 2021.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import IMTLG
    >>> MultiTaskClassifier(weighting=IMTLG()).weighting
    IMTLG()
    """

    name = "imtl_g"

    def build(self, n_tasks: int) -> GradientWeightingModule:
        """Build the solver."""
        return EqualProjections()


class EqualProjections(SolverModule):
    """Weights of the direction with the same angle to all gradients."""

    def solve(self, gramian: NDArray[Any], tasks: NDArray[Any]) -> NDArray[Any]:
        """Solve for unit gradients: the least squares answer where there is none."""
        cosines, norms = normalize_gramian(gramian)
        return np.linalg.pinv(cosines, NOISE, hermitian=True).sum(axis=1) / norms  # type: ignore[no-any-return]
