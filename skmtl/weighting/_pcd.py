"""Descent for a primary task that leaves none behind."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor

from skmtl._core.validation import Interval, resolve_task
from skmtl.weighting._base import (
    GradientWeighting,
    GradientWeightingModule,
    SolverModule,
    TaskLabels,
)
from skmtl.weighting._gramian_solvers import NOISE, factor_gramian, minimize_norm


class PCD(GradientWeighting):
    """Priority-constrained descent: follows one task, leaves none behind.

    The direction is the nearest to the primary task's gradient that gives each other
    task at least the share tau of what a step along its own gradient would [1]_: d
    minimises ``|d - g_p|`` under ``g_t . d >= tau |g_t|^2``, where each gradient is
    divided by the root of a moving average of its squared norm. Where no direction
    does, only the primary task counts; where it has no labels in a batch, the others
    count the same.

    Parameters
    ----------
    task : str or int, default=0
        The primary task, by name or number.
    tau : float, default=0.02
        What other tasks are promised, from 0 to 1.
    decay : float, default=0.999
        What the moving average keeps at each step, at least 0 and below 1.
    gradient_at : {"representation", "parameters"}, default="representation"
        Where gradients are taken; see `GradientWeighting`.
    update_every : int, default=1
        Recompute the weights every k steps; the steps between use the last ones.

    References
    ----------
    .. [1] D. Varam and M. I. AlHajri, "Not All Objectives Are Born Equal:
       Priority-Constrained Descent for Hierarchical Multi-Objective Optimization",
       TMLR 2026.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import PCD
    >>> MultiTaskClassifier(weighting=PCD(tau=0.1)).weighting
    PCD(tau=0.1)
    """

    name = "pcd"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GradientWeighting._parameter_constraints,
        "task": [str, Integral],
        "tau": [Interval(Real, 0, 1, closed="both")],
        "decay": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        task: Any = 0,
        tau: float = 0.02,
        decay: float = 0.999,
        gradient_at: str = "representation",
        update_every: int = 1,
    ) -> None:
        super().__init__(gradient_at, update_every)
        self.task = task
        self.tau = tau
        self.decay = decay

    def for_labels(self, tasks: Sequence[TaskLabels]) -> "PCD":
        """Find the number of the primary task."""
        names = [task.name for task in tasks]
        number = resolve_task(self.task, names, "The 'task' parameter of PCD")
        return clone(self).set_params(task=number)  # type: ignore[no-any-return]

    def build(self, n_tasks: int) -> GradientWeightingModule:
        """Build the solver."""
        task = resolve_task(self.task, range(n_tasks), "The 'task' parameter of PCD")
        return _PCD(n_tasks, task, self.tau, self.decay)


class _PCD(SolverModule):
    squares: Tensor
    seen: Tensor

    def __init__(self, n_tasks: int, task: int, tau: float, decay: float) -> None:
        super().__init__()
        self.task = task
        self.tau = tau
        self.decay = decay
        self.register_buffer("squares", torch.zeros(n_tasks))
        self.register_buffer("seen", torch.zeros(n_tasks, dtype=torch.int64))

    def from_gramian(
        self, gramian: Tensor, losses: Tensor, present: Tensor | None
    ) -> Tensor:
        """Take note of the norms of present tasks; then solve."""
        now = torch.ones_like(self.seen) if present is None else present.long()
        change = (1 - self.decay) * (gramian.diagonal() - self.squares) * now
        self.squares += change.to(self.squares)
        self.seen += now
        return super().from_gramian(gramian, losses, present)

    def solve(self, gramian: NDArray[Any], tasks: NDArray[Any]) -> NDArray[Any]:
        primary = tasks == self.task
        if not primary.any():
            return np.ones(len(tasks))
        usual = self.squares.to("cpu", torch.float64).numpy()[tasks]
        usual = usual / (1 - self.decay ** self.seen.cpu().numpy()[tasks])
        scales = 1 / np.sqrt(usual / usual.mean() * gramian.diagonal().mean())
        gramian = gramian * np.outer(scales, scales)
        owed = self.tau * gramian.diagonal() - gramian[primary][0]
        u, rho = minimize_norm(factor_gramian(gramian)[:, ~primary], owed[~primary])
        weights = primary.astype(np.float64)
        if rho > NOISE:  # else no direction keeps all promises
            weights[~primary] = u / rho
        return weights * scales  # type: ignore[no-any-return]
