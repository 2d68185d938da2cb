"""Compiled training ends up where training does that is not compiled."""

import copy
import itertools
import pickle
import shutil
import threading

import numpy as np
import pytest
import torch
from sklearn.base import clone

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskEstimator
from skmtl.encoder import MLP
from skmtl.sharing import SHARING, TaskToken
from skmtl.training._compile import check_compiles
from skmtl.weighting import UPGrad

# Torch has one version in all tests.
pytestmark = pytest.mark.one_version

#: Numbers of inputs of the graphs that "counting" was given to compile.
COUNTED = []


def counting(module, inputs):
    COUNTED.append(len(inputs))
    return module.forward


def broken(module, inputs):
    raise RuntimeError("No linker found.\nMore of this.")


torch._dynamo.register_backend(counting, name="counting")
torch._dynamo.register_backend(broken, name="broken")


@pytest.fixture
def counted():
    check_compiles("counting", "cpu")  # which compiles something once
    COUNTED.clear()
    return COUNTED


def tasks(n=50, n_tasks=3):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 4))
    Y = (X @ rng.standard_normal((4, n_tasks)) > 0).astype(float)
    Y[rng.random(Y.shape) < 0.1] = np.nan
    return X, Y


PLAIN = {"scale": None, "missing_inputs": None, "max_levels": 0, "dropout": 0}
SETTINGS = {
    "encoder": MLP((6, 5), numeric_embedding=None, **PLAIN),
    "n_estimators": 1,
    "max_iter": 2,
    "batch_size": 20,
    "precision": "float64",
    "random_state": 0,
}


def assert_same(settings, backend, X=None, Y=None):
    """Assert that compilation changes nothing; return both estimators."""
    X, Y = tasks() if X is None else (X, Y)
    plain = MultiTaskClassifier(**SETTINGS | settings).fit(X, Y)
    compiled = clone(plain).set_params(compile=backend).fit(X, Y)
    np.testing.assert_allclose(compiled.loss_curve_, plain.loss_curve_, rtol=1e-5)
    for p, q in zip(compiled.predict_proba(X), plain.predict_proba(X), strict=True):
        np.testing.assert_allclose(p, q, atol=1e-5)
    return plain, compiled


SMALLER = {"task_token": TaskToken(token_width=8, n_tokens=2, n_blocks=1)}
CASES = list(
    zip(
        sorted(SHARING),
        itertools.cycle(["equal", "upgrad", "uncertainty", "graddrop", "famo"]),
        itertools.cycle([None, "graph", "task_covariance"]),
        strict=False,
    )
)


@pytest.mark.parametrize(("sharing", "weighting", "relation"), CASES)
@pytest.mark.sampled(4, 1)
def test_every_sharing_strategy(sharing, weighting, relation):
    sharing = SMALLER.get(sharing, sharing)
    settings = {"sharing": sharing, "weighting": weighting, "relation": relation}
    assert_same(settings, "eager")


@pytest.mark.parametrize(
    ("sharing", "weighting", "relation"),
    [
        ("hard", "equal", None),
        ("hard", "upgrad", "graph"),
        ("additive", "graddrop", None),
        ("cross_stitch", "upgrad", None),
        ("mmoe", UPGrad(gradient_at="parameters"), None),
    ],
)
@pytest.mark.sampled(2)
def test_gradients_go_back_through_compiled_graphs(sharing, weighting, relation):
    settings = {"sharing": sharing, "weighting": weighting, "relation": relation}
    assert_same(settings, "aot_eager")


@pytest.mark.skipif(shutil.which("g++") is None, reason="it compiles C++")
def test_true_compiles_c():
    plain, compiled = assert_same({}, True)
    assert compiled.net_.backend == "inductor"
    assert plain.net_.backend is None


def test_what_is_compiled_serves_all_epochs_and_batches(counted):
    X, Y = tasks()
    fit = {"compile": "counting", "early_stopping": True, "n_iter_no_change": 9}
    for n_epochs in (1, 4):
        counted.clear()
        est = MultiTaskClassifier(**SETTINGS | fit | {"max_iter": n_epochs}).fit(X, Y)
        assert est.n_iter_ == n_epochs
        assert len(counted) == 2  # one to train, one to validate
    est.predict(X)
    assert len(counted) == 2


def test_fits_do_not_share_what_is_compiled(counted):
    X, Y = tasks()
    with torch._dynamo.config.patch(recompile_limit=2):
        for width in range(2, 6):  # torch gives up after two of one function
            encoder = MLP((width,), numeric_embedding=None, **PLAIN)
            fit = {"compile": "counting", "encoder": encoder, "max_iter": 1}
            MultiTaskClassifier(**SETTINGS | fit).fit(X, Y)
            assert counted
            counted.clear()


@pytest.mark.parametrize("sharing", ["hard", "mmoe"])
@pytest.mark.sampled(2)
def test_stacked_members(sharing):
    plain, _ = assert_same({"sharing": sharing, "n_estimators": 3}, "aot_eager")
    assert plain.net_.stacked


