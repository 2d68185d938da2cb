"""Weights learned so that tasks train at similar rates."""

from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from skmtl._core.validation import Interval
from skmtl.weighting._base import GradientWeighting, GradientWeightingModule


class GradNorm(GradientWeighting):
    """Gradient normalisation: tasks that train slowly get longer gradients.

    The weights are parameters that minimise ``sum_t |w_t |g_t| - m r_t^alpha|``, where
    m is the mean of ``w_t |g_t|``, r_t = l_t / mean(l) and l_t is the loss divided by
    the loss at the start; m and r are taken as constants [1]_.

    Departures: weights are a softmax, so that they stay positive; the difference is
    divided by the mean norm, so that the scale of losses is no learning rate; and the
    loss at the start is the mean over the first epoch in which a task has labels, as
    one batch's is too noisy to divide by: until then, r_t = 1.

    Parameters
    ----------
    alpha : float, default=1.5
        How strongly slow tasks are pulled along; with 0, all weighted gradients are
        made equally long.
    gradient_at : {"representation", "parameters"}, default="representation"
        Where gradients are taken; see `GradientWeighting`.
    update_every : int, default=1
        Recompute the weights every k steps; the steps between use the last ones.

    References
    ----------
    .. [1] Z. Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss
       Balancing in Deep Multitask Networks", ICML 2018.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import GradNorm
    >>> MultiTaskClassifier(weighting=GradNorm(alpha=0.5)).weighting
    GradNorm(alpha=0.5)
    """

    name = "gradnorm"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GradientWeighting._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        alpha: float = 1.5,
        gradient_at: str = "representation",
        update_every: int = 1,
    ) -> None:
        super().__init__(gradient_at, update_every)
        self.alpha = alpha

    def build(self, n_tasks: int) -> GradientWeightingModule:
        """Build the weights, equal at the start."""
        return _GradNorm(n_tasks, self.alpha)


class _GradNorm(GradientWeightingModule):
    norms: Tensor
    start: Tensor

    def __init__(self, n_tasks: int, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.logits = nn.Parameter(torch.zeros(n_tasks))
        self.register_buffer("norms", torch.zeros(n_tasks))  # zero: not seen
        self.register_buffer("start", torch.full((n_tasks,), torch.nan))

    def from_gramian(
        self, gramian: Tensor, losses: Tensor, present: Tensor | None
    ) -> Tensor:
        self.norms.copy_(gramian.diagonal().clamp(min=0).sqrt())
        return len(losses) * self.logits.detach().softmax(dim=0).to(losses)

    def own_loss(self, losses: Tensor, present: Tensor | None) -> Tensor:
        # Norms may be those of an earlier step, in which other tasks were present.
        has_gradient = self.norms > 0 if present is None else present & (self.norms > 0)
        lengths = _mean_one(self.logits.softmax(dim=0), has_gradient)
        lengths = lengths * _mean_one(self.norms, has_gradient)
        pace = _mean_one(
            torch.where(self.start > 0, losses / self.start, 1.0), has_gradient
        )
        mean = lengths.detach().sum() / has_gradient.sum().clamp(min=1)
        return (lengths - mean * pace**self.alpha).abs() @ has_gradient.to(lengths)

    def after_epoch(self, losses: Tensor) -> None:
        self.start.copy_(torch.where(self.start.isnan(), losses, self.start))


def _mean_one(values: Tensor, mask: Tensor) -> Tensor:
    """Return values over their mean among the tasks seen, zero for the others."""
    values = values * mask
    tiny = torch.finfo(values.dtype).tiny
    return values * (mask.sum() / values.sum().clamp(min=tiny))
