"""What every weighting offers."""

from abc import abstractmethod

from torch import Tensor, nn

from skmtl._registry import Spec


class WeightingModule(nn.Module):
    """Turns the losses of one step into weights of the tasks.

    Attributes
    ----------
    fixed : bool
        Whether the weights are the same in every step; they are then asked for once.
    """

    fixed: bool = False

    @abstractmethod
    def forward(self, losses: Tensor, present: Tensor | None) -> Tensor:
        """Return the tasks' weights.

        Parameters
        ----------
        losses : Tensor of shape (n_tasks,)
            Mean loss of each task over its labels in the batch.
        present : Tensor of bool of shape (n_tasks,) or None
            Which tasks have labels in the batch; None where all have.

        Returns
        -------
        Tensor of shape (n_tasks,)
            Weights, not negative. Training rescales them to sum to the number of
            tasks present, so that the learning rate means the same under every
            weighting; the weight of an absent task is ignored.
        """


class Weighting(Spec):
    """Base class of weighting specs: how task losses are balanced.

    Subclass it and write ``build`` to add a weighting; instances work as the
    ``weighting`` parameter of every estimator without being registered.
    """

    @abstractmethod
    def build(self, n_tasks: int) -> WeightingModule:
        """Build the module.

        Parameters
        ----------
        n_tasks : int
            Number of tasks.

        Returns
        -------
        WeightingModule
            The module from losses to weights.
        """
