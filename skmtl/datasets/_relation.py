"""The relation between tasks that a generator is asked for."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import connected_components

from skmtl._core.validation import SEQUENCES, resolve_tasks

#: Numbers of tasks and correlations where nothing is said of them.
N_TASKS = 4
RELATEDNESS = 0.8
#: Rounding that a relation may have.
TOLERANCE = 1e-8

Array = NDArray[np.float64]


def check_relation(
    n_tasks: int | None,
    relatedness: float | None,
    groups: int | ArrayLike | None,
    relation: Any,
) -> Array:
    """Return the correlations between tasks' functions."""
    # Returns (n_tasks, n_tasks).
    if relation is not None:
        if groups is not None or relatedness is not None:
            raise ValueError(
                "The 'relation' parameter must not be given together with 'groups' or "
                "'relatedness', which it takes the place of: leave them out."
            )
        return _read_relation(relation, n_tasks)
    group = _group_of_task(groups, n_tasks)
    related = RELATEDNESS if relatedness is None else float(relatedness)
    largest = int(np.bincount(group).max())
    if largest > 1 and related < -1 / (largest - 1):
        raise ValueError(
            f"The 'relatedness' parameter must be at least {-1 / (largest - 1):.3g} "
            f"for {largest} related tasks, since not all of them can be opposites. Got "
            f"{related}."
        )
    matrix = related * (group[:, None] == group)
    np.fill_diagonal(matrix, 1)
    return matrix


def related_groups(relation: Array) -> list[list[int]]:
    """Return the groups of tasks that correlations connect."""
    # relation of shape (n_tasks, n_tasks).
    n_groups, group = connected_components(abs(relation) > TOLERANCE, directed=False)
    return [np.flatnonzero(group == g).tolist() for g in range(n_groups)]


def _read_relation(relation: Any, n_tasks: int | None) -> Array:
    """Return a checked matrix of correlations."""
    what = "The 'relation' parameter must be a matrix of correlations"
    matrix = np.array(relation, dtype=np.float64)
    n = len(matrix) if n_tasks is None and matrix.ndim else n_tasks
    if matrix.shape != (n, n) or not n:
        raise ValueError(
            f"{what} with one row and one column per task. Got shape {matrix.shape}"
            f"{'' if n_tasks is None else f' for n_tasks={n_tasks}'}."
        )
    # NaN fails all of these.
    if not (abs(matrix - matrix.T) <= TOLERANCE).all():
        raise ValueError(f"{what}: symmetric and without NaN.")
    if not (abs(np.diag(matrix) - 1) <= TOLERANCE).all():
        raise ValueError(
            f"{what} with ones on the diagonal. Got {np.diag(matrix).tolist()}."
        )
    smallest = np.linalg.eigvalsh(matrix)[0]
    if smallest < -TOLERANCE:
        raise ValueError(
            f"{what}: positive semidefinite, which no set of functions can do without. "
            f"Got the eigenvalue {smallest:.3g}: move its entries towards zero."
        )
    return matrix


def _group_of_task(groups: Any, n_tasks: int | None) -> NDArray[np.int64]:
    """Return the group of each task, from any of the forms that groups can have."""
    what = "The 'groups' parameter"
    if groups is None or isinstance(groups, Integral):
        n, n_groups = n_tasks or N_TASKS, int(groups or 1)
        if n_groups > n:
            raise ValueError(
                f"{what} must be at most the number of tasks, {n}. Got {groups}."
            )
        return np.arange(n, dtype=np.int64) * n_groups // n
    nested = all(isinstance(group, SEQUENCES) for group in groups)
    n_given = sum(map(len, groups)) if nested else len(groups)
    n = n_given if n_tasks is None else n_tasks
    if nested and n_given:
        numbers = resolve_tasks(_flat(groups), range(n), what)
        group = np.empty(n, dtype=np.int64)
        group[numbers] = np.repeat(np.arange(len(groups)), list(map(len, groups)))
        return group
    if n_given != n or not n_given:
        raise ValueError(
            f"{what} must be a number, one label per task or a list of lists of tasks. "
            f"Got {n_given} labels{'' if n_tasks is None else f' for {n_tasks} tasks'}."
        )
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    return group


def _flat(groups: Sequence[Sequence[int]]) -> list[int]:
    return [task for group in groups for task in group]
