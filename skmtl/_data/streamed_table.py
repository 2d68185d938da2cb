"""Rows of a table that is larger than memory, read block by block."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from skmtl._data.training_data import RowIndex

#: Blocks that a window of rows is shuffled from.
BLOCKS = 8
#: Pieces that are read at the same time, so that a window has rows of all of them.
LANES = 4


class TablePart(Protocol):
    """Consecutive rows of a table that are read from their first on, as a row group."""

    n_rows: int  # How many.

    def blocks(self, size: int) -> Iterator[NDArray[Any]]:
        """Yield the rows in arrays of some size; only the last may have fewer."""

    def identity(self) -> Any:
        """Return what tells the rows from others, without reading them."""


class BlockReader:
    """Blocks of rows, of which some are kept in memory."""

    def __init__(
        self, pieces: Sequence[TablePart], n_columns: int, dtype: DTypeLike, window: int
    ) -> None:
        self.pieces = list(pieces)
        self.n_columns = n_columns
        self.dtype = np.dtype(dtype)
        self.window = window
        self.size = -(-window // BLOCKS)
        n_rows = np.array([piece.n_rows for piece in self.pieces], dtype=np.int64)
        n_blocks = -(-n_rows // self.size)
        self.first = np.concatenate([[0], n_blocks.cumsum()])  # of each piece
        self.piece = np.arange(len(self.pieces)).repeat(n_blocks)  # of each block
        within = np.arange(self.first[-1]) - self.first[self.piece]
        self.stops = n_rows.cumsum()  # of each piece
        self.starts = (self.stops - n_rows)[self.piece] + within * self.size
        self.n_rows = int(n_rows.sum())
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        # For each piece that is being read, its next block.
        self._open: OrderedDict[int, tuple[int, Iterator[NDArray[Any]]]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        transient = ("_lock", "_kept", "_open")
        return {
            name: value for name, value in vars(self).items() if name not in transient
        }

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._begin()

    def take(self, rows: RowIndex) -> NDArray[Any]:
        """Return rows, given by their numbers; those of few blocks are cheap."""
        out = np.empty((len(rows), self.n_columns), self.dtype)
        of_row = self.find_blocks(rows)
        with self._lock:
            for block in np.unique(of_row):
                places = np.flatnonzero(of_row == block)
                out[places] = self._get_block(block)[rows[places] - self.starts[block]]
        return out

    def find_blocks(self, rows: RowIndex) -> NDArray[np.int64]:
        """Return the block of each row."""
        return self.starts.searchsorted(rows, side="right") - 1

    def order(self, permutation: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the blocks, those of several pieces mixed, pieces in a given order."""
        lanes = [
            chain.from_iterable(range(*self.first[p : p + 2]) for p in lane_blocks)
            for lane_blocks in (permutation[lane::LANES] for lane in range(LANES))
        ]
        mixed = chain.from_iterable(zip_longest(*lanes))
        return np.array([block for block in mixed if block is not None], np.int64)

    def _get_block(self, block: int) -> NDArray[Any]:
        if block not in self._kept:
            self._read(block)
        self._kept.move_to_end(block)
        return self._kept[block]

    def _read(self, block: int) -> None:
        """Go on reading a piece up to one of its blocks, or begin anew."""
        piece = int(self.piece[block])
        at, reader = self._open.pop(piece, (block + 1, iter(())))
        if at > block:
            at = int(self.first[piece])
            reader = self.pieces[piece].blocks(self.size)
        for passed in range(at, block + 1):  # those before it belong to its window
            rows = next(reader, None)
            stop = min(self.starts[passed] + self.size, self.stops[piece])
            if rows is None or len(rows) != stop - self.starts[passed]:
                raise OSError("The table on disk has changed since it was opened.")
            self._kept[passed] = rows
            if len(self._kept) > 2 * BLOCKS:
                self._kept.popitem(last=False)
        if block + 1 < self.first[piece + 1]:
            self._open[piece] = block + 1, reader
            if len(self._open) > 2 * LANES:
                self._open.popitem(last=False)


