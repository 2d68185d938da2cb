"""What training and prediction do on a CUDA device, where there is one."""

import copy
import os
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl._core.validation import choose_default_device
from skmtl.encoder import CNN, MLP, PeriodicEmbedding, PiecewiseLinearEmbedding
from skmtl.inspection import task_affinity
from skmtl.relation import RELATION
from skmtl.sharing import SHARING
from skmtl.weighting import WEIGHTING
from skmtl.weighting._base import SolverModule
from tests._networks import MUTATING, REPLICABLE, Network

DEVICE = "cuda"
N = 96
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 4)).astype(np.float32)
Z = X @ RNG.normal(size=(4, 4)) + 0.3 * RNG.normal(size=(N, 4))
MISSING = RNG.uniform(size=(N, 3)) < 0.2
CLASSES = np.column_stack([Z[:, 0] > 0, np.digitize(Z[:, 1], [-1, 1]), Z[:, 2] > 0])
TARGETS = {
    "classifier": (MultiTaskClassifier, CLASSES),
    "regressor": (MultiTaskRegressor, Z[:, :3]),
    "both": (MultiTaskEstimator, np.column_stack([CLASSES[:, :2], Z[:, 3]])),
}
TARGETS = {
    kind: (cls, np.where(MISSING, np.nan, y)) for kind, (cls, y) in TARGETS.items()
}
SETTINGS = {
    "encoder": MLP((8,)),
    "max_iter": 3,
    "batch_size": 16,
    "learning_rate_init": 0.01,
    "precision": "float64",
    "random_state": 0,
}
#: What draws on the device while training, where random numbers are others.
DRAWING = {"learned_branching", "graddrop", "rlw"}
#: Rounding of float32 after a few steps.
SINGLE = {"rtol": 1e-3, "atol": 1e-3}

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    # Of methods that solve small problems, and of members that take turns.
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
kinds = pytest.mark.parametrize("kind", TARGETS)


def fitted(kind="classifier", device=DEVICE, data=X, **settings):
    cls, y = TARGETS[kind]
    return cls(**SETTINGS | settings, device=device).fit(data, y)


def predictions(est, data=X):
    """Return probabilities and numbers that an estimator predicts as one array."""
    predicted = est.predict(data)
    P = est.predict_proba(data) if hasattr(est, "predict_proba") else [None] * 3
    parts = [predicted[:, [t]] if p is None else p for t, p in enumerate(P)]
    assert all(type(part) is np.ndarray for part in (predicted, *parts))
    return np.hstack(parts).astype(float)


def loaded_on_cpu(est):
    """Return what a pickle of an estimator is where there is no CUDA device."""
    blob = pickle.dumps(est)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skorch tells of the missing device
        patch.setattr(torch.cuda, "is_available", lambda: False)
        return pickle.loads(blob)


def check_device(est, data=X, **tolerance):
    """It lives on the card, predicts arrays, and does so from the CPU as well."""
    held = [*est.module_.parameters(), *est.module_.buffers()]
    held += [*est.weighting_.parameters(), *est.weighting_.buffers()]
    assert {tensor.device.type for tensor in held} == {DEVICE}
    found = predictions(est, data)
    assert np.isfinite(found).all()
    twin = loaded_on_cpu(est)
    assert {p.device.type for p in twin.module_.parameters()} == {"cpu"}
    assert_allclose(predictions(twin, data), found, **{"atol": 1e-5} | tolerance)


def check_both(kind="classifier", data=X, **settings):
    """A fit on the card learns what a fit on the CPU learns."""
    est = fitted(kind, data=data, **settings)
    check_device(est, data)
    other = fitted(kind, "cpu", data, **settings)
    assert_allclose(predictions(est, data), predictions(other, data), rtol=1e-6)
    assert_allclose(est.loss_curve_, other.loss_curve_, rtol=1e-6)
    assert_allclose(est.task_weights_, other.task_weights_, rtol=1e-6)
    return est


# ------------------------------------------------------------------ every strategy


@pytest.mark.parametrize("sharing", SHARING)
def test_every_sharing_learns_what_it_learns_on_the_cpu(sharing):
    if sharing in DRAWING:
        check_device(fitted(sharing=sharing))
    else:
        check_both(sharing=sharing)


