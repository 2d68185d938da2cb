"""Periodic embeddings of numbers beside these numbers."""

import math

import torch
from torch import Tensor, nn

from skmtl.encoder._table import Embedding

#: Frequencies per column, width of its embedding, deviation of the frequencies.
N_FREQUENCIES, DIM, SCALE = 8, 3, 0.3


class PBLD(Embedding):
    r"""Periodic embedding of every column of numbers, for use beside the numbers.

    A number x becomes :math:`\mathrm{ReLU}(W \cos(2 \pi (c x + s)) + b)`, where the
    frequencies c, the phases s, W and b are learned for each column: "PBLD" of [1]_,
    with the activation of "PLR". Features are laid out one after the other, samples
    side by side, so that nothing on the way has to be transposed.

    Parameters
    ----------
    n_copies : int
        Number of networks.
    n_features : int
        Number of columns.

    References
    ----------
    .. [1] D. Holzmueller, L. Grinsztajn and I. Steinwart, "Better by Default: Strong
       Pre-Tuned MLPs and Boosted Trees on Tabular Data", NeurIPS 2024.
    """

    dim = DIM
    beside = True

    def __init__(self, n_copies: int, n_features: int) -> None:
        super().__init__()
        shape = n_copies, n_features, N_FREQUENCIES, 1
        self.frequency = nn.Parameter(SCALE * torch.randn(shape))
        self.phase = nn.Parameter(torch.rand(shape) - 0.5)
        bound = N_FREQUENCIES**-0.5  # as torch.nn.Linear
        self.weight = nn.Parameter(torch.empty(*shape[:2], DIM, N_FREQUENCIES))
        self.bias = nn.Parameter(torch.empty(*shape[:2], DIM, 1))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, X: Tensor) -> Tensor:
        """Map (n, n_features), or such of every copy, to their embeddings.

        Embeddings have shape (n_copies, n, n_features, dim).
        """
        lines = 2 * math.pi * torch.cat([self.frequency, self.phase], dim=3)
        points = torch.stack([X.mT, torch.ones_like(X.mT)], dim=-2)  # (features, 2, n)
        v = lines @ points  # (copies, features, frequencies, n)
        H = self.weight @ v.cos() + self.bias  # (copies, features, dim, n)
        return H.relu().permute(0, 3, 1, 2)
