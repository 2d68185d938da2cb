"""What every weighting offers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skmtl._core.specs import Spec
from skmtl._core.validation import Interval, StrOptions
from skmtl.weighting._gramian_solvers import solve_or_equal


@dataclass(frozen=True)
class TaskLabels:
    """What a weighting may know of a task before training.

    Parameters
    ----------
    name : object
        Name of the task.
    classes : ndarray or None
        Its classes, sorted; None for regression.
    labels : ndarray of shape (n_labels,)
        The training labels that are present: codes of classes, or the values divided
        by their standard deviation after subtracting their mean.
    weight : ndarray of shape (n_labels,) or None
        Weights of the labels; None where all count the same.
    mean, scale : float
        What standardised the values of regression.
    """

    name: Any
    classes: NDArray[Any] | None
    labels: NDArray[Any]
    weight: NDArray[Any] | None
    mean: float = 0.0
    scale: float = 1.0


class WeightingModule(nn.Module):
    """Turns the losses of one step into weights of the tasks.

    State, such as a history of losses, lives in buffers or parameters, so that it
    pickles, follows the device and is there when training goes on. Parameters are
    trained by the estimator's optimizer, without weight decay.

    Attributes
    ----------
    fixed : bool
        Whether the weights are the same in every step; they are then asked for once.
    rereads : bool
        Whether ``after_step`` wants to see the losses of the batch after the step,
        which costs a second forward pass.
    """

    fixed: bool = False
    rereads: bool = False

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
            weighting; the weight of an absent task is ignored. Gradients go through
            them into the weighting's parameters.
        """

    def own_loss(self, losses: Tensor, present: Tensor | None) -> Tensor | None:
        """Return what the weighting's own parameters minimise, where it is not the sum.

        Parameters
        ----------
        losses : Tensor of shape (n_tasks,)
            Losses, detached from the network.
        present : Tensor of bool of shape (n_tasks,) or None
            Which tasks have labels in the batch; None where all have.

        Returns
        -------
        Tensor of shape () or None
            A scalar that is added to the loss; ``forward`` then returns weights
            without gradients. None, the default, for weightings without parameters
            or whose parameters minimise the weighted sum of losses.
        """
        return None

    def after_step(self, before: Tensor, after: Tensor, present: Tensor | None) -> None:
        """Take note of a step; called without gradients where ``rereads``.

        Parameters
        ----------
        before, after : Tensor of shape (n_tasks,)
            Losses of one batch before and after the step on it.
        present : Tensor of bool of shape (n_tasks,) or None
            Which tasks have labels in the batch; None where all have.
        """

    def after_epoch(self, losses: Tensor) -> None:
        """Take note of an epoch; called without gradients.

        Parameters
        ----------
        losses : Tensor of shape (n_tasks,)
            Mean training loss of each task, NaN where it had no label.
        """


class GradientWeightingModule(WeightingModule):
    """Turns the gradients of the tasks' losses into weights of the tasks."""

    def forward(self, losses: Tensor, present: Tensor | None) -> Tensor:
        """Return equal weights, for where there are no gradients to compare."""
        return torch.ones_like(losses)

    @abstractmethod
    def from_gramian(
        self, gramian: Tensor, losses: Tensor, present: Tensor | None
    ) -> Tensor:
        """Return the tasks' weights.

        Parameters
        ----------
        gramian : Tensor of shape (n_tasks, n_tasks)
            Inner products of the tasks' gradients, detached. Row and column of an
            absent task are zero.
        losses : Tensor of shape (n_tasks,)
            Mean loss of each task over its labels in the batch, detached.
        present : Tensor of bool of shape (n_tasks,) or None
            Which tasks have labels in the batch; None where all have.

        Returns
        -------
        Tensor of shape (n_tasks,)
            Weights; see `WeightingModule.forward`.
        """


class SolverModule(GradientWeightingModule):
    """Weights that a small problem on the Gramian yields, solved on the CPU."""

    # The solver meets only tasks that have a gradient. Where it fails, or its weights
    # sum to little beside their sizes, so that rescaling them would blow them up, the
    # step has equal weights.

    failures: Tensor  # (): Number of times that the solver failed.

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("failures", torch.zeros((), dtype=torch.int64))

    def from_gramian(
        self, gramian: Tensor, losses: Tensor, present: Tensor | None
    ) -> Tensor:
        """Return the tasks' weights; absent tasks are those whose rows are zero."""
        weights, failed = solve_or_equal(
            self.solve, gramian.to("cpu", torch.float64).numpy()
        )
        if failed:
            self.failures += 1
        return torch.from_numpy(weights).to(losses, non_blocking=True)

    @abstractmethod
    def solve(self, gramian: NDArray[Any], tasks: NDArray[Any]) -> NDArray[Any]:
        """Return weights on any scale."""
        # gramian of shape (n, n), tasks of shape (n,); returns (n,).


