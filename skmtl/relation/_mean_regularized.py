"""Heads near the mean head."""

from __future__ import annotations

from torch import Tensor

from skmtl.relation._base import RelationModule
from skmtl.relation._penalty import Penalty, PenaltyModule, WeightLayout


class MeanRegularized(Penalty):
    r"""Mean-regularized multi-task learning: a penalty on the distance from the mean.

    With weights :math:`w_t` of task t's head on d features, the loss gets

    .. math:: \frac{\lambda d}{n} \sum_t \lVert w_t - \bar w \rVert^2,
       \qquad \bar w = \frac{1}{T} \sum_t w_t

    which is zero where all heads are alike. A large strength makes them so: what is
    left to tell tasks apart is then their biases and, where sharing gives them some,
    features of their own.

    Parameters
    ----------
    strength : float, default=0.15
        :math:`\lambda`, in labels: n is the mean number of training labels of a task.
        Zero leaves the heads alone. It means the same for any number of tasks and of
        features, the more of which share an output, the smaller their weights are.

    Notes
    -----
    Tasks are compared where they have the same number of outputs: tasks of numbers and
    of two classes have one, others one per class, in the order of ``classes_``. Tasks
    with other numbers of outputs have means of their own.

    In [1]_ a ridge on the mean, too, stands in the loss: here that is ``alpha`` of the
    estimator.

    References
    ----------
    .. [1] T. Evgeniou and M. Pontil, "Regularized Multi-Task Learning", KDD 2004.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.relation import MeanRegularized
    >>> est = MultiTaskClassifier(relation=MeanRegularized(strength=0.1))
    >>> est.set_params(relation__strength=1.0).relation
    MeanRegularized(strength=1.0)
    """

    name = "mean_regularized"

    def __init__(self, strength: float = 0.15) -> None:
        self.strength = strength

    def build(self, n_tasks: int, width: int) -> RelationModule:
        """Build the penalty."""
        return _MeanRegularized(self._layout(n_tasks), self.per_label * width)


class _MeanRegularized(PenaltyModule):
    mean: Tensor

    def __init__(self, layout: WeightLayout, scale: float) -> None:
        super().__init__(layout, scale)
        alike = layout.alike
        self.register_buffer("mean", alike / alike.sum(dim=1, keepdim=True))

    def measure(self, W: Tensor) -> Tensor:
        return (W - self.mean @ W).square().sum()
