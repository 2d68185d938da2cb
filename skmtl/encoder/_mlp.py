"""Multilayer perceptrons."""

from collections.abc import Sequence
from numbers import Integral, Real
from operator import eq
from typing import Any, ClassVar

from torch import Tensor, nn

from skmtl._layers import (
    Dropout,
    StackedBatchNorm,
    StackedLayerNorm,
    StackedLinear,
)
from skmtl._validation import Interval, StrOptions
from skmtl.encoder._base import Encoder, EncoderModule
from skmtl.encoder._table import Stem, TableEncoder

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "leaky_relu": nn.LeakyReLU,
    "mish": nn.Mish,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
NORMS = {"batch": StackedBatchNorm, "layer": StackedLayerNorm}


class MLP(TableEncoder):
    r"""Multilayer perceptron for raw tables.

    Columns of a DataFrame that have a type of categories are embedded. A category that
    training did not see has an embedding of its own, which is zero.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(128, 128)
        Width of each hidden layer; the last is the number of features. An empty
        sequence leaves the scaled input as it is, which makes linear models.
    activation : str, default="relu"
        One of "elu", "gelu", "identity", "leaky_relu", "mish", "relu", "selu",
        "silu" and "tanh".
    dropout : float, default=0.0
        Probability of zeroing a feature after each hidden layer while training [1]_.
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
    missing_inputs : "impute" or None, default=None
        Whether inputs may be NaN: a missing number becomes the median of its column,
        with one more column that tells so where training had missing ones; a missing
        category becomes a category of its own.
    embedding_dim : int or "auto", default="auto"
        Width of embeddings. "auto" is :math:`\min(32, 1.6 n^{0.56})`, rounded, for
        the largest number n of categories of a column.

    References
    ----------
    .. [1] N. Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks
       from Overfitting", JMLR 2014.
    .. [2] Y. Gorishniy, I. Rubachev, V. Khrulkov and A. Babenko, "Revisiting Deep
       Learning Models for Tabular Data", NeurIPS 2021.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.encoder import MLP
    >>> MultiTaskClassifier(encoder=MLP((64,), dropout=0.1)).encoder.dropout
    0.1
    """

    name = "mlp"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": [
            "array-like",
            Interval(Integral, 1, None, closed="left"),
        ],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "norm": [StrOptions(set(NORMS)), None],
        "residual": ["boolean"],
        **TableEncoder._parameter_constraints,
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (128, 128),
        activation: str = "relu",
        dropout: float = 0.0,
        norm: str | None = None,
        residual: bool = False,
        scale: str | None = "standard",
        missing_inputs: str | None = None,
        embedding_dim: int | str = "auto",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.norm = norm
        self.residual = residual
        self.scale = scale
        self.missing_inputs = missing_inputs
        self.embedding_dim = embedding_dim

    def validated(self) -> "MLP":
        """Return the spec itself after checking its settings."""
        super().validated()
        widths = self._widths()
        if self.residual and not any(map(eq, widths, widths[1:])):
            raise ValueError(
                "The 'residual' parameter of MLP adds a hidden layer to the one before "
                "it where both are of one width, which no two neighbours of "
                f"hidden_layer_sizes={self.hidden_layer_sizes!r} are: repeat a width, "
                "or set residual=False."
            )
        return self

    def build(self, input_shape: tuple[int, ...], n_copies: int = 1) -> EncoderModule:
        """Build the stacked perceptrons."""
        stem = self.stem(input_shape[0], n_copies)
        return _MLP(input_shape[0], self._widths(), n_copies, self, stem)

    def _widths(self) -> list[int]:
        return integers(self, "hidden_layer_sizes")


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


def dense(n_copies: int, fan_in: int, width: int, spec: Any) -> list[nn.Module]:
    """Return the steps of one hidden layer."""
    # A single network needs no batched product, which costs more to call.
    linear = (
        nn.Linear(fan_in, width)
        if n_copies == 1
        else StackedLinear(n_copies, fan_in, width)
    )
    # The output of one network's layer is no view, so ReLU may overwrite it.
    after = norm_and_activation(n_copies, width, spec, in_place=n_copies == 1)
    return [linear, *after, *dropout(spec)]


def norm_and_activation(
    n_copies: int, width: int, spec: Any, in_place: bool
) -> list[nn.Module]:
    """Return what follows a product with weights."""
    norm = [] if spec.norm is None else [NORMS[spec.norm](n_copies, width)]
    in_place = in_place and spec.activation == "relu"
    return [
        *norm,
        nn.ReLU(inplace=True) if in_place else ACTIVATIONS[spec.activation](),
    ]


def dropout(spec: Any) -> list[nn.Module]:
    """Return dropout where the spec asks for it."""
    return [Dropout(spec.dropout)] if spec.dropout else []


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