class StreamedTable:
    """Rows of a table on disk, which stands for an array of shape (n, n_columns)."""

    # Indexing returns some of the rows without reading them, `numpy.asarray` reads them
    # all.
    # rows (n,): Which rows of the table; None for all.

    ndim = 2

    def __init__(
        self,
        blocks: BlockReader,
        names: list[str],
        levels: Mapping[int, list[Any]] = MappingProxyType({}),
        rows: RowIndex | None = None,
        codes: Mapping[int, NDArray[np.float64]] = MappingProxyType({}),
        allow_nan: bool = True,
    ) -> None:
        self.blocks = blocks
        self.names = names
        self.levels = dict(levels)
        self.rows = rows
        self.codes = dict(codes)
        self.allow_nan = allow_nan

    def __len__(self) -> int:
        return self.blocks.n_rows if self.rows is None else len(self.rows)

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {self.blocks.n_columns} columns on disk>"

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return len(self), self.blocks.n_columns

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers."""
        return self.blocks.dtype

    def __getitem__(self, key: Any) -> StreamedTable:
        if isinstance(key, tuple):  # as scikit-learn asks for rows
            key, *rest = key
            if any(part is not Ellipsis and part != slice(None) for part in rest):
                raise IndexError(
                    "A table on disk is indexed by rows alone: choose its columns by "
                    "the 'features' parameter of open_table."
                )
        rows = np.arange(len(self))[key] if self.rows is None else self.rows[key]
        if np.ndim(rows) != 1:
            raise IndexError(
                f"A table on disk is indexed by several rows. Got {key!r}: use a slice "
                "or an array of row numbers."
            )
        return self._with(rows=rows)

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        if copy is False:
            raise ValueError("A table on disk is not an array: reading it copies.")
        order = self.sort_by_file(np.arange(len(self)))
        out = np.empty(self.shape, self.dtype if dtype is None else dtype)
        for start in range(0, len(order), self.blocks.size):
            part = order[start : start + self.blocks.size]
            out[part] = self.take(part)
        return out

    def _with(self, **changes: Any) -> StreamedTable:
        return StreamedTable(**{**vars(self), **changes})

    def with_codes(
        self, codes: Mapping[int, NDArray[np.float64]], allow_nan: bool
    ) -> StreamedTable:
        """Return the same rows with other codes of categories, refusing NaN or not."""
        return self._with(codes=codes, allow_nan=allow_nan)

    def take(self, positions: RowIndex) -> NDArray[Any]:
        """Read some rows, given by their positions."""
        rows = positions if self.rows is None else self.rows[positions]
        X = self.blocks.take(rows)
        for column, codes in self.codes.items():
            present = ~np.isnan(X[:, column])
            X[present, column] = codes[X[present, column].astype(np.int64)]
        if not np.isfinite(X.sum()):
            self._check(X)
        return X

    def sort_by_file(self, positions: RowIndex) -> RowIndex:
        """Return positions in the order in which their rows stand in the table."""
        if self.rows is None:
            return np.sort(positions)
        return positions[self.rows[positions].argsort(kind="stable")]

    def shuffle(
        self,
        positions: RowIndex,
        permutation: NDArray[np.int64],
        generator: torch.Generator | None,
    ) -> RowIndex:
        """Return positions in a random order in which rows are cheap to read."""
        positions = self.sort_by_file(positions)
        rows = positions if self.rows is None else self.rows[positions]
        bounds = rows.searchsorted(np.append(self.blocks.starts, self.blocks.n_rows))
        order = self.blocks.order(permutation)
        parts = []
        for start in range(0, len(order), BLOCKS):
            window = order[start : start + BLOCKS]
            window_rows = [positions[bounds[b] : bounds[b + 1]] for b in window]
            rows = np.concatenate(window_rows)
            parts.append(rows[torch.randperm(len(rows), generator=generator).numpy()])
        return np.concatenate(parts)

    def identity(self) -> list[Any]:
        """Return what tells the rows from others, without reading them."""
        pieces = [piece.identity() for piece in self.blocks.pieces]
        return [pieces, self.names, self.levels, self.rows]

    def _check(self, X: NDArray[np.floating]) -> None:
        """Raise an error for numbers that are not finite where they may not be."""
        bad = np.isinf(X) if self.allow_nan else ~np.isfinite(X)
        columns = np.flatnonzero(bad.any(axis=0))
        if len(columns):
            value = X[bad[:, columns[0]], columns[0]][0]
            what = "infinity" if np.isinf(value) else "NaN"
            raise ValueError(
                f"Input X contains {what} in column {self.names[columns[0]]!r}: mend "
                "the table, or leave the column out of the 'features' of open_table."
            )
