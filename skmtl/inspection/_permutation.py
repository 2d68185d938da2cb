"""Whether tasks' labels depend on each other by more than chance."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from skmtl._data.training_data import has_label
from skmtl.relation._label_dependence import (
    ContingencyTables,
    compute_correlation,
    compute_mutual_information,
    kl_divergence,
    positives,
)

#: Cells of drawn tables that are held at a time.
N_CELLS = 2**22

Array = NDArray[np.float64]


def compute_p_values(
    labels: Sequence[NDArray[Any]],
    n_classes: Sequence[int],
    method: str,
    n_bins: int,
    n_permutations: int,
    rng: Generator,
) -> Array:
    """Return how often random draws give at least the observed dependence."""
    # Labels are codes (negative where missing) or standardised numbers (NaN); p has
    # the shape (n_tasks, n_tasks), from 1 / (n_permutations + 1) to 1.
    if method == "correlation":
        observed_strength = np.abs(compute_correlation(labels, n_classes))[None]
        random_strengths = (
            np.abs(compute_correlation(shuffle_columns(labels, rng), n_classes))[None]
            for _ in range(n_permutations)
        )
    else:
        joint = ContingencyTables.from_labels(labels, n_classes, n_bins)
        observed_strength = _measure_strength(joint, method)[None]
        draw = swap_columns if method == "kl" else redraw_tables
        random_strengths = (
            _measure_strength(draw(joint, n, rng), method)
            for n in _split_draws(n_permutations, joint.counts.size)
        )
    # Equal strengths may differ by rounding.
    threshold = observed_strength - 1e-9 * (1 + observed_strength)
    larger = sum((strength >= threshold).sum(axis=0) for strength in random_strengths)
    p: Array = (larger + 1) / (n_permutations + 1)
    if method != "kl":  # one draw for both directions
        p = np.triu(p) + np.triu(p, 1).T
    np.fill_diagonal(p, np.nan)
    return p


def _measure_strength(joint: ContingencyTables, method: str) -> Array:
    """Return what is the larger the stronger the dependence is."""
    if method == "mutual_information":
        return compute_mutual_information(joint)
    if method == "kl":
        return kl_divergence(joint)
    second = joint.starts + 1
    n_both, _ = positives(joint)
    return np.abs(n_both - joint.expected[..., second[:, None], second])


def _split_draws(n: int, size: int) -> Iterator[int]:
    """Yield how many tables of some size to draw at a time."""
    at_once = max(N_CELLS // size, 1)
    for start in range(0, n, at_once):
        yield min(at_once, n - start)


def redraw_tables(
    joint: ContingencyTables, n: int, rng: Generator
) -> ContingencyTables:
    """Draw n tables as they are when the labels of common rows are shuffled."""
    # They have the margins of the observed tables and hypergeometric cells; counts
    # are of shape (n, n_levels, n_levels), none of a task with itself.
    margins, task = joint.margins.astype(np.int64), np.arange(len(joint.sizes))
    # Each pair is drawn once; (levels, tasks) and, not yet drawn, (n, tasks, levels).
    rows = np.where(joint.of_task[:, None] < task, margins, 0)
    n_left = np.where(task[:, None] < joint.of_task, margins.T, 0)
    n_left = np.repeat(n_left[None], n, axis=0)
    counts = np.zeros((n, *joint.counts.shape))
    numbers = [np.flatnonzero(joint.sizes > a) for a in range(joint.sizes.max())]
    for a, firsts in enumerate(numbers):
        row = joint.starts[firsts] + a
        n_lacking = np.repeat(rows[row][None], n, axis=0)  # (n, firsts, tasks)
        n_others = np.add.reduceat(n_left[:, firsts], joint.starts, axis=-1)
        for b, seconds in enumerate(numbers):
            column = joint.starts[seconds] + b
            n_good = n_left[:, firsts[:, None], column]
            n_others[..., seconds] -= n_good
            cells = rng.hypergeometric(
                n_good, n_others[..., seconds], n_lacking[..., seconds]
            )
            counts[:, row[:, None], column] = cells
            n_lacking[..., seconds] -= cells
            n_left[:, firsts[:, None], column] -= cells
    return ContingencyTables(counts + counts.swapaxes(1, 2), joint.sizes)


def swap_columns(joint: ContingencyTables, n: int, rng: Generator) -> ContingencyTables:
    """Draw n tables as they are when each row swaps its two labels or does not."""
    # All tasks have the same classes; counts are of shape (n, n_levels, n_levels).
    n_tasks, size = len(joint.sizes), int(joint.sizes[0])
    counts = joint.counts.reshape(n_tasks, size, n_tasks, size).astype(np.int64)
    totals = counts + counts.swapaxes(1, 3)
    swaps = rng.binomial(totals, 0.5, size=(n, *totals.shape))
    a, b = np.ogrid[:size, :size]
    new = np.where((a < b)[:, None], swaps, totals - swaps.swapaxes(2, 4))
    new = np.where((a == b)[:, None], counts, new)
    cells = new.reshape(n, *joint.counts.shape).astype(np.float64)
    above = joint.of_task[:, None] < joint.of_task
    cells = np.where(above, cells, cells.swapaxes(1, 2))  # each pair has one table
    return ContingencyTables(cells, joint.sizes)


def shuffle_columns(
    labels: Sequence[NDArray[Any]], rng: Generator
) -> list[NDArray[Any]]:
    """Shuffle the labels of each task among the rows that have one."""
    columns = []
    for task in labels:
        column = task.copy()
        present = has_label(column)
        column[present] = rng.permutation(column[present])
        columns.append(column)
    return columns
