"""Masked entries are missing, and dates are no numbers, in arrays as in frames."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.encoder import MLP
from skmtl.inspection import group_tasks
from skmtl.metrics import delta_m, task_scores
from skmtl.relation import GraphLaplacian

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
MASK = RNG.uniform(size=X.shape) < 0.2
Y = np.column_stack([X[:, 0] > 0, X[:, 1] > 0]).astype(int)
SETTINGS = {"encoder": MLP((8,)), "max_iter": 2, "n_estimators": 1, "random_state": 0}
WHOLE = np.round(3 * X)
#: Arrays with masked entries, and the same with NaN.
MASKED = {
    "floats": X,
    "float32": X.astype(np.float32),
    "integers": WHOLE.astype(np.int64),
    "small integers": WHOLE.astype(np.int8),
    "truth": WHOLE > 0,
    "objects": WHOLE.astype(np.int64).astype(object),
}


@pytest.mark.parametrize("case", MASKED)
def test_masked_entries_of_x_are_missing(case):
    values = MASKED[case]
    filled = np.where(MASK, 99, values).astype(values.dtype)  # what must not be learnt
    masked = np.ma.MaskedArray(filled, MASK)
    with_gaps = values.astype(float)
    with_gaps[MASK] = np.nan
    expected = MultiTaskClassifier(**SETTINGS).fit(with_gaps, Y)
    est = MultiTaskClassifier(**SETTINGS).fit(masked, Y, X_val=masked, y_val=Y)
    other = MultiTaskClassifier(**SETTINGS)
    other.fit(with_gaps, Y, X_val=with_gaps, y_val=Y)
    assert_array_equal(est.predict_proba(masked), other.predict_proba(with_gaps))
    assert_array_equal(
        expected.predict_proba(masked), expected.predict_proba(with_gaps)
    )
    assert est.score(masked, Y) == other.score(with_gaps, Y)


def test_a_mask_that_covers_nothing_changes_nothing():
    whole = np.ma.MaskedArray(X)
    strict = SETTINGS | {"encoder": MLP((8,), missing_inputs=None)}
    est = MultiTaskClassifier(**strict).fit(whole, Y)
    assert_array_equal(est.predict(whole), est.predict(X))
    with pytest.raises(ValueError, match="Input X contains NaN"):
        est.predict(np.ma.MaskedArray(X, MASK))
    with pytest.raises(ValueError, match="Input X contains NaN"):
        MultiTaskClassifier(**strict).fit(np.ma.MaskedArray(X, MASK), Y)


def test_masked_weights_are_refused():
    weight = np.ma.MaskedArray(np.ones(40), [True] + [False] * 39)
    with pytest.raises(ValueError, match="sample_weight must be finite"):
        MultiTaskClassifier(**SETTINGS).fit(X, Y, weight)
    with pytest.raises(ValueError, match="sample_weight must be finite"):
        task_scores(Y, Y, sample_weight=weight)
    weights = np.ma.MaskedArray([1.0, 2.0], [True, False])
    with pytest.raises(ValueError, match="'task_weight' parameter must be finite"):
        MultiTaskClassifier(**SETTINGS, task_weight=weights).fit(X, Y)


def test_masked_values_between_tasks_are_none():
    A = np.ma.MaskedArray([[0.0, 9.0], [9.0, 0.0]], [[False, True], [False, False]])
    with pytest.raises(ValueError, match="must be finite"):
        MultiTaskClassifier(**SETTINGS, relation=GraphLaplacian(adjacency=A)).fit(X, Y)
    assert delta_m(np.ma.MaskedArray([0.75, 9], [False, True]), [0.5, 1]) == 0.5
    masked = np.ma.MaskedArray(np.ones((2, 2)), np.eye(2, dtype=bool))
    assert group_tasks(masked, n_groups=1) == [[0, 1]]


def test_masked_probabilities_are_missing():
    proba = np.ma.MaskedArray(np.full((40, 2), 0.5), np.arange(80).reshape(40, 2) == 3)
    with pytest.raises(ValueError, match="NaN"):
        task_scores(Y[:, :1], proba, "neg_log_loss")


DATES = np.datetime64("2026-01-01") + np.arange(120).reshape(40, 3)
TIMES = DATES - DATES[0, 0]
GAPS = np.where(MASK, np.datetime64("NaT"), DATES)
NO_NUMBERS = {
    "dates": (DATES, "datetime64"),
    "dates and NaT": (GAPS, "datetime64"),
    "durations": (TIMES, "timedelta64"),
    "nanoseconds": (DATES.astype("M8[ns]"), "datetime64"),
    "masked": (np.ma.MaskedArray(DATES, MASK), "datetime64"),
    "objects": (DATES.astype(object), "date"),
    "timestamps": (pd.DataFrame(DATES).astype(object).to_numpy(), "Timestamp"),
    "lists": (DATES.tolist(), "date"),
    "lists of datetime64": ([list(row) for row in DATES], "datetime64"),
    "beside numbers": (
        np.array([[1, datetime.timedelta(1), 2]] * 40, dtype=object),
        "timedelta",
    ),
    "a frame": (pd.DataFrame(GAPS, columns=list("abc")), "datetime64"),
    "durations of a frame": (pd.DataFrame(TIMES, columns=list("abc")), "timedelta64"),
    "polars": (pl.DataFrame(dict(zip("abc", DATES.T, strict=True))), "datetime64"),
}


@pytest.mark.parametrize("case", NO_NUMBERS)
@pytest.mark.filterwarnings("ignore:X has feature names")
def test_dates_are_refused_as_inputs(case):
    dates, kind = NO_NUMBERS[case]
    message = rf"X holds values of type {kind}, which are .*such as days since a date"
    with pytest.raises(ValueError, match=message):
        MultiTaskClassifier(**SETTINGS).fit(dates, Y)
    est = MultiTaskClassifier(**SETTINGS).fit(X, Y)
    with pytest.raises(ValueError, match=message):
        est.predict(dates)
    with config_context(assume_finite=True), pytest.raises(ValueError, match=message):
        est.score(dates, Y)


@pytest.mark.parametrize("y", [DATES[:, 0], TIMES[:, 0].astype("m8[us]")])
def test_dates_are_no_targets_of_regression(y):
    for labels in (y, pd.Series(y), pl.Series("task0", y)):
        with pytest.raises(ValueError, match=r"'task0' is a regression task.*numbers"):
            MultiTaskRegressor(**SETTINGS).fit(X, labels)


def test_dates_may_be_classes():
    est = MultiTaskClassifier(**SETTINGS).fit(X, DATES[np.arange(40) % 3, 0])
    assert_array_equal(est.classes_, DATES[:3, 0])
