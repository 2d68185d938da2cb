"""Settings and data that all tests share."""

import functools
import gc
import os
from collections import Counter

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # read when scikit-learn is imported
os.environ["MPLBACKEND"] = "agg"

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

torch.set_num_threads(1)


#: Tests of torch's computations, as torch has one version in all environments, of what
#: calls no other package, and examples, which show the results of one version.
ONE_VERSION = (
    "skmtl/",
    "tests/_core/test_layers.py",
    "tests/_estimators/fitting/",
    "tests/_estimators/persistence/test_damage.py",
    "tests/_estimators/persistence/test_limits.py",
    "tests/_estimators/persistence/test_onnx.py",
    "tests/_estimators/persistence/test_writing.py",
    "tests/_estimators/test_threads.py",
    "tests/_estimators/test_torch_modes.py",
    "tests/datasets/test_open_table.py",
    "tests/encoder/",
    "tests/model_selection/test_clusters.py",
    "tests/relation/",
    "tests/robustness/",
    "tests/sharing/",
    "tests/test_naming.py",
    "tests/test_package.py::test_examples_of_the_docs_run",
    "tests/test_products.py",
    "tests/test_quality_benchmark.py",
    "tests/test_typing.py",
    "tests/training/",
    "tests/weighting/",
)


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their markers
def pytest_collection_modifyitems(items):
    """Mark cases of sampled tests as slow, but for one in k, from a first one on."""
    cases = Counter()
    for item in items:
        if item.nodeid.startswith(ONE_VERSION):
            item.add_marker(pytest.mark.one_version)
        marker = item.get_closest_marker("sampled")
        if marker is not None:
            test = item.nodeid.partition("[")[0]
            k, first = (*marker.args, 0)[:2]
            if cases[test] % k != first:
                item.add_marker(pytest.mark.slow)
            cases[test] += 1


def pytest_collection_finish():
    """Spare the garbage collector thousands of tests and modules that stay."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def default_device(monkeypatch):
    """Let the default device be the CPU: only tests/test_cuda.py is about others."""
    cpu = torch.device("cpu")
    monkeypatch.setattr("skmtl._core.validation.choose_default_device", lambda: cpu)


@pytest.fixture(scope="session")
def onnx_operators():
    """Let torch read its table of ONNX operators once, as each export does anew."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    read = functools.cache(ONNXRegistry.from_torchlib)
    with pytest.MonkeyPatch.context() as patch:
        cached = classmethod(lambda cls, opset_version: read(opset_version))
        patch.setattr(ONNXRegistry, "from_torchlib", cached)
        yield


@pytest.fixture(scope="session")
def digits_tasks():
    """Return 300 digits and three tasks: the digit, odd or even, closed loops."""
    X, digit = load_digits(return_X_y=True)
    X, digit = X[:300] / 16, digit[:300]
    loops = np.array([1, 0, 0, 0, 0, 0, 1, 0, 2, 1])[digit]
    Y = np.column_stack([digit, digit % 2, loops])
    X.setflags(write=False)
    Y.setflags(write=False)
    return X, Y
