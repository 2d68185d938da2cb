"""Base class of the kinds of outputs."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skmtl._core.module_copies import WithoutCaches
from skmtl._core.validation import divide_by_largest
from skmtl._data.labels import Labels, TaskType


@dataclass(frozen=True)
class OutputBlock(WithoutCaches, ABC):
    """Tasks of one kind of output, whose losses one call computes.

    A kind of output is a subclass: what its outputs mean, how they are trained,
    calibrated, averaged and predicted from.
    """

    # "Packed" outputs Z of a block are (..., n, sum of sizes), "unpacked" ones have an
    # axis for the tasks: (..., n, n_block_tasks), or (..., n, n_block_tasks, size)
    # where a task has several outputs.

    kind: ClassVar[str]
    task_type: ClassVar[TaskType]
    #: Whether the calibration loss is quadratic in the slope, one Newton step away.
    quadratic: ClassVar[bool] = False

    tasks: tuple[int, ...]  # Indices of the tasks.
    sizes: tuple[int, ...]  # Number of outputs of each task.
    start: int  # First of the block's columns among all outputs.

    @classmethod
    @abstractmethod
    def find_group(cls, task_type: TaskType, n_classes: int) -> int | None:
        """Return which tasks of this kind share a block; None for other kinds."""

    @classmethod
    def count_outputs(cls, n_classes: int) -> int:
        """Return the number of outputs of a task."""
        return 1

    @property
    def stop(self) -> int:
        """End of the block's columns among all outputs."""
        return self.start + sum(self.sizes)

    @property
    def size(self) -> int:
        """Largest number of outputs of a task."""
        return max(self.sizes)

    @property
    def ragged(self) -> bool:
        """Whether the tasks' numbers of outputs differ."""
        return min(self.sizes) != self.size

    @property
    def n_classes(self) -> int:
        """Largest number of classes of a task; zero for regression."""
        return 0

    @cached_property
    def padded_columns(self) -> NDArray[np.int64]:
        """Where the outputs stand when every task is padded to the largest size."""
        inside = np.arange(self.size) < np.array(self.sizes)[:, None]
        return np.flatnonzero(inside)

    def select(self, outputs: Tensor) -> Tensor:
        """Return the packed outputs of the block among all outputs."""
        if outputs.shape[-1] == self.stop - self.start:
            return outputs  # slicing would still cost a copy
        return outputs[..., self.start : self.stop]

    def unpack(
        self, Z: Tensor, fill: float = -torch.inf, columns: Tensor | None = None
    ) -> Tensor:
        """Return packed outputs with an axis for the tasks, padded with ``fill``."""
        # The columns may be given where they are on the device already.
        return Z

    # Training

    @abstractmethod
    def compute_losses(self, Z: Tensor, y: Tensor, regression_loss: str) -> Tensor:
        """Return the loss of every label, (..., n, n_block_tasks), of unpacked Z."""

    @abstractmethod
    def compute_divergences(self, Z: Tensor, S: Tensor, temperature: float) -> Tensor:
        """Return how far unpacked outputs are from soft labels, per task."""

    def compute_hardness(self, by: str, Z: Tensor, y: Tensor, loss: Tensor) -> Tensor:
        """Return how hard each label is: its loss, or its negative margin."""
        # Of two classes, and in regression, the order of margins is that of losses.
        return loss

    def compute_link_inputs(self, Z: Tensor, columns: Tensor | None = None) -> Tensor:
        """Return packed outputs as other tasks read them."""
        return Z

    # Priors and calibration

    @abstractmethod
    def compute_prior(
        self, labels: Labels, weight: NDArray[np.float64] | None, n_classes: int
    ) -> NDArray[np.float64]:
        """Return a task's outputs by its labels alone."""

    @abstractmethod
    def differentiate(self, Z: Tensor, d: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return both derivatives of the calibration loss along d, per label."""

    @abstractmethod
    def average(self, Z: Tensor, share: Tensor) -> Tensor:
        """Return packed outputs of the mean prediction of several networks."""
        # Z (n_networks, n, k), share (n_networks, n, 1) or (n_networks, 1, 1).

    # Predictions

    def predict_proba(self, Z: Tensor) -> Tensor:
        """Return probabilities (n_block_tasks, n, n_classes) of packed outputs."""
        raise NotImplementedError(f"{self.kind} outputs have no probabilities")

    def predict_codes(self, Z: Tensor) -> Tensor:
        """Return the most probable class, (n, n_block_tasks), of packed outputs."""
        raise NotImplementedError(f"{self.kind} outputs have no classes")


class ClassificationBlock(OutputBlock):
    """Tasks of classes."""

    task_type = "classification"

    def compute_prior(
        self, labels: Labels, weight: NDArray[np.float64] | None, n_classes: int
    ) -> NDArray[np.float64]:
        """Return the outputs of the classes' shares, by weights of mean one."""
        if weight is None:
            counts = np.bincount(labels, minlength=n_classes)
        else:
            w = divide_by_largest(weight)
            sums = np.bincount(labels, weights=w, minlength=n_classes)
            counts = sums * np.count_nonzero(w) / (sums.sum() or 1.0)
        log_p = np.log(np.maximum(counts, 0.5) / max(counts.sum(), 0.5))
        return self.convert_log_proba(log_p)

    @abstractmethod
    def convert_log_proba(self, log_p: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a task's outputs for log-probabilities of its classes, (..., k)."""
