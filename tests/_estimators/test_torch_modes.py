"""Results do not depend on what is global in torch."""

import pickle
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn

import skmtl
from skmtl import MultiTaskClassifier
from skmtl.encoder import CNN
from tests._networks import plain_mlp

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = np.column_stack([X[:, 0] > 0, X[:, 1] + X[:, 2] > 0]).astype(int)
IMAGES = RNG.normal(size=(60, 1, 6, 6))


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(before)


MODES = {
    "float64": lambda: default_dtype(torch.float64),
    "float16": lambda: default_dtype(torch.float16),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "device": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


class OfDefaults(nn.Module):
    """A user's network that makes tensors of the default type, even in forward."""

    def __init__(self, n_features):
        super().__init__()
        self.first = nn.Linear(n_features, 5)

    def forward(self, H):
        return (self.first(H) + torch.full((5,), 1 / 3)).tanh()


ESTIMATORS = {
    "default": {"n_estimators": 2},
    "one network": {"n_estimators": 1, "early_stopping": True},
    "own module": {"encoder": OfDefaults, "n_estimators": 1},
    "own module of experts": {"encoder": OfDefaults, "sharing": "mmoe"},
    "pcgrad": {"weighting": "pcgrad", "n_estimators": 1},
    "images": {"encoder": CNN((4,)), "augmentation": ["flip", "noise"]},
}


def answers_of(est, X):
    proba = est.predict_proba(X)
    return [*proba, est.predict(X), *(est.oof_prediction_ if est._oof else [])]


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *(("default", mode) for mode in MODES),
        *((n, m) for n in list(ESTIMATORS)[1:] for m in ("float64", "device")),
        ("own module", "inference_mode"),
        ("pcgrad", "inference_mode"),
    ],
)
def test_modes_of_torch_change_nothing(name, mode, tmp_path):
    settings = {
        "encoder": plain_mlp((6,)),
        "max_iter": 2,
        "n_threads": 1,
        "n_estimators": 1,
    }
    est = MultiTaskClassifier(**settings | ESTIMATORS[name], random_state=0)
    rows = IMAGES if name == "images" else X
    expected = answers_of(clone(est).fit(rows, Y), rows)
    with MODES[mode]():
        est.fit(rows, Y)
        found = answers_of(est, rows)
        skmtl.save(est, tmp_path / "model")
        loaded = skmtl.load(tmp_path / "model", trusted=[OfDefaults])
        loaded.partial_fit(rows, Y)
        if name == "own module of experts":
            est.module_.gate_usage(rows)
    for known, answers in [(expected, found), (expected, answers_of(est, rows))]:
        for one, other in zip(known, answers, strict=True):
            assert_array_equal(one, other)
    est.partial_fit(rows, Y)
    for one, other in zip(answers_of(est, rows), answers_of(loaded, rows), strict=True):
        assert_array_equal(one, other)


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad])
def test_gradients_that_a_failure_has_left_off_are_on_again(mode):
    """An interrupt can come where `torch.no_grad` is about to turn them on."""

    class Fail(Callback):
        def on_epoch_end(self, net, **kwargs):
            torch.set_grad_enabled(False)
            raise RuntimeError("failed")

    est = MultiTaskClassifier(n_estimators=1, max_iter=2, callbacks=[Fail()])
    with mode():
        before = torch.is_grad_enabled()
        with pytest.raises(RuntimeError, match="failed"):
            est.fit(X, Y)
        assert torch.is_grad_enabled() == before
    assert torch.is_grad_enabled()


def test_a_training_that_fails_leaves_the_optimizer_as_it_was(monkeypatch):
    est = MultiTaskClassifier(
        encoder=plain_mlp((6,)), max_iter=1, random_state=0, n_estimators=1
    )
    est.partial_fit(X, Y, classes=[[0, 1]] * 2)
    twin = pickle.loads(pickle.dumps(est))
    with monkeypatch.context() as patch:
        patch.setattr("skmtl._estimators.fit.set_fitted_attributes", None)
        with pytest.raises(TypeError):
            est.partial_fit(X, Y)
    est.random_state = twin.random_state = 1
    assert_array_equal(
        twin.partial_fit(X, Y).predict_proba(X), est.partial_fit(X, Y).predict_proba(X)
    )


def test_a_model_that_was_unpickled_in_inference_mode_trains_on():
    est = MultiTaskClassifier(
        encoder=plain_mlp((6,)), max_iter=1, random_state=0, n_estimators=1
    )
    est.partial_fit(X, Y, classes=[[0, 1]] * 2)
    with torch.inference_mode():
        twin = pickle.loads(pickle.dumps(est))
    assert_array_equal(
        twin.partial_fit(X, Y).predict_proba(X), est.partial_fit(X, Y).predict_proba(X)
    )
