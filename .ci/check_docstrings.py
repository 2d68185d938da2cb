"""Validate the docstrings of every public name with numpydoc.

Docstrings are read from the running package, since those of the estimators are put
together when it is imported.
"""

import importlib
import inspect
import sys

from numpydoc.validate import validate
from torch import nn

MODULES = (
    "",
    ".datasets",
    ".encoder",
    ".ensemble",
    ".exceptions",
    ".inspection",
    ".metrics",
    ".model_selection",
    ".relation",
    ".sharing",
    ".weighting",
)

# Checks that are not asked for.
LEFT_OUT = {
    "ES01",  # a summary is often all there is to say
    "SA01",  # most names have no sibling worth naming
    "GL01",  # text starts on the line of the quotes
    "GL02",  # the estimators' docstrings are put together, quotes have no line
    "RT02",  # "self : object", as in scikit-learn
}


def public(module):
    """Return the public names of a module."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__.startswith(module.__name__)
    ]


def is_method(value):
    """Tell methods, those of classes too, from other attributes."""
    return inspect.isfunction(value) or inspect.ismethod(value)


def methods(cls):
    """Return the public methods that skmtl writes; a function has none."""
    return [
        name
        for name, value in inspect.getmembers(cls, is_method)
        if not name.startswith("_") and value.__module__.startswith("skmtl")
    ]


def left_out_of_class(module, cls):
    """Return the checks that a class, or a function, need not pass."""
    if not inspect.isclass(cls):
        return set()
    strategy = hasattr(cls, "name") or module.__name__ == "skmtl"
    codes = set() if strategy else {"EX01"}  # bases are not used by themselves
    return codes | ({"PR01"} if issubclass(cls, nn.Module) else set())


def left_out_of_method(cls, name):
    """Return the checks that a method need not pass."""
    owners = [base for base in cls.__mro__ if name in vars(base)]
    overrides = len(owners) > 1 and owners[1].__module__.startswith("skmtl")
    return {"EX01"} | ({"PR01", "RT01"} if overrides else set())


def errors(path, left_out):
    """Return the errors of one docstring as lines."""
    return [
        f"{path}: {code} {message}"
        for code, message in validate(path)["errors"]
        if code not in LEFT_OUT | left_out
    ]


def main():
    """Print every error and return their number."""
    found, checked = [], 0
    for suffix in MODULES:
        module = importlib.import_module(f"skmtl{suffix}")
        for name in public(module):
            path, cls = f"skmtl{suffix}.{name}", getattr(module, name)
            found += errors(path, left_out_of_class(module, cls))
            checked += 1
            for method in methods(cls):
                found += errors(f"{path}.{method}", left_out_of_method(cls, method))
                checked += 1
    print("\n".join(found) or f"{checked} docstrings are complete")
    return len(found)


if __name__ == "__main__":
    sys.exit(bool(main()))
