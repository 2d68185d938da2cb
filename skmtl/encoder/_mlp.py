"""Multilayer perceptrons."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

from torch import Tensor, nn

from skmtl._layers import StackedBatchNorm, StackedLayerNorm, StackedLinear
from skmtl._validation import Interval, StrOptions
from skmtl.encoder._base import EncoderModule
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
        **TableEncoder._parameter_constraints,
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (128, 128),
        activation: str = "relu",
        dropout: float = 0.0,
        norm: str | None = None,
        scale: str | None = "standard",
        missing_inputs: str | None = None,
        embedding_dim: int | str = "auto",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.norm = norm
        self.scale = scale
        self.missing_inputs = missing_inputs
        self.embedding_dim = embedding_dim

    def validated(self) -> "MLP":
        """Return the spec itself after checking its settings."""
        super().validated()
        if any(not isinstance(w, Integral) or w < 1 for w in self._widths()):
            raise ValueError(
                "The 'hidden_layer_sizes' parameter of MLP must hold positive integers."
                f" Got {self.hidden_layer_sizes!r}."
            )
        return self

    def build(self, input_shape: tuple[int, ...], n_copies: int = 1) -> EncoderModule:
        """Build the stacked perceptrons."""
        stem = self.stem(input_shape[0], n_copies)
        return _MLP(input_shape[0], self._widths(), n_copies, self, stem)

    def _widths(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        return [int(sizes)] if isinstance(sizes, Integral) else list(sizes)  # type: ignore[arg-type]


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
            # A single network needs no batched product, which costs more to call.
            linear = (
                nn.Linear(fan_in, width)
                if n_copies == 1
                else StackedLinear(n_copies, fan_in, width)
            )
            steps: list[nn.Module] = [linear]
            if spec.norm is not None:
                steps.append(NORMS[spec.norm](n_copies, width))
            # The output of one network's layer is no view, so ReLU may overwrite it.
            in_place = spec.activation == "relu" and n_copies == 1
            steps.append(
                nn.ReLU(inplace=True) if in_place else ACTIVATIONS[spec.activation]()
            )
            if spec.dropout:
                steps.append(nn.Dropout(spec.dropout))
            self.layers.append(nn.Sequential(*steps))
        if stem is not None:  # it belongs to the first step
            steps = [stem, *self.layers[:1]]
            self.layers = nn.ModuleList([nn.Sequential(*steps), *self.layers[1:]])

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
