"""Smooth Tchebycheff scalarisation."""

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


class STCH(Weighting):
    r"""Smooth Tchebycheff scalarization: the worst task counts most.

    What is minimised is a smooth maximum of the losses' logarithms,

    .. math:: \mu \log \sum_t \exp\left(\frac{1}{\mu} \log \frac{L_t}{N_t}\right)

    whose gradient weighs task t by :math:`(L_t / N_t)^{1/\mu} / L_t`. N is the mean
    training loss of the first epoch, so that the worst task is the one that has
    improved least in proportion.

    Parameters
    ----------
    mu : float, default=0.5
        How smooth the maximum is: the lower, the more the worst task counts. At 1 the
        weights are constant, :math:`1 / N_t`; at infinity they are those of `LogSum`.

    Notes
    -----
    The theory of [1]_ takes the losses themselves, their ideal values subtracted; its
    code for deep networks takes logarithms relative to the losses of an epoch, and so
    do we. The first epoch uses the weights of `LogSum`, as its code does; ours is the
    only one before the maximum sets in, where its default are four. A task that had no
    label then counts as if :math:`L_t = N_t` until it had. Preferences for tasks are
    ``task_weight``. Losses below the resolution of their type count as if they were
    there.

    References
    ----------
    .. [1] X. Lin et al., "Smooth Tchebycheff Scalarization for Multi-Objective
       Optimization", ICML 2024.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import STCH
    >>> MultiTaskClassifier(weighting=STCH(mu=0.2)).weighting
    STCH(mu=0.2)
    """

    name = "stch"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "mu": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, mu: float = 0.5) -> None:
        self.mu = mu

    def build(self, n_tasks: int) -> WeightingModule:
        """Build the weights of a first epoch."""
        return _STCH(n_tasks, self.mu)


class _STCH(WeightingModule):
    nadir: Tensor

    def __init__(self, n_tasks: int, mu: float) -> None:
        super().__init__()
        self.mu = mu
        # Mean losses of each task's first epoch, NaN where there was none yet.
        self.register_buffer("nadir", torch.full((n_tasks,), math.nan))

    def forward(self, losses: Tensor, present: Tensor | None) -> Tensor:
        losses = clamp_positive(losses)
        worse = (losses / clamp_positive(self.nadir)).log().nan_to_num(nan=0.0)
        return compute_present_softmax(worse, present, self.mu) / losses

    def after_epoch(self, losses: Tensor) -> None:
        first = losses.to(self.nadir)
        self.nadir.copy_(torch.where(self.nadir.isnan(), first, self.nadir))
