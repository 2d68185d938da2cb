"""Scorers work in scikit-learn's tools, on estimators of all kinds."""

import pickle
import re
from functools import partial

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn import metrics as sk
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import get_scorer, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_score,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.metrics import (
    MultiTaskScorer,
    make_multitask_scorer,
    make_multitask_scorers,
    task_scores,
)

N_TRAIN = 100
RNG = np.random.default_rng(0)
X = RNG.normal(size=(180, 5))
BINARY = (X[:, :3] + RNG.normal(size=(180, 3)) > 0).astype(int)
Y = np.column_stack([BINARY[:, 0], np.digitize(X[:, 1] + X[:, 2], [-0.5, 0.5])])
MISSING = RNG.random((180, 3)) < 0.2
VALUES = X[:, :2] + RNG.normal(size=(180, 2))
WEIGHT = RNG.random(180)
CV = KFold(3)

tree = partial(DecisionTreeClassifier, max_depth=3, random_state=0)
FEW = {"max_iter": 3, "random_state": 0, "n_estimators": 1}


def says(start):
    return pytest.raises(ValueError, match=re.escape(start))


def halves(*tables):
    return [part for t in tables for part in (t[:N_TRAIN], t[N_TRAIN:])]


def per_task(metric, Y_test, proba, labels):
    """Return what scikit-learn's functions say, task by task."""
    function = {"roc_auc": sk.roc_auc_score, "neg_log_loss": _log_loss}.get(metric)
    scores = []
    for t in range(Y_test.shape[1]):
        known = ~np.isnan(Y_test[:, t])
        y = Y_test[known, t]
        if function is not None:
            scores.append(function(y, proba[t][known]))
        else:
            scores.append(sk.f1_score(y, labels[known, t], average="macro"))
    return np.mean(scores)


def _log_loss(y, p):
    return -sk.log_loss(y, p)


LISTS = {
    "forest": RandomForestClassifier(n_estimators=5, random_state=0),
    "tree": tree(),
    "multi-output": MultiOutputClassifier(GaussianNB()),
    "boosting": MultiOutputClassifier(HistGradientBoostingClassifier(max_iter=3)),
    "skmtl": MultiTaskClassifier(**FEW),
    "pipeline": make_pipeline(StandardScaler(), MultiTaskClassifier(**FEW)),
    "mixed": MultiTaskEstimator(**FEW),
    "search": GridSearchCV(
        MultiTaskClassifier(**FEW), {"alpha": [1e-5]}, cv=CV, refit=True
    ),
}
INDICATORS = {
    "chain": ClassifierChain(LogisticRegression()),
    "network": MLPClassifier((4,), max_iter=500, tol=0.1, random_state=0),
    "one-vs-rest": OneVsRestClassifier(LogisticRegression()),
}


@pytest.mark.parametrize("metric", ["roc_auc", "neg_log_loss", "f1_macro"])
@pytest.mark.parametrize("name", [*LISTS, *INDICATORS])
@pytest.mark.sampled(2)
def test_scores_are_means_over_the_tasks_of_any_estimator(name, metric):
    X_train, X_test, Y_train, Y_test = halves(X, BINARY)
    est = clone({**LISTS, **INDICATORS}[name]).fit(X_train, Y_train)
    Y_test = np.where(MISSING[N_TRAIN:], np.nan, Y_test)
    proba = est.predict_proba(X_test)
    proba = [p[:, 1] for p in proba] if name in LISTS else list(proba.T)
    expected = per_task(metric, Y_test, proba, est.predict(X_test))
    found = make_multitask_scorer(metric)(est, X_test, Y_test)
    assert isinstance(found, float)
    # The area is that of the decision function where there is one, but for ties.
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", LISTS)
def test_tasks_may_have_any_number_of_classes(name):
    X_train, X_test, Y_train, Y_test = halves(X, Y)
    est = clone(LISTS[name]).fit(X_train, Y_train)
    proba = est.predict_proba(X_test)
    expected = [
        sk.roc_auc_score(Y_test[:, 0], proba[0][:, 1]),
        sk.roc_auc_score(Y_test[:, 1], proba[1], multi_class="ovr"),
    ]
    for task in range(2):
        found = make_multitask_scorer("roc_auc_ovr", task=task)(est, X_test, Y_test)
        assert found == pytest.approx(expected[task])
    found = make_multitask_scorer("roc_auc_ovr", average="min")(est, X_test, Y_test)
    assert found == pytest.approx(min(expected))


