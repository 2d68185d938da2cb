"""Which values of columns count as levels: categories, and integers with few."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from torch import Tensor, nn

from skmtl.encoder._inputs import Array, TrainingInputs, largest_numbers

#: What stands for a missing level among those that are whole numbers.
MISSING = -0.5
#: Share of zeros above which a column is sparse.
SPARSE = 0.8
#: Integers above are not all held by float32.
EXACT = 2.0**24


@dataclass(frozen=True)
class NumberKinds:
    """What columns of numbers hold.

    Attributes
    ----------
    continuous : ndarray of bool of shape (n_features,)
        Columns of more than two values without levels, at most 80% of them zeros.
    columns : ndarray of int of shape (n_levels,)
        The column of each level of integers.
    levels : ndarray of shape (n_levels,)
        Its value.
    """

    continuous: NDArray[np.bool_]
    columns: NDArray[np.int64]
    levels: Array

    @classmethod
    def of(cls, inputs: TrainingInputs, max_levels: int) -> NumberKinds:
        """Look at a sample of the rows.

        Parameters
        ----------
        inputs : TrainingInputs
            The rows to train on.
        max_levels : int
            Number of values up to which integers have levels; zero for none.

        Returns
        -------
        NumberKinds
            The kinds.
        """
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
        return cls(continuous, columns, np.concatenate([np.empty(0), *levels]))


def _n_distinct(block: Array) -> NDArray[np.int64]:
    """Return the number of values of each column, NaN left out."""
    S = np.sort(np.ascontiguousarray(block.T), axis=1)
    first = np.ones(S.shape, dtype=bool)
    first[:, 1:] = S[:, 1:] != S[:, :-1]
    count: NDArray[np.int64] = (first & ~np.isnan(S)).sum(axis=1)  # NaN comes last
    return count


def _whole_levels(values: Array, share: float) -> Array:
    """Return the frequent values of a column of integers, none of other numbers."""
    found, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    if (found != found.round()).any() or np.abs(found).max() > EXACT:
        return np.empty(0)
    return found[counts >= share * len(values)]


@dataclass(frozen=True)
class Survey:
    """What one look at all rows tells of their columns.

    Attributes
    ----------
    missing : ndarray of bool of shape (n_features,)
        Whether an entry of a column is missing.
    largest : ndarray of shape (n_features,)
        Largest absolute value of each column.
    counts : list of ndarray
        For each column of categories, rows per code, with their weights; the last
        entry stands for missing ones.
    """

    missing: NDArray[np.bool_]
    largest: Array
    counts: list[Array]

    @classmethod
    def of(cls, inputs: TrainingInputs) -> Survey:
        """Look at all rows.

        Parameters
        ----------
        inputs : TrainingInputs
            The rows to train on.

        Returns
        -------
        Survey
            What they tell.
        """
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


def least_rows(min_frequency: str | float, n: float) -> float:
    """Return how many rows a category needs to count.

    Parameters
    ----------
    min_frequency : "auto", int or float
        Number of rows, or their share; "auto" is min(10, max(2, n / 200)).
    n : float
        Number of rows.

    Returns
    -------
    float
        Number of rows.
    """
    if isinstance(min_frequency, str):
        return min(10, max(2, n / 200))
    return min_frequency if isinstance(min_frequency, Integral) else min_frequency * n


class OneHot(nn.Module):
    """Zeros, and ones where a column has one of its levels.

    Parameters
    ----------
    columns : ndarray of int of shape (n_levels,)
        The column of each level.
    levels : ndarray of shape (n_levels,)
        Its value, a whole number; ``MISSING`` stands for NaN.
    """

    columns: Tensor
    levels: Tensor

    def __init__(self, columns: NDArray[np.int64], levels: Array) -> None:
        super().__init__()
        self.register_buffer("columns", torch.from_numpy(columns))
        self.register_buffer("levels", torch.from_numpy(levels))

    @classmethod
    def of_codes(
        cls, columns: NDArray[np.int64], frequent: list[NDArray[np.bool_]]
    ) -> OneHot:
        """Return the layer for the codes of categories.

        Parameters
        ----------
        columns : ndarray of int
            Which columns hold categories.
        frequent : list of ndarray of bool
            For each of them, which codes count; the last entry stands for missing
            ones, and the first, for unknown ones, is left out.

        Returns
        -------
        OneHot
            The layer.
        """
        codes = [np.flatnonzero(f[1:]) + 1.0 for f in frequent]
        for code, f in zip(codes, frequent, strict=True):
            code[code == len(f) - 1] = MISSING
        return cls(columns.repeat([len(c) for c in codes]), np.concatenate(codes))

    def forward(self, X: Tensor) -> Tensor:
        """Map (n, n_features) to bools of shape (n, n_levels)."""
        C = X.index_select(1, self.columns).nan_to_num(nan=MISSING)
        return self.levels == C


class CategoryCodes(nn.Module):
    """Number the categories of all columns without a gap.

    Each column has a number for unknown and rare categories, which come first, one for
    each category that counts, and one for missing ones where these do.

    Parameters
    ----------
    columns : ndarray of int
        Which columns hold categories.
    frequent : list of ndarray of bool
        For each of them, which codes count; the last entry stands for missing ones.
    """

    columns: Tensor
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
        for first, known in zip(firsts, frequent, strict=True):
            known = np.concatenate([[False], known[1:]])
            numbers.append(first + np.where(known, known.cumsum(), 0))
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
