"""Wide sparse tables, such as words: which columns count, scales, and products."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse
from scipy.sparse.linalg import LinearOperator, svds
from torch import Tensor, nn
from torch.nn import functional as F

from skmtl.encoder._inputs import Array, TrainingInputs, largest_numbers, sum_entries

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
#: Where each network has its batch in inputs that `torch.vmap` has given an axis.
Dims = tuple[int | None, ...]


class SparseColumns(nn.Module):
    """Write the sparse columns of rows as positions and scaled values."""

    # An entry is divided by the root mean square of the entries of its column, kept in
    # [-5, 5], and multiplied by the weight of the column.
    # scale, weight (n_columns,): Root mean square of entries, and weight, of each
    # column that has a position.

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

    def pack(self, X: csr_array) -> NDArray[np.floating]:
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
    """Choose the columns that are read sparse, and fit their scales; None if dense."""
    # The weight of a column is log(n / n_j) for n_j of n rows in which it is not zero,
    # divided by what gives the scaled table, over the square root of n, a largest
    # singular value of one: a gradient step of one size then suits any table.
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
    weight = weight / _largest_singular_value(inputs, sparse_columns)
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


def sparse_product(
    positions: Tensor, values: Tensor, weights: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Multiply sparse rows with weights, at a cost that grows with the non-zeros."""
    # Anything that can be written as pairs of a column and a value may be given: text,
    # and one-hot encoded categories, each of which is one pair (the first column of its
    # block plus its code, and 1.0) that `torch.cat` appends to the others.
    # positions, values of shape (n, m) or (n_copies, n, m), weights lists of shape
    # ([n_copies,] n_columns, width); returns lists (n, width) or (n_copies, n, width).
    if torch.compiler.is_compiling():  # or exporting
        return _multiply_dense(positions, values, weights)
    if weights[0].ndim == 2:
        positions, values = positions[None], values[None]
        products = _apply(_Product, positions, values, *(W[None] for W in weights))
        return tuple(product[0] for product in products)
    if positions.ndim == 3:
        return _apply(_Product, positions, values, *weights)
    # All networks read the same rows: one wide product serves them.
    wide = (W.transpose(0, 1).flatten(1)[None] for W in weights)
    products = _apply(_Product, positions[None], values[None], *wide)
    return tuple(
        P[0].view(-1, W.shape[0], W.shape[2]).transpose(0, 1)
        for P, W in zip(products, weights, strict=True)
    )


