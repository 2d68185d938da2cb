"""Per-task encoding of y: kinds, classes, codes, and the layout of the outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skmtl._data.labels import LabelColumn, LabelTable, TaskType

BlockKind = Literal["binary", "multiclass", "regression"]


class _Uncached:
    """Leaves cached properties out of copies and pickles."""

    # Predictions fill these caches, perhaps while another thread pickles.

    def __getstate__(self) -> dict[str, Any]:
        state = vars(self).copy()  # at once, while others may add to it
        cls = type(self)
        return {
            name: value
            for name, value in state.items()
            if not isinstance(getattr(cls, name, None), cached_property)
        }


#: Largest number that is predicted, however far training went astray.
LARGEST = np.finfo(np.float64).max
MISSING = -1
UNSEEN = -2


@dataclass(frozen=True)
class OutputBlock(_Uncached):
    """Tasks of one kind, whose losses one call computes."""

    # Binary and regression tasks have one output each, multiclass tasks one per class.
    kind: BlockKind
    tasks: tuple[int, ...]  # Numbers of the tasks.
    sizes: tuple[int, ...]  # Number of outputs of each task.
    start: int  # First of the block's columns among all outputs.

    @property
    def stop(self) -> int:
        """End of the block's columns among all outputs."""
        return self.start + sum(self.sizes)

    @property
    def size(self) -> int:
        """Largest number of outputs of a task."""
        return max(self.sizes)

    @property
    def ragged(self) -> bool:
        """Whether the tasks' numbers of outputs differ."""
        return min(self.sizes) != self.size

    @cached_property
    def padded_columns(self) -> NDArray[np.int64]:
        """Where the outputs stand when every task is padded to the largest size."""
        starts = np.arange(len(self.sizes)) * self.size
        return np.concatenate(
            [
                start + np.arange(size)
                for start, size in zip(starts, self.sizes, strict=True)
            ]
        )


def group_tasks(
    kinds: Sequence[TaskType], n_classes: Sequence[int]
) -> tuple[OutputBlock, ...]:
    """Group tasks that one call can serve."""
    # Class counts of a block differ by less than a factor of two, so that padding stays
    # cheap; a task of a single class needs no output and stands in no block.
    groups: dict[tuple[str, int], list[int]] = {}
    for task, (kind, k) in enumerate(zip(kinds, n_classes, strict=True)):
        if kind == "regression":
            groups.setdefault(("regression", 0), []).append(task)
        elif k == 2:
            groups.setdefault(("binary", 0), []).append(task)
        elif k > 2:
            groups.setdefault(("multiclass", (k - 1).bit_length()), []).append(task)
    blocks: list[OutputBlock] = []
    start = 0
    for (form, _), tasks in groups.items():
        sizes = tuple(n_classes[t] if form == "multiclass" else 1 for t in tasks)
        blocks.append(OutputBlock(form, tuple(tasks), sizes, start))  # type: ignore[arg-type]
        start = blocks[-1].stop
    return tuple(blocks)


