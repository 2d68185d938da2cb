"""Heads in clusters that are learned with them."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from skmtl._core.validation import Interval
from skmtl.relation._base import RelationModule
from skmtl.relation._penalty import (
    Penalty,
    PenaltyModule,
    WeightLayout,
    compute_quadratic,
    compute_spectrum,
)

#: What is added to squared singular values, as a share of their mean: rounding.
ROUNDING = 1e-6


class Clustered(Penalty):
    r"""A penalty on how far heads are from the centres of clusters that are learned.

    With weights :math:`W = (w_1, \dots, w_T)` of the T tasks' heads on d features, the
    squared distances from the means of K clusters sum to
    :math:`\mathrm{tr}(W (I - F F^T) W^T)`, where F has a column of unit length for each
    cluster, which is constant over its tasks. Clustered multi-task learning [1]_
    replaces :math:`F F^T` by any M with :math:`0 \preceq M \preceq I` and trace K, and
    the loss gets

    .. math:: \frac{\lambda d}{n} \,
       \mathrm{tr}(W \, \eta (I - M) (\eta I + M)^{-1} W^T)

    After each epoch, M becomes what makes the penalty smallest: it has the vectors of
    the singular values :math:`\sigma_i` of W over the tasks, with eigenvalues
    :math:`\min(\max(\sigma_i / \nu - \eta, 0), 1)`, where :math:`\nu` makes them sum to
    K. The penalty is then zero where there are no more than K different heads. M is the
    fitted attribute ``relation_``: its entries are large, one by the size of the
    cluster, for pairs of tasks in one cluster, and zero for others.

    Parameters
    ----------
    n_clusters : int, default=2
        K, at most the number of tasks.
    strength : float, default=0.5
        :math:`\lambda`, in labels: n is the mean number of training labels of a task.
        Zero leaves the heads alone, and still learns M. It means the same for any
        number of tasks and of features, the more of which share an output, the smaller
        their weights are.
    eta : float, default=0.1
        :math:`\eta`, how gradual the choice of clusters is. With a small one, whatever
        is not among the K largest parts of W is penalised alike.

    Notes
    -----
    M begins as (K / T) I, which makes the penalty a ridge. The convex form is as weak
    as it is easy to minimise: it is zero, too, for more clusters whose centres are
    combinations of K, and for all W of rank K. For clusters as a list, give
    ``relation_`` to `sklearn.cluster.SpectralClustering` as an affinity, negative
    entries made zero.

    In [1]_ the penalty is :math:`\eta (1 + \eta) \, \mathrm{tr}(W (\eta I + M)^{-1}
    W^T)`, which is this one and a ridge :math:`\eta \lVert W \rVert^2`. The ridge is
    left to ``alpha`` of the estimator.

    Tasks are compared where they have the same number of outputs: tasks of numbers and
    of two classes have one, others one per class, in the order of ``classes_``. Tasks
    with other numbers of outputs are never in one cluster.

    References
    ----------
    .. [1] J. Zhou, J. Chen and J. Ye, "Clustered Multi-Task Learning Via Alternating
       Structure Optimization", NIPS 2011.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.relation import Clustered
    >>> X, Y = make_regression(60, n_features=5, n_targets=4, random_state=0)
    >>> est = MultiTaskRegressor(relation=Clustered(n_clusters=3), max_iter=5)
    >>> print(est.fit(X, Y).relation_.trace().round(3))
    3.0
    """

    name = "clustered"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Penalty._parameter_constraints,
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "eta": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self, n_clusters: int = 2, strength: float = 0.5, eta: float = 0.1
    ) -> None:
        self.n_clusters = n_clusters
        self.strength = strength
        self.eta = eta

    def build(self, n_tasks: int, width: int) -> RelationModule:
        """Build the penalty, at first a ridge."""
        if self.n_clusters > n_tasks:
            raise ValueError(
                "The 'n_clusters' parameter of Clustered must be at most the number of "
                f"tasks, {n_tasks}. Got {self.n_clusters}."
            )
        scale = self.per_label * width
        return _Clustered(self._layout(n_tasks), scale, self.n_clusters, self.eta)


class _Clustered(PenaltyModule):
    together: Tensor
    apart: Tensor

    def __init__(
        self, layout: WeightLayout, scale: float, n_clusters: int, eta: float
    ) -> None:
        super().__init__(layout, scale)
        self.n_clusters = n_clusters
        self.eta = eta
        share = torch.full((self.n_tasks,), n_clusters / self.n_tasks)
        self.register_buffer("together", share.diag())
        self.register_buffer("apart", self._select_penalized(share).diag())

    def measure(self, W: Tensor) -> Tensor:
        return compute_quadratic(W, self.apart)

    def after_epoch(self, weight: Tensor, task_of_output: Tensor) -> None:
        W = self.by_task(weight)
        values, vectors = compute_spectrum(W, ROUNDING)
        shares = self._shares(values)
        penalised = self._select_penalized(shares)
        nonzero_heads = values[-1] > 0  # heads that are still zero tell nothing
        for old, new in ((self.together, shares), (self.apart, penalised)):
            old.copy_(torch.where(nonzero_heads, (vectors * new) @ vectors.mT, old))

    def _shares(self, values: Tensor) -> Tensor:
        """Return the eigenvalues of M, which sum to the number of clusters."""
        # Their sum grows with 1 / nu, linearly between the points where one leaves 0
        # or reaches 1.
        corners = torch.cat([self.eta / values, (1 + self.eta) / values]).sort().values
        sums = self._clip_values(corners.unsqueeze(1) * values).sum(dim=1)
        inverse = np.interp(self.n_clusters, sums.cpu(), corners.cpu())
        return self._clip_values(float(inverse) * values)

    def _clip_values(self, ratio: Tensor) -> Tensor:
        return (ratio - self.eta).clamp(0, 1)

    def _select_penalized(self, shares: Tensor) -> Tensor:
        return self.eta * (1 - shares) / (self.eta + shares)

    def matrix(self) -> Tensor:
        return self.together
