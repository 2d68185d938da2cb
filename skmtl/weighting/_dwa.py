"""Dynamic weight average."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from skmtl._validation import Interval
from skmtl.weighting._base import (
    Weighting,
    WeightingModule,
    positive,
    softmax_of_present,
)


class DWA(Weighting):
    r"""Dynamic weight average: tasks that learn slowly get more weight [1]_.

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
        """Build the weights with an empty history."""
        return _DWA(n_tasks, self.temperature)


class _DWA(WeightingModule):
    history: Tensor

    def __init__(self, n_tasks: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        # Mean losses of the last epoch but one and of the last, NaN where unknown.
        self.register_buffer("history", torch.full((2, n_tasks), math.nan))

    def forward(self, losses: Tensor, present: Tensor | None) -> Tensor:
        older, newer = positive(self.history)
        ratios = (newer / older).nan_to_num(nan=1.0)
        return softmax_of_present(ratios, present, self.temperature)

    def after_epoch(self, losses: Tensor) -> None:
        shifted = torch.stack([self.history[1], losses.to(self.history)])
        self.history.copy_(torch.where(losses.isnan(), self.history, shifted))
