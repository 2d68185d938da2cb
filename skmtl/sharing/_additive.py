"""A task-specific network plus one shared network."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from skmtl._core.validation import Interval
from skmtl.sharing._base import Sharing, SharingModule

if TYPE_CHECKING:
    from skmtl.encoder import Encoder, EncoderModule


class Additive(Sharing):
    r"""A task-specific network plus one shared network, whose outputs are added.

    Task t reads :math:`f_t(x; \theta_t) + g(x; \phi)`. It is the deep form of
    regularised multi-task learning [1]_, where :math:`w_t = w_0 + v_t`: what tasks
    have in common goes into g, what sets one apart into its f. Here the sum is taken
    before each task's linear head, so that tasks of different class counts can share.

    Parameters
    ----------
    strength : float, default=0.0
        Weight of :math:`\frac{1}{T} \sum_t \lVert \theta_t \rVert^2` in the loss. Zero
        leaves tasks free; a large value removes the task-specific networks, which is
        hard sharing.

    References
    ----------
    .. [1] T. Evgeniou and M. Pontil, "Regularized Multi-Task Learning", KDD 2004.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.sharing import Additive
    >>> est = MultiTaskClassifier(sharing=Additive(strength=0.01))
    >>> est.set_params(sharing__strength=0.1).sharing
    Additive(strength=0.1)
    """

    name = "additive"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "strength": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, strength: float = 0.0) -> None:
        self.strength = strength

    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build one column per task and the shared network."""
        return _Additive(
            encoder.build(input_shape, n_tasks),
            encoder.build(input_shape, 1),
            self.strength,
        )


class _Additive(SharingModule):
    def __init__(
        self, columns: EncoderModule, common: EncoderModule, strength: float
    ) -> None:
        super().__init__()
        self.columns = columns
        self.common = common
        self.width = columns.width
        self.strength = strength

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        features, H, _ = self.trace(X)
        return features, H

    def trace(self, X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        H = self.common(X).transpose(0, 1)  # (n, 1, width)
        weights = H.new_ones(self.columns.n_copies, 1)
        return self.columns(X).transpose(0, 1) + H, H, weights

    def shared_parameters(self) -> Iterable[nn.Parameter]:
        return self.common.parameters()

    def penalty(self) -> Tensor | None:
        norms = [p.square().sum() for p in self.columns.parameters()]
        if not self.strength or not norms:  # an encoder may have no parameters
            return None
        return self.strength / self.columns.n_copies * torch.stack(norms).sum()
