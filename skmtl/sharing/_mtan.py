"""Multi-task attention networks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skmtl._core.layers import StackedLinear
from skmtl._core.validation import Interval
from skmtl.sharing._base import Sharing, SharingModule

if TYPE_CHECKING:
    from skmtl.encoder import Encoder, EncoderModule


class MTAN(Sharing):
    r"""Multi-task attention network: each task attends to shared features it needs.

    After layer l of the shared network, with output :math:`p_l`, task t keeps

    .. math::

        a_{tl} = \sigma(V_{tl} \max(0, W_{tl} [p_l, a_{t,l-1}] + b_{tl}) + c_{tl} + 2)
        \odot p_l,

    a mask between zero and one over all features. Its head reads the last one.

    Parameters
    ----------
    reduction : int, default=8
        Number of features (or channels) of a layer per hidden unit of its masks.

    Notes
    -----
    V and c start at zero, to which weight decay draws them: every mask starts at 0.88,
    which is hard sharing but for a factor.

    On images, W and V are 1 x 1 convolutions as in [1]_. There, they are
    batch-normalised and as wide as the layer, and a 3 x 3 convolution followed by
    pooling takes :math:`a_{t,l-1}` to the next layer; here, so that any encoder will
    do, it is averaged down to the size of :math:`p_l`, or over all positions where
    :math:`p_l` has none. An encoder without layers to be walked is masked at its end.

    References
    ----------
    .. [1] S. Liu, E. Johns and A. J. Davison, "End-to-End Multi-Task Learning with
       Attention", CVPR 2019.

    Examples
    --------
    >>> import torch
    >>> from skmtl.encoder import MLP
    >>> from skmtl.sharing import MTAN
    >>> module = MTAN().build(MLP((16, 8)), (4,), n_tasks=3)
    >>> [mask.shape for mask in module.masks(torch.zeros(5, 4))]
    [torch.Size([5, 3, 16]), torch.Size([5, 3, 8])]
    """

    name = "mtan"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "reduction": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, reduction: int = 8) -> None:
        self.reduction = reduction

    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build the shared network and the tasks' masks."""
        network = encoder.build(input_shape, 1).probe(input_shape)
        return _MTAN(network, n_tasks, self.reduction)


class _MTAN(SharingModule):
    def __init__(self, network: EncoderModule, n_tasks: int, reduction: int) -> None:
        super().__init__()
        self.network, self.width = network, network.width
        channels = [shape[0] for shape in network.shapes]
        self.attention = nn.ModuleList(
            _Mask(n_tasks, before, now, max(1, now // reduction))
            for before, now in pairwise([0, *channels])
        )

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        _, features, shared = self._attend(X)
        return features.transpose(0, 1), shared

    def masks(self, X: Tensor) -> list[Tensor]:
        """Return each layer's masks, of shape (n, n_tasks, ...), between 0 and 1."""
        with torch.no_grad():
            return [mask.transpose(0, 1) for mask in self._attend(X)[0]]

    def shared_parameters(self) -> Iterable[nn.Parameter]:
        return self.network.parameters()

    def _attend(self, X: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return masks, the last masked features and what all tasks read."""
        H, read = X, []
        for i in range(len(self.attention)):
            H = self.network.step(i, H)  # (1, n, ...)
            read.append(H.squeeze(0).flatten(1))
        # All that tasks read goes through one tensor, for gradient balancing to see.
        shared = torch.cat(read, dim=1)
        parts = torch.split(shared, [P.shape[1] for P in read], dim=1)
        masks: list[Tensor] = []
        A: Tensor = shared.new_zeros(())  # nothing comes before the first layer
        for i, attend in enumerate(self.attention):
            P = parts[i].reshape(-1, *self.network.shapes[i])
            masks.append(attend(P, A))
            A = masks[i] * P  # (tasks, n, ...)
        return masks, A, shared


class _Mask(nn.Module):
    """The tasks' masks over the features of one layer."""

    def __init__(self, n_tasks: int, before: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.inner = StackedLinear(n_tasks, channels + before, hidden)
        self.outer = StackedLinear(n_tasks, hidden, channels)
        for parameter in self.outer.parameters():
            nn.init.zeros_(parameter)

    def forward(self, P: Tensor, A: Tensor) -> Tensor:
        """Mask P (n, channels, ...), given the tasks' last features A, if any."""
        W, b, channels = self.inner.weight, self.inner.bias, P.shape[1]
        rows = P.movedim(1, -1)  # (n, ..., channels)
        # One wide product for all tasks, seen as (tasks, n x positions, hidden).
        H = F.linear(rows.flatten(0, -2), W[..., :channels].flatten(0, 1), b.flatten())
        H = H.view(-1, *b.shape).transpose(0, 1)
        if A.ndim:
            A = _resize(A, P.shape[2:]).movedim(2, -1).flatten(1, -2)
            H = torch.baddbmm(H, A, W[..., channels:].mT)
        logits: Tensor = self.outer(H.relu()) + 2
        return logits.sigmoid().view(-1, *rows.shape).movedim(-1, 2)  # (tasks, *P)


def _resize(A: Tensor, size: torch.Size) -> Tensor:
    """Average features (tasks, n, channels, ...) down to a size, or to one value."""
    if A.shape[3:] == size:
        return A
    if math.prod(size) == 1:
        return A.flatten(3).mean(dim=-1).reshape(*A.shape[:3], *size)
    pooled = F.adaptive_avg_pool2d(A.flatten(0, 1), (size[0], size[1]))
    return pooled.reshape(*A.shape[:3], *size)
