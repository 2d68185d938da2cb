"""Batches of one network and of an ensemble, by slicing the table."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix, issparse
from torch import Tensor

from skmtl._core.validation import normalize_magnitude
from skmtl._data.output_kinds import OutputBlock
from skmtl._data.streamed_table import StreamedTable
from skmtl._data.training_data import RowIndex, choose_index_dtype, has_label
from skmtl.encoder import InputStage
from skmtl.training._distributed import SINGLE_PROCESS, Processes

#: Largest exponent of weights whose sums and products any type holds.
MAX_EXPONENT = 53
#: One block's labels and their weights; None where every label counts the same.
BlockTarget = tuple[Tensor, Tensor | None]
Batch = tuple[Tensor, list[BlockTarget]]


class InputSource:
    """Rows of X as tensors of the compute type on the compute device."""

    # Arrays in memory become one tensor, without a copy where type and order allow it,
    # and live on the device. Memory maps, read-only arrays, sparse matrices and tables
    # on disk stay where they are, and only the rows of a batch are read and made dense,
    # or written as positions and values where the networks take sparse rows.
    # X (n, ...): The samples.

    def __init__(
        self,
        X: Any,
        dtype: torch.dtype,
        device: torch.device,
        resident: bool = True,
        stage: InputStage | None = None,
    ) -> None:
        self.stage = stage
        self.dtype = dtype
        self.device = device
        self.n_samples = X.shape[0]
        self.data: NDArray[Any] | csr_array | csr_matrix | StreamedTable | Tensor = X
        self.streamed = X if isinstance(X, StreamedTable) else None
        plain = not issparse(X) and self.streamed is None
        if resident and plain and X.flags.writeable and not is_memmap(X):
            tensor = torch.from_numpy(np.ascontiguousarray(X)).to(dtype)
            self.data = tensor.to(device) if _fits_memory(tensor, device) else tensor

    def take(self, index: Tensor) -> Tensor:
        """Return some rows, given by a tensor of indices."""
        if isinstance(self.data, Tensor):
            return self._send(self.data.index_select(0, index.to(self.data.device)))
        return self._to_tensor(self._select(index.cpu().numpy()))

    def span(self, start: int, stop: int) -> Tensor:
        """Return the rows of a range; a view where the data is a tensor."""
        if isinstance(self.data, Tensor):
            return self._send(self.data[start:stop])
        return self._to_tensor(self._select(slice(start, stop)))

    def _select(self, rows: RowIndex | slice) -> Any:
        data: Any = self.data
        if issparse(data):
            part = data[rows]
            return part.toarray() if self.stage is None else self.stage.pack(part)
        if self.streamed is not None:
            if isinstance(rows, slice):
                rows = np.arange(*rows.indices(self.n_samples))
            return data.take(rows)
        if isinstance(rows, slice):
            part = data[rows]
            # torch takes neither read-only memory nor negative strides.
            plain = part.flags.writeable and min(part.strides) >= 0
            return part if plain else part.copy()
        return data.take(rows, axis=0)

    def _to_tensor(self, rows: NDArray[Any]) -> Tensor:
        return self._send(torch.from_numpy(rows).to(self.dtype))

    def _send(self, rows: Tensor) -> Tensor:
        return pin_memory(rows, self.device).to(self.device, non_blocking=True)


def is_memmap(X: Any) -> bool:
    """Return whether an array's memory is a file."""
    while isinstance(X, np.ndarray):
        if isinstance(X, np.memmap):
            return True
        X = X.base
    return False


