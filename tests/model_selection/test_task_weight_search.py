"""Weights are drawn from the simplex, halved, and found where they are known."""

import pickle
import re

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, RegressorMixin, clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.metrics import make_multitask_scorer
from skmtl.model_selection import TaskWeightSearchCV
from tests._networks import SAME_STEPS, plain_mlp, table

SETTINGS = {**SAME_STEPS, "encoder": plain_mlp((4,)), "max_iter": 4, "n_estimators": 1}
BEST = np.array([0.5, 2.0, 0.5])


def regressor(**settings):
    return MultiTaskRegressor(**{**SETTINGS, **settings})


def searched(est, X, Y, **settings):
    search = TaskWeightSearchCV(
        est, **{"n_candidates": 4, "factor": 2, "cv": 2, "random_state": 0, **settings}
    )
    return search.fit(X, Y)


class Known(RegressorMixin, BaseEstimator):
    """Scores the better, the nearer the weights are to known ones."""

    def __init__(self, task_weight=None, max_iter=27, random_state=None):
        self.task_weight = task_weight
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None):
        self.weighted_ = sample_weight is not None
        self.fitted_ = True
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return np.zeros((len(X), 3))

    def score(self, X, y, sample_weight=None):
        weighted = 0 if sample_weight is None else 100
        return weighted - np.abs(np.array(self.task_weight) - BEST).sum()


class Whole(Known):
    """Scores one where it has seen whole groups."""

    def __init__(self, groups=None, task_weight=None, max_iter=27):
        self.groups = groups
        self.task_weight = task_weight
        self.max_iter = max_iter

    def fit(self, X, y):
        super().fit(X, y)
        counts = np.bincount(self.groups[X[:, 0].astype(int)], minlength=12)
        self.whole_ = bool(np.isin(counts, [0, 5]).all())
        return self

    def score(self, X, y):
        return float(self.whole_)


def test_the_nearest_weights_to_known_ones_are_found():
    X, Z = table()
    search = TaskWeightSearchCV(Known(), cv=2, random_state=0).fit(X, Z)
    assert search.n_candidates_ == [27, 9, 3, 1]
    assert search.n_resources_ == [1, 3, 9, 27]
    tried = np.array([p["task_weight"] for p in search.cv_results_["params"][:27]])
    assert tried[0].tolist() == [1, 1, 1]
    assert (tried > 0).all()
    np.testing.assert_allclose(tried.sum(axis=1), 3)
    assert len(np.unique(tried, axis=0)) == 27
    distance = np.abs(tried - BEST).sum(axis=1)
    np.testing.assert_allclose(search.best_weights_, tried[distance.argmin()])
    assert search.best_score_ == pytest.approx(-distance.min())
    expected = {"task_weight": search.best_weights_.tolist(), "max_iter": 27}
    assert search.best_params_ == expected
    assert search.best_estimator_.max_iter == 27
    assert search.score(X, Z) == pytest.approx(-distance.min())


def test_the_best_estimator_trains_for_all_epochs():
    X, Z = table()
    search = searched(Known(max_iter=15), X, Z, factor=3, n_candidates=9)
    assert search.n_resources_ == [1, 3, 9]
    assert search.best_params_["max_iter"] == 9
    assert search.best_estimator_.max_iter == 15


def test_weights_are_drawn_evenly_from_the_simplex():
    search = TaskWeightSearchCV(Known(), n_candidates=4001)
    drawn = np.array(search._weights(3, np.random.RandomState(0))[1:]) / 3
    # Of the flat Dirichlet distribution: mean 1/3, variance 2/36.
    np.testing.assert_allclose(drawn.mean(axis=0), 1 / 3, atol=0.01)
    np.testing.assert_allclose(drawn.var(axis=0), 2 / 36, atol=0.003)


def test_the_best_estimator_is_the_one_that_its_weights_train():
    X, Z = table()
    search = searched(regressor(), X, Z)
    assert search.n_candidates_ == [4, 2, 1]
    assert search.n_resources_ == [1, 2, 4]
    expected = regressor(task_weight=search.best_weights_).fit(X, Z)
    np.testing.assert_array_equal(search.predict(X), expected.predict(X))
    scores = search.cv_results_["mean_test_score"]
    assert search.best_score_ == scores[-1] == scores[search.best_index_]
    assert search.n_features_in_ == 4
    check_is_fitted(search)


