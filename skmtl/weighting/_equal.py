"""Equal weights."""

import torch
from torch import Tensor

from skmtl.weighting._base import Weighting, WeightingModule


class Equal(Weighting):
    """The same weight for every task.

    Studies of tuned baselines [1]_ [2]_ find it as good as most balancing methods.

    References
    ----------
    .. [1] V. Kurin et al., "In Defense of the Unitary Scalarization for Deep
       Multi-Task Learning", NeurIPS 2022.
    .. [2] D. Xin et al., "Do Current Multi-Task Optimization Methods in Deep Learning
       Even Help?", NeurIPS 2022.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import Equal
    >>> MultiTaskClassifier(weighting=Equal()).weighting
    Equal()
    """

    name = "equal"

    def build(self, n_tasks: int) -> WeightingModule:
        """Build the constant weights."""
        return _Fixed(torch.ones(n_tasks))


class _Fixed(WeightingModule):
    fixed = True
    weights: Tensor

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, losses: Tensor, present: Tensor | None) -> Tensor:
        return self.weights
