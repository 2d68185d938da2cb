"""What every sharing strategy offers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from skmtl._core.specs import Spec

if TYPE_CHECKING:
    from skmtl._data.output_kinds import OutputBlock
    from skmtl.encoder import Encoder


#: Mean weight on one expert from which a gate counts as collapsed.
COLLAPSE = 0.99


def on_one_expert(gates: Tensor) -> Tensor | None:
    """Tell which gates put almost all of their weight on one expert."""
    # gates of shape (n, n_gates, n_experts); returns (n_gates,).
    if gates.shape[-1] == 1:
        return None
    return gates.mean(dim=0).amax(dim=-1) > COLLAPSE


class SharingModule(nn.Module):
    """Network from a batch of inputs to features for every task.

    Subclasses set ``width`` and write ``forward``; those that share parameters or
    tie them override ``shared_parameters`` and ``penalty``.

    Attributes
    ----------
    width : int
        Number of features per sample and task.
    same_features : bool
        Whether all tasks read the same features, which then have no axis of tasks.
    n_separate : int
        Number of networks that share nothing, not even what reads sparse inputs; where
        there are several, ``forward`` also takes inputs of each, (n_separate, n, ...).
    """

    width: int
    same_features: bool = False
    n_separate: int = 1

    @abstractmethod
    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the tasks' features and the features that tasks share.

        Parameters
        ----------
        X : Tensor of shape (n, ...)
            A batch of inputs.

        Returns
        -------
        features : Tensor of shape (n, n_tasks, width) or (n, width)
            Features that each task's head reads, without the axis of tasks where all
            read the same.
        shared : Tensor of shape (n, ...) or None
            What more than one task depends on, where gradient balancing looks; None
            where nothing is shared.
        """

    def trace(self, X: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return what ``forward`` does, and how features hold the shared ones.

        Override it where each task's features are a weighted sum of shared features
        plus what does not depend on them: its gradients at the shared features then
        cost little.

        Parameters
        ----------
        X : Tensor of shape (n, ...)
            A batch of inputs.

        Returns
        -------
        features : Tensor of shape (n, n_tasks, width) or (n, width)
            Features that each task's head reads.
        shared : Tensor of shape (n, ...) or None
            What more than one task depends on.
        weights : Tensor of shape (n, n_tasks, n_shared) or (n_tasks, n_shared) or None
            Weights of the sum, where it is one of shared features (n, n_shared, width);
            None, the default, where it is not.
        """
        return *self.forward(X), None

    def shared_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters that more than one task depends on.

        Returns
        -------
        iterable of torch.nn.Parameter
            None by default.
        """
        return ()

    def penalty(self) -> Tensor | None:
        """Return a scalar to add to the loss, or None.

        Returns
        -------
        Tensor of shape () or None
            The penalty.
        """
        return None

    def gates(self, X: Tensor) -> Tensor | None:
        """Return how much of each expert each task reads, where it has gates.

        Parameters
        ----------
        X : Tensor of shape (n, ...)
            A batch of inputs.

        Returns
        -------
        Tensor of shape (n, n_tasks, n_experts) or None
            Weights of the experts, not negative, with sum one over experts; zero for
            an expert that a task cannot see. None without gates.
        """
        return None

    def find_collapsed(self, X: Tensor) -> Tensor | None:
        """Return which tasks' gates have collapsed, for a warning after training.

        Parameters
        ----------
        X : Tensor of shape (n, ...)
            A batch of inputs.

        Returns
        -------
        Tensor of bool of shape (n_tasks,) or None
            Whether one expert gets almost all of a task's weight although the task
            sees several. None without gates, or where there is nothing to choose.
        """
        gates = self.gates(X)
        return None if gates is None else on_one_expert(gates)

    def coupling(self, blocks: Sequence[OutputBlock]) -> nn.Module | None:
        """Return what lets outputs of tasks enter those of others, or None.

        Parameters
        ----------
        blocks : sequence of OutputBlock
            Layout of the outputs.

        Returns
        -------
        torch.nn.Module or None
            Module from outputs of the heads, of shape (n, n_outputs), to outputs.
        """
        return None


class MixtureModule(SharingModule):
    """Network whose tasks read weighted sums of the same features.

    Subclasses set ``width`` and ``n_mixed``, and write ``mixture`` in place of
    ``forward``. Heads are linear, so that outputs can be mixed instead of features,
    which spares the features of every task where there are few outputs for each.

    Attributes
    ----------
    n_mixed : int
        Number of features that are mixed, such as the number of experts.
    """

    n_mixed: int

    @abstractmethod
    def mixture(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights of a mixture and what they mix.

        Parameters
        ----------
        X : Tensor of shape (n, ...)
            A batch of inputs.

        Returns
        -------
        weights : Tensor of shape (n, n_tasks, n_mixed) or (n_tasks, n_mixed)
            How much of each feature each task reads.
        mixed : Tensor of shape (n, n_mixed, width)
            Features.
        """

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the tasks' mixtures and what they mix."""
        G, H = self.mixture(X)
        return G @ H, H if G.shape[-2] > 1 else None


class Sharing(Spec):
    """Base class of sharing specs: which parameters tasks share.

    Subclass it and write ``build`` to add a strategy; instances work as the
    ``sharing`` parameter of every estimator without being registered.
    """

    @property
    def scout_epochs(self) -> int:
        """Epochs of hard sharing that ``for_affinity`` looks at; zero for none."""
        return 0

    def for_affinity(self, affinity: NDArray[np.float64]) -> Sharing:
        """Return the spec with what it makes of how tasks affect each other.

        Parameters
        ----------
        affinity : ndarray of shape (n_tasks, n_tasks)
            In row i, which share of each task's loss steps on task i take away; NaN
            where that is not known.

        Returns
        -------
        Sharing
            The spec that is built; by default the spec itself.
        """
        return self

    def for_tasks(self, names: Sequence[Any], n_labels: Sequence[int]) -> Sharing:
        """Return the spec with what it says of tasks turned into their numbers.

        Parameters
        ----------
        names : sequence
            Names of the tasks.
        n_labels : sequence of int
            Number of training labels of each task.

        Returns
        -------
        Sharing
            The spec that is built; by default the spec itself.
        """
        return self

    @abstractmethod
    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build the network.

        Parameters
        ----------
        encoder : Encoder
            Builds any number of stacked networks for one input shape.
        input_shape : tuple of int
            Shape of one sample, such as ``(n_features,)``.
        n_tasks : int
            Number of tasks.

        Returns
        -------
        SharingModule
            The network from inputs to the tasks' features.
        """
