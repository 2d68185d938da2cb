"""One process that trains, or several that share the rows of every batch."""

import io
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skmtl.training._torch_state import SideStream, draw_initial_seed


class Processes:
    """The processes of a training: one, for which every method has nothing to do."""

    # n: Their number.
    # is_main: Whether this is the one that shows, warns and writes.

    n = 1
    is_main = True

    def share(self, rows: Tensor, dim: int = 0) -> Tensor:
        """Return the part of a batch's rows that this process takes."""
        return rows

    def all_reduce_losses(
        self, losses: Tensor, counts: Tensor | None, n_rows: int
    ) -> tuple[Tensor, Tensor | None]:
        """Return means over the labels of all processes."""
        # losses of shape (..., n_tasks), counts of shape (..., n_tasks); returns losses
        # of shape (..., n_tasks), counts of shape (..., n_tasks).
        return losses, counts

    def divide_by_processes(self, term: Tensor | None) -> Tensor | None:
        """Return what is the same in all processes, so that its gradients add up."""
        return term

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum over processes."""
        return tensor

    def all_reduce_many(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return sums over processes, in one go."""
        return tensors

    def sum_gradients(self, parameters: list[Tensor], alike: Iterable[Tensor]) -> None:
        """Add up gradients over processes, but for those that are alike in all."""

    def all_gather(self, rows: Tensor, dim: int = 0) -> Tensor:
        """Return the rows of all processes, in the order that they were shared in."""
        return rows

    def apply_to_all(
        self, function: Callable[..., Tensor], *tensors: Tensor, dim: int = 0
    ) -> Tensor:
        """Return own rows of what a function makes of the rows of all processes."""
        # Returns (n, ...).
        return function(*tensors)

    def broadcast_object(self, make: Callable[[], Any]) -> Any:
        """Return what the main process makes."""
        return make()

    def all_gather_object(self, value: object) -> list[Any]:
        """Return an object of every process."""
        return [value]

    def broadcast_state(self, *modules: nn.Module) -> None:
        """Give modules the state that they have in the main process."""

    def average_buffers(self, module: nn.Module) -> None:
        """Give buffers, such as statistics of batches, their mean over processes."""

    def begin_pass(self, *numbers: int) -> None:
        """Let what processes draw for themselves begin anew, by some numbers."""

    def draw_separately(self) -> AbstractContextManager[None]:
        """Draw what differs between processes; all else is drawn alike."""
        # Such are dropout and augmentation: as shares of rows differ in size, processes
        # that drew them in common would part.
        return nullcontext()

    def silence_others(self) -> AbstractContextManager[None]:
        """Keep warnings to the main process."""
        return nullcontext()


