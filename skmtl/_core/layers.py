"""Layers of several copies, computed as one product; activations and dropout."""

from __future__ import annotations

import math
import threading
from typing import Self

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from skmtl._core.module_copies import ModuleCopies, copy_structure

_OF_THREAD = threading.local()


def get_generator() -> torch.Generator | None:
    """Return what to draw from on the CPU: every draw of training names it."""
    if torch.compiler.is_dynamo_compiling():  # which knows no generators
        return None
    return getattr(_OF_THREAD, "generator", None)


def use_generator(source: torch.Generator | None) -> None:
    """Make the thread draw from a generator of its own, or from the global state."""
    _OF_THREAD.generator = source


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


class StackedLinear(nn.Module):
    """Linear layers of ``n_copies`` networks in one weight tensor."""

    # Every copy is initialised as `torch.nn.Linear` is.

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
    """A linear layer per column, of ``n_copies`` networks, in one weight tensor."""

    # Every layer is initialised as `torch.nn.Linear` is.

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
        """Map (n_columns, n, n_inputs), seen by all, or stacks of it to outputs."""
        # Outputs have shape (n_copies, n, n_columns, n_outputs).
        if H.ndim == 3:  # one wide product serves all copies
            W = self.weight.permute(1, 2, 0, 3).flatten(2)
            Z = torch.bmm(H, W).unflatten(2, (-1, self.weight.shape[3]))
            Z = Z.permute(2, 1, 0, 3)
        else:
            Z = torch.bmm(H.flatten(0, 1), self.weight.flatten(0, 1))
            Z = Z.unflatten(0, self.weight.shape[:2]).transpose(1, 2)
        return Z + self.bias.unsqueeze(1)


class StackedConv2d(nn.Module):
    """Convolutions of ``n_copies`` networks as one convolution in groups."""

    # Every copy is initialised as `torch.nn.Conv2d` is.

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


def detach_in_inference(parameter: Tensor) -> Tensor:
    """Return a parameter of a module, detached where there is no gradient."""
    # Tools that hook modules, as those that count operations, ask inputs that require
    # gradients for their graph.
    return parameter if torch.is_grad_enabled() else parameter.detach()


def merge_copies(H: Tensor) -> Tensor:
    """Join channels of copies side by side: (k, n, c, ...) to (n, k x c, ...)."""
    return H.transpose(0, 1).flatten(1, 2)


def split_copies(H: Tensor, n_copies: int) -> Tensor:
    """Undo ``merged``, which then costs no copy."""
    return H.unflatten(1, (n_copies, -1)).transpose(0, 1)


class StackedEmbedding(nn.Module):
    """Embeddings of the same codes by ``n_copies`` networks, in one weight tensor."""

    # Every embedding starts with a squared length of one, on average.

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
    """Layer normalisation of ``n_copies`` networks, each with its own scale."""

    # Ba, Kiros and Hinton, "Layer Normalization", 2016. Feature maps are normalised
    # over channels and positions, with a scale per channel.

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
    """Batch normalisation of ``n_copies`` networks in one call."""

    # Ioffe and Szegedy, "Batch Normalization", ICML 2015.

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
        return split_copies(self._norm(merge_copies(H)), len(self.weight))

    def _norm(self, H: Tensor) -> Tensor:
        if self.training and H.numel() == H.shape[1]:
            raise ValueError(
                "norm='batch' needs at least 2 rows in every batch. Got 1: give more "
                "rows, or set batch_size to 2 or more, or norm to 'layer' or None."
            )
        return F.batch_norm(
            H,
            self.running_mean.flatten(),  # views, which training updates
            self.running_var.flatten(),
            self.weight.flatten(),
            self.bias.flatten(),
            self.training,
        )


