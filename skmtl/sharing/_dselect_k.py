"""Shared experts, of which each task selects a few."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from skmtl._core.validation import Interval
from skmtl.sharing._base import MixtureModule, Sharing, SharingModule
from skmtl.sharing._experts import apply_smooth_step

if TYPE_CHECKING:
    from skmtl.encoder import Encoder, EncoderModule


#: Where bits start, in units of gamma.
START = 0.125


class DSelectK(Sharing):
    r"""DSelect-k: each task selects a few shared experts by smooth gates.

    Proposed in [1]_.

    Task t reads :math:`\sum_i \mathrm{softmax}(w_t)_i \sum_e r(z_{ti})_e f_e(x)`. A
    selector is a code of :math:`\lceil \log_2 E \rceil` bits, smooth while
    training: :math:`r(z)_e` is the product over bits b of :math:`S(z_b)` where expert e
    has a one and :math:`1 - S(z_b)` where it has a zero. S is 0 below
    :math:`-\gamma / 2`, 1 above :math:`\gamma / 2` and
    :math:`-2 z^3 / \gamma^3 + 3 z / 2 \gamma + 1 / 2` between. The loss gets
    :math:`\lambda \sum_{t,i} H(r(z_{ti}))`, the entropies, zero when all selectors have
    chosen. Gates are static: a task reads the same experts for all samples.

    Parameters
    ----------
    n_experts : int, default=4
        Number of experts, 2 at least.
    k : int, default=2
        Number of experts that a task reads at most.
    gamma : float, default=0.3
        Width of the smooth step. The smaller, the sooner selectors choose.
    entropy : float, default=0.1
        Weight :math:`\lambda` of the entropies in the loss.

    Notes
    -----
    Departures from the paper: to predict, each selector is rounded to its most probable
    expert. Where E is no power of two, an expert whose code lacks a partner needs no
    last bit, so that no code is without an expert and no term keeps away from such
    codes. A task's selectors start leaning towards different experts, drawn at random;
    from the middle, with proportional gradients, they would choose the same one.

    References
    ----------
    .. [1] H. Hazimeh et al., "DSelect-k: Differentiable Selection in the Mixture of
       Experts with Applications to Multi-Task Learning", NeurIPS 2021.

    Examples
    --------
    >>> from skmtl.sharing import DSelectK
    >>> DSelectK(n_experts=8, k=3)
    DSelectK(k=3, n_experts=8)
    """

    name = "dselect_k"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_experts": [Interval(Integral, 2, None, closed="left")],
        "k": [Interval(Integral, 1, None, closed="left")],
        "gamma": [Interval(Real, 0, None, closed="neither")],
        "entropy": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self, n_experts: int = 4, k: int = 2, gamma: float = 0.3, entropy: float = 0.1
    ) -> None:
        self.n_experts = n_experts
        self.k = k
        self.gamma = gamma
        self.entropy = entropy

    def validate(self) -> Self:
        """Return the spec itself after checking its settings."""
        super().validate()
        if self.k > self.n_experts:
            raise ValueError(
                f"The 'k' parameter of DSelectK must be at most n_experts="
                f"{self.n_experts}. Got {self.k}: lower k, or add experts."
            )
        return self

    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build the experts and the selectors."""
        return _DSelectK(encoder.build(input_shape, self.n_experts), n_tasks, self)


class _DSelectK(MixtureModule):
    def __init__(self, experts: EncoderModule, n_tasks: int, spec: DSelectK) -> None:
        super().__init__()
        self.n_mixed, self.width = spec.n_experts, experts.width
        self.gamma, self.entropy = spec.gamma, spec.entropy
        weights = nn.Parameter(torch.zeros(n_tasks, spec.k))
        self.logits = weights if spec.k > 1 else None
        first = torch.rand(n_tasks, self.n_mixed).argsort()[:, : spec.k, None]
        bits = first >> torch.arange((self.n_mixed - 1).bit_length()) & 1
        self.code = nn.Parameter(START * self.gamma * (2.0 * bits - 1))
        self.experts = experts

    def selectors(self) -> Tensor:
        """Return each expert's probability, (tasks, k, experts)."""
        S = apply_smooth_step(self.code, self.gamma)  # (tasks, k, bits)
        P = torch.ones_like(S[..., :1])
        for b in range(S.shape[-1]):  # each bit splits the experts so far in two
            s, n_split = S[..., b, None], min(P.shape[-1], self.n_mixed - P.shape[-1])
            split, whole = P[..., :n_split], P[..., n_split:]
            P = torch.cat([split * (1 - s), whole, split * s], dim=-1)
        return P

    def _weights(self) -> Tensor:
        """Return the weight of each expert, (tasks, experts)."""
        P = self.selectors()
        if not self.training:
            P = torch.eye(self.n_mixed).to(P)[P.argmax(-1)]
        if self.logits is None:
            return P.squeeze(1)
        return torch.einsum("tk,tke->te", self.logits.softmax(-1), P)

    def mixture(self, X: Tensor) -> tuple[Tensor, Tensor]:
        return self._weights(), self.experts(X).transpose(0, 1)

    def shared_parameters(self) -> Iterable[nn.Parameter]:
        return self.experts.parameters() if len(self.code) > 1 else ()

    def penalty(self) -> Tensor | None:
        if not self.entropy:
            return None
        P = self.selectors().clamp_min(1e-6)  # the logarithm of 0 has no gradient
        return -self.entropy * (P * P.log()).sum()

    def gates(self, X: Tensor) -> Tensor:
        return self._weights().expand(X.shape[0], -1, -1)

    def find_collapsed(self, X: Tensor) -> Tensor | None:
        choice = self.selectors().argmax(-1)  # (tasks, k)
        return (choice == choice[:, :1]).all(-1) if choice.shape[1] > 1 else None
