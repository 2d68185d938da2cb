"""Out-of-fold predictions are what copies fitted fold by fold predict."""

import re

import numpy as np
import pandas as pd
import pytest
import sklearn
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.model_selection import cross_val_predict as single_target
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.model_selection import (
    MultiTaskStratifiedGroupKFold,
    MultiTaskStratifiedKFold,
    cross_val_predict,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
CODES = np.column_stack([X[:, 0] > 0, np.digitize(X[:, 1], [-0.4, 0.4])]).astype(int)
GAPS = CODES.astype(float)
GAPS[::5, 0] = GAPS[1::7, 1] = np.nan
FAST = {"n_estimators": 1, "max_iter": 2, "random_state": 0}
FOREST = RandomForestClassifier(5, random_state=0)


def by_hand(est, X, y, cv, method):
    """Yield test rows and what a copy fitted on the others says of them."""
    for train, test in cv.split(X, y):
        yield test, getattr(clone(est).fit(X[train], y[train]), method)(X[test])


@pytest.mark.parametrize(
    ("est", "y"),
    [
        (MultiTaskClassifier(**FAST), GAPS),
        (make_pipeline(StandardScaler(), MultiTaskClassifier(**FAST)), GAPS),
        (FOREST, CODES),
        (MultiOutputClassifier(LogisticRegression()), CODES),
    ],
    ids=["skmtl", "pipeline", "forest", "multioutput"],
)
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_rows_are_predicted_by_the_copy_that_has_not_seen_them(est, y, method):
    found = cross_val_predict(est, X, y, cv=3, method=method)
    for test, expected in by_hand(est, X, y, MultiTaskStratifiedKFold(3), method):
        if method == "predict":
            assert_array_equal(found[test], expected)
        else:
            assert [p.shape for p in found] == [(60, 2), (60, 3)]
            for t in range(2):
                assert_allclose(found[t][test], expected[t])


def test_what_scikit_learn_can_do_is_the_same():
    cv = KFold(4, shuffle=True, random_state=0)
    for method in ("predict", "predict_proba"):
        found = cross_val_predict(FOREST, X, CODES, cv=cv, method=method)
        expected = single_target(FOREST, X, CODES, cv=cv, method=method)
        for mine, theirs in zip(found, expected, strict=True):
            assert_array_equal(mine, theirs)


@pytest.mark.parametrize("y", [CODES[:, 1], CODES[:, 0] > 0, CODES[:, 1].astype(str)])
@pytest.mark.parametrize("est", [FOREST, MultiTaskClassifier(**FAST)])
def test_one_target_gives_one_array(est, y):
    labels = cross_val_predict(est, X, y, cv=3)
    assert labels.shape == (60,)
    assert set(labels) <= set(y)
    proba = cross_val_predict(est, X, y, cv=3, method="predict_proba")
    assert proba.shape == (60, len(set(y)))
    assert_array_equal(np.unique(y)[proba.argmax(axis=1)], labels)


@pytest.mark.parametrize(
    "est",
    [
        MLPClassifier((3,), max_iter=400, tol=1, random_state=0),
        ClassifierChain(LogisticRegression(), random_state=0),
    ],
)
def test_a_column_per_binary_task_stays_a_column(est):
    y = np.column_stack([CODES[:, 0], X[:, 2] > 0]).astype(int)
    cv = MultiTaskStratifiedKFold(3)
    found = cross_val_predict(est, X, y, cv=cv, method="predict_proba")
    for test, expected in by_hand(est, X, y, cv, "predict_proba"):
        assert_allclose(found[test], expected)


def test_numbers_and_tasks_of_both_kinds():
    numbers = np.column_stack([X[:, 0] + 0.5, X[:, 1]])
    est = MultiTaskRegressor(**FAST)
    found = cross_val_predict(est, X, numbers, cv=3)
    for test, expected in by_hand(
        est, X, numbers, MultiTaskStratifiedKFold(3), "predict"
    ):
        assert_allclose(found[test], expected)
    mixed = np.column_stack([GAPS[:, 1], numbers[:, 1]])
    est = MultiTaskEstimator(**FAST)
    assert cross_val_predict(est, X, mixed, cv=3).shape == (60, 2)
    proba, nothing = cross_val_predict(est, X, mixed, cv=3, method="predict_proba")
    assert proba.shape == (60, 3)
    assert nothing is None


class Memory(ClassifierMixin, BaseEstimator):
    """Keeps what it was given."""

    def fit(self, X, y, sample_weight=None):
        seen = np.asarray(y, dtype=object)
        self.classes_ = [np.unique([v for v in c if v == v]) for c in seen.T]
        self.y_, self.sample_weight_ = y, sample_weight
        LOG.append((X, y, sample_weight))
        return self

    def predict_proba(self, X):
        return [np.full((len(X), len(c)), 1 / len(c)) for c in self.classes_]

    def predict(self, X):
        return np.tile([c[0] for c in self.classes_], (len(X), 1))


LOG = []


def logged(*args, **kwargs):
    LOG.clear()
    return cross_val_predict(*args, **kwargs), list(LOG)


def test_missing_labels_reach_fit_as_they_are():
    frame = pd.DataFrame(GAPS, columns=["a", "b"])
    for y in (GAPS, frame):
        _, fits = logged(Memory(), X, y, cv=3, method="predict_proba")
        for (_, seen, _), (train, _) in zip(
            fits, MultiTaskStratifiedKFold(3).split(X, y), strict=True
        ):
            assert type(seen) is type(y)
            assert_array_equal(np.asarray(seen), GAPS[train])


def test_fit_gets_the_weights_of_its_rows():
    w = np.arange(120.0).reshape(60, 2)
    cv = KFold(3)
    _, fits = logged(Memory(), X, GAPS, cv=cv, params={"sample_weight": w})
    for (_, _, weight), (train, _) in zip(fits, cv.split(X), strict=True):
        assert_array_equal(weight, w[train])


def test_metadata_is_routed_where_that_is_enabled():
    groups, w = np.arange(60) // 4, np.arange(60.0)
    with sklearn.config_context(enable_metadata_routing=True):
        est = Memory().set_fit_request(sample_weight=True)
        cv = MultiTaskStratifiedGroupKFold(3)
        params = {"sample_weight": w, "groups": groups}
        _, fits = logged(est, X, GAPS, cv=cv, params=params)
        with pytest.raises(ValueError, match=r"give params=\{'groups': groups\}"):
            cross_val_predict(est, X, GAPS, cv=cv, groups=groups)
        by_number = logged(est, X, GAPS, cv=3, params=params)[1]
    for runs in (fits, by_number):
        for (_, _, weight), (train, _) in zip(
            runs, cv.split(X, GAPS, groups), strict=True
        ):
            assert_array_equal(weight, w[train])


def test_groups_stay_whole_where_cv_is_a_number():
    groups = np.arange(60) // 6
    _, fits = logged(Memory(), X, GAPS, groups=groups, cv=3)
    for (X_train, _, _), (train, _) in zip(
        fits, MultiTaskStratifiedGroupKFold(3).split(X, GAPS, groups), strict=True
    ):
        assert_array_equal(X_train, X[train])


def test_no_number_of_folds_is_five():
    assert len(logged(Memory(), X, GAPS)[1]) == 5


def test_a_class_that_a_fold_has_not_learnt_has_probability_zero():
    y = np.array([["a", "u"], ["a", "v"], ["b", "u"], ["c", "v"]] * 3, dtype=object)
    y[[1, 5]] = [["d", "v"], ["d", "w"]]  # of one class, first in one half only
    halves = KFold(2)
    message = (
        "Some training folds lack classes of the tasks 'task0', 'task1', which then "
        "have probability 0: use fewer folds, or merge rare classes."
    )
    with pytest.warns(RuntimeWarning, match=f"^{re.escape(message)}$") as caught:
        one, two = cross_val_predict(
            Memory(), np.zeros((12, 1)), y, cv=halves, method="predict_proba"
        )
    assert len(caught) == 1
    assert_allclose(one, [[1 / 3, 1 / 3, 1 / 3, 0]] * 6 + [[1 / 4] * 4] * 6)
    assert_allclose(two, [[1 / 2, 1 / 2, 0]] * 6 + [[1 / 3] * 3] * 6)


def test_one_array_is_aligned_too():
    y = np.array([0, 1, 2, 0, 1, 0, 1, 0])
    with pytest.warns(RuntimeWarning, match="lack classes"):
        proba = cross_val_predict(
            DummyClassifier(), np.zeros((8, 1)), y, cv=KFold(2), method="predict_proba"
        )
    assert_allclose(proba, [[1 / 2, 1 / 2, 0]] * 4 + [[1 / 2, 1 / 4, 1 / 4]] * 4)


def test_a_task_of_one_class_in_a_fold_keeps_its_columns():
    y = np.zeros((12, 2), dtype=int)
    y[6:, 0], y[::2, 1] = 1, 1
    with pytest.warns(RuntimeWarning, match="of the tasks 'task0', which"):
        one, two = cross_val_predict(
            FOREST, X[:12], y, cv=KFold(2), method="predict_proba"
        )
    assert_allclose(one, [[0, 1]] * 6 + [[1, 0]] * 6)
    assert two.shape == (12, 2)


def test_order_of_rows_does_not_depend_on_the_splits():
    """Test sets in any order give predictions in that of the rows."""
    splits = [
        (np.arange(30, 60), np.arange(30)[::-1]),
        (np.arange(30), np.arange(30, 60)),
    ]
    found = cross_val_predict(FOREST, X, CODES, cv=splits)
    for train, test in splits:
        expected = clone(FOREST).fit(X[train], CODES[train]).predict(X[test])
        assert_array_equal(found[test], expected)


def test_sparse_predictions_and_inputs():
    class Sparse(Memory):
        def fit(self, X, y):
            return super().fit(X, y)

        def predict(self, X):
            return csr_matrix(X[:, :2].toarray() > 0)

    found = cross_val_predict(Sparse(), csr_matrix(X), GAPS, cv=3)
    assert_array_equal(found.toarray(), X[:, :2] > 0)


def test_workers_give_the_same():
    alone = cross_val_predict(FOREST, X, CODES, cv=3, method="predict_proba")
    with parallel_config("threading"):
        shared = cross_val_predict(
            FOREST, X, CODES, cv=3, method="predict_proba", n_jobs=2
        )
    for one, other in zip(alone, shared, strict=True):
        assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cv": ShuffleSplit(2)}, "only works for partitions: .* in one test set"),
        ({"cv": [(np.arange(30), np.arange(30, 60))]}, "only works for partitions"),
        ({"method": "transform"}, "The 'method' parameter .* Got 'transform'"),
        ({"n_jobs": "all"}, "The 'n_jobs' parameter"),
        ({"cv": 61}, "n_splits=61 greater than the number of samples"),
    ],
)
def test_bad_input_is_told_of_before_anything_is_fitted(settings, message):
    LOG.clear()
    with pytest.raises(ValueError, match=message):
        cross_val_predict(Memory(), X, GAPS, **settings)
    assert not LOG


def test_probabilities_need_an_estimator_that_has_them():
    message = "Got 'predict_proba', which MultiTaskRegressor has not."
    with pytest.raises(ValueError, match=message):
        cross_val_predict(
            MultiTaskRegressor(n_estimators=1), X, GAPS, method="predict_proba"
        )
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        cross_val_predict(Memory(), X, GAPS[:-1])
