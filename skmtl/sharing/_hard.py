"""Hard parameter sharing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import Tensor, nn

from skmtl.sharing._base import Sharing, SharingModule

if TYPE_CHECKING:
    from skmtl.encoder import Encoder, EncoderModule


class Hard(Sharing):
    """One encoder for all tasks and one head per task.

    Every task trains all of the encoder [1]_.

    References
    ----------
    .. [1] R. Caruana, "Multitask Learning", Machine Learning 28, 1997.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.sharing import Hard
    >>> MultiTaskClassifier(sharing=Hard()).sharing
    Hard()
    """

    name = "hard"

    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build the one encoder."""
        return HardModule(encoder.build(input_shape, 1))


class HardModule(SharingModule):
    """One encoder that all tasks share."""

    same_features = True

    def __init__(self, encoder: EncoderModule) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = encoder.width

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        H = self.encoder.single(X)  # (n, width): all heads read the same
        return H, H

    def shared_parameters(self) -> Iterable[nn.Parameter]:
        return self.encoder.parameters()
