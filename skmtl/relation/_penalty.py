"""Penalties on the weights of the tasks' heads, as one matrix."""

from __future__ import annotations

import copy
from abc import abstractmethod
from numbers import Real
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from skmtl._core.validation import Interval
from skmtl.relation._base import Relation, RelationModule, TaskTable


class Penalty(Relation):
    """Base class of penalties on the matrix of the tasks' weights."""

    # The matrix has a row for each task. Tasks are compared where they have the same
    # number of outputs, output by output: one output for numbers and for two classes,
    # and one per class, in sorted order, for more. Outputs of tasks with other numbers
    # of outputs have columns of their own, which are zero for tasks that lack them.
    # A task's loss is the mean over its labels, so that what a penalty weighs in labels
    # is divided by their number: the more labels there are, the less it decides.

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "strength": [Interval(Real, 0, None, closed="left")],
    }
    strength: float
    #: The task of each output, known to a spec that has seen the network.
    owner_: Tensor | None = None
    #: Mean number of labels of a task, known to a spec that has seen them.
    n_labels_ = 1.0

    def for_tasks(self, tasks: TaskTable) -> Self:
        """Return a copy that knows how many labels there are."""
        spec = copy.copy(super().for_tasks(tasks))
        n_labels = tasks.n_labels
        spec.n_labels_ = float(n_labels[n_labels > 0].mean())  # type: ignore[attr-defined]
        return spec  # type: ignore[return-value]

    @property
    def per_label(self) -> float:
        """The strength beside a loss that is the mean over labels."""
        return self.strength / self.n_labels_

    def for_network(self, task_of_output: Tensor, same_features: bool) -> Self:
        """Return a copy that knows the outputs."""
        spec = copy.copy(self)
        spec.owner_ = task_of_output
        return spec

    def _layout(self, n_tasks: int) -> WeightLayout:
        """Return where weights stand; tasks have one output where it is not known."""
        owner = torch.arange(n_tasks) if self.owner_ is None else self.owner_
        return WeightLayout(owner, n_tasks)


class WeightLayout:
    """Where the weights of outputs stand in the matrix of the tasks' weights."""

    # owner (n_outputs,): The task of each output; those of a task follow each other.
    # n_tasks: Number of tasks.
    # n_groups: Number of groups of columns, each as many as there are features.
    # place (n_outputs,): Which of the n_tasks x n_groups parts each output has.
    # alike (n_tasks, n_tasks): One for tasks with the same number of outputs, which
    # are compared, else zero.

    def __init__(self, owner: Tensor, n_tasks: int) -> None:
        sizes = owner.bincount(minlength=n_tasks)
        # Each size that there is has as many groups of columns.
        groups = sizes.bincount().clamp(max=1)
        groups *= torch.arange(len(groups))
        first_group = (groups.cumsum(0) - groups)[sizes[owner]]
        number = (owner.unsqueeze(1) == owner).tril(-1).sum(dim=1)  # within its task
        self.n_tasks = n_tasks
        self.n_groups = int(groups.sum())
        self.place = owner * self.n_groups + first_group + number
        self.alike = (sizes.unsqueeze(1) == sizes).double()


class PenaltyModule(RelationModule):
    """Base class of modules that add a measure of the matrix of weights to the loss."""

    place: Tensor

    def __init__(self, layout: WeightLayout, scale: float) -> None:
        super().__init__()
        self.n_tasks, self.n_groups = layout.n_tasks, layout.n_groups
        self.register_buffer("place", layout.place)
        self.scale = scale

    @abstractmethod
    def measure(self, W: Tensor) -> Tensor:
        """Return what is penalised of the matrix of weights, a scalar."""
        # W of shape (n_tasks, n_columns).

    def penalty(self, weight: Tensor, task_of_output: Tensor) -> Tensor | None:
        """Return the measure times its weight."""
        return self.scale * self.measure(self.by_task(weight)) if self.scale else None

    def by_task(self, weight: Tensor) -> Tensor:
        """Return weights (n_outputs, width) as the matrix of the tasks' weights."""
        W = weight.new_zeros(self.n_tasks * self.n_groups, weight.shape[1])
        return W.index_copy(0, self.place, weight).view(self.n_tasks, -1)


def compute_quadratic(W: Tensor, Q: Tensor) -> Tensor:
    """Return the trace of the product of W.T, Q and W."""
    return (W * (Q @ W)).sum()


def compute_spectrum(W: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Return singular values of the tasks' weights, and vectors over the tasks."""
    # W of shape (n_tasks, n_columns); returns values of shape (n_tasks,), vectors of
    # shape (n_tasks, n_tasks).
    squares, vectors = torch.linalg.eigh(W @ W.mT)
    squares = squares.clamp_min(0)
    return (squares + ridge * squares.mean()).sqrt(), vectors
