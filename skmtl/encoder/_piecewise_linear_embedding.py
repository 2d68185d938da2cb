"""Perceptrons on piecewise linear embeddings of numbers."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from scipy.stats import norm as normal
from torch import Tensor

from skmtl._core.layers import StackedColumnLinear
from skmtl._core.validation import Interval
from skmtl.encoder._inputs import TrainingInputs
from skmtl.encoder._mlp import MLP
from skmtl.encoder._table import Embedding

#: Bins narrower than this are one with the next.
NARROW = 1e-6


class PiecewiseLinearEmbedding(MLP):
    r"""Multilayer perceptron on piecewise linear embeddings of columns of numbers.

    The quantiles :math:`b_0 < \ldots < b_T` of a scaled column cut it into bins. A
    number x becomes :math:`\mathrm{ReLU}(W e + b)` with
    :math:`e_t = (x - b_{t-1}) / (b_t - b_{t-1})`, not below 0 but in the first bin and
    not above 1 but in the last one; W and b are learned for each column ("Q-LR" in
    [1]_). As in a tree, what happens in one bin has little to do with others.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(256, 256)
        As in `MLP`.
    activation, dropout, norm, residual, scale, missing_inputs : optional
        As in `MLP`.
    embedding_dim : int or "auto", default="auto"
        Width of embeddings, of categories too. "auto" is 8 for numbers and as in `MLP`
        for categories.
    categories, min_frequency, max_levels : optional
        As in `MLP`. Columns of zeros and ones are not embedded.
    n_bins : int, default=16
        Number of bins of each column; equal quantiles count once.

    References
    ----------
    .. [1] Y. Gorishniy, I. Rubachev and A. Babenko, "On Embeddings for Numerical
       Features in Tabular Deep Learning", NeurIPS 2022.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.encoder import PiecewiseLinearEmbedding
    >>> est = MultiTaskRegressor(encoder=PiecewiseLinearEmbedding(n_bins=8))
    >>> est.set_params(encoder__n_bins=32).encoder.n_bins
    32
    """

    name = "piecewise_linear_embedding"
    embeds_numbers = True
    #: Edges of the bins of each column, known to a prepared spec.
    edges_: list[NDArray[np.float64]] | None = None
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **MLP._parameter_constraints,
        "n_bins": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (256, 256),
        activation: str = "relu",
        dropout: float | str = "auto",
        norm: str | None = None,
        residual: bool = False,
        scale: str | None = "standard",
        missing_inputs: str | None = "impute",
        embedding_dim: int | str = "auto",
        categories: str = "auto",
        min_frequency: int | float | str = "auto",
        max_levels: int | None = 16,
        n_bins: int = 16,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            dropout,
            norm,
            residual,
            scale=scale,
            missing_inputs=missing_inputs,
            embedding_dim=embedding_dim,
            categories=categories,
            min_frequency=min_frequency,
            max_levels=max_levels,
            numeric_embedding=None,
        )
        self.n_bins = n_bins

    def prepare(self, inputs: TrainingInputs) -> Self:
        """Return a copy that also knows the bins."""
        spec = super().prepare(inputs)
        X, stage = inputs.sample(), spec.stage_
        if issparse(X):
            X = X.toarray() if stage is None else stage.pack(X)
        Z = torch.from_numpy(np.array(X)).double()
        Z = Z if stage is None else stage(Z)[:, : stage.n_numbers]
        shares = np.linspace(0, 1, self.n_bins + 1)
        spec.edges_ = [_distinct(q) for q in np.quantile(Z.numpy(), shares, axis=0).T]
        return spec

    def embedding(self, n_features: int, n_copies: int) -> Embedding:
        """Build the embedding of numbers."""
        edges = self.edges_
        if edges is None:  # as for a column of a standard normal distribution
            q = normal.ppf(np.linspace(0, 1, self.n_bins + 1)).clip(-3, 3)
            edges = [q] * n_features
        return _PiecewiseLinear(edges[:n_features], n_copies, self.number_dim())


class _PiecewiseLinear(Embedding):
    factor: Tensor
    shift: Tensor
    lowest: Tensor
    highest: Tensor

    def __init__(
        self, edges: list[NDArray[np.float64]], n_copies: int, dim: int
    ) -> None:
        super().__init__()
        self.dim = dim
        n_bins = max(1, *(len(e) - 1 for e in edges))
        # Columns with fewer bins have entries that are always zero at the end.
        factor, shift, lowest, highest = np.zeros((4, len(edges), 1, n_bins))
        for f, e in enumerate(edges):
            k = len(e) - 1
            factor[f, 0, :k] = 1 / np.diff(e)
            shift[f, 0, :k] = -e[:-1] / np.diff(e)
            highest[f, 0, :k] = 1
            if k:
                lowest[f, 0, 0], highest[f, 0, k - 1] = -np.inf, np.inf
        self.register_buffer("factor", torch.from_numpy(factor))
        self.register_buffer("shift", torch.from_numpy(shift))
        self.register_buffer("lowest", torch.from_numpy(lowest))
        self.register_buffer("highest", torch.from_numpy(highest))
        self.linear = StackedColumnLinear(n_copies, len(edges), n_bins, dim)

    def encode(self, X: Tensor) -> Tensor:
        """Map (n, n_features) to (n_features, n, n_bins)."""
        E = torch.addcmul(self.shift, X.mT.unsqueeze(-1), self.factor)
        return E.maximum(self.lowest).minimum(self.highest)

    def forward(self, X: Tensor) -> Tensor:
        H: Tensor = self.linear(self.encode(X))
        return H.relu()


def _distinct(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    distinct: NDArray[np.float64] = edges[np.append(True, np.diff(edges) > NARROW)]
    return distinct