@pytest.mark.parametrize("sharing", ["hard", "mmoe"])
@pytest.mark.parametrize("weighting", WEIGHTING)
def test_every_weighting_learns_what_it_learns_on_the_cpu(weighting, sharing):
    settings = {"sharing": sharing, "weighting": weighting}
    if weighting in DRAWING:
        check_device(fitted(**settings))
    else:
        check_both(**settings)


@kinds
@pytest.mark.parametrize("relation", RELATION)
def test_every_relation_learns_what_it_learns_on_the_cpu(relation, kind):
    check_both(kind, relation=relation)


ENCODERS = {
    "mlp": "mlp",
    "quantile": MLP((8,), scale="quantile"),
    "piecewise": PiecewiseLinearEmbedding((6,), embedding_dim=3, n_bins=3),
    "periodic": PeriodicEmbedding((6,), embedding_dim=3, n_frequencies=2),
    "batch norm": MUTATING["batch norm"],
    "residual": REPLICABLE["residual"],
    "module": Network,
}


@kinds
@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_every_encoder_learns_what_it_learns_on_the_cpu(encoder, kind):
    check_both(kind, encoder=encoder)


@pytest.mark.parametrize("sharing", ["hard", "cross_stitch"])
def test_images_are_learned_as_on_the_cpu(sharing):
    images = RNG.normal(size=(N, 2, 6, 6))
    encoder = CNN((3, 4), hidden_layer_sizes=(5,))
    check_both(data=images, encoder=encoder, sharing=sharing)


@pytest.mark.parametrize("resampling", [None, "bootstrap", "crossfit"])
@kinds
def test_members_learn_what_they_learn_on_the_cpu(kind, resampling):
    settings = {"n_estimators": 3, "resampling": resampling, "early_stopping": True}
    est = check_both(kind, **settings, n_iter_no_change=1, max_iter=8)
    assert est.net_.stacked
    if resampling is not None:
        other = fitted(kind, "cpu", **settings, n_iter_no_change=1, max_iter=8)
        assert_allclose(est.oof_scores_, other.oof_scores_)


@pytest.mark.parametrize("weighting", ["uncertainty", "dwa", "pcgrad"])
def test_members_have_weightings_of_their_own_on_the_card(weighting):
    est = check_both(n_estimators=3, weighting=weighting)
    assert est.net_.stacked is (weighting != "pcgrad")


# ----------------------------------------------------------------------- precision


def test_a_card_is_the_default_device():
    assert choose_default_device() == torch.device("cuda")  # what conftest.py replaces


def test_small_work_is_done_in_double_precision():
    assert fitted(precision="auto").net_.dtype == torch.float64
    encoder = MLP((2048, 2048))
    large = fitted(precision="auto", encoder=encoder, max_iter=1)
    assert large.net_.dtype == torch.float32


@kinds
@pytest.mark.parametrize("sharing", ["hard", "mmoe"])
def test_single_precision_is_near_double_precision(kind, sharing):
    est = fitted(kind, sharing=sharing, precision="float32")
    check_device(est)
    expected = fitted(kind, "cpu", sharing=sharing)
    assert_allclose(predictions(est), predictions(expected), **SINGLE)


@kinds
@pytest.mark.parametrize("settings", [{}, {"n_estimators": 3}, {"weighting": "upgrad"}])
def test_bfloat16_learns_and_predicts(kind, settings):
    est = fitted(kind, precision="bf16", **settings)
    check_device(est, rtol=0.05, atol=0.05)
    expected = fitted(kind, "cpu", precision="float32", **settings)
    assert_allclose(predictions(est), predictions(expected), rtol=0.1, atol=0.1)


# ------------------------------------------------------------ what else a fit does


def test_early_stopping_restores_the_best_epoch():
    est = check_both(early_stopping=True, n_iter_no_change=2, max_iter=20)
    assert len(est.validation_scores_) == est.n_iter_
    cls, y = TARGETS["classifier"]
    settings = SETTINGS | {"device": DEVICE}
    est = cls(**settings).fit(X[:64], y[:64], X_val=X[64:], y_val=y[64:])
    check_device(est)
    assert est.best_validation_score_ == max(est.validation_scores_)


