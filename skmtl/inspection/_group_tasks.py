"""Which tasks belong together."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skmtl._core.validation import Interval, StrOptions, validate_params
from skmtl.inspection._frames import read_affinity
from skmtl.sharing._task_grouping import find_task_groups

WHERE = "The 'affinity' parameter of group_tasks"


@validate_params(
    {
        "affinity": "no_validation",
        "n_groups": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def group_tasks(affinity: ArrayLike, n_groups: Any = "auto") -> list[list[Any]]:
    r"""Find the groups of tasks that help each other most.

    The score of a grouping is the sum over tasks of the mean affinity that the others
    of its group have onto it, as in task affinity grouping [1]_:

    .. math:: \sum_j \frac{1}{|G(j)| - 1} \sum_{i \in G(j), i \neq j} A_{ij}

    A task alone scores zero. Of up to 12 tasks, the grouping is the best of all with
    ``n_groups`` groups. More tasks are clustered by average linkage, which joins the
    two groups with the highest mean affinity between them until ``n_groups`` are left.

    Parameters
    ----------
    affinity : array-like or DataFrame of shape (n_tasks, n_tasks)
        How much the task of the row helps that of the column, the more the larger;
        zero is no help, below is harm. It need not be symmetric. The diagonal counts
        for nothing. A DataFrame has the same names as columns and, with pandas, as
        index. A divergence D, which is small where tasks are alike, is no affinity,
        but ``np.exp(-D)`` is.
    n_groups : int or "auto", default="auto"
        Number of groups. "auto" finds it: the grouping whose affinities are closest, in
        least squares, to one value in all groups and a lower one between them. Average
        linkage passes through candidates, and an exact search improves on them for up
        to 12 tasks. The grouping must describe the affinities better than one value
        for all pairs does, by description length [2]_, so that chance seldom makes
        groups; else all tasks stay together. A group with a negative score is
        dissolved.

    Returns
    -------
    list of list
        The groups, as names of tasks, or numbers for an array: what
        `skmtl.sharing.Grouped` takes as ``groups``.

    Raises
    ------
    ValueError
        If the affinities are no square matrix of finite numbers, or of fewer tasks
        than ``n_groups``.

    References
    ----------
    .. [1] C. Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task
       Learning", NeurIPS 2021.
    .. [2] Jorma Rissanen, "Modeling by Shortest Data Description", Automatica 1978.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl.inspection import group_tasks
    >>> affinity = np.array(
    ...     [
    ...         [0.0, 0.1, 0.9, 0.2],
    ...         [0.1, 0.0, 0.1, 0.6],
    ...         [0.7, 0.0, 0.0, 0.1],
    ...         [0.1, 0.8, 0.2, 0.0],
    ...     ]
    ... )
    >>> group_tasks(affinity, n_groups=2)
    [[0, 2], [1, 3]]
    """
    names, matrix = _read_affinity(affinity)
    if n_groups != "auto" and n_groups > len(matrix):
        raise ValueError(
            "The 'n_groups' parameter of group_tasks must be at most the number of "
            f"tasks, {len(matrix)}. Got {n_groups}."
        )
    groups = find_task_groups(matrix, None if n_groups == "auto" else int(n_groups))
    return [[names[t] for t in group] for group in groups]


def _read_affinity(
    affinity: ArrayLike,
) -> tuple[list[Any], np.ndarray[Any, np.dtype[np.float64]]]:
    """Return the tasks' names, or numbers, and their checked affinities."""
    names, matrix = read_affinity(affinity, WHERE)
    np.fill_diagonal(matrix, 0)
    bad = np.argwhere(~np.isfinite(matrix))
    if len(bad):
        i, j = bad[0]
        raise ValueError(
            f"{WHERE} must be finite. Got {matrix[i, j]} from task {names[i]!r} to "
            f"task {names[j]!r}: measure that pair on more rows, or put 0 for no help."
        )
    return names, matrix
