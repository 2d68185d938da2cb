"""Multilayer perceptrons, with periodic embeddings of numbers."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from operator import eq
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from skmtl._core.layers import (
    ACTIVATIONS,
    Dropout,
    StackedBatchNorm,
    StackedLayerNorm,
    StackedLinear,
)
from skmtl._core.validation import Interval, StrOptions
from skmtl.encoder._base import Encoder, EncoderModule
from skmtl.encoder._inputs import SMALL, TrainingInputs
from skmtl.encoder._table import Embedding, Stem, TableEncoder

#: Frequencies per column, width of its embedding, deviation of the frequencies.
N_FREQUENCIES, DIM, SCALE = 8, 3, 0.3
#: Number of columns above which embeddings would cost too much: they multiply the cost
#: of a step by 2 at 72 columns, 5 at 300 and 9 at 1000.
MOST = 500


class PBLD(Embedding):
    """Periodic embedding of every column of numbers, for use beside the numbers."""

    # A number x becomes ReLU(W cos(2 pi (c x + s)) + b), where the frequencies c, the
    # phases s, W and b are learned for each column: "PBLD" of Holzmueller, Grinsztajn
    # and Steinwart, "Better by Default", NeurIPS 2024, with the activation of "PLR".
    # Features are laid out one after the other, samples side by side, so that nothing
    # on the way has to be transposed.

    dim = DIM
    beside = True

    def __init__(self, n_copies: int, n_features: int) -> None:
        super().__init__()
        shape = n_copies, n_features, N_FREQUENCIES, 1
        self.frequency = nn.Parameter(SCALE * torch.randn(shape))
        self.phase = nn.Parameter(torch.rand(shape) - 0.5)
        bound = N_FREQUENCIES**-0.5  # as torch.nn.Linear
        self.weight = nn.Parameter(torch.empty(*shape[:2], DIM, N_FREQUENCIES))
        self.bias = nn.Parameter(torch.empty(*shape[:2], DIM, 1))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, X: Tensor) -> Tensor:
        """Map (n, n_features), or such of every copy, to their embeddings."""
        # Embeddings have shape (n_copies, n, n_features, dim).
        turn = 2 * math.pi
        v = torch.addcmul(turn * self.phase, turn * self.frequency, X.mT.unsqueeze(-2))
        waves = v.cos().flatten(0, 1)  # (copies x features, frequencies, n)
        H = torch.baddbmm(self.bias.flatten(0, 1), self.weight.flatten(0, 1), waves)
        H = H.relu().view(*self.bias.shape[:3], -1)  # (copies, features, dim, n)
        return H.permute(0, 3, 1, 2)


#: Dropout where it is left open, with a classification task and without.
DROPOUT, REGRESSION_DROPOUT = 0.3, 0.1
NORMS = {"batch": StackedBatchNorm, "layer": StackedLayerNorm}


class MLP(TableEncoder):
    r"""Multilayer perceptron for raw tables.

    Columns of a DataFrame that hold strings or have a type of categories are one-hot
    encoded or embedded; all is zero for a category that training did not see.
    Columns of bools are numbers.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(256, 256)
        Width of each hidden layer; the last is the number of features. An empty
        sequence leaves the scaled input as it is, which makes linear models.
    activation : str, default="relu"
        One of "elu", "gelu", "identity", "leaky_relu", "mish", "relu", "selu",
        "silu" and "tanh".
    dropout : float or "auto", default="auto"
        Probability of zeroing a feature after each hidden layer while training [1]_.
        "auto" is 0.3, 0.1 where all tasks are regression, and 0 where fewer than 50
        rows train.
    norm : {"batch", "layer"} or None, default=None
        Normalisation before each activation.
    residual : bool, default=False
        Whether a hidden layer as wide as the one before it is added to it,
        :math:`h + f(h)`, where f is the whole layer: product, normalisation,
        activation, dropout. Nothing is added where the width changes, nor to the
        first layer, which reads the raw input. In the ResNet of [2]_ a block f has
        two products and begins with the normalisation; here it is one hidden layer.
    scale : {"standard", "robust", "quantile"} or None, default="standard"
        How to scale numbers: to mean 0 and variance 1 over the rows that train, with
        their weights; by median and quartiles; or to a normal distribution by rank, as
        `sklearn.preprocessing.QuantileTransformer` does. Scaled numbers are kept in
        [-5, 5], which flattens what is linear in rare extreme numbers: scale before,
        with None here, to keep it. "robust" and "quantile" look at 10,000 rows at most.
        Columns of wide sparse inputs have a scale of their own: see Notes.
    missing_inputs : "impute" or None, default="impute"
        Whether inputs may be NaN: a missing number becomes the median of its column,
        with one more column that tells so where training had missing ones; a missing
        category becomes a category of its own.
    embedding_dim : int or "auto", default="auto"
        Width of embeddings, where ``categories`` has any. "auto" is
        :math:`\min(32, 1.6 n^{0.56})`, rounded, for the largest number n of categories
        of a column, and narrower where more than a million weights would be needed.
    categories : {"auto", "one_hot", "embed"}, default="auto"
        Whether columns of categories are one-hot encoded, or become learned embeddings.
        "auto" embeds columns of more than 64 categories, such as ids of users, and
        one-hot encodes others. Gates of experts do not read such columns.
    min_frequency : int, float or "auto", default="auto"
        Number of rows that a category needs to be told from unknown ones, or their
        share. "auto" is 2 for embedded columns, and :math:`\min(10, \max(2, n / 200))`
        for others, where n is the number of rows. Weights that are multiples of the
        smallest one, at most 1000 times, count as numbers of rows; others are scaled to
        mean one. A warning names columns of which most rows have rarer categories.
        Columns of wide sparse inputs need non-zeros in so many rows, or 3 for "auto".
    max_levels : int or None, default=16
        Numbers of columns of integers with 3 to so many values become columns of zeros
        and ones too, beside the scaled number: those of 3 rows and of a share of 1/200
        at least. Where more than 80% of a column are zeros, such as amounts of money
        that few people have, its other numbers are split at their quantiles into so
        many ranges at most, and at values of 50 rows and a share of 1/200 or more;
        each becomes such a column, up to 500 ranges in all. 0 or None does without.
    numeric_embedding : "pbld" or None, default="pbld"
        Whether columns of more than two values, at most 80% of them zeros, that have no
        such levels also become :math:`\mathrm{ReLU}(W \cos(2 \pi (c x + s)) + b)`, with
        8 learned frequencies c and phases s and 3 outputs per column: "PBLD" of [3]_
        with a ReLU. Tables of more than 500 such columns do without, for speed.

    Notes
    -----
    Of a sparse matrix with more than 500 columns, those with less than a fifth of
    non-zeros are multiplied as they are, not made dense: they have a linear model of
    the outputs and give 32 features that are learned beside the other columns. The user
    guide tells how they are scaled and trained.

    References
    ----------
    .. [1] N. Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks
       from Overfitting", JMLR 2014.
    .. [2] Y. Gorishniy, I. Rubachev, V. Khrulkov and A. Babenko, "Revisiting Deep
       Learning Models for Tabular Data", NeurIPS 2021.
    .. [3] D. Holzmueller, L. Grinsztajn and I. Steinwart, "Better by Default: Strong
       Pre-Tuned MLPs and Boosted Trees on Tabular Data", NeurIPS 2024.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.encoder import MLP
    >>> MultiTaskClassifier(encoder=MLP((64,), dropout=0.1)).encoder.dropout
    0.1
    """

    name = "mlp"
    #: Rows that train, known to a prepared spec.
    n_rows_: int | None = None
    #: Whether all tasks are regression, known to a prepared spec.
    only_regression_: bool = False
    #: Whether ``embedding_dim`` is the width of embeddings of numbers, too.
    embeds_numbers: ClassVar[bool] = False
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": [
            "array-like",
            Interval(Integral, 1, None, closed="left"),
        ],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "dropout": [Interval(Real, 0, 1, closed="left"), StrOptions({"auto"})],
        "norm": [StrOptions(set(NORMS)), None],
        "residual": ["boolean"],
        **TableEncoder._parameter_constraints,
        "numeric_embedding": [StrOptions({"pbld"}), None],
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
        numeric_embedding: str | None = "pbld",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.norm = norm
        self.residual = residual
        self.scale = scale
        self.missing_inputs = missing_inputs
        self.embedding_dim = embedding_dim
        self.categories = categories
        self.min_frequency = min_frequency
        self.max_levels = max_levels
        self.numeric_embedding = numeric_embedding

    def validate(self) -> "MLP":
        """Return the spec itself after checking its settings."""
        super().validate()
        widths = self._widths()
        if self.residual and not any(map(eq, widths, widths[1:])):
            raise ValueError(
                "The 'residual' parameter of MLP adds a hidden layer to the one before "
                "it where both are of one width, which no two neighbours of "
                f"hidden_layer_sizes={self.hidden_layer_sizes!r} are: repeat a width, "
                "or set residual=False."
            )
        embeds = self.embeds_numbers or self.categories != "one_hot"
        if self.embedding_dim != "auto" and not embeds:
            raise ValueError(
                "The 'embedding_dim' parameter of MLP is for embeddings of categories. "
                f"Got {self.embedding_dim!r} with categories={self.categories!r}: set "
                "categories='embed' or 'auto', or leave embedding_dim at 'auto'."
            )
        return self

    @property
    def continuous_first(self) -> bool:
        """Whether continuous numbers come first, and only they are embedded."""
        return self.numeric_embedding is not None

    def embedding(self, n_features: int, n_copies: int) -> Embedding | None:
        """Build the embedding of numbers."""
        embeds = self.numeric_embedding is not None and n_features <= MOST
        return PBLD(n_copies, n_features) if embeds else None

    def prepare(self, inputs: TrainingInputs) -> Self:
        """Return a copy that also knows how many rows train, and for which tasks."""
        spec = super().prepare(inputs)
        spec.n_rows_ = len(inputs.rows)
        spec.only_regression_ = inputs.only_regression
        return spec

    def build(self, input_shape: tuple[int, ...], n_copies: int = 1) -> EncoderModule:
        """Build the stacked perceptrons."""
        stem = self.stem(input_shape[0], n_copies)
        return _MLP(input_shape[0], self._widths(), n_copies, self, stem)

    def _widths(self) -> list[int]:
        return integers(self, "hidden_layer_sizes")


class LayerSettings(Protocol):
    """What encoders of dense layers and of images set of each layer."""

    activation: str
    dropout: float | str
    norm: str | None
    n_rows_: int | None
    only_regression_: bool


def integers(spec: Encoder, name: str) -> list[int]:
    """Return a parameter that is one positive integer or several as a list."""
    given = getattr(spec, name)
    values = [given] if isinstance(given, Integral) else list(given)
    if any(not isinstance(value, Integral) or value < 1 for value in values):
        raise ValueError(
            f"The '{name}' parameter of {type(spec).__name__} must hold positive "
            f"integers. Got {given!r}."
        )
    return [int(value) for value in values]


def dense(
    n_copies: int, fan_in: int, width: int, spec: LayerSettings
) -> list[nn.Module]:
    """Return the steps of one hidden layer."""
    # A single network needs no batched product, which costs more to call.
    linear = (
        nn.Linear(fan_in, width)
        if n_copies == 1
        else StackedLinear(n_copies, fan_in, width)
    )
    after = norm_and_activation(n_copies, width, spec)
    return [linear, *after, *dropout(spec)]


def norm_and_activation(
    n_copies: int, width: int, spec: LayerSettings
) -> list[nn.Module]:
    """Return what follows a product with weights."""
    # Nothing of it works in place, which hooks on modules cannot follow.
    norm = [] if spec.norm is None else [NORMS[spec.norm](n_copies, width)]
    return [*norm, ACTIVATIONS[spec.activation]()]


def dropout(spec: LayerSettings) -> list[nn.Module]:
    """Return dropout where the spec asks for it."""
    p = spec.dropout
    if isinstance(p, str):  # "auto"
        p = REGRESSION_DROPOUT if spec.only_regression_ else DROPOUT
        if spec.n_rows_ is not None and spec.n_rows_ < SMALL:
            p = 0.0
    return [Dropout(p)] if p else []


class _Residual(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, H: Tensor) -> Tensor:
        return H + self.layer(H)  # type: ignore[no-any-return]


class _MLP(EncoderModule):
    def __init__(
        self,
        n_inputs: int,
        widths: list[int],
        n_copies: int,
        spec: MLP,
        stem: Stem | None,
    ) -> None:
        super().__init__()
        n_inputs = n_inputs if stem is None else stem.width
        self.n_copies = n_copies
        self.width = widths[-1] if widths else n_inputs
        self.layers = nn.ModuleList()
        for fan_in, width in zip([n_inputs, *widths], widths, strict=False):
            layer = nn.Sequential(*dense(n_copies, fan_in, width, spec))
            # The first layer's input is raw: that widths agree there is chance.
            skips = spec.residual and len(self.layers) > 0 and fan_in == width
            self.layers.append(_Residual(layer) if skips else layer)
        if stem is not None:  # it belongs to the first step
            first = nn.Sequential(stem, *self.layers[:1])
            self.layers = nn.ModuleList([first, *self.layers[1:]])

    def forward(self, X: Tensor) -> Tensor:
        H = super().forward(X)
        if H.ndim == 3:
            return H
        H = H.unsqueeze(0)  # of a single network, or the input where there is no layer
        return H if self.n_copies == 1 else H.expand(self.n_copies, -1, -1)

    def single(self, X: Tensor) -> Tensor:
        return super().forward(X)

    def gate_inputs(self, X: Tensor) -> Tensor:
        stems = (module for module in self.modules() if isinstance(module, Stem))
        stem = next(stems, None)
        return X if stem is None else stem.one_hot(X)
