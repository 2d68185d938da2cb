"""What strategies with experts are made of: gates, levels, mixtures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from skmtl.encoder import EncoderModule


class StackedGate(nn.Module):
    """Softmax gates over experts, all in one weight tensor."""

    # Experts start with equal weights. A gate that sees a single expert has nothing to
    # choose, so no parameters.

    def __init__(self, n_gates: int, n_inputs: int, n_experts: int) -> None:
        super().__init__()
        self.n_gates = n_gates
        self.weight: nn.Parameter | None = None
        self.bias: nn.Parameter | None = None
        if n_experts > 1:
            # Zero, so that large inputs do not choose by chance.
            self.weight = nn.Parameter(torch.zeros(n_gates, n_experts, n_inputs))
            self.bias = nn.Parameter(torch.zeros(n_gates, n_experts))

    def forward(self, X: Tensor) -> Tensor:
        """Map (n, n_inputs) or (n_gates, n, n_inputs) to (n_gates, n, n_experts)."""
        if self.weight is None or self.bias is None:
            return X.new_ones(self.n_gates, X.shape[-2], 1)
        W, b = self.weight, self.bias
        if W.shape[1] >= W.shape[0]:
            if X.ndim == 2:  # one wide product serves all gates
                Z = F.linear(X, W.flatten(0, 1), b.flatten())
                return Z.view(-1, *b.shape).softmax(dim=2).transpose(0, 1)
            return torch.baddbmm(b.unsqueeze(1), X, W.mT).softmax(dim=2)
        # Over few experts, a softmax is faster where gates or samples lie side by side.
        if X.ndim == 2:
            Z = F.linear(X, W.transpose(0, 1).flatten(0, 1), b.T.flatten())
            return Z.view(-1, *b.T.shape).softmax(dim=1).permute(2, 0, 1)
        return torch.baddbmm(b.unsqueeze(2), W, X.mT).softmax(dim=1).mT


class Levels(nn.Module):
    """Copies of an encoder whose steps are cut into levels, as evenly as possible."""

    # widths: Number of features, or of channels, after each level.

    def __init__(self, encoder: EncoderModule, n_levels: int | None = None) -> None:
        super().__init__()
        n_steps = len(encoder.steps())
        if n_levels is not None and n_levels > n_steps:
            raise ValueError(
                "The 'n_levels' parameter must be at most the number of layers of the "
                f"encoder, {n_steps}. Got {n_levels}: lower it, or leave it at None."
            )
        self.encoder = encoder
        parts = np.array_split(np.arange(n_steps), n_levels or n_steps)
        self.cuts = [part.tolist() for part in parts]
        self.widths = [encoder.shapes[steps[-1]][0] for steps in self.cuts]

    def widths_before(self, input_shape: tuple[int, ...]) -> list[int]:
        """Return the number of values that a gate of each level reads."""
        first = self.encoder.gate_inputs(torch.zeros(1, *input_shape)).shape[1]
        return [first, *self.widths[:-1]]

    def forward(self, level: int, H: Tensor) -> Tensor:
        """Run one level."""
        # The first reads the input, of shape (n, ...); the others read features of
        # shape (n_groups, n, ...), each of which feeds the same number of copies.
        if level:
            k = self.encoder.n_copies // len(H)
            H = H.unsqueeze(1).expand(-1, k, *H.shape[1:]).flatten(0, 1)
        for i in self.cuts[level]:
            H = self.encoder.step(i, H)
        return H  # (n_copies, n, ...)

    def parameters_below(self, level: int) -> Iterator[nn.Parameter]:
        """Return the parameters of the levels before one."""
        steps = self.encoder.steps()
        for cut in self.cuts[:level]:
            for i in cut:
                yield from steps[i].parameters()


def pool_positions(H: Tensor) -> Tensor:
    """Average (k, n, channels, ...) over positions; leave (k, n, width) as it is."""
    return H if H.ndim == 3 else H.flatten(3).mean(dim=-1)


def mix_experts(
    G: Tensor, task_experts: Tensor | None, shared: Tensor | None
) -> Tensor:
    """Mix own experts of gates and experts that all gates see."""
    # G of shape (k, n, n_own + n_shared), own of shape (k * n_own, n, ...), shared of
    # shape (n, n_shared, ...); returns (k, n, ...).
    parts, n_own = [], 0
    if task_experts is not None:
        n_own = len(task_experts) // len(G)
        task_experts = task_experts.view(len(G), n_own, *task_experts.shape[1:])
        parts.append(torch.einsum("kne,ken...->kn...", G[..., :n_own], task_experts))
    if shared is not None:
        parts.append(torch.einsum("kne,ne...->kn...", G[..., n_own:], shared))
    return sum(parts[1:], parts[0])


def apply_smooth_step(z: Tensor, gamma: float) -> Tensor:
    """Step from 0 to 1, a cubic of width gamma around zero."""
    z = (z / gamma).clamp(-0.5, 0.5)
    return -2 * z**3 + 1.5 * z + 0.5