class Targets(_Uncached):
    """What is known of the tasks: kinds, classes, scales and the way back."""

    # kinds: Kind of each task.
    # names: Name of each task.
    # classes: Sorted classes of each classification task, None for regression.
    # mean (n_tasks,): What standardises each regression target.
    # scale (n_tasks,): What standardises each regression target.
    # one_d: Whether y has one column.
    # dtype: Type of the predicted labels.

    def __init__(
        self,
        columns: LabelTable,
        kinds: Sequence[TaskType],
        weight: NDArray[np.float64] | None = None,
        classes: Sequence[NDArray[Any] | None] | None = None,
    ) -> None:
        self.kinds = list(kinds)
        self.one_d = columns.one_d
        self.named = columns.names is not None
        self.names = columns.task_names
        self.classes = [
            _find_classes(column, name, None if classes is None else classes[t])
            if kind == "classification"
            else None
            for t, (column, kind, name) in enumerate(
                zip(columns.columns, kinds, self.names, strict=True)
            )
        ]
        self.mean = np.zeros(len(kinds))
        self.scale = np.ones(len(kinds))
        for t, (column, kind) in enumerate(zip(columns.columns, kinds, strict=True)):
            if kind == "regression":
                w = None if weight is None else weight[column.present, t]
                values = to_float(column, self.names[t])
                check_labelled(values, self.names[t])
                self.mean[t], self.scale[t] = _fit_standardization(values, w)
        self.dtype = self._choose_prediction_dtype()
        self.blocks = group_tasks(kinds, self.n_classes)

    @property
    def n_tasks(self) -> int:
        """Number of tasks."""
        return len(self.kinds)

    @property
    def n_classes(self) -> list[int]:
        """Number of classes of each task; zero for regression."""
        return [0 if c is None else len(c) for c in self.classes]

    @cached_property
    def active(self) -> NDArray[np.bool_]:
        """Which tasks have something to learn: all but those of a single class."""
        active = np.zeros(self.n_tasks, dtype=bool)
        active[[t for block in self.blocks for t in block.tasks]] = True
        return active

    @cached_property
    def class_table(self) -> NDArray[Any]:
        """Labels by task and code, padded, of shape (n_tasks, largest class count)."""
        table = np.empty((self.n_tasks, max(self.n_classes)), dtype=self.dtype)
        for t, classes in enumerate(self.classes):
            if classes is not None:
                # tolist would turn dates of nanoseconds into integers.
                dates = classes.dtype.kind in "mM"
                scalars = list(classes) if dates else classes.tolist()
                table[t, : len(classes)] = scalars if self.dtype == object else classes
        return table

    def encode(self, columns: LabelTable) -> list[NDArray[Any]]:
        """Return codes (-1 for missing) or standardised values (NaN) of each task."""
        encoded: list[NDArray[Any]] = []
        for t, column in enumerate(columns.columns):
            classes = self.classes[t]
            if classes is None:
                values = np.full(columns.n_samples, np.nan)
                raw = to_float(column, self.names[t])
                values[column.present] = self._standardize(raw, t)
            else:
                values = np.full(columns.n_samples, MISSING, _code_dtype(len(classes)))
                values[column.present] = self.encode_classes(column.values, t)
                if (values == UNSEEN).any():
                    unseen = (values == UNSEEN)[column.present]
                    (label,) = column.values[unseen][:1].tolist()
                    raise ValueError(
                        f"Task {self.names[t]!r} has the label {label!r}, which is "
                        f"none of its classes {classes.tolist()}."
                    )
            encoded.append(values)
        return encoded

    def _standardize(self, raw: NDArray[np.float64], t: int) -> NDArray[np.float64]:
        with np.errstate(over="ignore"):
            values = (raw - self.mean[t]) / self.scale[t]
        far = np.isinf(values)
        if far.any():
            raise ValueError(
                f"Task {self.names[t]!r} has the label {raw[far][0]:g}, too far from "
                f"those of training with mean {self.mean[t]:g} and standard deviation "
                f"{self.scale[t]:g}: remove it, or mark it as missing with NaN."
            )
        return values

    def encode_classes(self, labels: NDArray[Any], task: int) -> NDArray[np.int64]:
        """Return each label's position among a task's classes, -2 if it is none."""
        classes: Any = self.classes[task]
        if (classes.dtype.kind in "US") != (labels.dtype.kind in "US"):
            classes, labels = classes.astype(object), labels.astype(object)
        try:
            codes = np.searchsorted(classes, labels)
        except TypeError:  # labels of other types than the classes
            position = {label: code for code, label in enumerate(classes)}
            return np.array([position.get(label, UNSEEN) for label in labels], np.int64)
        codes = np.minimum(codes, len(classes) - 1)
        return np.where(classes[codes] == labels, codes, UNSEEN)

    def predict_proba(self, outputs: Tensor) -> list[NDArray[Any] | None]:
        """Return class probabilities of each task in float64, None for regression."""
        outputs, n = outputs.double(), len(outputs)
        proba: list[NDArray[Any] | None] = [
            None if kind == "regression" else np.ones((n, 1)) for kind in self.kinds
        ]
        for block in self.blocks:
            if block.kind == "regression":
                continue
            Z = outputs[:, block.start : block.stop]
            array = _compute_block_probabilities(block, Z).numpy()
            for j, task in enumerate(block.tasks):
                proba[task] = array[j, :, : self.n_classes[task]]
        return proba

    def predict_codes(self, outputs: Tensor) -> NDArray[np.int64]:
        """Return the most probable class of each task, of shape (n, n_tasks)."""
        outputs = outputs.double()  # as for probabilities, of which it is the largest
        codes = np.zeros((len(outputs), self.n_tasks), dtype=np.int64)
        for block in self.blocks:
            Z = outputs[:, block.start : block.stop]
            if block.kind == "binary":
                p = Z.sigmoid()
                codes[:, block.tasks] = (p > 1 - p).numpy()
            elif block.kind == "multiclass":
                codes[:, block.tasks] = pad_outputs(block, Z).argmax(dim=2).numpy()
        return codes

    def predict_values(self, outputs: Tensor) -> NDArray[np.float64]:
        """Return regression predictions in the targets' units, (n, n_tasks)."""
        values = np.zeros((len(outputs), self.n_tasks))
        for block in self.blocks:
            if block.kind == "regression":
                tasks = list(block.tasks)
                raw = outputs[:, block.start : block.stop].double().numpy()
                with np.errstate(over="ignore"):
                    values[:, tasks] = raw * self.scale[tasks] + self.mean[tasks]
        return values.clip(-LARGEST, LARGEST, out=values)

    def predict(self, outputs: Tensor, codes: NDArray[np.int64]) -> NDArray[Any]:
        """Return labels and values, of shape (n,) for one task, else (n, n_tasks)."""
        if self.one_d:
            if self.classes[0] is None:
                return self.predict_values(outputs)[:, 0]
            return self.classes[0][codes[:, 0]]
        regression = np.array([kind == "regression" for kind in self.kinds])
        if regression.all():
            return self.predict_values(outputs)
        labels = self.class_table[np.arange(self.n_tasks), codes]
        if regression.any():
            labels[:, regression] = self.predict_values(outputs)[:, regression]
        return labels

    def predict_columns(
        self, outputs: Tensor, codes: NDArray[np.int64]
    ) -> list[NDArray[Any]]:
        """Return the predictions of each task in the task's own type."""
        values = self.predict_values(outputs)
        return [
            values[:, t] if classes is None else classes[codes[:, t]]
            for t, classes in enumerate(self.classes)
        ]

    def _choose_prediction_dtype(self) -> np.dtype[Any]:
        own = [c.dtype for c in self.classes if c is not None]
        own += [np.dtype(float)] * (len(own) < self.n_tasks)
        kinds = {dtype.kind for dtype in own}
        if len(kinds) == 1 or kinds <= set("iuf"):
            return np.result_type(*own)
        return np.dtype(object)


