"""Columns of wide sparse tables, such as words: which count, and their scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator, svds
from torch import Tensor, nn

from skmtl.encoder._inputs import Array, TrainingInputs, largest_numbers, sum_entries
from skmtl.encoder._sparse_product import sparse_product

#: Columns of few non-zeros above which a sparse table is read sparse.
WIDE = 500
#: Share of non-zeros below which such a column counts as sparse.
SPARSE = 0.2
#: Rows that a column needs to have a weight, where 'min_frequency' is "auto".
LEAST_ROWS = 3
#: Entries further from zero than so many times the root mean square of those of their
#: column are moved there.
BOUND = 5.0
#: Most columns that have weights: float32 holds all integers up to here.
MOST_COLUMNS = 2**24
#: Powers of two above which, and below whose inverse, squares are no longer exact.
MOST_EXPONENT = 400
#: Features that networks read in place of the columns.
DIM = 32
#: Most weights of the linear part; without it, only those features tell of columns.
MOST_LINEAR = 2**24


class SparseColumns(nn.Module):
    """Write the sparse columns of rows as positions and scaled values."""

    # An entry is divided by the root mean square of the entries of its column, kept in
    # [-5, 5], and multiplied by the weight of the column.
    # scale (n_columns,): Root mean square of entries, and weight, of each column that
    # has a position.
    # weight (n_columns,): Root mean square of entries, and weight, of each column that
    # has a position.

    columns: Tensor  # (n_columns,): Which columns of the raw inputs have a position.
    rest: Tensor  # Which are read as those of a dense table.
    inverse: Tensor
    factor: Tensor

    def __init__(
        self,
        columns: NDArray[np.int64],
        rest: NDArray[np.int64],
        scale: Array,
        weight: Array,
        n_features: int,
    ) -> None:
        super().__init__()
        self.n_features = n_features
        self.n_rest = len(rest)
        #: Position of each raw column, or -1; known to the CPU, where rows are packed.
        self.positions = np.full(n_features, -1)
        self.positions[columns] = np.arange(len(columns))
        self.scale, self.weight = scale, weight
        self.register_buffer("columns", torch.from_numpy(columns))
        self.register_buffer("rest", torch.from_numpy(rest))
        self.register_buffer("inverse", torch.from_numpy(1 / scale))
        self.register_buffer("factor", torch.from_numpy(weight))

    def pack(self, X: Any) -> NDArray[Any]:
        """Return sparse rows as ``[rest | positions | values]``, padded with zeros."""
        # X of shape (n, n_features); returns (n, n_rest + 2 m).
        X = sum_entries(X)
        n, r = X.shape[0], self.n_rest
        position = self.positions[X.indices]
        kept_entries = (position >= 0) & (X.data != 0)
        row = np.arange(n).repeat(np.diff(X.indptr))[kept_entries]
        position, value = position[kept_entries], X.data[kept_entries]
        counts = np.bincount(row, minlength=n)
        m = max(1, int(counts.max(initial=0)))
        m += r + 2 * m == self.n_features
        place = np.arange(len(row)) - (counts.cumsum() - counts).repeat(counts)
        value = np.nan_to_num(value / self.scale[position]).clip(-BOUND, BOUND)
        packed = np.zeros((n, r + 2 * m), dtype=X.dtype)
        packed[row, r + place] = position
        packed[row, r + m + place] = value * self.weight[position]
        if r:
            packed[:, :r] = X[:, self.rest.cpu().numpy()].toarray()
        return packed

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Map dense or packed rows to the rest and to positions beside values."""
        if X.shape[1] != self.n_features:
            return X[:, : self.n_rest], X[:, self.n_rest :]
        V = (X.index_select(1, self.columns) * self.inverse).nan_to_num()
        V = V.clamp(-BOUND, BOUND) * self.factor
        places = torch.arange(V.shape[1], dtype=V.dtype, device=V.device)
        packed = torch.cat([places.expand_as(V), V], dim=1)
        return X.index_select(1, self.rest), packed


def is_wide(X: Any) -> bool:
    """Return whether inputs are a sparse matrix of many columns of few non-zeros."""
    if not issparse(X) or X.shape[1] <= WIDE:
        return False
    counts = np.bincount(X.indices, minlength=X.shape[1])
    return bool((counts < SPARSE * X.shape[0]).sum() > WIDE)


