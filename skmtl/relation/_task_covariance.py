"""A covariance of the tasks' heads, learned with them."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

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


class TaskCovariance(Penalty):
    r"""Multi-task relationship learning: a covariance between tasks is learned.

    With weights :math:`W = (w_1, \dots, w_T)` of the T tasks' heads on d features, the
    loss gets

    .. math:: \frac{\lambda d}{n T} \, \mathrm{tr}(W (\Omega^{-1}
       - \frac{1 - \kappa}{\omega} I) W^T),
       \qquad \Omega \succeq 0, \quad \mathrm{tr}(\Omega) = 1

    where :math:`\omega` is the largest eigenvalue of :math:`\Omega`. After each epoch,
    :math:`\Omega` becomes what makes :math:`\mathrm{tr}(W \Omega^{-1} W^T)` smallest,

    .. math:: \Omega = \frac{(W^T W + \epsilon I)^{1/2}}
       {\mathrm{tr}((W^T W + \epsilon I)^{1/2})}

    Its entries off the diagonal tell which tasks go together, with a sign: weights of
    tasks with a negative one are drawn to opposites. It is the fitted attribute
    ``relation_``.

    Parameters
    ----------
    strength : float, default=0.5
        :math:`\lambda`, in labels: n is the mean number of training labels of a task.
        Zero leaves the heads alone, and still learns :math:`\Omega`. It means the same
        for any number of tasks and of features, the more of which share an output, the
        smaller their weights are.
    ridge : float, default=0.1
        :math:`\epsilon`, as a share of the mean of the tasks' squared weights
        :math:`\lVert w_t \rVert^2`. It keeps :math:`\Omega` invertible and doubts what
        few labels tell: eigenvalues are at least about :math:`\sqrt \epsilon` times
        the mean.
    shrinkage : float, default=0.0
        :math:`\kappa`, from 0 to 1: how much of a ridge on all heads is left in.

    Notes
    -----
    With :math:`\kappa = 1` the penalty is that of [1]_, the negative logarithm of a
    normal prior with covariance :math:`\Omega` between tasks. It shrinks all heads, by
    :math:`(\lambda d / n) \sum_t \lVert w_t \rVert^2` as long as :math:`\Omega` is
    where it begins, at I / T, or where heads are orthogonal and of one length; and its
    smallest value, without :math:`\epsilon`, is
    :math:`(\lambda d / n T) \lVert W \rVert_*^2`, the square of the trace norm. Under a
    network that is trained too, shrunk heads are made up for by larger features, at the
    cost of slower and noisier steps. So :math:`\kappa = 0` takes away the ridge that
    all heads get alike: the penalty is zero at the start, for unrelated heads of one
    length, and for heads that agree, which are multiples of one.

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
        "shrinkage": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(
        self, strength: float = 0.5, ridge: float = 0.1, shrinkage: float = 0.0
    ) -> None:
        self.strength = strength
        self.ridge = ridge
        self.shrinkage = shrinkage

    def build(self, n_tasks: int, width: int) -> RelationModule:
        """Build the penalty, at first of unrelated tasks."""
        scale = self.per_label * width / n_tasks
        return _TaskCovariance(self._layout(n_tasks), scale, self.ridge, self.shrinkage)


class _TaskCovariance(PenaltyModule):
    covariance: Tensor
    penalised: Tensor

    def __init__(
        self, layout: WeightLayout, scale: float, ridge: float, shrinkage: float
    ) -> None:
        super().__init__(layout, scale)
        self.ridge = ridge
        self.shrinkage = shrinkage
        shares = torch.full((self.n_tasks,), 1 / self.n_tasks)
        self.register_buffer("covariance", shares.diag())
        self.register_buffer("penalised", self._select_penalized(shares).diag())

    def measure(self, W: Tensor) -> Tensor:
        return compute_quadratic(W, self.penalised)

    def after_epoch(self, weight: Tensor, task_of_output: Tensor) -> None:
        roots, vectors = compute_spectrum(self.by_task(weight), self.ridge)
        shares = roots / roots.sum()
        penalised = self._select_penalized(shares)
        nonzero_heads = roots[-1] > 0  # heads that are still zero tell nothing
        for old, new in ((self.covariance, shares), (self.penalised, penalised)):
            old.copy_(torch.where(nonzero_heads, (vectors * new) @ vectors.mT, old))

    def _select_penalized(self, shares: Tensor) -> Tensor:
        """Return what eigenvalues of the covariance, from small to large, cost."""
        return 1 / shares - (1 - self.shrinkage) / shares[-1]

    def matrix(self) -> Tensor:
        return self.covariance
