"""Training with every weighting that looks at gradients."""

import pickle

import numpy as np
import pytest
from sklearn.metrics import r2_score

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.weighting import (
    WEIGHTING,
    GradientCombiningModule,
    GradientWeighting,
    GradientWeightingModule,
    PrimaryTask,
)
from tests._networks import SAME_STEPS, plain_mlp, table

pytestmark = pytest.mark.one_version

SPECS = {
    **{n: cls() for n, cls in WEIGHTING.items() if issubclass(cls, GradientWeighting)},
    "cosine": PrimaryTask(mode="cosine"),
}
specs = pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))
SETTINGS = {**SAME_STEPS, "batch_size": 20, "encoder": plain_mlp((16,)), "max_iter": 6}


def placed(spec, **settings):
    """Return a spec with other settings, or skip where it has none."""
    if not set(settings) <= set(spec.get_params()):
        pytest.skip("gradients are always taken at the representation, in every step")
    return type(spec)(**{**spec.get_params(), **settings})


def sparse(n_tasks=4, missing=0.6, seed=0):
    """Return labels, most of them missing; the last task is in few batches."""
    X, Y = table(80, n_tasks)
    Y[np.random.default_rng(seed).random(Y.shape) < missing] = np.nan
    Y[20:, -1] = np.nan
    return X, Y


def check(est, X):
    weights = est.task_weights_
    assert np.isfinite(weights).all()
    for epoch in est.history_:
        assert np.isfinite(epoch["train_weights"]).all()
        assert np.abs(epoch["train_weights"]).max() < 50
    if isinstance(est, MultiTaskRegressor):
        assert np.isfinite(est.predict(X)).all()
    else:
        assert all(np.isfinite(p).all() for p in est.predict_proba(X))


@specs
@pytest.mark.parametrize("gradient_at", ["representation", "parameters"])
@pytest.mark.parametrize("update_every", [1, 3])
@pytest.mark.sampled(3)
def test_labels_may_be_missing(spec, gradient_at, update_every):
    if (gradient_at, update_every) != ("representation", 1):
        spec = placed(spec, gradient_at=gradient_at, update_every=update_every)
    X, Y = sparse()
    est = MultiTaskRegressor(weighting=spec, **SETTINGS).fit(X, Y)
    check(est, X)
    assert est.task_weights_[-1] == 0  # of the last step, in which it is absent
    np.testing.assert_allclose(est.task_weights_.sum(), 3, rtol=1e-6)


@specs
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_classifiers_train_with_missing_labels(spec, precision):
    X, Y = sparse()
    Z = np.where(np.isnan(Y), np.nan, Y > 0)
    settings = {**SETTINGS, "precision": precision}
    check(MultiTaskClassifier(weighting=spec, **settings).fit(X, Z), X)


@specs
def test_a_task_may_be_absent_for_whole_epochs(spec):
    X, Y = sparse()
    est = MultiTaskRegressor(weighting=spec, **SETTINGS)
    without = Y.copy()
    without[:, 1] = np.nan
    est.partial_fit(X, Y)
    for labels in (without, without, Y, without):
        est.partial_fit(X, labels)
        check(est, X)
    assert est.task_weights_[1] == 0


@specs
def test_training_goes_on_from_a_pickle(spec):
    X, Y = sparse()
    est = MultiTaskRegressor(weighting=spec, **SETTINGS).partial_fit(X, Y)
    twin = pickle.loads(pickle.dumps(est))
    est.partial_fit(X, Y)
    twin.partial_fit(X, Y)
    np.testing.assert_allclose(twin.predict(X), est.predict(X), rtol=1e-6)
    np.testing.assert_allclose(twin.task_weights_, est.task_weights_, rtol=1e-6)


@specs
def test_failures_of_solvers_are_recorded(spec):
    X, Y = sparse()
    est = MultiTaskRegressor(weighting=spec, **SETTINGS).fit(X, Y)
    module = est.net_.weighting_
    assert isinstance(module, GradientWeightingModule)
    if hasattr(module, "failures"):
        assert est.history_[-1]["solver_failures"] == int(module.failures)
        assert module.failures <= 2


@pytest.mark.parametrize("name", ["mgda", "nash_mtl", "db_mtl", "imtl_g"])
def test_a_task_with_a_long_gradient_gets_a_small_weight(name):
    X, Y = table(80, 3)
    est = MultiTaskRegressor(weighting=name, sharing="hard", **SETTINGS)
    est.fit(X, Y)
    norms = np.array(est.history_[-1]["train_gradient_norms"])
    weights = np.array(est.history_[-1]["train_weights"])
    assert weights[norms.argmax()] == weights.min()


@specs
def test_two_fits_are_the_same(spec):
    X, Y = sparse()
    first, second = (
        MultiTaskRegressor(weighting=spec, **SETTINGS).fit(X, Y).predict(X)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


@specs
def test_the_first_task_which_may_be_primary_is_learned(spec):
    X, Y = table(200)
    settings = {"learning_rate_init": 1e-2, "max_iter": 60, "random_state": 0}
    settings["n_estimators"] = 1
    est = MultiTaskRegressor(weighting=spec, encoder=plain_mlp((16,)), **settings)
    assert r2_score(Y[:, 0], est.fit(X, Y).predict(X)[:, 0]) > 0.9


def test_combining_gradients_leaves_weights_equal():
    X, Y = table()
    est = MultiTaskRegressor(weighting="graddrop", **SETTINGS).fit(X, Y)
    assert isinstance(est.net_.weighting_, GradientCombiningModule)
    np.testing.assert_allclose(est.task_weights_, 1)
