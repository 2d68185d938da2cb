"""What displays of a matrix between tasks have in common."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmtl._core.dataframes import get_column_names
from skmtl._core.validation import resolve_tasks
from skmtl._drawing import order_tasks, shorten_names
from skmtl.inspection._frames import read_affinity
from skmtl.sharing._task_grouping import find_task_groups


class AffinityDisplay:
    """Base of displays of a matrix between tasks, with groups of tasks."""

    def __init__(
        self,
        *,
        affinity: NDArray[np.float64],
        task_names: Sequence[Any],
        groups: list[list[int]] | None = None,
    ) -> None:
        self.affinity = affinity
        self.task_names = task_names
        self.groups = groups

    @classmethod
    def _read(cls, affinity: ArrayLike, groups: ArrayLike | None) -> Self:
        """Return the display of what the user gave."""
        caller = f"{cls.__name__}.from_affinity"
        where = f"The 'affinity' parameter of {caller}"
        names, matrix = read_affinity(affinity, where)
        if get_column_names(affinity) is None:
            names = [f"task{t}" for t in names]
        if np.isinf(matrix).any():
            raise ValueError(
                f"{where} must not be infinite: put NaN where it is not known."
            )
        group_tasks = read_groups(groups, matrix, names, caller)
        return cls(affinity=matrix, task_names=names, groups=group_tasks)

    def _order_tasks(
        self,
    ) -> tuple[list[int], list[int], NDArray[np.float64], list[str]]:
        """Return order, sizes of groups, and matrix and names in that order."""
        blocks = order_tasks(self.affinity, self.groups)
        order = [task for block in blocks for task in block]
        names = shorten_names([self.task_names[t] for t in order])
        sizes = [len(block) for block in blocks]
        return order, sizes, self.affinity[np.ix_(order, order)], names


def read_groups(
    groups: Any, affinity: NDArray[np.float64], names: list[Any], caller: str
) -> list[list[int]] | None:
    """Return the numbers of the tasks of each group; "auto" finds the groups."""
    if groups is None:
        return None
    if isinstance(groups, str) and groups == "auto":
        matrix = np.nan_to_num(affinity)
        np.fill_diagonal(matrix, 0)
        return find_task_groups(matrix, None)
    where = f"The 'groups' parameter of {caller}"
    if isinstance(groups, str) or any(isinstance(g, str | int) for g in groups):
        raise ValueError(
            f"{where} must be 'auto', None or a list of lists of tasks. Got {groups!r}."
        )
    numbers = iter(resolve_tasks([t for g in groups for t in g], names, where))
    return [[next(numbers) for _ in group] for group in groups]
