"""What encoders of tables have in common: scales, missing inputs, categories."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from skmtl._layers import StackedEmbedding
from skmtl._validation import Interval, StrOptions
from skmtl.encoder._base import Encoder
from skmtl.encoder._inputs import TrainingInputs
from skmtl.encoder._stage import SCALERS, TableStage, fit_table


class TableEncoder(Encoder):
    """Base class of encoders that take raw tables.

    They have the parameters ``scale``, ``missing_inputs`` and ``embedding_dim``, and
    begin their networks with ``stem``.
    """

    input_ndim = 2
    takes_categories = True
    scale: str | None
    missing_inputs: str | None
    embedding_dim: int | str
    stage_: TableStage | None = None
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "scale": [StrOptions(set(SCALERS)), None],
        "missing_inputs": [StrOptions({"impute"}), None],
        "embedding_dim": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
    }

    @property
    def allow_nan(self) -> bool:
        """Whether inputs may hold NaN."""
        return self.missing_inputs == "impute"

    def fit_stage(self, inputs: TrainingInputs) -> TableStage | None:
        """Learn scales, medians and categories of a table."""
        return fit_table(inputs, self.scale, self.allow_nan)

    def stem(self, n_inputs: int, n_copies: int) -> Stem | None:
        """Return what turns columns into the inputs of the first layer.

        Parameters
        ----------
        n_inputs : int
            Number of columns.
        n_copies : int
            Number of networks.

        Returns
        -------
        Stem or None
            None where the columns are these inputs.
        """
        codes = None if self.stage_ is None else self.stage_.codes
        sizes = () if codes is None else codes.sizes
        n_numeric = n_inputs - len(sizes)
        numbers = self.embedding(n_numeric, n_copies) if n_numeric else None
        if numbers is None and not sizes:
            return None
        categories = None
        if sizes:
            categories = StackedEmbedding(n_copies, sum(sizes), self._dim(sizes))
            with torch.no_grad():  # what no row has trained adds nothing
                unknown = torch.tensor([sum(sizes[:c]) for c in range(len(sizes))])
                categories.weight[:, unknown] = 0
        return Stem(n_copies, n_numeric, numbers, categories, len(sizes))

    def embedding(self, n_features: int, n_copies: int) -> Embedding | None:
        """Return what embeds columns of numbers.

        Parameters
        ----------
        n_features : int
            Number of columns.
        n_copies : int
            Number of networks.

        Returns
        -------
        Embedding or None
            None, the default, leaves numbers as they are.
        """
        return None

    def number_dim(self) -> int:
        """Return the width of embeddings of numbers, where there are any.

        Returns
        -------
        int
            ``embedding_dim``, or 8 for "auto".
        """
        return 8 if self.embedding_dim == "auto" else int(self.embedding_dim)

    def _dim(self, sizes: tuple[int, ...]) -> int:
        if self.embedding_dim == "auto":
            return int(min(32, round(1.6 * max(sizes) ** 0.56)))
        return int(self.embedding_dim)


class Embedding(nn.Module):
    """Base class of embeddings of columns of numbers.

    Maps (n, n_features) to (n_copies, n, n_features, dim).

    Attributes
    ----------
    dim : int
        Width of the embedding of each column.
    """

    dim: int


class Stem(nn.Module):
    """Embed the columns of a table that are not read as they are.

    Parameters
    ----------
    n_copies : int
        Number of networks.
    n_numeric : int
        Number of columns of numbers, which come first.
    numbers : Embedding or None
        Embeds them.
    categories : StackedEmbedding or None
        Embeds the numbers of categories in the columns after them.
    n_categorical : int
        How many columns that are.
    """

    def __init__(
        self,
        n_copies: int,
        n_numeric: int,
        numbers: Embedding | None,
        categories: StackedEmbedding | None,
        n_categorical: int,
    ) -> None:
        super().__init__()
        self.n_copies = n_copies
        self.n_numeric = n_numeric
        self.numbers = numbers
        self.categories = categories
        #: Number of outputs per sample.
        self.width = n_numeric * (1 if numbers is None else numbers.dim)
        if categories is not None:
            self.width += n_categorical * categories.weight.shape[2]

    def forward(self, X: Tensor) -> Tensor:
        """Map (n, n_inputs) to (n_copies, n, width), or (n, width) of one copy."""
        Z = X if self.categories is None else X[:, : self.n_numeric]
        H = Z.expand(self.n_copies, -1, -1)
        if self.numbers is not None:
            H = self.numbers(Z).flatten(2)
        if self.categories is not None:
            E = self.categories(X[:, self.n_numeric :].long()).flatten(2)
            H = torch.cat([H, E], dim=2)
        return H.squeeze(0) if self.n_copies == 1 else H

    def one_hot(self, X: Tensor) -> Tensor:
        """Return numbers as they are, and categories as zeros and ones."""
        if self.categories is None:
            return X
        codes = X[:, self.n_numeric :].long()
        zeros = X.new_zeros(len(X), self.categories.weight.shape[1])
        return torch.cat([X[:, : self.n_numeric], zeros.scatter(1, codes, 1.0)], dim=1)
