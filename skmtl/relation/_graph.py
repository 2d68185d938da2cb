"""Graph convolution over tasks."""

from __future__ import annotations

import copy
from numbers import Integral
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from skmtl._core.layers import ACTIVATIONS
from skmtl._core.validation import Interval, StrOptions
from skmtl.relation._adjacency import ESTIMATES, match_outputs
from skmtl.relation._base import GraphRelation, RelationModule
from skmtl.relation._convolution import FeatureGraph, HeadGraph, NodeWeights


class TaskGraph(GraphRelation):
    r"""Graph convolution over what tasks have of their own.

    Where sharing gives tasks features of their own, a layer maps those of a sample,
    the rows of H, to :math:`\sigma(H \Theta + \tilde A H)`: each task goes on from its
    own features, transformed, plus those of its neighbours by the normalised weights
    :math:`\tilde A`. With ``propagate_weight=True`` it is :math:`\sigma(\tilde A H
    \Theta)` [1]_.

    Under hard sharing rows of H would be equal, and a graph over them would tell tasks
    apart by sums of weights only. What tasks then have of their own are the weights W
    of their linear heads, and layers map these to :math:`W + \tilde A W`, or
    :math:`\tilde A W`. From their start at zero, gradients then move heads of
    neighbours together: a task with few labels learns from its neighbours'. There is no
    :math:`\Theta`, which the encoder's last layer can be, and no :math:`\sigma`. Tasks
    of more than two classes inform each other where their classes are the same.

    Parameters
    ----------
    adjacency : str or array-like of shape (n_tasks, n_tasks), default="correlation"
        Weights: row t has those of the tasks that task t learns from. A DataFrame names
        its rows and columns by tasks, in any order. Or how to find them; see also
        `skmtl.inspection.label_dependence`:

        - "correlation" of labels, with its sign where it has one
        - "mutual_information" I of labels, as :math:`\sqrt{1 - e^{-2I}}`: the
          correlation of normal labels that have as much
        - "cooccurrence" of tasks with two classes: neighbours s of t are those with
          :math:`P(y_s = 1 \mid y_t = 1)` of at least ``threshold`` [2]_
        - "kl", :math:`e^{-D}` with the mean D of both divergences between the label
          distributions of tasks with the same classes
        - "learned" with the network
        - "attention", computed for each sample from H; under hard sharing, from W
    start : str, array-like or None, default=None
        Where "learned" begins, in any of the other ways but attention. None makes all
        tasks neighbours alike.
    n_layers : int, default=2
        Number of layers.
    normalization : {"sym", "row"} or None, default="sym"
        Whether weights are divided by the roots of the sums of their row and column, by
        the sum of their row, or not. Rows of attention sum to one.
    self_loops : bool, default=True
        Whether each task is a neighbour of itself too, with weight one.
    residual : bool, default=False
        Whether a layer adds its result to its input.
    activation : str, default="identity"
        :math:`\sigma`, by a name that `skmtl.encoder.MLP` has for it.
    propagate_weight : bool, default=False
        Whether nothing of a task's own goes on but what a self loop passes.
    threshold : float, default=0.4
        Probability from which "cooccurrence" makes neighbours.
    neighbor_weight : float, default=0.2
        Weight that they share; the self loop weighs the rest.

    Notes
    -----
    :math:`\Theta` starts at the identity, and weight decay draws it there. Features can
    double with each layer, and heads then learn twice as fast in what neighbours
    share. What independent labels have on average is taken off correlation [3]_ and
    mutual information; pairs without common rows are no neighbours. Where no labels
    are known, as in a network that is built by hand, all are neighbours alike.
    ``relation_`` of a fitted estimator is :math:`\tilde A`, but for attention.

    References
    ----------
    .. [1] T. N. Kipf and M. Welling, "Semi-Supervised Classification with Graph
       Convolutional Networks", ICLR 2017.
    .. [2] Z.-M. Chen, X.-S. Wei, P. Wang and Y. Guo, "Multi-Label Image Recognition
       with Graph Convolutional Networks", CVPR 2019.
    .. [3] W. Bergsma, "A Bias-Correction for Cramér's V and Tschuprow's T", Journal of
       the Korean Statistical Society 42, 2013.

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

    def validate(self) -> Self:
        """Return the spec itself after checking its settings."""
        if self.start is not None and self.kind != "learned":
            raise ValueError(
                f"TaskGraph has no use for start={self.start!r} without "
                "adjacency='learned': leave it None."
            )
        return super().validate()

    def for_network(self, task_of_output: Tensor, same_features: bool) -> Self:
        """Return a copy that knows what tasks have of their own."""
        spec = copy.copy(self)
        spec.owner_ = task_of_output if same_features else None
        return spec

    def build(self, n_tasks: int, width: int) -> RelationModule:
        """Build the layers."""
        A = torch.from_numpy(self.add_self_loops(self.known_weights(n_tasks)))
        owner = torch.arange(n_tasks) if self.owner_ is None else self.owner_
        connected = torch.from_numpy(match_outputs(owner.numpy(), self.classes_))
        weights = NodeWeights(self.kind, A, self.normalization, owner, connected, width)
        args = self.n_layers, self.residual, self.propagate_weight
        if self.owner_ is not None:
            return HeadGraph(weights, *args)
        return FeatureGraph(weights, width, self.activation, *args)
