"""Whether two objects are alike, down to the last bit."""

from dataclasses import fields, is_dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.preprocessing import OrdinalEncoder
from torch import nn

from skmtl._categories import Categories
from skmtl._registry import Spec
from skmtl._targets import Targets
from skmtl.training import MultiTaskNet

#: What a training leaves in a net that the next one begins by setting.
LEFT_OVER = {"_lowest", "_needs_closure", "_batch_events", "stop_training_"}
#: Names without an order, and what skorch makes of them.
UNORDERED = {"_params_to_validate", "virtual_params_", "prefixes_"}


def assert_alike(a, b, where="estimator"):
    """Assert that two objects have the same types and values, all the way down."""
    assert type(a) is type(b), (where, type(a), type(b))
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, where
        assert a.device == b.device, where
        assert torch.equal(a.nan_to_num(7), b.nan_to_num(7)), where
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype, (where, a.dtype, b.dtype)
        assert a.shape == b.shape, where
        if a.dtype == object:
            assert_alike(a.tolist(), b.tolist(), where)
        else:
            np.testing.assert_array_equal(a, b, where)
    elif isinstance(a, dict):
        assert list(a) == list(b), (where, set(a) ^ set(b))
        for name, value in a.items():
            if name == "dur" and isinstance(value, float):
                continue  # how long an epoch took
            assert_alike(value, b[name], f"{where}.{name}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            assert_alike(one, other, f"{where}.{i}")
    elif is_dataclass(a):
        for field in fields(a):
            name = field.name
            assert_alike(getattr(a, name), getattr(b, name), f"{where}.{name}")
    elif isinstance(a, nn.Module):
        assert repr(a) == repr(b), where
        # Losses and weightings know no modes, and are left in that of the last batch.
        knows_modes = not where.endswith(("criterion_", "weighting_"))
        assert a.training is b.training or not knows_modes, where
        assert_alike(_state(a), _state(b), where)
    elif isinstance(a, torch.optim.Optimizer):
        assert_alike(a.state_dict(), b.state_dict(), where)
    elif isinstance(a, MultiTaskNet):
        assert_alike(_own(a), _own(b), where)
    elif isinstance(a, OrdinalEncoder):
        assert_alike(a.categories_, b.categories_, where)
    elif isinstance(a, pd.DataFrame | pd.Series):
        assert a.equals(b), where
    elif isinstance(a, np.random.RandomState):
        assert_alike(a.get_state(legacy=False), b.get_state(legacy=False), where)
    elif isinstance(a, Spec | Targets | Categories | BaseEstimator):
        assert_alike(_sorted(a), _sorted(b), where)
    else:
        assert a is b or a == b or (a != a and b != b), (where, a, b)


def _state(module):
    return dict(module.named_parameters()) | dict(module.named_buffers())


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
