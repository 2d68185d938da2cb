"""State of estimators in a form that skops can store: text and arrays of numbers."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator

from skmtl._core.printable import get_first_line
from skmtl._estimators.persistence.allocation_limit import check_json
from skmtl._estimators.persistence.codecs import Reader, Writer, find_paths
from skmtl._estimators.persistence.estimator_codec import check_predicts
from skmtl._estimators.persistence.import_paths import (
    Trust,
    follow_import_path,
    get_known_classes,
)
from skmtl._estimators.task_view import TaskClassifier, TaskRegressor
from skmtl.exceptions import ModelFileError
from skmtl.training import use_default_modes

#: Whether pickle or copy is asking for a state, thread by thread.
_ASKING = threading.local()
#: What marks such a state.
MARK = "skmtl_document"


# skops asks for `__getstate__`, as pickle does, but not by `__reduce_ex__`. The state
# that it gets holds the same as a file of `skmtl.save`. Classes and functions of the
# user are in it by themselves, so that skops asks whether they are trusted.


@contextmanager
def mark_pickling() -> Iterator[None]:
    """Let `is_pickling` tell that pickle or copy asks for a state."""
    before = is_pickling()
    _ASKING.now = True
    try:
        yield
    finally:
        _ASKING.now = before


def is_pickling() -> bool:
    """Return whether pickle or copy is asking for a state in this thread."""
    return bool(getattr(_ASKING, "now", False))


def pack_portable_state(estimator: BaseEstimator) -> dict[str, Any]:
    """Return a state of text, arrays and the user's own code."""
    writer = Writer()
    with use_default_modes():
        document = writer.pack(estimator, type(estimator).__name__)
    return {
        MARK: json.dumps(document),
        "tensors": {name: t.numpy() for name, t in writer.tensors.items()},
        "own": [follow_import_path(path) for path in sorted(set(find_paths(document)))],
    }


def unpack_portable_state(cls: type, state: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of an estimator of a class."""
    try:
        tensors = {
            name: torch.from_numpy(np.array(array, order="C"))
            for name, array in state["tensors"].items()
        }
        check_json(state[MARK].encode())
        if any(isinstance(entry, str) for entry in state["own"]):
            raise TypeError("its code is named by strings, which skops passes")
        document, trust = json.loads(state[MARK]), Trust(state["own"])
        with use_default_modes():
            estimator = Reader(tensors, trust).unpack(document)
            if estimator.__sklearn_is_fitted__():
                check_predicts(estimator)
    except Exception as error:
        raise ModelFileError(
            f"This is no state of a {cls.__name__} that this version of "
            f"skmtl can build: {get_first_line(error) or type(error).__name__}."
        ) from error
    return vars(estimator)


def get_trusted_types() -> list[str]:
    """Return the types of this package that a file of skops may hold.

    They are safe to trust: their states hold text and numbers only, and building them
    executes no code that is not this package's or trusted besides.

    Returns
    -------
    list of str
        Import paths of the estimators, of the views that ``task_estimator`` returns and
        of all strategies, for the parameter ``trusted`` of ``skops.io.load``.

    Examples
    --------
    >>> import skmtl
    >>> skmtl.get_trusted_types()[0]
    'skmtl._estimators.classifier.MultiTaskClassifier'
    """
    strategies = [
        cls
        for name, cls in get_known_classes().items()
        if not name.startswith(("nn/", "optim/", "stage/"))
    ]
    classes = [*strategies, TaskClassifier, TaskRegressor]
    return sorted(f"{cls.__module__}.{cls.__name__}" for cls in classes)
