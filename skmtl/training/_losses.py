"""Per-task losses of packed outputs, over the labels that are present."""

from collections.abc import Sequence

import torch
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