class GradientCombiningModule(GradientWeightingModule):
    """Turns the tasks' gradients into one that no weights of the tasks would give."""

    def from_gramian(
        self, gramian: Tensor, losses: Tensor, present: Tensor | None
    ) -> Tensor:
        """Return equal weights, for what the gradients have no part in."""
        return torch.ones_like(losses)

    @abstractmethod
    def combine(self, gradients: Tensor, present: Tensor | None) -> Tensor:
        """Return the gradient at the shared features.

        Parameters
        ----------
        gradients : Tensor of shape (n_tasks, n, ...)
            Gradients of the tasks' losses at the shared features, zero for an absent
            task.
        present : Tensor of bool of shape (n_tasks,) or None
            Which tasks have labels in the batch; None where all have.

        Returns
        -------
        Tensor of shape (n, ...)
            The gradient to pass on; of the size that a sum over tasks has.
        """


class Weighting(Spec):
    """Base class of weighting specs: how task losses are balanced.

    Subclass it and write ``build`` to add a weighting; instances work as the
    ``weighting`` parameter of every estimator without being registered.
    """

    def for_labels(self, tasks: Sequence[TaskLabels]) -> Weighting:
        """Return the spec that is built, after a look at the training labels.

        Parameters
        ----------
        tasks : sequence of TaskLabels
            The tasks with their training labels.

        Returns
        -------
        Weighting
            By default the spec itself.

        Raises
        ------
        ValueError
            If the settings do not fit the tasks.
        """
        return self

    def label_weights(self, task: int, labels: NDArray[Any]) -> NDArray[Any] | None:
        """Return factors for the weights of a task's labels, or None.

        Parameters
        ----------
        task : int
            Number of the task.
        labels : ndarray of shape (n_labels,)
            Labels, in the form that `TaskLabels` describes.

        Returns
        -------
        ndarray of shape (n_labels,) or None
            None, the default, leaves the weights as they are.
        """
        return None

    def alone(self, number: int, name: object) -> Weighting | None:
        """Return the spec with which one of the tasks trains alone.

        Parameters
        ----------
        number : int
            Number of the task.
        name : object
            Its name.

        Returns
        -------
        Weighting or None
            None, the default, where there is then nothing to weigh.
        """
        return None

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


class GradientWeighting(Weighting):
    """Base class of weightings that look at the tasks' gradients.

    Subclass it and write ``build``, which returns a `GradientWeightingModule`.

    Parameters
    ----------
    gradient_at : {"representation", "parameters"}, default="representation"
        Where gradients are taken: at the features that tasks share, which costs little
        (Sener & Koltun, NeurIPS 2018), or at the shared parameters, which is exact.
    update_every : int, default=1
        Recompute the weights every k steps at the gradients; weights stay the same in
        between.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "gradient_at": [StrOptions({"representation", "parameters"})],
        "update_every": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self, gradient_at: str = "representation", update_every: int = 1
    ) -> None:
        self.gradient_at = gradient_at
        self.update_every = update_every

    @abstractmethod
    def build(self, n_tasks: int) -> GradientWeightingModule:
        """Build the module.

        Parameters
        ----------
        n_tasks : int
            Number of tasks.

        Returns
        -------
        GradientWeightingModule
            The module from gradients to weights.
        """


def clamp_positive(losses: Tensor) -> Tensor:
    """Return losses, detached, that can be divided by and have a logarithm."""
    return losses.detach().clamp_min(torch.finfo(losses.dtype).eps)


def compute_present_softmax(
    logits: Tensor, present: Tensor | None, temperature: float = 1.0
) -> Tensor:
    """Return the softmax over the tasks present, of shape (n_tasks,)."""
    if present is not None:
        logits = logits.masked_fill(~present, torch.finfo(logits.dtype).min)
    if temperature == 1:
        return logits.softmax(dim=0)
    return ((logits - logits.max()) / temperature).softmax(dim=0)
