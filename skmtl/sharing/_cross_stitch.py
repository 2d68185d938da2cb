"""Cross-stitch networks."""

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


class CrossStitch(Sharing):
    r"""Cross-stitch networks: one network per task, mixed after each layer.

    Task t goes on from :math:`\tilde h_t = \sum_s \alpha_{ts} h_s` with learned
    weights :math:`\alpha`, which start at ``self_weight`` for the task's own features
    and at (1 - ``self_weight``) / (T - 1) for those of every other task.

    Parameters
    ----------
    self_weight : float, default=0.9
        Weight of a task's own features at the start. One starts as independent
        networks.

    Notes
    -----
    Each layer has one weight per pair of tasks, and mixing takes that many products
    per feature: with very many tasks, prefer strategies with a fixed number of
    experts.

    What is learned is the difference from the start, so that weight decay draws the
    mixing to its start and not to zero. In [1]_ the weights have a learning rate of
    their own, 100 to 1,000 times that of the layers; here all have the same, since
    AdamW takes steps of the same size whatever the scale of the gradients. An encoder
    without layers to be walked is mixed once, after it.

    References
    ----------
    .. [1] I. Misra, A. Shrivastava, A. Gupta and M. Hebert, "Cross-Stitch Networks for
       Multi-task Learning", CVPR 2016.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.sharing import CrossStitch
    >>> X, Y = [[0.0], [1.0], [2.0], [3.0]], [[0, 3], [1, 2], [2, 1], [3, 0]]
    >>> est = MultiTaskRegressor(CrossStitch(), max_iter=1, random_state=0).fit(X, Y)
    >>> est.module_.member(0).sharing.mixing().shape  # layers, tasks, tasks
    torch.Size([2, 2, 2])
    """

    name = "cross_stitch"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "self_weight": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, self_weight: float = 0.9) -> None:
        self.self_weight = self_weight

    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build one column per task and what mixes them."""
        columns = encoder.build(input_shape, n_tasks).probe(input_shape)
        return _CrossStitch(columns, n_tasks, self.self_weight)


class _CrossStitch(SharingModule):
    start: Tensor

    def __init__(
        self, columns: EncoderModule, n_units: int, self_weight: float
    ) -> None:
        super().__init__()
        self.columns = columns
        self.width = columns.width
        is_single = n_units == 1  # with nobody to mix with
        others = 0.0 if is_single else (1 - self_weight) / (n_units - 1)
        start = torch.full((n_units, n_units), others)
        start.fill_diagonal_(1.0 if is_single else self_weight)
        self.register_buffer("start", start)
        # One parameter per step: those of the last are no two tasks'.
        self.deviations = nn.ParameterList(
            torch.zeros(n_units, n_units)
            for _ in range(0 if is_single else len(columns.shapes))
        )

    def weights(self, i: int) -> Tensor:
        """Return the mixing after step i, of shape (n_units, n_units)."""
        return self.start + self.deviations[i] if len(self.deviations) else self.start

    def mixing(self) -> Tensor:
        """Return the mixing after each step, of shape (n_steps, n_units, n_units)."""
        n_steps = len(self.columns.shapes)
        return torch.stack([self.weights(i).detach() for i in range(n_steps)])

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        last = len(self.columns.shapes) - 1
        H = X
        for i in range(last):
            H = self.mix(i, self.columns.step(i, H))  # (tasks, n, ...)
        H = self.columns.step(last, H).transpose(0, 1)  # (n, tasks, width)
        return self.mix(last, H.transpose(0, 1)).transpose(0, 1), H

    def mix(self, i: int, H: Tensor) -> Tensor:
        """Mix features after step i, of shape (n_tasks, n, ...)."""
        return torch.einsum("ts,s...->t...", self.weights(i), H)

    def shared_parameters(self) -> Iterable[nn.Parameter]:
        if len(self.deviations):
            yield from self.columns.parameters()
            yield from list(self.deviations)[:-1]
