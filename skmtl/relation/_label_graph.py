"""Heads that a graph convolution makes."""

from __future__ import annotations

import copy
from dataclasses import replace
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skmtl._core.layers import ACTIVATIONS
from skmtl._core.validation import Interval, StrOptions
from skmtl.relation._adjacency import match_outputs
from skmtl.relation._base import GraphRelation, RelationModule, TaskTable
from skmtl.relation._convolution import OutputGraph, normalize_adjacency


class LabelGraph(GraphRelation):
    r"""ML-GCN: heads whose weights a graph convolution over labels makes.

    Each output, a class of a task or a number, is a node with a learned embedding, a
    row of E. Two layers make the weights of all heads, :math:`\tilde A \, \sigma(\tilde
    A E \Theta_1) \, \Theta_2`, with the normalised weights :math:`\tilde A` between
    nodes: outputs that go together get heads alike, and what one task's labels teach
    reaches its neighbours.

    Parameters
    ----------
    adjacency : str or array-like of shape (n_tasks, n_tasks), default="correlation"
        Weights between tasks, as those of `TaskGraph`: tasks with one output, which
        have two classes or numbers, are neighbours by it, and tasks with the same
        classes class by class. Or how to estimate weights between outputs, each class
        of a task with more than two being a label of its own: "correlation",
        "mutual_information", or "cooccurrence" where no task has numbers. Classes of
        one task exclude each other and are no neighbours.
    n_layers : int, default=2
        Number of layers, all but the last of which have an activation.
    normalization : {"sym", "row"} or None, default="sym"
        Whether weights are divided by the roots of the sums of their row and column, by
        the sum of their row, or not.
    self_loops : bool, default=True
        Whether each node is a neighbour of itself too, with weight one.
    activation : str, default="tanh"
        :math:`\sigma`, by a name that `skmtl.encoder.MLP` has for it, but "relu".
    threshold : float, default=0.4
        Probability :math:`P(b \mid a)` from which "cooccurrence" makes output b a
        neighbour of a.
    neighbor_weight : float, default=0.2
        Weight that they share; the self loop weighs the rest.

    Notes
    -----
    Heads are compared where features mean the same to all tasks: this is for sharing
    that has one encoder or common experts, not for independent networks. `TaskGraph`
    keeps more of what is a task's own.

    In [1]_ embeddings are vectors of words, which do not change. Here they are learned,
    as wide as the features, and start at zero, so that outputs start at the priors;
    each :math:`\Theta` starts at the identity. At zero a ReLU has no gradient, and the
    leaky one of [1]_ has a small one, hence tanh. ``relation_`` of a fitted estimator
    has, for two tasks, the sum of :math:`\tilde A` over the outputs of the second, mean
    over those of the first.

    References
    ----------
    .. [1] Z.-M. Chen, X.-S. Wei, P. Wang and Y. Guo, "Multi-Label Image Recognition
       with Graph Convolutional Networks", CVPR 2019.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.relation import LabelGraph
    >>> est = MultiTaskClassifier(relation=LabelGraph("cooccurrence"))
    >>> est.set_params(relation__threshold=0.3).relation
    LabelGraph(adjacency='cooccurrence', threshold=0.3)
    """

    name = "label_graph"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GraphRelation._parameter_constraints,
        "adjacency": [
            StrOptions({"correlation", "cooccurrence", "mutual_information"}),
            "array-like",
        ],
        "n_layers": [Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS) - {"relu"})],
    }
    #: The task of each output, once it is known.
    owner_: Tensor | None = None

    def __init__(
        self,
        adjacency: Any = "correlation",
        n_layers: int = 2,
        normalization: str | None = "sym",
        self_loops: bool = True,
        activation: str = "tanh",
        threshold: float = 0.4,
        neighbor_weight: float = 0.2,
    ) -> None:
        self.adjacency = adjacency
        self.n_layers = n_layers
        self.normalization = normalization
        self.self_loops = self_loops
        self.activation = activation
        self.threshold = threshold
        self.neighbor_weight = neighbor_weight

    def weights(self, tasks: TaskTable) -> NDArray[np.float64]:
        """Return weights between tasks that are given, or estimated between outputs."""
        if isinstance(self.adjacency, str):
            tasks = _each_class(tasks)
            if not tasks.labels:  # there is no output
                return np.zeros((0, 0))
        return super().weights(tasks)

    def for_network(self, task_of_output: Tensor, same_features: bool) -> Self:
        """Return a copy that knows the outputs of the tasks."""
        spec = copy.copy(self)
        spec.owner_ = task_of_output
        return spec

    def build(self, n_tasks: int, width: int) -> RelationModule:
        """Build the layers."""
        owner = np.arange(n_tasks) if self.owner_ is None else self.owner_.numpy()
        A = self.add_self_loops(
            self._between_outputs(owner, self.known_weights(n_tasks))
        )
        weights = normalize_adjacency(torch.from_numpy(A), self.normalization)
        of_task = torch.from_numpy(owner == np.arange(n_tasks)[:, None])
        return OutputGraph(weights, of_task, width, self.n_layers, self.activation)

    def _between_outputs(
        self, owner: NDArray[np.int64], A: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return weights between outputs: estimated ones, or those of their tasks."""
        if self.weights_ is None or not isinstance(self.adjacency, str):
            between = A[np.ix_(owner, owner)]
            return np.where(match_outputs(owner, self.classes_), between, 0)
        place = owner.argsort(kind="stable").argsort()  # A has the order of tasks
        return np.where(owner[:, None] != owner, A[np.ix_(place, place)], 0)


def _each_class(tasks: TaskTable) -> TaskTable:
    """Return the table with each class as a task, where a task has more than two."""
    columns: list[tuple[Any, Any, NDArray[Any]]] = []
    for name, own, y in zip(tasks.names, tasks.classes, tasks.labels, strict=True):
        if own is None or len(own) == 2:
            columns.append((name, own, y))
        elif len(own) > 2:  # a task with one class has no output
            two = np.array([False, True])
            for code, label in enumerate(own.tolist()):
                columns.append(((name, label), two, np.where(y < 0, y, y == code)))
    names, classes, labels = ([column[i] for column in columns] for i in range(3))
    return replace(tasks, names=names, classes=classes, labels=labels)
