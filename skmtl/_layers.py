"""Layers of several independent copies, computed as one product."""

import copy
import math

import torch
from torch import Tensor, nn
from torch.func import functional_call
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


class StackedConv2d(nn.Module):
    """Convolutions of ``n_copies`` networks as one convolution in groups.

    Every copy is initialised as `torch.nn.Conv2d` is.

    Parameters
    ----------
    n_copies : int
        Number of networks.
    n_inputs : int
        Channels of each network's input.
    n_outputs : int
        Channels of each network's output.
    kernel_size : int
        Height and width of the kernel.
    padding : int, default=0
        Zeros added to every side of the input.
    """

    def __init__(
        self,
        n_copies: int,
        n_inputs: int,
        n_outputs: int,
        kernel_size: int,
        padding: int = 0,
    ) -> None:
        super().__init__()
        self.padding = padding
        shape = (n_copies, n_outputs, n_inputs, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(n_copies, n_outputs))
        bound = 1 / math.sqrt(n_inputs * kernel_size**2)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, X: Tensor) -> Tensor:
        """Map (n, n_inputs, h, w), seen by all, or merged copies to merged copies."""
        return F.conv2d(
            X,
            self.weight.flatten(0, 1),
            self.bias.flatten(),
            padding=self.padding,
            groups=X.shape[1] // self.weight.shape[2],
        )


def merged(H: Tensor) -> Tensor:
    """Put channels of copies side by side: (k, n, c, ...) to (n, k x c, ...)."""
    return H.transpose(0, 1).flatten(1, 2)


def parted(H: Tensor, n_copies: int) -> Tensor:
    """Undo ``merged``, which then costs no copy."""
    return H.unflatten(1, (n_copies, -1)).transpose(0, 1)


class StackedLayerNorm(nn.Module):
    """Layer normalisation [1]_ of ``n_copies`` networks, each with its own scale.

    Feature maps are normalised over channels and positions, with a scale per channel.

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
        self.weight = nn.Parameter(torch.ones(n_copies, width))
        self.bias = nn.Parameter(torch.zeros(n_copies, width))

    def forward(self, H: Tensor) -> Tensor:
        """Normalise (n_copies, n, width), (n, width) of one copy or merged maps."""
        if H.ndim == 4:
            weight, bias = self.weight.flatten(), self.bias.flatten()
            return F.group_norm(H, len(self.weight), weight, bias)
        H_hat = F.layer_norm(H, H.shape[-1:])
        if H.ndim == 2:  # a single network
            return H_hat * self.weight + self.bias
        return H_hat * self.weight.unsqueeze(1) + self.bias.unsqueeze(1)


class StackedBatchNorm(nn.Module):
    """Batch normalisation [1]_ of ``n_copies`` networks in one call.

    Parameters
    ----------
    n_copies : int
        Number of networks.
    width : int
        Width of each network's features, or their number of channels.

    References
    ----------
    .. [1] S. Ioffe and C. Szegedy, "Batch Normalization: Accelerating Deep Network
       Training by Reducing Internal Covariate Shift", ICML 2015.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, n_copies: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_copies, width))
        self.bias = nn.Parameter(torch.zeros(n_copies, width))
        self.register_buffer("running_mean", torch.zeros(n_copies, width))
        self.register_buffer("running_var", torch.ones(n_copies, width))

    def forward(self, H: Tensor) -> Tensor:
        """Normalise (n_copies, n, width), (n, width) of one copy or merged maps."""
        if H.ndim != 3:
            return self._norm(H)
        return parted(self._norm(merged(H)), len(self.weight))

    def _norm(self, H: Tensor) -> Tensor:
        return F.batch_norm(
            H,
            self.running_mean.flatten(),  # views, which training updates
            self.running_var.flatten(),
            self.weight.flatten(),
            self.bias.flatten(),
            self.training,
        )


class Stateless(nn.Module):
    """A module evaluated with parameters that each call gives.

    It holds the buffers of the module and none of its parameters.

    Parameters
    ----------
    module : torch.nn.Module
        The module.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        buffers = dict(module.named_buffers())
        # Names of a module's buffers hold dots, which torch refuses: number them.
        self._names = list(buffers)
        for i, buffer in enumerate(buffers.values()):
            self.register_buffer(f"buffer_{i}", buffer)
        # The skeleton is kept out of the module tree: it has no weights of its own.
        self._skeleton = [copy.deepcopy(module).to("meta")]

    def forward(self, parameters: dict[str, Tensor], X: Tensor) -> Tensor:
        """Evaluate the module with some parameters, given by their names."""
        return self.evaluate(parameters, self.held_buffers(), X)

    def held_buffers(self) -> dict[str, Tensor]:
        """Return the buffers by the names that the module gives them."""
        return {
            name: getattr(self, f"buffer_{i}") for i, name in enumerate(self._names)
        }

    def evaluate(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], X: Tensor
    ) -> Tensor:
        """Evaluate the module with some parameters and buffers."""
        skeleton = self._skeleton[0].train(self.training)
        return functional_call(skeleton, (parameters, buffers), (X,))  # type: ignore[no-any-return]
