"""Gradients of one length."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmtl.weighting._base import (
    GradientWeighting,
    GradientWeightingModule,
    SolverModule,
)


class DBMTL(GradientWeighting):
    """Dual balancing: log losses, and gradients of one length.

    Every task's gradient of its log loss, g_t / L_t, is scaled to the length of the
    longest and they are summed [1]_. As L_t cancels in what is scaled to one length,
    and weights are rescaled to sum to the number of tasks, ``w_t = 1 / |g_t|`` is left.

    The paper balances moving averages of gradients, for which a copy of the shared
    parameters per task would be kept; here it is the gradients of the step. Heads keep
    the gradients of losses, not of their logarithms.

    Parameters
    ----------
    gradient_at : {"representation", "parameters"}, default="representation"
        Where gradients are taken; see `GradientWeighting`.
    update_every : int, default=1
        Recompute the weights every k steps; the steps between use the last ones.

    References
    ----------
    .. [1] B. Lin et al., "Dual-Balancing for Multi-Task Learning", 2023.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import DBMTL
    >>> MultiTaskClassifier(weighting=DBMTL()).weighting
    DBMTL()
    """

    name = "db_mtl"

    def build(self, n_tasks: int) -> GradientWeightingModule:
        """Build the solver."""
        return _DBMTL()


class _DBMTL(SolverModule):
    def solve(self, gramian: NDArray[Any], tasks: NDArray[Any]) -> NDArray[Any]:
        return 1 / np.sqrt(gramian.diagonal())  # type: ignore[no-any-return]
