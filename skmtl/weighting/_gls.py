"""Geometric mean of losses."""

from skmtl.weighting._base import Weighting, WeightingModule
from skmtl.weighting._log_sum import _LogSum


class GLS(Weighting):
    r"""Geometric loss strategy: the geometric mean of the losses is trained.

    The gradient of :math:`G = (\prod_t L_t)^{1/T}` is that of the sum of losses
    weighted by :math:`G / (T L_t)`. Training rescales weights to sum to the number of
    tasks, so that the factor G / T, which is the same for all tasks, goes: the steps
    are those of `LogSum`, whose notes hold here too.

    Notes
    -----
    Without the factor, steps do not shrink as the losses fall. The loss-focused
    variant of [1]_, in which some tasks count more, is ``task_weight``.

    References
    ----------
    .. [1] S. Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation and
       Geometric Loss Strategy for Multi-Task Learning", CVPR Workshops 2019.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.weighting import GLS
    >>> MultiTaskClassifier(weighting=GLS()).weighting
    GLS()
    """

    name = "gls"

    def build(self, n_tasks: int) -> WeightingModule:
        """Build the map from losses to weights, but for their common factor."""
        return _LogSum()
