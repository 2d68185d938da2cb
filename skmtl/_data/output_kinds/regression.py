"""Regression tasks: one standardised value each."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from skmtl._data.labels import Labels, TaskType
from skmtl._data.output_kinds.base import OutputBlock

#: Huber's loss changes from squared to absolute at one standard deviation.
REGRESSION_LOSSES: dict[str, Callable[..., Tensor]] = {
    "absolute_error": F.l1_loss,
    "huber": F.huber_loss,
    "squared_error": F.mse_loss,
}


class RegressionBlock(OutputBlock):
    """Tasks of numbers, whose output is the standardised value."""

    kind = "regression"
    task_type = "regression"
    quadratic = True

    @classmethod
    def find_group(cls, task_type: TaskType, n_classes: int) -> int | None:
        """Return all regression tasks in one block."""
        return 0 if task_type == "regression" else None

    def compute_losses(self, Z: Tensor, y: Tensor, regression_loss: str) -> Tensor:
        """Return the chosen loss of regression."""
        return REGRESSION_LOSSES[regression_loss](Z, y, reduction="none")

    def compute_divergences(self, Z: Tensor, S: Tensor, temperature: float) -> Tensor:
        """Return the squared error; values have no temperature."""
        return (Z - S).square()

    def compute_prior(
        self, labels: Labels, weight: NDArray[np.float64] | None, n_classes: int
    ) -> NDArray[np.float64]:
        """Return the mean: standardised labels have that of zero."""
        return np.zeros(1)

    def differentiate(self, Z: Tensor, d: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiate half the squared error."""
        return (Z - y) * d, (d**2).expand_as(y)

    def average(self, Z: Tensor, share: Tensor) -> Tensor:
        """Return the mean value."""
        return (share * Z).sum(dim=0)
