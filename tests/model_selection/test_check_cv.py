"""A number of folds becomes a splitter that knows the estimator's labels."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.model_selection import (
    MultiTaskStratifiedGroupKFold,
    MultiTaskStratifiedKFold,
    cross_val_predict,
)
from skmtl.model_selection._check_cv import check_multitask_cv

KINDS = {"a": "regression"}


@pytest.mark.parametrize(
    ("estimator", "missing_label", "task_types"),
    [
        (MultiTaskClassifier(missing_label=-1, n_estimators=1), -1, "classification"),
        (MultiTaskEstimator(task_types=KINDS, n_estimators=1), np.nan, KINDS),
        (make_pipeline(StandardScaler(), Ridge()), np.nan, "regression"),
        (LogisticRegression(), np.nan, "classification"),
        (
            GridSearchCV(MultiTaskClassifier(missing_label=-1, n_estimators=1), {}),
            -1,
            "classification",
        ),
    ],
)
@pytest.mark.parametrize("grouped", [False, True])
def test_labels_are_read_as_the_estimator_reads_them(
    estimator, missing_label, task_types, grouped
):
    found = check_multitask_cv(3, estimator, np.random.RandomState(0), grouped=grouped)
    expected = MultiTaskStratifiedGroupKFold if grouped else MultiTaskStratifiedKFold
    assert type(found) is expected
    assert found.get_n_splits() == 3
    assert found.shuffle
    assert isinstance(found.random_state, int)
    np.testing.assert_equal(found.missing_label, missing_label)
    assert found.task_types == task_types


def test_folds_are_in_order_without_a_random_state():
    cv = check_multitask_cv(3, MultiTaskRegressor(n_estimators=1), grouped=False)
    assert not cv.shuffle
    assert cv.random_state is None
    assert cv.task_types == "regression"


def test_whole_numbers_of_regression_are_no_classes():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(40, 3)), rng.integers(12, size=(40, 2)).astype(float)
    est = MultiTaskRegressor(n_estimators=1, max_iter=1, random_state=0)
    cv = MultiTaskStratifiedKFold(4, task_types="regression")
    predicted = cross_val_predict(est, X, Y, cv=4)  # no warning of rare classes
    np.testing.assert_array_equal(predicted, cross_val_predict(est, X, Y, cv=cv))


def test_labels_that_an_estimator_takes_for_missing_are_no_class():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(40, 3)), rng.integers(3, size=(40, 2))
    Y[:4, 0] = -9
    est = MultiTaskClassifier(
        n_estimators=1, max_iter=1, random_state=0, missing_label=-9
    )
    cv = MultiTaskStratifiedKFold(5, missing_label=-9)
    predicted = cross_val_predict(est, X, Y, cv=5)  # 4 are fewer than the folds
    np.testing.assert_array_equal(predicted, cross_val_predict(est, X, Y, cv=cv))


def test_five_folds_are_the_default_and_a_splitter_stays_what_it_is():
    rng = np.random.RandomState(0)
    assert check_multitask_cv(None, Ridge(), rng, grouped=False).get_n_splits() == 5
    folds = KFold(4)
    assert check_multitask_cv(folds, Ridge(), rng, grouped=False) is folds
