"""A bound on what may be allocated while a file's networks are built."""

import math
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

#: Functions that make tensors of a size that is given.
FROM_SIZES = {torch.empty, torch.ones, torch.rand, torch.randn, torch.zeros}
#: Numbers that may be made beside those that the file has, such as batches of trials.
SPARE = 2**26
#: How many times a parameter of the file may be made: once, stacked, and in trials.
TIMES = 8


class Budget(TorchFunctionMode):
    """Refuse to make tensors that a file's own cannot fill.

    What a file says of sizes of layers is believed only as far as it brings the
    numbers for them.

    Parameters
    ----------
    n_numbers : int
        How many numbers the tensors of the file have.
    """

    def __init__(self, n_numbers: int) -> None:
        super().__init__()
        self.left = SPARE + TIMES * n_numbers

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Count what is made."""
        kwargs = kwargs or {}
        if func in FROM_SIZES:
            size = args or (kwargs.get("size", ()),)
            sizes = size[0] if isinstance(size[0], tuple | list) else size
            self.left -= math.prod(int(n) for n in sizes if isinstance(n, int))
            if self.left < 0:
                raise ValueError("its networks are larger than what it holds")
        return func(*args, **kwargs)
