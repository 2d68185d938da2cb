"""What a judge says of held-out rows, epoch by epoch, and tasks that stop by it."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.callbacks import Callback
from torch import Tensor

from skmtl._core.history import mean_of_known
from skmtl._data.row_index import RowIndex
from skmtl.training._batches import TrainingRows
from skmtl.training._processes import SINGLE_PROCESS, Processes

Array = NDArray[np.float64]


class Judge(Protocol):
    """Scores tasks, and says what their scores are worth together."""

    @property
    def metrics(self) -> Any:
        """How it scores; None where by losses."""

    def scores(self, losses: Array, outputs: Tensor, rows: RowIndex) -> Array:
        """Return the scores of the tasks on some rows, the greater the better."""

    def worth(self, scores: Array) -> float:
        """Return the one number that decides."""


class ValidationScores:
    """The last scores of one network, or of every member."""

    def __init__(self, judge: Judge, n_estimators: int, n_tasks: int) -> None:
        self.judge = judge
        self.scores = np.full((n_estimators, n_tasks), np.nan)
        self.worth = np.full(n_estimators, np.nan)

    def state_dict(self) -> dict[str, Any]:
        """Return the last scores."""
        return {"scores": self.scores, "worth": self.worth}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bring back the last scores."""
        self.scores, self.worth = state["scores"], state["worth"]

    def update(
        self,
        losses: Array,
        outputs: Sequence[Tensor] | Tensor,
        rows: Sequence[TrainingRows],
        numbers: Sequence[int] | NDArray[np.intp],
    ) -> dict[str, Any]:
        """Score those that train; return what to record."""
        # losses of shape (n_training, n_tasks), outputs lists of shape (n_rows,
        # n_outputs).
        for i, L, Z, own in zip(numbers, losses, outputs, rows, strict=True):
            index = own.get_sample_index().cpu().numpy()
            self.scores[i] = self.judge.scores(L, Z[: len(index)], index)
            self.worth[i] = self.judge.worth(self.scores[i])
        means = mean_of_known(self.scores, axis=0)
        worth = float(self.worth.mean())
        return {"valid_score": worth, "valid_scores": means.tolist()}


class TaskStopping(Callback):
    """Take tasks out of the training once their scores no longer improve."""

    def __init__(self, patience: float, tol: float) -> None:
        self.patience = patience
        self.tol = tol

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Forget earlier trainings."""
        self.best_ = np.full(net.loop_.scores.scores.shape, -np.inf)
        self.waited_ = np.zeros(self.best_.shape, dtype=int)
        self.stopped_ = np.zeros(self.best_.shape, dtype=bool)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
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
        theirs, others = (
            [
                n > 0
                for n in processes.all_reduce_many(
                    _find_reached(outputs, trained, columns)
                )
            ]
            for columns in (of_stopped, ~of_stopped)
        )
        alone = [own & ~used for own, used in zip(theirs, others, strict=True)]
        self.kept = [
            (p, own.nonzero()[:, 0], p.detach()[own].clone())
            for p, own in zip(trained, alone, strict=True)
            if own.any()
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
