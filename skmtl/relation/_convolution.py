"""Graph convolutions over what tasks have of their own."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from skmtl._core.layers import ACTIVATIONS
from skmtl.relation._base import RelationModule

#: Width of queries and keys.
KEY_WIDTH = 16
#: How much faster than other parameters the weights between tasks are learned.
RATE = 10


def normalize_adjacency(A: Tensor, normalization: str | None) -> Tensor:
    """Return weights between nodes divided by sums of their absolute values."""
    # A of shape (n_nodes, n_nodes); returns (n_nodes, n_nodes).
    if normalization is None:
        return A
    rows, columns = (A.abs().sum(dim=i, keepdim=True) for i in (1, 0))
    rows, columns = (torch.where(d > 0, d, 1) for d in (rows, columns))
    return A / rows if normalization == "row" else A / (rows * columns).sqrt()


class GraphLayers(nn.Module):
    r"""Graph convolutions :math:`H \leftarrow \sigma(H \Theta + A H)`.

    Every :math:`\Theta` starts at the identity, and what is learned is the difference
    from it, so that weight decay draws to the start.

    Parameters
    ----------
    n_layers : int
        Number of layers, each with its own weights.
    width : int
        Number of features per node.
    activation : str, default="identity"
        Name of :math:`\sigma`.
    residual : bool, default=False
        Whether a layer adds its result to its input.
    propagate_weight : bool, default=False
        Whether layers are :math:`H \leftarrow \sigma(A H \Theta)`.
    last : bool, default=True
        Whether the last layer has an activation too.
    """

    def __init__(
        self,
        n_layers: int,
        width: int,
        activation: str = "identity",
        residual: bool = False,
        propagate_weight: bool = False,
        last: bool = True,
    ) -> None:
        super().__init__()
        self.changes = nn.ParameterList(
            torch.zeros(width, width) for _ in range(n_layers)
        )
        self.activation = ACTIVATIONS[activation]()
        self.residual = residual
        self.propagate_weight = propagate_weight
        self.n_active = n_layers if last else n_layers - 1

    def forward(self, H: Tensor, A: Tensor) -> Tensor:
        """Map nodes (..., n_nodes, width) along weights (..., n_nodes, n_nodes)."""
        for i, change in enumerate(self.changes):
            passed = A @ H
            own_features = passed if self.propagate_weight else H
            Z = own_features + own_features @ change
            if not self.propagate_weight:
                Z = Z + passed
            if i < self.n_active:
                Z = self.activation(Z)
            H = H + Z if self.residual else Z
        return H


class NodeWeights(nn.Module):
    r"""Weights between the nodes of a graph, each of which belongs to a task.

    Parameters
    ----------
    kind : {"fixed", "learned", "attention"}
        Whether weights are those that are given, start there and are learned, or are
        attention of nodes to nodes [1]_, the same for all at the start.
    A : Tensor of shape (n_tasks, n_tasks)
        Weights between tasks.
    normalization : {"sym", "row"} or None
        How they are normalised.
    owner : Tensor of int of shape (n_nodes,)
        The task of each node.
    seen : Tensor of bool of shape (n_nodes, n_nodes)
        Which nodes may have a weight; attention also needs one between their tasks.
    width : int
        Number of features per node.

    References
    ----------
    .. [1] A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017.
    """

    start: Tensor
    owner: Tensor
    seen: Tensor

    def __init__(
        self,
        kind: str,
        A: Tensor,
        normalization: str | None,
        owner: Tensor,
        seen: Tensor,
        width: int,
    ) -> None:
        super().__init__()
        attends, learns = kind == "attention", kind == "learned"
        if attends:
            seen = seen & (A[owner][:, owner] != 0)
        self.fixed = kind == "fixed"
        self.normalization = normalization
        self.register_buffer(
            "start", A if learns else normalize_adjacency(A, normalization)
        )
        self.register_buffer("owner", owner.clone())  # a buffer has one name
        self.register_buffer("seen", seen)
        tasks = torch.arange(len(A))
        self.of_tasks = torch.equal(owner, tasks) and bool(seen.all())
        self.change = nn.Parameter(torch.zeros_like(A)) if learns else None
        self.key = nn.Linear(width, KEY_WIDTH, bias=False) if attends else None
        self.query = nn.Linear(width, KEY_WIDTH, bias=False) if attends else None
        if self.query is not None:
            nn.init.zeros_(self.query.weight)

    def between_tasks(self) -> Tensor | None:
        """Return weights (n_tasks, n_tasks); None for attention."""
        if self.query is not None:
            return None
        if self.change is None:
            return self.start
        return normalize_adjacency(self.start + RATE * self.change, self.normalization)

    def forward(self, H: Tensor) -> Tensor:
        """Return weights (..., n_nodes, n_nodes) for nodes (..., n_nodes, width)."""
        # Rows of attention sum to one, and are zero for a node that sees none.
        A = self.between_tasks()
        if A is None:
            scores = self.query(H) @ self.key(H).mT / math.sqrt(KEY_WIDTH)  # type: ignore[misc]
            lowest = torch.finfo(scores.dtype).min
            attention = scores.masked_fill(~self.seen, lowest).softmax(dim=-1)
            return attention * self.seen  # type: ignore[no-any-return]
        if self.of_tasks:
            return A
        return A.index_select(0, self.owner).index_select(1, self.owner) * self.seen


class _Graph(RelationModule):
    def __init__(self, weights: NodeWeights) -> None:
        super().__init__()
        self.weights = weights

    def matrix(self) -> Tensor | None:
        return self.weights.between_tasks()


class FeatureGraph(_Graph):
    """Graph convolutions over the tasks' features."""

    def __init__(
        self,
        weights: NodeWeights,
        width: int,
        activation: str,
        n_layers: int,
        residual: bool,
        propagate_weight: bool,
    ) -> None:
        super().__init__(weights)
        self.layers = GraphLayers(
            n_layers, width, activation, residual, propagate_weight
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(features, self.weights(features))  # type: ignore[no-any-return]


class HeadGraph(_Graph):
    """Graph convolutions over the weights of heads, without weights of their own."""

    def __init__(
        self,
        weights: NodeWeights,
        n_layers: int,
        residual: bool,
        propagate_weight: bool,
    ) -> None:
        super().__init__(weights)
        self.n_layers = n_layers
        self.n_own = (not propagate_weight) + residual
        made = self._pass_messages(weights(weights.start)) if weights.fixed else None
        self.register_buffer("passed", made)  # once, where nothing is learned

    def _pass_messages(self, A: Tensor) -> Tensor:
        """Return what all layers do to nodes, of shape (n_nodes, n_nodes)."""
        self_loops = self.n_own * torch.eye(len(A), dtype=A.dtype, device=A.device)
        passed: Tensor = torch.linalg.matrix_power(self_loops + A, self.n_layers)
        return passed

    def head_weight(self, weight: Tensor, task_of_output: Tensor) -> Tensor:
        M: Any = self.passed
        if M is None:
            M = self._pass_messages(self.weights(weight))
        return M @ weight  # type: ignore[no-any-return]


class OutputGraph(RelationModule):
    """Graph convolutions that make the weights of heads."""

    adjacency: Tensor  # (n_outputs, n_outputs): Normalised weights between outputs.
    of_task: Tensor  # (n_tasks, n_outputs): Which outputs each task has.

    def __init__(
        self,
        adjacency: Tensor,
        of_task: Tensor,
        width: int,
        n_layers: int,
        activation: str,
    ) -> None:
        super().__init__()
        self.register_buffer("adjacency", adjacency)
        self.register_buffer("of_task", of_task.to(adjacency))
        self.layers = GraphLayers(
            n_layers, width, activation, propagate_weight=True, last=False
        )

    def head_weight(self, weight: Tensor, task_of_output: Tensor) -> Tensor:
        return self.layers(weight, self.adjacency)  # type: ignore[no-any-return]

    def matrix(self) -> Tensor:
        """Return the mean over a task's outputs of the sum over another's."""
        M = self.of_task
        return M @ self.adjacency @ M.mT / M.sum(dim=1, keepdim=True).clamp(min=1)
