"""Perceptrons on periodic embeddings of numbers."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from skmtl._core.layers import StackedColumnLinear
from skmtl._core.validation import Interval
from skmtl.encoder._mlp import MLP
from skmtl.encoder._table import Embedding


class PeriodicEmbedding(MLP):
    r"""Multilayer perceptron on periodic embeddings of every column of numbers.

    A scaled number x becomes :math:`\mathrm{ReLU}(W [\cos v, \sin v] + b)` with
    :math:`v = 2 \pi c x`, where the frequencies c, W and b are learned for each column
    ("PLR" in [1]_). The perceptron then fits functions that are less smooth.

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
    n_frequencies : int, default=16
        Number of frequencies of each column.
    frequency_scale : float, default=0.03
        Standard deviation of the frequencies before training. It decides how fine the
        structure is that can be learned, so it is worth a search.

    References
    ----------
    .. [1] Y. Gorishniy, I. Rubachev and A. Babenko, "On Embeddings for Numerical
       Features in Tabular Deep Learning", NeurIPS 2022.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.encoder import PeriodicEmbedding
    >>> est = MultiTaskRegressor(encoder=PeriodicEmbedding(n_frequencies=8))
    >>> est.set_params(encoder__frequency_scale=0.3).encoder.frequency_scale
    0.3
    """

    name = "periodic_embedding"
    embeds_numbers = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **MLP._parameter_constraints,
        "n_frequencies": [Interval(Integral, 1, None, closed="left")],
        "frequency_scale": [Interval(Real, 0, None, closed="neither")],
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
        n_frequencies: int = 16,
        frequency_scale: float = 0.03,
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
        self.n_frequencies = n_frequencies
        self.frequency_scale = frequency_scale

    def embedding(self, n_features: int, n_copies: int) -> Embedding:
        """Build the embedding of numbers."""
        shape = n_copies, n_features, self.n_frequencies
        return _Periodic(shape, self.frequency_scale, self.number_dim())


class _Periodic(Embedding):
    def __init__(self, shape: tuple[int, int, int], scale: float, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.frequency = nn.Parameter(torch.empty(shape))
        # Rare large frequencies would do harm, so that none is drawn.
        nn.init.trunc_normal_(self.frequency, 0.0, scale, -3 * scale, 3 * scale)
        n_copies, n_features, n_frequencies = shape
        self.linear = StackedColumnLinear(n_copies, n_features, 2 * n_frequencies, dim)

    def forward(self, X: Tensor) -> Tensor:
        c = 2 * math.pi * self.frequency.unsqueeze(2)  # (copies, features, 1, m)
        v = c * X.mT.unsqueeze(-1)  # (copies, features, n, m)
        H: Tensor = self.linear(torch.cat([v.cos(), v.sin()], dim=3))
        return H.relu()
