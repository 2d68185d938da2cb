"""Gradients made orthogonal and of one length."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmtl.weighting._base import (
    GradientWeighting,
    GradientWeightingModule,
    SolverModule,
)


class AlignedMTL(GradientWeighting):
    """Independent component alignment: gradients made orthogonal and equally long.

    The gradient matrix is replaced by the nearest one whose singular values are all
    the same, and its rows are summed [1]_: w = G^(-1/2) 1 with the Gramian G. The
    paper's choice of that value (its minimum there, the root of their mean square in
    the authors' code) is lost in rescaling. Some weights may be negative, but their
    sum is not.

    Parameters
    ----------
    gradient_at : {"representation", "parameters"}, default="representation"
        Where gradients are taken; see `GradientWeighting`.
    update_every : int, default=1
        Recompute the weights every k steps; the steps between use the last ones.

    References
    ----------
    .. [1] D. Senushkin et al., "Independent Component Alignment for Multi-Task
       Learning", CVPR 2023.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import AlignedMTL
    >>> MultiTaskClassifier(weighting=AlignedMTL()).weighting
    AlignedMTL()
    """

    name = "aligned_mtl"

    def build(self, n_tasks: int) -> GradientWeightingModule:
        """Build the solver."""
        return _AlignedMTL()


class _AlignedMTL(SolverModule):
    def solve(self, gramian: NDArray[Any], tasks: NDArray[Any]) -> NDArray[Any]:
        eigenvalues, vectors = np.linalg.eigh(gramian)
        # Gradients have no more digits than float32: what is less is noise.
        noise = len(gramian) * np.finfo(np.float32).eps * eigenvalues[-1]
        V = vectors[:, eigenvalues > noise]
        scale = 1 / np.sqrt(eigenvalues[eigenvalues > noise])
        return V @ (scale * V.sum(axis=0))  # type: ignore[no-any-return]
