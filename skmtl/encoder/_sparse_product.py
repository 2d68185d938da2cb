"""Products of sparse rows with weights of several networks, without zeros."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

#: Where each network has its batch in inputs that `torch.vmap` has given an axis.
Dims = tuple[int | None, ...]


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


def _apply(function: Any, *arguments: Any) -> tuple[Tensor, ...]:
    return function.apply(*arguments)  # type: ignore[no-any-return]


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
    """Do at once what `torch.vmap` asks for ``n`` times."""
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

    # positions (k, n, m): Columns of entries, and these.
    # values (k, n, m): Columns of entries, and these.

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
        codes, order = self.codes.sort(
            stable=True
        )  # each sum has one order: it repeats
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
