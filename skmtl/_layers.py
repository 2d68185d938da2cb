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


class StackedColumnLinear(nn.Module):
    """A linear layer per column, of ``n_copies`` networks, in one weight tensor.

    Every layer is initialised as `torch.nn.Linear` is.

    Parameters
    ----------
    n_copies : int
        Number of networks.
    n_columns : int
        Number of columns.
    n_inputs : int
        Width of each column's input.
    n_outputs : int
        Width of each column's output.
    """

    def __init__(
        self, n_copies: int, n_columns: int, n_inputs: int, n_outputs: int
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.empty(n_copies, n_columns, n_inputs, n_outputs)
        )
        self.bias = nn.Parameter(torch.empty(n_copies, n_columns, n_outputs))
        bound = 1 / math.sqrt(n_inputs)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, H: Tensor) -> Tensor:
        """Map (n_columns, n, n_inputs), seen by all, or stacks of it to outputs.

        Outputs have shape (n_copies, n, n_columns, n_outputs).
        """
        if H.ndim == 3:  # one wide product serves all copies
            W = self.weight.permute(1, 2, 0, 3).flatten(2)
            Z = torch.bmm(H, W).unflatten(2, (-1, self.weight.shape[3]))
            Z = Z.permute(2, 1, 0, 3)
        else:
            Z = torch.bmm(H.flatten(0, 1), self.weight.flatten(0, 1))
            Z = Z.unflatten(0, self.weight.shape[:2]).transpose(1, 2)
        return Z + self.bias.unsqueeze(1)


class StackedEmbedding(nn.Module):
    """Embeddings of the same codes by ``n_copies`` networks, in one weight tensor.

    Every embedding starts with a squared length of one, on average.

    Parameters
    ----------
    n_copies : int
        Number of networks.
    n_codes : int
        Number of codes.
    dim : int
        Width of each embedding.
    """

    def __init__(self, n_copies: int, n_codes: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_copies, n_codes, dim))
        nn.init.normal_(self.weight, std=dim**-0.5)

    def forward(self, codes: Tensor) -> Tensor:
        """Map codes of shape (...) to embeddings of shape (n_copies, ..., dim)."""
        n_copies, n_codes, _ = self.weight.shape
        firsts = torch.arange(0, n_copies * n_codes, n_codes, device=codes.device)
        codes = codes + firsts.view(-1, *[1] * codes.ndim)
        return F.embedding(codes, self.weight.flatten(0, 1))


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
        self.weight = nn.Parameter(torch.ones(n_copies, width))
        self.bias = nn.Parameter(torch.zeros(n_copies, width))

    def forward(self, H: Tensor) -> Tensor:
        """Normalise (n_copies, n, width), or (n, width) of one copy, over features."""
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
        """Normalise (n_copies, n, width, ...), or (n, width) of one copy."""
        if H.ndim == 2:  # a single network
            return self._norm(H)
        flat = self._norm(H.transpose(0, 1).flatten(1, 2))  # (n, copies x width, ...)
        return flat.unflatten(1, self.weight.shape).transpose(0, 1)

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
