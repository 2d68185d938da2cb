"""Whether two objects are alike, down to the last bit."""

from dataclasses import fields, is_dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.preprocessing import OrdinalEncoder
from torch import nn

from skmtl._core.specs import Spec
from skmtl._data.categories import CategoryEncoder
from skmtl._data.targets import Targets
from skmtl.training import MultiTaskNet

#: What a training leaves in a net that the next one begins by setting.
LEFT_OVER = {"stop_training_"}
#: Names without an order, and what skorch makes of them.
UNORDERED = {"_params_to_validate", "virtual_params_", "prefixes_"}


def assert_alike(a, b, where="estimator"):
    """Assert that two objects have the same types and values, all the way down."""
    assert type(a) is type(b), (where, type(a), type(b))
    for types, compare in COMPARED.items():
        if isinstance(a, types):
            return compare(a, b, where)
    if is_dataclass(a):
        return _compare_dicts(*(dict(_fields(one)) for one in (a, b)), where)
    assert a is b or a == b or (a != a and b != b), (where, a, b)
    return None


def _compare_tensors(a, b, where):
    assert (a.dtype, a.device) == (b.dtype, b.device), where
    assert torch.equal(a.nan_to_num(7), b.nan_to_num(7)), where


def _compare_arrays(a, b, where):
    assert (a.dtype, a.shape) == (b.dtype, b.shape), where
    if a.dtype == object:
        assert_alike(a.tolist(), b.tolist(), where)
    else:
        np.testing.assert_array_equal(a, b, where)


def _compare_dicts(a, b, where):
    assert list(a) == list(b), (where, set(a) ^ set(b))
    for name, value in a.items():
        if name != "dur":  # how long an epoch took
            assert_alike(value, b[name], f"{where}.{name}")


def _compare_sequences(a, b, where):
    assert len(a) == len(b), where
    for i, (one, other) in enumerate(zip(a, b, strict=True)):
        assert_alike(one, other, f"{where}.{i}")


def _compare_modules(a, b, where):
    assert repr(a) == repr(b), where
    # Losses and weightings know no modes, and are left in that of the last batch.
    knows_modes = not where.endswith(("criterion_", "weighting_"))
    assert a.training is b.training or not knows_modes, where
    assert_alike(_state(a), _state(b), where)


def _compare_tables(a, b, where):
    assert a.equals(b), where


def by(view):
    """Return a comparison of what is seen of two objects."""
    return lambda a, b, where: assert_alike(view(a), view(b), where)


def _state(module):
    return dict(module.named_parameters()) | dict(module.named_buffers())


def _fields(found):
    return [(field.name, getattr(found, field.name)) for field in fields(found)]


def _sorted(found):
    """Return attributes by name, but for what is worked out when it is asked for."""
    kept = (
        (name, value)
        for name, value in vars(found).items()
        if not isinstance(getattr(type(found), name, None), cached_property)
    )
    return dict(sorted(kept))


def _own(net):
    own = {k: v for k, v in _sorted(net).items() if k not in LEFT_OVER | UNORDERED}
    return own | {name: set(getattr(net, name)) for name in UNORDERED}


COMPARED = {
    torch.Tensor: _compare_tensors,
    np.ndarray: _compare_arrays,
    dict: _compare_dicts,
    (list, tuple): _compare_sequences,
    nn.Module: _compare_modules,
    torch.optim.Optimizer: by(lambda optimizer: optimizer.state_dict()),
    MultiTaskNet: by(_own),
    OrdinalEncoder: by(lambda encoder: encoder.categories_),
    (pd.DataFrame, pd.Series): _compare_tables,
    np.random.RandomState: by(lambda state: state.get_state(legacy=False)),
    (Spec, Targets, CategoryEncoder, BaseEstimator): by(_sorted),
}
