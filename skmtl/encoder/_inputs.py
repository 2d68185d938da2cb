"""The inputs of training, and what they go through before any network."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from torch import Tensor, nn

from skmtl._data.streamed_table import StreamedTable
from skmtl._data.training_data import RowIndex

Array: TypeAlias = NDArray[np.float64]

#: Rows from which medians and quantiles are read, as many as QuantileTransformer takes.
SAMPLE = 10_000
#: Training rows below which nothing is held out of members and nothing drops out: all
#: of a fit is then a function of the weighted rows.
SMALL = 50
#: Numbers that are read, or made dense, at a time.
CHUNK = 2**22
#: Powers of two up to which the largest number of a column is neither huge nor tiny:
#: its square is a float32.
USUAL = 40


class InputStage(nn.Module):
    """Base class of what raw inputs go through once, before all networks.

    Attributes
    ----------
    shape : tuple of int
        Shape of one sample after it.
    needs_float64 : bool
        Whether inputs must come in float64 though parameters may be float32.
    """

    shape: tuple[int, ...]
    needs_float64: bool = False

    @property
    def code_columns(self) -> Tensor | None:
        """Columns of the raw inputs that hold codes of categories, if any do."""
        return None

    @property
    def n_sparse(self) -> int:
        """Number of columns of which it returns positions and values, at the end."""
        return 0

    def pack(self, X: Any) -> NDArray[Any]:
        """Return rows of a sparse matrix as an array that ``forward`` takes.

        Parameters
        ----------
        X : sparse matrix in CSR form of shape (n, n_features)
            Some rows.

        Returns
        -------
        ndarray of shape (n, ...)
            The rows.
        """
        return X.toarray()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class TrainingInputs:
    """The inputs of the rows that train.

    Parameters
    ----------
    X : ndarray, sparse matrix or StreamedTable of shape (n_samples, ...)
        Inputs of all rows; columns of categories hold codes: zero for an unknown
        category, NaN for a missing one.
    rows : ndarray of int
        Which rows train, in the order in which they are best read.
    weight : ndarray of shape (n_rows,) or None, default=None
        Their weights, all positive; None where all count the same.
    n_categories : tuple of int, default=()
        Number of categories of each column, zero for a column of numbers; empty where
        there is no column of categories.
    names : dict of int to object, default={}
        Names of the columns of categories.
    only_regression : bool, default=False
        Whether all tasks are regression.
    """

    X: Any
    rows: RowIndex
    weight: Array | None = None
    n_categories: tuple[int, ...] = ()
    names: Mapping[int, Any] = field(default_factory=dict)
    only_regression: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.X.shape[1:])

    @cached_property
    def categorical(self) -> NDArray[np.bool_]:
        """Which columns hold categories."""
        if not self.n_categories:
            return np.zeros(self.shape[0], dtype=bool)
        return np.array(self.n_categories) > 0

    @cached_property
    def rows_per_weight(self) -> float:
        """How many rows a weight of one counts for."""
        # Weights that are whole numbers say how often rows occur; others have mean one.
        w = self.weight
        whole = w is None or (w == w.round()).all()
        return 1.0 if whole else len(self.rows) / w.sum()  # type: ignore[union-attr]

    @cached_property
    def n(self) -> float:
        """Number of rows, with their weights."""
        if self.weight is None:
            return float(len(self.rows))
        return float(self.weight.sum()) * self.rows_per_weight

    @cached_property
    def nonzero_share(self) -> Array:
        """Share of entries of each column of the sample that are not zero."""
        X = self.sample()
        share: Array = np.asarray((X != 0).sum(axis=0)).ravel() / X.shape[0]
        return share

    def chunks(
        self, exponents: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[Any, Array | None]]:
        """Iterate over the rows, some at a time.

        Parameters
        ----------
        exponents : ndarray of int of shape (n_features,) or None, default=None
            Powers of two that columns, or channels of images, are divided by.

        Yields
        ------
        X : ndarray or sparse matrix of shape (n_chunk, ...)
            Inputs.
        weight : ndarray of shape (n_chunk,) or None
            Weights.
        """
        size = max(1, CHUNK // max(1, int(np.prod(self.shape))))
        for start in range(0, len(self.rows), size):
            part = slice(start, start + size)
            weight = None if self.weight is None else self.weight[part]
            X = self._read(self.rows[part])
            yield X if exponents is None else scale_columns(X, -exponents), weight

    def select_columns(self, columns: NDArray[np.int64]) -> "TrainingInputs":
        """Return the same of some columns only.

        Parameters
        ----------
        columns : ndarray of int
            Which columns.

        Returns
        -------
        TrainingInputs
            The inputs.
        """
        sizes = tuple(np.array(self.n_categories)[columns]) if self.n_categories else ()
        return replace(self, X=self.X[:, columns], n_categories=sizes, names={})

    def sample(self) -> Any:
        """Return rows whose quantiles stand for those of all.

        Returns
        -------
        ndarray or sparse matrix of shape (n_sample, ...)
            As many rows as the weights say, where these are whole numbers that sum to
            10,000 at most; else 10,000, drawn by their weights.
        """
        return self._sample

    @cached_property
    def _sample(self) -> Any:
        weight = np.ones(len(self.rows)) if self.weight is None else self.weight
        total = weight.cumsum()
        if total[-1] <= SAMPLE and (weight == weight.round()).all():
            return self._read(self.rows.repeat(weight.astype(np.int64)))
        # One draw from each equal part of the weight; by chance within the part, lest
        # rows that repeat in a period are met always at the same point of it.
        within = np.random.default_rng(0).uniform(size=SAMPLE)
        places = (np.arange(SAMPLE) + within) * (total[-1] / SAMPLE)
        drawn = total.searchsorted(places, side="right")
        return self._read(self.rows[drawn.clip(max=len(total) - 1)])

    def _read(self, rows: RowIndex) -> Any:
        if isinstance(self.X, StreamedTable):
            return self.X.take(rows)
        return sum_entries(self.X[rows]) if issparse(self.X) else self.X[rows]

    def blocks(
        self,
        columns: NDArray[np.int64] | None = None,
        exponents: NDArray[np.int64] | None = None,
    ) -> Iterator[Array]:
        """Iterate over columns of the sample, some at a time.

        Parameters
        ----------
        columns : ndarray of int or None, default=None
            Which columns; None for all.
        exponents : ndarray of int of shape (n_columns,) or None, default=None
            Powers of two that these columns are divided by.

        Yields
        ------
        ndarray of shape (n_sample, n_block)
            LabelTable, dense; one without any number is zero.
        """
        X = self.sample()
        X = X.tocsc() if issparse(X) else X
        X = X if columns is None else X[:, columns]
        size = max(1, CHUNK // X.shape[0])
        for start in range(0, X.shape[1], size):
            block = X[:, start : start + size]
            block = block.toarray() if issparse(block) else np.array(block)
            block[:, np.isnan(block).all(axis=0)] = 0
            if exponents is not None:
                block = scale_columns(block, -exponents[start : start + size])
            yield block


def largest_numbers(X: Any) -> Array:
    """Return the largest absolute value of each column or channel, zero without one."""
    # X of shape (n_samples, n_features, ...); returns (n_features,).
    largest: Array
    if issparse(X):
        largest = np.zeros(X.shape[1])
        np.fmax.at(largest, X.indices, np.abs(X.data))
        return largest
    axes = tuple(axis for axis in range(X.ndim) if axis != 1)
    highest = np.fmax.reduce(X, axis=axes, initial=0)
    lowest = np.fmin.reduce(X, axis=axes, initial=0)
    largest = np.maximum(highest, -lowest, dtype=np.float64)
    return largest


def unusual_exponents(largest: Array) -> NDArray[np.int64]:
    """Return powers of two that bring huge and tiny numbers into [1, 4)."""
    # largest of shape (n_features,); returns (n_features,).
    exponents = np.frexp(largest)[1].astype(np.int64) - 1
    return np.where(np.abs(exponents) > USUAL, exponents - exponents % 2, 0)


def scale_columns(X: Any, exponents: NDArray[np.int64]) -> Any:
    """Multiply columns, or channels of images, by powers of two."""
    # X of shape (n_samples, n_features, ...), exponents of shape (n_features,).
    if not exponents.any():
        return X
    if issparse(X):
        X = X.copy()
        X.data = np.ldexp(X.data, exponents[X.indices])
        return X
    return np.ldexp(X, exponents.reshape(-1, *[1] * (X.ndim - 2)))


def sum_entries(X: Any) -> Any:
    """Return sparse rows with one entry per column, in the order of columns."""
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X
