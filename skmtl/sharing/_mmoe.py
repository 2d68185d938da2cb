"""Shared experts and a gate per task."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from skmtl._core.validation import Interval
from skmtl.sharing._base import MixtureModule, Sharing, SharingModule
from skmtl.sharing._experts import StackedGate

if TYPE_CHECKING:
    from skmtl.encoder import Encoder, EncoderModule


class MMoE(Sharing):
    r"""Multi-gate mixture of experts: a gate per task mixes shared experts.

    Proposed in [1]_.

    Task t reads :math:`\sum_e g_t(x)_e f_e(x)`, where the experts :math:`f_e` are
    encoders that all tasks train and the gate is
    :math:`g_t(x) = \mathrm{softmax}(W_t x + b_t)`. Of an image, gates read averages
    over an 8 x 8 grid.

    Parameters
    ----------
    n_experts : int, default=4
        Number of experts. One is hard sharing.

    References
    ----------
    .. [1] J. Ma, Z. Zhao, X. Yi, J. Chen, L. Hong and E. H. Chi, "Modeling Task
       Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD
       2018.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.sharing import MMoE
    >>> MultiTaskClassifier(sharing=MMoE(n_experts=8)).sharing
    MMoE(n_experts=8)
    """

    name = "mmoe"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_experts": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, n_experts: int = 4) -> None:
        self.n_experts = n_experts

    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build the experts and the gates."""
        experts = encoder.build(input_shape, self.n_experts)
        n_inputs = experts.gate_inputs(torch.zeros(1, *input_shape)).shape[1]
        return _MMoE(experts, StackedGate(n_tasks, n_inputs, self.n_experts))


class _MMoE(MixtureModule):
    def __init__(self, experts: EncoderModule, gate: StackedGate) -> None:
        super().__init__()
        self.experts = experts
        self.gate = gate
        self.width, self.n_mixed = experts.width, experts.n_copies

    def mixture(self, X: Tensor) -> tuple[Tensor, Tensor]:
        return self.gates(X), self.experts(X).transpose(0, 1)

    def shared_parameters(self) -> Iterable[nn.Parameter]:
        return self.experts.parameters() if self.gate.n_gates > 1 else ()

    def gates(self, X: Tensor) -> Tensor:
        return self.gate(self.experts.gate_inputs(X)).transpose(0, 1)  # type: ignore[no-any-return]
