"""Which labels of a batch train: the ``hard_example_mining`` parameter."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from skmtl._data.output_kinds import OutputBlock
from skmtl.training._distributed import SINGLE_PROCESS, Processes


@dataclass(frozen=True)
class HardExampleSelection:
    """The labels of each task in a batch from which it learns most."""

    by: str  # Whether the largest losses or the smallest margins are kept.
    # Share that the hardest labels of each task, which are kept, have of the weight of
    # all its labels in the batch. The hardest label of each class is kept, too.
    fraction: float

    @torch.no_grad()
    def make_mask(
        self,
        block: OutputBlock,
        Z: Tensor,
        y: Tensor,
        w: Tensor,
        loss: Tensor,
        processes: Processes = SINGLE_PROCESS,
    ) -> Tensor:
        """Tell which labels are kept: all that are no easier than the last to keep."""
        # Z of shape (n, n_block_tasks) or (n, n_block_tasks, n_classes), y of shape (n,
        # n_block_tasks), w of shape (n, n_block_tasks), loss of shape (n,
        # n_block_tasks); returns (n, n_block_tasks).
        y = y.long() if block.n_classes else y  # a type that is sent
        make_block_mask = partial(self._make_block_mask, block)
        return processes.apply_to_all(make_block_mask, Z, y, w, loss)

    def _make_block_mask(
        self, block: OutputBlock, Z: Tensor, y: Tensor, w: Tensor, loss: Tensor
    ) -> Tensor:
        hardness = block.compute_hardness(self.by, Z, y, loss)
        hardness = hardness.where(w > 0, -torch.inf)
        hardest, order = hardness.sort(dim=0, descending=True)
        weight = w.gather(0, order).cumsum(dim=0)
        # Rounding aside, the first labels that have the share together.
        lacking = weight < weight[-1] * (self.fraction - 1e-5)
        bound = hardest.gather(0, lacking.sum(dim=0, keepdim=True))
        # What is not a number is kept, to be noticed.
        mask = ~(hardness < _as_hard(bound))
        if not block.n_classes:
            return mask
        return mask | _find_hardest(hardness, y, block.n_classes)


def _find_hardest(hardness: Tensor, y: Tensor, n_classes: int) -> Tensor:
    """Tell which labels are the hardest of their class in the batch."""
    hardness, y = hardness.T, y.T.long()  # (tasks, n)
    best = hardness.new_full((len(y), n_classes), -torch.inf)
    best = best.scatter_reduce(1, y, hardness, "amax")
    return (hardness >= _as_hard(best.gather(1, y))).T


def _as_hard(hardness: Tensor) -> Tensor:
    """Return what counts as equally hard: twice the same row may be rounded apart."""
    return hardness - hardness.abs() * torch.finfo(hardness.dtype).eps ** 0.5