class AccelerateProcesses(Processes):
    """Processes that Accelerate connects."""

    def __init__(self, accelerator: Any) -> None:
        _import_what_would_keep_the_group()
        self._accelerator = accelerator
        self.n = int(accelerator.num_processes)
        self.rank = int(accelerator.process_index)
        self.is_main = bool(accelerator.is_main_process)
        self.device = accelerator.device
        self._own: SideStream | None = None

    def share(self, rows: Tensor, dim: int = 0) -> Tensor:
        """Return the part of a batch's rows that this process takes."""
        size = rows.shape[dim]
        start, stop = (size * rank // self.n for rank in (self.rank, self.rank + 1))
        return rows.narrow(dim, start, stop - start)

    def all_reduce_losses(
        self, losses: Tensor, counts: Tensor | None, n_rows: int
    ) -> tuple[Tensor, Tensor | None]:
        """Return means over the labels of all processes."""
        local_losses = losses.detach()
        local_counts = (
            torch.full_like(local_losses, n_rows) if counts is None else counts
        )
        sums, counts = self.all_reduce(
            torch.stack([local_losses * local_counts, local_counts])
        )
        counted = counts.where(counts > 0, 1.0)
        return _Whole.apply(losses * (local_counts / counted), sums / counted), counts

    def divide_by_processes(self, term: Tensor | None) -> Tensor | None:
        """Return what is the same in all processes, so that its gradients add up."""
        if term is not None and term.requires_grad:
            term.register_hook(lambda gradient: gradient / self.n)
        return term

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum over processes."""
        return self._accelerator.reduce(tensor, reduction="sum")  # type: ignore[no-any-return]

    def all_reduce_many(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return sums over processes, in one go."""
        flat = self.all_reduce(_join_vectors(tensors))
        return _split_vector(flat, tensors)

    def sum_gradients(self, parameters: list[Tensor], alike: Iterable[Tensor]) -> None:
        """Add up gradients over processes, but for those that are alike in all."""
        trained = [p for p in parameters if p.requires_grad]
        once = set() if self.is_main else set(alike)
        gradients = [
            torch.zeros_like(p) if p.grad is None or p in once else p.grad
            for p in trained
        ]
        has = [p.grad is not None for p in trained]
        *totals, reached = self.all_reduce_many(
            [*gradients, gradients[0].new_tensor(has)]
        )
        if not all(has):  # what one process does not reach, another may
            has = (reached > 0).tolist()
        for parameter, total, any_has in zip(trained, totals, has, strict=True):
            parameter.grad = total if any_has else None

    def all_gather(self, rows: Tensor, dim: int = 0) -> Tensor:
        """Return the rows of all processes, in the order that they were shared in."""
        return self._join_shards(rows, self._sizes(rows.shape[dim]), dim)

    def apply_to_all(
        self, function: Callable[..., Tensor], *tensors: Tensor, dim: int = 0
    ) -> Tensor:
        """Return own rows of what a function makes of the rows of all processes."""
        sizes = self._sizes(tensors[0].shape[dim])
        outputs = function(
            *(self._join_shards(tensor, sizes, dim) for tensor in tensors)
        )
        return outputs.narrow(0, sum(sizes[: self.rank]), sizes[self.rank])

    def _sizes(self, n_rows: int) -> list[int]:
        n_local = torch.tensor([n_rows], device=self.device)
        return self._accelerator.gather(n_local).tolist()  # type: ignore[no-any-return]

    def _join_shards(self, tensor: Tensor, sizes: list[int], dim: int) -> Tensor:
        rows, most = tensor.detach().movedim(dim, 0), max(sizes)
        padded = rows.new_zeros(most, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = self._accelerator.gather(padded).split(most)
        joined = torch.cat([p[:size] for p, size in zip(parts, sizes, strict=True)])
        return joined.movedim(0, dim).contiguous()

    def broadcast_object(self, make: Callable[[], Any]) -> Any:
        """Return what the main process makes."""
        from accelerate.utils import broadcast_object_list

        sent = io.BytesIO()
        if self.is_main:
            torch.save(make(), sent)
        (content,) = broadcast_object_list([sent.getvalue()])
        # All of it is this program's own.
        return torch.load(
            io.BytesIO(content), map_location=self._here, weights_only=False
        )

    def _here(self, storage: Any, location: str) -> Any:
        """Return what was on the main process's device on that of this one."""
        where = location if location == "cpu" else str(self.device)
        return torch.serialization.default_restore_location(storage, where)

    def all_gather_object(self, value: object) -> list[Any]:
        """Return an object of every process."""
        from accelerate.utils import gather_object

        return gather_object([value])  # type: ignore[no-any-return]

    def broadcast_state(self, *modules: nn.Module) -> None:
        """Give modules the state that they have in the main process."""
        for module in modules:
            for tensors in _group_by_type([*module.parameters(), *module.buffers()]):
                flat = self._broadcast_from_main(_join_vectors(tensors))
                _fill(tensors, flat)

    def average_buffers(self, module: nn.Module) -> None:
        """Give buffers, such as statistics of batches, their mean over processes."""
        for tensors in _group_by_type(module.buffers()):
            local = _join_vectors(tensors)
            first = self._broadcast_from_main(
                local.clone()
            )  # what is alike stays so to the last bit
            mean = first + self.all_reduce(local - first) / self.n
            _fill(tensors, mean.where(first.isfinite(), first))

    def _broadcast_from_main(self, flat: Tensor) -> Tensor:
        from accelerate.utils import broadcast

        return broadcast(flat)  # type: ignore[no-any-return]

    def begin_pass(self, *numbers: int) -> None:
        """Let what processes draw for themselves begin anew, by some numbers."""
        entropy = np.random.SeedSequence([draw_initial_seed(), *numbers, self.rank])
        seed = int(entropy.generate_state(1, np.uint64)[0] >> np.uint64(1))
        self._own = SideStream(seed, self.device)

    def draw_separately(self) -> AbstractContextManager[None]:
        """Draw what differs between processes."""
        return nullcontext() if self._own is None else self._own.draw_from()

    @contextmanager
    def silence_others(self) -> Iterator[None]:
        """Keep warnings to the main process."""
        with warnings.catch_warnings():
            if not self.is_main:
                warnings.simplefilter("ignore")
            yield


#: A training in one process.
SINGLE_PROCESS: Processes = Processes()


def _import_what_would_keep_the_group() -> None:
    """Import what optimizers of torch import, as if processes were not connected."""
    # Functions of `torch.distributed.nn` take the group that there is when they are
    # imported as a default. It would outlive `Accelerator.end_training`, and its
    # threads would abort a process that ends while they let go of a tensor.
    if "torch.distributed.nn" in sys.modules:
        return
    from torch.distributed import GroupMember

    group, GroupMember.WORLD = GroupMember.WORLD, None
    try:
        import torch.distributed.nn  # noqa: F401
    finally:
        GroupMember.WORLD = group


class _Whole(torch.autograd.Function):
    """Goes forward to what processes have together, and back to the part of one."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, whole: Tensor) -> Tensor:  # noqa: ARG004
        return whole.view_as(whole)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:  # noqa: ARG004
        return gradients[0], None


def _group_by_type(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Return tensors of floating-point numbers, those of one type together."""
    groups: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.is_floating_point():
            groups.setdefault(tensor.dtype, []).append(tensor.detach())
    return list(groups.values())


def _fill(tensors: list[Tensor], flat: Tensor) -> None:
    for old, new in zip(tensors, _split_vector(flat, tensors), strict=True):
        if not torch.equal(old, new):
            old.copy_(new)


def _join_vectors(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _split_vector(flat: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Undo `_join_vectors`, on the same memory."""
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [p.view(t.shape) for p, t in zip(parts, tensors, strict=True)]
