"""Per-task losses of packed outputs, over the labels that are present."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skmtl._targets import Block
from skmtl.training._batches import BlockTarget
from skmtl.training._selection import Selection

REGRESSION_LOSSES: dict[str, Callable[..., Tensor]] = {
    "absolute_error": F.l1_loss,
    "huber": F.huber_loss,
    "squared_error": F.mse_loss,
}


class PackedLoss(nn.Module):
    """Mean loss of each task over its labelled entries in a batch.

    Cross-entropy for classification; squared error, absolute error or Huber's loss
    (with its change from squared to absolute at one standard deviation) for
    regression. One call per block of tasks, none per task.

    Parameters
    ----------
    blocks : sequence of Block
        Layout of the outputs.
    n_tasks : int
        Number of tasks.
    regression_loss : str
        A key of ``REGRESSION_LOSSES``.
    """

    order: Tensor

    def __init__(
        self, blocks: Sequence[Block], n_tasks: int, regression_loss: str
    ) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.n_tasks = n_tasks
        self.regression_loss = REGRESSION_LOSSES[regression_loss]
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
        selection: Selection | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return each task's loss and the weight of its labels in the batch.

        Parameters
        ----------
        outputs : Tensor of shape (..., n, n_outputs)
            Logits and standardised regression values of all tasks; of several networks,
            where there are axes before the rows.
        targets : sequence of (Tensor of shape (..., n, n_block_tasks), Tensor or None)
            Labels and weights of each block.
        selection : Selection or None, default=None
            Which labels count, for one network; None for all of them.

        Returns
        -------
        losses : Tensor of shape (..., n_tasks)
            Zero for a task without labels in the batch.
        counts : Tensor of shape (..., n_tasks) or None
            Sum of the weights of each task's labels that count; None where every label
            of the batch is present and counts the same.
        """
        parts: list[Tensor] = []
        counts: list[Tensor] = []
        complete = selection is None and all(w is None for _, w in targets)
        single = len(self.blocks) == 1  # slicing all outputs would still cost a copy
        for i, (block, (y, w)) in enumerate(zip(self.blocks, targets, strict=True)):
            Z = outputs if single else outputs[..., block.start : block.stop]
            if block.kind == "multiclass":
                Z = self._logits(i, block, Z)
            loss = self._entries(block, Z, y)
            if complete:
                parts.append(loss.mean(dim=-2))
                continue
            w = loss.new_ones(()).expand_as(loss) if w is None else w.to(loss.dtype)
            if selection is not None:
                w = w * selection.kept(block, Z, y, w, loss)
            count = w.sum(dim=-2)
            parts.append((loss * w).sum(dim=-2) / count.where(count > 0, 1.0))
            counts.append(count)
        losses = self._by_task(parts, outputs)
        return losses, None if complete else self._by_task(counts, outputs)

    def _logits(self, i: int, block: Block, Z: Tensor) -> Tensor:
        """Return one logit per class, of shape (..., n, n_block_tasks, n_classes)."""
        if block.ragged:  # outputs that no task has can never be chosen
            n_columns = len(block.sizes) * block.size
            wide = Z.new_full((*Z.shape[:-1], n_columns), -torch.inf)
            Z = wide.index_copy(-1, getattr(self, f"columns_{i}"), Z)
        return Z.reshape(*Z.shape[:-1], -1, block.size)

    def _entries(self, block: Block, Z: Tensor, y: Tensor) -> Tensor:
        """Return the loss of every entry of a block, (..., n, n_block_tasks)."""
        if block.kind == "regression":
            return self.regression_loss(Z, y, reduction="none")
        if block.kind == "binary":
            return F.binary_cross_entropy_with_logits(
                Z, y.to(Z.dtype), reduction="none"
            )
        Z, y_flat = Z.flatten(0, -2), y.reshape(-1).long()
        return F.cross_entropy(Z, y_flat, reduction="none").view_as(y)

    def _by_task(self, parts: list[Tensor], like: Tensor) -> Tensor:
        if self.in_order:
            return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        values = like.new_zeros(*like.shape[:-2], self.n_tasks)
        if not parts:
            return values
        return values.index_copy(-1, self.order, torch.cat(parts, dim=-1))
