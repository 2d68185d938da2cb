"""What members train on, and what is held out of each."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from skmtl.training._batches import (
    Batch,
    Batches,
    BlockTarget,
    TrainingRows,
    on_device,
    split_sizes,
)


class MemberBatches:
    """Iterates over batches of all members."""

    # Each member has rows and an order of its own; one with fewer rows meets the first
    # of its epoch again.

    def __init__(self, parts: Sequence[Batches], n_rows: int | None = None) -> None:
        self.parts = parts
        self.rows = parts[0].rows
        self.batch_size = parts[0].batch_size
        self.processes = parts[0].processes
        self.n_rows = n_rows or max(len(part.rows) for part in parts)
        self._teachers = torch.tensor([[part.rows.teacher] for part in parts])

    def select(self, members: Iterable[int]) -> "MemberBatches":
        """Return the batches of some members."""
        return MemberBatches([self.parts[i] for i in members], self.n_rows)

    def _orders(self) -> list[Tensor]:
        """Return the order of each member's samples, all of one length."""
        pieces = self.parts[0].pieces()  # so that all read the same part of a table
        orders, n = [part.order(pieces) for part in self.parts], self.n_rows
        return [
            order if len(order) == n else order.repeat(-(-n // len(order)))[:n]
            for order in orders
        ]

    def __iter__(self) -> Iterator[Batch]:
        index = on_device(torch.stack(self._orders()), self.rows)  # (members, n)
        for part in index.split(self._sizes(index.shape[1]), dim=1):
            part = self.processes.share(part, dim=1)
            flat = part.flatten()
            X, targets = self.rows.source.take(flat), self.rows.labels(flat)
            targets = _unflatten(targets, part) + self._soft_labels(part)
            yield X.unflatten(0, part.shape), targets

    def _soft_labels(self, index: Tensor) -> list[BlockTarget]:
        """Return what each member's teacher says of its samples (members, n)."""
        if self.rows.soft is None:
            return []
        S, w = self.rows.soft
        index, teachers = (
            numbers.to(w.device, torch.int64, non_blocking=True)
            for numbers in (index, self._teachers)
        )
        return [(S[teachers, index], w[index])]

    def turns(self) -> Iterator[list[Batch]]:
        """Yield the batches of an epoch, member by member."""
        for own, order in zip(self.parts, self._orders(), strict=True):
            parts = on_device(order, self.rows).split(self._sizes(len(order)))
            yield (own.rows.take(self.processes.share(part)) for part in parts)  # type: ignore[misc]

    def _sizes(self, n_rows: int) -> list[int]:
        return split_sizes(n_rows, self.batch_size, self.processes.n)


class HeldOutBatches:
    """What is held out of every member."""

    def __init__(self, rows: Sequence[TrainingRows]) -> None:
        self.parts = rows
        self.rows = rows[0]
        sample_index = [r.get_sample_index() for r in rows]
        n = max(map(len, sample_index))
        # Shorter ones repeat their first row, which does not count.
        padded = [torch.cat([o, o[:1].expand(n - len(o))]) for o in sample_index]
        self.index = torch.stack(padded)  # (members, n)
        lengths = torch.tensor([len(o) for o in sample_index])
        self.mask = torch.arange(n) < lengths[:, None]

    @cached_property
    def targets(self) -> list[BlockTarget]:
        """Labels and weights of each block, of shape (members, n, n_block_tasks)."""
        targets = _unflatten(self.rows.labels(self.index.flatten()), self.index)
        if self.mask.all():
            return targets
        return [(y, self._mask_padding(y, w)) for y, w in targets]

    def select(self, members: Iterable[int]) -> "HeldOutBatches":
        """Return what is held out of some members."""
        members = list(members)
        if members == list(range(len(self.parts))):
            return self  # with what it has looked up
        return HeldOutBatches([self.parts[i] for i in members])

    def labels(self, part: slice) -> list[BlockTarget]:
        """Return labels and weights of some of the rows of each member."""
        return [(y[:, part], w if w is None else w[:, part]) for y, w in self.targets]

    def _mask_padding(self, y: Tensor, w: Tensor | None) -> Tensor:
        mask = self.mask.unsqueeze(2).to(y.device)
        return mask.expand_as(y) if w is None else w * mask


def _unflatten(targets: list[BlockTarget], index: Tensor) -> list[BlockTarget]:
    return [
        (
            y.unflatten(0, index.shape),
            None if w is None else w.unflatten(0, index.shape),
        )
        for y, w in targets
    ]
