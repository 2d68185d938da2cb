"""Distributions that labels have and should have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from skmtl._core.options import suggest
from skmtl._core.validation import SEQUENCES


@dataclass(frozen=True)
class LabelShift:
    """How one task's labels differ from a target distribution."""

    # (n_values,): Target and what the labels are, over classes or bins.
    P: NDArray[np.float64]
    # (n_values,): Target and what the labels are, over classes or bins.
    Q: NDArray[np.float64]
    # (n_values - 1,): Inner edges of the bins of regression.
    edges: NDArray[np.float64] | None
    # Share that half a label has, which counts where P asks for what Q lacks.
    half: float

    @classmethod
    def identity(cls) -> LabelShift:
        """Return that of a single value."""
        return cls(np.ones(1), np.ones(1), None, 0.0)

    @classmethod
    def from_labels(cls, task: Any, P: NDArray[np.float64]) -> LabelShift:
        """Return that of a task's labels, which may be none."""
        edges = None
        if task.classes is None:
            values = task.labels if len(task.labels) else np.zeros(1)
            edges = np.histogram_bin_edges(values, len(P))[1:-1]
        weight = np.ones(len(task.labels)) if task.weight is None else task.weight
        if not weight.any():
            return cls(P, P, edges, 0.0)
        counts = np.bincount(
            _encode_labels(task.labels, edges), weight, minlength=len(P)
        )
        half = 0.5 / np.count_nonzero(weight)
        return cls(P, counts / counts.sum(), edges, half)

    @property
    def _Q(self) -> NDArray[np.float64]:
        Q = np.where((self.Q == 0) & (self.P > 0), self.half, self.Q)
        Q /= Q.sum()
        return Q

    @property
    def divergence(self) -> float:
        """The divergence of Kullback and Leibler of P from Q."""
        return float(rel_entr(self.P, self._Q).sum())

    def ratios(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        """Return P / Q of each label; what has next to no weight stays finite."""
        Q = np.maximum(self._Q, np.finfo(np.float64).tiny)
        ratios = np.zeros(len(self.P))
        np.divide(self.P, Q, out=ratios, where=self.P > 0)
        label_ratios: NDArray[np.float64] = ratios[_encode_labels(labels, self.edges)]
        return label_ratios


def label_shifts(tasks: Sequence[Any], target: object, n_bins: int) -> list[LabelShift]:
    """Compare the labels of each task with a target distribution."""
    entries = _read_entries(target, [task.name for task in tasks])
    return [
        LabelShift.from_labels(task, _read_distribution(task, entry, n_bins))
        for task, entry in zip(tasks, entries, strict=True)
    ]


def _encode_labels(
    labels: NDArray[Any], edges: NDArray[np.float64] | None
) -> NDArray[Any]:
    return labels if edges is None else np.searchsorted(edges, labels, side="right")


def _read_entries(target: Any, names: list[Any]) -> list[Any]:
    """Return what is given of each task."""
    if target is None:
        return [None] * len(names)
    if isinstance(target, Mapping):
        unknown = [name for name in target if name not in names]
        if unknown:
            raise ValueError(
                f"The 'target' parameter names the unknown task {unknown[0]!r}."
                f"{suggest(unknown[0], names)} The tasks are {names}."
            )
        return [target.get(name) for name in names]
    if len(target) != len(names):
        raise ValueError(
            f"The 'target' parameter must have one entry per task, {len(names)}. Got "
            f"{len(target)}: give None for a uniform one."
        )
    return list(target)


def _read_distribution(task: Any, entry: Any, n_bins: int) -> NDArray[np.float64]:
    """Return the checked target of a task, over its classes or bins."""
    classes = None if task.classes is None else task.classes.tolist()
    n = n_bins if classes is None else len(classes)
    if entry is None:
        return np.full(n, 1 / n)
    what = f"The 'target' of task {task.name!r}"
    if isinstance(entry, Mapping) and classes is not None:
        unknown = [label for label in entry if label not in classes]
        if unknown:
            raise ValueError(
                f"{what} names the unknown class {unknown[0]!r}."
                f"{suggest(unknown[0], classes)} Its classes are {classes}."
            )
        entry = [entry.get(label, 0.0) for label in classes]
    fits = isinstance(entry, SEQUENCES) and len(entry) == n
    if not fits or not all(isinstance(p, Real) for p in entry):
        form = "" if classes is None else "a dict {class: probability} or "
        unit = "bins" if classes is None else "classes"
        raise ValueError(
            f"{what} must be None, {form}a sequence of {n} numbers, one for each of "
            f"its {unit}. Got {entry!r}."
        )
    P: NDArray[np.float64] = np.array(entry, dtype=np.float64)
    if not (P >= 0).all() or not np.isclose(P.sum(), 1):
        raise ValueError(
            f"{what} must hold probabilities that are not negative and sum to one. "
            f"Got {P.tolist()}, which sum to {P.sum():g}."
        )
    P /= P.sum()
    return P
