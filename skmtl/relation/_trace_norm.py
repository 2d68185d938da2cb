"""Heads that are combinations of a few."""

from __future__ import annotations

import math

from torch import Tensor

from skmtl._core.numerics import trace_norm
from skmtl.relation._base import RelationModule
from skmtl.relation._penalty import Penalty, PenaltyModule


class TraceNorm(Penalty):
    r"""Trace-norm penalty: the weights of the tasks' heads have a low rank.

    Proposed in [1]_.

    With weights :math:`W = (w_1, \dots, w_T)` of the T tasks' heads on d features, the
    loss gets

    .. math:: \frac{\lambda}{n} \sqrt{T d} \, \lVert W \rVert_*

    the sum of the singular values of W. A large strength lowers the rank of W, so that
    heads are combinations of a few directions of the features that tasks have in
    common, and in the end makes W zero.

    Parameters
    ----------
    strength : float, default=0.15
        :math:`\lambda`, in labels: n is the mean number of training labels of a task.
        Zero leaves the heads alone. It means the same for any number of tasks and of
        features, the more of which share an output, the smaller their weights are.

    Notes
    -----
    The penalty is not zero where tasks agree: of T equal heads w it is
    :math:`(\lambda / n) T \sqrt d \lVert w \rVert`. Singular values that are zero but
    for rounding get no gradient, the smallest subgradient.

    Tasks are compared where they have the same number of outputs: tasks of numbers and
    of two classes have one, others one per class, in the order of ``classes_``. Tasks
    with other numbers of outputs have matrices of their own, whose norms add up.

    Every step decomposes the matrix, at a cost that grows with the square of the number
    of tasks. `TaskCovariance`, with ``shrinkage=1`` near the square of this norm,
    decomposes it once per epoch.

    References
    ----------
    .. [1] A. Argyriou, T. Evgeniou and M. Pontil, "Convex Multi-Task Feature Learning",
       Machine Learning 73, 2008.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.relation import TraceNorm
    >>> est = MultiTaskClassifier(relation=TraceNorm(strength=0.01))
    >>> est.set_params(relation__strength=0.1).relation
    TraceNorm(strength=0.1)
    """

    name = "trace_norm"

    def __init__(self, strength: float = 0.15) -> None:
        self.strength = strength

    def build(self, n_tasks: int, width: int) -> RelationModule:
        """Build the penalty."""
        scale = self.per_label * math.sqrt(n_tasks * width)
        return _TraceNorm(self._layout(n_tasks), scale)


class _TraceNorm(PenaltyModule):
    def measure(self, W: Tensor) -> Tensor:
        return trace_norm(W)
