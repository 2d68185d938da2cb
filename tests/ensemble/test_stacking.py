"""Stacking of models of all kinds, on scikit-learn's own data."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import estimator_checks_generator

from skmtl import MultiTaskClassifier
from skmtl.ensemble import (
    MultiTaskStackingClassifier,
    MultiTaskStackingEstimator,
    MultiTaskStackingRegressor,
)
from skmtl.ensemble._task_models import TaskModel
from skmtl.metrics import make_multitask_scorer, multitask_report

LOGISTIC = ("logistic", LogisticRegression(max_iter=1000))
TREE = ("tree", DecisionTreeClassifier(max_depth=4, random_state=0))
FOREST = ("forest", RandomForestClassifier(20, max_depth=4, random_state=0))
# Its cross-fitted models get other rows where rows occur twice, as those of
# scikit-learn's StackingClassifier do.
BY_FOLDS = {
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
}


def name_of(check):
    return getattr(check, "func", check).__name__


CHECKED = [
    MultiTaskStackingClassifier([LOGISTIC], cv=2, random_state=0),
    MultiTaskStackingRegressor([("ridge", Ridge()), "linear"], cv=2, random_state=0),
]


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(twin, check, id=f"{type(twin).__name__}-{name_of(check)}")
        for estimator in CHECKED
        for twin, check in estimator_checks_generator(estimator)
        if name_of(check) not in BY_FOLDS
    ],
)
def test_estimator_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.fixture(scope="module")
def digits():
    """Return digits, and the digit, whether it is odd, and its loops."""
    X, digit = load_digits(return_X_y=True)
    X, digit = X[:400] / 16, digit[:400]
    loops = np.array([1, 0, 0, 0, 0, 0, 1, 0, 2, 1])[digit]
    Y = pd.DataFrame({"digit": digit, "odd": digit % 2 == 1, "loops": loops})
    return X[:300], Y[:300], X[300:], Y[300:]


@pytest.fixture(scope="module")
def fitted(digits):
    X, Y = digits[:2]
    models = [LOGISTIC, TREE, FOREST]
    return MultiTaskStackingClassifier(models, cv=4, random_state=0).fit(X, Y)


def test_stack_is_better_than_its_models(digits, fitted):
    X, Y, X_test, Y_test = digits
    alone = [
        MultiTaskStackingClassifier([m], cv=4, random_state=0)
        .fit(X, Y)
        .score(X_test, Y_test)
        for m in (LOGISTIC, TREE, FOREST)
    ]
    assert fitted.score(X_test, Y_test) > max(alone) - 0.01
    assert abs(fitted.oof_score_ - fitted.score(X_test, Y_test)) < 0.06


def test_weights_are_shares_with_names(fitted):
    weights = fitted.weights_
    assert list(weights.index) == ["digit", "odd", "loops"]
    assert list(weights.columns) == ["logistic", "tree", "forest"]
    assert_allclose(weights.sum(axis=1), 1)
    assert (weights.to_numpy() >= 0).all()
    assert weights["logistic"].mean() > weights["tree"].mean()


def test_predictions_are_weighted_averages(digits, fitted):
    X_test = digits[2]
    proba = fitted.predict_proba(X_test)
    for t, name in enumerate(fitted.task_names_):
        expected = 0
        for model, weight in fitted.weights_.loc[name].items():
            estimator = fitted.named_estimators_[model]
            if isinstance(estimator, list):
                found = estimator[t].predict_proba(X_test)
            else:
                found = estimator.predict_proba(X_test)[t]
            expected = expected + weight * found
        assert_allclose(proba[t], expected, atol=1e-6)
        assert_array_equal(
            fitted.predict_frame(X_test)[name],
            fitted.classes_[t][proba[t].argmax(axis=1)],
        )


def test_estimators_that_take_several_outputs_are_fitted_once(digits, fitted):
    assert isinstance(fitted.named_estimators_["forest"], RandomForestClassifier)
    assert len(fitted.named_estimators_["logistic"]) == 3
    X, Y = digits[:2]
    missing = Y.astype(object)
    missing.iloc[::7, 1] = np.nan
    est = MultiTaskStackingClassifier([FOREST], cv=3, random_state=0).fit(X, missing)
    assert len(est.named_estimators_["forest"]) == 3


class Recorder(ClassifierMixin, BaseEstimator):
    """Keeps the rows of all fits, by the number in the first column."""

    rows = []  # noqa: RUF012 - what all copies write to

    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        Recorder.rows.append((X[:, 0].astype(int), np.asarray(y), sample_weight))
        return self

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def test_models_see_the_labelled_rows_and_their_weights():
    X, y = np.arange(30.0)[:, None], np.tile([0, 1], 15)
    Y = np.column_stack([y, np.where(np.arange(30) < 20, 1 - y, -1)])
    weight = np.column_stack([np.arange(30.0) + 1, np.full(30, 2.0)])
    weight[3, 0] = 0
    Recorder.rows = []
    MultiTaskStackingClassifier(
        [("recorder", Recorder())], cv=KFold(3), missing_label=-1
    ).fit(X, Y, sample_weight=weight)
    first, second = Recorder.rows[:2]
    assert_array_equal(first[0], np.delete(np.arange(30), 3))
    assert_allclose(first[2] / first[2][0], np.delete(np.arange(30) + 1.0, 3))
    assert_array_equal(second[0], np.arange(20))
    assert_array_equal(second[1], 1 - y[:20])
    assert len(Recorder.rows) == 2 * (1 + 3)
    for k, (rows, _, _) in enumerate(Recorder.rows[2::2]):
        assert not np.isin(rows, np.arange(10 * k, 10 * k + 10)).any()


def test_groups_stay_together():
    X, groups = np.arange(40.0)[:, None], np.repeat(np.arange(10), 4)
    Y = np.column_stack([np.tile([0, 1], 20), np.tile([0, 0, 1, 1], 10)])
    for cv in (5, GroupKFold(5)):
        Recorder.rows = []
        MultiTaskStackingClassifier(
            [("recorder", Recorder())], cv=cv, random_state=0
        ).fit(X, Y, groups=groups)
        for rows, _, _ in Recorder.rows[2:]:
            left_out = np.setdiff1d(np.arange(40), rows)
            assert not np.isin(groups[left_out], groups[rows]).any()


class Counted(MultiTaskClassifier):
    """Counts its fits."""

    n_fits = 0

    def fit(self, X, y, sample_weight=None):
        Counted.n_fits += 1
        return super().fit(X, y, sample_weight=sample_weight)


def test_networks_give_their_own_out_of_fold_predictions(digits):
    X, Y = digits[:2]
    network = Counted(n_estimators=2, max_iter=5, random_state=0)
    Counted.n_fits = 0
    est = MultiTaskStackingClassifier([("network", network), LOGISTIC], cv=3)
    est.fit(X, Y)
    assert Counted.n_fits == 1
    only = MultiTaskStackingClassifier([("network", network)], cv=3).fit(X, Y)
    for found, expected in zip(
        only.oof_prediction_, network.fit(X, Y).oof_prediction_, strict=True
    ):
        assert_allclose(found, expected, atol=1e-6)
    Counted.n_fits = 0
    single = [("network", clone(network).set_params(n_estimators=1))]
    MultiTaskStackingClassifier(single, cv=3).fit(X, Y)
    assert Counted.n_fits == 1 + 3
    Counted.n_fits = 0
    groups = np.arange(len(X)) // 10
    MultiTaskStackingClassifier([("network", network)], cv=3).fit(X, Y, groups=groups)
    assert Counted.n_fits == 1 + 3


def test_out_of_fold_scores_of_noise_are_those_of_chance():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(400, 5)), rng.integers(0, 2, size=(400, 4))
    models = [LOGISTIC, TREE, FOREST]
    est = MultiTaskStackingClassifier(
        models, cv=5, shrinkage=0, threshold="accuracy", random_state=0
    ).fit(X, Y)
    assert abs(est.oof_score_ - 0.5) < 2 * 0.5 / np.sqrt(1600) + 0.01


def test_default_models_and_missing_labels(digits):
    X, Y, X_test, Y_test = digits
    Y = Y.astype(object)
    Y.iloc[::5, 0] = None
    Y.iloc[1::5, 2] = None
    est = MultiTaskStackingClassifier(cv=3, random_state=0)
    short = [("network", MultiTaskClassifier(max_iter=20, random_state=0))]
    est.set_params(estimators=[*short, "extra_trees", "hist_gradient_boosting"])
    est.fit(X[:, ::4], Y)
    assert est.score(X_test[:, ::4], Y_test) > 0.65
    names = list(
        MultiTaskStackingClassifier(random_state=0, cv=2)
        .fit(X[:60, ::8], Y.iloc[:60, 1:2])
        .named_estimators_
    )
    assert names == ["skmtl", "extra_trees", "hist_gradient_boosting"]


def test_frames_with_categories_and_gaps():
    """A column of categories, one empty in a fold, a class that a fold lacks."""
    rng = np.random.default_rng(0)
    n = 90
    kind = rng.choice(["a", "b", "c"], n)
    number = rng.normal(size=n)
    X = pd.DataFrame({"kind": kind, "number": number, "rare": np.nan})
    X.loc[2, "rare"] = 1.0
    X.loc[5, "kind"] = None
    Y = pd.DataFrame(
        {
            "size": np.where(kind == "a", "large", "small"),
            "rare": np.where(np.arange(n) == 4, "yes", "no"),
            "value": number + (kind == "b"),
        }
    )
    names = ["extra_trees", "hist_gradient_boosting", "linear", "random_forest"]
    est = MultiTaskStackingEstimator(names, cv=2, random_state=0).fit(X, Y)
    assert est.task_types_ == ["classification", "classification", "regression"]
    assert est.oof_scores_[0] > 0.9
    assert est.oof_scores_[2] > 0.8
    assert est.predict_frame(X)["value"].dtype.kind == "f"
    assert est.predict_proba(X)[2] is None
    assert_allclose(est.predict_proba(X)[1].sum(axis=1), 1)


def test_sparse_inputs(digits):
    from scipy.sparse import csr_array

    X, Y, X_test, _ = digits
    X, Y = X[:150], Y[:150]
    est = MultiTaskStackingClassifier(["linear", "extra_trees"], cv=2, random_state=0)
    dense = est.fit(X, Y).predict(X_test)
    sparse = clone(est).fit(csr_array(X), Y)
    assert np.mean(sparse.predict(csr_array(X_test)) == dense) > 0.97


def test_mixed_kinds_of_models():
    X, y = load_diabetes(return_X_y=True)
    Y = pd.DataFrame({"value": y, "high": y > 140, "other": X @ np.arange(10.0)})
    models = [
        LOGISTIC,
        ("ridge", make_pipeline(StandardScaler(), Ridge())),
        ("forest", RandomForestRegressor(20, max_depth=4, random_state=0)),
    ]
    est = MultiTaskStackingEstimator(models, cv=3, random_state=0).fit(X, Y)
    assert_allclose(est.weights_.loc["high"], [1, 0, 0])
    assert (est.weights_.loc[["value", "other"], "logistic"] == 0).all()
    assert est.weights_.loc["other", "ridge"] > 0.8
    assert isinstance(est.named_estimators_["forest"], RandomForestRegressor)
    assert est.named_estimators_["ridge"].n_features_in_ == 10
    interval = est.predict_interval(X, coverage=0.8)[0]
    assert np.mean((interval[:, 0] < y) & (y < interval[:, 1])) > 0.75
    assert est.predict_set(X, coverage=0.9)[1].shape == (len(X), 2)


def test_linear_models_read_other_tasks():
    """A task that no model sees in X is learned from what is predicted for another."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    first = np.tanh(2 * X[:, 0] * X[:, 1])
    Y = np.column_stack([first, 3 * first + 0.1 * rng.normal(size=400)])
    forest = RandomForestRegressor(30, random_state=0)

    def score(final, models):
        est = MultiTaskStackingRegressor(models, final=final, cv=4, random_state=0)
        return est.fit(X[:300], Y[:300]).score(X[300:], Y[300:])

    models = [("forest", forest), ("ridge", Ridge())]
    assert score("linear", models) > score("average", models) - 0.02
    est = MultiTaskStackingRegressor(models, final="linear", cv=4).fit(X, Y)
    with pytest.raises(AttributeError, match="weights_ needs final='average'"):
        _ = est.weights_