def _compute_block_probabilities(block: OutputBlock, Z: Tensor) -> Tensor:
    if block.kind == "binary":
        p = Z.T.sigmoid()
        return torch.stack([1 - p, p], dim=2)
    return pad_outputs(block, Z).transpose(0, 1).softmax(dim=2)


def pad_outputs(block: OutputBlock, Z: Tensor, fill: float = -torch.inf) -> Tensor:
    """Return packed outputs of a block with an axis for its tasks."""
    # Z of shape (..., sum of the tasks' sizes); returns (..., n_block_tasks, size).
    if block.ragged:
        columns = torch.from_numpy(block.padded_columns).to(Z.device)
        wide = Z.new_full((*Z.shape[:-1], len(block.tasks) * block.size), fill)
        Z = wide.index_copy(-1, columns, Z)
    return Z.unflatten(-1, (-1, block.size))


def unpad_outputs(block: OutputBlock, Z: Tensor) -> Tensor:
    """Undo ``padded``."""
    Z = Z.flatten(-2)
    if not block.ragged:
        return Z
    return Z.index_select(-1, torch.from_numpy(block.padded_columns).to(Z.device))


def _code_dtype(n_classes: int) -> type[np.signedinteger[Any]]:
    return np.int8 if n_classes < 128 else np.int32


