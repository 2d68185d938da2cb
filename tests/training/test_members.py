"""Members train at once as they do one after the other."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_linnerud
from sklearn.base import clone

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import CNN, MLP
from skmtl.sharing import SHARING
from skmtl.training import MembersNet
from skmtl.weighting import WEIGHTING


def digits(n=200, missing=0.2):
    X, digit = load_digits(return_X_y=True)
    X, digit = X[:n] / 16, digit[:n]
    Y = np.column_stack([digit, digit % 2, digit > 4, digit // 3]).astype(float)
    Y[np.random.default_rng(0).random(Y.shape) < missing] = np.nan
    return X, Y


SETTINGS = {
    "encoder": MLP((12, 10)),
    "n_members": 3,
    "max_iter": 4,
    "batch_size": 64,
    "precision": "float64",
    "random_state": 0,
}


def in_turns(monkeypatch, estimator, X, Y):
    """Fit with members that are not stacked."""
    with monkeypatch.context() as patch:
        patch.setattr(MembersNet, "_may_stack", lambda self: False)
        return clone(estimator).fit(X, Y)


def assert_same(a, b, X):
    assert a.n_iter_ == b.n_iter_
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-5)
    for p, q in zip(a.predict_proba(X), b.predict_proba(X), strict=True):
        np.testing.assert_allclose(p, q, atol=1e-5)
    for p, q in zip(a.oof_prediction_, b.oof_prediction_, strict=True):
        np.testing.assert_allclose(p, q, atol=1e-5)


DRAWING = {"learned_branching"}  # no two draws would be the same


@pytest.mark.parametrize("sharing", sorted(set(SHARING) - DRAWING))
def test_every_sharing_strategy_stacks(monkeypatch, sharing):
    X, Y = digits()
    est = MultiTaskClassifier(sharing, **SETTINGS)
    stacked = clone(est).fit(X, Y)
    assert stacked.net_.stacked
    assert_same(stacked, in_turns(monkeypatch, est, X, Y), X)


STACKING = [
    name
    for name, spec in WEIGHTING.items()
    if not hasattr(spec(), "every") and name not in ("famo", "rlw")
]


@pytest.mark.parametrize("weighting", STACKING)
def test_weightings_by_losses_stack(monkeypatch, weighting):
    X, Y = digits()
    est = MultiTaskClassifier(weighting=weighting, **SETTINGS)
    stacked = clone(est).fit(X, Y)
    assert stacked.net_.stacked
    assert_same(stacked, in_turns(monkeypatch, est, X, Y), X)


@pytest.mark.parametrize("members", ["crossfit", "bootstrap", "all"])
def test_schemes(monkeypatch, members):
    X, Y = digits(600)
    est = MultiTaskClassifier(members=members, **SETTINGS)
    stacked, other = clone(est).fit(X, Y), in_turns(monkeypatch, est, X, Y)
    if members != "all":
        assert_same(stacked, other, X)
    assert hasattr(stacked, "oof_prediction_") is (members != "all")
