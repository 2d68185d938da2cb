"""Convolutional networks."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

from torch import Tensor, nn

from skmtl._core.layers import ACTIVATIONS, StackedConv2d, merge_copies, split_copies
from skmtl._core.validation import (
    CHANNELS_LAST,
    Interval,
    StrOptions,
    has_channels_last,
)
from skmtl.encoder._base import Encoder, EncoderModule
from skmtl.encoder._inputs import InputStage, TrainingInputs
from skmtl.encoder._mlp import (
    NORMS,
    dense,
    dropout,
    integers,
    norm_and_activation,
)
from skmtl.encoder._preprocessing import fit_images

POOLS: dict[str, type[nn.Module]] = {"avg": nn.AvgPool2d, "max": nn.MaxPool2d}
POSITIVE = Interval(Integral, 1, None, closed="left")


class CNN(Encoder):
    """Convolutional network for images of shape (channels, height, width).

    Stages of convolutions, each ended by a pooling, then dense layers on the flattened
    feature maps: the form of [1]_, with the small kernels of [2]_. Several copies run
    as one convolution in groups.

    Parameters
    ----------
    channels : int or sequence of int, default=(32, 64)
        Number of feature maps of each stage.
    kernel_size : int, default=3
        Height and width of the kernels.
    padding : {"same", "valid"}, default="same"
        Whether zeros around the feature maps let convolutions keep their size.
    pooling : {"avg", "max"} or None, default="max"
        What ends each stage; None leaves the size as it is.
    pool_size : int, default=2
        Height and width of the windows that are pooled, and the step between them. Rows
        and columns that fill no window are left out.
    n_convolutions : int, default=1
        Convolutions per stage.
    hidden_layer_sizes : int or sequence of int, default=(64,)
        Width of each dense layer; the last is the number of features. With an empty
        sequence the flattened feature maps are the features.
    activation : str, default="relu"
        One of "elu", "gelu", "identity", "leaky_relu", "mish", "relu", "selu",
        "silu" and "tanh".
    dropout : float, default=0.0
        Probability of zeroing a feature after each stage and each dense layer while
        training.
    norm : {"batch", "layer"} or None, default=None
        Normalisation before each activation. "layer" takes all channels and positions
        of an image together.
    scale : "standard" or None, default="standard"
        Whether to scale each channel to mean 0 and variance 1 over the rows that train,
        with their weights. Scaled values are kept in [-5, 5].

    References
    ----------
    .. [1] Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-Based Learning
       Applied to Document Recognition", Proceedings of the IEEE 86, 1998.
    .. [2] K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for
       Large-Scale Image Recognition", ICLR 2015.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.encoder import CNN
    >>> digits = load_digits()
    >>> X, y = digits.images[:, None] / 16, digits.target  # (n, 1, 8, 8)
    >>> est = MultiTaskClassifier(encoder=CNN((8,)), max_iter=2, random_state=0)
    >>> est.fit(X, y).predict(X).shape
    (1797,)
    """

    name = "cnn"
    input_ndim = 4
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "channels": ["array-like", POSITIVE],
        "kernel_size": [POSITIVE],
        "padding": [StrOptions({"same", "valid"})],
        "pooling": [StrOptions(set(POOLS)), None],
        "pool_size": [POSITIVE],
        "n_convolutions": [POSITIVE],
        "hidden_layer_sizes": ["array-like", POSITIVE],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "norm": [StrOptions(set(NORMS)), None],
        "scale": [StrOptions({"standard"}), None],
    }

    def __init__(
        self,
        channels: int | Sequence[int] = (32, 64),
        kernel_size: int = 3,
        padding: str = "same",
        pooling: str | None = "max",
        pool_size: int = 2,
        n_convolutions: int = 1,
        hidden_layer_sizes: int | Sequence[int] = (64,),
        activation: str = "relu",
        dropout: float = 0.0,
        norm: str | None = None,
        scale: str | None = "standard",
    ) -> None:
        self.channels = channels
        self.kernel_size = kernel_size
        self.padding = padding
        self.pooling = pooling
        self.pool_size = pool_size
        self.n_convolutions = n_convolutions
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.norm = norm
        self.scale = scale

    def validate(self) -> "CNN":
        """Return the spec itself after checking its settings."""
        super().validate()
        if not len(integers(self, "channels")):
            raise ValueError(
                "The 'channels' parameter of CNN must hold the width of at least one "
                f"stage. Got {self.channels!r}: use MLP for a network without any."
            )
        integers(self, "hidden_layer_sizes")
        return self

    def fit_stage(self, inputs: TrainingInputs) -> InputStage | None:
        """Fit the scales of the channels."""
        return None if self.scale is None else fit_images(inputs)

    def build(self, input_shape: tuple[int, ...], n_copies: int = 1) -> EncoderModule:
        """Build the stacked networks."""
        return _CNN(input_shape, n_copies, self)


class _CNN(EncoderModule):
    def __init__(self, input_shape: tuple[int, ...], n_copies: int, spec: CNN) -> None:
        super().__init__()
        self.n_copies = n_copies
        blocks: list[list[nn.Module]] = []
        fan_in, *size = input_shape
        for stage, width in enumerate(integers(spec, "channels"), start=1):
            for _ in range(spec.n_convolutions):
                size = _get_convolved_size(size, spec, stage, input_shape)
                blocks.append(_convolution(n_copies, fan_in, width, spec))
                fan_in = width
            if spec.pooling is not None:
                size = _get_pooled_size(size, spec, stage, input_shape)
                blocks[-1].append(POOLS[spec.pooling](spec.pool_size))
            blocks[-1] += dropout(spec)
        self.width = fan_in * math.prod(size)
        steps: list[nn.Module] = [_Convolution(n_copies, b) for b in blocks]
        flatten: list[nn.Module] = [nn.Flatten(-3)]
        for width in integers(spec, "hidden_layer_sizes"):
            layer = dense(n_copies, self.width, width, spec)
            steps.append(nn.Sequential(*flatten, *layer))
            self.width, flatten = width, []
        if flatten:
            steps[-1] = nn.Sequential(steps[-1], *flatten)
        self.layers = nn.ModuleList(steps)

    def forward(self, X: Tensor) -> Tensor:
        H = super().forward(X)
        return H if H.ndim == 3 else H.unsqueeze(0)  # of a single network

    def single(self, X: Tensor) -> Tensor:
        return super().forward(X)


class _Convolution(nn.Module):
    """A convolution and what follows it, with the copies side by side as channels."""

    def __init__(self, n_copies: int, layers: list[nn.Module]) -> None:
        super().__init__()
        self.n_copies = n_copies
        self.layers = nn.Sequential(*layers)

    def forward(self, X: Tensor) -> Tensor:
        H: Tensor = self.layers(merge_copies(X) if X.ndim == 5 else X)
        if self.n_copies == 1:
            return H
        return split_copies(H, self.n_copies)  # (n_copies, n, c, h, w)


def _convolution(
    n_copies: int, n_inputs: int, n_outputs: int, spec: CNN
) -> list[nn.Module]:
    k = spec.kernel_size
    before, after = ((k - 1) // 2, k // 2) if spec.padding == "same" else (0, 0)
    # Other amounts of zeros at both ends, which even kernels need, are a layer.
    odd = before == after
    pad = [] if odd else [nn.ZeroPad2d((before, after, before, after))]
    convolution = (
        nn.Conv2d(n_inputs, n_outputs, k, padding=before if odd else 0)
        if n_copies == 1
        else StackedConv2d(n_copies, n_inputs, n_outputs, k, before if odd else 0)
    )
    # A new tensor, which ReLU may overwrite.
    after_it = norm_and_activation(n_copies, n_outputs, spec)
    return [*pad, convolution, *after_it]


def _get_convolved_size(
    size: list[int], spec: CNN, stage: int, input_shape: tuple[int, ...]
) -> list[int]:
    """Return height and width after a convolution."""
    k = spec.kernel_size
    same = spec.padding == "same"
    if min(input_shape[1:] if same else size) < k:
        raise ValueError(
            f"{_too_small(size, stage, input_shape)} a kernel of {k} x {k}: set "
            "a smaller kernel_size"
            + ("." if same else ", padding='same' or fewer stages in 'channels'.")
        )
    return size if same else [s - k + 1 for s in size]


def _get_pooled_size(
    size: list[int], spec: CNN, stage: int, input_shape: tuple[int, ...]
) -> list[int]:
    """Return height and width after a pooling."""
    p = spec.pool_size
    if min(size) < p:
        raise ValueError(
            f"{_too_small(size, stage, input_shape)} pooling by {p} x {p}: set a "
            "smaller pool_size, pooling=None or fewer stages in 'channels'."
        )
    return [s // p for s in size]


def _too_small(size: list[int], stage: int, input_shape: tuple[int, ...]) -> str:
    hint = f" ({CHANNELS_LAST})" if has_channels_last(input_shape) else ""
    return (
        f"Feature maps of {size[0]} x {size[1]}, which stage {stage} of CNN gets from "
        f"images of {input_shape[1]} x {input_shape[2]}{hint}, are too small for"
    )