@pytest.mark.parametrize("n_estimators", [1, 3])
def test_training_goes_on(n_estimators):
    cls, y = TARGETS["classifier"]
    settings = SETTINGS | {"n_estimators": n_estimators, "warm_start": True}
    pair = [cls(**settings, device=device) for device in (DEVICE, "cpu")]
    for _ in range(2):
        found, expected = (predictions(est.fit(X, y)) for est in pair)
        assert_allclose(found, expected, rtol=1e-6)
    check_device(pair[0])
    pair = [clone(est) for est in pair]
    classes = [[0, 1], [0, 1, 2], [0, 1]]
    for _ in range(3):
        found, expected = (
            predictions(est.partial_fit(X, y, classes=classes)) for est in pair
        )
        assert_allclose(found, expected, rtol=1e-6)
    check_device(pair[0])
    twin = loaded_on_cpu(pair[0]).set_params(device="cpu")
    assert_allclose(
        predictions(twin.partial_fit(X, y)),
        predictions(pair[0].partial_fit(X, y)),
        rtol=1e-6,
    )


@pytest.mark.parametrize("n_estimators", [1, 3])
@pytest.mark.parametrize("augmentation", ["mixup", "noise", torch.tanh])
def test_batches_are_augmented_on_the_card(augmentation, n_estimators):
    check_device(fitted(augmentation=augmentation, n_estimators=n_estimators))


def test_images_are_augmented_on_the_card():
    images = RNG.normal(size=(N, 2, 6, 6))
    encoder = CNN(3, hidden_layer_sizes=(5,))
    steps = ["flip", "crop", "mixup"]
    check_device(fitted(data=images, encoder=encoder, augmentation=steps), images)


@pytest.mark.parametrize(
    "settings",
    [
        {"hard_example_mining": "loss"},
        {"hard_example_mining": "margin"},
        {"sampling": "classes"},
        {"sampling": "tasks", "early_stopping": True},
        {"class_weight": "balanced"},
        {"record_gradients": True},
        {"task_weight": [1.0, 0.0, 2.0]},
        {"n_estimators": 3, "threshold": "accuracy", "early_stopping": True},
    ],
    ids=str,
)
def test_labels_count_as_on_the_cpu(settings):
    check_both(**settings)


def test_recorded_gradients_are_those_of_the_cpu():
    first, second = (
        fitted(record_gradients=True, device=device) for device in (DEVICE, "cpu")
    )
    for name in ("train_gradient_norms", "train_gradient_cosines"):
        values = [[epoch[name] for epoch in est.history_] for est in (first, second)]
        assert_allclose(*values, rtol=1e-6)


def test_affinity_is_that_of_the_cpu():
    cls, y = TARGETS["classifier"]
    found = [
        np.asarray(task_affinity(cls(**SETTINGS, device=device), X, y))
        for device in (DEVICE, "cpu")
    ]
    assert_allclose(*found, rtol=1e-5)


def test_columns_of_categories_go_to_the_card():
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame["e"] = pd.Categorical(np.array(list("xyz"))[RNG.integers(0, 3, N)])
    frame.loc[:3, ["a", "e"]] = None
    for encoder in (MLP((8,)), PeriodicEmbedding((6,))):
        check_both(data=frame, encoder=encoder)
        check_both(data=frame, encoder=encoder, n_estimators=3)


# ------------------------------------------------------- data that stays on the host


@pytest.fixture
def full_card(monkeypatch):
    """Let no table fit on the card."""
    monkeypatch.setattr(
        "skmtl.training._batches._fits_memory", lambda tensor, device: False
    )


@pytest.mark.usefixtures("full_card")
@pytest.mark.parametrize("n_estimators", [1, 3])
def test_a_table_that_does_not_fit_stays_on_the_host(n_estimators):
    check_both(n_estimators=n_estimators, early_stopping=True)


@pytest.mark.parametrize("n_estimators", [1, 3])
@pytest.mark.parametrize("form", ["file", "read-only", "sparse"])
def test_batches_come_from_the_host(form, n_estimators, tmp_path):
    settings = {"n_estimators": n_estimators, "early_stopping": True}
    if form == "sparse":
        data = sparse.csr_matrix(X * (np.abs(X) > 0.5))
    elif form == "file":
        data = np.memmap(tmp_path / "X", dtype=X.dtype, mode="w+", shape=X.shape)
        data[:] = X
    else:
        data = X.copy()
        data.flags.writeable = False
    check_both(data=data, **settings)


# ---------------------------------------------------------------------- randomness


@pytest.mark.parametrize(
    "settings", [{}, {"n_estimators": 3}, {"augmentation": "mixup"}]
)
def test_a_fit_leaves_the_random_state_of_the_card(settings):
    torch.cuda.manual_seed(1)
    state = torch.cuda.get_rng_state()
    encoder = MLP((8,), dropout=0.3)
    est = fitted(encoder=encoder, **settings)
    assert torch.equal(state, torch.cuda.get_rng_state())
    torch.cuda.manual_seed(2)
    assert_array_equal(
        predictions(fitted(encoder=encoder, **settings)), predictions(est)
    )


