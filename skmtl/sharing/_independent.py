"""Nothing shared: one network per task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from skmtl.sharing._base import Sharing, SharingModule

if TYPE_CHECKING:
    from skmtl.encoder import Encoder, EncoderModule


class Independent(Sharing):
    """One network per task, nothing shared.

    The baseline that shows whether sharing helps. The networks train at once as
    stacked tensors, with the same arithmetic as separate models on the same batches.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> MultiTaskClassifier(sharing="independent").sharing
    'independent'
    """

    name = "independent"

    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build one column per task."""
        return _Independent(encoder.build(input_shape, n_tasks))


class _Independent(SharingModule):
    def __init__(self, columns: EncoderModule) -> None:
        super().__init__()
        self.columns = columns
        self.width = columns.width
        self.n_separate = columns.n_copies

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.columns(X).transpose(0, 1), None  # (n, tasks, width)
