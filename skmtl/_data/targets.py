"""Per-task encoding of y: types, classes, codes, and the layout of the outputs."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skmtl._core.module_copies import WithoutCaches
from skmtl._data.labels import LabelColumn, Labels, LabelTable, TaskType
from skmtl._data.output_kinds import group_tasks

#: Largest number that is predicted, however far training went astray.
LARGEST = np.finfo(np.float64).max
MISSING = -1
UNSEEN = -2


class Targets(WithoutCaches):
    """What is known of the tasks: types, classes, scales and the way back."""

    # task_types: Type of each task.
    # names: Name of each task.
    # classes: Sorted classes of each classification task, None for regression.
    # mean (n_tasks,): What standardises each regression target.
    # scale (n_tasks,): What standardises each regression target.
    # one_d: Whether y has one column.
    # dtype: Type of the predicted labels.

    def __init__(
        self,
        columns: LabelTable,
        task_types: Sequence[TaskType],
        weight: NDArray[np.float64] | None = None,
        classes: Sequence[Labels | None] | None = None,
    ) -> None:
        self.task_types = list(task_types)
        self.one_d = columns.one_d
        self.named = columns.names is not None
        self.names = columns.task_names
        self.classes = [
            _find_classes(column, name, None if classes is None else classes[t])
            if kind == "classification"
            else None
            for t, (column, kind, name) in enumerate(
                zip(columns.columns, task_types, self.names, strict=True)
            )
        ]
        self.mean = np.zeros(len(task_types))
        self.scale = np.ones(len(task_types))
        for t, (column, kind) in enumerate(
            zip(columns.columns, task_types, strict=True)
        ):
            if kind == "regression":
                w = None if weight is None else weight[column.present, t]
                values = to_float(column, self.names[t])
                check_labelled(values, self.names[t])
                self.mean[t], self.scale[t] = _fit_standardization(values, w)
        self.dtype = self._choose_prediction_dtype()
        self.blocks = group_tasks(task_types, self.n_classes)

    @property
    def n_tasks(self) -> int:
        """Number of tasks."""
        return len(self.task_types)

    @property
    def only_regression(self) -> bool:
        """Whether all tasks are regression."""
        return set(self.task_types) == {"regression"}

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
    def class_table(self) -> Labels:
        """Labels by task and code, padded, of shape (n_tasks, largest class count)."""
        table = np.empty((self.n_tasks, max(self.n_classes)), dtype=self.dtype)
        for t, classes in enumerate(self.classes):
            if classes is not None:
                # tolist would turn dates of nanoseconds into integers.
                dates = classes.dtype.kind in "mM"
                scalars = list(classes) if dates else classes.tolist()
                table[t, : len(classes)] = scalars if self.dtype == object else classes
        return table

    def encode(self, columns: LabelTable) -> list[Labels]:
        """Return codes (-1 for missing) or standardised values (NaN) of each task."""
        encoded: list[Labels] = []
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

    def encode_classes(self, labels: Labels, task: int) -> NDArray[np.int64]:
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

    def predict_proba(self, outputs: Tensor) -> list[Labels | None]:
        """Return class probabilities of each task in float64, None for regression."""
        outputs, n = outputs.double(), len(outputs)
        proba: list[Labels | None] = [
            None if kind == "regression" else np.ones((n, 1))
            for kind in self.task_types
        ]
        for block in self.blocks:
            if block.task_type == "classification":
                array = block.predict_proba(block.select(outputs)).numpy()
                for j, task in enumerate(block.tasks):
                    proba[task] = array[j, :, : self.n_classes[task]]
        return proba

    def predict_codes(self, outputs: Tensor) -> NDArray[np.int64]:
        """Return the most probable class of each task, of shape (n, n_tasks)."""
        outputs = outputs.double()  # as for probabilities, of which it is the largest
        codes = np.zeros((len(outputs), self.n_tasks), dtype=np.int64)
        for block in self.blocks:
            if block.task_type == "classification":
                Z = block.select(outputs)
                codes[:, block.tasks] = block.predict_codes(Z).numpy()
        return codes

    def predict_values(self, outputs: Tensor) -> NDArray[np.float64]:
        """Return regression predictions in the targets' units, (n, n_tasks)."""
        values = np.zeros((len(outputs), self.n_tasks))
        for block in self.blocks:
            if block.task_type == "regression":
                tasks = list(block.tasks)
                raw = block.select(outputs).double().numpy()
                with np.errstate(over="ignore"):
                    values[:, tasks] = raw * self.scale[tasks] + self.mean[tasks]
        return values.clip(-LARGEST, LARGEST, out=values)

    def predict(self, outputs: Tensor, codes: NDArray[np.int64]) -> Labels:
        """Return labels and values, of shape (n,) for one task, else (n, n_tasks)."""
        if self.one_d:
            if self.classes[0] is None:
                return self.predict_values(outputs)[:, 0]
            return self.classes[0][codes[:, 0]]
        regression = np.array([kind == "regression" for kind in self.task_types])
        if regression.all():
            return self.predict_values(outputs)
        labels = self.class_table[np.arange(self.n_tasks), codes]
        if regression.any():
            labels[:, regression] = self.predict_values(outputs)[:, regression]
        return labels

    def predict_columns(
        self, outputs: Tensor, codes: NDArray[np.int64]
    ) -> list[Labels]:
        """Return the predictions of each task in the task's own type."""
        values = self.predict_values(outputs)
        return [
            values[:, t] if classes is None else classes[codes[:, t]]
            for t, classes in enumerate(self.classes)
        ]

    def _choose_prediction_dtype(self) -> np.dtype[Any]:
        dtypes = [c.dtype for c in self.classes if c is not None]
        dtypes += [np.dtype(float)] * (len(dtypes) < self.n_tasks)
        kinds = {dtype.kind for dtype in dtypes}
        if len(kinds) == 1 or kinds <= set("iuf"):
            return np.result_type(*dtypes)
        return np.dtype(object)


def _code_dtype(n_classes: int) -> type[np.signedinteger[Any]]:
    return np.int8 if n_classes < 128 else np.int32


def _find_classes(column: LabelColumn, name: object, declared: Labels | None) -> Labels:
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


def _find_unique(values: Labels) -> Labels:
    if values.dtype.kind in "iu" and int(values.max()) - int(values.min()) < 4096:
        low = values.min()
        wide = values if values.dtype.kind == "u" else values.astype(np.int64)
        occurring = np.flatnonzero(np.bincount((wide - low).astype(np.int64)))
        # In the type of the labels, where overflows of the two steps cancel.
        return occurring.astype(values.dtype) + low
    return np.unique(values)


def _convert_to_floats(labels: Labels) -> Labels:
    """Return the labels that may be fractions or infinite."""
    if labels.dtype.kind != "O":
        return labels if labels.dtype.kind == "f" else np.zeros(0)
    return np.array([v for v in labels if isinstance(v, float | np.floating)], float)


def to_float(column: LabelColumn, name: object) -> NDArray[np.float64]:
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


def check_labelled(values: Labels, name: object) -> None:
    """Raise an error for a task without labels."""
    if not len(values):
        raise ValueError(
            f"Task {name!r} has no labelled row: give it at least one label (with a "
            "positive weight) or leave the task out."
        )


def check_finite(values: Labels, name: object) -> None:
    """Raise an error for infinite labels."""
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
