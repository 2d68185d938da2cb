"""Layers of several independent copies, computed as one product."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class StackedLinear(nn.Module):
    """Linear layers of ``n_copies`` networks in one weight tensor.

    Every copy is initialised as `torch.nn.Linear` is.

    Parameters
    ----------
    n_copies : int
        Number of networks.
    n_inputs : int
        Width of each network's input.
    n_outputs : int
        Width of each network's output.
    """

    def __init__(self, n_copies: int, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_copies, n_outputs, n_inputs))
        self.bias = nn.Parameter(torch.empty(n_copies, n_outputs))
        bound = 1 / math.sqrt(n_inputs) if n_inputs else 0.0
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, X: Tensor) -> Tensor:
        """Map (n, n_inputs), seen by all, or (n_copies, n, n_inputs) to outputs."""
        if X.ndim == 2:  # one wide product serves all copies
            H = F.linear(X, self.weight.flatten(0, 1), self.bias.flatten())
            return H.unflatten(1, self.bias.shape).transpose(0, 1)
        return torch.baddbmm(self.bias.unsqueeze(1), X, self.weight.mT)


class StackedLayerNorm(nn.Module):
    """Layer normalisation [1]_ of ``n_copies`` networks, each with its own scale.

    Parameters
    ----------
    n_copies : int
        Number of networks.
    width : int
        Width of each network's features.

    References
    ----------
    .. [1] J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer Normalization", 2016.
    """

    def __init__(self, n_copies: int, width: int) -> None:
        super().__init__()
        shape = (width,) if n_copies == 1 else (n_copies, 1, width)
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, H: Tensor) -> Tensor:
        """Normalise (n_copies, n, width), or (n, width) of one copy, over features."""
        return F.layer_norm(H, H.shape[-1:]) * self.weight + self.bias


class StackedBatchNorm(nn.Module):
    """Batch normalisation [1]_ of ``n_copies`` networks in one call.

    Parameters
    ----------
    n_copies : int
        Number of networks.
    width : int
        Width of each network's features.

    References
    ----------
    .. [1] S. Ioffe and C. Szegedy, "Batch Normalization: Accelerating Deep Network
       Training by Reducing Internal Covariate Shift", ICML 2015.
    """

    def __init__(self, n_copies: int, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(n_copies * width)

    def forward(self, H: Tensor) -> Tensor:
        """Normalise (n_copies, n, width), or (n, width) of one copy, over samples."""
        if H.ndim == 2:  # a single network
            return self.norm(H)  # type: ignore[no-any-return]
        k, n, width = H.shape
        flat = self.norm(H.transpose(0, 1).reshape(n, k * width))
        return flat.view(n, k, width).transpose(0, 1)
