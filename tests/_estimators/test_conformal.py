"""Intervals and sets hold the share of labels that they are asked to."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.naive_bayes import GaussianNB

from skmtl._data.labels import read_labels
from skmtl._data.targets import Targets
from skmtl._estimators.conformal import CrossConformal, check_coverage


def regression(y):
    """Return the targets and labels of regression tasks."""
    columns = read_labels(np.asarray(y, dtype=float))
    targets = Targets(columns, ["regression"] * len(columns.columns))
    return targets, targets.encode(columns)


def standardised(targets, values):
    """Return the packed outputs that predict values."""
    values = np.asarray(values, dtype=float).reshape(-1, targets.n_tasks)
    return torch.from_numpy((values - targets.mean) / targets.scale)


def classification(y):
    """Return the targets and labels of classification tasks."""
    columns = read_labels(y)
    targets = Targets(columns, ["classification"] * len(columns.columns))
    return targets, targets.encode(columns)


def off_by(errors, weight=None):
    """Return what is fitted to predictions of zero that err by errors."""
    targets, encoded = regression(errors)
    outputs = standardised(targets, np.zeros(len(errors)))
    weight = None if weight is None else np.asarray(weight, dtype=float)[:, None]
    return CrossConformal.fit(targets, outputs, encoded, weight)


def test_the_quantile_by_hand():
    """Of nine errors the ninth covers nine tenths of ten."""
    conformal = off_by([3, -1, 2, -4, 5, 6, -8, 7, 9])
    for coverage, error in [(0.05, 1), (0.1, 1), (0.11, 2), (0.5, 5), (0.9, 9)]:
        assert conformal.quantile(0, coverage) == pytest.approx(error)
    assert conformal.quantile(0, 0.91) == np.inf


@pytest.mark.parametrize("n", [19, 99, 100, 999])
@pytest.mark.parametrize("percent", [7, 29, 57, 80, 90, 95])
def test_rounding_does_not_move_the_quantile(n, percent):
    expected = -(-(n + 1) * percent // 100)
    quantile = off_by(np.arange(1.0, n + 1)).quantile(0, percent / 100)
    assert quantile == pytest.approx(expected if expected <= n else np.inf)


def test_intervals_are_in_the_units_of_the_targets():
    rng = np.random.RandomState(0)
    y = np.column_stack([1000 + 50 * rng.randn(99), rng.rand(99)])
    errors = np.column_stack([np.arange(1, 100), np.arange(1, 100) / 1000])
    targets, labels = regression(y)
    conformal = CrossConformal.fit(
        targets, standardised(targets, y - errors), labels, None
    )
    new = np.array([[1000.0, 0.5], [900.0, 0.1]])
    first, second = conformal.predict_regions(standardised(targets, new), 0.9)
    assert_allclose(first, [[910, 1090], [810, 990]])
    assert_allclose(second, [[0.41, 0.59], [0.01, 0.19]])


def test_too_few_labels_give_intervals_without_end():
    y = np.column_stack([np.arange(5.0), [0, 1, np.nan, np.nan, np.nan]])
    targets, labels = regression(y)
    outputs = standardised(targets, np.zeros((5, 2)))
    outputs[:2] = torch.nan
    conformal = CrossConformal.fit(targets, outputs, labels, None)
    assert [len(scores) for scores in conformal.scores] == [3, 0]
    some, none = conformal.predict_regions(outputs[2:], 0.75)
    assert_allclose(some, [[-4, 4]] * 3, atol=1e-12)
    assert_array_equal(none, [[-np.inf, np.inf]] * 3)
    some, _ = conformal.predict_regions(outputs[2:], 0.76)
    assert_array_equal(some, [[-np.inf, np.inf]] * 3)


def logits(proba):
    """Return the packed outputs of one multiclass task."""
    return torch.log(torch.as_tensor(proba, dtype=torch.float64))


def test_sets_by_hand():
    y = np.array(["ant", "bee", "cat"] * 3)
    # Probabilities of the true class: 0.9, 0.8, ..., 0.1.
    truth = np.arange(9, 0, -1) / 10
    proba = np.repeat((1 - truth[:, None]) / 2, 3, axis=1)
    proba[np.arange(9), np.arange(9) % 3] = truth
    targets, labels = classification(y)
    conformal = CrossConformal.fit(targets, logits(proba), labels, None)
    new = logits([[0.7, 0.25, 0.05], [0.34, 0.33, 0.33], [0.45, 0.45, 0.1]])
    (half,) = conformal.predict_regions(new, 0.45)  # nonconformity up to 0.5
    assert_array_equal(half, [[1, 0, 0], [1, 0, 0], [1, 1, 0]])
    (most,) = conformal.predict_regions(new, 0.75)  # nonconformity up to 0.8
    assert_array_equal(most, [[1, 1, 0], [1, 1, 1], [1, 1, 0]])
    (every,) = conformal.predict_regions(new, 0.95)
    assert every.all()
    assert half.dtype == bool


def test_binary_sets_are_in_the_order_of_the_classes():
    targets, labels = classification(np.array(["ham", "spam"] * 10))
    p = torch.tensor([0.2, 0.8] * 10, dtype=torch.float64)
    conformal = CrossConformal.fit(targets, torch.logit(p)[:, None], labels, None)
    new = torch.logit(torch.tensor([[0.1], [0.9], [0.6]], dtype=torch.float64))
    (sets,) = conformal.predict_regions(new, 0.9)
    assert_array_equal(sets, [[True, False], [False, True], [False, True]])


def test_a_task_of_one_class_and_one_without_prediction_keep_all_classes():
    y = np.column_stack([np.full(30, 7), [0, 1] + [np.nan] * 28, np.arange(30) % 2])
    targets, labels = classification(y)
    outputs = torch.zeros(30, 2, dtype=torch.float64)
    outputs[:2] = torch.nan
    outputs[2:, 1] = torch.tensor([-3.0, 3.0] * 14)
    conformal = CrossConformal.fit(targets, outputs, labels, None)
    one, none, some = conformal.predict_regions(outputs[2:], 0.9)
    assert_array_equal(one, np.ones((28, 1), dtype=bool))
    assert_array_equal(none, np.ones((28, 2), dtype=bool))
    assert_array_equal(some.sum(axis=1), np.ones(28))


def test_tasks_of_both_kinds_have_regions_of_their_own():
    """Missing labels of one task change nothing for the other."""
    size = np.arange(1.0, 41)
    color = np.array(["red", "green"] * 20, dtype=object)
    columns = read_labels(np.column_stack([size.astype(object), color]))
    targets = Targets(columns, ["regression", "classification"])
    labels = targets.encode(columns)
    start = {block.tasks[0]: block.start for block in targets.blocks}
    outputs = torch.zeros(40, 2)
    outputs[:, start[0]] = torch.from_numpy(
        (size - 2 - targets.mean[0]) / targets.scale[0]
    )
    outputs[:, start[1]] = torch.tensor([1.0, -1.0] * 20)
    for missing in ([], np.arange(10)):
        labels[1] = labels[1].copy()
        labels[1][missing] = -1
        conformal = CrossConformal.fit(targets, outputs, labels, None)
        interval, classes = conformal.predict_regions(outputs[20:], 0.9)
        assert_allclose(interval, size[20:, None] - 2 + [-2, 2], rtol=1e-5)
        assert_array_equal(classes, np.eye(2)[[1, 0] * 10])


def test_only_tasks_of_one_class():
    targets, labels = classification(np.zeros((5, 2)))
    outputs = torch.zeros(5, 0)
    conformal = CrossConformal.fit(targets, outputs, labels, None)
    for classes in conformal.predict_regions(outputs, 0.5):
        assert_array_equal(classes, np.ones((5, 1), dtype=bool))


def test_equal_weights_and_their_scale_do_not_matter():
    errors = np.random.RandomState(0).randn(40)
    weight = np.random.RandomState(1).uniform(0.5, 2, 40)
    for coverage in (0.5, 0.8, 0.95):
        plain = off_by(errors).quantile(0, coverage)
        assert off_by(errors, np.full(40, 0.01)).quantile(0, coverage) == plain
        weighted = off_by(errors, weight).quantile(0, coverage)
        assert off_by(errors, 100 * weight).quantile(0, coverage) == weighted


def test_weights_count_as_repetition_but_not_as_more_rows():
    """Levels differ by what the new row adds: a row of Kish's effective number."""
    rng = np.random.RandomState(0)
    errors, times = abs(rng.randn(60)), rng.randint(0, 4, 60)
    weighted = off_by(errors, times)
    repeated = off_by(np.repeat(errors, times))
    assert_allclose(np.unique(repeated.scores[0]), weighted.scores[0])
    n, effective = times.sum(), times.sum() ** 2 / (times**2).sum()
    last = np.cumsum(times[times > 0][np.argsort(errors[times > 0])]) - 1
    assert_allclose(
        weighted.levels[0] * (1 + 1 / effective),
        repeated.levels[0][last] * (1 + 1 / n),
    )