@pytest.mark.parametrize("resource", ["max_iter", "n_samples"])
def test_classes_with_missing_labels(resource):
    X, Z = table(n=120)
    Y = (Z > 0).astype(float)
    Y[::3, 1] = np.nan
    est = make_pipeline(StandardScaler(), MultiTaskClassifier(**SETTINGS))
    search = searched(
        est, X, Y, scoring="roc_auc", resource=resource, error_score="raise"
    )
    name = "multitaskclassifier__task_weight"
    assert search.best_params_[name] == search.best_weights_.tolist()
    assert search.best_weights_.sum() == pytest.approx(3)
    expected = [4, 2, 1] if resource == "max_iter" else [4, 2]
    assert search.n_candidates_ == expected
    assert search.n_resources_ == ([1, 2, 4] if resource == "max_iter" else [50, 100])
    assert len(search.classes_) == 3
    assert [p.shape for p in search.predict_proba(X)] == [(120, 2)] * 3
    score = make_multitask_scorer("roc_auc")
    assert search.score(X, Y) == pytest.approx(score(search.best_estimator_, X, Y))
    assert score(search, X, Y) == pytest.approx(search.score(X, Y))
    assert is_classifier(search)


def test_answers_are_the_same_again_and_after_pickling():
    X, Z = table()
    first = searched(regressor(), X, Z)
    again = searched(clone(first).estimator, X, Z)
    np.testing.assert_array_equal(first.best_weights_, again.best_weights_)
    np.testing.assert_array_equal(
        first.cv_results_["mean_test_score"], again.cv_results_["mean_test_score"]
    )
    other = searched(regressor(), X, Z, random_state=1)
    assert first.cv_results_["params"][1] != other.cv_results_["params"][1]
    loaded = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(loaded.predict(X), first.predict(X))
    assert clone(first).get_params().keys() == first.get_params().keys()
    assert not hasattr(clone(first), "best_weights_")


def test_few_rows_make_one_round_and_rows_are_drawn_the_same_again():
    X, Z = table(n=40)
    settings = {"resource": "n_samples", "n_candidates": 4}
    search = searched(Known(), X, Z, **settings)
    assert (search.n_candidates_, search.n_resources_) == ([4], [40])
    X, Z = table(n=200)
    first, again = (searched(regressor(), X, Z, **settings) for _ in range(2))
    assert first.n_resources_ == [50, 100, 200]
    np.testing.assert_array_equal(
        first.cv_results_["mean_test_score"], again.cv_results_["mean_test_score"]
    )


def test_without_refit_there_are_weights_but_no_predictions():
    X, Z = table()
    search = searched(Known(), X, Z, refit=False, cv=KFold(2))
    assert search.best_weights_.shape == (3,)
    assert not hasattr(search, "best_estimator_")
    assert not hasattr(search, "predict")
    with pytest.raises(NotFittedError):
        TaskWeightSearchCV(Known()).predict(X)
    assert not hasattr(TaskWeightSearchCV(Known()), "predict_proba")


def test_weights_of_rows_reach_fits_and_scores():
    X, Z = table()
    search = TaskWeightSearchCV(Known(), n_candidates=2, cv=2, random_state=0)
    search.fit(X, Z, sample_weight=np.ones(60))
    assert search.best_estimator_.weighted_
    with sklearn.config_context(enable_metadata_routing=True):
        est = Known().set_fit_request(sample_weight=True)
        est.set_score_request(sample_weight=True)
        search = TaskWeightSearchCV(est, n_candidates=2, cv=2, random_state=0)
        search.fit(X, Z, sample_weight=np.ones(60))
        assert search.best_estimator_.weighted_
        assert search.best_score_ > 50
        assert search.score(X, Z, sample_weight=np.ones(60)) > 50


def test_folds_keep_groups_together():
    X, Z = table()
    groups = np.arange(60) // 5
    search = TaskWeightSearchCV(Whole(groups), n_candidates=2, cv=3, random_state=0)
    search.fit(np.column_stack([np.arange(60), X]), Z, groups=groups)
    assert search.best_score_ == 1


def says(start):
    return pytest.raises(ValueError, match=re.escape(start))


def test_a_single_task_has_nothing_to_weigh():
    X, Z = table()
    with says("TaskWeightSearchCV needs y with at least 2 tasks"):
        searched(regressor(), X, Z[:, 0])


def test_an_estimator_without_weights_is_refused():
    with says("The 'estimator' parameter of TaskWeightSearchCV must have the"):
        searched(make_pipeline(StandardScaler(), Ridge()), *table())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("estimator", "hard"),
        ("n_candidates", 1),
        ("factor", 1),
        ("resource", "epochs"),
        ("scoring", 3),
        ("cv", "five"),
        ("refit", "yes"),
        ("error_score", "nan"),
        ("random_state", "zero"),
        ("n_jobs", "all"),
    ],
)
def test_bad_settings_are_refused(name, value):
    settings = {"estimator": Known(), name: value}
    with says(f"The '{name}' parameter of TaskWeightSearchCV must be"):
        TaskWeightSearchCV(**settings).fit(*table())
