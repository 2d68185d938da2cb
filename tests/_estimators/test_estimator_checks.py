"""scikit-learn's own checks: nothing fails, nothing is excused."""

import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # one check is skipped without it

import numpy as np
import pytest
from scipy import sparse
from sklearn.utils.estimator_checks import (
    check_param_validation,
    estimator_checks_generator,
)

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import MLP
from skmtl.sharing import SHARING, TaskToken

# Smaller networks and fewer epochs than by default, for less time.
SMALL = {
    "encoder": MLP((16,)),
    "n_estimators": 1,
    "learning_rate_init": 2e-2,
    "max_iter": 15,
}
# Tables go the same way into every strategy of sharing.
SMALLEST = {
    **SMALL,
    "encoder": MLP((16,), dropout=0.0, numeric_embedding=None),
    "learning_rate_init": 3e-2,
    "max_iter": 10,
}
SHARINGS = {name: name for name in SHARING if name != "hard"}  # which is the default
SHARINGS["task_token"] = TaskToken(token_width=16, n_tokens=4, n_blocks=1)
SLOWER = {"task_token": {"max_iter": 30}}  # attention begins close to nothing
BY_SHARING = [
    [
        cls(sharing, **{**SMALLEST, **SLOWER.get(name, {})})
        for cls in (MultiTaskClassifier, MultiTaskRegressor)
    ]
    for name, sharing in SHARINGS.items()
]

# These take what is no classifier by type for one without classes: the first calls
# partial_fit without them, the others read the classifier tags of all that has
# predict_proba. What they look at is tested below, and in test_own_checks.py.
NOT_FOR_MIXED = {
    "check_n_features_in_after_fitting",
    "check_estimator_sparse_array",
    "check_estimator_sparse_matrix",
}
# These fit and predict one table in a dozen forms, which all become the same table.
OF_CONTAINERS = {"check_estimator_sparse_array", "check_estimator_sparse_matrix"}
# These look at what was learned, for which few epochs do not suffice.
OF_LEARNING = {
    "check_class_weight_classifiers",
    "check_classifiers_train",
    "check_regressors_train",
}


def name_of(check):
    """Return the name of a check, which may be wrapped in partial."""
    return getattr(check, "func", check).__name__


def cases_of(estimator, but=()):
    """Return the checks that scikit-learn has for an estimator."""
    name = repr(estimator)  # which takes longer than all the rest
    return [
        pytest.param(twin, check, id=f"{name}-{name_of(check)}")
        for twin, check in estimator_checks_generator(estimator)
        if name_of(check) not in but
    ]


def every_check_of(estimators, but=()):
    """Parametrise over checks as parametrize_with_checks does, with a list.

    The iterator that scikit-learn 1.6 gives is deprecated in pytest.
    """
    cases = [case for estimator in estimators for case in cases_of(estimator, but)]
    return pytest.mark.parametrize(("estimator", "check"), cases)


def every_check_once(pairs, but=()):
    """Parametrise so that of each pair one estimator or the other passes each check.

    What classifiers and regressors both have to pass, they pass in turns. Of checks
    that differ in settings alone, the last counts: it reads read-only memory maps.
    """
    cases = []
    for i, pair in enumerate(pairs):
        names = [{name_of(c.values[1]): c for c in cases_of(e, but)} for e in pair]
        for j, name in enumerate(names[0] | names[1]):
            turns = [checks[name] for checks in names if name in checks]
            cases.append(turns[(i + j) % len(turns)])
    return pytest.mark.parametrize(("estimator", "check"), cases)


@pytest.mark.one_version  # which takes its time
@every_check_once([(MultiTaskClassifier(), MultiTaskRegressor())])
def test_estimator_passes_scikit_learns_check(estimator, check):
    if name_of(check) not in OF_LEARNING:
        estimator.set_params(max_iter=2)
    check(estimator)


@every_check_of([MultiTaskClassifier(**SMALL), MultiTaskRegressor(**SMALL)])
@pytest.mark.sampled(3)
def test_small_estimator_passes_scikit_learns_check(estimator, check):
    check(estimator)


@every_check_of([MultiTaskEstimator(**SMALL)], but=NOT_FOR_MIXED)
def test_mixed_estimator_passes_scikit_learns_check(estimator, check):
    check(estimator)


@pytest.mark.one_version
@every_check_once(BY_SHARING, but=OF_CONTAINERS)
@pytest.mark.sampled(13)
def test_every_sharing_passes_scikit_learns_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csc_matrix])
def test_mixed_estimator_takes_sparse_input(container):
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(40, 3)) * (rng.uniform(size=(40, 3)) > 0.8)
    y = rng.integers(4, size=40)
    est = MultiTaskEstimator(max_iter=5, random_state=0).fit(container(X), y)
    assert est.predict(container(X)).shape == (40,)
    assert est.predict_proba(container(X)).shape == (40, 4)
    np.testing.assert_allclose(est.predict_proba(container(X)), est.predict_proba(X))


def test_mixed_partial_fit_refuses_other_features():
    X, y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    est = MultiTaskEstimator().partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match=r"X has 1 features, but .* is expecting 2"):
        est.partial_fit(X[:, :1], y)


@pytest.mark.parametrize(
    "cls", [MultiTaskClassifier, MultiTaskRegressor, MultiTaskEstimator]
)
def test_parameters_are_validated(cls):
    check_param_validation(cls.__name__, cls())
