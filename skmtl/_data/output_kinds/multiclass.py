"""Classification tasks of three or more classes: one logit per class."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from skmtl._data.labels import TaskType
from skmtl._data.output_kinds.base import ClassificationBlock


class MulticlassBlock(ClassificationBlock):
    """Tasks of three or more classes, padded to the largest number of classes."""

    kind = "multiclass"

    @classmethod
    def find_group(cls, task_type: TaskType, n_classes: int) -> int | None:
        """Group tasks by class counts within a factor of two: padding stays cheap."""
        if task_type != "classification" or n_classes < 3:
            return None
        return (n_classes - 1).bit_length()

    @classmethod
    def count_outputs(cls, n_classes: int) -> int:
        """Return the number of classes."""
        return n_classes

    @property
    def n_classes(self) -> int:
        """Largest number of classes of a task."""
        return self.size

    def unpack(
        self, Z: Tensor, fill: float = -torch.inf, columns: Tensor | None = None
    ) -> Tensor:
        """Return logits (..., n, n_block_tasks, size); padding is never chosen."""
        if self.ragged:
            if columns is None:
                columns = torch.from_numpy(self.padded_columns).to(Z.device)
            wide = Z.new_full((*Z.shape[:-1], len(self.tasks) * self.size), fill)
            Z = wide.index_copy(-1, columns, Z)
        return Z.unflatten(-1, (-1, self.size))

    def _pack(self, Z: Tensor, columns: Tensor | None = None) -> Tensor:
        """Undo ``unpack``."""
        Z = Z.flatten(-2)
        if not self.ragged:
            return Z
        if columns is None:
            columns = torch.from_numpy(self.padded_columns).to(Z.device)
        return Z.index_select(-1, columns)

    def compute_losses(self, Z: Tensor, y: Tensor, regression_loss: str) -> Tensor:
        """Return the cross-entropy."""
        Z, labels = Z.flatten(0, -2), y.reshape(-1).long()
        return F.cross_entropy(Z, labels, reduction="none").view_as(y)

    def compute_divergences(self, Z: Tensor, S: Tensor, temperature: float) -> Tensor:
        """Return the Kullback-Leibler divergence at a temperature, times its square."""
        log_q = (S / temperature).log_softmax(dim=-1)
        q, ratio = log_q.exp(), log_q - (Z / temperature).log_softmax(dim=-1)
        # No number where no class is.
        return temperature**2 * (q * ratio.where(q > 0, 0)).sum(dim=-1)

    def compute_hardness(self, by: str, Z: Tensor, y: Tensor, loss: Tensor) -> Tensor:
        """Return the loss, or by how much another logit exceeds the true class's."""
        if by != "margin":
            return loss
        true = y.long().unsqueeze(-1)
        others = Z.scatter(-1, true, -torch.inf).amax(dim=-1)
        return others - Z.gather(-1, true).squeeze(-1)

    def compute_link_inputs(self, Z: Tensor, columns: Tensor | None = None) -> Tensor:
        """Return the probabilities, packed."""
        return self._pack(self.unpack(Z, columns=columns).softmax(dim=-1), columns)

    def convert_log_proba(self, log_p: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log-probabilities themselves."""
        return log_p

    def differentiate(self, Z: Tensor, d: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiate the cross-entropy."""
        p = Z.softmax(dim=-1)
        mean = (p * d).sum(dim=-1)
        true = d.gather(-1, y.long().unsqueeze(-1)).squeeze(-1)
        return mean - true, (p * d**2).sum(dim=-1) - mean**2

    def average(self, Z: Tensor, share: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities."""
        log_p = self._pack(self.unpack(Z).log_softmax(dim=-1))
        return (log_p + share.log()).logsumexp(dim=0)

    def predict_proba(self, Z: Tensor) -> Tensor:
        """Return the probabilities, zero for classes that a task does not have."""
        return self.unpack(Z).transpose(0, 1).softmax(dim=2)

    def predict_codes(self, Z: Tensor) -> Tensor:
        """Return the class of the largest logit."""
        return self.unpack(Z).argmax(dim=2)