def test_a_decision_function_does_where_there_are_no_probabilities():
    X_train, X_test, Y_train, Y_test = halves(X, BINARY)
    est = OneVsRestClassifier(LinearSVC()).fit(X_train, Y_train)
    values = est.decision_function(X_test)
    expected = sk.roc_auc_score(Y_test, values, average="macro")
    assert make_multitask_scorer("roc_auc")(est, X_test, Y_test) == pytest.approx(
        expected
    )


@pytest.mark.parametrize("metric", ["roc_auc", "neg_log_loss", "accuracy", "recall"])
def test_one_task_is_scored_as_by_scikit_learn(metric):
    X_train, X_test, y_train, y_test = halves(X, BINARY[:, 0])
    for est in (LogisticRegression(), MultiTaskClassifier(**FEW)):
        est.fit(X_train, y_train)
        expected = get_scorer(metric)(est, X_test, y_test)
        found = make_multitask_scorer(metric)(est, X_test, y_test)
        assert found == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["r2", "neg_root_mean_squared_error"])
def test_values_are_scored_as_by_scikit_learn(metric):
    X_train, X_test, Y_train, Y_test = halves(X, VALUES)
    for est in (LinearRegression(), MultiTaskRegressor(**FEW)):
        est.fit(X_train, Y_train)
        expected = get_scorer(metric)(est, X_test, Y_test)
        assert make_multitask_scorer(metric)(est, X_test, Y_test) == pytest.approx(
            expected
        )


def both_kinds():
    table = pd.DataFrame({"a": BINARY[:, 0], "b": VALUES[:, 0], "c": Y[:, 1]})
    table["c"] = np.array(["low", "mid", "high"])[table["c"]]
    return table


KINDS = {"classification": "roc_auc_ovr", "regression": "r2"}


def test_tasks_of_both_kinds_are_scored_by_a_metric_for_each():
    X_train, X_test, Y_train, Y_test = halves(X, both_kinds())
    est = make_pipeline(StandardScaler(), MultiTaskEstimator(**FEW))
    est.fit(X_train, Y_train)
    proba, labels = est.predict_proba(X_test), est.predict(X_test)
    expected = [
        sk.roc_auc_score(Y_test["a"], proba[0][:, 1]),
        sk.r2_score(Y_test["b"], labels[:, 1].astype(float)),
        sk.roc_auc_score(Y_test["c"], proba[2], multi_class="ovr"),
    ]
    found = make_multitask_scorer(KINDS)(est, X_test, Y_test)
    assert found == pytest.approx(np.mean(expected))
    for t, name in enumerate("abc"):
        found = make_multitask_scorer(KINDS, task=name)(est, X_test, Y_test)
        assert found == pytest.approx(expected[t])
    found = make_multitask_scorer("r2", task="b")(est, X_test, Y_test)
    assert found == pytest.approx(expected[1])
    with says("The metric 'r2' is for regression, but task 'a' is one of"):
        make_multitask_scorer("r2")(est, X_test, Y_test)


def test_the_estimator_knows_the_tasks_names_and_missing_labels():
    table = pd.DataFrame(Y, columns=["sick", "stage"])
    est = MultiTaskClassifier(missing_label=2, **FEW).fit(X, table)
    found = make_multitask_scorer("accuracy", task="stage")(est, X, Y)
    known = Y[:, 1] != 2
    expected = sk.accuracy_score(Y[known, 1], est.predict(X)[known, 1])
    assert found == pytest.approx(expected)
    found = make_multitask_scorer("accuracy", task="stage", missing_label=0)(est, X, Y)
    known = Y[:, 1] != 0
    assert found == pytest.approx(
        sk.accuracy_score(Y[known, 1], est.predict(X)[known, 1])
    )


# ------------------------------------------------------------ scikit-learn's tools
def folds(scorer, est=None):
    est = tree() if est is None else est
    return [
        scorer(clone(est).fit(X[train], Y[train]), X[test], Y[test])
        for train, test in CV.split(X)
    ]


def test_cross_validation():
    scorer = make_multitask_scorer("balanced_accuracy", average="min")
    found = cross_val_score(tree(), X, Y, cv=CV, scoring=scorer)
    np.testing.assert_array_equal(found, folds(scorer))


def test_cross_validation_with_missing_labels():
    table = np.where(MISSING[:, :2], np.nan, Y)
    scorer = make_multitask_scorer("roc_auc_ovr")
    est = MultiTaskClassifier(**FEW)
    assert np.isfinite(cross_val_score(est, X, table, cv=CV, scoring=scorer)).all()


