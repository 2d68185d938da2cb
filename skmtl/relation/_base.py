"""What every relation between tasks offers."""

from abc import abstractmethod

from torch import Tensor, nn

from skmtl._registry import Spec


class RelationModule(nn.Module):
    """Lets tasks inform each other between sharing and heads.

    Both methods have a default that does nothing: a relation may change features, add
    a penalty, or both.
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


class Relation(Spec):
    """Base class of relation specs: how tasks inform each other beyond sharing.

    Subclass it and write ``build`` to add a relation; instances work as the
    ``relation`` parameter of every estimator.
    """

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
