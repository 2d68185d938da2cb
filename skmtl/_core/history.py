"""What the history of a training tells, as arrays."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from skmtl._core.numerics import mean_of_known

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TrainingHistory:
    """Losses, weights and gradients of each task by epoch; NaN where there are none."""

    train_losses: Array  # (n_epochs, n_tasks): Mean losses.
    valid_losses: Array  # (n_epochs, n_tasks): Mean losses.
    weights: Array  # (n_epochs, n_tasks): Mean weights of the losses.
    # (n_epochs, n_tasks, n_tasks): Mean cosines between the tasks' gradients.
    cosines: Array
    # Epoch, counted from one, with the lowest mean validation loss; None without
    # validation.
    best_epoch: int | None

    @classmethod
    def from_skorch(cls, history: Iterable[Mapping[str, Any]], n_tasks: int) -> Self:
        """Read a history."""
        epochs = list(history)
        validated = {
            number: epoch["valid_loss"]
            for number, epoch in enumerate(epochs, start=1)
            if "valid_loss" in epoch
        }
        return cls(
            train_losses=_stack_values(epochs, "train_losses", (n_tasks,)),
            valid_losses=_stack_values(epochs, "valid_losses", (n_tasks,)),
            weights=_stack_values(epochs, "train_weights", (n_tasks,)),
            cosines=_stack_values(epochs, "train_gradient_cosines", (n_tasks, n_tasks)),
            best_epoch=min(validated, key=validated.__getitem__, default=None),
        )


def mean_cosines(cosines: Array) -> Array:
    """Return the mean cosine of each task's gradient with those of the others."""
    # cosines of shape (n_epochs, n_tasks, n_tasks); returns (n_epochs, n_tasks).
    itself = np.eye(cosines.shape[-1], dtype=bool)
    return mean_of_known(np.where(itself, np.nan, cosines), axis=-1)


def _stack_values(
    epochs: list[Mapping[str, object]], name: str, shape: tuple[int, ...]
) -> Array:
    """Return what all epochs have recorded under a name."""
    absent = np.full(shape, np.nan)
    values = [np.asarray(epoch.get(name, absent), np.float64) for epoch in epochs]
    return np.stack(values) if values else np.empty((0, *shape))
