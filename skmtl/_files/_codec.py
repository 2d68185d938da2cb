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

from torch import Tensor

from skmtl._files._paths import Trust
from skmtl.exceptions import ModelFileError

Node = dict[str, Any]


@dataclass(frozen=True)
class Codec:
    """How objects of some types become JSON and tensors.

    Attributes
    ----------
    takes : callable
        Whether it packs an object.
    pack : callable
        ``pack(writer, value, where)``, what JSON holds of it.
    unpack : callable
        ``unpack(reader, node)``, the object.
    """

    takes: Callable[[Any], bool]
    pack: Callable[["Writer", Any, str], Node]
    unpack: Callable[["Reader", Node], Any]


#: All kinds of objects, those of more special ones first.
CODECS: dict[str, Codec] = {}


class Writer:
    """Turns objects into JSON and tensors.

    Attributes
    ----------
    tensors : dict of str to Tensor
        Tensors by where they belong.
    shared : dict of int to int
        Numbers of objects that are stored once, by their identities.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.shared: dict[int, int] = {}

    def pack(self, value: Any, where: str) -> Any:
        """Return what JSON holds of an object.

        Parameters
        ----------
        value : object
            The object.
        where : str
            Where it belongs, for the names of tensors and for errors.

        Returns
        -------
        object
            What JSON can hold.
        """
        if type(value) is list:
            return [self.pack(entry, f"{where}.{i}") for i, entry in enumerate(value)]
        simple = value is None or type(value) in (bool, int, str)
        if simple or (type(value) is float and math.isfinite(value)):
            return value
        for kind, codec in CODECS.items():
            if codec.takes(value):
                return {"kind": kind, **codec.pack(self, value, where)}
        raise cannot_store(value, where)

    def keep(self, tensor: Tensor, where: str) -> str:
        """Keep a tensor, and return its name."""
        name = where if where not in self.tensors else f"{where}#{len(self.tensors)}"
        # Apart from what shares its memory, which safetensors does not store.
        self.tensors[name] = tensor.detach().cpu().contiguous().clone()
        return name


class Reader:
    """Turns JSON and tensors into objects.

    Parameters
    ----------
    tensors : dict of str to Tensor
        Tensors by name.
    trust : Trust
        Import paths that may be followed.
    """

    def __init__(self, tensors: dict[str, Tensor], trust: Trust) -> None:
        self.tensors = tensors
        self.trust = trust
        self.shared: list[Any] = []

    def unpack(self, node: Any) -> Any:
        """Return the object that JSON holds."""
        if isinstance(node, list):
            return [self.unpack(entry) for entry in node]
        if isinstance(node, dict):
            return CODECS[node["kind"]].unpack(self, node)
        return node


def cannot_store(value: Any, where: str, why: str = "") -> ModelFileError:
    """Return the error for what no file can hold."""
    why = why or ", as files hold numbers, text and objects of skmtl only"
    return ModelFileError(
        f"skmtl.save cannot store {where}, a {type(value).__name__}{why}: change it, "
        "or keep the estimator with skops or joblib."
    )


def paths_in(node: Any) -> Iterable[str]:
    """Yield the import paths that a document holds, wherever they are.

    Parameters
    ----------
    node : object
        What JSON holds.

    Yields
    ------
    str
        A path.
    """
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if isinstance(node.get("path"), str):
                yield node["path"]
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
