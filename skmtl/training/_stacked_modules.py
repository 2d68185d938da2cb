"""Modules of one kind, evaluated at once on stacked parameters."""

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from skmtl._core.module_copies import ModuleCopies


class StackedModules(nn.Module):
    """Modules alike but for their weights, evaluated at once."""

    # It holds one of them, whose parameters have the modules on a new first axis.
    # Modules must not change state in `forward` nor branch on values of tensors.

    def __init__(
        self, modules: Sequence[nn.Module], changing: str | None = None
    ) -> None:
        super().__init__()
        self.n_modules = len(modules)
        parameters, buffers = stack_module_state(list(modules))
        self._own = [
            name
            for name, (first, *others) in (
                (name, list(values)) for name, values in buffers.items()
            )
            if (changing is not None and name.startswith(changing))
            or not all(torch.equal(first, other) for other in others)
        ]
        memo: dict[int, Any] = {
            id(parameter): nn.Parameter(parameters[name])
            for name, parameter in modules[0].named_parameters()
        }
        first_buffers = dict(modules[0].named_buffers())
        memo |= {id(first_buffers[name]): buffers[name] for name in self._own}
        self._called = _Called(copy.deepcopy(modules[0], memo))
        self._skeletons = ModuleCopies(self._called)
        self._squeezed: set[str] = set()

    @property
    def together(self) -> nn.Module:
        """The module with stacked parameters, for its structure."""
        return self._called.module

    def squeeze(self, names: Iterable[str]) -> None:
        """Keep some parameters without their second axis, whose length is one."""
        for name in names:
            parameter = self.together.get_parameter(name)
            parameter.data = parameter.data.squeeze(1)
            self._squeezed.add(f"module.{name}")

    def bind(self, method: str, *in_dims: int | None) -> Callable[..., Any]:
        """Return a method that calls all modules at once, for use in one thread."""
        skeleton = self._skeletons.take()
        run = self._map(skeleton, method, in_dims)

        def in_mode(*arguments: Any) -> Any:
            self._skeletons.match_mode(skeleton)
            return run(*arguments)

        return in_mode

    def call(self, method: str, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        """Call a method of all modules at once, in any thread."""
        with self._skeletons.borrow() as skeleton:
            return self._map(skeleton, method, in_dims)(*args)

    def _map(
        self, skeleton: nn.Module, method: str, in_dims: tuple[int | None, ...]
    ) -> Callable[..., Any]:
        """Return a method mapped over all modules, which run on one skeleton."""
        parameters = {
            name: p.unsqueeze(1) if name in self._squeezed else p
            for name, p in self._called.named_parameters()
        }
        buffers = self._own_buffers()
        common = {n: b for n, b in self._called.named_buffers() if n not in buffers}

        def one(parameters: Any, buffers: Any, *arguments: Any) -> Any:
            tensors = (parameters, buffers, common)
            return functional_call(skeleton, tensors, (method, *arguments))

        vmapped = torch.vmap(one, in_dims=(0, 0, *in_dims), randomness="different")
        return partial(vmapped, parameters, buffers)

    def states(self) -> list[dict[str, Tensor]]:
        """Return views of the parameters and own buffers of every module."""
        named = dict(self._called.named_parameters()) | self._own_buffers()
        return [
            {name: self._part(name, value.detach(), i) for name, value in named.items()}
            for i in range(self.n_modules)
        ]

    def module(self, i: int) -> nn.Module:
        """Return a copy of one of the modules."""
        memo = self._memo(lambda name, t: self._part(name, t, i).clone())
        return copy.deepcopy(self.together, memo)

    def first(self, n: int) -> "StackedModules":
        """Return the first modules, on the same memory."""
        stack = copy.deepcopy(self, self._memo(lambda _, t: t[:n]))
        stack.n_modules = n
        return stack

    def reorder(self, order: NDArray[np.intp]) -> None:
        """Put the modules into another order, in the memory where they are."""
        for values in (*self.parameters(), *self._own_buffers().values()):
            values.data.copy_(values.data[torch.from_numpy(order)])

    def _part(self, name: str, stacked: Tensor, i: int) -> Tensor:
        """Return a view of what one of the modules has."""
        return stacked[i].unsqueeze(0) if name in self._squeezed else stacked[i]

    def _memo(self, part: Callable[[str, Tensor], Tensor]) -> dict[int, Any]:
        """Return what copies of the module have in place of its stacked tensors."""
        memo: dict[int, Any] = {
            id(p): nn.Parameter(part(name, p.detach()), p.requires_grad)
            for name, p in self._called.named_parameters()
        }
        buffers = self._own_buffers()
        return memo | {id(b): part(name, b) for name, b in buffers.items()}

    def _own_buffers(self) -> dict[str, Tensor]:
        names = {f"module.{name}" for name in self._own}
        return {n: b for n, b in self._called.named_buffers() if n in names}


class _Called(nn.Module):
    """Lets ``functional_call`` reach every method of a module."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, method: str, *arguments: Any) -> Any:
        return getattr(self.module, method)(*arguments)
