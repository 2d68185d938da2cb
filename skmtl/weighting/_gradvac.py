"""Gradients turned towards usual angles."""

from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skmtl._core.layers import get_generator
from skmtl._core.validation import Interval
from skmtl.weighting._base import (
    GradientWeighting,
    GradientWeightingModule,
    SolverModule,
)


class GradVac(GradientWeighting):
    """Gradient vaccine: gradients keep the similarity that they usually have.

    As `PCGrad`, but a gradient g_i that meets g_j at a cosine below its usual one,
    phi, is turned until the cosine is phi [1]_:
    ``g_i <- g_i + |g_i| (phi s(c) - c s(phi)) / (|g_j| s(phi)) g_j``, with c the cosine
    and s(x) = sqrt(1 - x^2). Usual cosines are moving averages that start at zero,
    where it is `PCGrad`.

    Parameters
    ----------
    decay : float, default=0.5
        Share of the new cosine in the moving average, from 0 to 1.
    gradient_at : {"representation", "parameters"}, default="representation"
        Where gradients are taken; see `GradientWeighting`.
    update_every : int, default=1
        Recompute the weights every k steps; the steps between use the last ones.

    References
    ----------
    .. [1] Z. Wang et al., "Gradient Vaccine: Investigating and Improving Multi-Task
       Optimization in Massively Multilingual Models", ICLR 2021.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import GradVac
    >>> MultiTaskClassifier(weighting=GradVac(decay=0.1)).weighting
    GradVac(decay=0.1)
    """

    name = "gradvac"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GradientWeighting._parameter_constraints,
        "decay": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self,
        decay: float = 0.5,
        gradient_at: str = "representation",
        update_every: int = 1,
    ) -> None:
        super().__init__(gradient_at, update_every)
        self.decay = decay

    def build(self, n_tasks: int) -> GradientWeightingModule:
        """Build the solver."""
        return _GradVac(n_tasks, self.decay)


def _compute_sine(cosine: NDArray[Any]) -> NDArray[Any]:
    # Not zero: a gradient would have to grow without bounds to lie along another.
    return np.sqrt((1 - cosine**2).clip(min=1e-12))  # type: ignore[no-any-return]


class _GradVac(SolverModule):
    usual: Tensor

    def __init__(self, n_tasks: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("usual", torch.zeros(n_tasks, n_tasks))

    def solve(self, gramian: NDArray[Any], tasks: NDArray[Any]) -> NDArray[Any]:
        n = len(gramian)
        rows, norms = np.arange(n), np.sqrt(gramian.diagonal())
        turned = np.eye(n)  # row i: coefficients of what g_i has become
        inner = gramian.copy()  # [i, j]: its inner product with g_j
        usual = self.usual.to("cpu", torch.float64).numpy().copy()
        drawn = torch.rand(n, n, dtype=torch.float32, generator=get_generator())
        orders = drawn.argsort().numpy()
        for others in orders.T:  # each task meets its next one
            pair = tasks, tasks[others]
            norm = np.sqrt((inner * turned).sum(axis=1).clip(min=0))
            cosine = inner[rows, others] / (norm * norms[others]).clip(min=1e-300)
            cosine = cosine.clip(-1, 1)
            goal = np.where(others == rows, -2, usual[pair])  # never itself
            usual[pair] += self.decay * (cosine - usual[pair])
            turn = goal * _compute_sine(cosine) - cosine * _compute_sine(goal)
            turn *= norm / (norms[others] * _compute_sine(goal))
            shares = np.where(cosine < goal, turn, 0)
            turned[rows, others] += shares
            inner += shares[:, None] * gramian[others]
        self.usual.copy_(torch.from_numpy(usual), non_blocking=True)
        return turned.sum(axis=0)  # type: ignore[no-any-return]
