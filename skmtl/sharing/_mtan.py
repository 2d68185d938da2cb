"""Multi-task attention networks."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skmtl._layers import StackedLinear
from skmtl._validation import Interval
from skmtl.sharing._base import Sharing, SharingModule

if TYPE_CHECKING:
    from skmtl.encoder import Encoder, EncoderModule


class MTAN(Sharing):
    r"""One shared network, of which each task attends to the features it needs [1]_.

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
    V and c start at zero, so that every mask starts at 0.88: as hard sharing, but for a
    factor. Weight decay draws the masks there.

    On images, W and V are the same at every position, as the 1 x 1 convolutions of [1]_.
    In [1]_ the masks are batch-normalised and as wide as the layer, and a 3 x 3
    convolution followed by pooling takes :math:`a_{t,l-1}` to the next layer; here, so
    that any encoder will do, it is averaged down to the size of :math:`p_l`, or over all
    positions where :math:`p_l` has none. An encoder without layers to be walked is masked
    once, after it.

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
        network = encoder.build(input_shape, 1).probed(input_shape)
        return _MTAN(network, n_tasks, self.reduction)


class _MTAN(SharingModule):
    start = 2.0

    def __init__(self, network: EncoderModule, n_tasks: int, reduction: int) -> None:
        super().__init__()
        self.network = network
        self.width = network.width
        self.n_tasks = n_tasks
        self.inner, self.outer = nn.ModuleList(), nn.ModuleList()
        before = 0
        for channels, *_ in network.shapes:
            hidden = max(1, channels // reduction)
            self.inner.append(StackedLinear(n_tasks, channels + before, hidden))
            self.outer.append(StackedLinear(n_tasks, hidden, channels))
            before = channels
        for parameter in self.outer.parameters():
            nn.init.zeros_(parameter)

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        _, features, shared = self._attend(X)
        return features.transpose(0, 1), shared  # (n, tasks, width)

    def masks(self, X: Tensor) -> list[Tensor]:
        """Return each layer's masks, of shape (n, n_tasks, ...), between 0 and 1."""
        with torch.no_grad():
            masks, _, _ = self._attend(X)
        return [mask.transpose(0, 1) for mask in masks]

    def shared_parameters(self) -> Iterable[nn.Parameter]:
        return self.network.parameters()

    def _attend(self, X: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return masks, the last masked features and what all tasks read."""
        shapes = self.network.shapes
        H, read = X, []
        for i in range(len(shapes)):
            H = self.network.step(i, H)  # (1, n, ...)
            read.append(H.squeeze(0).flatten(1))
        # All that tasks read goes through one tensor, for gradient balancing to see.
        shared = torch.cat(read, dim=1)
        masks: list[Tensor] = []
        A = None
        parts = shared.split([part.shape[1] for part in read], dim=1)
        for i, (part, shape) in enumerate(zip(parts, shapes, strict=True)):
            P = part.unflatten(1, shape)
            masks.append(self._mask(i, P, A))
            A = masks[-1] * P  # (tasks, n, ...)
        return masks, A, shared  # type: ignore[return-value]  # there is a step

    def _mask(self, i: int, P: Tensor, A: Tensor | None) -> Tensor:
        n, channels, *size = P.shape
        W, b = self.inner[i].weight, self.inner[i].bias
        rows = P.movedim(1, -1).flatten(0, -2)  # (n x positions, channels)
        # The part of W that reads P is one wide product for all tasks.
        H = F.linear(rows, W[..., :channels].flatten(0, 1), b.flatten())
        H = H.unflatten(1, b.shape).transpose(0, 1)  # (tasks, n x positions, hidden)
        if A is not None:
            A = _resized(A, size).movedim(2, -1).flatten(1, -2)
            H = torch.baddbmm(H, A, W[..., channels:].mT)
        mask = torch.sigmoid(self.outer[i](H.relu()) + self.start)
        return mask.unflatten(1, (n, *size)).movedim(-1, 2)  # (tasks, n, channels, ...)


def _resized(A: Tensor, size: list[int]) -> Tensor:
    """Average features (tasks, n, channels, ...) down to a size, or to one value."""
    if list(A.shape[3:]) == size:
        return A
    if not size:
        return A.flatten(3).mean(dim=-1)
    pooled = F.adaptive_avg_pool2d(A.flatten(0, 1), size)
    return pooled.unflatten(0, A.shape[:2])
