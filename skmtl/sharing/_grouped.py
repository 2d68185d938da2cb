"""Hard sharing inside given groups of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor, nn

from skmtl._core.validation import SEQUENCES, resolve_tasks
from skmtl.sharing._base import MixtureModule, Sharing, SharingModule

if TYPE_CHECKING:
    from skmtl.encoder import Encoder, EncoderModule


class Grouped(Sharing):
    """One encoder for each given group of tasks, nothing shared between groups.

    Which tasks learn well together is a question of its own [1]_; this strategy takes
    the answer. One group is hard sharing, and groups of one task are independent
    networks. The encoders of all groups train at once as stacked tensors.

    Parameters
    ----------
    groups : sequence of sequences or None, default=None
        The groups, each a sequence of names or numbers of tasks; every task stands in
        one group. An integer that is no task's name is the number of a task. None puts
        all tasks into one group.

    References
    ----------
    .. [1] T. Standley et al., "Which Tasks Should Be Learned Together in Multi-task
       Learning?", ICML 2020.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.sharing import Grouped
    >>> X, Y = make_regression(60, n_features=5, n_targets=3, random_state=0)
    >>> est = MultiTaskRegressor(Grouped([[0, 2], ["task1"]]), max_iter=5)
    >>> est.fit(X, Y).module_.member(0).sharing.group_of_task.tolist()
    [0, 1, 0]
    """

    name = "grouped"
    unsaid = (
        "has no groups, so that all tasks share one encoder as with 'hard': give "
        "skmtl.sharing.Grouped(groups)"
    )
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "groups": [*SEQUENCES, None],
    }

    def __init__(
        self, groups: Sequence[Sequence[Any]] | NDArray[Any] | None = None
    ) -> None:
        self.groups = groups

    def validate(self) -> Self:
        """Return the spec itself after checking its settings."""
        super().validate()
        for group in () if self.groups is None else self.groups:
            if not isinstance(group, SEQUENCES) or not len(group):
                raise ValueError(
                    "The 'groups' parameter of Grouped must be a sequence of groups, "
                    "each a sequence of at least one task, such as [[0, 1], [2]]. Got "
                    f"the group {group!r}."
                )
        return self

    def for_tasks(self, names: Sequence[Any], n_labels: Sequence[int]) -> Self:
        """Return the spec with groups of task numbers."""
        groups = [names] if self.groups is None else self.groups
        tasks = (task for group in groups for task in group)
        numbers = resolve_tasks(tasks, names, "The 'groups' parameter of Grouped")
        ends = np.cumsum([len(group) for group in groups])
        parts = np.split(np.array(numbers), ends[:-1])
        numbered: Self = clone(self).set_params(groups=[p.tolist() for p in parts])
        return numbered

    def build(
        self, encoder: Encoder, input_shape: tuple[int, ...], n_tasks: int
    ) -> SharingModule:
        """Build one column per group."""
        groups = self.for_tasks(range(n_tasks), [1] * n_tasks).groups or []
        group_of_task = torch.empty(n_tasks, dtype=torch.int64)
        for number, group in enumerate(groups):
            group_of_task[group] = number
        return _Grouped(encoder.build(input_shape, len(groups)), group_of_task)


class _Grouped(MixtureModule):
    group_of_task: Tensor

    def __init__(self, columns: EncoderModule, group_of_task: Tensor) -> None:
        super().__init__()
        self.columns = columns
        self.width, self.n_mixed = columns.width, columns.n_copies
        self.n_separate = columns.n_copies
        self.same_features = columns.n_copies == 1
        self.register_buffer("group_of_task", group_of_task)
        self.shares = columns.n_copies < len(group_of_task)

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.same_features:
            H = self.columns.single(X)  # (n, width): all heads read the same
            return H, H if self.shares else None
        H = self._by_group(X)
        features = H.index_select(1, self.group_of_task)  # (n, tasks, width)
        return features, H if self.shares else None

    def mixture(self, X: Tensor) -> tuple[Tensor, Tensor]:
        H = self._by_group(X)
        groups = torch.arange(self.n_mixed, device=H.device)
        return (self.group_of_task.unsqueeze(1) == groups).to(H.dtype), H

    def _by_group(self, X: Tensor) -> Tensor:
        H: Tensor = self.columns(X).transpose(0, 1)  # (n, groups, width)
        return H

    def shared_parameters(self) -> Iterable[nn.Parameter]:
        if not self.shares:
            return ()
        sizes = self.group_of_task.bincount(minlength=self.columns.n_copies)
        slices = self.columns.from_stacks(dict.fromkeys(self.columns.stacks(), sizes))
        parameters = self.columns.named_parameters()
        return (p for name, p in parameters if (slices[name] > 1).any())