def test_a_weight_of_zero_removes_a_label():
    errors = np.arange(1.0, 31)
    weight = (np.arange(30) % 3 > 0).astype(float)
    targets, labels = regression(errors)
    outputs = standardised(targets, np.zeros(30))
    some = CrossConformal.fit(targets, outputs, labels, weight[:, None])
    rows = np.flatnonzero(weight)
    alone = CrossConformal.fit(targets, outputs[rows], [labels[0][rows]], None)
    assert_array_equal(some.scores[0], alone.scores[0])
    assert_allclose(some.levels[0], alone.levels[0])


def test_labels_of_exchangeable_rows_are_held_in_the_stated_share():
    """Over many calibrations of 29 rows, the mean is between c and c + 1/30."""
    rng = np.random.RandomState(0)
    errors = rng.standard_t(3, size=(2000, 30))
    fitted = [off_by(row[:-1]) for row in errors]
    for c in (0.5, 0.8, 0.9):
        quantiles = [conformal.quantile(0, c) for conformal in fitted]
        held = np.mean(abs(errors[:, -1]) <= quantiles)
        assert c - 0.02 <= held <= c + 1 / 30 + 0.02


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_numbers_of_real_rows_are_held(coverage):
    X, y = load_diabetes(return_X_y=True)
    held = []
    for seed in range(10):
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, test_size=0.5, random_state=seed
        )
        model = LinearRegression().fit(X_train, y_train)
        targets, labels = regression(y_train)
        out_of_fold = cross_val_predict(model, X_train, y_train, cv=8)
        outputs = standardised(targets, out_of_fold)
        conformal = CrossConformal.fit(targets, outputs, labels, None)
        new = standardised(targets, model.predict(X_test))
        low, high = conformal.predict_regions(new, coverage)[0].T
        held.append(np.mean((low <= y_test) & (y_test <= high)))
    assert np.mean(held) == pytest.approx(coverage, abs=0.03)


