"""Copies of modules without weights, and of objects without cached properties."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import nn


class ModuleCopies:
    """Copies of a module without weights, each for one call at a time."""

    # `torch.func.functional_call` puts parameters into a module for as long as it runs.
    # Calls in several threads would find those of each other in the same module, so
    # that each gets a copy to itself.

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._unused: list[nn.Module] = []  # pop and append are atomic

    def take(self) -> nn.Module:
        """Return a copy that no other call has."""
        if torch.compiler.is_dynamo_compiling():  # which cannot trace copies
            return self.module
        try:
            return self._unused.pop()
        except IndexError:
            with torch.inference_mode(False):  # the copy may serve in training later
                return copy_structure(self.module)

    @contextmanager
    def borrow(self) -> Iterator[nn.Module]:
        """Yield a copy, in the mode of the module, until a call has ended."""
        skeleton = self.take()
        self.match_mode(skeleton)
        try:
            yield skeleton
        finally:
            if skeleton is not self.module:
                self._unused.append(skeleton)

    def match_mode(self, skeleton: nn.Module) -> None:
        """Set a copy to the mode of the module, training or not."""
        if skeleton.training != self.module.training:
            skeleton.train(self.module.training)

    def __deepcopy__(self, memo: dict[int, object]) -> "ModuleCopies":
        return ModuleCopies(copy.deepcopy(self.module, memo))

    def __getstate__(self) -> dict[str, Any]:
        return {"module": self.module, "_unused": []}


def copy_structure(module: nn.Module) -> nn.Module:
    """Return a copy of a module whose parameters and buffers have no memory."""
    # Moving a copy to "meta" would part the parameters that it ties.
    memo: dict[int, Any] = {
        id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad)
        for p in module.parameters()
    }
    memo |= {id(b): b.detach().to("meta") for b in module.buffers()}
    return copy.deepcopy(module, memo)


class WithoutCaches:
    """Leaves cached properties out of copies and pickles."""

    # Predictions fill these caches, perhaps while another thread pickles.

    def __getstate__(self) -> dict[str, Any]:
        state = vars(self).copy()  # at once, while others may add to it
        cls = type(self)
        return {
            name: value
            for name, value in state.items()
            if not isinstance(getattr(cls, name, None), cached_property)
        }