def test_searches():
    grid = {"max_depth": [1, 3]}
    scorer = make_multitask_scorer("neg_log_loss")
    search = GridSearchCV(tree(), grid, cv=CV, scoring=scorer).fit(X, Y)
    expected = [np.mean(folds(scorer, tree(max_depth=d))) for d in (1, 3)]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected)
    assert search.score(X, Y) == scorer(search.best_estimator_, X, Y)


NAMES = ["roc_auc_ovr", "neg_log_loss", "accuracy"]


@pytest.mark.parametrize("plain", [True, False])
def test_searches_of_several_scores(plain):
    scorers = make_multitask_scorers(NAMES)
    scorers = dict(scorers) if plain else scorers
    search = GridSearchCV(
        tree(), {"max_depth": [1, 3]}, cv=CV, scoring=scorers, refit="neg_log_loss"
    ).fit(X, Y)
    results = search.cv_results_
    for name in NAMES:
        expected = folds(make_multitask_scorer(name), tree(max_depth=1))
        found = [results[f"split{k}_test_{name}"][0] for k in range(3)]
        np.testing.assert_allclose(found, expected)
    best = results["mean_test_neg_log_loss"].argmax()
    assert search.best_params_["max_depth"] == (1, 3)[best]
    expected = scorers["neg_log_loss"](search.best_estimator_, X, Y)
    assert search.score(X, Y) == pytest.approx(expected)


class Counting(ClassifierMixin, BaseEstimator):
    """A classifier that counts how often it is asked."""

    def fit(self, X, Y):
        self.tree_ = tree().fit(X, Y)
        self.classes_ = self.tree_.classes_
        self.asked_ = []
        return self

    def predict(self, X):
        self.asked_.append("predict")
        return self.tree_.predict(X)

    def predict_proba(self, X):
        self.asked_.append("predict_proba")
        return self.tree_.predict_proba(X)


def test_scorers_called_together_predict_once():
    est = Counting().fit(X, Y)
    scorers = make_multitask_scorers([*NAMES, "roc_auc_ovo", "f1_macro"])
    found = scorers(est, X, Y)
    assert sorted(est.asked_) == ["predict", "predict_proba"]
    assert found == {name: scorer(est, X, Y) for name, scorer in scorers.items()}


def test_other_scorers_may_stand_beside():
    scorers = make_multitask_scorers(
        {"auc": "roc_auc_ovr", "a": make_multitask_scorer("f1", task=0)}
    )
    scorers["size"] = lambda est, X, y: float(len(X))
    scorers["own"] = make_scorer(lambda y, p: np.mean(y == p))
    est = tree().fit(X, Y)
    found = scorers(est, X, Y, sample_weight=np.ones(180))
    assert found["size"] == 180
    assert found["own"] == np.mean(est.predict(X) == Y)
    assert found["a"] == pytest.approx(sk.f1_score(Y[:, 0], est.predict(X)[:, 0]))


def test_permutation_importance():
    est = tree().fit(X, Y)
    scorers = make_multitask_scorers(["accuracy", "roc_auc_ovr"])
    settings = {"random_state": 0, "n_repeats": 2}
    together = permutation_importance(est, X, Y, scoring=scorers, **settings)
    for name, scorer in scorers.items():
        alone = permutation_importance(est, X, Y, scoring=scorer, **settings)
        np.testing.assert_allclose(
            together[name].importances_mean, alone.importances_mean
        )
        assert alone.importances_mean[:2].min() > alone.importances_mean[4]


@pytest.mark.parametrize("make", [pickle.dumps, clone])
def test_scorers_are_pickled_and_cloned(make):
    est = tree().fit(X, Y)
    scorer = make_multitask_scorer({"task0": "roc_auc", 1: "f1_macro"}, average=[1, 3])
    scorers = make_multitask_scorers(["accuracy", "neg_log_loss"])
    copies = (
        make(scorer),
        make(scorers) if make is pickle.dumps else clone(scorers, safe=False),
    )
    if make is pickle.dumps:
        copies = [pickle.loads(copy) for copy in copies]
    assert copies[0](est, X, Y) == scorer(est, X, Y)
    assert copies[1](est, X, Y) == scorers(est, X, Y)


def test_the_text_of_a_scorer_tells_its_settings():
    assert repr(make_multitask_scorer("r2", task="a")) == (
        "MultiTaskScorer(metric='r2', task='a')"
    )


