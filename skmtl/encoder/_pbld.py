"""Periodic embeddings of numbers beside these numbers."""

import math

import torch
from torch import Tensor, nn

from skmtl.encoder._table import Embedding

#: Frequencies per column, width of its embedding, deviation of the frequencies.
N_FREQUENCIES, DIM, SCALE = 8, 3, 0.3
#: Number of columns above which embeddings would cost too much: they multiply the cost
#: of a step by 2 at 72 columns, 5 at 300 and 9 at 1000.
MOST = 500


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
        """Map (n, n_features), or such of every copy, to their embeddings."""
        # Embeddings have shape (n_copies, n, n_features, dim).
        turn = 2 * math.pi
        v = torch.addcmul(turn * self.phase, turn * self.frequency, X.mT.unsqueeze(-2))
        waves = v.cos().flatten(0, 1)  # (copies x features, frequencies, n)
        H = torch.baddbmm(self.bias.flatten(0, 1), self.weight.flatten(0, 1), waves)
        H = H.relu().view(*self.bias.shape[:3], -1)  # (copies, features, dim, n)
        return H.permute(0, 3, 1, 2)
