"""Heads that a graph draws together."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from skmtl._core.validation import StrOptions
from skmtl.relation._adjacency import ESTIMATES
from skmtl.relation._base import GraphRelation, RelationModule
from skmtl.relation._penalty import (
    Penalty,
    PenaltyModule,
    WeightLayout,
    compute_quadratic,
)


class GraphLaplacian(Penalty, GraphRelation):
    r"""A penalty on how far heads are from those of their neighbours in a graph.

    With weights :math:`w_t` of task t's head on d features and an adjacency A between
    the tasks, the loss gets

    .. math:: \frac{\lambda d}{n} \, \frac{1}{2} \sum_{s,t} |A_{st}| \,
       \lVert w_s - \mathrm{sgn}(A_{st}) \, w_t \rVert^2

    which is :math:`(\lambda d / n) \, \mathrm{tr}(W L W^T)` with the graph's Laplacian
    L [1]_. It is zero where heads of all neighbours are alike, or, where the entry of A
    is negative [2]_, opposites. A becomes symmetric, as the mean of itself and its
    transpose, and is divided by the mean over tasks of :math:`\sum_s |A_{st}|`, so that
    its scale does not matter. It is the fitted attribute ``relation_``.

    Parameters
    ----------
    adjacency : str or array-like of shape (n_tasks, n_tasks), default="correlation"
        A, whose diagonal does not matter. Rows and columns of a DataFrame are named by
        tasks, in any order. Or how to estimate it from the training rows where both
        tasks have labels:

        - "correlation": Pearson's for numbers and two classes, with its sign; the
          correlation ratio and Cramér's V for more classes.
        - "mutual_information": :math:`\sqrt{1 - e^{-2 I}}`, which has no sign, and
          draws heads of tasks together that are opposites. Of both, what independent
          labels have on average is taken off.
        - "cooccurrence": of tasks with two classes, one where
          :math:`P(y_s = 1 | y_t = 1)` is at least 0.4, else zero.
        - "kl": :math:`e^{-D}` with the mean D of both divergences between the labels'
          distributions, of tasks with the same classes.
    strength : float, default=0.5
        :math:`\lambda`, in labels: n is the mean number of training labels of a task.
        Zero leaves the heads alone. It means the same for any number of tasks and of
        features, the more of which share an output, the smaller their weights are.

    Notes
    -----
    With the same weight for all pairs it is `MeanRegularized`, but for a factor of
    T / (T - 1). Pairs of tasks without a common row have no weight.

    Tasks are compared where they have the same number of outputs: tasks of numbers and
    of two classes have one, others one per class, in the order of ``classes_``. Between
    tasks with other numbers of outputs, A becomes zero.

    References
    ----------
    .. [1] T. Evgeniou, C. A. Micchelli and M. Pontil, "Learning Multiple Tasks with
       Kernel Methods", JMLR 2005.
    .. [2] J. Kunegis et al., "Spectral Analysis of Signed Graphs for Clustering,
       Prediction and Visualization", SDM 2010.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.relation import GraphLaplacian
    >>> X, Y = make_regression(60, n_features=5, n_targets=3, random_state=0)
    >>> chain = [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    >>> est = MultiTaskRegressor(relation=GraphLaplacian(chain), max_iter=1)
    >>> est.fit(X, Y).relation_
    array([[0.  , 0.75, 0.  ],
           [0.75, 0.  , 0.75],
           [0.  , 0.75, 0.  ]])
    """

    name = "graph_laplacian"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Penalty._parameter_constraints,
        "adjacency": [StrOptions(set(ESTIMATES)), "array-like"],
    }
    normalization = None
    threshold = 0.4

    def __init__(
        self, adjacency: str | ArrayLike = "correlation", strength: float = 0.5
    ) -> None:
        self.adjacency = adjacency
        self.strength = strength

    def build(self, n_tasks: int, width: int) -> RelationModule:
        """Build the penalty; tasks are neighbours alike where labels are not known."""
        A = torch.tensor(self.known_weights(n_tasks))
        return _GraphLaplacian(self._layout(n_tasks), self.per_label * width, A)


class _GraphLaplacian(PenaltyModule):
    adjacency: Tensor
    laplacian: Tensor

    def __init__(self, layout: WeightLayout, scale: float, A: Tensor) -> None:
        super().__init__(layout, scale)
        A = layout.alike * (A + A.T) / 2
        A = A.fill_diagonal_(0)
        degree = A.abs().sum(dim=1)
        if degree.any():
            A, degree = A / degree.mean(), degree / degree.mean()
        self.register_buffer("adjacency", A)
        self.register_buffer("laplacian", degree.diag() - A)

    def measure(self, W: Tensor) -> Tensor:
        return compute_quadratic(W, self.laplacian)

    def matrix(self) -> Tensor:
        return self.adjacency
