"""Hard sharing inside groups of tasks that training finds."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from skmtl._core.validation import Interval, StrOptions
from skmtl.sharing._base import Sharing, SharingModule
from skmtl.sharing._grouped import Grouped
from skmtl.sharing._task_grouping import find_task_groups

if TYPE_CHECKING:
    from skmtl.encoder import Encoder


class AutoGrouped(Sharing):
    """One encoder for each group of tasks, which a short training finds.

    A network with hard sharing trains first for some epochs, in which it is looked at
    how a step on each task changes the losses of the others, as
    `skmtl.inspection.task_affinity` does [1]_. `skmtl.inspection.group_tasks` makes
    groups of that, and they train as in `Grouped`. ``groups_`` of the estimator holds
    them. ``partial_fit`` finds them on the rows of its first call.

    Members that hold out different rows have the same groups, which are found on the
    rows of all: out-of-fold predictions are of rows that the groups have seen.

    Parameters
    ----------
    n_groups : int or "auto", default="auto"
        Number of groups, as in `skmtl.inspection.group_tasks`.
    max_iter : int, default=20
        Epochs of the first training.

    References
    ----------
    .. [1] C. Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task
       Learning", NeurIPS 2021.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import make_multitask_regression
    >>> from skmtl.sharing import AutoGrouped
    >>> X, Y = make_multitask_regression(groups=[[0, 2], [1, 3]], random_state=0)
    >>> est = MultiTaskRegressor(AutoGrouped(n_groups=2), max_iter=5, random_state=0)
    >>> est.fit(X, Y).groups_
    [['task0', 'task2'], ['task1', 'task3']]
    """

    name = "auto_grouped"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_groups": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, n_groups: int | str = "auto", max_iter: int = 20) -> None:
        self.n_groups = n_groups
        self.max_iter = max_iter

    @property
    def scout_epochs(self) -> int:
        """Epochs of hard sharing to look at first."""
        return self.max_iter

    def for_tasks(self, names: Sequence[Any], n_labels: Sequence[int]) -> Self:
        """Return the spec itself, whose groups are not more than the tasks."""
        if self.n_groups != "auto" and int(self.n_groups) > len(names):
            raise ValueError(
                "The 'n_groups' parameter of AutoGrouped must be at most the number of "
                f"tasks, {len(names)}. Got {self.n_groups}."
            )
        return self

    def for_affinity(self, affinity: NDArray[np.float64]) -> Self:
        """Return the spec with the groups that tasks fall into."""
        n_groups = None if self.n_groups == "auto" else int(self.n_groups)
        grouped: Self = clone(self)
        grouped.groups_ = find_task_groups(np.nan_to_num(affinity), n_groups)
        return grouped

    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build one column per group; one for all tasks where none were looked for."""
        groups = getattr(self, "groups_", None)
        return Grouped(groups).build(encoder, input_shape, n_tasks)
