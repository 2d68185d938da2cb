"""What every relation between tasks offers."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from skmtl._core.specs import Spec
from skmtl._core.validation import Interval, StrOptions
from skmtl._data.output_kinds import OutputBlock
from skmtl._data.training_data import has_label
from skmtl.relation._adjacency import check_weights, estimate_adjacency, read_adjacency
from skmtl.relation._label_dependence import safe_divide

#: What soft labels add to losses; see `Relation.soft_loss`.
SoftLoss = Callable[[OutputBlock, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class TaskTable:
    """The training labels of all tasks, as a relation may see them before training.

    Parameters
    ----------
    names : sequence
        Names of the tasks.
    classes : sequence of ndarray or None
        Classes of each task, sorted; None for regression.
    labels : sequence of ndarray of shape (n_samples,)
        For each task, codes of classes, -1 where a label is missing, or values with
        mean zero and standard deviation one, NaN where one is missing.
    weight : ndarray of shape (n_samples, n_tasks) or None, default=None
        Weights of the labels; None where each weighs one.
    """

    names: Sequence[Any]
    classes: Sequence[NDArray[Any] | None]
    labels: Sequence[NDArray[Any]]
    weight: NDArray[np.float64] | None = None

    @property
    def n_tasks(self) -> int:
        """Number of tasks."""
        return len(self.names)

    @property
    def n_labels(self) -> NDArray[np.float64]:
        """Number of labels of each task, or the sum of their weights."""
        present = np.column_stack([has_label(labels) for labels in self.labels])
        weight = 1.0 if self.weight is None else self.weight
        n_labels: NDArray[np.float64] = (present * weight).sum(axis=0)
        return n_labels


class RelationModule(nn.Module):
    """Lets tasks inform each other between sharing and heads.

    Every method has a default that does nothing: a relation may change features, make
    the weights of the heads, add a penalty, or several of these. What changes during
    training lives in buffers and parameters.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Let the tasks' features inform each other.

        Parameters
        ----------
        features : Tensor of shape (n, n_tasks, width)
            Features from the sharing strategy.

        Returns
        -------
        Tensor of shape (n, n_tasks, width)
            Features that the heads read.
        """
        return features

    def head_weight(self, weight: Tensor, task_of_output: Tensor) -> Tensor:
        """Return the weights of the heads, made of their parameters.

        Parameters
        ----------
        weight : Tensor of shape (n_outputs, width)
            Parameters of all tasks' linear heads, zero before training.
        task_of_output : Tensor of int of shape (n_outputs,)
            The task that each row of ``weight`` belongs to.

        Returns
        -------
        Tensor of shape (n_outputs, width)
            Weights that the features are multiplied by.
        """
        return weight

    def penalty(self, weight: Tensor, task_of_output: Tensor) -> Tensor | None:
        """Return a scalar to add to the loss, or None.

        Parameters
        ----------
        weight : Tensor of shape (n_outputs, width)
            Weights of all tasks' linear heads.
        task_of_output : Tensor of int of shape (n_outputs,)
            The task that each row of ``weight`` belongs to.

        Returns
        -------
        Tensor of shape () or None
            The penalty.
        """
        return None

    def after_epoch(self, weight: Tensor, task_of_output: Tensor) -> None:
        """Take note of an epoch; called without gradients.

        Parameters
        ----------
        weight : Tensor of shape (n_outputs, width)
            Weights of all tasks' linear heads.
        task_of_output : Tensor of int of shape (n_outputs,)
            The task that each row of ``weight`` belongs to.
        """

    def matrix(self) -> Tensor | None:
        """Return what is known of pairs of tasks, for the attribute ``relation_``.

        Returns
        -------
        Tensor of shape (n_tasks, n_tasks) or None
            Such as an adjacency or a covariance; None where there is nothing.
        """
        return None


class Relation(Spec):
    """Base class of relation specs: how tasks inform each other beyond sharing.

    Subclass it and write ``build`` to add a relation; instances work as the
    ``relation`` parameter of every estimator.

    Attributes
    ----------
    teacher : estimator or None
        With a ``soft_loss``, the fitted model that makes soft labels; None, the
        default, for one network per task, which the estimator trains first.
    """

    teacher: Any = None

    def for_tasks(self, tasks: TaskTable) -> Relation:
        """Return the spec with what it has to know of the tasks.

        Parameters
        ----------
        tasks : TaskTable
            Names and training labels of the tasks.

        Returns
        -------
        Relation
            The spec that is built, equal in its parameters; by default the spec itself.
        """
        return self

    def soft_loss(self) -> SoftLoss | None:
        """Return what soft labels, predictions of a teacher, add to the losses.

        Returns
        -------
        callable or None
            Function of a block of tasks, whose ``kind`` is "binary", "multiclass" or
            "regression", their outputs and their soft labels, to what each label adds
            to the loss of its task, of shape (..., n, n_tasks). The block's
            ``compute_divergences(outputs, soft_labels, temperature)`` gives the usual
            divergences. Outputs and soft labels are log-odds
            or standardised values of that shape, or logits of shape (..., n, n_tasks,
            n_classes), minus infinity for classes that a task does not have. Soft
            labels of classes without probability are infinite, too. None, the default,
            where there is no teacher.
        """
        return None

    def for_network(self, task_of_output: Tensor, same_features: bool) -> Relation:
        """Return the spec with what it has to know of the network.

        Parameters
        ----------
        task_of_output : Tensor of int of shape (n_outputs,)
            The task of each output; those of a task follow each other.
        same_features : bool
            Whether the heads of all tasks read the same features, as under hard
            sharing, so that heads are all that tasks have of their own.

        Returns
        -------
        Relation
            The spec that is built; by default the spec itself.
        """
        return self

    @abstractmethod
    def build(self, n_tasks: int, width: int) -> RelationModule:
        """Build the module.

        Parameters
        ----------
        n_tasks : int
            Number of tasks.
        width : int
            Number of features per sample and task.

        Returns
        -------
        RelationModule
            The module from tasks' features to tasks' features.
        """


class GraphRelation(Relation):
    """Base class of relations along a graph between tasks, or between their outputs."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "normalization": [StrOptions({"sym", "row"}), None],
        "self_loops": ["boolean"],
        "threshold": [Interval(Real, 0, 1, closed="both")],
        "neighbor_weight": [Interval(Real, 0, 1, closed="both")],
    }
    adjacency: Any  # (n_tasks, n_tasks): Weights between tasks, or how to find them.
    normalization: str | None  # How weights are normalised.
    self_loops: bool  # Whether each task is a neighbour of itself too.
    threshold: float  # What "cooccurrence" makes neighbours of, and gives them.
    neighbor_weight: float  # What "cooccurrence" makes neighbours of, and gives them.
    #: Weights between tasks, and the tasks' classes, once these are known.
    weights_: NDArray[np.float64] | None = None
    classes_: Sequence[NDArray[Any] | None] | None = None

    @property
    def source(self) -> tuple[Any, str]:
        """Weights, a name of what estimates them or None, and where that is from."""
        return self.adjacency, f"The 'adjacency' parameter of {type(self).__name__}"

    def validate(self) -> Self:
        """Return the spec itself after checking its settings."""
        super().validate()
        source, parameter = self.source
        if source is not None and not isinstance(source, str):
            check_weights(source, self.normalization != "sym", parameter)
        return self

    def for_tasks(self, tasks: TaskTable) -> Self:
        """Return a copy that knows the weights between tasks."""
        spec = copy.copy(self)
        spec.weights_, spec.classes_ = self.weights(tasks), tasks.classes
        return spec

    def weights(self, tasks: TaskTable) -> NDArray[np.float64]:
        """Return weights between tasks; all are neighbours alike where none are asked.

        Parameters
        ----------
        tasks : TaskTable
            Names and training labels of the tasks.

        Returns
        -------
        ndarray of shape (n_tasks, n_tasks)
            The weights.
        """
        source, where = self.source
        if source is None:
            return 1 - np.eye(tasks.n_tasks)
        if not isinstance(source, str):
            return read_adjacency(source, tasks.names, where)
        args = tasks.names, tasks.classes, tasks.labels
        return estimate_adjacency(source, *args, where, self.threshold)

    def known_weights(self, n_tasks: int) -> NDArray[np.float64]:
        """Return what is known of the weights; all are neighbours alike without labels.

        Parameters
        ----------
        n_tasks : int
            Number of tasks.

        Returns
        -------
        ndarray of shape (n_tasks, n_tasks)
            The weights.
        """
        if self.weights_ is not None:
            return self.weights_
        source, where = self.source
        if source is None or isinstance(source, str):
            return 1 - np.eye(n_tasks)
        return read_adjacency(source, range(n_tasks), where)

    def add_self_loops(self, A: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return weights with self loops, where there are to be any.

        Parameters
        ----------
        A : ndarray of shape (n_nodes, n_nodes)
            Weights.

        Returns
        -------
        ndarray of shape (n_nodes, n_nodes)
            The weights; those of neighbours by "cooccurrence" share what they get.
        """
        self_weight = 1.0
        if isinstance(self.source[0], str) and self.source[0] == "cooccurrence":
            A = self.neighbor_weight * safe_divide(A, A.sum(axis=1, keepdims=True))
            self_weight -= self.neighbor_weight
        return A + self_weight * np.eye(len(A)) if self.self_loops else A