def _find_classes(
    column: LabelColumn, name: Any, declared: NDArray[Any] | None
) -> NDArray[Any]:
    """Return the sorted classes of a task, refusing what is no class label."""
    if declared is not None:
        return np.unique(np.asarray(declared))
    values = column.values
    check_labelled(values, name)
    try:
        classes = _find_unique(values)
    except TypeError as error:
        types = sorted({type(value).__name__ for value in values})
        why = f"mix the types {types}" if len(types) > 1 else f"are of type {types[0]}"
        raise ValueError(
            f"The labels of task {name!r} cannot be ordered, because they {why}: make "
            "them all numbers or all strings."
        ) from error
    numbers = _convert_to_floats(classes)
    check_finite(numbers, name)
    if classes.dtype.kind == "c" or (numbers != np.floor(numbers)).any():
        raise ValueError(
            f"Unknown label type: continuous. Task {name!r} holds numbers that are not "
            "integers, which are no class labels: use MultiTaskRegressor, or "
            "MultiTaskEstimator for tasks of both kinds."
        )
    return classes


def _find_unique(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind in "iu" and int(values.max()) - int(values.min()) < 4096:
        low = values.min()
        wide = values if values.dtype.kind == "u" else values.astype(np.int64)
        seen = np.flatnonzero(np.bincount((wide - low).astype(np.int64)))
        # In the type of the labels, where overflows of the two steps cancel.
        return seen.astype(values.dtype) + low
    return np.unique(values)


def _convert_to_floats(labels: NDArray[Any]) -> NDArray[Any]:
    """Return the labels that may be fractions or infinite."""
    if labels.dtype.kind != "O":
        return labels if labels.dtype.kind == "f" else np.zeros(0)
    return np.array([v for v in labels if isinstance(v, float | np.floating)], float)


def to_float(column: LabelColumn, name: Any) -> NDArray[np.float64]:
    """Return a regression task's labels as numbers."""
    try:
        if column.values.dtype.kind in "mMc":
            raise TypeError("no real numbers")
        values = column.values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Task {name!r} is a regression task, and its labels must be numbers. Got "
            f"{column.values[0]!r}: use MultiTaskClassifier, or MultiTaskEstimator for "
            "tasks of both kinds."
        ) from error
    check_finite(values, name)
    return values


def check_labelled(values: NDArray[Any], name: Any) -> None:
    """Refuse a task without labels."""
    if not len(values):
        raise ValueError(
            f"Task {name!r} has no labelled row: give it at least one label (with a "
            "positive weight) or leave the task out."
        )


def check_finite(values: NDArray[Any], name: Any) -> None:
    """Refuse infinite labels."""
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise ValueError(
            f"Input y contains infinity in task {name!r}: remove it, or mark the label "
            "as missing with NaN."
        )


def _fit_standardization(
    values: NDArray[np.float64], weight: NDArray[np.float64] | None
) -> tuple[float, float]:
    # In units near one, where squares of huge or tiny numbers are finite and not 0.
    unit = np.frexp(np.abs(values).max())[1]
    values = np.ldexp(values, -unit)
    weight = None if weight is None else weight / weight.max()
    mean = np.average(values, weights=weight)
    scale = np.sqrt(np.average((values - mean) ** 2, weights=weight))
    # A spread that is only rounding of the mean is none.
    spread = np.ldexp(scale, unit) if scale > 1e-12 * abs(mean) else 0.0
    return float(np.ldexp(mean, unit)), float(spread) or 1.0
