"""Columns that are named as tasks are matched with the tasks by their names."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.calibration import calibration_curve
from sklearn.datasets import load_iris
from sklearn.inspection import permutation_importance
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl._estimators.report.sections import make_scores_section
from skmtl.encoder import MLP
from skmtl.metrics import (
    ReliabilityDisplay,
    delta_m,
    make_multitask_scorer,
    make_multitask_scorers,
    multitask_report,
    task_scores,
)
from skmtl.model_selection import compare_sharing, cross_val_predict
from skmtl.relation import Distillation, GraphLaplacian
from skmtl.weighting import Static

IRIS, SPECIES = load_iris(return_X_y=True)
NAMES = ["a", "b", "c"]
Y = pd.DataFrame(
    {
        "a": SPECIES,
        "b": (IRIS[:, 0] > 5.8).astype(int),
        "c": (IRIS[:, 1] > 3).astype(int),
    }
)
MIXED = Y.assign(c=IRIS[:, 3])
OTHER = ["c", "a", "b"]
WEIGHT = pd.DataFrame(
    np.random.default_rng(0).uniform(0.1, 9, size=Y.shape), columns=NAMES
)
SETTINGS = {
    "encoder": MLP((8,)),
    "n_estimators": 1,
    "max_iter": 5,
    "learning_rate_init": 0.02,
    "random_state": 0,
}
CLASSIFIER = MultiTaskClassifier(**SETTINGS).fit(IRIS, Y)
ESTIMATORS = {
    MultiTaskClassifier: (CLASSIFIER, Y),
    MultiTaskRegressor: (MultiTaskRegressor(**SETTINGS).fit(IRIS, Y), Y),
    MultiTaskEstimator: (MultiTaskEstimator(**SETTINGS).fit(IRIS, MIXED), MIXED),
}
#: What takes an estimator, labels and weights, and what it returns.
USES = {
    "score": lambda est, Y, w: est.score(IRIS, Y, w),
    "scorer": lambda est, Y, w: make_multitask_scorer("accuracy")(est, IRIS, Y, w),
    "scorer of a task": lambda est, Y, w: make_multitask_scorer("accuracy", task="c")(
        est, IRIS, Y, w
    ),
    "scorers": lambda est, Y, w: make_multitask_scorers(["accuracy"])(est, IRIS, Y, w)[
        "accuracy"
    ],
    "report": lambda est, Y, w: (
        multitask_report(est, IRIS, Y, ["accuracy"], sample_weight=w)
        .frame["accuracy"]
        .to_dict()
    ),
    "task_scores of a frame": lambda est, Y, w: dict(
        zip(
            Y.columns,
            task_scores(Y, est.predict_frame(IRIS), sample_weight=w),
            strict=True,
        )
    ),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("convert", [pd.DataFrame, pl.DataFrame])
def test_labels_and_weights_are_matched_with_the_tasks(use, convert):
    expected = USES[use](CLASSIFIER, Y, WEIGHT)
    assert USES[use](CLASSIFIER, Y, WEIGHT.to_numpy()) == pytest.approx(expected)
    for order in (OTHER, NAMES[::-1]):
        found = USES[use](CLASSIFIER, convert(Y[order]), convert(WEIGHT[NAMES]))
        assert found == pytest.approx(expected)
        found = USES[use](CLASSIFIER, convert(Y), convert(WEIGHT[order]))
        assert found == pytest.approx(expected)


@pytest.mark.parametrize("use", USES)
def test_other_names_are_refused(use):
    with pytest.raises(ValueError, match="must have one column for each task, named"):
        USES[use](CLASSIFIER, Y.rename(columns={"b": "z"}), None)
    with pytest.raises(ValueError, match="sample_weight must have one column for each"):
        USES[use](CLASSIFIER, Y, WEIGHT.rename(columns={"b": "z"}))


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_scores_of_each_kind_of_estimator(cls):
    est, labels = ESTIMATORS[cls]
    assert est.score(IRIS, labels[OTHER]) == est.score(IRIS, labels)


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_validation_sets_are_matched_with_the_tasks(cls):
    _, labels = ESTIMATORS[cls]
    val = {"X_val": IRIS, "y_val": labels, "sample_weight_val": WEIGHT}
    first = cls(**SETTINGS).fit(IRIS, labels, WEIGHT, **val)
    val |= {"y_val": labels[OTHER], "sample_weight_val": WEIGHT[NAMES[::-1]]}
    second = cls(**SETTINGS).fit(IRIS, labels, WEIGHT[OTHER], **val)
    assert_array_equal(first.validation_scores_, second.validation_scores_)
    for name, array in first.module_.state_dict().items():
        assert_array_equal(array, second.module_.state_dict()[name])
    val["sample_weight_val"] = WEIGHT.rename(columns={"a": "A"})
    with pytest.raises(ValueError, match="sample_weight_val must have one column"):
        cls(**SETTINGS).fit(IRIS, labels, **val)


def test_training_on_is_matched_with_the_tasks():
    nets = []
    for order in (NAMES, OTHER):
        est = MultiTaskClassifier(**SETTINGS)
        est.partial_fit(IRIS, Y, classes=[range(3), range(2), range(2)])
        nets.append(est.partial_fit(IRIS, Y[order], sample_weight=WEIGHT[order]))
    assert_array_equal(*(est.predict(IRIS) for est in nets))


def test_tables_without_names_are_taken_as_they_stand():
    expected = CLASSIFIER.score(IRIS, Y, WEIGHT)
    assert CLASSIFIER.score(IRIS, Y.to_numpy(), WEIGHT) == pytest.approx(expected)
    numbered = pd.DataFrame(WEIGHT.to_numpy())
    assert CLASSIFIER.score(IRIS, Y, numbered) == pytest.approx(expected)
    assert CLASSIFIER.score(IRIS, Y, numbered[[2, 0, 1]]) == pytest.approx(expected)
    unnamed = MultiTaskClassifier(**SETTINGS).fit(IRIS, Y.to_numpy())
    expected = MultiTaskClassifier(**SETTINGS).fit(IRIS, Y).score(IRIS, Y, WEIGHT)
    assert unnamed.score(IRIS, Y, WEIGHT) == pytest.approx(expected)
    assert make_multitask_scorer("accuracy")(unnamed, IRIS, Y, WEIGHT) == pytest.approx(
        expected
    )
    # Names that the estimator has given to tasks are names too.
    named = Y.set_axis(unnamed.task_names_, axis=1)[["task2", "task0", "task1"]]
    assert unnamed.score(IRIS, named, WEIGHT) == pytest.approx(expected)


def test_a_single_column_of_weights_may_have_any_name():
    est = MultiTaskClassifier(**SETTINGS).fit(IRIS, Y[["a"]], WEIGHT[["b"]])
    expected = est.score(IRIS, Y["a"], WEIGHT["b"].to_numpy())
    assert est.score(IRIS, Y["a"], WEIGHT["b"]) == expected


def test_tools_of_scikit_learn_with_a_scorer():
    results = [
        permutation_importance(
            CLASSIFIER,
            IRIS,
            Y[order],
            scoring=make_multitask_scorer("accuracy"),
            n_repeats=2,
            random_state=0,
        ).importances
        for order in (NAMES, OTHER)
    ]
    assert_array_equal(*results)
    with pytest.raises(ValueError, match="must have one column for each task, named"):
        permutation_importance(
            CLASSIFIER,
            IRIS,
            Y.rename(columns={"a": "z"}),
            scoring=make_multitask_scorer("accuracy"),
        )


def test_pipelines_are_looked_into():
    pipe = make_pipeline(StandardScaler(), MultiTaskClassifier(**SETTINGS))
    pipe.fit(IRIS, Y)
    scorer = make_multitask_scorer("accuracy")
    assert scorer(pipe, IRIS, Y[OTHER]) == scorer(pipe, IRIS, Y)


def test_reliability_diagrams_match_tasks():
    pytest.importorskip("matplotlib")
    display = ReliabilityDisplay.from_estimator(CLASSIFIER, IRIS, Y[OTHER])
    assert display.task_names == NAMES
    for t, name in enumerate("bc", start=1):
        true, _ = calibration_curve(Y[name], display.y_prob[t])
        assert_array_equal(display.prob_true[t], true)
    frame = pd.DataFrame(np.full((150, 2), 0.4), columns=["b", "c"])
    with pytest.raises(ValueError, match="y_pred must have one column for each task"):
        ReliabilityDisplay.from_predictions(Y[["a", "b"]] > 0, frame)


def test_pages_of_reports_count_the_labels_of_each_task():
    gaps = Y.astype(float).where(np.arange(150)[:, None] >= [0, 30, 99])
    first, second = (
        make_scores_section(CLASSIFIER, IRIS, gaps[o]) for o in (NAMES, OTHER)
    )
    assert first == second


def test_comparisons_and_predictions_of_folds_take_weights_by_name():
    est = MultiTaskClassifier(**SETTINGS)
    found = [
        cross_val_predict(est, IRIS, Y, cv=2, params={"sample_weight": WEIGHT[order]})
        for order in (NAMES, OTHER)
    ]
    assert_array_equal(*found)
    scoring = {"a": "accuracy", "b": "balanced_accuracy", "c": "accuracy"}
    compared = compare_sharing({"x": est}, IRIS, Y[OTHER], cv=2, scoring=scoring)
    assert compared.task_names == OTHER


def test_weights_of_tasks_in_a_series_are_matched():
    weights = pd.Series({"c": 5.0, "a": 0.0, "b": 1.0})
    for settings in ({"task_weight": weights}, {"weighting": Static(weights)}):
        est = MultiTaskClassifier(**SETTINGS, **settings).fit(IRIS, Y)
        assert np.argsort(est.task_weights_).tolist() == [0, 1, 2]
    scores = task_scores(Y, CLASSIFIER.predict(IRIS))
    average = task_scores(Y, CLASSIFIER.predict(IRIS), average=weights)
    assert average == pytest.approx((scores[1] + 5 * scores[2]) / 6)
    est = MultiTaskClassifier(**SETTINGS, task_weight=weights.rename({"c": "d"}))
    with pytest.raises(ValueError, match="'task_weight' parameter must have one entry"):
        est.fit(IRIS, Y)


def test_delta_m_matches_scores_by_name():
    new, old = pd.Series({"a": 0.6, "b": 3.0}), pd.Series({"b": 2.0, "a": 0.5})
    assert delta_m(new, old) == pytest.approx((0.1 / 0.5 + 0.5) / 2)
    frames = new.to_frame().T, old.to_frame().T
    assert delta_m(*frames) == delta_m(new, old)
    with pytest.raises(ValueError, match="baseline_scores must have one entry for ea"):
        delta_m(new, old.rename({"b": "z"}))


def test_teachers_of_tasks_in_another_order():
    fits = []
    for order in (NAMES, OTHER):
        teacher = MultiTaskClassifier(**SETTINGS).fit(IRIS, Y)
        # The same model, whose tasks stand in another order.
        columns = [NAMES.index(name) for name in order]
        proba = [teacher.predict_proba(IRIS)[t] for t in columns]
        known = _Known(proba, [teacher.classes_[t] for t in columns], list(order))
        relation = Distillation(teacher=known)
        est = MultiTaskClassifier(**SETTINGS, relation=relation)
        fits.append(est.fit(IRIS, Y).predict_proba(IRIS))
    for one, other in zip(*fits, strict=True):
        assert_allclose(one, other)


class _Known(BaseEstimator):
    """Returns probabilities that it is given."""

    def __init__(self, proba=None, classes_=None, task_names_=None):
        self.proba = proba
        self.classes_ = classes_
        self.task_names_ = task_names_

    def fit(self, X, y):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def predict_proba(self, X):
        return self.proba

    def predict(self, X):
        return np.zeros((len(X), len(self.proba)))


def test_weights_between_tasks_in_a_frame_of_polars():
    A = pd.DataFrame(np.arange(9.0).reshape(3, 3), NAMES, NAMES)
    A = A + A.T
    given = [A, pl.DataFrame(A.loc[OTHER, OTHER])]
    first, second = (
        MultiTaskClassifier(**SETTINGS, relation=GraphLaplacian(adjacency=a))
        .fit(IRIS, Y)
        .predict_proba(IRIS)
        for a in given
    )
    for one, other in zip(first, second, strict=True):
        assert_array_equal(one, other)