def test_a_metric_chooses_weights(digits):
    X, Y = digits[0], digits[1][["odd", "loops"]]
    est = MultiTaskStackingClassifier(
        [LOGISTIC, TREE], metric="balanced_accuracy", shrinkage=0, cv=2, random_state=0
    ).fit(X, Y)
    assert_allclose(est.weights_ * 25, (est.weights_ * 25).round(), atol=1e-9)
    same = clone(est).set_params(shrinkage=np.inf).fit(X, Y).weights_
    assert (same.nunique() == 1).all()


def test_thresholds_and_views_of_tasks(digits):
    X, Y, X_test, _ = digits
    rare = pd.DataFrame({"eight": Y["digit"] == 8, "odd": Y["odd"]})
    est = MultiTaskStackingClassifier([LOGISTIC, TREE], cv=4, threshold="f1")
    est.set_params(random_state=0).fit(X, rare)
    assert np.isfinite(est.thresholds_).all()
    view = est.task_estimator("eight")
    assert_array_equal(view.predict(X_test), est.predict(X_test)[:, 0])
    assert_allclose(view.predict_proba(X_test), est.predict_proba(X_test)[0])
    refitted = view.fit(X, rare["eight"])
    assert refitted.predict(X_test).shape == (100,)


def test_tools_of_scikit_learn_and_skmtl(digits, fitted):
    X, Y, X_test, Y_test = digits
    scorer = make_multitask_scorer("accuracy")
    assert scorer(fitted, X_test, Y_test) == pytest.approx(fitted.score(X_test, Y_test))
    report = multitask_report(fitted, X_test, Y_test)
    assert "loops" in str(report)
    search = GridSearchCV(
        MultiTaskStackingClassifier([LOGISTIC, TREE], cv=2, random_state=0),
        {"tree__max_depth": [1, 4], "logistic": [LogisticRegression(C=0.1)]},
        cv=2,
        error_score="raise",
    ).fit(X, Y)
    assert search.best_params_["tree__max_depth"] in (1, 4)
    again = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(again.predict(X_test), fitted.predict(X_test))


