"""How tasks' labels depend on each other, estimated for all pairs of tasks at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from skmtl._core.validation import normalize_magnitude
from skmtl._data.training_data import has_label

#: Bins of equal size into which numeric labels are cut where classes are needed.
N_BINS = 5
#: Rows whose codes are one-hot at a time; their counts are exact in float32.
N_ROWS = 4096

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ContingencyTables:
    """Joint tables of the labels of all pairs of tasks, side by side."""

    # Every pair counts the rows where both have a label. The levels, which are classes
    # or bins, of all tasks are numbered through.

    # (..., n_levels, n_levels): In how many rows a task has the one level and a task
    # the other.
    counts: Array
    sizes: NDArray[np.int64]  # (n_tasks,): Number of levels of each task.

    @classmethod
    def from_labels(
        cls,
        labels: Sequence[NDArray[Any]],
        n_classes: Sequence[int],
        n_bins: int = N_BINS,
    ) -> ContingencyTables:
        """Count the labels of all pairs of tasks in one product."""
        # labels lists of shape (n_samples,).
        pairs = list(zip(labels, n_classes, strict=True))
        codes = np.column_stack([z if k else bin_labels(z, n_bins) for z, k in pairs])
        # A class that does not occur leaves its counts at zero.
        sizes = np.array([max(k, 2) if k else n_bins for _, k in pairs])
        counts = np.zeros((sizes.sum(), sizes.sum()))
        for _, hot in encode_one_hot(codes, sizes):
            counts += hot.T @ hot
        return cls(counts, sizes)

    @property
    def starts(self) -> NDArray[np.int64]:
        """First level of each task."""
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def of_task(self) -> NDArray[np.int64]:
        """The task of each level."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @cached_property
    def margins(self) -> Array:
        """Rows that have a level and a label of a task, (..., n_levels, n_tasks)."""
        return np.add.reduceat(self.counts, self.starts, axis=-1)

    @cached_property
    def n_rows(self) -> Array:
        """Rows that have labels of both tasks, (..., n_tasks, n_tasks)."""
        return np.add.reduceat(self.margins, self.starts, axis=-2)

    @cached_property
    def expected(self) -> Array:
        """What the counts were on average if labels were independent."""
        rows = self.margins[..., self.of_task]  # (..., n_levels, n_levels)
        n = self.n_rows[..., self.of_task[:, None], self.of_task]
        return safe_divide(rows * rows.swapaxes(-1, -2), n)

    def pair_sums(self, cells: Array) -> Array:
        """Return the sum over the cells of each pair's table."""
        by_row = np.add.reduceat(cells, self.starts, axis=-1)
        return np.add.reduceat(by_row, self.starts, axis=-2)


def bin_labels(values: NDArray[Any], n_bins: int) -> NDArray[np.int64]:
    """Return codes of bins that hold equally many numbers, -1 where NaN."""
    # values of shape (n_samples,); returns (n_samples,).
    present = has_label(values)
    if not present.any():
        return np.full(len(values), -1)
    edges = np.quantile(values[present], np.arange(1, n_bins) / n_bins)
    return np.where(present, np.searchsorted(edges, values), -1)


