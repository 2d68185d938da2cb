"""What makes the CPU wait for a device: never once per batch, as seen on the CPU."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from skmtl import MultiTaskClassifier
from skmtl.encoder import MLP
from skmtl.weighting import WEIGHTING
from skmtl.weighting._base import SolverModule

RNG = np.random.default_rng(0)
X = RNG.normal(size=(32, 4))
Y = np.column_stack([X[:, 0] > 0, np.digitize(X[:, 1], [-0.5, 0.5])]).astype(float)
Y[RNG.uniform(size=Y.shape) < 0.2] = np.nan
#: Operations whose result the CPU must see.
READS = {"_local_scalar_dense", "equal", "is_nonzero", "masked_select", "nonzero"}


class Reads(TorchDispatchMode):
    """Counts operations that would wait for a device."""

    def __init__(self):
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        by_mask = name.startswith("index") and any(
            isinstance(i, torch.Tensor) and i.dtype == torch.bool
            for i in (args[1] if isinstance(args[1], list | tuple) else [])
        )
        self.n += by_mask or name in READS
        return function(*args, **kwargs or {})


def n_reads(batch_size, **settings):
    defaults = {
        "encoder": MLP((6,)),
        "precision": "float32",
        "random_state": 0,
        "n_estimators": 1,
    }
    est = MultiTaskClassifier(**defaults | settings)
    with Reads() as reads:
        est.set_params(batch_size=batch_size, max_iter=2).fit(X, Y)
    return reads.n


def test_what_reads_is_counted():
    def reading(batch):
        return batch * float(batch.mean() < 10)

    more = n_reads(8, augmentation=reading) - n_reads(16, augmentation=reading)
    assert more == 2 * (32 // 8 - 32 // 16)  # of two epochs


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"sharing": "mmoe"},
        {"n_estimators": 2},
        {"augmentation": "mixup"},
        {"hard_example_mining": "loss"},
        {"record_gradients": True},
        {"relation": "graph"},
        *(
            {"weighting": name}
            for name, cls in WEIGHTING.items()
            if not isinstance(cls().build(2), SolverModule)
        ),
    ],
    ids=str,
)
def test_no_batch_is_read_back(settings):
    assert n_reads(8, **settings) == n_reads(16, **settings)