# -------------------------------------------------------------------------- weights
def test_weights_reach_the_metric():
    est = tree().fit(X, Y)
    expected = task_scores(Y, est.predict(X), sample_weight=WEIGHT).mean()
    scorer = make_multitask_scorer("accuracy")
    assert scorer(est, X, Y, sample_weight=WEIGHT) == pytest.approx(expected)
    scorers = make_multitask_scorers(["accuracy", "roc_auc_ovr"])
    found = scorers(est, X, Y, sample_weight=WEIGHT)
    assert found["accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["scorer", "dict", "called"])
@pytest.mark.parametrize("asked", [True, "w", False])
def test_weights_are_routed_where_they_are_asked_for(asked, kind):
    name = asked if isinstance(asked, str) else "sample_weight"
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = make_multitask_scorer("accuracy").set_score_request(
            sample_weight=asked
        )
        scoring = {
            "scorer": scorer,
            "dict": {"score": scorer},
            "called": make_multitask_scorers({"score": scorer}),
        }[kind]
        est = tree().set_fit_request(sample_weight=name if asked else True)
        found = cross_validate(est, X, Y, cv=CV, scoring=scoring, params={name: WEIGHT})
        expected = []
        for train, test in CV.split(X):
            fitted = clone(est).fit(X[train], Y[train], sample_weight=WEIGHT[train])
            weight = WEIGHT[test] if asked else None
            expected.append(scorer(fitted, X[test], Y[test], sample_weight=weight))
    np.testing.assert_allclose(found["test_score"], expected)


@pytest.mark.parametrize("kind", ["scorer", "dict", "called"])
def test_weights_that_are_not_asked_for_are_an_error(kind):
    scorers = make_multitask_scorers({"score": "accuracy"})
    scoring = {"scorer": scorers["score"], "dict": dict(scorers), "called": scorers}
    given = {"params": {"sample_weight": WEIGHT}, "error_score": "raise"}
    with sklearn.config_context(enable_metadata_routing=True):
        est = tree().set_fit_request(sample_weight=True)
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError):
            cross_validate(est, X, Y, cv=CV, scoring=scoring[kind], **given)


# ------------------------------------------------------------------------ bad input
def test_metrics_of_probabilities_need_an_estimator_that_has_them():
    est = MultiOutputClassifier(LinearSVC()).fit(X, Y)
    with says("The metric 'neg_log_loss' needs predict_proba, which MultiOutputClass"):
        make_multitask_scorer("neg_log_loss")(est, X, Y)
    with says("The metric 'roc_auc_ovr' needs predict_proba, which MultiOutputClass"):
        make_multitask_scorers(["roc_auc_ovr"])(est, X, Y)
    with says("The metric 'roc_auc' needs decision_function or predict_proba, which"):
        make_multitask_scorer("roc_auc", task=0)(est, X, Y)


def test_metrics_of_the_other_kind_are_refused():
    est = tree().fit(X, Y)
    with says("The metric 'r2' is for regression, but task 'task0' is one of class"):
        make_multitask_scorer("r2")(est, X, Y)
    est = Ridge().fit(X, Y)
    with says("The metric 'accuracy' is for classification, but task 'task0' is one"):
        make_multitask_scorer("accuracy")(est, X, Y)


@pytest.mark.parametrize(
    "make", [make_multitask_scorer, lambda m: make_multitask_scorers([m])]
)
def test_unknown_metrics_are_refused_at_once(make):
    with says("The 'metric' parameter must be a function, a scorer, a dict or the"):
        make("auc")


def test_losses_are_refused_with_the_name_of_the_score():
    with says("The 'metric' parameter of a scorer must be a score, of which") as error:
        make_multitask_scorer(
            {"classification": sk.accuracy_score, "regression": sk.max_error}
        )
    assert "Got the loss max_error: use 'neg_max_error'." in str(error.value)
    scorer = make_multitask_scorer(make_scorer(sk.max_error, greater_is_better=False))
    assert isinstance(scorer, MultiTaskScorer)


def test_unknown_tasks_are_refused():
    est = tree().fit(X, Y)
    with says(
        "The 'task' parameter of make_multitask_scorer names the unknown task 'a'"
    ):
        make_multitask_scorer("accuracy", task="a")(est, X, Y)


@pytest.mark.parametrize("metrics", [["f1", "f1"], [sk.f1_score], []])
def test_metrics_are_a_list_of_names_or_a_dict(metrics):
    with says(
        "The 'metrics' parameter of make_multitask_scorers must be a list of names"
    ):
        make_multitask_scorers(metrics)


@pytest.mark.parametrize("average", [None, "mean"])
def test_a_scorer_needs_an_average(average):
    with says("The 'average' parameter of make_multitask_scorer must be"):
        make_multitask_scorer("accuracy", average=average)
