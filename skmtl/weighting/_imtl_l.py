"""Impartial multi-task learning by losses."""

import torch
from torch import Tensor, nn

from skmtl.weighting._base import Weighting, WeightingModule


class IMTLL(Weighting):
    r"""IMTL-L: impartial loss balance, which makes scaled losses equal.

    A scale of every task is learned with the network, to minimise

    .. math:: \sum_t e^{s_t} L_t - s_t

    whose minimum for given losses is at :math:`e^{s_t} = 1 / L_t`. The weights are
    :math:`e^{s_t}`: where `LogSum` follows the losses of each batch, this follows what
    they are in the mean, at the speed of the learning rate.

    Notes
    -----
    Scales start at 0 and are learned by the estimator's optimizer. The network's
    weights are rescaled to sum to the number of tasks present, unlike in [1]_, so that
    the size of steps does not depend on them. The sum above is twice what `Uncertainty`
    minimises for regression tasks, with :math:`s_t = -\log \sigma_t^2`.

    The fitted ``weighting_.log_scales`` holds the :math:`s_t`.

    References
    ----------
    .. [1] L. Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import IMTLL
    >>> MultiTaskClassifier(weighting=IMTLL()).weighting
    IMTLL()
    """

    name = "imtl_l"

    def build(self, n_tasks: int) -> WeightingModule:
        """Build the scales, all one."""
        return _IMTLL(n_tasks)


class _IMTLL(WeightingModule):
    def __init__(self, n_tasks: int) -> None:
        super().__init__()
        self.log_scales = nn.Parameter(torch.zeros(n_tasks))

    def forward(self, losses: Tensor, present: Tensor | None) -> Tensor:
        return self.log_scales.detach().exp()

    def own_loss(self, losses: Tensor, present: Tensor | None) -> Tensor:
        terms = self.log_scales.exp() * losses - self.log_scales
        return (terms if present is None else terms * present).sum()
