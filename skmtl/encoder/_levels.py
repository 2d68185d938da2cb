"""Which values of columns count as levels: categories, few integers, rare amounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from torch import Tensor, nn

from skmtl._core.validation import warn_user
from skmtl.encoder._inputs import Array, TrainingInputs, largest_numbers

#: What stands for a missing level among those that are whole numbers.
MISSING = -0.5
#: Share of zeros above which a column is sparse.
SPARSE = 0.8
#: Rows that a range of a sparse column needs, and ranges of all columns above which
#: there are none, as in tables of counts of words.
RANGE_ROWS, MOST_RANGES = 50, 500
#: Integers above are not all held by float32.
EXACT = 2.0**24
#: Categories of a column above which it is embedded, unless the user decides.
MANY = 64
#: Rows that a category of an embedded column needs, unless the user decides.
EMBEDDED_ROWS = 2
#: Share of rows of rare categories above which a column counts as lost.
LOST = 0.5


@dataclass(frozen=True)
class NumberKinds:
    """What columns of numbers hold."""

    # (n_features,): Columns of more than two values without levels, at most 80% of them
    # zeros.
    continuous: NDArray[np.bool_]
    columns: NDArray[np.int64]  # (n_levels,): The column of each level of integers.
    levels: Array  # (n_levels,): Its value.
    # (n_ranges,): The column of each range of numbers of mostly-zero columns, and
    # (n_ranges, 2): where it begins and ends.
    range_columns: NDArray[np.int64]
    ranges: Array

    @classmethod
    def from_inputs(cls, inputs: TrainingInputs, max_levels: int) -> NumberKinds:
        """Find what columns hold by a sample of the rows."""
        sparse = inputs.nonzero_share < 1 - SPARSE
        looked = np.flatnonzero(~sparse & ~inputs.categorical)
        counts = [_n_distinct(block) for block in inputs.blocks(looked)]
        count = np.concatenate([np.empty(0), *counts])
        few = looked[(count > 2) & (count <= max_levels)]
        least = max(3 / inputs.n, 1 / 200)
        values = (column for block in inputs.blocks(few) for column in block.T)
        levels = [_whole_levels(column, least) for column in values]
        columns = few.repeat([len(level) for level in levels])
        continuous = np.zeros(inputs.shape[0], dtype=bool)
        continuous[looked] = count > 2
        continuous[columns] = False
        sparse_columns = np.flatnonzero(sparse & ~inputs.categorical)
        range_columns, ranges = _find_ranges(inputs, sparse_columns, max_levels)
        numbers = np.concatenate([np.empty(0), *levels])
        return cls(continuous, columns, numbers, range_columns, ranges)


def _n_distinct(block: Array) -> NDArray[np.int64]:
    """Return the number of values of each column, NaN left out."""
    S = np.sort(np.ascontiguousarray(block.T), axis=1)
    first = np.ones(S.shape, dtype=bool)
    first[:, 1:] = S[:, 1:] != S[:, :-1]
    count: NDArray[np.int64] = (first & ~np.isnan(S)).sum(axis=1)  # NaN comes last
    return count


def _whole_levels(values: Array, share: float) -> Array:
    """Return the frequent values of a column of integers, none of other numbers."""
    levels, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    if (levels != levels.round()).any() or np.abs(levels).max() > EXACT:
        return np.empty(0)
    return levels[counts >= share * len(values)]


def _find_ranges(
    inputs: TrainingInputs, columns: NDArray[np.int64], max_levels: int
) -> tuple[NDArray[np.int64], Array]:
    """Return the ranges of numbers other than zero that rows enough of columns have."""
    least = max(RANGE_ROWS / inputs.n, 1 / 200)
    wanted = (inputs.nonzero_share[columns] >= 2 * least) & (max_levels > 1)
    columns = columns[wanted]  # others cannot have two ranges
    values = (column for block in inputs.blocks(columns) for column in block.T)
    ranges = [_split_values(column, least, max_levels) for column in values]
    if sum(map(len, ranges)) > MOST_RANGES:
        columns, ranges = columns[:0], []
    columns = columns.repeat([len(r) for r in ranges])
    return columns, np.concatenate([np.empty((0, 2)), *ranges])


def _split_values(values: Array, share: float, max_levels: int) -> Array:
    """Return where the quantiles and the frequent values of non-zeros begin and end."""
    least = share * len(values)
    values = values[(values != 0) & ~np.isnan(values)]
    distinct, counts = np.unique(values, return_counts=True)
    n_parts = min(max_levels, int(len(values) / least))
    if len(distinct) < 2 or n_parts < 2:
        return np.empty((0, 2))
    shares = np.arange(n_parts) / n_parts
    starts = distinct.searchsorted(np.quantile(values, shares, method="lower"))
    frequent = np.flatnonzero(counts >= least)
    starts = np.unique(np.concatenate([starts, frequent, frequent + 1]))
    starts = starts[starts < len(distinct)]
    rows = np.add.reduceat(counts, starts)
    between = (distinct[1:] + distinct[:-1]) / 2
    edges = np.concatenate([[-np.inf], between, [np.inf]])
    ends = np.append(starts[1:], len(distinct))
    kept = rows >= least / 2
    return np.column_stack([edges[starts], edges[ends]])[kept]


@dataclass(frozen=True)
class Survey:
    """What one look at all rows tells of their columns."""

    # (n_features,): Whether an entry of a column is missing.
    missing: NDArray[np.bool_]
    largest: Array  # (n_features,): Largest absolute value of each column.
    # For each column of categories, rows per code, with their weights; the last entry
    # stands for missing ones.
    counts: list[Array]

    @classmethod
    def from_inputs(cls, inputs: TrainingInputs) -> Survey:
        """Read all rows once."""
        columns = np.flatnonzero(inputs.categorical)
        missing = np.zeros(inputs.shape[0], dtype=bool)
        largest = np.zeros(inputs.shape[0])
        counts = [np.zeros(inputs.n_categories[c] + 2) for c in columns]
        for X, weight in inputs.chunks():
            if issparse(X):
                missing[X.indices[np.isnan(X.data)]] = True
            else:
                missing |= np.isnan(X).any(axis=0)
            largest = np.maximum(largest, largest_numbers(X))
            for c, count in zip(columns, counts, strict=True):
                codes = X[:, [c]].toarray()[:, 0] if issparse(X) else X[:, c]
                codes = np.nan_to_num(codes, nan=len(count) - 1).astype(np.int64)
                count += np.bincount(codes, weight, len(count)) * inputs.rows_per_weight
        return cls(missing, largest, counts)


@dataclass(frozen=True)
class FrequentCategories:
    """Which categories of columns count, and how networks read them."""

    columns: NDArray[np.int64]  # (n_columns,): Columns of categories.
    # For each of them, which codes have rows enough; the last entry stands for missing
    # ones, and the first, for unknown ones, does not count.
    frequent: list[NDArray[np.bool_]]
    # (n_columns,): Whether an embedding reads a column, not zeros and ones.
    embedded: NDArray[np.bool_]
    least: Array  # (n_columns,): Number of rows that is enough.

    @classmethod
    def from_inputs(
        cls,
        inputs: TrainingInputs,
        counts: list[Array],
        categories: str,
        min_frequency: str | float,
    ) -> FrequentCategories:
        """Choose categories by their rows."""
        one_hot = least_rows(min_frequency, inputs.n)
        embedded = least_rows(min_frequency, inputs.n, EMBEDDED_ROWS)
        if categories == "auto":
            embeds = np.array([(c[1:-1] >= embedded).sum() > MANY for c in counts])
        else:
            embeds = np.full(len(counts), categories == "embed")
        least = np.where(embeds, embedded, one_hot)
        frequent = [c >= rows for c, rows in zip(counts, least, strict=True)]
        return cls(np.flatnonzero(inputs.categorical), frequent, embeds, least)

    def one_hot(self) -> OneHot | None:
        """Return what makes zeros and ones; None where no category is to have them."""
        columns = np.flatnonzero(~self.embedded)
        frequent = [self.frequent[i] for i in columns]
        if not any(f[1:].any() for f in frequent):
            return None
        return OneHot.from_codes(self.columns[columns], frequent)

    def codes(self) -> CategoryCodes | None:
        """Return what numbers the categories of embedded columns; None without any."""
        columns = np.flatnonzero(self.embedded)
        frequent = [self.frequent[i] for i in columns]
        return CategoryCodes(self.columns[columns], frequent) if len(columns) else None

    def warn_of_lost(self, counts: list[Array], names: Mapping[int, object]) -> None:
        """Warn of columns most of whose rows have rare categories."""
        parts = zip(self.columns, counts, self.frequent, self.least, strict=True)
        for column, count, frequent, least in parts:
            share = 1 - count[1:][frequent[1:]].sum() / count[1:].sum()
            if share > LOST:
                name = names.get(int(column), int(column))
                warn_user(
                    f"Column {name!r} of X is {'not' if share == 1 else 'hardly'} "
                    f"used: {share:.0%} of its rows have categories of fewer than "
                    f"{least:g} rows, which count as unknown. Set the encoder's "
                    "'min_frequency' lower, or leave the column out."
                )


def least_rows(min_frequency: str | float, n: float, most: float = 10) -> float:
    """Return how many rows a category needs to count."""
    if isinstance(min_frequency, str):
        return min(most, max(2, n / 200))
    return min_frequency if isinstance(min_frequency, Integral) else min_frequency * n


class OneHot(nn.Module):
    """Zeros, and ones where a column has one of its levels."""

    columns: Tensor  # (n_levels,): The column of each level.
    # (n_levels,): Its value, a whole number; ``MISSING`` stands for NaN.
    levels: Tensor

    def __init__(self, columns: NDArray[np.int64], levels: Array) -> None:
        super().__init__()
        self.register_buffer("columns", torch.from_numpy(columns))
        self.register_buffer("levels", torch.from_numpy(levels))

    @classmethod
    def from_codes(
        cls, columns: NDArray[np.int64], frequent: list[NDArray[np.bool_]]
    ) -> OneHot:
        """Return the layer for the codes of categories."""
        codes = [np.flatnonzero(f[1:]) + 1.0 for f in frequent]
        for code, f in zip(codes, frequent, strict=True):
            code[code == len(f) - 1] = MISSING
        return cls(columns.repeat([len(c) for c in codes]), np.concatenate(codes))

    def forward(self, X: Tensor) -> Tensor:
        """Map (n, n_features) to bools of shape (n, n_levels)."""
        C = X.index_select(1, self.columns).nan_to_num(nan=MISSING)
        return self.levels == C


class OneHotRanges(nn.Module):
    """Zeros, and ones where a column other than zero is in one of its ranges."""

    columns: Tensor  # (n_ranges,): The column of each range.
    levels: Tensor  # (n_ranges, 2): Where it begins and ends.

    def __init__(self, columns: NDArray[np.int64], ranges: Array) -> None:
        super().__init__()
        self.register_buffer("columns", torch.from_numpy(columns))
        self.register_buffer("levels", torch.from_numpy(ranges))

    def forward(self, X: Tensor) -> Tensor:
        """Map (n, n_features) to bools of shape (n, n_ranges)."""
        C = X.index_select(1, self.columns)
        inside = (self.levels[:, 0] <= C) & (self.levels[:, 1] > C)
        return inside & (C != 0)


class CategoryCodes(nn.Module):
    """Number the categories of all columns without a gap."""

    # Each column has a number for unknown and rare categories, which come first, one
    # for each category that counts, and one for missing ones where these do.

    columns: Tensor  # Which columns hold categories.
    starts: Tensor
    missing: Tensor
    numbers: Tensor

    def __init__(
        self, columns: NDArray[np.int64], frequent: list[NDArray[np.bool_]]
    ) -> None:
        super().__init__()
        #: How many numbers each column has.
        self.sizes = tuple(1 + int(f[1:].sum()) for f in frequent)
        firsts = np.cumsum([0, *self.sizes[:-1]])
        numbers = []
        for first, frequent_levels in zip(firsts, frequent, strict=True):
            frequent_levels = np.concatenate([[False], frequent_levels[1:]])
            numbers.append(
                first + np.where(frequent_levels, frequent_levels.cumsum(), 0)
            )
        widths = np.array([len(f) for f in frequent])
        self.register_buffer("columns", torch.from_numpy(columns))
        self.register_buffer("starts", torch.from_numpy(widths.cumsum() - widths))
        self.register_buffer("missing", torch.from_numpy(widths - 1))
        self.register_buffer("numbers", torch.from_numpy(np.concatenate(numbers)))

    def forward(self, X: Tensor) -> Tensor:
        """Map (n, n_features) to numbers of shape (n, n_columns)."""
        C = X.index_select(1, self.columns)
        C = torch.where(C.isnan(), self.missing.to(C.dtype), C).long() + self.starts
        return self.numbers.index_select(0, C.flatten()).view(C.shape)
