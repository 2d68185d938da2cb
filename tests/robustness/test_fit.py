"""Any table with any labels and any settings fits, or is refused by one sentence."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skmtl import MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import CNN
from skmtl.exceptions import DivergenceError
from tests.robustness._labels import CLASSES, labels
from tests.robustness._properties import (
    assert_same,
    assert_unfitted,
    check_files,
    check_predictions,
    check_score,
    tried,
)
from tests.robustness._settings import (
    KINDS,
    STRATEGIES,
    TRAINING,
    estimators,
    weights,
    weights_of_tasks,
)
from tests.robustness._tables import MOST_ROWS, tables

pytestmark = [
    pytest.mark.one_version,  # which take their time
]

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, MOST_ROWS)


def fit_and_check(est, table, labels, n, sample_weight=None, **validation):
    """Fit, and check all that follows from it; return whether there is a model."""
    columns = labels.columns(n)
    X, (y, missing_label) = table.given(n), labels.of(columns)
    est.set_params(missing_label=missing_label)
    found = tried(est.fit, X, y, sample_weight, **validation)
    if found is not est:
        assert_unfitted(est, X)
        return False
    assert est.n_tasks_ == len(columns)
    counted = columns if sample_weight is None else None
    check_predictions(est, X, n, counted)
    check_predictions(est, table.given(1, part=1), 1)
    check_score(est, X, y, sample_weight)
    return True


@pytest.mark.one_version
@given(st.data())
def test_any_form_of_table_and_labels(data):
    est = data.draw(estimators(names=["precision", "n_estimators", "loss"]))
    table, own = data.draw(tables()), data.draw(labels(KINDS[type(est)]))
    n = data.draw(sizes)
    fit_and_check(est, table, own, n)


@given(st.data())
def test_any_settings(data):
    est = data.draw(estimators())
    table = data.draw(tables(forms=["float64", "DataFrame", "csr_array", "words"]))
    own = data.draw(labels(KINDS[type(est)], forms=["objects", "DataFrame"]))
    n = data.draw(sizes)
    weight = data.draw(weights(n, len(own.tasks)))
    if fit_and_check(est, table, own, n, weight):
        check_files(est, table.given(n))


@given(st.data())
def test_any_weights_and_validation_set(data):
    names = [
        "validation_metric",
        "early_stopping",
        "n_estimators",
        "resampling",
        "sampling",
    ]
    names += [
        "stop_tasks",
        "weighting",
        "threshold",
        "hard_example_mining",
        "augmentation",
    ]
    est = data.draw(estimators(names=names, most=3))
    table = data.draw(tables(forms=["float64"]))
    own = data.draw(labels(KINDS[type(est)], forms=["objects"]))
    est.set_params(**data.draw(weights_of_tasks(est, own)))
    n, n_val = data.draw(sizes), data.draw(st.integers(0, MOST_ROWS))
    validation = {}
    if n_val:
        y_val, _ = own.given(n_val, part=3)
        weight_val = data.draw(weights(n_val, len(own.tasks)))
        validation = {"X_val": table.given(n_val, part=3), "y_val": y_val}
        validation["sample_weight_val"] = weight_val
    weight = data.draw(weights(n, len(own.tasks)))
    fit_and_check(est, table, own, n, weight, **validation)


@given(st.data())
def test_any_images(data):
    est = data.draw(estimators(names=[*STRATEGIES, *TRAINING], most=3))
    est.set_params(encoder=CNN((2,), hidden_layer_sizes=(3,)))
    channels, height, width = (data.draw(st.integers(1, most)) for most in (2, 9, 9))
    own = data.draw(labels(KINDS[type(est)], forms=["objects"]))
    n = data.draw(st.integers(1, 12))
    rng = np.random.default_rng(data.draw(seeds))
    X = rng.normal(size=(n, channels, height, width))
    y, _ = own.given(n)
    if tried(est.fit, X, y) is est:
        check_predictions(est, X, n, own.columns(n))
        check_predictions(est, X[:1].astype(np.float32), 1)
        check_score(est, X, y)


@given(st.data())
def test_any_way_to_train_on(data):
    est = data.draw(estimators(most=4))
    table = data.draw(tables(forms=["float64", "DataFrame", "words"], gaps=[0]))
    own = data.draw(labels(KINDS[type(est)], forms=["objects"], gaps=[0, 0.1, 0.5]))
    if isinstance(est, MultiTaskEstimator):
        est.set_params(task_types=[task.kind for task in own.tasks])
    fitted, known = False, None
    for part in range(data.draw(st.integers(1, 4))):
        n = data.draw(sizes)
        X, (y, _) = table.given(n, part), own.given(n, part)
        weight = data.draw(weights(n, len(own.tasks)))
        before = copy.deepcopy(est)
        step = data.draw(st.sampled_from(["partial_fit", "warm_start", "fit"]))
        continues = fitted and step != "fit"
        if step == "partial_fit":
            classes = () if fitted else declared(est, own)
            found = tried(est.partial_fit, X, y, *classes, sample_weight=weight)
        else:
            est.set_params(warm_start=step == "warm_start")
            found = tried(est.fit, X, y, weight)
        if found is est:
            fitted, known = True, X
            check_predictions(est, X, n)
            check_score(est, X, y, weight)
        elif continues or (fitted and not isinstance(found, DivergenceError)):
            assert_same(before, est, known)
        else:
            fitted = False
            assert_unfitted(est, X)
    if fitted:
        check_files(est, known)


def declared(est, own):
    """Return the classes that the first call to partial_fit needs."""
    if isinstance(est, MultiTaskRegressor):
        return ()
    classes = [CLASSES.get(t.what) for t in own.tasks]
    return (classes,)
