"""Reliability is drawn from the labels there, task by task."""

import re
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LinearRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import LinearSVC

from skmtl import MultiTaskEstimator
from skmtl.metrics import ReliabilityDisplay

RNG = np.random.default_rng(0)
X = RNG.normal(size=(150, 4))
Y = np.column_stack([X[:, 0] > 0, np.digitize(X[:, 1], [-1, 0.5])]).astype(float)
Y[RNG.random(Y.shape) < 0.2] = np.nan
P = RNG.random((150, 2))


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def says(start):
    return pytest.raises(ValueError, match=re.escape(start))


def test_curves_are_those_of_scikit_learn_over_the_labels_there():
    display = ReliabilityDisplay.from_predictions(Y > 0, P)
    for t in range(2):
        true, pred = calibration_curve(Y[:, t] > 0, P[:, t], n_bins=5)
        np.testing.assert_array_equal(display.prob_true[t], true)
        np.testing.assert_array_equal(display.lines_[t].get_xdata(), pred)
        np.testing.assert_array_equal(display.lines_[t].get_ydata(), true)
    known = ~np.isnan(Y[:, 0])
    display = ReliabilityDisplay.from_predictions(
        Y[:, 0], P[:, 0], n_bins=3, strategy="quantile"
    )
    true, _ = calibration_curve(Y[known, 0], P[known, 0], n_bins=3, strategy="quantile")
    np.testing.assert_array_equal(display.prob_true[0], true)
    np.testing.assert_array_equal(display.y_prob[0], P[known, 0])


def test_of_several_classes_the_predicted_one_is_drawn():
    full = np.nan_to_num(Y)
    est = MultiOutputClassifier(GaussianNB()).fit(X, full)
    display = ReliabilityDisplay.from_estimator(est, X, Y)
    proba, known = est.predict_proba(X)[1], ~np.isnan(Y[:, 1])
    right = (proba.argmax(axis=1) == Y[:, 1])[known]
    true, pred = calibration_curve(right, proba.max(axis=1)[known], n_bins=5)
    np.testing.assert_array_equal(display.prob_true[1], true)
    np.testing.assert_array_equal(display.prob_pred[1], pred)
    given = ReliabilityDisplay.from_predictions(Y, est.predict_proba(X))
    np.testing.assert_array_equal(given.prob_true[1], true)


def test_classes_may_be_in_any_order():
    words = np.array(["no", "yes"])[(Y[:, 0] > 0).astype(int)]
    pairs = np.column_stack([P[:, 0], 1 - P[:, 0]])
    turned = ReliabilityDisplay.from_predictions(words, pairs, classes=["yes", "no"])
    plain = ReliabilityDisplay.from_predictions(words, P[:, 0])
    np.testing.assert_array_equal(turned.prob_true[0], plain.prob_true[0])


def test_tasks_of_regression_are_left_out():
    table = pd.DataFrame({"a": Y[:, 0], "b": X[:, 2], "c": Y[:, 1]})
    est = MultiTaskEstimator(n_estimators=1, max_iter=2, random_state=0).fit(X, table)
    display = ReliabilityDisplay.from_estimator(est, X, table)
    assert display.task_names == ["a", "c"]
    display.plot(tasks=["c"])
    assert [ax.get_title("left") for ax in display.axes_] == ["c"]
    np.testing.assert_array_equal(display.lines_[0].get_xdata(), display.prob_pred[1])


@pytest.mark.parametrize("n_tasks", [1, 3, 10])
def test_a_picture_per_task(n_tasks):
    proba = RNG.random((40, n_tasks))
    labels = (RNG.random((40, n_tasks)) < proba).astype(int)
    display = ReliabilityDisplay.from_predictions(labels, proba)
    assert len(display.axes_) == len(display.lines_) == n_tasks
    display.figure_.canvas.draw()
    boxes = [ax.get_window_extent() for ax in display.axes_]
    width, height = display.figure_.canvas.get_width_height()
    assert all(b.x0 >= 0 and b.x1 <= width and b.y1 <= height for b in boxes)
    assert all(abs(b.width - b.height) < 1 for b in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    shares = display.axes_[-1].patches[0].get_data().values
    assert shares.sum() == pytest.approx(1)


def test_axes_may_be_given():
    _, axes = plt.subplots(1, 2)
    display = ReliabilityDisplay.from_predictions(Y[:, 0], P[:, 0], ax=axes[1])
    assert display.ax_ is axes[1]
    assert display.figure_ is axes[0].figure
    assert not axes[1].axison


def test_a_task_without_labels_has_no_curve():
    table = np.column_stack([Y[:, 0], np.full(150, np.nan)])
    display = ReliabilityDisplay.from_predictions(table, P)
    assert [len(line.get_xdata()) > 0 for line in display.lines_] == [True, False]


def test_what_has_no_probabilities_is_refused():
    est = MultiOutputClassifier(LinearSVC()).fit(X, np.nan_to_num(Y))
    with says(
        "ReliabilityDisplay.from_estimator needs an estimator with predict_proba"
    ):
        ReliabilityDisplay.from_estimator(est, X, Y)
    with says(
        "ReliabilityDisplay.from_estimator needs an estimator with predict_proba"
    ):
        ReliabilityDisplay.from_estimator(LinearRegression().fit(X, X), X, X)
    with says("ReliabilityDisplay needs probabilities of at least one classification"):
        ReliabilityDisplay.from_predictions(Y, [None, None])
    with says("The 'tasks' parameter of ReliabilityDisplay.plot names the unknown"):
        ReliabilityDisplay.from_predictions(Y > 0, P, tasks=["a"])


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"from_predictions needs matplotlib: .*plot"):
        ReliabilityDisplay.from_predictions(Y > 0, P)