class Dropout(nn.Dropout):
    """Dropout that draws a byte, not a float, for each feature on the CPU."""

    # Srivastava et al., "Dropout", JMLR 2014. There p is rounded to a multiple of
    # 1/256, from 1/256 to 255/256, and what is kept is divided by the share that is
    # kept after rounding, so that expectations are exact. Other devices have torch's
    # own dropout, and so have compiled modules, and torch.vmap before torch 2.13, which
    # cannot view numbers as bytes.

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self.threshold = min(max(round(256 * p), 1), 255)

    def forward(self, H: Tensor) -> Tensor:
        """Zero features at random."""
        fast = H.device.type == "cpu" and not torch.compiler.is_dynamo_compiling()
        if not (self.training and self.p and fast):
            return super().forward(H)
        n = H.numel()
        bounds, n_drawn = (-(2**63), 2**63 - 1), -(-n // 8)  # eight bytes each
        drawn = torch.randint(*bounds, (n_drawn,), generator=get_generator())
        try:
            drawn = drawn.view(torch.uint8)
        except RuntimeError:
            return super().forward(H)
        mask = (drawn[:n].view(H.shape) >= self.threshold).to(H.dtype)
        return H * mask.mul_(256 / (256 - self.threshold))


class TokenBlock(nn.Module):
    """A transformer's block over tokens of features and of tasks."""

    # Vaswani et al., "Attention Is All You Need", NeurIPS 2017. Tokens of features
    # attend to each other, those of tasks to them and to themselves. masked: a task's
    # token does not see those of other tasks. first: tokens enter attention as they
    # are (Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data", NeurIPS
    # 2021). last: no one reads the features after it.

    def __init__(
        self,
        width: int,
        n_heads: int,
        dropout: float,
        masked: bool,
        first: bool,
        last: bool,
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.masked = masked
        self.last = last
        self.norm = nn.Identity() if first else nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.merge = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.feed = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: Tensor, tasks: Tensor) -> tuple[Tensor, Tensor]:
        """Map tokens (n, n_tokens, width) and (n, n_tasks, width) to new ones."""
        # Tokens of tasks may come as (1, n_tasks, width), the same for all samples.
        Q, K, V = self._heads(tokens)  # (n, heads, tokens, width / heads)
        Q_t, K_t, V_t = self._heads(tasks)  # (n, heads, tasks, width / heads)
        self_scores = (
            (K_t * Q_t).sum(dim=3).unsqueeze(2) if self.masked else K_t @ Q_t.mT
        )
        # A softmax is fast where tasks, not what they read, lie side by side.
        A = torch.cat([K @ Q_t.mT, self_scores.expand(K.shape[0], -1, -1, -1)], dim=2)
        A, self_scores = A.softmax(dim=2).split(
            [K.shape[2], self_scores.shape[2]], dim=2
        )
        read = self_scores.mT * V_t if self.masked else self_scores.mT @ V_t
        tasks = self._add(tasks, A.mT @ V + read)
        if self.last:
            return tokens, tasks
        return self._add(tokens, (Q @ K.mT).softmax(dim=3) @ V), tasks

    def _heads(self, T: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return scaled queries, keys and values of all heads."""
        QKV = self.project(self.norm(T)).unflatten(2, (3, self.n_heads, -1))
        Q, K, V = QKV.permute(2, 0, 3, 1, 4)
        return Q / math.sqrt(Q.shape[3]), K, V

    def _add(self, T: Tensor, read: Tensor) -> Tensor:
        """Add to tokens what they read, then what the feed-forward layer makes."""
        T = T + self.dropout(self.merge(read.transpose(1, 2).flatten(2)))
        return T + self.feed(T)  # type: ignore[no-any-return]


class FunctionalModule(nn.Module):
    """A module evaluated with parameters that each call gives."""

    # It holds the buffers of the module and none of its parameters.

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        buffers = dict(module.named_buffers())
        # Names of a module's buffers hold dots, which torch refuses; a number tells
        # a.b_c from a_b.c.
        self._names = {
            name: f"buffer_{i}_{name.replace('.', '_')}"
            for i, name in enumerate(buffers)
        }
        self.hold(buffers)
        # Kept out of the module tree: skeletons have no weights of their own.
        self._skeletons = ModuleCopies(copy_structure(module))

    @property
    def skeleton(self) -> nn.Module:
        """The module, without weights."""
        return self._skeletons.module

    def forward(self, parameters: dict[str, Tensor], X: Tensor) -> Tensor:
        """Evaluate the module with some parameters, given by their names."""
        return self.evaluate(parameters, self.held_buffers(), X)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the module, which is out of the module tree."""
        self.skeleton.train(mode)
        return super().train(mode)

    def hold(self, buffers: dict[str, Tensor]) -> None:
        """Hold other buffers, given by the names that the module gives them."""
        for name, attribute in self._names.items():
            self.register_buffer(attribute, buffers[name])

    def held_buffers(self) -> dict[str, Tensor]:
        """Return the buffers by the names that the module gives them."""
        return {
            name: getattr(self, attribute) for name, attribute in self._names.items()
        }

    def evaluate(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], X: Tensor
    ) -> Tensor:
        """Evaluate the module with some parameters and buffers."""
        with self._skeletons.borrow() as skeleton:
            return functional_call(skeleton, (parameters, buffers), (X,))  # type: ignore[no-any-return]
