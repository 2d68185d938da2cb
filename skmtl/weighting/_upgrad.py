"""Each gradient projected to where it opposes none."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmtl.weighting._base import (
    GradientWeighting,
    GradientWeightingModule,
    SolverModule,
)
from skmtl.weighting._gramian_solvers import project_to_dual_cone


class UPGrad(GradientWeighting):
    """Unconflicting projections of gradients, summed.

    Every gradient is projected onto the dual cone of all, the directions that oppose
    none of them, and the projections are summed [1]_. So the step lowers every loss,
    by more for tasks with longer gradients, and is their sum where none conflict.

    Projections are problems of non-negative least squares.

    Parameters
    ----------
    gradient_at : {"representation", "parameters"}, default="representation"
        Where gradients are taken; see `GradientWeighting`.
    update_every : int, default=1
        Recompute the weights every k steps; the steps between use the last ones.

    References
    ----------
    .. [1] P. Quinton and V. Rey, "Jacobian Descent for Multi-Objective Optimization",
       2024.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import UPGrad
    >>> MultiTaskClassifier(weighting=UPGrad()).weighting
    UPGrad()
    """

    name = "upgrad"

    def build(self, n_tasks: int) -> GradientWeightingModule:
        """Build the solver."""
        return _UPGrad()


class _UPGrad(SolverModule):
    def solve(self, gramian: NDArray[Any], tasks: NDArray[Any]) -> NDArray[Any]:
        return project_to_dual_cone(np.eye(len(gramian)), gramian).sum(axis=0)  # type: ignore[no-any-return]
