"""From objects to JSON and tensors and back, for a closed set of types.

Numbers that are finite, strings, booleans, None and lists stand for themselves. Any
other object is one of JSON whose "kind" names the entry of `CODECS` that reads it. An
entry builds objects of fixed classes: nothing in a file is ever evaluated, and nothing
imported but from the import paths that the user trusts.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skmtl._core.printable import escape_text
from skmtl._estimators.persistence.allocation_limit import ByteBudget
from skmtl._estimators.persistence.import_paths import Trust
from skmtl.exceptions import ModelFileError

Node = dict[str, Any]
#: Types of tensors that safetensors knows.
DTYPES = {
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
}
#: Bits of integers that Python writes and reads as text.
INTEGER_BITS = 10_000
#: How deep objects may lie in each other.
DEPTH = 200


@dataclass(frozen=True)
class Codec:
    """How objects of some types become JSON and tensors."""

    takes: Callable[[Any], bool]  # Whether it packs an object.
    # ``pack(writer, value, where)``, what JSON holds of it.
    pack: Callable[["Writer", Any, str], Node]
    unpack: Callable[["Reader", Node], Any]  # ``unpack(reader, node)``, the object.


#: All kinds of objects, those of more special ones first.
CODECS: dict[str, Codec] = {}


class Writer:
    """Turns objects into JSON and tensors."""

    # tensors: Tensors by where they belong.
    # shared: Numbers of objects that are stored once, by their identities.

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.shared: dict[int, int] = {}
        self._depth = 0

    def pack(self, value: object, where: str) -> Any:
        """Return what JSON holds of an object."""
        simple = value is None or type(value) in (bool, str)
        simple |= type(value) is int and value.bit_length() <= INTEGER_BITS
        if simple or (type(value) is float and math.isfinite(value)):
            return value
        if type(value) is int:
            raise make_store_error(value, where, f" of more than {INTEGER_BITS} bits")
        self._depth += 1
        if self._depth > DEPTH:
            place = ".".join(where.split(".")[:2])
            raise make_store_error(
                value, place, f" whose parts lie more than {DEPTH} deep"
            )
        try:
            return self._pack(value, where)
        finally:
            self._depth -= 1

    def _pack(self, value: object, where: str) -> Any:
        if type(value) is list:
            return [self.pack(entry, f"{where}.{i}") for i, entry in enumerate(value)]
        for kind, codec in CODECS.items():
            if codec.takes(value):
                return {"kind": kind, **codec.pack(self, value, where)}
        raise make_store_error(value, where)

    def keep(self, tensor: Tensor, where: str) -> str:
        """Keep a tensor, and return its name."""
        if tensor.dtype not in DTYPES or tensor.is_meta:
            kind = "without numbers" if tensor.is_meta else f"of type {tensor.dtype}"
            raise make_store_error(tensor, where, f" {kind}")
        where = escape_text(where)  # names of tensors are UTF-8
        name = where if where not in self.tensors else f"{where}#{len(self.tensors)}"
        # Apart from what shares its memory, which safetensors does not store.
        self.tensors[name] = tensor.detach().cpu().contiguous().clone()
        return name


class Reader:
    """Turns JSON and tensors into objects."""

    def __init__(self, tensors: dict[str, Tensor], trust: Trust) -> None:
        self.tensors = tensors
        self.trust = trust
        self.shared: list[Any] = []
        self.budget = ByteBudget(sum(tensor.nbytes for tensor in tensors.values()))
        self._depth = 0
        for name, tensor in tensors.items():
            # Selections count bytes of other values more than once.
            if tensor.dtype == torch.bool and (tensor.view(torch.uint8) > 1).any():
                raise ValueError(f"{name} should hold True and False only")

    def unpack(self, node: object) -> Any:
        """Return the object that JSON holds."""
        if not isinstance(node, list | dict):
            return node
        self._depth += 1
        if self._depth > DEPTH:
            raise ValueError(f"its objects lie more than {DEPTH} deep in each other")
        try:
            if isinstance(node, list):
                return [self.unpack(entry) for entry in node]
            return CODECS[node["kind"]].unpack(self, node)
        finally:
            self._depth -= 1

    def read_array(self, name: str) -> NDArray[Any]:
        """Return the numbers of a tensor, which are not copied."""
        tensor = self.tensors[name]
        self.budget.charge(tensor.nbytes)
        array: NDArray[Any] = np.asarray(tensor.numpy())
        return array


def make_store_error(value: object, where: str, why: str = "") -> ModelFileError:
    """Return the error for what no file can hold."""
    why = why or ", as files hold numbers, text and objects of skmtl only"
    return ModelFileError(
        f"skmtl.save cannot store {where}, a {type(value).__name__}{why}: change it, "
        "or keep the estimator with skops or joblib."
    )


def find_paths(node: object) -> Iterable[str]:
    """Yield the import paths that a document holds, wherever they are."""
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if isinstance(node.get("path"), str):
                yield node["path"]
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
