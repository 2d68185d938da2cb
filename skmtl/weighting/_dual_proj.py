"""The mean gradient projected to where it opposes none."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmtl.weighting._base import (
    GradientWeighting,
    GradientWeightingModule,
    SolverModule,
)
from skmtl.weighting._gramian_solvers import project_to_dual_cone


class DualProj(GradientWeighting):
    """The mean gradient, projected to where it opposes no gradient.

    The step is the nearest to the mean gradient that has no negative inner product
    with any gradient, as in gradient episodic memory [1]_. See `UPGrad`, which projects
    before it takes the mean.

    Projections are problems of non-negative least squares.

    Parameters
    ----------
    gradient_at : {"representation", "parameters"}, default="representation"
        Where gradients are taken; see `GradientWeighting`.
    update_every : int, default=1
        Recompute the weights every k steps; the steps between use the last ones.

    References
    ----------
    .. [1] D. Lopez-Paz and M. A. Ranzato, "Gradient Episodic Memory for Continual
       Learning", NeurIPS 2017.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import DualProj
    >>> MultiTaskClassifier(weighting=DualProj()).weighting
    DualProj()
    """

    name = "dual_proj"

    def build(self, n_tasks: int) -> GradientWeightingModule:
        """Build the solver."""
        return _DualProj()


class _DualProj(SolverModule):
    def solve(self, gramian: NDArray[Any], tasks: NDArray[Any]) -> NDArray[Any]:
        return project_to_dual_cone(np.ones(len(gramian)), gramian)