def test_members_in_turns(counted):
    settings = {"n_estimators": 3, "weighting": "upgrad", "early_stopping": True}
    plain, _ = assert_same(settings, "counting")
    assert not plain.net_.stacked
    assert len(counted) == 4  # up to the shared features and from there, for all


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
@pytest.mark.sampled(2)
def test_members_that_stop(counted, metric):
    X, Y = tasks(80)
    settings = {"n_estimators": 3, "early_stopping": True, "n_iter_no_change": 1}
    settings |= {"max_iter": 30, "validation_metric": metric, "batch_size": 80}
    settings |= {"learning_rate_init": 0.3}
    plain, compiled = assert_same(settings, "counting", X, Y)
    assert compiled.n_iter_ == plain.n_iter_ < 30
    scores = plain.validation_scores_
    np.testing.assert_allclose(compiled.validation_scores_, scores, rtol=1e-5)
    assert len(counted) <= 4  # all of them and the last: to train, and to validate


def test_bfloat16():
    X, Y = tasks()
    settings = {"precision": "bf16", "compile": "aot_eager", "max_iter": 4}
    est = MultiTaskClassifier(**SETTINGS | settings).fit(X, Y)
    plain = clone(est).set_params(compile=False).fit(X, Y)
    np.testing.assert_allclose(est.loss_curve_, plain.loss_curve_, atol=0.01)
    assert next(est.module_.parameters()).dtype == torch.float32


DROPPING = {
    "encoder": MLP((6,), numeric_embedding=None, **PLAIN | {"dropout": 0.5}),
    "compile": "aot_eager",
    "max_iter": 3,
}


@pytest.mark.parametrize("n_estimators", [1, 2])
@pytest.mark.sampled(2, 1)
def test_the_seed_decides_and_global_states_stay(n_estimators):
    X, Y = tasks()
    settings = SETTINGS | DROPPING | {"n_estimators": n_estimators}
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    a, b = (MultiTaskClassifier(**settings).fit(X, Y) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert a.loss_curve_ == b.loss_curve_


def test_threads_fit_as_one_does_alone():
    X, Y = tasks()
    settings = SETTINGS | DROPPING | {"compile": "eager"}
    ests = [MultiTaskClassifier(**settings) for _ in range(2)]
    alone = clone(ests[0]).fit(X, Y).loss_curve_
    threads = [threading.Thread(target=est.fit, args=(X, Y)) for est in ests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [est.loss_curve_ for est in ests] == [alone] * 2


@pytest.mark.parametrize("n_estimators", [1, 2])
@pytest.mark.sampled(2, 1)
def test_nothing_compiled_is_kept(tmp_path, n_estimators):
    X, Y = tasks()
    settings = {"compile": "eager", "n_estimators": n_estimators}
    est = MultiTaskClassifier(**SETTINGS | settings).fit(X, Y)
    skmtl.save(est, tmp_path / "model.skmtl")
    copies = [
        pickle.loads(pickle.dumps(est)),
        copy.deepcopy(est),
        skmtl.load(tmp_path / "model.skmtl"),
    ]
    for one in copies:
        assert one.compile == "eager"
        np.testing.assert_array_equal(one.predict(X), est.predict(X))
    plain = clone(est).set_params(compile=False).fit(X, Y)
    for one in [*copies, plain]:
        one.set_params(warm_start=True, max_iter=1).fit(X, Y)
    for one in copies:
        np.testing.assert_allclose(one.loss_curve_, plain.loss_curve_, rtol=1e-5)


def test_one_pass():
    X, Y = tasks()
    est = MultiTaskClassifier(**SETTINGS, compile="eager")
    plain = clone(est).set_params(compile=False)
    for _ in range(2):
        est.partial_fit(X, Y, classes=[[0, 1]] * 3)
        plain.partial_fit(X, Y, classes=[[0, 1]] * 3)
    np.testing.assert_allclose(est.loss_curve_, plain.loss_curve_, rtol=1e-5)


class Break(Exception):
    pass


def test_a_fit_goes_on_from_a_checkpoint(tmp_path):
    X, Y = tasks()

    class Breaks(skmtl.training._callbacks.Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 4:
                raise Break

    settings = DROPPING | {"compile": "eager", "max_iter": 5}
    whole = MultiTaskClassifier(**SETTINGS | settings).fit(X, Y)
    kept = {"checkpoint": tmp_path, "checkpoint_every": 2}
    est = clone(whole).set_params(**kept)
    with pytest.raises(Break):
        clone(est).set_params(callbacks=[Breaks()]).fit(X, Y)
    est.set_params(callbacks=None).fit(X, Y, resume="auto")
    assert est.loss_curve_ == whole.loss_curve_


def test_onnx(tmp_path, onnx_operators):
    onnxruntime = pytest.importorskip("onnxruntime")
    X, Y = tasks()
    est = MultiTaskClassifier(**SETTINGS | {"compile": "eager"}).fit(X, Y)
    skmtl.export_onnx(est, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    found = session.run(None, {"X": X})[0]
    np.testing.assert_allclose(found, est.predict_proba(X)[0], atol=1e-5)


# -------------------------------------------------------------------------- bad input
@pytest.mark.parametrize("backend", ["nothing", ""])
def test_unknown_backends_are_refused(backend):
    est = MultiTaskEstimator(compile=backend)
    with pytest.raises(ValueError, match=r"one of \[.*'inductor'.*\]. Got '"):
        est.fit(*tasks())
    assert not hasattr(est, "net_")


def test_backends_that_cannot_compile_are_refused():
    check_compiles.cache_clear()
    est = MultiTaskEstimator(compile="broken")
    with pytest.raises(
        ValueError, match=r"the backend 'broken': .*No linker found\. Install what"
    ):
        est.fit(*tasks())
    assert not hasattr(est, "net_")
