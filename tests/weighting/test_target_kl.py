"""Target distributions: known divergences, weighted counts and bad settings."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_iris

from skmtl import MultiTaskClassifier, MultiTaskEstimator
from skmtl.weighting import TargetKL, TaskLabels
from tests._networks import plain_mlp

RARE = np.repeat([0, 1], [90, 10]).astype(np.int8)
THREE = np.repeat([0, 1, 2], [50, 30, 20])
VALUES = np.random.default_rng(0).normal(size=400)


def classes(labels=RARE, n=2, weight=None, name="rare"):
    return TaskLabels(name, np.array(list("abc")[:n]), labels, weight)


def numbers(labels=VALUES, weight=None):
    return TaskLabels("number", None, labels, weight)


def shares(spec, task, labels, n):
    """Return what share of the weight each class has."""
    counts = np.bincount(labels, spec.label_weights(task, labels), minlength=n)
    return counts / counts.sum()


def divergences(spec):
    return spec.build(len(spec.shifts_)).divergences.numpy()


def test_divergences_are_those_of_the_closed_form():
    tasks = [classes(), classes(THREE, 3, name="three")]
    target = {"three": {"a": 0.25, "c": 0.75}}
    module = TargetKL(target).for_labels(tasks).build(2)
    expected = [
        0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1),
        0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.2),
    ]
    assert_allclose(module.divergences, expected)
    assert_allclose(module.P, [[0.5, 0.5, 0], [0.25, 0, 0.75]])
    assert_allclose(module.Q, [[0.9, 0.1, 0], [0.5, 0.3, 0.2]])


def test_labels_on_target_have_no_divergence():
    tasks = [classes(), classes(THREE, 3)]
    spec = TargetKL([[0.9, 0.1], (0.5, 0.3, 0.2)]).for_labels(tasks)
    assert_allclose(divergences(spec), 0, atol=1e-15)
    assert_allclose(spec.label_weights(1, THREE), 1)


@pytest.mark.parametrize("target", [None, [[0.2, 0.8]], [{"b": 1}]])
def test_weighed_labels_have_the_target_distribution(target):
    spec = TargetKL(target).for_labels([classes()])
    P = spec.build(1).P[0].numpy()
    assert_allclose(shares(spec, 0, RARE, 2), P)
    assert_allclose(spec.label_weights(0, RARE).mean(), 1)
    # The factors are those of the training labels, whatever labels they are for.
    assert_allclose(spec.label_weights(0, RARE[::-3]), (P / [0.9, 0.1])[RARE[::-3]])


def test_weights_of_labels_count():
    weight = np.where(RARE, 9.0, 1.0)
    spec = TargetKL().for_labels([classes(weight=weight)])
    assert_allclose(divergences(spec), 0, atol=1e-15)
    assert_allclose(spec.label_weights(0, RARE), 1)
    doubled = np.random.default_rng(0).integers(0, 3, 100)
    by_weight = TargetKL().for_labels([classes(weight=doubled)])
    repeated = TargetKL().for_labels([classes(np.repeat(RARE, doubled))])
    assert_allclose(divergences(by_weight), divergences(repeated))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [1e-310, 1e-300])
def test_a_class_that_weighs_next_to_nothing_has_finite_weights(size):
    weight = np.where(RARE, size, 1.0)
    spec = TargetKL().for_labels([classes(weight=weight)])
    factors = spec.label_weights(0, np.arange(2))
    assert_allclose(factors[0], 0.5)
    assert 1e298 < factors[1] < np.inf


def test_tasks_weigh_by_divergence_or_its_inverse():
    tasks = [classes(), classes(THREE, 3), numbers()]
    spec = TargetKL(mode="tasks", temperature=0.3).for_labels(tasks)
    module = spec.build(3)
    D = module.divergences
    assert_allclose(module(torch.ones(3), None), (D / 0.3).softmax(0))
    spec = TargetKL(mode="tasks", temperature=0.3, inverse=True).for_labels(tasks)
    assert_allclose(spec.build(3)(torch.ones(3), None), (-D / 0.3).softmax(0))
    assert spec.label_weights(0, RARE) is None
    examples = TargetKL().for_labels(tasks).build(3)
    assert_allclose(examples(torch.ones(3), None), 1 / 3)


def test_a_class_without_labels_counts_as_half_a_label():
    spec = TargetKL().for_labels([classes(n=3)])
    module = spec.build(1)
    assert_allclose(module.Q, [[0.9, 0.1, 0]])
    P, Q = np.full(3, 1 / 3), np.array([90, 10, 0.5]) / 100.5
    assert_allclose(module.divergences, [(P * np.log(P / Q)).sum()])
    assert_allclose(spec.label_weights(0, np.arange(3)), P / Q)
    assert_allclose(shares(spec, 0, RARE, 2), 0.5)


def test_a_class_that_nobody_asks_for_weighs_nothing():
    spec = TargetKL([[1, 0, 0]]).for_labels([classes(n=3)])
    assert_allclose(divergences(spec), [np.log(1 / 0.9)])
    assert_allclose(spec.label_weights(0, np.arange(3)), [1 / 0.9, 0, 0])


def test_a_task_without_labels_counts_as_on_target():
    tasks = [classes(RARE[:0]), classes(weight=np.zeros(100)), numbers(VALUES[:0])]
    spec = TargetKL().for_labels(tasks)
    assert_allclose(divergences(spec), 0)
    assert_allclose(spec.label_weights(0, RARE), 1)
    assert_allclose(spec.label_weights(2, VALUES), 1)


def test_regression_is_seen_in_bins_of_equal_width():
    counts, _ = np.histogram(VALUES, 5)
    spec = TargetKL(n_bins=5).for_labels([numbers()])
    assert_allclose(spec.build(1).Q[0], counts / 400)
    assert_allclose(divergences(spec), -np.log(5 * counts / 400).mean())
    weighted, _ = np.histogram(VALUES, 5, weights=spec.label_weights(0, VALUES))
    assert_allclose(weighted / weighted.sum(), 0.2)
    outside = spec.label_weights(0, np.array([-1e9, 1e9]))
    assert_allclose(outside, 80 / counts[[0, -1]])
    target = [0.1, 0.2, 0.4, 0.2, 0.1]
    spec = TargetKL([target], n_bins=5).for_labels([numbers()])
    weighted, _ = np.histogram(VALUES, 5, weights=spec.label_weights(0, VALUES))
    assert_allclose(weighted / weighted.sum(), target)


def test_a_constant_number_is_one_bin():
    spec = TargetKL(n_bins=3).for_labels([numbers(np.full(7, 2.0))])
    assert_allclose(spec.build(1).Q, [[0, 1, 0]])
    assert np.isfinite(divergences(spec)).all()


def test_looking_at_labels_changes_no_parameter():
    spec = TargetKL({"rare": [0.5, 0.5]}, temperature=2.0)
    seen = spec.for_labels([classes()])
    assert seen is not spec
    assert spec.shifts_ == ()
    assert repr(seen) == repr(spec) == repr(clone(seen))
    assert seen.get_params() == spec.get_params()
    assert seen.validate() is seen


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"other": None}, r"unknown task 'other'. The tasks are \['rare', 'number'\]"),
        ([None], "one entry per task, 2. Got 1"),
        ([{"x": 1}, None], r"task 'rare' names the unknown class 'x'. .*\['a', 'b'\]"),
        ([{"a": 0.9}, None], r"task 'rare' must .* sum to one. Got \[0.9, 0.0\]"),
        ([[1.5, -0.5], None], "task 'rare' must .* not negative"),
        ([[0.5, np.nan], None], "task 'rare' must .* not negative"),
        ([[1, 0, 0], None], "task 'rare' must be None, a dict .* of 2 numbers"),
        ([0.5, 0.5], "task 'rare' must be None, a dict .* of 2 numbers"),
        ([["a", "b"], None], "task 'rare' must be None, a dict .* of 2 numbers"),
        ([None, [0.5, 0.5]], "'number' must be None, a sequence of 10 numbers.* bins"),
        ([None, {0: 1.0}], "'number' must be None, a sequence of 10 numbers.* bins"),
    ],
)
def test_targets_that_are_no_distributions_are_refused(target, message):
    with pytest.raises(ValueError, match=message):
        TargetKL(target).for_labels([classes(), numbers()])


def test_a_target_that_leaves_no_label_is_refused():
    spec = TargetKL([{"c": 1.0}])
    with pytest.raises(ValueError, match="'rare' gives none of its training labels"):
        spec.for_labels([classes(n=3)])
    assert spec.set_params(mode="tasks").for_labels([classes(n=3)]).build(1)


@pytest.mark.parametrize(
    "setting",
    [{"mode": "rows"}, {"temperature": 0}, {"inverse": 3}, {"n_bins": 0}],
)
def test_bad_settings_are_refused(setting):
    (name,) = setting
    with pytest.raises(ValueError, match=f"The '{name}' parameter of TargetKL"):
        TargetKL(**setting).validate()


# In the estimators

N = 200
X = np.random.default_rng(1).normal(size=(N, 4))
Y = np.column_stack([X[:, 0] > 1.2, np.searchsorted([-1, 0.2], X[:, 1])]).astype(float)
Y[: N // 4, 1] = np.nan
SETTINGS = {
    "encoder": plain_mlp((16,)),
    "n_estimators": 1,
    "max_iter": 8,
    "learning_rate_init": 0.02,
    "random_state": 0,
}


def fitted(weighting="equal", y=Y, cls=MultiTaskClassifier, **kwargs):
    data = {name: kwargs.pop(name) for name in ("X_val", "y_val") if name in kwargs}
    return cls(weighting=weighting, **SETTINGS | kwargs).fit(X, y, **data)


def outputs(est):
    return est._forward(X).numpy()


@pytest.mark.parametrize("data", [{}, {"X_val": X[::2], "y_val": Y[::2]}])
def test_a_uniform_target_is_balanced_class_weights(data):
    est = fitted("target_kl", **data)
    weights = [
        dict(zip(classes, counts.sum() / (len(counts) * counts), strict=True))
        for classes, counts in (
            np.unique(y[~np.isnan(y)], return_counts=True) for y in Y.T
        )
    ]
    balanced = fitted(class_weight=weights, **data)
    assert_allclose(outputs(est), outputs(balanced), atol=1e-9)
    assert_allclose(est.loss_curve_, balanced.loss_curve_)
    if data:
        assert_allclose(est.validation_scores_, balanced.validation_scores_)


def test_what_is_balanced_already_is_not_balanced_twice():
    est = fitted("target_kl", class_weight="balanced")
    assert_allclose(outputs(est), outputs(fitted(class_weight="balanced")), atol=1e-9)


def test_weights_of_tasks_are_those_that_train():
    est = fitted(TargetKL(mode="tasks", temperature=0.2))
    module = est.weighting_
    rare, three = Y[:, 0].mean(), np.bincount(Y[N // 4 :, 1].astype(int)) / (N * 0.75)
    expected = [-np.log(2 * np.sqrt(rare * (1 - rare))), -np.log(3 * three).mean()]
    assert_allclose(module.divergences, expected, rtol=1e-5)
    shares = np.exp(np.array(expected) / 0.2)
    assert_allclose(est.task_weights_, 2 * shares / shares.sum(), rtol=1e-5)


def test_training_goes_on_with_the_first_look_at_labels():
    est = fitted(TargetKL([[0.8, 0.2], None]), warm_start=True)
    before = est.weighting_.divergences.clone()
    est.fit(X[::2], Y[::2])
    assert est.n_iter_ == 16
    torch.testing.assert_close(est.weighting_.divergences, before)


def test_weights_that_are_infinite_with_those_of_labels_seen_before_are_refused():
    X, y = load_iris(return_X_y=True)
    est = MultiTaskClassifier(weighting="target_kl", max_iter=1, n_estimators=1)
    est.partial_fit(X, y, classes=[0, 1, 2], sample_weight=np.where(y, 1, 1e-307))
    before = est.predict_proba(X)
    with pytest.raises(ValueError, match="'weighting' parameter times sample_weight"):
        est.partial_fit(X, y, sample_weight=np.where(y, 1, 1000))
    assert_array_equal(est.predict_proba(X), before)


def test_tasks_of_both_kinds_have_targets():
    y = np.column_stack([Y[:, 0], X[:, 2] ** 2])
    target = {"task1": [0.6, 0.3, 0.1]}
    est = fitted(TargetKL(target, n_bins=3), y, MultiTaskEstimator)
    assert_allclose(est.weighting_.P, [[0.5, 0.5, 0], target["task1"]])
    counts, _ = np.histogram(y[:, 1], 3)
    assert_allclose(est.weighting_.Q[1], counts / N)
    plain = fitted("equal", y, MultiTaskEstimator)
    assert abs(outputs(est) - outputs(plain)).max() > 1e-2


def test_a_bad_target_is_refused_before_training():
    with pytest.raises(ValueError, match="task 'task1' names the unknown class 7"):
        fitted(TargetKL([None, {7: 1.0}]))


@pytest.mark.parametrize("as_dict", [True, False])
def test_a_task_alone_keeps_its_own_target(as_dict):
    X = np.random.default_rng(0).normal(size=(200, 3))
    Y = np.column_stack([X[:, 0] > 1, X[:, 1] > 0])
    own = {False: 0.3, True: 0.7}
    target = {"task0": own} if as_dict else [own, None]
    est = MultiTaskClassifier(
        weighting=TargetKL(target), max_iter=2, n_estimators=1
    ).fit(X, Y)
    alone = clone(est.task_estimator(0)).fit(X, Y[:, 0])
    found = alone.estimator.weighting
    assert found.target == [own]
    other = clone(est.task_estimator(1)).fit(X, Y[:, 1])
    assert other.estimator.weighting.target is None
