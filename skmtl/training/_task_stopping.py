"""Tasks that leave the training once their scores no longer improve."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor

from skmtl.training._distributed import SINGLE_PROCESS, Processes


class TaskStopping(Callback):
    """Take tasks out of the training once their scores no longer improve."""

    def __init__(self, patience: float, tol: float) -> None:
        self.patience = patience
        self.tol = tol

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Forget earlier trainings."""
        self.best_ = np.full(net.loop_.scores.scores.shape, -np.inf)
        self.waited_ = np.zeros(self.best_.shape, dtype=int)
        self.stopped_ = np.zeros(self.best_.shape, dtype=bool)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Compare the scores of each task with its best so far."""
        scores = net.loop_.scores.scores
        improved = scores > self.best_ + self.tol
        self.waited_ = np.where(improved | np.isnan(scores), 0, self.waited_ + 1)
        self.best_ = np.fmax(self.best_, scores)
        before, self.stopped_ = (
            self.stopped_,
            self.stopped_ | (self.waited_ >= self.patience),
        )
        net.history.record("stopped_tasks", self.stopped_.mean(axis=0).tolist())
        for i in np.flatnonzero((self.stopped_ != before).any(axis=1)).tolist():
            net.loop_.stop_tasks(self.stopped_[i], i)


class FrozenParameters:
    """Parameters that stopped tasks have to themselves, as they were."""

    # Such are the slices, on the first axis of a parameter, that outputs of stopped
    # tasks depend on, and no others.
    # outputs (n, n_outputs): What a network says in a batch, with its graph.
    # of_stopped (n_outputs,): Which outputs are those of stopped tasks.

    def __init__(
        self,
        outputs: Tensor,
        parameters: Sequence[Tensor],
        of_stopped: Tensor,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        trained = [p for p in parameters if p.requires_grad]
        reached, others = (
            [
                n > 0
                for n in processes.all_reduce_many(
                    _find_reached(outputs, trained, columns)
                )
            ]
            for columns in (of_stopped, ~of_stopped)
        )
        exclusive = [mask & ~used for mask, used in zip(reached, others, strict=True)]
        self.kept = [
            (p, mask.nonzero()[:, 0], p.detach()[mask].clone())
            for p, mask in zip(trained, exclusive, strict=True)
            if mask.any()
        ]

    def state(self, parameters: Sequence[Tensor]) -> list[tuple[int, Tensor, Tensor]]:
        """Return numbers of parameters, and which slices of them are kept."""
        number = {id(p): i for i, p in enumerate(parameters)}
        return [(number[id(p)], index, values) for p, index, values in self.kept]

    @classmethod
    def from_state(
        cls, parameters: Sequence[Tensor], state: Sequence[tuple[int, Tensor, Tensor]]
    ) -> "FrozenParameters":
        """Return what `state` was called of, for a network like that one."""
        stopped: FrozenParameters = object.__new__(cls)
        stopped.kept = [(parameters[i], index, values) for i, index, values in state]
        return stopped

    def restore(self) -> None:
        """Undo what a step has done to them: decay and momentum need no gradient."""
        with torch.no_grad():
            for parameter, index, values in self.kept:
                parameter.index_copy_(0, index, values)


def _find_reached(
    outputs: Tensor, parameters: Sequence[Tensor], columns: Tensor
) -> list[Tensor]:
    """Return which slices of parameters some columns of the outputs depend on."""
    # Rows count differently, so that what they ask for does not cancel out.
    ramp = torch.linspace(1, 2, len(outputs), device=outputs.device).unsqueeze(1)
    seed = (ramp * columns).to(outputs.dtype)
    grads = torch.autograd.grad(
        outputs, parameters, seed, retain_graph=True, allow_unused=True
    )
    return [
        torch.zeros(len(p), dtype=torch.int32, device=p.device)
        if g is None
        else (g != 0).reshape(len(g), -1).any(dim=1).int()
        for p, g in zip(parameters, grads, strict=True)
    ]