def _multiply_dense(
    positions: Tensor, values: Tensor, weights: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Return the same by dense rows, for what is compiled or exported."""
    shape = *positions.shape[:-1], weights[0].shape[-2]
    X = values.new_zeros(shape).scatter_add(-1, positions.long(), values)
    return tuple(X @ W for W in weights)


def _apply(
    function: type[torch.autograd.Function], *arguments: Tensor | int
) -> tuple[Tensor, ...]:
    return function.apply(*arguments)  # type: ignore[no-any-return, no-untyped-call]


class _Product(torch.autograd.Function):
    """Map (k, n, m) positions and values, and (k, d, h) weights, to (k, n, h)."""

    @staticmethod
    def forward(positions: Tensor, values: Tensor, *weights: Tensor) -> Any:
        bags = _Bags(positions, values, weights[0].shape[1])
        return tuple(bags.multiply(W) for W in weights)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, _: Any) -> None:
        positions, values, *weights = inputs
        ctx.save_for_backward(positions, values)
        ctx.n_columns = weights[0].shape[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:  # type: ignore[override]
        positions, values = ctx.saved_tensors
        gradient = _apply(_Transposed, positions, values, ctx.n_columns, *gradients)
        return None, None, *gradient

    @staticmethod
    def vmap(info: Any, dims: Dims, X: Tensor, V: Tensor, *weights: Tensor) -> Any:
        return _map_product(
            info.batch_size, (dims[0], dims[1], *dims[2:]), X, V, weights
        )


class _Transposed(torch.autograd.Function):
    """Map (k, n, m) positions and values, and (k, n, h) gradients, to (k, d, h)."""

    @staticmethod
    def forward(
        positions: Tensor, values: Tensor, n_columns: int, *gradients: Tensor
    ) -> Any:
        bags = _Bags(positions, values, n_columns)
        return tuple(bags.multiply_transposed(gradients))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, _: Any) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, *weights: Tensor) -> Any:  # type: ignore[override]
        gradient = _apply(_Product, *ctx.saved_tensors, *weights)
        return None, None, None, *gradient

    @staticmethod
    def vmap(
        info: Any, dims: Dims, X: Tensor, V: Tensor, n_columns: int, *gradients: Tensor
    ) -> Any:
        dims = dims[0], dims[1], *dims[3:]
        return _map_product(info.batch_size, dims, X, V, gradients, n_columns)


def _map_product(
    n: int,
    dims: Dims,
    positions: Tensor,
    values: Tensor,
    factors: tuple[Tensor, ...],
    n_columns: int | None = None,
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Compute at once what `torch.vmap` asks for ``n`` times."""
    function: Any = _Product
    sizes: tuple[int, ...] = ()
    if n_columns is not None:
        function, sizes = _Transposed, (n_columns,)
    out_dims = (0,) * len(factors)
    if dims[0] is None and dims[1] is None:  # the same rows: put factors side by side
        wide = [
            F_.movedim(dim, -2).flatten(-2) if dim is not None else F_.repeat(1, 1, n)
            for F_, dim in zip(factors, dims[2:], strict=True)
        ]
        products = _apply(function, positions, values, *sizes, *wide)
        parts = (P.reshape(*P.shape[:2], n, -1) for P in products)
        return tuple(P.movedim(2, 0) for P in parts), out_dims
    flat = [
        (T.movedim(dim, 0) if dim is not None else T.expand(n, *T.shape)).flatten(0, 1)
        for T, dim in zip((positions, values, *factors), dims, strict=True)
    ]
    products = _apply(function, *flat[:2], *sizes, *flat[2:])
    return tuple(P.reshape(n, -1, *P.shape[1:]) for P in products), out_dims


class _Bags:
    """The entries of sparse rows, one after the other."""

    # positions, values (k, n, m): Columns of entries, and these.

    def __init__(self, positions: Tensor, values: Tensor, n_columns: int) -> None:
        self.shape = k, n, m = positions.shape
        self.n_columns = n_columns
        size = max(k * n_columns, k * n * m) + 1
        whole = torch.int32 if size < 2**31 else torch.int64
        positions, self.values = positions.flatten(), values.flatten()
        if values.device.type == "cpu":  # elsewhere counting would wait for the device
            nonzero = values != 0
            counts = nonzero.sum(dim=2).flatten()
            self.offsets = F.pad(counts.cumsum(0), (1, 0)).to(whole)
            places = nonzero.flatten().nonzero().squeeze(1)
            positions = positions.index_select(0, places)
            self.values = self.values.index_select(0, places)
            places = places.to(whole)
        else:
            every = torch.arange(k * n * m + 1, dtype=whole, device=values.device)
            self.offsets, places = every[::m].contiguous(), every[:-1]
        #: Row of each entry among those of all networks, and column.
        self.rows = places // m
        self.codes = positions.to(whole) + self.rows // n * n_columns

    def multiply(self, weight: Tensor) -> Tensor:
        """Map weights (k, n_columns, h) to products (k, n, h)."""
        k, n, _ = self.shape
        table = weight.flatten(0, 1)
        product = _sum(self.codes, table, self.offsets, self.values, k * n)
        return product.view(k, n, weight.shape[2])

    def multiply_transposed(self, gradients: tuple[Tensor, ...]) -> list[Tensor]:
        """Map gradients (k, n, h) of products to those of weights."""
        k, n_all = self.shape[0], self.shape[0] * self.n_columns
        # Each sum has one order, so that it repeats.
        codes, order = self.codes.sort(stable=True)
        if codes.device.type == "cpu":
            counts = torch.bincount(codes, minlength=n_all)
            offsets = F.pad(counts.cumsum(0), (1, 0)).to(codes.dtype)
        else:
            bounds = torch.arange(n_all + 1, dtype=codes.dtype, device=codes.device)
            offsets = torch.searchsorted(codes, bounds).to(codes.dtype)
        rows, values = self.rows[order], self.values[order]
        return [
            # Gradients of several outputs at once have rules for few operations.
            _sum(rows, G.reshape(-1, G.shape[2]), offsets, values, n_all).reshape(
                k, self.n_columns, G.shape[2]
            )
            for G in gradients
        ]


def _sum(
    index: Tensor, table: Tensor, offsets: Tensor, values: Tensor, n: int
) -> Tensor:
    """Return n sums of rows of a table, each weighted by values."""
    if not table.numel() or not len(index):
        return table.new_zeros(n, table.shape[1])
    return F.embedding_bag(
        index,
        table.contiguous(),
        offsets,
        mode="sum",
        per_sample_weights=values.to(table.dtype),
        include_last_offset=True,
    )
