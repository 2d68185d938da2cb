"""What callbacks of skorch score: rows with their labels, and scorers of all tasks."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics._scorer import _BaseScorer
from skorch.callbacks import (
    BatchScoring,
    Callback,
    EpochScoring,
    LRScheduler,
    MlflowLogger,
    NeptuneLogger,
    ProgressBar,
    SacredLogger,
    TensorBoard,
)
from skorch.dataset import Dataset
from torch import Tensor

from skmtl._data.targets import Targets
from skmtl._data.training_data import find_rows
from skmtl.metrics import make_multitask_scorer
from skmtl.training._batches import BlockTarget, InputSource, TrainingRows

#: What skorch's scoring without a name takes: the score of the estimators.
DEFAULT = {"classification": "accuracy", "regression": "r2"}
#: Callbacks of skorch that hear of batches only with a setting of that name.
LOGGERS = (MlflowLogger, NeptuneLogger, SacredLogger)


class ScoringRows(Dataset):  # type: ignore[misc]
    """Rows of a network, or of all members, with their labels as given to fit."""

    # Its `X` is itself: `net.predict` takes it, and reads rows where they are.

    def __init__(
        self,
        parts: TrainingRows | list[TrainingRows],
        targets: Targets,
        held_out: bool = False,
    ) -> None:
        self.parts = parts if isinstance(parts, list) else [parts]
        self.targets = targets
        self._alike = all(part is self.parts[0] for part in self.parts)
        self.held_out = held_out and not self._alike

    @cached_property
    def rows(self) -> TrainingRows:
        """All rows, each once."""
        first = self.parts[0]
        if self._alike:
            return first
        used = np.zeros(first.source.n_samples, dtype=bool)
        for part in self.parts:
            used[slice(None) if part.index is None else part.index.numpy()] = True
        return TrainingRows(first.source, first.targets, find_rows(used))

    @property
    def X(self) -> "ScoringRows":
        """The rows."""
        return self

    @property
    def y(self) -> NDArray[Any]:
        """Their labels, of shape (n,) for one task, else (n, n_tasks)."""
        return decode_labels(
            self.targets, self.rows.labels(self.rows.get_sample_index())
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: Any) -> tuple[Tensor, NDArray[Any]]:
        index = self.rows.get_sample_index()[i]
        X, y = self.rows.take(index.reshape(-1))
        labels = decode_labels(self.targets, y)
        return (X, labels) if index.ndim else (X[0], labels[0])


class SelectedRows:
    """Some samples of a source, as predictions read them."""

    # index (n,): Which of them.

    def __init__(self, source: InputSource, index: Tensor) -> None:
        self.source = source
        self.index = index
        self.n_samples = len(index)
        self.device = source.device

    def span(self, start: int, stop: int) -> Tensor:
        """Return the rows of a range."""
        return self.source.take(self.index[start:stop])


class LabelledBatch(tuple[Tensor, NDArray[Any]]):
    """Inputs and labels of a batch; ``packed`` has the targets of the losses."""

    packed: Any

    @classmethod
    def from_batch(cls, batch: Any, targets: Targets) -> "LabelledBatch":
        """Return a batch with its labels as given to fit."""
        X, y = batch
        labelled = cls((X, decode_labels(targets, y)))
        labelled.packed = batch
        return labelled


def decode_labels(targets: Targets, packed: Sequence[BlockTarget]) -> NDArray[Any]:
    """Return packed labels as they were given; missing ones as NaN, NaT or None."""
    # packed lists of shape (n, n_block_tasks); returns (n,) or (n, n_tasks).
    shape = len(packed[0][0]), targets.n_tasks
    codes, values = np.zeros(shape, dtype=np.int64), np.zeros(shape)
    missing = np.zeros(shape, dtype=bool)
    for block, (y, w) in zip(targets.blocks, packed, strict=False):
        tasks = list(block.tasks)
        if block.task_type == "regression":
            scaled = y.double().cpu().numpy()
            values[:, tasks] = scaled * targets.scale[tasks] + targets.mean[tasks]
        else:
            codes[:, tasks] = y.cpu().numpy()
        if w is not None:
            missing[:, tasks] = (w == 0).cpu().numpy()
    labels = _join_batches(targets, codes, values)
    if missing.any():
        labels = _with_missing(labels, missing)
    return labels[:, 0] if targets.one_d else labels


def _join_batches(
    targets: Targets, codes: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[Any]:
    regression = np.array([kind == "regression" for kind in targets.task_types])
    if regression.all():
        return values
    labels = targets.class_table[np.arange(targets.n_tasks), codes]
    if regression.any():
        labels[:, regression] = values[:, regression]
    return labels


def _with_missing(labels: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[Any]:
    kind = labels.dtype.kind
    if kind in "iufb":
        return np.where(missing, np.nan, labels)
    labels = labels.copy() if kind in "mM" else labels.astype(object)
    labels[missing] = np.array("NaT", labels.dtype) if kind in "mM" else None
    return labels


def score_all_tasks(callback: Callback) -> None:
    """Let a scoring callback of skorch average over tasks what it names."""
    if not isinstance(callback, EpochScoring | BatchScoring):
        return
    scoring = callback.scoring_
    if scoring is None:
        callback.scoring_ = make_multitask_scorer(DEFAULT)
    elif isinstance(scoring, str | _BaseScorer):
        callback.scoring_ = make_multitask_scorer(scoring)


def needs_batches(callback: Callback) -> bool:
    """Return whether a callback does anything when a batch begins or ends."""
    if not _is_overridden(callback, "on_batch_begin", "on_batch_end"):
        return False
    if _overrides_hook(callback, (EpochScoring, TensorBoard)):
        return False  # nets of several tasks cache no predictions
    if _overrides_hook(callback, LOGGERS):
        return bool(callback.log_on_batch_end)
    return not _overrides_hook(callback, (LRScheduler,)) or steps_by_batch(callback)


def reads_batches(callback: Callback) -> bool:
    """Return whether a callback may look at inputs, labels or outputs of a batch."""
    counting = (LRScheduler, ProgressBar, *LOGGERS)
    return needs_batches(callback) and not _overrides_hook(callback, counting)


def needs_gradients(callback: Callback) -> bool:
    """Return whether a callback looks at the gradients of each step."""
    return _is_overridden(callback, "on_grad_computed")


def steps_by_batch(callback: Callback) -> bool:
    """Return whether a callback changes the learning rate after each batch."""
    return isinstance(callback, LRScheduler) and callback.step_every == "batch"


def _is_overridden(callback: Callback, *hooks: str) -> bool:
    kind = type(callback)
    return any(getattr(kind, hook) is not getattr(Callback, hook) for hook in hooks)


def _overrides_hook(callback: Callback, kinds: tuple[type, ...]) -> bool:
    """Return whether a callback does with batches what a class of skorch does."""
    if _is_overridden(callback, "on_batch_begin"):
        return False
    hook: Callable[..., Any] = type(callback).on_batch_end
    return any(hook is kind.on_batch_end for kind in kinds)  # type: ignore[attr-defined]
