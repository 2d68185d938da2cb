"""Sum of the losses' logarithms."""

from torch import Tensor

from skmtl.weighting._base import Weighting, WeightingModule, clamp_positive


class LogSum(Weighting):
    r"""The sum of the losses' logarithms, in which no loss's scale matters.

    The gradient of :math:`\sum_t \log L_t` is that of the sum of losses weighted by
    :math:`1 / L_t`: a task counts by how much its loss changes in proportion. Known as
    the scale-invariant baseline [1]_.

    Notes
    -----
    Losses are never negative here, and below the resolution of their type (1.2e-7 in
    float32) they count as if they were there. A task whose loss comes close to zero
    takes most of the weight.

    References
    ----------
    .. [1] A. Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import LogSum
    >>> MultiTaskClassifier(weighting=LogSum()).weighting
    LogSum()
    """

    name = "log_sum"

    def build(self, n_tasks: int) -> WeightingModule:
        """Build the map from losses to their inverses."""
        return _LogSum()


class _LogSum(WeightingModule):
    def forward(self, losses: Tensor, present: Tensor | None) -> Tensor:
        return clamp_positive(losses).reciprocal()