def fit_sparse(
    inputs: TrainingInputs, min_frequency: str | float
) -> SparseColumns | None:
    r"""Choose the columns that are read sparse, and learn their scales.

    The weight of a column is :math:`\log(n / n_j)` for ``n_j`` of ``n`` rows in which
    it is not zero, divided by what gives the scaled table, over the square root of n,
    a largest singular value of one: a gradient step of one size then suits any table.

    Parameters
    ----------
    inputs : TrainingInputs
        The rows to train on.
    min_frequency : "auto", int or float
        Rows in which a column must have an entry, or their share; "auto" means three.

    Returns
    -------
    SparseColumns or None
        None where inputs are dense or narrow.
    """
    if inputs.n_categories or not is_wide(inputs.X):
        return None
    counts, squares, dense = _sums(inputs)
    sparse = (counts < SPARSE * inputs.n) & ~dense
    if sparse.sum() <= WIDE:
        return None
    least = _least_rows(min_frequency, inputs.n)
    least = least if (sparse & (counts >= least)).any() else 0.0
    columns = np.flatnonzero(sparse & (counts >= least) & (squares > 0))
    if len(columns) > MOST_COLUMNS:
        columns = np.sort(columns[np.argsort(-counts[columns])[:MOST_COLUMNS]])
    if not len(columns):
        return None
    scale = np.sqrt(squares[columns] / counts[columns])
    weight = np.log(inputs.n / counts[columns])
    rest = np.flatnonzero(~sparse)
    sparse_columns = SparseColumns(columns, rest, scale, weight, inputs.shape[0])
    largest = _largest_singular_value(inputs, sparse_columns)
    weight = weight / largest
    return SparseColumns(columns, rest, scale, weight, inputs.shape[0])


def _least_rows(min_frequency: str | float, n: float) -> float:
    if min_frequency == "auto":
        return LEAST_ROWS
    share = isinstance(min_frequency, float)
    return min_frequency * n if share else float(min_frequency)  # type: ignore[operator, return-value]


def _sums(inputs: TrainingInputs) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return rows with entries, sums of squares, and which columns must be dense."""
    # Those are columns with missing entries, and with huge or tiny ones.
    n_features = inputs.shape[0]
    counts, squares, largest = np.zeros((3, n_features))
    missing = np.zeros(n_features, dtype=bool)
    for X, weight in inputs.chunks():
        largest = np.maximum(largest, largest_numbers(X))
        nonzero = X.data != 0
        columns, values = X.indices[nonzero], X.data[nonzero].astype(np.float64)
        w = None
        if weight is not None:
            w = weight.repeat(np.diff(X.indptr))[nonzero] * inputs.rows_per_weight
        counts += np.bincount(columns, w, n_features)
        with np.errstate(over="ignore"):  # such a column is read dense
            square = np.square(values) if w is None else np.square(values) * w
        squares += np.bincount(columns, square, n_features)
        missing[columns[np.isnan(values)]] = True
    exponents = np.frexp(largest)[1]
    return counts, squares, missing | (np.abs(exponents) > MOST_EXPONENT)


def _largest_singular_value(inputs: TrainingInputs, columns: SparseColumns) -> float:
    """Return that of the scaled columns of a sample, over the root of its rows."""
    X = inputs.sample()[:, columns.columns.numpy()].tocsr().astype(np.float64)
    X.data = (X.data / columns.scale[X.indices]).clip(-BOUND, BOUND)
    X.data *= columns.weight[X.indices]
    if min(X.shape) < 2:
        return float(np.sqrt((X.data**2).sum() / X.shape[0])) or 1.0
    table = LinearOperator(X.shape, X.dot, X.T.dot, dtype=np.float64)  # type: ignore[call-arg]
    start = np.ones(min(X.shape))
    (value,) = svds(table, k=1, v0=start, tol=1e-2, return_singular_vectors=False)
    return float(value) / np.sqrt(X.shape[0]) or 1.0


class SparseInputs(nn.Module):
    """Turn sparse columns into a few features for networks, and add a linear model."""

    # Both start at zero, so that a column adds nothing before it is met in training.

    def __init__(
        self, n_dense: int, n_columns: int, n_outputs: int, n_networks: int = 1
    ) -> None:
        super().__init__()
        self.n_dense = n_dense
        self.n_networks = n_networks
        self.features = nn.Parameter(torch.zeros(n_columns, n_networks * DIM))
        n_linear = n_outputs if n_columns * n_outputs <= MOST_LINEAR else 0
        self.linear = nn.Parameter(torch.zeros(n_columns, n_linear))

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map (n, n_dense + 2 m) to inputs of networks, and what outputs get added."""
        # Inputs have shape (n, n_dense + 32), or (n_networks, n, n_dense + 32). Where
        # parameters have an axis of members, so have both, and X may have it.
        dense, packed = X[..., : self.n_dense], X[..., self.n_dense :]
        positions, values = packed.chunk(2, dim=-1)
        weights = self.features, self.linear
        features, outputs = sparse_product(positions, values, weights)
        if self.n_networks > 1:
            features = torch.stack(features.chunk(self.n_networks, dim=-1))
        dense = dense.expand(*features.shape[:-1], -1)
        added = outputs if self.linear.shape[-1] else None
        return torch.cat([dense, features], dim=-1), added
