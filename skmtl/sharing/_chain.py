"""Classifier chains: later tasks see what earlier ones predict."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor, nn

from skmtl._core.validation import SEQUENCES, Interval, StrOptions, resolve_tasks
from skmtl.sharing._base import Sharing, SharingModule
from skmtl.sharing._hard import HardModule

if TYPE_CHECKING:
    from skmtl._data.output_kinds import OutputBlock
    from skmtl.encoder import Encoder, EncoderModule


class Chain(Sharing):
    r"""Hard sharing in a chain of tasks, each of which sees earlier tasks' outputs.

    Task t has outputs :math:`z_t = W_t h + \sum_{s \prec t} C_{ts} \phi(z_s)`: the
    classifier chain [1]_ of models that are linear in shared features h and in earlier
    predictions :math:`\phi`, which are probabilities of classes, 2p - 1 where there are
    two, and values of regression tasks. C starts at zero, which is hard sharing. Unlike
    in the paper, tasks see predictions and not labels while training, so that labels
    may be missing, and ensembles average outputs with learned weights, not votes.

    Parameters
    ----------
    order : {"ensemble", "label_count"}, sequence or None, default=None
        Names or numbers of all tasks. "label_count" starts with the task that has most
        labels, "ensemble" averages over random orders, None keeps the order of y.
    n_orders : int, default=10
        Number of orders of an ensemble; not used for a single order.
    n_stages : int, default=8
        The order is cut into at most so many runs of tasks, which see earlier runs:
        with no more tasks than stages that is the paper's chain.

    References
    ----------
    .. [1] J. Read, B. Pfahringer, G. Holmes and E. Frank, "Classifier Chains for
       Multi-label Classification", ECML PKDD 2009.

    Examples
    --------
    ``module_.coupling`` holds the ``orders``, their ``order_weights`` and ``links`` C.

    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.sharing import Chain
    >>> MultiTaskClassifier(sharing=Chain(order=["c", "a", "b"])).sharing
    Chain(order=['c', 'a', 'b'])
    """

    name = "chain"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "order": [StrOptions({"ensemble", "label_count"}), *SEQUENCES, None],
        "n_orders": [Interval(Integral, 1, None, closed="left")],
        "n_stages": [Interval(Integral, 2, None, closed="left")],
    }

    def __init__(
        self,
        order: str | Sequence[Any] | NDArray[Any] | None = None,
        n_orders: int = 10,
        n_stages: int = 8,
    ) -> None:
        self.order = order
        self.n_orders = n_orders
        self.n_stages = n_stages

    def for_tasks(self, names: Sequence[Any], n_labels: Sequence[int]) -> Self:
        """Return the spec with an order of task numbers, or "ensemble"."""
        order: Any = self.order
        if order is None:
            order = list(range(len(names)))
        elif isinstance(order, str) and order == "label_count":
            order = sorted(range(len(names)), key=lambda t: -n_labels[t])
        elif not isinstance(order, str):
            order = resolve_tasks(order, names, "The 'order' parameter of Chain")
        return clone(self).set_params(order=order)  # type: ignore[no-any-return]

    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build the one encoder and fix the orders."""
        orders = [self.for_tasks(range(n_tasks), [1] * n_tasks).order]
        if orders == ["ensemble"]:
            orders = [torch.randperm(n_tasks).tolist() for _ in range(self.n_orders)]
        return _Chain(encoder.build(input_shape, 1), orders, self.n_stages)


class _Chain(HardModule):
    def __init__(self, encoder: EncoderModule, orders: Any, n_stages: int) -> None:
        super().__init__(encoder)
        self.orders = orders
        self.n_stages = n_stages

    def coupling(self, blocks: Sequence[OutputBlock]) -> nn.Module | None:
        several = sum(len(block.tasks) for block in blocks) > 1
        return _Links(blocks, self.orders, self.n_stages) if several else None


class _Links(nn.Module):
    orders: Tensor
    order_logits: Tensor | None
    seen: Tensor

    def __init__(
        self, blocks: Sequence[OutputBlock], orders: Any, n_stages: int
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.register_buffer("orders", torch.tensor(orders))
        n_orders, n_tasks = self.orders.shape
        self.n_stages = min(n_stages, n_tasks)
        stage = self.orders.argsort(dim=1) * self.n_stages // n_tasks
        sizes = [item for b in blocks for item in zip(b.tasks, b.sizes, strict=True)]
        stage = stage[:, [task for task, size in sizes for _ in range(size)]]
        self.register_buffer("seen", stage.unsqueeze(1) < stage.unsqueeze(2))
        self.links = nn.Parameter(torch.zeros(self.seen.shape))
        logits = nn.Parameter(torch.zeros(n_orders)) if n_orders > 1 else None
        self.register_parameter("order_logits", logits)
        for i, b in enumerate(blocks):
            self.register_buffer(f"columns_{i}", torch.from_numpy(b.padded_columns))

    @property
    def order_weights(self) -> Tensor:
        logits = self.order_logits
        return self.links.new_ones(1) if logits is None else logits.softmax(dim=0)

    def forward(self, outputs: Tensor) -> Tensor:
        start = outputs.expand(len(self.links), -1, -1)  # (orders, n, outputs)
        links, Z = (self.links * self.seen).mT, start
        for _ in range(self.n_stages - 1):  # each settles the outputs of one more stage
            parts = [self._read_outputs(i, b, Z) for i, b in enumerate(self.blocks)]
            Z = torch.baddbmm(start, torch.cat(parts, dim=2), links)
        return torch.einsum("r,rno->no", self.order_weights, Z)

    def _read_outputs(self, i: int, block: OutputBlock, Z: Tensor) -> Tensor:
        columns: Tensor = getattr(self, f"columns_{i}")
        return block.compute_link_inputs(block.select(Z), columns)
