"""Losses of each task: of a batch, over present labels, and means of an epoch."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skmtl._data.output_kinds import OutputBlock
from skmtl.relation._base import SoftLoss
from skmtl.training._batches import BlockTarget
from skmtl.training._distributed import SINGLE_PROCESS, Processes
from skmtl.training._hard_examples import HardExampleSelection


class PackedLoss(nn.Module):
    """Mean loss of each task over its labelled entries in a batch."""

    # Cross-entropy for classification; squared error, absolute error or Huber's loss
    # (with its change from squared to absolute at one standard deviation) for
    # regression. One call per block of tasks, none per task.

    order: Tensor

    def __init__(
        self,
        blocks: Sequence[OutputBlock],
        n_tasks: int,
        regression_loss: str,
        soft_loss: SoftLoss | None = None,
    ) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.n_tasks = n_tasks
        self.regression_loss = regression_loss
        self.soft_loss = soft_loss
        order = [task for block in blocks for task in block.tasks]
        self.in_order = order == list(range(n_tasks))
        self.register_buffer("order", torch.tensor(order, dtype=torch.int64))
        for i, block in enumerate(blocks):
            columns = torch.from_numpy(block.padded_columns) if block.ragged else None
            self.register_buffer(f"columns_{i}", columns)

    def forward(
        self,
        outputs: Tensor,
        targets: Sequence[BlockTarget],
        hard_example_mining: HardExampleSelection | None = None,
        processes: Processes = SINGLE_PROCESS,
    ) -> tuple[Tensor, Tensor | None]:
        """Return each task's loss and the weight of its labels in the batch."""
        # outputs of shape (..., n, n_outputs), targets lists of shape (..., n,
        # n_block_tasks); returns losses of shape (..., n_tasks), counts of shape (...,
        # n_tasks).
        hard, soft = targets[: len(self.blocks)], targets[len(self.blocks) :]
        losses, counts = self._compute_hard(
            outputs, hard, hard_example_mining, processes
        )
        losses, counts = processes.all_reduce_losses(losses, counts, outputs.shape[-2])
        complete = hard_example_mining is None and all(w is None for _, w in hard)
        for S, w in soft:
            soft_terms = self._compute_soft(outputs, S, w)  # type: ignore[arg-type]
            soft_losses, n_taught = processes.all_reduce_losses(
                *soft_terms, outputs.shape[-2]
            )
            losses = losses + soft_losses
            counts = counts if complete else counts + n_taught  # type: ignore[operator]
        return losses, counts

    def _compute_hard(
        self,
        outputs: Tensor,
        targets: Sequence[BlockTarget],
        hard_example_mining: HardExampleSelection | None,
        processes: Processes,
    ) -> tuple[Tensor, Tensor | None]:
        """Return losses and weights of labels."""
        parts: list[Tensor] = []
        counts: list[Tensor] = []
        complete = hard_example_mining is None and all(w is None for _, w in targets)
        for i, (block, (y, w)) in enumerate(zip(self.blocks, targets, strict=True)):
            Z = self._unpack(i, outputs)
            loss = block.compute_losses(Z, y, self.regression_loss)
            if not complete:
                w = loss.new_ones(()).expand_as(loss) if w is None else w.to(loss.dtype)
                if hard_example_mining is not None:
                    w = w * hard_example_mining.make_mask(
                        block, Z, y, w, loss, processes
                    )
                counts.append(w.sum(dim=-2))
            parts.append(_mean(loss, w))
        losses = self._sum_by_task(parts, outputs)
        return losses, None if complete else self._sum_by_task(counts, outputs)

    def _compute_soft(
        self, outputs: Tensor, S: Tensor, w: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what soft labels add to the losses, and their weights."""
        parts: list[Tensor] = []
        counts: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            Z, S_i = self._unpack(i, outputs), self._unpack(i, S)
            soft_losses = self.soft_loss(block, Z, S_i)  # type: ignore[misc]
            parts.append(_mean(soft_losses, w))
            counts.append(w.sum(dim=-2).expand_as(parts[-1]))
        return self._sum_by_task(parts, outputs), self._sum_by_task(counts, outputs)

    def _unpack(self, i: int, outputs: Tensor) -> Tensor:
        block, columns = self.blocks[i], getattr(self, f"columns_{i}")
        return block.unpack(block.select(outputs), columns=columns)

    def _sum_by_task(self, parts: list[Tensor], like: Tensor) -> Tensor:
        if self.in_order:
            return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        values = like.new_zeros(*like.shape[:-2], self.n_tasks)
        if not parts:
            return values
        return values.index_copy(-1, self.order, torch.cat(parts, dim=-1))


def _mean(loss: Tensor, w: Tensor | None) -> Tensor:
    """Return means over rows, weighted where there are weights: zero if all are."""
    if w is None:
        return loss.mean(dim=-2) if loss.shape[-2] else loss.sum(dim=-2)
    count = w.sum(dim=-2)
    return (loss * w).sum(dim=-2) / count.where(count > 0, 1.0)


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