@kinds
def test_one_row_is_predicted_as_in_the_table(kind):
    for settings in ({}, {"precision": "float32"}, {"n_estimators": 3}):
        est = fitted(kind, **settings)
        whole = predictions(est)
        for rows in ([0], [7, 50, 95]):
            assert_allclose(predictions(est, X[rows]), whole[rows], atol=1e-5)


# ------------------------------------------------------------------ synchronisation


def n_waits(batch_size, **settings):
    """Return how often the CPU waits for the card during a fit."""
    cls, y = TARGETS["classifier"]
    est = cls(**SETTINGS | {"precision": "float32"} | settings, device=DEVICE)
    est.set_params(batch_size=batch_size, max_iter=2)
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            est.fit(X, y)
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return sum("called a synchronizing" in str(warning.message) for warning in told)


def check_no_wait_per_batch(**settings):
    """Batches four times as many take no more of it: 24 rather than 6 per epoch."""
    assert n_waits(4, **settings) == n_waits(16, **settings) > 0


@pytest.mark.parametrize("sharing", SHARING)
def test_no_batch_waits_for_the_card(sharing):
    check_no_wait_per_batch(sharing=sharing)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_estimators": 3, "resampling": None},
        {"n_estimators": 3, "weighting": "uncertainty"},
        {"precision": "bf16"},
        {"augmentation": "mixup"},
        {"hard_example_mining": "loss"},
        {"record_gradients": True},
        {"sampling": "classes"},
        {"encoder": "mlp"},
        {"encoder": PeriodicEmbedding((6,))},
        {"encoder": MUTATING["batch norm"]},
        {"optimizer": "sgd"},
        {"relation": "distillation"},
        {"relation": "graph"},
        {"relation": "task_covariance"},
    ],
    ids=str,
)
def test_no_batch_waits_for_the_card_whatever_the_settings(settings):
    check_no_wait_per_batch(**settings)


@pytest.mark.usefixtures("full_card")
@pytest.mark.parametrize("n_estimators", [1, 3])
def test_no_batch_from_the_host_waits_for_the_card(n_estimators):
    check_no_wait_per_batch(n_estimators=n_estimators, resampling=None)


@pytest.mark.parametrize("weighting", WEIGHTING)
def test_only_solvers_on_the_cpu_wait_for_gradients(weighting):
    """A solver needs the Gramian on the CPU, and two of them a state of their own."""
    if not isinstance(WEIGHTING[weighting]().build(3), SolverModule):
        check_no_wait_per_batch(weighting=weighting)
        return
    n_more = 2 * (24 - 6)  # steps of two epochs
    per_step = {"gradvac": 2, "pcd": 3}.get(weighting, 1)
    waits = n_waits(4, weighting=weighting) - n_waits(16, weighting=weighting)
    assert waits == n_more * per_step


# ------------------------------------------------------------------------ transport


def test_a_model_fitted_on_cuda_loads_where_there_is_none(tmp_path):
    models = {
        "one": fitted(),
        "members": fitted(n_estimators=3),
        "turns": fitted(n_estimators=3, weighting="pcgrad"),
        "half-trained": clone(fitted(n_estimators=3)).partial_fit(
            X, TARGETS["classifier"][1], classes=[[0, 1], [0, 1, 2], [0, 1]]
        ),
    }
    expected = {name: predictions(est) for name, est in models.items()}
    joblib.dump((models, expected, X), tmp_path / "models.joblib")
    code = (
        "import sys, joblib, numpy as np, torch\n"
        "assert not torch.cuda.is_available()\n"
        "models, expected, X = joblib.load(sys.argv[1])\n"
        "for name, est in models.items():\n"
        "    found = np.hstack(est.predict_proba(X))\n"
        "    np.testing.assert_allclose(found, expected[name], atol=1e-5)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "models.joblib")],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        check=True,
    )


def test_a_copy_is_another_model_on_the_same_card():
    est = fitted()
    twin = copy.deepcopy(est)
    check_device(twin)
    with torch.no_grad():
        for parameter in twin.module_.parameters():
            parameter.zero_()
    assert np.ptp(predictions(est), axis=0).max() > 0
