"""Fast adaptive multitask optimization."""

from __future__ import annotations

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

#: Adam's decay rates and the term that keeps it from dividing by zero.
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class FAMO(Weighting):
    r"""FAMO: fast adaptive multitask optimization; losses fall at the same rate.

    The weights are :math:`z_t / L_t` with :math:`z = \mathrm{softmax}(\xi)`. After each
    step the losses of its batch are computed once more, and the logits move down the
    gradient of

    .. math:: z \cdot (\log L - \log L^{\mathrm{after}}) + \frac{\gamma}{2} \|\xi\|^2

    so that a task whose loss fell by less, in proportion, counts more from then on.

    Parameters
    ----------
    learning_rate : float, default=0.025
        Step size of the logits.
    weight_decay : float, default=0.001
        The :math:`\gamma` above, which draws the weights back to those of `LogSum`.

    Notes
    -----
    The second look costs a forward pass per step. The logits are stepped by an Adam of
    their own, as in the code of [1]_ (its Algorithm 1 has plain steps). A task that is
    absent from a batch keeps logit and moments, and the softmax is over the tasks
    present. Losses below the resolution of their type count as if they were there.

    The fitted ``weighting_.logits`` holds :math:`\xi`.

    References
    ----------
    .. [1] B. Liu, Y. Feng, P. Stone and Q. Liu, "FAMO: Fast Adaptive Multitask
       Optimization", NeurIPS 2023.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import FAMO
    >>> MultiTaskClassifier(weighting=FAMO()).weighting
    FAMO()
    """

    name = "famo"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self, learning_rate: float = 0.025, weight_decay: float = 0.001
    ) -> None:
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    def build(self, n_tasks: int) -> WeightingModule:
        """Build the logits, all zero."""
        return _FAMO(n_tasks, self.learning_rate, self.weight_decay)


class _FAMO(WeightingModule):
    rereads = True
    logits: Tensor
    mean: Tensor
    square: Tensor
    steps: Tensor

    def __init__(self, n_tasks: int, learning_rate: float, weight_decay: float) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        # Adam's state; tasks that are at times absent have made fewer steps.
        for name in ("logits", "mean", "square", "steps"):
            self.register_buffer(name, torch.zeros(n_tasks))

    def forward(self, losses: Tensor, present: Tensor | None) -> Tensor:
        return compute_present_softmax(self.logits, present) / clamp_positive(losses)

    def after_step(self, before: Tensor, after: Tensor, present: Tensor | None) -> None:
        z = compute_present_softmax(self.logits, present)
        fall = (clamp_positive(before) / clamp_positive(after)).log()
        gradient = z * (fall - z @ fall) + self.weight_decay * self.logits
        present_tasks = torch.ones_like(z) if present is None else present.to(z)
        self.steps.add_(present_tasks)
        self.mean.lerp_(gradient, (1 - BETA_1) * present_tasks)
        self.square.lerp_(gradient.square(), (1 - BETA_2) * present_tasks)
        steps = self.steps.clamp_min(1)
        mean = self.mean / (1 - BETA_1**steps)
        square = self.square / (1 - BETA_2**steps)
        self.logits.sub_(
            self.learning_rate * present_tasks * mean / (square.sqrt() + EPSILON)
        )
