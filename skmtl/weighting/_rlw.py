"""Random weights."""

import torch
from torch import Tensor

from skmtl._core.layers import get_generator
from skmtl.weighting._base import Weighting, WeightingModule, compute_present_softmax


class RLW(Weighting):
    """Random loss weighting: new random weights in every step.

    The weights are the softmax of draws from the standard normal distribution, the
    first choice of [1]_, which finds them as good as many balancing methods. They are
    equal in the mean, so what they can help with is the noise they bring.

    References
    ----------
    .. [1] B. Lin, F. Ye, Y. Zhang and I. W. Tsang, "Reasonable Effectiveness of Random
       Weighting: A Litmus Test for Multi-Task Learning", TMLR 2022.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import RLW
    >>> MultiTaskClassifier(weighting=RLW()).weighting
    RLW()
    """

    name = "rlw"

    def build(self, n_tasks: int) -> WeightingModule:
        """Build the random weights."""
        return _RLW()


class _RLW(WeightingModule):
    def forward(self, losses: Tensor, present: Tensor | None) -> Tensor:
        logits = torch.empty_like(losses).normal_(generator=get_generator())
        return compute_present_softmax(logits, present)