@pytest.mark.parametrize("coverage", [0.9, 0.95])
def test_classes_of_real_rows_are_held_by_small_sets(coverage):
    X, y = load_digits(return_X_y=True)
    X = X[:, 24:40]  # two rows of the images: not enough to be sure
    held, size = [], []
    for seed in range(5):
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, test_size=0.5, random_state=seed
        )
        model = GaussianNB(var_smoothing=0.1).fit(X_train, y_train)
        targets, labels = classification(y_train)
        out_of_fold = cross_val_predict(
            model, X_train, y_train, cv=8, method="predict_proba"
        )
        conformal = CrossConformal.fit(targets, logits(out_of_fold), labels, None)
        (sets,) = conformal.predict_regions(
            logits(model.predict_proba(X_test)), coverage
        )
        held.append(sets[np.arange(len(y_test)), y_test].mean())
        size.append(sets.sum(axis=1).mean())
    assert np.mean(held) == pytest.approx(coverage, abs=0.02)
    assert 1 < np.mean(size) < 6


@pytest.mark.parametrize("coverage", [0, 1, 0.0, 1.0, -0.1, 95, np.nan, "0.9", None])
def test_a_coverage_outside_0_and_1_is_refused(coverage):
    with pytest.raises(ValueError, match=r"strictly between 0 and 1.* Got ") as error:
        check_coverage(coverage)
    assert repr(coverage) in str(error.value)
    with pytest.raises(ValueError, match="'coverage'"):
        off_by(np.arange(5.0)).predict_regions(torch.zeros(1, 1), coverage)


@pytest.mark.parametrize("coverage", [0.5, np.float32(0.9), 1 - 1e-9])
def test_a_coverage_inside_is_taken(coverage):
    check_coverage(coverage)
