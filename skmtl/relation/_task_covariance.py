"""A covariance of the tasks' heads, learned with them."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from skmtl._validation import Interval
from skmtl.relation._base import RelationModule
from skmtl.relation._weights import Layout, Penalty, PenaltyModule, quadratic, spectrum


class TaskCovariance(Penalty):
    r"""A penalty by a covariance between tasks that is learned from their heads [1]_.

    With weights :math:`W = (w_1, \dots, w_T)` of the T tasks' heads on d features, the
    loss gets

    .. math:: \lambda \frac{d}{T} \, \mathrm{tr}(W \Omega^{-1} W^T),
       \qquad \Omega \succeq 0, \quad \mathrm{tr}(\Omega) = 1

    the negative logarithm of a normal prior under which the weights of related tasks
    correlate. After each epoch, :math:`\Omega` becomes what makes the penalty smallest,

    .. math:: \Omega = \frac{(W^T W + \epsilon I)^{1/2}}
       {\mathrm{tr}((W^T W + \epsilon I)^{1/2})}

    Its diagonal tells how large a task's weights are, and entries off the diagonal
    which tasks go together, with a sign: weights of tasks with a negative one are drawn
    to opposites. It is the fitted attribute ``relation_``.

    Parameters
    ----------
    strength : float, default=0.01
        :math:`\lambda`. Zero leaves the heads alone, and still learns :math:`\Omega`.
        It means the same for any number of tasks and of features, the more of which
        share an output, the smaller their weights are.
    ridge : float, default=0.01
        :math:`\epsilon`, as a share of the mean of the tasks' squared weights
        :math:`\lVert w_t \rVert^2`. It keeps :math:`\Omega` invertible, whose smallest
        eigenvalues are about :math:`\sqrt \epsilon` times the mean.

    Notes
    -----
    :math:`\Omega` begins as I / T, where the penalty is the ridge
    :math:`\lambda d \sum_t \lVert w_t \rVert^2`; it stays that where weights of tasks
    are orthogonal and of one length. The penalty is not zero where tasks agree: without
    :math:`\epsilon`, the smallest one is :math:`\lambda (d / T) \lVert W \rVert_*^2`,
    the square of the trace norm, which for T equal heads w is
    :math:`\lambda d \lVert w \rVert^2`, as if there was one.

    Tasks are compared where they have the same number of outputs: tasks of numbers and
    of two classes have one, others one per class, in the order of ``classes_``. Between
    tasks with other numbers of outputs, :math:`\Omega` is zero.

    References
    ----------
    .. [1] Y. Zhang and D.-Y. Yeung, "A Convex Formulation for Learning Task
       Relationships in Multi-Task Learning", UAI 2010.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from skmtl import MultiTaskRegressor
    >>> X, Y = make_regression(60, n_features=5, n_targets=3, random_state=0)
    >>> est = MultiTaskRegressor(relation="task_covariance", max_iter=5).fit(X, Y)
    >>> print(est.relation_.trace().round(3))
    1.0
    """

    name = "task_covariance"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Penalty._parameter_constraints,
        "ridge": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, strength: float = 0.01, ridge: float = 0.01) -> None:
        self.strength = strength
        self.ridge = ridge

    def build(self, n_tasks: int, width: int) -> RelationModule:
        """Build the penalty, at first a ridge."""
        scale = self.strength * width / n_tasks
        return _TaskCovariance(self._layout(n_tasks), scale, self.ridge)


class _TaskCovariance(PenaltyModule):
    covariance: Tensor
    precision: Tensor

    def __init__(self, layout: Layout, scale: float, ridge: float) -> None:
        super().__init__(layout, scale)
        self.ridge = ridge
        one = torch.eye(self.n_tasks)
        self.register_buffer("covariance", one / self.n_tasks)
        self.register_buffer("precision", one * self.n_tasks)

    def measure(self, W: Tensor) -> Tensor:
        return quadratic(W, self.precision)

    def after_epoch(self, weight: Tensor, task_of_output: Tensor) -> None:
        roots, vectors = spectrum(self.by_task(weight), self.ridge)
        shares = roots / roots.sum()
        known = roots[-1] > 0  # heads that are still zero tell nothing
        for old, values in ((self.covariance, shares), (self.precision, 1 / shares)):
            old.copy_(torch.where(known, (vectors * values) @ vectors.mT, old))

    def matrix(self) -> Tensor:
        return self.covariance
