"""Losses of an epoch, added up on the device."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Tally:
    """Mean losses of the tasks over an epoch.

    Losses of batches are kept on the device and added up many at a time: neither a
    read-back nor an addition per batch.
    """

    def __init__(self, counted: NDArray[np.bool_]) -> None:
        self.counted = counted
        self.losses: list[Tensor] = []
        self.counts: list[Tensor | int] = []
        self.sum = np.zeros(len(counted))
        self.count = np.zeros(len(counted))

    def add(self, losses: Tensor, counts: Tensor | None, n: int) -> None:
        """Add a batch's mean losses, each over its weight of labels."""
        self.losses.append(losses)
        self.counts.append(n if counts is None else counts)

    def flush(self) -> NDArray[np.float64]:
        """Return means so far: NaN without labels, inf where one was not finite."""
        if self.losses:
            L = torch.stack(self.losses).cpu().numpy()  # (batches, tasks)
            with np.errstate(invalid="ignore", over="ignore"):  # told of below
                if isinstance(self.counts[0], Tensor):
                    C = torch.stack(self.counts).cpu().numpy()  # type: ignore[arg-type]
                    self.sum += (L * C).sum(axis=0)
                    self.count += C.sum(axis=0)
                else:
                    n = np.array(self.counts, dtype=np.float64)
                    self.sum += n @ L
                    self.count += n.sum()
            if not np.isfinite(self.sum.sum()):
                self.sum[~np.isfinite(self.sum)] = np.inf
            self.losses, self.counts = [], []
        known = self.counted & (self.count > 0)
        return np.divide(
            self.sum, self.count, out=np.full(len(known), np.nan), where=known
        )

    def mean(self) -> float:
        """Return the mean over tasks that have labels and count."""
        known = self.counted & (self.count > 0)
        return (
            float((self.sum[known] / self.count[known]).mean()) if known.any() else 0.0
        )
