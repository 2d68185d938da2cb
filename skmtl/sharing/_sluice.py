"""Sluice networks."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skmtl._validation import Interval
from skmtl.sharing._base import Sharing, SharingModule
from skmtl.sharing._cross_stitch import _CrossStitch

if TYPE_CHECKING:
    from skmtl.encoder import Encoder, EncoderModule


class Sluice(Sharing):
    r"""One network per task, mixed by subspaces, with learned skips [1]_.

    After each layer, a task's features are cut into S subspaces and every subspace goes
    on as a learned mixture of all tasks' subspaces,
    :math:`\tilde h_{ti} = \sum_{s,j} \alpha_{ti,sj} h_{sj}`, so that tasks may share some
    of their features and keep others. A task's head reads a learned mixture
    :math:`\sum_l \beta_{tl} \tilde h_t^{(l)}` of its features after several layers. With
    one subspace and no skips these are cross-stitch networks.

    Parameters
    ----------
    n_subspaces : int, default=2
        Number of subspaces of a task's features after a layer; of channels, for images.
    skips : bool, default=True
        Whether heads read earlier layers too: those whose output has the shape of the
        last one's, which is all there is to read at the start.
    self_weight : float, default=0.9
        Weight of a subspace in its own mixture at the start; the rest is spread evenly.
    orthogonality : float, default=0.0
        Weight in the loss of what keeps a task's subspaces different,
        :math:`\frac{1}{T} \sum_t \sum_l \sum_{i<j} \lVert W_{ti} W_{tj}^\top \rVert_F^2`,
        where the rows of :math:`W_{ti}` are the weights of layer l that lead to
        subspace i.

    Notes
    -----
    Feature f lies in subspace f mod S. Features have no order, so this is as good as
    blocks of neighbours, and where S does not divide their number, sizes differ by one.
    Each layer has one weight per pair of subspaces of all tasks.

    As in `CrossStitch`, differences from the start are learned, which weight decay draws
    to zero. In [1]_ the penalty is a sum over tasks; the mean keeps its weight as tasks
    are added.

    References
    ----------
    .. [1] S. Ruder, J. Bingel, I. Augenstein and A. Søgaard, "Latent Multi-task
       Architecture Learning", AAAI 2019.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.sharing import Sluice
    >>> MultiTaskClassifier(sharing=Sluice(n_subspaces=4)).sharing.n_subspaces
    4
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
        columns = encoder.build(input_shape, n_tasks).probed(input_shape)
        narrowest = min(shape[0] for shape in columns.shapes)
        if self.n_subspaces > narrowest:
            raise ValueError(
                f"The 'n_subspaces' parameter of Sluice must be at most {narrowest}, the "
                "number of features after the narrowest layer of the encoder. Got "
                f"{self.n_subspaces}."
            )
        return _Sluice(columns, n_tasks, self)


class _Sluice(_CrossStitch):
    def __init__(self, columns: EncoderModule, n_tasks: int, spec: Sluice) -> None:
        super().__init__(columns, n_tasks * spec.n_subspaces, spec.self_weight)
        self.n_subspaces = spec.n_subspaces
        self.orthogonality = spec.orthogonality
        *earlier, last = columns.shapes
        self.read = [i for i, s in enumerate(earlier) if s == last and spec.skips]
        n_read = len(self.read) + 1
        self.register_buffer("last", F.one_hot(torch.tensor(n_read - 1)).float())
        if self.read:
            self.skip_deviations = nn.Parameter(torch.zeros(n_tasks, n_read))

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        if not self.read:
            return super().forward(X)
        last = len(self.columns.shapes) - 1
        H, read = X, []
        for i in range(last):
            H = self.mixed(i, self.columns.step(i, H))  # (tasks, n, ...)
            if i in self.read:
                read.append(H)
        read.append(self.columns.step(last, H))
        # All that tasks read goes through one tensor, for gradient balancing to see.
        shared = torch.stack(read).movedim(2, 0)  # (n, layers, tasks, width)
        *skipped, H = shared.transpose(1, 2).transpose(0, 1).unbind(2)  # (tasks, n, w)
        outputs = torch.stack([*skipped, self.mixed(last, H)])
        return torch.einsum("tl,ltnw->ntw", self.skips(), outputs), shared

    def skips(self) -> Tensor:
        """Return the weights of the layers that heads read, (n_tasks, n_layers)."""
        return self.last + self.skip_deviations

    def mixed(self, i: int, H: Tensor) -> Tensor:
        """Mix the subspaces of features after step i, of shape (n_tasks, n, ...)."""
        S, width = self.n_subspaces, H.shape[2]
        padding = [0, 0] * (H.ndim - 3) + [0, -width % S]
        H = F.pad(H, padding).unflatten(2, (-1, S))  # (tasks, n, width / S, S, ...)
        W = self.weights(i).unflatten(0, (-1, S)).unflatten(2, (-1, S))
        H = torch.einsum("tiuj,unkj...->tnki...", W, H)
        return H.flatten(2, 3)[:, :, :width]

    def penalty(self) -> Tensor | None:
        weights = [W for i in range(len(self.columns.shapes)) for W in self._into(i)]
        if not self.orthogonality or self.n_subspaces == 1 or not weights:
            return None
        overlaps = [_overlap(W, self.n_subspaces) for W in weights]
        return self.orthogonality / self.columns.n_copies * torch.stack(overlaps).sum()

    def _into(self, i: int) -> list[Tensor]:
        """Return weights with a row per feature after step i, (tasks, width, ...)."""
        step, n_copies = self.columns.steps()[i], self.columns.n_copies
        named = self.columns.stacks() if step is self.columns else None
        parameters = step.parameters() if named is None else named.values()
        # A single network may leave out the axis of copies.
        stacks = [p if len(p) == n_copies else p.unsqueeze(0) for p in parameters]
        width = self.columns.shapes[i][0]
        return [p.flatten(2) for p in stacks if p.ndim > 2 and p.shape[1] == width]


def _overlap(W: Tensor, n_subspaces: int) -> Tensor:
    """Return the sum over pairs of subspaces of their squared products."""
    subspace = torch.arange(W.shape[1], device=W.device) % n_subspaces
    apart = subspace.unsqueeze(1) != subspace
    return (W @ W.mT).square().where(apart, 0).sum() / 2
