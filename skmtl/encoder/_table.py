"""What encoders of tables have in common: scales, missing inputs, categories."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from skmtl._core.layers import StackedEmbedding
from skmtl._core.validation import Interval, RealNotInt, StrOptions
from skmtl.encoder._base import Encoder
from skmtl.encoder._inputs import TrainingInputs
from skmtl.encoder._levels import MANY
from skmtl.encoder._preprocessing import SCALERS, TableStage, fit_table

#: Factor of embeddings of categories before training. Zero would leave linear models,
#: whose heads start at zero, where they are.
START = 0.1
#: Weights of embeddings of categories above which these get narrower, since each step
#: changes all of them; they learn nearly as much with a width of two.
MOST_WEIGHTS = 2**20


class TableEncoder(Encoder):
    """Base class of encoders that take raw tables."""

    # They have the parameters that are declared here, and begin their networks with
    # `stem`.

    input_ndim = 2
    takes_categories = True
    scale: str | None
    missing_inputs: str | None
    embedding_dim: int | str
    categories: str
    min_frequency: int | float | str
    max_levels: int | None
    stage_: TableStage | None = None
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "scale": [StrOptions(set(SCALERS)), None],
        "missing_inputs": [StrOptions({"impute"}), None],
        "embedding_dim": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "categories": [StrOptions({"auto", "embed", "one_hot"})],
        "min_frequency": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
        ],
        "max_levels": [Interval(Integral, 0, None, closed="left"), None],
    }

    @property
    def allow_nan(self) -> bool:
        """Whether inputs may hold NaN."""
        return self.missing_inputs == "impute"

    @property
    def continuous_first(self) -> bool:
        """Whether continuous numbers come first, and only they are embedded."""
        return False

    def fit_stage(self, inputs: TrainingInputs) -> TableStage | None:
        """Fit scales, medians and categories of a table."""
        return fit_table(inputs, self)

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
        stage = self.stage_
        sizes = () if stage is None or stage.codes is None else stage.codes.sizes
        n_read = n_inputs - len(sizes)
        n_embedded = n_read
        if stage is not None:
            first = self.continuous_first
            n_embedded = stage.n_continuous if first else stage.n_numbers
        numbers = self.embedding(n_embedded, n_copies) if n_embedded else None
        if numbers is None and not sizes:
            return None
        categories = None
        if sizes:
            categories = StackedEmbedding(n_copies, sum(sizes), self._dim(sizes))
            with torch.no_grad():  # what few rows have trained adds little
                categories.weight.mul_(START)
                unknown = torch.tensor([sum(sizes[:c]) for c in range(len(sizes))])
                categories.weight[:, unknown] = 0
        n_embedded = 0 if numbers is None else n_embedded
        return Stem(n_copies, n_read, n_embedded, numbers, categories, sizes)

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
            most = max(2, MOST_WEIGHTS // sum(sizes))
            return int(min(32, most, round(1.6 * max(sizes) ** 0.56)))
        return int(self.embedding_dim)


class Embedding(nn.Module):
    """Base class of embeddings of columns of numbers."""

    # Maps (n, n_features) to (n_copies, n, n_features, dim).

    dim: int  # Width of the embedding of each column.
    beside: bool = False  # Whether networks also read the columns as they are.


class Stem(nn.Module):
    """Embed the columns of a table that are not read as they are."""

    few: Tensor
    shift: Tensor

    def __init__(
        self,
        n_copies: int,
        n_read: int,
        n_embedded: int,
        numbers: Embedding | None,
        categories: StackedEmbedding | None,
        sizes: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.n_copies = n_copies
        self.n_read = n_read
        self.n_embedded = n_embedded
        self.numbers = numbers
        self.categories = categories
        #: First column that networks read as it is.
        self.first = 0 if numbers is None or numbers.beside else n_embedded
        #: Number of outputs per sample.
        self.width = n_read - self.first
        if numbers is not None:
            self.width += n_embedded * numbers.dim
        if categories is not None:
            self.width += len(sizes) * categories.weight.shape[2]
        few = [c for c, size in enumerate(sizes) if size <= MANY + 2]
        few = few if few or n_read else list(range(len(sizes)))
        starts, self.n_few = np.cumsum([0, *sizes[:-1]]), sum(sizes[c] for c in few)
        firsts = np.cumsum([0, *(sizes[c] for c in few)])[:-1]
        self.register_buffer("few", torch.tensor(few, dtype=torch.int64), False)
        shift = torch.from_numpy(starts[few] - firsts)
        self.register_buffer("shift", shift, False)

    def forward(self, X: Tensor) -> Tensor:
        """Map (n, n_inputs) to (n_copies, n, width), or (n, width) of one copy."""
        # Copies may have inputs of their own, (n_copies, n, n_inputs).
        parts = []
        if self.numbers is not None:
            parts.append(self.numbers(X[..., : self.n_embedded]).flatten(2))
        if self.first < self.n_read:
            read = X[..., self.first : self.n_read]
            parts.append(read.expand(self.n_copies, -1, -1))
        if self.categories is not None:
            parts.append(self.categories(X[..., self.n_read :].long()).flatten(2))
        H = parts[0] if len(parts) == 1 else self._join_parts(parts)
        return H.squeeze(0) if self.n_copies == 1 else H

    def _join_parts(self, parts: list[Tensor]) -> Tensor:
        """Join parts side by side, feature by feature where embeddings come so."""
        if self.numbers is None or not self.numbers.beside:
            return torch.cat(parts, dim=2)
        return torch.cat([part.mT for part in parts], dim=1).mT

    def one_hot(self, X: Tensor) -> Tensor:
        """Return numbers as they are, and columns of few categories one-hot encoded."""
        # Those of many would cost more than all else.
        if self.categories is None:
            return X
        numbers, codes = X[:, : self.n_read], X[:, self.n_read :]
        if not self.n_few:
            return numbers
        codes = codes.index_select(1, self.few).long() - self.shift
        zeros = X.new_zeros(X.shape[0], self.n_few)  # which exporting follows
        return torch.cat([numbers, zeros.scatter(1, codes, 1.0)], dim=1)
