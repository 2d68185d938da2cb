"""Stacked members that still train, among those that have stopped."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skmtl.training._members import Members, StackedWeighting
from skmtl.weighting import WeightingModule


class ActiveMembers:
    """The members that still train, as views of the first of all."""

    # All of them stay in one place, whole, for callbacks to see; members that stop are
    # moved behind the others.

    def __init__(self, members: Members, weighting: WeightingModule) -> None:
        self.every = members, weighting
        self.members = members
        self.weighting = weighting
        #: Numbers of all members in the order in which they are computed.
        self.order = np.arange(members.n_estimators)
        self.n_estimators = members.n_estimators

    @property
    def numbers(self) -> NDArray[np.intp]:
        """Numbers of the members that train, in the order of their outputs."""
        return self.order[: self.n_estimators]

    @property
    def modules(self) -> tuple[Members, WeightingModule]:
        """Members that train, and their weightings."""
        return self.members, self.weighting

    def states(self) -> list[dict[str, Tensor]]:
        """Return views of the state of every member, by its number."""
        states = self.every[0].states()
        return [states[place] for place in np.argsort(self.order)]

    def drop(self, done: NDArray[np.bool_], optimizer: torch.optim.Optimizer) -> bool:
        """Go on without members that are done; tell whether there were any."""
        # done of shape (n_estimators,).
        stopped = done[self.order]
        n = len(stopped) - int(stopped.sum())
        if n == self.n_estimators:
            return False
        self.restrict(np.argsort(stopped, kind="stable"), n, optimizer)
        return True

    def restrict(
        self, index: NDArray[np.intp], n: int, optimizer: torch.optim.Optimizer
    ) -> None:
        """Put members into another order, and go on with the first."""
        # index of shape (n_estimators,).
        before, (members, weighting) = self.modules, self.every
        self._reorder(index)
        self.n_estimators, self.members = n, members.first(n)
        if isinstance(weighting, StackedWeighting):
            self.weighting = weighting.first(n)
        members_index = torch.from_numpy(index[:n])
        _train_instead(optimizer, before, self.modules, members_index)

    def restore(self) -> None:
        """Put all members back to where they were at first."""
        self._reorder(np.argsort(self.order))
        self.members, self.weighting = self.every
        self.n_estimators = len(self.order)

    def _reorder(self, index: NDArray[np.intp]) -> None:
        members, weighting = self.every
        self.order = self.order[index]
        members.reorder(index)
        if isinstance(weighting, StackedWeighting):
            weighting.stack.reorder(index)


def _train_instead(
    optimizer: torch.optim.Optimizer,
    before: Iterable[torch.nn.Module],
    after: Iterable[torch.nn.Module],
    members: Tensor,
) -> None:
    """Let an optimizer train parts of its parameters, with their state."""
    for old_module, new_module in zip(before, after, strict=True):
        parameters = old_module.parameters(), new_module.parameters()
        replaced = dict(zip(*parameters, strict=True))
        for group in optimizer.param_groups:
            group["params"] = [replaced.get(p, p) for p in group["params"]]
        for old, new in replaced.items():
            if new is not old and old in optimizer.state:
                state = optimizer.state.pop(old)
                for name, value in state.items():  # a number of steps has no axis
                    if torch.is_tensor(value) and value.ndim:
                        state[name] = value[members]
                optimizer.state[new] = state
