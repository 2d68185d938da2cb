"""Binary classification tasks: one logit each."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from skmtl._data.labels import TaskType
from skmtl._data.output_kinds.base import ClassificationBlock


class BinaryBlock(ClassificationBlock):
    """Tasks of two classes, whose output is the log-odds of the second."""

    kind = "binary"

    @classmethod
    def find_group(cls, task_type: TaskType, n_classes: int) -> int | None:
        """Return all tasks of two classes in one block."""
        return 0 if task_type == "classification" and n_classes == 2 else None

    @property
    def n_classes(self) -> int:
        """Two."""
        return 2

    def compute_losses(self, Z: Tensor, y: Tensor, regression_loss: str) -> Tensor:
        """Return the cross-entropy."""
        return F.binary_cross_entropy_with_logits(Z, y.to(Z.dtype), reduction="none")

    def compute_divergences(self, Z: Tensor, S: Tensor, temperature: float) -> Tensor:
        """Return the Kullback-Leibler divergence at a temperature, times its square."""
        q = (S / temperature).sigmoid()
        entropy = torch.special.entr(q) + torch.special.entr(1 - q)
        cross: Tensor = F.binary_cross_entropy_with_logits(
            Z / temperature, q, reduction="none"
        )
        return temperature**2 * (cross - entropy)

    def compute_link_inputs(self, Z: Tensor, columns: Tensor | None = None) -> Tensor:
        """Return the difference of the two probabilities."""
        return (Z / 2).tanh()  # turns its sign where the two classes change names

    def convert_log_proba(self, log_p: NDArray[np.float64]) -> NDArray[Any]:
        """Return the log-odds."""
        return log_p[..., 1:] - log_p[..., :1]

    def differentiate(self, Z: Tensor, d: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiate the cross-entropy."""
        p = Z.sigmoid()
        return (p - y) * d, p * (1 - p) * d**2

    def average(self, Z: Tensor, share: Tensor) -> Tensor:
        """Return the log-odds of the mean probabilities."""
        log_share = share.log()
        yes = (F.logsigmoid(Z) + log_share).logsumexp(dim=0)
        return yes - (F.logsigmoid(-Z) + log_share).logsumexp(dim=0)

    def predict_proba(self, Z: Tensor) -> Tensor:
        """Return the probabilities of both classes."""
        p = Z.T.sigmoid()
        return torch.stack([1 - p, p], dim=2)

    def predict_codes(self, Z: Tensor) -> Tensor:
        """Return whether the second class is the more probable."""
        p = Z.sigmoid()
        return p > 1 - p