def encode_one_hot(
    codes: NDArray[Any], sizes: NDArray[np.int64]
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield one-hot codes of all tasks, side by side, for some rows at a time."""
    # codes of shape (n_samples, n_tasks), sizes of shape (n_tasks,); returns hot of
    # shape (n_rows, n_levels).
    n_levels = int(sizes.sum())
    levels = np.where(codes < 0, n_levels, codes + np.cumsum(sizes) - sizes)
    for start in range(0, len(codes), N_ROWS):
        rows = slice(start, start + N_ROWS)
        hot = np.zeros((len(levels[rows]), n_levels + 1), dtype=np.float32)
        np.put_along_axis(hot, levels[rows], 1, axis=1)
        yield rows, hot[:, :n_levels]


def safe_divide(a: Array, b: Array) -> Array:
    """Return a / b, and zero where b is zero."""
    a, b = np.broadcast_arrays(a, b)
    return np.divide(a, b, out=np.zeros(a.shape), where=b > 0)


def compute_mutual_information(joint: ContingencyTables) -> Array:
    """Return the divergence of the joint distribution from independent labels."""
    return safe_divide(
        joint.pair_sums(rel_entr(joint.counts, joint.expected)), joint.n_rows
    )


def kl_divergence(joint: ContingencyTables) -> Array:
    """Return the divergence of each task's labels from each other's, in common rows."""
    # All tasks must have the same classes.
    n_tasks, size = len(joint.sizes), int(joint.sizes[0])
    shape = (*joint.margins.shape[:-2], n_tasks, size, n_tasks)
    P = joint.margins.reshape(shape).swapaxes(-1, -2)  # (..., of task, beside, class)
    Q = P.swapaxes(-2, -3)
    Q = np.where((Q == 0) & (P > 0), 0.5, Q)  # what Q lacks counts as half a label
    P, Q = (safe_divide(Z, Z.sum(axis=-1, keepdims=True)) for Z in (P, Q))
    divergence: Array = rel_entr(P, Q).sum(axis=-1)
    return divergence


def positives(joint: ContingencyTables) -> tuple[Array, Array]:
    """Return counts of both, and of the first task's, second classes in common rows."""
    second = joint.starts + 1
    both = joint.counts[..., second[:, None], second]  # (..., n_tasks, n_tasks)
    return both, joint.margins[..., second, :]


def compute_cramers_v(joint: ContingencyTables) -> Array:
    """Return the association of the labels of each pair, from 0 to 1."""
    deviation = (joint.counts - joint.expected) ** 2
    squared = joint.pair_sums(safe_divide(deviation, joint.expected))
    present = np.add.reduceat(joint.margins > 0, joint.starts, axis=-2, dtype=float)
    dimensions = np.minimum(present, present.swapaxes(-1, -2)) - 1
    return np.sqrt(np.minimum(safe_divide(squared, joint.n_rows * dimensions), 1))


def compute_correlation(
    labels: Sequence[NDArray[Any]], n_classes: Sequence[int]
) -> Array:
    """Return how well one label tells the other by least squares, from -1 to 1."""
    # Of numbers and of two classes, coded 0 and 1, it is Pearson's correlation; of
    # these with several classes the correlation ratio; and of several classes with
    # several Cramér's V, which both have no sign. It is zero where a label does not
    # vary.
    # labels lists of shape (n_samples,); returns (n_tasks, n_tasks).
    simple = [t for t, k in enumerate(n_classes) if k <= 2]
    several = [t for t, k in enumerate(n_classes) if k > 2]
    value = np.zeros((len(n_classes), len(n_classes)))
    numbers = _Numbers.from_labels([labels[t] for t in simple])
    value[np.ix_(simple, simple)] = numbers.pearson()
    if several:
        classes = [labels[t] for t in several]
        joint = ContingencyTables.from_labels(classes, [n_classes[t] for t in several])
        value[np.ix_(several, several)] = compute_cramers_v(joint)
        ratios = numbers.correlation_ratio(np.column_stack(classes), joint.sizes)
        value[np.ix_(several, simple)] = ratios
        value[np.ix_(simple, several)] = ratios.T
    return value


@dataclass(frozen=True)
class _Numbers:
    """Labels that are numbers, or one of two classes."""

    # (n_samples, n_tasks): Numbers or codes, none of them huge; zero where missing.
    values: Array
    present: Array  # (n_samples, n_tasks): One where there is a label, else zero.

    @classmethod
    def from_labels(cls, labels: Sequence[NDArray[Any]]) -> _Numbers:
        if not labels:
            return cls(np.zeros((0, 0)), np.zeros((0, 0)))
        present = np.column_stack([has_label(z) for z in labels])
        values = np.where(present, np.column_stack(labels), 0)
        # The scale is no matter, but squares of what is far out would overflow.
        values = normalize_magnitude(values.astype(np.float64))
        return cls(values, present.astype(np.float64))

    def pearson(self) -> Array:
        """Return correlations of all pairs, each over its common rows."""
        V, M = self.values, self.present
        n = M.T @ M  # (n_tasks, n_tasks)
        total, squares = V.T @ M, (V**2).T @ M
        covariance = V.T @ V - safe_divide(total * total.T, n)
        variance = _compute_variance(total, squares, n)
        scale = np.sqrt(variance)
        return np.clip(safe_divide(covariance, scale * scale.T), -1, 1)

    def correlation_ratio(self, codes: NDArray[Any], sizes: NDArray[Any]) -> Array:
        """Return the ratios of tasks of several classes with these."""
        n_tasks = self.values.shape[1]
        if not n_tasks:
            return np.zeros((len(sizes), 0))
        stack = np.hstack([self.present, self.values, self.values**2])
        parts = [hot.T @ stack[rows] for rows, hot in encode_one_hot(codes, sizes)]
        n, total, squares = np.split(np.sum(parts, axis=0), 3, axis=1)
        starts = np.cumsum(sizes) - sizes
        between = np.add.reduceat(
            safe_divide(total**2, n), starts
        )  # (several, n_tasks)
        n, total, squares = (np.add.reduceat(Z, starts) for Z in (n, total, squares))
        explained = between - safe_divide(total**2, n)
        variance = _compute_variance(total, squares, n)
        return np.sqrt(np.clip(safe_divide(explained, variance), 0, 1))


def _compute_variance(total: Array, squares: Array, n: Array) -> Array:
    """Return sums of squares around the mean; what is only rounding is zero."""
    variance = squares - safe_divide(total**2, n)
    return np.where(variance > 1e-12 * squares, variance, 0)


def measure_dependence(
    labels: Sequence[NDArray[Any]],
    n_classes: Sequence[int],
    method: str,
    n_bins: int = N_BINS,
) -> tuple[Array, Array]:
    """Estimate how the labels of all pairs of tasks depend on each other."""
    # labels lists of shape (n_samples,); returns value of shape (n_tasks, n_tasks),
    # n_rows of shape (n_tasks, n_tasks).
    if method == "correlation":
        M = np.column_stack([has_label(z) for z in labels]).astype(np.float64)
        value, n_rows = compute_correlation(labels, n_classes), M.T @ M
    else:
        joint = ContingencyTables.from_labels(labels, n_classes, n_bins)
        n_rows = joint.n_rows
        if method == "mutual_information":
            value = compute_mutual_information(joint)
        elif method == "kl":
            value = kl_divergence(joint)
        else:
            both, n_rows = positives(joint)
            value = safe_divide(both, n_rows)
    return np.where(n_rows > 0, value, np.nan), n_rows


def check_method(
    method: str,
    names: Sequence[Any],
    classes: Sequence[NDArray[Any] | None],
    parameter: str,
) -> None:
    """Raise an error for a method that tasks of these classes cannot have."""
    if method == "kl":
        need, fits = "the same classes", [_same(c, classes[0]) for c in classes]
    elif method == "cooccurrence":
        need, fits = "two classes", [c is not None and len(c) <= 2 for c in classes]
    else:
        return
    if all(fits):
        return
    odd = fits.index(False)
    shown = dict.fromkeys([0, odd] if method == "kl" else [odd])
    got = " and ".join(
        f"task {names[t]!r} with {_clip_to_range(classes[t])}" for t in shown
    )
    raise ValueError(
        f"{parameter} can be {method!r} only where all tasks have {need}. Got {got}: "
        "'mutual_information' takes any labels."
    )


def _same(classes: NDArray[Any] | None, first: NDArray[Any] | None) -> bool:
    if classes is None or first is None:
        return False
    return np.array_equal(classes, first)


def _clip_to_range(classes: NDArray[Any] | None) -> str:
    return "numbers" if classes is None else f"classes {classes.tolist()}"
