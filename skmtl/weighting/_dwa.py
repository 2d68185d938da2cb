"""Dynamic weight average."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from skmtl._core.validation import Interval
from skmtl.weighting._base import (
    Weighting,
    WeightingModule,
    clamp_positive,
    compute_present_softmax,
)


class DWA(Weighting):
    r"""Dynamic weight average: tasks that learn slowly get more weight.

    .. math::
        w_t(e) \propto \exp\left(\frac{1}{\tau} \frac{L_t(e - 1)}{L_t(e - 2)}\right)

    with the mean training losses of the last two epochs, e - 1 and e - 2.

    Parameters
    ----------
    temperature : float, default=2.0
        The :math:`\tau` above: the higher, the more equal the weights.

    Notes
    -----
    The ratio is 1 until there have been two epochs, as in [1]_. A task without labels
    in an epoch keeps its ratio: its last two epochs are the last two with labels.
    Losses below the resolution of their type count as if they were there.

    The fitted ``weighting_.ratios`` holds the ratios.

    References
    ----------
    .. [1] S. Liu, E. Johns and A. J. Davison, "End-to-End Multi-Task Learning with
       Attention", CVPR 2019.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import DWA
    >>> MultiTaskClassifier(weighting=DWA()).weighting
    DWA()
    """

    name = "dwa"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "temperature": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, temperature: float = 2.0) -> None:
        self.temperature = temperature

    def build(self, n_tasks: int) -> WeightingModule:
        """Build the weights, all the same before there are epochs."""
        return _DWA(n_tasks, self.temperature)


class _DWA(WeightingModule):
    ratios: Tensor
    last: Tensor

    def __init__(self, n_tasks: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("ratios", torch.ones(n_tasks))
        # Mean losses of each task's last epoch, NaN where there was none yet.
        self.register_buffer("last", torch.full((n_tasks,), math.nan))

    def forward(self, losses: Tensor, present: Tensor | None) -> Tensor:
        return compute_present_softmax(self.ratios, present, self.temperature)

    def after_epoch(self, losses: Tensor) -> None:
        losses = losses.to(self.last)
        ratios = clamp_positive(losses) / clamp_positive(self.last)
        self.ratios.copy_(ratios.where(~ratios.isnan(), self.ratios))
        self.last.copy_(losses.where(~losses.isnan(), self.last))
