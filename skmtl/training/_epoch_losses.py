"""Losses of an epoch, added up on the device."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class EpochLosses:
    """Mean losses of the tasks over an epoch, of one network or of several."""

    # Losses of batches are kept on the device and added up many at a time: neither a
    # read-back nor an addition per batch.

    def __init__(self, counted: NDArray[np.bool_]) -> None:
        self.counted = counted
        self.losses: list[Tensor] = []
        self.counts: list[Tensor | int] = []
        self.sum: NDArray[np.float64] = np.zeros(len(counted))
        self.count: NDArray[np.float64] = np.zeros(len(counted))

    def add(self, losses: Tensor, counts: Tensor | None, n: int) -> None:
        """Add a batch's mean losses, each over its weight of labels."""
        self.losses.append(losses)
        self.counts.append(n if counts is None else counts)

    def flush(self) -> NDArray[np.float64]:
        """Return means so far: NaN without labels, inf where one was not finite."""
        if self.losses:
            L = torch.stack(self.losses).cpu().numpy()  # (batches, ..., tasks)
            with np.errstate(invalid="ignore", over="ignore"):  # told of below
                if isinstance(self.counts[0], Tensor):
                    C = torch.stack(self.counts).cpu().numpy()  # type: ignore[arg-type]
                    self.sum = self.sum + (L * C).sum(axis=0)
                    self.count = self.count + C.sum(axis=0)
                else:
                    n = np.array(self.counts, dtype=np.float64)
                    self.sum = self.sum + np.tensordot(n, L, axes=1)
                    self.count = self.count + np.full(L.shape[1:], n.sum())
            if not np.isfinite(self.sum.sum()):
                self.sum[~np.isfinite(self.sum)] = np.inf
            self.losses, self.counts = [], []
        labelled = self.counted & (self.count > 0)
        return np.divide(
            self.sum, self.count, out=np.full(labelled.shape, np.nan), where=labelled
        )

    def mean(self) -> float:
        """Return the mean over tasks that have labels and count."""
        labelled = self.counted & (self.count > 0)
        return (
            float((self.sum[labelled] / self.count[labelled]).mean())
            if labelled.any()
            else 0.0
        )


class EpochGradients:
    """Mean norms and cosines of the tasks' gradients over an epoch, on the device."""

    def __init__(self) -> None:
        self.n_looks = 0
        self._norms: Tensor | float = 0.0
        self._cosines: Tensor | float = 0.0
        self._present: Tensor | float = 0.0

    def add(self, gramian: Tensor) -> None:
        """Add the inner products of the gradients of one step."""
        squares = gramian.diagonal()
        present = (squares > 0).to(gramian.dtype)  # absent tasks have no gradient
        norms = squares.clamp_min(0).sqrt()
        scaled = present / norms.where(squares > 0, 1.0)
        self._norms = self._norms + norms
        self._cosines = self._cosines + gramian * torch.outer(scaled, scaled)
        self._present = self._present + torch.outer(present, present)
        self.n_looks += 1

    def means(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return norms (n_tasks,) and cosines (n_tasks, n_tasks), NaN if never seen."""
        norms, cosines, present = (
            torch.as_tensor(value).double().cpu().numpy()
            for value in (self._norms, self._cosines, self._present)
        )
        with np.errstate(invalid="ignore"):
            return norms / np.diagonal(present), cosines / present
