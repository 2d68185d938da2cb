"""The best groups of tasks, by how much tasks help each other."""

from itertools import accumulate
from math import exp, log

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform

from skmtl._core.validation import normalize_magnitude

#: Up to this many tasks, all groupings are searched.
N_EXACT = 12

Array = NDArray[np.float64]
Groups = NDArray[np.int64]  # the group of each task


def find_task_groups(affinity: Array, n_groups: int | None) -> list[list[int]]:
    """Return the best groups of tasks."""
    # affinity of shape (n_tasks, n_tasks).
    mutual = affinity / 2 + affinity.T / 2  # in every score, both directions count
    np.fill_diagonal(mutual, 0)
    # The scale is no matter, but squares of huge numbers would overflow.
    mutual = normalize_magnitude(mutual.ravel()).reshape(mutual.shape)
    groups = (
        _search_grouping(mutual)
        if n_groups is None
        else _find_fixed_grouping(mutual, n_groups)
    )
    return sorted(np.flatnonzero(groups == g).tolist() for g in np.unique(groups))


def _find_fixed_grouping(mutual: Array, n_groups: int) -> Groups:
    """Return the grouping with the highest affinity of tasks with their groups."""
    if len(mutual) > N_EXACT:
        groups: Groups = _cut_tree(mutual)[len(mutual) - n_groups]
        return groups
    within, size = _sum_within(mutual)
    return _find_best_partition(within / np.maximum(size - 1, 1), n_groups)


def _search_grouping(mutual: Array) -> Groups:
    """Return the grouping that tells best which affinities are high, if one does."""
    n_tasks = len(mutual)
    groups = np.zeros(n_tasks, dtype=np.int64)
    values = mutual[np.triu_indices(n_tasks, 1)]
    error = ((values - values.mean()) ** 2).sum() if n_tasks > 2 else 0.0
    if error > 1e-12 * (values**2).sum():  # else it is only rounding
        cuts = _cut_tree(mutual)[1:-1]
        split = min(cuts, key=lambda cut: _fit_two_means(mutual, cut)[0])
        split = _refine_split(mutual, split) if n_tasks <= N_EXACT else split
        length = _log_partitions(n_tasks) + log(len(values)) / 2
        n_free = max(len(values) - 2, 1)  # beside the means
        if _fit_two_means(mutual, split)[0] * exp(2 * length / n_free) < error:
            groups = split
    same = groups[:, None] == groups
    harmful = same @ (same * mutual).sum(axis=1) < 0
    return np.where(harmful, n_tasks + np.arange(n_tasks), groups)


def _cut_tree(mutual: Array) -> Groups:
    """Return a grouping for each number of groups, from n_tasks to one."""
    distance = mutual.max() - mutual
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    cuts: Groups = cut_tree(tree).T.astype(np.int64)
    return cuts


def _fit_two_means(mutual: Array, groups: Groups) -> tuple[float, float]:
    """Return the squared error of means within and between groups, and the middle."""
    # The error is infinite where there is only one of them.
    above = np.triu_indices(len(groups), 1)
    same = (groups[:, None] == groups)[above]
    inside, between = mutual[above][same], mutual[above][~same]
    if not len(inside) or not len(between):
        return np.inf, 0.0
    error = sum(((part - part.mean()) ** 2).sum() for part in (inside, between))
    return float(error), float(inside.mean() + between.mean()) / 2


def _refine_split(mutual: Array, groups: Groups) -> Groups:
    """Lower the error of two means by turns: the best grouping, then its means."""
    within, size = _sum_within(mutual)
    error, middle = _fit_two_means(mutual, groups)
    while True:
        new = _find_best_partition(within - middle * size * (size - 1), None)
        new_error, middle = _fit_two_means(mutual, new)
        if not new_error < error * (1 - 1e-9):
            return groups
        groups, error = new, new_error


def _log_partitions(n: int) -> float:
    """Return the logarithm of the number of groupings, Bell's number."""
    row = [1]
    for _ in range(n - 1):
        row = list(accumulate([row[-1], *row]))
    return log(row[-1])


def _sum_within(mutual: Array) -> tuple[Array, Array]:
    """Return the sum of affinities within each set of tasks, and the sets' sizes."""
    n_tasks = len(mutual)
    sets = np.arange(2**n_tasks)[:, None]
    members = (sets >> np.arange(n_tasks) & 1).astype(np.float64)
    return ((members @ mutual) * members).sum(axis=1), members.sum(axis=1)


def _find_best_partition(value: Array, n_groups: int | None) -> Groups:
    """Return the partition into groups of the highest total value."""
    # It is found for each set of tasks in turn, from those of smaller sets: one of its
    # groups holds its first task. Sets are numbers whose bits are the tasks.
    # value of shape (2 ** n_tasks,); returns (n_tasks,).
    best = np.full((1 if n_groups is None else n_groups + 1, len(value)), -np.inf)
    best[0, 0] = 0
    # One row per number of groups, each found from the one before.
    before, after = (best, best) if n_groups is None else (best[:-1], best[1:])
    choice = np.zeros(after.shape, dtype=np.int64)
    row = np.arange(len(after))
    for tasks in range(1, len(value)):
        first = tasks & -tasks
        groups = first | _enumerate_subsets(tasks ^ first)
        total = value[groups] + before[:, tasks ^ groups]
        pick = total.argmax(axis=1)
        after[:, tasks], choice[:, tasks] = total[row, pick], groups[pick]
    n_tasks = len(value).bit_length() - 1
    partition = np.zeros(n_tasks, dtype=np.int64)
    rest = len(value) - 1
    for number in range(n_tasks):
        group = choice[-1 if n_groups is None else -1 - number, rest]
        partition[(group >> np.arange(n_tasks) & 1).astype(bool)] = number
        rest ^= group
        if not rest:
            break
    return partition


def _enumerate_subsets(tasks: int) -> NDArray[np.int64]:
    """Return all subsets of a set."""
    subsets = np.zeros(1, dtype=np.int64)
    while tasks:
        bit = tasks & -tasks
        subsets = np.concatenate([subsets, subsets | bit])
        tasks ^= bit
    return subsets
