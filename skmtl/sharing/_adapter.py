"""Low-rank adapters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from skmtl._core.layers import FunctionalModule, detach_in_inference
from skmtl._core.validation import Interval
from skmtl.sharing._base import Sharing, SharingModule
from skmtl.sharing._hard import HardModule

if TYPE_CHECKING:
    from skmtl.encoder import Encoder, EncoderModule


class Adapter(Sharing):
    r"""One shared encoder, whose weights differ by a low-rank matrix per task.

    Task t uses :math:`W + B_t A_t` in place of every weight matrix W, with B of
    ``rank`` columns and A of as many rows, as low-rank adaptation does [1]_; residual
    adapters [2]_ brought the idea to learning several tasks. All else, such as biases,
    is shared.

    Parameters
    ----------
    rank : int, default=4
        Rank of what sets the tasks' weights apart. Zero is hard sharing.

    Notes
    -----
    Weights of convolutions are matrices with one row per output channel. What is a
    single row or column, and what an embedding looks up, is shared. B starts at zero:
    training starts at hard sharing, to which weight decay draws it. In [1]_ the shared
    weights are trained beforehand and then kept; here all are trained together, and
    :math:`B_t A_t` has no factor of its own.

    Statistics of batch normalisation, and other buffers, are those of one network per
    task. Tasks share weights and no features: what gradient balancing sees at the
    representation is the size of each task's gradient.

    References
    ----------
    .. [1] E. J. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models",
       ICLR 2022.
    .. [2] S.-A. Rebuffi, H. Bilen and A. Vedaldi, "Learning multiple visual domains
       with residual adapters", NeurIPS 2017.

    Examples
    --------
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.sharing import Adapter
    >>> MultiTaskClassifier(sharing=Adapter(rank=2)).sharing
    Adapter(rank=2)
    """

    name = "adapter"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "rank": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(self, rank: int = 4) -> None:
        self.rank = rank

    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build the shared weights and what each task adds to them."""
        shared = encoder.build(input_shape, 1)
        if n_tasks == 1 or not self.rank:
            return HardModule(shared)
        columns = encoder.build(input_shape, n_tasks)
        shapes = [stack.shape[1:] for stack in columns.stacks().values()]
        tables = _embeddings(shared)
        adapted = [
            i
            for i, parameter in enumerate(shared.parameters())
            if min(_as_matrix(shapes[i])) > 1 and id(parameter) not in tables
        ]
        if not adapted:
            return HardModule(shared)
        narrowest = min(shapes[i][0] for i in adapted)
        if self.rank > narrowest:
            raise ValueError(
                f"The 'rank' parameter of Adapter must be at most {narrowest}, the "
                f"width of the encoder's narrowest layer. Got {self.rank}."
            )
        return _Adapter(shared, columns, adapted, self.rank)


class _Adapter(SharingModule):
    def __init__(
        self,
        shared: EncoderModule,
        columns: EncoderModule,
        adapted: list[int],
        rank: int,
    ) -> None:
        super().__init__()
        stacks = columns.stacks()
        self.width, self.n_tasks = columns.width, columns.n_copies
        self.names = list(stacks)
        self.shared = nn.ParameterList(
            parameter.detach().reshape(stack.shape[1:])
            for parameter, stack in zip(
                shared.parameters(), stacks.values(), strict=True
            )
        )
        self.adapted = adapted
        self.A, self.B = nn.ParameterList(), nn.ParameterList()
        for i in adapted:
            n_outputs, n_inputs = _as_matrix(self.shared[i].shape)
            A = torch.empty(self.n_tasks, rank, n_inputs)
            bound = 1 / math.sqrt(n_inputs)  # as torch.nn.Linear starts
            self.A.append(nn.init.uniform_(A, -bound, bound))
            self.B.append(torch.zeros(self.n_tasks, n_outputs, rank))
        self.network = FunctionalModule(columns)

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        shared = map(detach_in_inference, self.shared)
        stacks = [W.expand(self.n_tasks, *W.shape) for W in shared]
        for i, A, B in zip(self.adapted, self.A, self.B, strict=True):
            W = self.shared[i]
            stacks[i] = torch.baddbmm(W.flatten(1), B, A).view(-1, *W.shape)
        named = dict(zip(self.names, stacks, strict=True))
        columns: EncoderModule = self.network.skeleton  # type: ignore[assignment]
        H = self.network(columns.from_stacks(named), X).transpose(0, 1)
        return H, H  # (n, tasks, width)

    def shared_parameters(self) -> Iterable[nn.Parameter]:
        return self.shared


def _as_matrix(shape: torch.Size) -> tuple[int, int]:
    """Return the numbers of rows and columns of a weight of any number of axes."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))


def _embeddings(network: nn.Module) -> set[int]:
    """Return the ids of the parameters that embeddings look up."""
    return {
        id(parameter)
        for module in network.modules()
        if any("Embedding" in cls.__name__ for cls in type(module).__mro__)
        for parameter in module.parameters(recurse=False)
    }
