"""Graph convolution over tasks."""

from __future__ import annotations

import copy
from numbers import Integral
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from skmtl._activations import ACTIVATIONS
from skmtl._adjacency import ESTIMATES, aligned_outputs
from skmtl._graph_layers import GraphLayers, NodeWeights
from skmtl._validation import Interval, StrOptions
from skmtl.relation._base import GraphRelation, RelationModule


class TaskGraph(GraphRelation):
    r"""Graph convolution over the tasks' representations.

    A layer maps :math:`H \in \mathbb R^{T \times w}`, whose rows are what tasks know of
    a sample, to :math:`\sigma(H \Theta + \tilde A H)`: each task goes on from its own
    representation, transformed, plus those of its neighbours, weighted by the
    normalised adjacency :math:`\tilde A`. With ``propagate_weight=True`` it is the
    layer of [1]_, :math:`\sigma(\tilde A H \Theta)`.

    Rows of H are the tasks' features. Under hard sharing these are the same for all
    tasks, and a graph over them would see nothing but sums of rows of
    :math:`\tilde A`. All that tasks then have of their own is their linear heads, so
    that H holds the weights of the heads, for all samples at once and without
    :math:`\sigma`: from their start at zero, gradients move the heads of neighbours
    together, and a task with few labels learns from those of its neighbours. A task
    with more than one output there has a row for each, which passes to those of the
    same class in tasks with the same classes.

    Parameters
    ----------
    adjacency : str or array-like of shape (n_tasks, n_tasks), default="correlation"
        Weights between tasks: row t holds those of the tasks that task t learns from.
        A DataFrame's rows and columns are named by tasks, in any order. Or how to find
        them, from the training rows where both tasks have labels:

        - "correlation": Pearson's for numbers and two classes, with its sign; the
          correlation ratio and Cramér's V for more classes.
        - "mutual_information": :math:`\sqrt{1 - e^{-2 I}}`, which is the absolute
          correlation of normal labels; numbers are cut into bins.
        - "cooccurrence": of tasks with two classes, those s with
          :math:`P(y_s = 1 | y_t = 1)` of at least ``threshold`` are neighbours of t,
          and share ``neighbor_weight`` [2]_.
        - "kl": :math:`e^{-D}` with the mean D of both divergences between the labels'
          distributions, of tasks with the same classes.
        - "learned": parameters, which begin at ``start``.
        - "attention": computed for each sample by dot products of rows of H.
    start : str, array-like or None, default=None
        For "learned", where it begins, in any of the other ways but attention. None
        makes all tasks neighbours alike.
    n_layers : int, default=2
        Number of layers.
    normalization : {"sym", "row"} or None, default="sym"
        Whether weights are divided by the roots of the sums of their row and column,
        by the sum of their row, or not at all. Attention has rows of sum one.
    self_loops : bool, default=True
        Whether a task is its own neighbour too: one is added to the diagonal of the
        adjacency, and one minus ``neighbor_weight`` to that of "cooccurrence".
    residual : bool, default=False
        Whether each layer adds its result to its input.
    activation : str, default="identity"
        :math:`\sigma`, by a name that `skmtl.encoder.MLP` knows.
    propagate_weight : bool, default=False
        Whether to transform what is passed on, and nothing else.
    threshold : float, default=0.4
        For "cooccurrence", the least conditional probability between neighbours.
    neighbor_weight : float, default=0.2
        For "cooccurrence", the weight of all neighbours of a task together.

    Notes
    -----
    Every :math:`\Theta` starts at the identity, and weight decay draws it back there: a
    task starts from its own representation plus its neighbours', at most twice as
    large. With "sym" and "row", eigenvalues of :math:`\tilde A` lie between -1 and 1;
    without self loops -1 is among them for two tasks, say, which are then one.

    Pairs of tasks without a common row have no weight. Without labels, as in networks
    built by hand, what would be estimated makes all tasks neighbours alike. Learned
    weights are normalised in every step. ``relation_`` of a fitted
    estimator is :math:`\tilde A`, but for attention. Features of different samples
    take a product per task: under strategies other than hard sharing, a layer costs as
    much as one of :math:`w \times w` for each task.

    References
    ----------
    .. [1] T. N. Kipf and M. Welling, "Semi-Supervised Classification with Graph
       Convolutional Networks", ICLR 2017.
    .. [2] Z.-M. Chen, X.-S. Wei, P. Wang and Y. Guo, "Multi-Label Image Recognition
       with Graph Convolutional Networks", CVPR 2019.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.relation import TaskGraph
    >>> X, Y = make_regression(60, n_features=5, n_targets=3, random_state=0)
    >>> chain = [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    >>> graph = TaskGraph(chain, normalization="row")
    >>> MultiTaskRegressor(relation=graph, max_iter=1).fit(X, Y).relation_.round(2)
    array([[0.5 , 0.5 , 0.  ],
           [0.33, 0.33, 0.33],
           [0.  , 0.5 , 0.5 ]])
    """

    name = "graph"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GraphRelation._parameter_constraints,
        "adjacency": [StrOptions({*ESTIMATES, "learned", "attention"}), "array-like"],
        "start": [StrOptions({*ESTIMATES}), "array-like", None],
        "n_layers": [Interval(Integral, 1, None, closed="left")],
        "residual": ["boolean"],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "propagate_weight": ["boolean"],
    }
    #: The task of each output, where tasks have nothing but heads of their own.
    owner_: Tensor | None = None

    def __init__(
        self,
        adjacency: Any = "correlation",
        start: Any = None,
        n_layers: int = 2,
        normalization: str | None = "sym",
        self_loops: bool = True,
        residual: bool = False,
        activation: str = "identity",
        propagate_weight: bool = False,
        threshold: float = 0.4,
        neighbor_weight: float = 0.2,
    ) -> None:
        self.adjacency = adjacency
        self.start = start
        self.n_layers = n_layers
        self.normalization = normalization
        self.self_loops = self_loops
        self.residual = residual
        self.activation = activation
        self.propagate_weight = propagate_weight
        self.threshold = threshold
        self.neighbor_weight = neighbor_weight

    @property
    def kind(self) -> str:
        """Whether weights are "learned", "attention" or else "fixed"."""
        name = self.adjacency if isinstance(self.adjacency, str) else ""
        return name if name in ("learned", "attention") else "fixed"

    @property
    def source(self) -> tuple[Any, str]:
        """What weights are or begin as, and the parameter that says so."""
        if self.kind == "fixed":
            return super().source
        return self.start, "The 'start' parameter of TaskGraph"

    def validated(self) -> Self:
        """Return the spec itself after checking its settings."""
        if self.start is not None and self.kind != "learned":
            raise ValueError(
                f"TaskGraph has no use for start={self.start!r} without "
                "adjacency='learned': leave it None."
            )
        return super().validated()

    def for_network(self, task_of_output: Tensor, same_features: bool) -> Self:
        """Return a copy that knows what tasks have of their own."""
        spec = copy.copy(self)
        spec.owner_ = task_of_output if same_features else None
        return spec

    def build(self, n_tasks: int, width: int) -> RelationModule:
        """Build the layers."""
        A = torch.from_numpy(self.looped(self.known_weights(n_tasks)))
        owner, seen = self.owner_, torch.ones_like(A, dtype=torch.bool)
        on_heads = owner is not None
        if owner is None:
            owner = torch.arange(n_tasks)
        else:
            seen = torch.from_numpy(aligned_outputs(owner.numpy(), self.classes_))
        if self.kind == "attention" and not self.self_loops:
            seen.fill_diagonal_(False)
        weights = NodeWeights(self.kind, A, self.normalization, owner, seen, width)
        return (
            _OfHeads(self, weights) if on_heads else _OfFeatures(self, weights, width)
        )


