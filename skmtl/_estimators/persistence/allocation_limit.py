"""A bound on the memory that reading a file may take."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

#: Functions that make tensors of a size that is given.
FROM_SIZES = {torch.empty, torch.ones, torch.rand, torch.randn, torch.zeros}
#: Bytes that may be allocated beside those of the file, such as batches of trials.
SPARE = 2**28
#: How many times the bytes of a file may be allocated: as read, as parameters, stacked,
#: and in trials.
TIMES = 8
#: Bytes that Python takes for a list or a dict of JSON, and for a place in one.
CONTAINER, PLACE = 256, 32


class ByteBudget:
    """Bytes that may still be allocated while a file is read."""

    def __init__(self, n_bytes: int) -> None:
        self.left = SPARE + TIMES * n_bytes

    def charge(self, n_bytes: int) -> None:
        """Count bytes that are about to be allocated."""
        self.left -= n_bytes
        if n_bytes < 0 or self.left < 0:
            raise ValueError("it takes much more memory than it has bytes")


class ChargeTensors(TorchFunctionMode):
    """Charge the tensors of networks that are built, before they are allocated."""

    # What a file says of sizes of layers is believed only as far as it brings the
    # numbers for them.

    def __init__(self, charge: Callable[[int], None]) -> None:
        super().__init__()
        self.charge = charge

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Count what is made."""
        kwargs = kwargs or {}
        if func in FROM_SIZES:
            size = args or (kwargs.get("size", ()),)
            sizes = size[0] if isinstance(size[0], tuple | list) else size
            n = math.prod(int(n) for n in sizes if isinstance(n, int))
            dtype = kwargs.get("dtype") or torch.get_default_dtype()
            try:
                self.charge(n * dtype.itemsize)
            except ValueError:
                raise ValueError("its networks are larger than what it holds") from None
        return func(*args, **kwargs)


def check_json(text: bytes) -> None:
    """Check how much memory a document of JSON takes once it is read."""
    n_containers = text.count(b"[") + text.count(b"{")
    n_places = n_containers + text.count(b",")
    ByteBudget(len(text)).charge(CONTAINER * n_containers + PLACE * n_places)