def test_runs_are_reproducible_whatever_n_jobs(digits):
    X, Y, X_test, _ = digits
    models = ["extra_trees", LOGISTIC]
    est = MultiTaskStackingClassifier(models, cv=2, random_state=3)
    first = est.fit(X, Y).predict_proba(X_test)
    second = clone(est).set_params(n_jobs=2).fit(X, Y).predict_proba(X_test)
    for a, b in zip(first, second, strict=True):
        assert_allclose(a, b, rtol=1e-12)  # threads of BLAS may differ


@pytest.mark.parametrize(
    "config",
    [
        {"enable_metadata_routing": True},
        {"transform_output": "pandas"},
        {"transform_output": "polars"},
    ],
    ids=str,
)
def test_global_settings_of_scikit_learn_change_nothing(config):
    X = pd.DataFrame({"kind": list("abc") * 10, "number": np.arange(30.0)})
    Y, weight = np.tile([[0, 1], [1, 1], [1, 0]], (10, 1)), np.arange(30) + 1.0
    logistic = make_pipeline(StandardScaler(), LogisticRegression())
    encoded = pd.get_dummies(X).to_numpy(float)
    for models, inputs in (
        (["linear", "extra_trees"], X),
        ([("a", logistic)], encoded),
    ):
        est = MultiTaskStackingClassifier(models, cv=2, random_state=0)
        expected = clone(est).fit(inputs, Y, weight).predict_proba(inputs)
        with config_context(**config):
            found = est.fit(inputs, Y, weight).predict_proba(inputs)
        for one, other in zip(found, expected, strict=True):
            assert_allclose(one, other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"estimators": ["forest"]}, "unknown model 'forest'"),
        ({"estimators": ["extra_tree"]}, "Did you mean 'extra_trees'"),
        ({"estimators": [5]}, r"names of models and of \(name, estimator\) tuples"),
        ({"estimators": [TREE, TREE]}, "a different name for each model"),
        (
            {"estimators": [("ridge", RidgeClassifier())]},
            "must have predict_proba.*CalibratedClassifierCV",
        ),
        ({"estimators": [("ridge", Ridge())]}, "for tasks of regression, of which"),
        ({"estimators": [("scaler", StandardScaler())]}, "a classifier or a regressor"),
        ({"final": "linear", "metric": "accuracy"}, "weights of final='average'"),
        ({"metric": "rocauc"}, "Did you mean 'roc_auc'"),
        ({"metric": "r2"}, "is for regression, but task 'task0'"),
        ({"final": "mean"}, "a str among {'average', 'linear'}"),
        ({"shrinkage": -1}, "'shrinkage' parameter"),
        ({"cv": [(np.arange(30), np.arange(10))]}, "each row is in one test set"),
    ],
)
def test_bad_parameters_change_nothing(settings, message, monkeypatch):
    X, Y = np.arange(60.0).reshape(30, 2), np.tile([[0, 1], [1, 1], [1, 0]], (10, 1))
    est = MultiTaskStackingClassifier([TREE], cv=2, random_state=0).fit(X, Y)
    before = est.predict_proba(X)
    est.set_params(**settings)
    monkeypatch.setattr(TaskModel, "fit", None)  # nothing is trained
    with pytest.raises(ValueError, match=message):
        est.fit(X, Y)
    for a, b in zip(est.predict_proba(X), before, strict=True):
        assert_array_equal(a, b)


def test_a_package_that_is_missing_is_named():
    try:
        import xgboost  # noqa: F401
    except ImportError:
        X, Y = np.zeros((20, 1)), np.tile([[0, 1], [1, 0]], (10, 1))
        with pytest.raises(ImportError, match="pip install xgboost"):
            MultiTaskStackingClassifier(["xgboost"], cv=2).fit(X, Y)
