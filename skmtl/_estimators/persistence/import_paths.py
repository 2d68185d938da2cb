"""Classes and functions by name: skmtl's own, and import paths that a user trusts."""

import importlib
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch

from skmtl.encoder import ENCODER, ModuleEncoder
from skmtl.encoder._levels import CategoryCodes, OneHot, OneHotRanges
from skmtl.encoder._preprocessing import QuantileToNormal, Standardization, TableStage
from skmtl.encoder._sparse import SparseColumns
from skmtl.exceptions import ModelFileError
from skmtl.relation import RELATION
from skmtl.sharing import SHARING
from skmtl.training import AUGMENTATION
from skmtl.weighting import WEIGHTING

#: Estimators by name, added by the package that holds them.
ESTIMATORS: dict[str, type] = {}


@cache
def get_known_classes() -> dict[str, type]:
    """Return the classes that files may name without being trusted."""
    registries: dict[str, dict[str, type]] = {
        "sharing": SHARING,
        "encoder": {**ENCODER, ModuleEncoder.name: ModuleEncoder},
        "weighting": WEIGHTING,
        "relation": RELATION,
        "augmentation": {**AUGMENTATION},
        "estimator": ESTIMATORS,
        "stage": {  # names in files, whatever the classes are called
            "category_codes": CategoryCodes,
            "one_hot": OneHot,
            "one_hot_ranges": OneHotRanges,
            "quantile_to_normal": QuantileToNormal,
            "sparse_columns": SparseColumns,
            "standardization": Standardization,
            "table": TableStage,
        },
        "nn": {"ModuleList": torch.nn.ModuleList},
        "optim": {
            name: cls
            for name, cls in vars(torch.optim).items()
            if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer)
        },
    }
    return {
        f"{family}/{name}": cls
        for family, registry in registries.items()
        for name, cls in registry.items()
    }


class Trust:
    """Import paths that may be followed."""

    def __init__(self, trusted: Iterable[Any]) -> None:
        if isinstance(trusted, str) or not isinstance(trusted, Iterable):
            path = trusted if isinstance(trusted, str) else "module.function"
            raise ValueError(
                "The 'trusted' parameter must be a sequence of import paths, classes "
                f"or functions, such as [{path!r}]. Got {trusted!r}."
            )
        self.objects = {
            entry if isinstance(entry, str) else get_import_path(entry): entry
            for entry in trusted
        }

    def find_untrusted(self, paths: Iterable[str]) -> list[str]:
        """Return the paths that are not trusted, sorted."""
        return sorted({path for path in paths if path not in self.objects})

    def get(self, path: str, kind: type = object) -> Any:
        """Return what a path leads to, an instance of a type."""
        entry = self.objects[path]
        value = follow_import_path(path) if isinstance(entry, str) else entry
        if not isinstance(value, kind):
            raise ModelFileError(f"{path} is no {kind.__name__}")
        return value

    def get_class(self, node: dict[str, Any], base: type) -> type:
        """Return the class that a node names, a subclass of another."""
        if "class" in node:
            cls = get_known_classes()[node["class"]]
        else:
            cls = self.get(node["path"], type)
        if not issubclass(cls, base):
            raise ModelFileError(f"{cls.__name__} is no {base.__name__}")
        return cls


def name_class(cls: type) -> dict[str, str]:
    """Return what names a class in a file."""
    for name, one in get_known_classes().items():
        if one is cls:
            return {"class": name}
    return {"path": get_import_path(cls)}


def get_import_path(value: object) -> str:
    """Return the import path of a class or a function."""
    module, name = (getattr(value, a, None) for a in ("__module__", "__qualname__"))
    path = f"{module}.{name}"
    try:
        if follow_import_path(path) is value:
            return path
    except (ImportError, AttributeError, ValueError):
        pass
    raise ModelFileError(
        f"{value!r} cannot be stored or trusted, as there is no import path to it: "
        "define it by name at the top of a module."
    )


def follow_import_path(path: str) -> Any:
    """Return what an import path leads to."""
    names = path.split(".")
    for n in range(len(names) - 1, 0, -1):
        try:
            value: Any = importlib.import_module(".".join(names[:n]))
        except ModuleNotFoundError:
            continue
        for name in names[n:]:
            value = getattr(value, name)
        return value
    raise ImportError(f"there is no module of the path {path}")
