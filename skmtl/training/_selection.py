"""Which labels of a batch train: the ``selection`` parameter."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skmtl._targets import Block


@dataclass(frozen=True)
class Selection:
    """The labels of each task in a batch from which it learns most.

    Attributes
    ----------
    by : {"loss", "margin"}
        Whether the largest losses or the smallest margins are kept.
    fraction : float
        Share of each task's labels that is kept, rounded, but at least one label, and
        at least one of every class in the batch.
    """

    by: str
    fraction: float

    @torch.no_grad()
    def kept(
        self, block: Block, Z: Tensor, y: Tensor, w: Tensor, loss: Tensor
    ) -> Tensor:
        """Tell which labels are kept: all that are no easier than the last to keep.

        Parameters
        ----------
        block : Block
            The tasks.
        Z : Tensor of shape (n, n_block_tasks) or (n, n_block_tasks, n_classes)
            Outputs; one logit per class in a block of several classes.
        y : Tensor of shape (n, n_block_tasks)
            Labels.
        w : Tensor of shape (n, n_block_tasks)
            Weights, zero for missing labels.
        loss : Tensor of shape (n, n_block_tasks)
            Losses.

        Returns
        -------
        Tensor of bool of shape (n, n_block_tasks)
            Anything where the label is missing.
        """
        # Of two classes, and in regression, the order of margins is that of losses.
        by_margin = self.by == "margin" and block.kind == "multiclass"
        hardness = _negative_margin(Z, y) if by_margin else loss
        labelled = w > 0
        hardness = hardness.where(labelled, -torch.inf)
        n_kept = (self.fraction * labelled.sum(dim=0)).round().clamp_min(1)  # (tasks,)
        ordered = hardness.sort(dim=0, descending=True).values
        bound = ordered.gather(0, n_kept.long().unsqueeze(0) - 1)
        # What is not a number is kept, to be noticed.
        kept = ~(hardness < bound)
        if block.kind == "regression":
            return kept
        return kept | _hardest(hardness, y, max(block.size, 2))


def _negative_margin(Z: Tensor, y: Tensor) -> Tensor:
    """Return by how much the largest other logit exceeds that of the true class."""
    own = y.long().unsqueeze(-1)
    others = Z.scatter(-1, own, -torch.inf).amax(dim=-1)
    return others - Z.gather(-1, own).squeeze(-1)


def _hardest(hardness: Tensor, y: Tensor, n_classes: int) -> Tensor:
    """Tell which labels are the hardest of their class in the batch."""
    hardness, y = hardness.T, y.T.long()  # (tasks, n)
    best = hardness.new_full((len(y), n_classes), -torch.inf)
    best = best.scatter_reduce(1, y, hardness, "amax")
    return (hardness >= best.gather(1, y)).T
