"""Levels of shared and own experts."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from skmtl._core.validation import Interval
from skmtl.sharing._base import Sharing, SharingModule, on_one_expert
from skmtl.sharing._experts import Levels, StackedGate, mix_experts, pool_positions

if TYPE_CHECKING:
    from skmtl.encoder import Encoder


class PLE(Sharing):
    r"""Progressive layered extraction: levels of shared and task-specific experts.

    Proposed in [1]_.

    The encoder's layers are cut into levels. On each, task t mixes its own and the
    shared experts, :math:`h_t = \sum_e g_t(z_t)_e f_e`, and a shared gate mixes all
    experts into :math:`h_s`. On the first level all read the input, on later ones the
    experts and the gate of task t read :math:`h_t` of the level before, the shared ones
    :math:`h_s`; gates read averages over positions after a convolution.

    Parameters
    ----------
    n_shared : int, default=2
        Number of experts on each level that all tasks see. None shared makes tasks
        independent.
    n_own : int, default=1
        Number of experts on each level that each task has for itself.
    n_levels : int or None, default=None
        Number of levels, into which layers are split as evenly as possible. None makes
        each layer a level; one makes `CGC`.

    References
    ----------
    .. [1] H. Tang, J. Liu, M. Zhao and X. Gong, "Progressive Layered Extraction (PLE):
       A Novel Multi-Task Learning (MTL) Model for Personalized Recommendations",
       RecSys 2020.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.sharing import PLE
    >>> MultiTaskClassifier(sharing=PLE(n_shared=1)).sharing
    PLE(n_shared=1)
    """

    name = "ple"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_shared": [Interval(Integral, 0, None, closed="left")],
        "n_own": [Interval(Integral, 0, None, closed="left")],
        "n_levels": [Interval(Integral, 1, None, closed="left"), None],
    }
    n_levels: int | None

    def __init__(
        self, n_shared: int = 2, n_own: int = 1, n_levels: int | None = None
    ) -> None:
        self.n_shared = n_shared
        self.n_own = n_own
        self.n_levels = n_levels

    def validate(self) -> Self:
        """Return the spec itself after checking its settings."""
        super().validate()
        if not self.n_shared and not self.n_own:
            raise ValueError(
                f"The parameters 'n_shared' and 'n_own' of {type(self).__name__} must "
                "not both be 0: give tasks at least one expert."
            )
        return self

    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build own and shared experts and the gates."""
        experts = {
            name: Levels(
                encoder.build(input_shape, n).probe(input_shape), self.n_levels
            )
            for name, n in [("own", n_tasks * self.n_own), ("shared", self.n_shared)]
            if n
        }
        widths = next(iter(experts.values())).widths_before(input_shape)
        return _PLE(experts, widths, n_tasks, self)


class _PLE(SharingModule):
    def __init__(
        self, experts: dict[str, Levels], widths: list[int], n_tasks: int, spec: PLE
    ) -> None:
        super().__init__()
        self.n_tasks, self.n_own, n_shared = n_tasks, spec.n_own, spec.n_shared
        self.own, self.shared = experts.get("own"), experts.get("shared")
        self.width = next(iter(experts.values())).widths[-1]
        self.gate = nn.ModuleList(
            StackedGate(n_tasks, width, self.n_own + n_shared) for width in widths
        )
        self.shared_gate = nn.ModuleList(  # only shared experts read what these mix
            StackedGate(1, width, n_tasks * self.n_own + n_shared)
            for width in (widths[:-1] if n_shared else [])
        )

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        features, shared, _ = self.trace(X)
        return features, shared

    def trace(self, X: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        H, shared, G = self._last_level(X)
        features = H.transpose(0, 1)  # (n, tasks, width)
        if shared is None or self.n_tasks == 1:
            return features, None, None
        return features, shared, G[..., self.n_own :].transpose(0, 1)

    def _last_level(self, X: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return tasks' features, outputs of the shared experts, and gates."""
        H = H_s = X
        Z = Z_s = (self.own or self.shared).encoder.gate_inputs(X)  # type: ignore[union-attr]
        for level, gate in enumerate(self.gate):
            task_experts = shared = None
            if self.own is not None:
                task_experts = self.own(level, H)  # (tasks * n_own, n, ...)
            if self.shared is not None:
                shared = self.shared(level, H_s).transpose(0, 1)  # (n, n_shared, ...)
            G = gate(Z)  # (tasks, n, n_own + n_shared)
            H = mix_experts(G, task_experts, shared)  # (tasks, n, ...)
            if level < len(self.shared_gate):
                H_s = mix_experts(self.shared_gate[level](Z_s), task_experts, shared)
                Z_s = pool_positions(H_s)
            Z = pool_positions(H)
        return H, shared, G

    def shared_parameters(self) -> Iterable[nn.Parameter]:
        if self.shared is None or self.n_tasks == 1:
            return
        yield from self.shared.parameters()
        yield from self.shared_gate.parameters()
        if self.own is not None:  # shared gates read them, but on the last level
            yield from self.own.parameters_below(len(self.gate) - 1)
            yield from self.gate[:-2].parameters()  # what these mix enters them

    def gates(self, X: Tensor) -> Tensor:
        G = self._last_level(X)[2]
        eye = torch.eye(self.n_tasks).to(G)
        task_gates = torch.einsum("tne,ts->ntse", G[..., : self.n_own], eye).flatten(2)
        return torch.cat([task_gates, G[..., self.n_own :].transpose(0, 1)], dim=2)

    def find_collapsed(self, X: Tensor) -> Tensor | None:
        return on_one_expert(self._last_level(X)[2].transpose(0, 1))
