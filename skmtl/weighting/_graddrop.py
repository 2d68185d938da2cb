"""One sign of gradients per entry, at random."""

from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from skmtl._core.layers import get_generator
from skmtl._core.validation import Interval
from skmtl.weighting._base import GradientCombiningModule, GradientWeighting


class GradDrop(GradientWeighting):
    """Gradient sign dropout: each entry of the gradient follows one sign, at random.

    With ``P = (1 + sum_t g_t / sum_t |g_t|) / 2`` at an entry of the shared features,
    only the positive gradients pass with probability P, and only the negative ones
    otherwise [1]_. The expectation is the sum of gradients. Gradients are always taken
    at the representation, in every step; weights of tasks are equal.

    The paper multiplies gradients by the signs of the features and sums them over the
    batch before it draws; here each entry of each sample is drawn for itself.

    Parameters
    ----------
    leak : float, default=0.0
        Share of each gradient that always passes, from 0 to 1, which is the sum.

    References
    ----------
    .. [1] Z. Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with
       Gradient Sign Dropout", NeurIPS 2020.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import GradDrop
    >>> MultiTaskClassifier(weighting=GradDrop(leak=0.2)).weighting
    GradDrop(leak=0.2)
    """

    name = "graddrop"
    gradient_at = "representation"
    update_every = 1
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "leak": [Interval(Real, 0, 1, closed="both")]
    }

    def __init__(self, leak: float = 0.0) -> None:
        self.leak = leak

    def build(self, n_tasks: int) -> GradientCombiningModule:
        """Build the draw of signs."""
        return _GradDrop(self.leak)


class _GradDrop(GradientCombiningModule):
    def __init__(self, leak: float) -> None:
        super().__init__()
        self.leak = leak

    def combine(self, gradients: Tensor, present: Tensor | None) -> Tensor:
        rising = gradients.clamp(min=0).sum(dim=0)  # n, ...
        falling = gradients.clamp(max=0).sum(dim=0)  # n, ...
        draw = torch.empty_like(rising).uniform_(generator=get_generator())
        draw = draw * (rising - falling)  # P below: rising's share
        gradient = torch.where(draw < rising, rising, falling)
        return torch.lerp(gradient, rising + falling, self.leak)
