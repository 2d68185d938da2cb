"""Uncertainty weighting."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from sklearn.base import clone
from torch import Tensor, nn

from skmtl.weighting._base import TaskLabels, Weighting, WeightingModule


class Uncertainty(Weighting):
    r"""Uncertainty weighting: noisy tasks count less, by a learned scale.

    The noise :math:`\sigma_t` of every task is learned with the network, by maximum
    likelihood:

    .. math:: \sum_t \frac{c_t}{\sigma_t^2} L_t + \log \sigma_t

    where c is 1/2 for regression, whose labels are normal with variance
    :math:`\sigma_t^2`, and 1 for classification, whose logits are divided by
    :math:`\sigma_t^2`. The weights are :math:`c_t / \sigma_t^2`.

    Notes
    -----
    What is learned is :math:`\log \sigma_t^2`, from 0 on, by the estimator's optimizer
    and at its learning rate: with a small one the weights lag behind. For given losses
    it ends at :math:`\sigma_t^2 = 2 c_t L_t`.

    The network's weights are rescaled to sum to the number of tasks present, unlike in
    [1]_, so that noise decides what tasks weigh and not how large steps are.

    The fitted ``weighting_.sigma`` is a tensor of shape (n_tasks,): for regression by
    squared errors the standard deviation of the errors, in the units of the target;
    for classification the square root of the temperature.

    References
    ----------
    .. [1] A. Kendall, Y. Gal and R. Cipolla, "Multi-Task Learning Using Uncertainty to
       Weigh Losses for Scene Geometry and Semantics", CVPR 2018.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import Uncertainty
    >>> MultiTaskClassifier(weighting=Uncertainty()).weighting
    Uncertainty()
    """

    name = "uncertainty"

    def for_labels(self, tasks: Sequence[TaskLabels]) -> Uncertainty:
        """Return a spec that knows which tasks are regression, and their scales."""
        spec: Uncertainty = clone(self)
        spec.factors_ = [0.5 if task.classes is None else 1.0 for task in tasks]
        spec.scales_ = [float(task.scale) for task in tasks]
        return spec

    def build(self, n_tasks: int) -> WeightingModule:
        """Build the variances; without a look at the labels, of regression tasks."""
        factors = getattr(self, "factors_", [0.5] * n_tasks)
        scales = getattr(self, "scales_", [1.0] * n_tasks)
        return _Uncertainty(torch.tensor(factors), torch.tensor(scales))


class _Uncertainty(WeightingModule):
    factors: Tensor
    scales: Tensor

    def __init__(self, factors: Tensor, scales: Tensor) -> None:
        super().__init__()
        self.register_buffer("factors", factors)
        self.register_buffer("scales", scales)
        self.log_variances = nn.Parameter(torch.zeros_like(factors))

    @property
    def sigma(self) -> Tensor:
        """Noise of each task's labels, in the units of the target."""
        return self.scales * (0.5 * self.log_variances.detach()).exp()

    def forward(self, losses: Tensor, present: Tensor | None) -> Tensor:
        return self.factors * (-self.log_variances.detach()).exp()

    def own_loss(self, losses: Tensor, present: Tensor | None) -> Tensor:
        weights = self.factors * (-self.log_variances).exp()
        terms = weights * losses + 0.5 * self.log_variances
        return (terms if present is None else terms * present).sum()
