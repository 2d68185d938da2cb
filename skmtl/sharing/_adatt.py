"""Every task's experts, fused for every task."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from skmtl._core.validation import Interval
from skmtl.sharing._base import Sharing, SharingModule
from skmtl.sharing._experts import Levels, StackedGate, pool_positions

if TYPE_CHECKING:
    from skmtl.encoder import Encoder


class AdaTT(Sharing):
    r"""AdaTT: adaptive task-to-task fusion of the experts of all tasks.

    Proposed in [1]_.

    The encoder's layers are cut into levels. On each, task t fuses the experts of all
    tasks by its gate and adds a linear mixture of its own experts,

    .. math:: h_t = \sum_{s,e} g_t(z_t)_{se} f_{se}(z_s) + \sum_e v_{te} f_{te}(z_t),

    where :math:`z_t` is the input on the first level and :math:`h_t` of the level
    before on later ones; gates are softmax layers, which read averages over positions
    after a convolution. Every task looks at every expert, so that time and memory of
    the gates grow with the square of the number of tasks.

    Parameters
    ----------
    n_experts : int, default=1
        Number of experts of each task on each level.
    n_levels : int or None, default=None
        Number of levels, into which layers are split as evenly as possible. None makes
        each layer a level.

    Notes
    -----
    This is the variant without shared experts. The weights v start at the mean of a
    task's own experts, not at random; with one expert it is added as it is.

    References
    ----------
    .. [1] D. Li, Z. Zhang, S. Yuan, M. Gao, W. Zhang, C. Yang, X. Liu and J. Yang,
       "AdaTT: Adaptive Task-to-Task Fusion Network for Multitask Learning in
       Recommendations", KDD 2023.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.sharing import AdaTT
    >>> MultiTaskClassifier(sharing=AdaTT(n_experts=2)).sharing
    AdaTT(n_experts=2)
    """

    name = "adatt"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_experts": [Interval(Integral, 1, None, closed="left")],
        "n_levels": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(self, n_experts: int = 1, n_levels: int | None = None) -> None:
        self.n_experts = n_experts
        self.n_levels = n_levels

    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build the tasks' experts and the fusion units."""
        experts = encoder.build(input_shape, n_tasks * self.n_experts)
        levels = Levels(experts.probe(input_shape), self.n_levels)
        return _AdaTT(levels, n_tasks, input_shape)


class _AdaTT(SharingModule):
    eye: Tensor

    def __init__(
        self, levels: Levels, n_tasks: int, input_shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.levels = levels
        self.n_tasks = n_tasks
        self.width = levels.widths[-1]
        n_all = levels.encoder.n_copies
        widths = levels.widths_before(input_shape)
        self.gate = nn.ModuleList(StackedGate(n_tasks, w, n_all) for w in widths)
        n_own = n_all // n_tasks
        self.native = nn.ParameterList(
            torch.full((n_tasks, n_own), 1 / n_own)
            for _ in (widths if n_own > 1 else [])
        )
        self.register_buffer("eye", torch.eye(n_tasks), persistent=False)

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        features, experts, _ = self._last_level(X)
        return features.transpose(0, 1), experts if self.n_tasks > 1 else None

    def _last_level(self, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return tasks' features, outputs of all experts, and gates."""
        H, Z = X, self.levels.encoder.gate_inputs(X)
        for level, gate in enumerate(self.gate):
            experts = self.levels(level, H).transpose(
                0, 1
            )  # (n, tasks * n_experts, ...)
            G = gate(Z)  # (tasks, n, tasks * n_experts)
            W = G + self._native_weights(level).unsqueeze(1)
            H = torch.einsum("tne,ne...->tn...", W, experts)
            Z = pool_positions(H)
        return H, experts, G

    def _native_weights(self, level: int) -> Tensor:
        """Return the weights of own experts among all, (tasks, tasks * n_experts)."""
        if not self.native:
            return self.eye
        return torch.einsum("ts,te->tse", self.eye, self.native[level]).flatten(1)

    def shared_parameters(self) -> Iterable[nn.Parameter]:
        if self.n_tasks == 1:
            return
        yield from self.levels.parameters()
        yield from self.gate[:-1].parameters()  # what these mix enters experts
        yield from self.native[:-1]

    def gates(self, X: Tensor) -> Tensor:
        return self._last_level(X)[2].transpose(0, 1)
