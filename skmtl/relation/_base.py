"""What every relation between tasks offers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor, nn

from skmtl._registry import Spec

#: What soft labels add to losses; see `Relation.soft_loss`.
SoftLoss = Callable[[str, Tensor, Tensor], Tensor]


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
    """

    names: Sequence[Any]
    classes: Sequence[NDArray[Any] | None]
    labels: Sequence[NDArray[Any]]

    @property
    def n_tasks(self) -> int:
        """Number of tasks."""
        return len(self.names)


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
            Function of the kind of some tasks, "binary", "multiclass" or "regression",
            their outputs and their soft labels, to what each label adds to the loss of
            its task, of shape (..., n, n_tasks). Outputs and soft labels are log-odds
            or standardised values of that shape, or logits of shape (..., n, n_tasks,
            n_classes), minus infinity for classes that a task does not have. Soft
            labels of classes without probability are infinite, too. None, the default,
            where there is no teacher.
        """
        return None

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