class _TaskGraph(RelationModule):
    weights: NodeWeights

    def matrix(self) -> Tensor | None:
        return self.weights.between_tasks()


class _OfFeatures(_TaskGraph):
    def __init__(self, spec: TaskGraph, weights: NodeWeights, width: int) -> None:
        super().__init__()
        self.weights = weights
        args = spec.activation, spec.residual, spec.propagate_weight
        self.layers = GraphLayers(spec.n_layers, width, *args)

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features, self.weights(features))  # type: ignore[no-any-return]


class _OfHeads(_TaskGraph):
    passed: Tensor | None

    def __init__(self, spec: TaskGraph, weights: NodeWeights) -> None:
        super().__init__()
        self.weights = weights
        self.own = (not spec.propagate_weight) + spec.residual
        self.n_layers = spec.n_layers
        fixed = spec.kind == "fixed"
        made = self._passed(weights(weights.start)) if fixed else None
        self.register_buffer("passed", made)

    def _passed(self, A: Tensor) -> Tensor:
        """Return what all layers do to nodes, (n_nodes, n_nodes)."""
        own = self.own * torch.eye(len(A), dtype=A.dtype, device=A.device)
        passed: Tensor = torch.linalg.matrix_power(own + A, self.n_layers)
        return passed

    def head_weight(self, weight: Tensor, task_of_output: Tensor) -> Tensor:
        M = self._passed(self.weights(weight)) if self.passed is None else self.passed
        return M @ weight  # (n_outputs, width)
