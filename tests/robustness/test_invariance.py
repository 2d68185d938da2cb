"""What must not matter does not, whatever the labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.base import clone

from skmtl import MultiTaskEstimator
from skmtl.weighting import WEIGHTING
from tests.robustness._labels import Labels, labels
from tests.robustness._properties import assert_same, probabilities_of, tried
from tests.robustness._settings import KINDS, estimators
from tests.robustness._tables import tables

pytestmark = [
    pytest.mark.one_version,  # which take their time
]

#: Settings that read nothing but labels that are present.
NEUTRAL = [
    "batch_size",
    "alpha",
    "loss",
    "n_estimators",
    "hard_example_mining",
    "class_weight",
]
NUMBERS = ["normal", "few values", "mostly zeros", "integers"]


@st.composite
def fits(draw):
    """Draw an estimator, inputs and columns of labels."""
    est = draw(estimators(names=NEUTRAL, most=3)).set_params(shuffle=False)
    table = draw(tables(forms=["float64"], numbers=["normal", "few values"]))
    own = draw(labels(KINDS[type(est)], forms=["objects"], gaps=[0, 0.1, 0.5]))
    for task in own.tasks:  # numbers whose rounding is no matter
        if task.kind == "regression" and task.what not in NUMBERS:
            task.what = "normal"
    if isinstance(est, MultiTaskEstimator):
        est.set_params(task_types=[task.kind for task in own.tasks])
    n = draw(st.integers(2, 40))
    return est, table.given(n), own, own.columns(n)


def predictions(est, X, y, sample_weight=None):
    """Return probabilities and values of all tasks after a fit, None without one."""
    est = clone(est)
    if tried(est.fit, X, y, sample_weight) is not est:
        return None
    values = np.asarray(est.predict(X)).reshape(len(X), -1).T
    proba = probabilities_of(est, X)
    return [
        v.astype(float) if p is None else p for v, p in zip(values, proba, strict=True)
    ]


def assert_alike(first, second, atol=1e-7):
    assert (first is None) == (second is None)
    for one, other in zip(first or [], second or [], strict=True):
        assert_allclose(one, other, rtol=1e-5, atol=atol)


@given(fits(), st.integers(0, 2**32 - 1))
def test_rows_without_labels_change_nothing(fit, seed):
    est, X, own, columns = fit
    y, _ = own.of(columns)
    est.set_params(batch_size=200)  # so that batches are the same
    rng = np.random.default_rng(seed)
    at = np.sort(rng.integers(len(X) + 1, size=rng.integers(1, 5)))
    wide = np.insert(X, at, rng.normal(size=(len(at), X.shape[1])), axis=0)
    with_gaps = np.insert(y, at, None, axis=0)
    kept = np.delete(np.arange(len(wide)), at + np.arange(len(at)))
    found = predictions(est, wide, with_gaps)
    found = None if found is None else [p[kept] for p in found]
    assert_alike(predictions(est, X, y), found)


@given(fits(), st.integers(0, 2**32 - 1))
def test_a_label_of_weight_zero_is_a_missing_one(fit, seed):
    est, X, own, columns = fit
    y, _ = own.of(columns)
    gone = np.random.default_rng(seed).uniform(size=y.shape) < 0.3
    if gone.all():
        return
    missing = y.copy()
    missing[gone] = None
    weights = np.where(gone, 0.0, 1.0)
    assert_alike(predictions(est, X, missing), predictions(est, X, y, weights))


@given(fits(), st.randoms(use_true_random=False))
def test_names_of_classes_are_names(fit, random):
    est, X, own, columns = fit
    y, _ = own.of(columns)
    order = {}
    renamed = y.copy()
    for t, task in enumerate(own.tasks):
        if task.kind == "classification":
            known = sorted({v for v in columns[t] if v is not None})
            names = sorted(random.sample("abcdefghijklmnopqrstuvwxyz", len(known)))
            order = dict(zip(known, names, strict=True))
            renamed[:, t] = [None if v is None else order[v] for v in columns[t]]
    assert_alike(predictions(est, X, y), predictions(est, X, renamed))


@given(fits())
def test_forms_of_labels_are_forms(fit):
    est, X, own, columns = fit
    y, _ = own.of(columns)
    first = predictions(est, X, y)
    for form in ("lists", "every mark", "DataFrame", "nullable", "Arrow", "polars"):
        other, _ = Labels(own.tasks, form).of(columns)
        assert_alike(first, predictions(est, X, other))


@given(fits(), st.randoms(use_true_random=False))
def test_the_order_of_tasks_is_no_matter(fit, random):
    est, X, own, columns = fit
    est.set_params(
        n_estimators=1
    )  # folds serve labels as rare as others by their place
    order = random.sample(range(len(columns)), len(columns))
    if isinstance(est, MultiTaskEstimator):
        kinds = [own.tasks[t].kind for t in order]
        other = clone(est).set_params(task_types=kinds)
    else:
        other = clone(est)
    permuted, _ = own.of([columns[t] for t in order])
    found = predictions(est, X, own.of(columns)[0])
    # Adam makes steps of gradients that are but rounding, where inputs tell nothing.
    assert_alike(
        found and [found[t] for t in order], predictions(other, X, permuted), atol=1e-4
    )


#: What reads weights: of labels, classes or tasks.
WEIGHTED = [
    "n_estimators",
    "class_weight",
    "threshold",
    "sampling",
    "hard_example_mining",
]
WEIGHTED += [
    "relation",
    "encoder",
    "validation_metric",
    "early_stopping",
    "augmentation",
]
#: Exponents of powers of two from 1e-300 to 1e300, which round nothing.
EXPONENTS = st.integers(-996, 996)


@pytest.mark.parametrize("weighting", WEIGHTING)
@settings(max_examples=2)
@given(st.data())
@pytest.mark.sampled(5)
def test_a_common_factor_of_weights_is_no_matter(weighting, data):
    est = data.draw(estimators(names=WEIGHTED, most=2)).set_params(weighting=weighting)
    own = data.draw(labels(KINDS[type(est)], forms=["objects"], gaps=[0, 0.1]))
    if isinstance(est, MultiTaskEstimator):
        est.set_params(task_types=[task.kind for task in own.tasks])
    n, n_tasks, rng = data.draw(st.integers(2, 30)), len(own.tasks), _generator(data)
    X, (y, _) = rng.normal(size=(n, 3)), own.given(n)
    shape = data.draw(st.sampled_from([(n,), (n, n_tasks)]))
    weight = data.draw(
        st.sampled_from([np.ones(shape), rng.uniform(size=shape) + np.ones(shape)])
    )
    unit, of_tasks = 2.0 ** np.array(data.draw(st.tuples(EXPONENTS, EXPONENTS)))
    task_weight = np.arange(1.0, n_tasks + 1)
    one, other = clone(est), clone(est)
    one.set_params(task_weight=task_weight)
    other.set_params(task_weight=of_tasks * task_weight)
    first = tried(one.fit, X, y, weight)
    second = tried(other.fit, X, y, unit * weight)
    if isinstance(first, ValueError):
        assert str(first) == str(second)
        return
    assert_same(one, other, X)
    scores = [tried(one.score, X, y, w) for w in (weight, unit * weight)]
    assert scores[0] == scores[1] or str(scores[0]) == str(scores[1])


def _generator(data):
    return np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
