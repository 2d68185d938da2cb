"""Given weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray

from skmtl._core.validation import check_task_weight
from skmtl.weighting._base import TaskLabels, Weighting, WeightingModule
from skmtl.weighting._equal import _Fixed


class Static(Weighting):
    """Weights that are given and stay the same.

    Tuned by a search they are hard to beat [1]_ [2]_.

    Parameters
    ----------
    weights : array-like of shape (n_tasks,) or dict, default=None
        Weights in the order of the tasks, or a dict from names of tasks to weights,
        where a task left out weighs 1; not negative. None weighs all tasks the same.

    Notes
    -----
    Only ratios of weights matter. The estimators' ``task_weight`` does the same and
    goes with every weighting; what is given here is multiplied by it.

    References
    ----------
    .. [1] A. Royer, T. Blankevoort and B. E. Bejnordi, "Scalarization for Multi-Task
       and Multi-Domain Learning at Scale", NeurIPS 2023.
    .. [2] D. Xin et al., "Do Current Multi-Task Optimization Methods in Deep Learning
       Even Help?", NeurIPS 2022.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.weighting import Static
    >>> est = MultiTaskRegressor(weighting=Static())
    >>> grid = {"weighting__weights": [[1, 1], [1, 3], [3, 1]]}
    >>> search = GridSearchCV(est, grid)
    """

    name = "static"
    unsaid = (
        "has no weights, so that all tasks weigh the same as with 'equal': give "
        "skmtl.weighting.Static(weights)"
    )
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "weights": ["array-like", dict, None],
    }

    def __init__(
        self,
        weights: Sequence[float] | NDArray[Any] | Mapping[Any, float] | None = None,
    ) -> None:
        self.weights = weights

    def for_labels(self, tasks: Sequence[TaskLabels]) -> Static:
        """Return a spec with one weight per task, in their order."""
        names = [task.name for task in tasks]
        return Static(check_task_weight(self.weights, names, _PARAMETER).tolist())

    def build(self, n_tasks: int) -> WeightingModule:
        """Build the constant weights."""
        names = list(range(n_tasks))
        weights = check_task_weight(self.weights, names, _PARAMETER)
        return _Fixed(torch.from_numpy(weights))


_PARAMETER = "The 'weights' parameter of Static"