def pin_memory(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host in memory that a card reads while the CPU goes on."""
    reads = device.type == "cuda" and tensor.device.type == "cpu"
    return tensor.pin_memory() if reads else tensor


def _fits_memory(tensor: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return tensor.nbytes < free // 2


class TrainingRows(torch.utils.data.Dataset[Batch]):
    """Some rows of the data with their packed targets."""

    # targets (N, n_block_tasks): Labels and weights of each block of tasks for all
    # samples of the source.
    # index (n,): Which samples belong; None for all.
    # odds (n,): How often each is drawn, relative to the others; None where every
    # epoch has each of them once.
    # soft (n_teachers, N, n_outputs): What teachers say of all samples of the source,
    # in the form of outputs, and weights of the samples. Batches have what one says
    # after the targets.
    # teacher: Its number.

    def __init__(
        self,
        source: InputSource,
        targets: Sequence[BlockTarget],
        index: RowIndex | None = None,
        odds: NDArray[np.float64] | None = None,
    ) -> None:
        self.source = source
        self.targets = list(targets)
        self.index = None if index is None else torch.from_numpy(index)
        self.odds = None if odds is None else torch.from_numpy(odds)
        self.soft: tuple[Tensor, Tensor] | None = None
        self.teacher = 0

    def select(self, rows: RowIndex) -> "TrainingRows":
        """Return some of these rows, given by their positions."""
        index = torch.from_numpy(rows)
        samples = index if self.index is None else self.index[index]
        return TrainingRows(self.source, self.targets, samples.numpy())

    def __len__(self) -> int:
        return self.source.n_samples if self.index is None else len(self.index)

    def __getitem__(self, rows: Any) -> Batch:
        return self.take(self.get_sample_index()[rows].reshape(-1))

    def get_sample_index(self) -> Tensor:
        """Return which samples of the source the rows are, as they are best read."""
        index = torch.arange(len(self)) if self.index is None else self.index
        streamed = self.source.streamed
        if streamed is None:
            return index
        return torch.from_numpy(streamed.sort_by_file(index.numpy()))

    def first(self, n: int) -> "TrainingRows":
        """Return the first rows."""
        return self.select(np.arange(min(n, len(self))))

    def take(self, index: Tensor | None) -> Batch:
        """Return the batch of some samples of the source; None for all of them."""
        if index is None:
            X, targets = self.source.span(0, self.source.n_samples), self.targets
        else:
            X, targets = self.source.take(index), self.labels(index)
        return X, [*targets, *self._soft_labels(index)]

    def labels(self, index: Tensor) -> list[BlockTarget]:
        """Return labels and weights of some samples of the source."""
        if self.targets:
            index = index.to(self.targets[0][0].device, non_blocking=True)
        return [
            (y.index_select(0, index), None if w is None else w.index_select(0, index))
            for y, w in self.targets
        ]

    def _soft_labels(self, index: Tensor | None) -> list[BlockTarget]:
        if self.soft is None:
            return []
        S, w = self.soft
        if index is None:
            return [(S[self.teacher], w)]
        index = index.to(w.device, non_blocking=True)
        return [(S[self.teacher].index_select(0, index), w.index_select(0, index))]


class Batches:
    """Iterates over rows in batches, in a new order each time where shuffled."""

    # Rows with odds are drawn at random with replacement, as many as there are.
    # A last batch of one row joins the batch before it, since batch normalisation
    # cannot learn from one row. Several processes take a share of every batch each.

    def __init__(
        self,
        rows: TrainingRows,
        batch_size: int,
        generator: torch.Generator | None = None,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.generator = generator
        self.processes = processes

    def __len__(self) -> int:
        return len(split_sizes(*self._counts))

    def __iter__(self) -> Iterator[Batch]:
        one = len(self.rows) <= self.batch_size and not self._draws
        if one and self.processes.n == 1:
            yield self.rows.take(self.rows.index)  # the order in a batch is no matter
            return
        order = self.rows.get_sample_index() if one else self.order()
        for part in on_device(order, self.rows).split(split_sizes(*self._counts)):
            yield self.rows.take(self.processes.share(part))

    def order(self, pieces: Tensor | None = None) -> Tensor:
        """Return which samples of the source the next epoch has, in its order."""
        index, streamed = self.rows.index, self.rows.source.streamed
        if self.generator is None:
            return self.rows.get_sample_index()
        if self._draws:
            order = self._draw()
        elif streamed is None:
            order = torch.randperm(len(self.rows), generator=self.generator)
        else:
            order = torch.arange(len(self.rows))
        order = order if index is None else index[order]
        if streamed is None:
            return order
        pieces = self.pieces() if pieces is None else pieces
        args = order.numpy(), pieces.numpy(), self.generator  # type: ignore[union-attr]
        shuffled = streamed.shuffle(*args)
        # There are many, and several members may each have an order.
        small = choose_index_dtype(streamed.blocks.n_rows)
        return torch.from_numpy(shuffled.astype(small, copy=False))

    def pieces(self) -> Tensor | None:
        """Return a random order of the pieces of a table on disk, None for others."""
        streamed = self.rows.source.streamed
        if streamed is None or self.generator is None:
            return None
        return torch.randperm(len(streamed.blocks.pieces), generator=self.generator)

    @property
    def _draws(self) -> bool:
        return self.generator is not None and self.rows.odds is not None

    @property
    def _counts(self) -> tuple[int, int, int]:
        return len(self.rows), self.batch_size, self.processes.n

    def _draw(self) -> Tensor:
        """Return positions drawn with replacement: torch.multinomial takes fewer."""
        bounds = self.rows.odds.cumsum(0)  # type: ignore[union-attr]
        places = torch.rand(len(bounds), generator=self.generator, dtype=bounds.dtype)
        # No row without odds is drawn: its bounds are equal.
        drawn = torch.searchsorted(bounds, places * bounds[-1], right=True)
        return drawn.clamp_max(len(bounds) - 1)  # where a product is rounded up


def split_sizes(n_rows: int, batch_size: int, n_processes: int = 1) -> list[int]:
    """Return the sizes of the batches of an epoch; each process is to have two rows."""
    full, rest = divmod(n_rows, batch_size)
    sizes = [batch_size] * full + ([rest] if rest else [])
    joins = full and 0 < rest < 2 * n_processes
    return [*sizes[:-2], batch_size + rest] if joins else sizes


def on_device(index: Tensor, rows: TrainingRows) -> Tensor:
    """Return numbers of samples where they are used: once, not per batch."""
    source = rows.source
    if isinstance(source.data, Tensor):
        index = index.to(source.data.device)
    return pin_memory(index, source.device)


def pack_targets(
    blocks: Sequence[OutputBlock],
    labels: Sequence[NDArray[Any]],
    weight: NDArray[np.float64] | None,
    dtype: torch.dtype,
    device: torch.device,
) -> list[BlockTarget]:
    """Stack the tasks of each block: labels, and weights where they matter."""
    # A missing label becomes a label of weight zero.
    targets: list[BlockTarget] = []
    for block in blocks:
        y = np.stack([labels[t] for t in block.tasks], axis=1)
        present = has_label(y)
        w: Tensor | None = None
        if weight is not None:
            W = normalize_magnitude(
                weight[:, block.tasks] * present, usual=MAX_EXPONENT
            )
            w = torch.from_numpy(W).to(device, dtype)
        elif not present.all():
            w = torch.from_numpy(present).to(device)
        tensor = torch.from_numpy(np.where(present, y, 0)).to(device)
        targets.append((tensor.to(dtype) if tensor.is_floating_point() else tensor, w))
    return targets


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

    def iterate_in_turns(self) -> Iterator[list[Batch]]:
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
