"""How a step on one task changes the losses of all, looked at while a net trains."""

import warnings
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.callbacks import Callback
from torch import Tensor
from torch.func import functional_call

from skmtl.training._batches import Batch
from skmtl.training._gradients import TaskGradients
from skmtl.training._torch_state import allow_reusable_graphs

if TYPE_CHECKING:
    from skmtl.training._net import MultiTaskNet

#: Tasks that a look steps on. More of them take turns, so that a look costs no more.
AT_ONCE = 8
#: Looks per epoch: the fewest, and tasks for which there is one more.
LOOKS, TASKS_PER_LOOK = 3, 40


class Lookahead(Callback):
    """Look at batches of a training for how tasks affect each other."""

    # A look takes a step on each of some tasks alone, forgets it, and draws nothing at
    # random, so that the training is as it would be without.

    def __init__(
        self, every: int | None = None, step_size: float | None = 0.01
    ) -> None:
        self.every = every
        self.step_size = step_size

    def on_train_begin(self, net: "MultiTaskNet", **kwargs: Any) -> None:
        """Forget earlier trainings."""
        self.n_batches_ = self.n_looks_ = 0
        self._batched = True
        self._gradients = TaskGradients(net.module_, "parameters")
        shared = set(self._gradients.shared)
        named = net.module_.named_parameters()
        self._names = [name for name, parameter in named if parameter in shared]
        if not self._names:
            raise ValueError(
                "A look ahead needs parameters that several tasks share, but "
                f"{net.module__sharing} has none for {net.module_.n_tasks} tasks: use "
                "a 'sharing' that has, such as 'hard'."
            )
        self._trains = torch.from_numpy(net.task_weight > 0).to(net.device)
        n_tasks = len(net.task_weight)
        self._next = torch.arange(min(AT_ONCE, n_tasks))
        self._before = torch.zeros(n_tasks, n_tasks, dtype=net.dtype, device=net.device)
        self._after = torch.zeros_like(self._before)

    def on_epoch_begin(
        self, net: "MultiTaskNet", dataset_train: Any, **kwargs: Any
    ) -> None:
        """Choose how often to look."""
        n_batches = ceil(len(dataset_train) / net.batch_size)
        n_looks = max(LOOKS, ceil(len(net.task_weight) / TASKS_PER_LOOK))
        self.every_ = self.every or ceil(n_batches / n_looks)

    def on_batch_begin(
        self,
        net: "MultiTaskNet",
        batch: Any = None,
        training: bool = False,
        **kwargs: Any,
    ) -> None:
        """Look at a batch of training where it is its turn."""
        if training:
            self.n_batches_ += 1
            if self.n_batches_ % self.every_ == 0:
                net.module_.eval()
                with allow_reusable_graphs():
                    self._look(net, getattr(batch, "packed", batch))
                net.module_.train()

    def _look(self, net: "MultiTaskNet", batch: Batch) -> None:
        X, y = batch
        trace = net.module_.trace(X)
        losses, counts = net.criterion_(trace.outputs, y)
        (D,) = torch.autograd.grad(losses.sum(), trace.outputs, retain_graph=True)
        losses, tasks = losses.detach(), self._next.to(D.device)
        jacobian = self._gradients.differentiate_parameters(trace, D, tasks)
        steps = self._step_sizes(net, losses[tasks], jacobian)
        after = self._losses_after(net, batch, jacobian, steps)
        present = self._trains if counts is None else self._trains & (counts > 0)
        pairs = torch.outer((steps > 0) & present[tasks], present)
        self._before[tasks] += losses.where(pairs, 0)
        self._after[tasks] += after.where(pairs, 0)
        self._next = (self._next + len(tasks)) % len(losses)
        self.n_looks_ += 1

    def _step_sizes(
        self, net: "MultiTaskNet", losses: Tensor, jacobian: list[Tensor]
    ) -> Tensor:
        """Return how far to go along each task's gradient; zero if it has none."""
        squares = torch.stack([g.flatten(1).square().sum(dim=1) for g in jacobian])
        squares = squares.sum(dim=0)  # (tasks,)
        if self.step_size is None:
            sizes = torch.full_like(squares, net.optimizer_.param_groups[0]["lr"])
        else:
            sizes = self.step_size * losses / squares
        return sizes.where(squares > 0, 0)

    def _losses_after(
        self, net: "MultiTaskNet", batch: Batch, jacobian: list[Tensor], steps: Tensor
    ) -> Tensor:
        """Return all losses after a step on each of some tasks, (steps, n_tasks)."""
        X, y = batch

        def losses(step: Tensor, *gradients: Tensor) -> Tensor:
            shared = zip(self._gradients.shared, gradients, strict=True)
            moved = [p - step * g for p, g in shared]
            replaced = dict(zip(self._names, moved, strict=True))
            outputs = functional_call(net.module_, replaced, (X,))
            return net.criterion_(outputs, y)[0]  # type: ignore[no-any-return]

        with torch.no_grad():
            if self._batched:
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("error")  # where it falls back to a loop
                        return torch.vmap(losses)(steps, *jacobian)
                except torch.OutOfMemoryError:
                    raise
                except (RuntimeError, UserWarning):  # what torch.vmap does not know
                    self._batched = False
            each = zip(steps, *jacobian, strict=True)
            return torch.stack([losses(*arguments) for arguments in each])

    def affinity(self) -> NDArray[np.float64]:
        """Return the share of each task's loss that steps on each task take away."""
        # Returns (n_tasks, n_tasks).
        before, after = (
            total.double().cpu().numpy() for total in (self._before, self._after)
        )
        with np.errstate(invalid="ignore"):
            affinity: NDArray[np.float64] = 1 - after / before
        return affinity
