"""Sluice networks."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skmtl._core.validation import Interval
from skmtl.sharing._base import Sharing, SharingModule
from skmtl.sharing._cross_stitch import _CrossStitch

if TYPE_CHECKING:
    from skmtl.encoder import Encoder, EncoderModule


class Sluice(Sharing):
    r"""Sluice networks: one network per task, mixed by subspaces, with learned skips.

    After each layer, features of a task are cut into S subspaces, and each goes on as
    :math:`\tilde h_{ti} = \sum_{s,j} \alpha_{ti,sj} h_{sj}`, so that tasks may share
    some features and keep others. Its head reads a learned mixture of several layers,
    :math:`\sum_l \beta_{tl} \tilde h_t^{(l)}`. With one subspace and no skips these
    are cross-stitch networks.

    Parameters
    ----------
    n_subspaces : int, default=2
        Number of subspaces of a task's features; of channels, for images.
    skips : bool, default=True
        Whether heads read earlier layers too, of those whose output has the shape of
        the last one's. At the start they read the last.
    self_weight : float, default=0.9
        Weight of a subspace in its own mixture at the start; the others share the rest.
    orthogonality : float, default=0.0
        Weight in the loss of :math:`\frac{1}{T} \sum_{t,l} \sum_{i<j}
        \lVert W_{tli} W_{tlj}^\top \rVert_F^2`, which keeps subspaces different; rows
        of :math:`W_{tli}` are the weights of layer l that lead to subspace i.

    Notes
    -----
    Feature f lies in subspace f mod S, so that their sizes differ by one at most. A
    layer has one weight per pair of subspaces of all tasks; weight decay draws them to
    their start, as in `CrossStitch`. In [1]_ the penalty is a sum over tasks.

    References
    ----------
    .. [1] S. Ruder, J. Bingel, I. Augenstein and A. Søgaard, "Latent Multi-task
       Architecture Learning", AAAI 2019.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> MultiTaskClassifier(sharing="sluice").sharing
    'sluice'
    """

    name = "sluice"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_subspaces": [Interval(Integral, 1, None, closed="left")],
        "skips": ["boolean"],
        "self_weight": [Interval(Real, 0, 1, closed="both")],
        "orthogonality": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_subspaces: int = 2,
        skips: bool = True,
        self_weight: float = 0.9,
        orthogonality: float = 0.0,
    ) -> None:
        self.n_subspaces = n_subspaces
        self.skips = skips
        self.self_weight = self_weight
        self.orthogonality = orthogonality

    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build one column per task and what mixes them."""
        columns = encoder.build(input_shape, n_tasks).probe(input_shape)
        narrowest = min(shape[0] for shape in columns.shapes)
        if self.n_subspaces > narrowest:
            raise ValueError(
                f"The 'n_subspaces' parameter of Sluice must be at most {narrowest}, "
                f"the width of the encoder's narrowest layer. Got {self.n_subspaces}."
            )
        return _Sluice(columns, n_tasks, self)


class _Sluice(_CrossStitch):
    def __init__(self, columns: EncoderModule, n_tasks: int, spec: Sluice) -> None:
        super().__init__(columns, n_tasks * spec.n_subspaces, spec.self_weight)
        self.n_subspaces, self.orthogonality = spec.n_subspaces, spec.orthogonality
        *earlier, last = columns.shapes
        self.read = [i for i, s in enumerate(earlier) if s == last and spec.skips]
        if self.read:  # weights of these and of the last, less where they start
            self.skips = nn.Parameter(torch.zeros(n_tasks, len(self.read) + 1))

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        if not self.read:
            return super().forward(X)
        H, read, last = X, [], len(self.columns.shapes) - 1
        for i in range(last):
            H = self.mix(i, self.columns.step(i, H))  # (tasks, n, ...)
            if i in self.read:
                read.append(H)
        read.append(self.columns.step(last, H))
        # All that tasks read goes through one tensor, for gradient balancing to see.
        shared = torch.stack(read).movedim(2, 0)  # (n, layers, tasks, width)
        *skipped, H = shared.permute(1, 2, 0, 3)  # (tasks, n, width) each
        H = self.mix(last, H)
        skips = torch.einsum("tl,ltnw->tnw", self.skips, torch.stack([*skipped, H]))
        return (H + skips).transpose(0, 1), shared

    def mix(self, i: int, H: Tensor) -> Tensor:
        """Mix the subspaces of features after step i, of shape (n_tasks, n, ...)."""
        T, n, width, *size = H.shape
        S = self.n_subspaces
        H = F.pad(H, [0, 0] * len(size) + [0, -width % S]).reshape(T, n, -1, S, *size)
        W = self.weights(i).view(T, S, T, S)
        return torch.einsum("tiuj,unkj...->tnki...", W, H).flatten(2, 3)[:, :, :width]

    def penalty(self) -> Tensor | None:
        if not self.orthogonality or self.n_subspaces == 1:
            return None
        weights = [W for i in range(len(self.columns.shapes)) for W in self._into(i)]
        overlaps = [_measure_overlap(W, self.n_subspaces) for W in weights]
        if not overlaps:  # an encoder may have no parameters
            return None
        return self.orthogonality / self.columns.n_copies * torch.stack(overlaps).sum()

    def _into(self, i: int) -> list[Tensor]:
        """Return weights with a row per feature after step i, (tasks, width, ...)."""
        columns, width = self.columns, self.columns.shapes[i][0]
        step = columns.steps()[i]
        stacks = columns.stacks().values() if step is columns else step.parameters()
        # A single network may leave out the axis of copies.
        weights = [W if len(W) == columns.n_copies else W[None] for W in stacks]
        return [W.flatten(2) for W in weights if W.ndim > 2 and W.shape[1] == width]


def _measure_overlap(W: Tensor, n_subspaces: int) -> Tensor:
    """Return the sum over pairs of subspaces of their squared products."""
    subspace = torch.arange(W.shape[1], device=W.device) % n_subspaces
    return (W @ W.mT).square().where(subspace.unsqueeze(1) != subspace, 0).sum() / 2
