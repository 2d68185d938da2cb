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

from skmtl._activations import ACTIVATIONS
from skmtl._adjacency import aligned_outputs
from skmtl._graph_layers import GraphLayers, normalized
from skmtl._validation import Interval, StrOptions
from skmtl.relation._base import GraphRelation, RelationModule, TaskTable


class LabelGraph(GraphRelation):
    """TODO."""

    name = "label_graph"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **GraphRelation._parameter_constraints,
        "adjacency": [
            StrOptions({"correlation", "cooccurrence", "mutual_information"}),
            "array-like",
        ],
        "n_layers": [Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
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
        return super().weights(tasks)

    def for_network(self, task_of_output: Tensor, same_features: bool) -> Self:
        """Return a copy that knows the outputs of the tasks."""
        spec = copy.copy(self)
        spec.owner_ = task_of_output
        return spec

    def build(self, n_tasks: int, width: int) -> RelationModule:
        """Build the layers."""
        owner = np.arange(n_tasks) if self.owner_ is None else self.owner_.numpy()
        A = self.looped(self._between_outputs(owner, self.known_weights(n_tasks)))
        layers = GraphLayers(
            self.n_layers, width, self.activation, propagate_weight=True, last=False
        )
        weights = normalized(torch.from_numpy(A), self.normalization)
        return _LabelGraph(weights, torch.from_numpy(owner), n_tasks, layers)

    def _between_outputs(
        self, owner: NDArray[np.int64], A: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return weights between outputs: estimated ones, or those of their tasks."""
        if self.weights_ is not None and isinstance(self.adjacency, str):
            place = owner.argsort(kind="stable").argsort()  # in the order of tasks
            return A[np.ix_(place, place)] * (owner[:, None] != owner)
        return A[np.ix_(owner, owner)] * aligned_outputs(owner, self.classes_)


def _each_class(tasks: TaskTable) -> TaskTable:
    """Return the table with each class as a task, where a task has more than two."""
    names, classes, labels = [], [], []
    for name, own, y in zip(tasks.names, tasks.classes, tasks.labels, strict=True):
        if own is None or len(own) == 2:
            names, classes, labels = [*names, name], [*classes, own], [*labels, y]
        elif len(own) > 2:  # a task with one class has no output
            names += [(name, label) for label in own.tolist()]
            classes += [np.array([False, True])] * len(own)
            labels += [np.where(y < 0, y, y == code) for code in range(len(own))]
    return replace(tasks, names=names, classes=classes, labels=labels)


class _LabelGraph(RelationModule):
    adjacency: Tensor
    members: Tensor

    def __init__(
        self, A: Tensor, owner: Tensor, n_tasks: int, layers: GraphLayers
    ) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("adjacency", A)
        of_task = owner == torch.arange(n_tasks).unsqueeze(1)
        self.register_buffer("of_task", of_task.to(A))  # (tasks, outputs)

    def head_weight(self, weight: Tensor, task_of_output: Tensor) -> Tensor:
        return self.layers(weight, self.adjacency)  # type: ignore[no-any-return]

    def matrix(self) -> Tensor:
        """Return the mean over a task's outputs of the sum over another's."""
        M = self.of_task
        return M @ self.adjacency @ M.mT / M.sum(dim=1, keepdim=True).clamp(min=1)
