"""Warnings point at the line of the user's code that has led to them."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.encoder import MLP
from skmtl.inspection import label_dependence
from skmtl.metrics import make_multitask_scorer, task_scores
from skmtl.model_selection import (
    MultiTaskStratifiedKFold,
    compare_sharing,
    cross_val_predict,
)
from skmtl.relation import TaskGraph

SMALL = {"encoder": MLP((4,)), "max_iter": 1, "random_state": 0}
RANDOM = np.random.RandomState(0)
X = RANDOM.normal(size=(30, 3))
Y = (X[:, :2] > 0).astype(float)
RARE = np.where(np.arange(30) < 3, 1, 0)
APART = np.where(np.arange(30)[:, None] % 2 == [0, 1], Y, np.nan)
ONE_CLASS = np.column_stack([np.zeros(30), Y[:, 0]])


def classifier(**settings):
    return MultiTaskClassifier(**SMALL | settings)


def fit_without_neighbours():
    return MultiTaskRegressor(relation=TaskGraph(), **SMALL).fit(X, APART)


def fit_more_members_than_rows():
    return classifier(n_estimators=4, early_stopping=True).fit(X[:3], Y[:3])


def fit_fewer_labels_than_folds():
    few = Y.copy()
    few[2:, 1] = np.nan
    return classifier(n_estimators=4, early_stopping=True).fit(X, few)


def fit_one_task_by_gradients():
    return classifier(weighting="mgda").fit(X, Y[:, :1])


def train_on_one_task_by_gradients():
    est = classifier(weighting="mgda", warm_start=True).fit(X, Y)
    return est.set_params(task_weight=[0, 1]).fit(X, Y)


def fit_into_a_folder_that_nobody_can_make():
    return classifier(checkpoint=Path(__file__, "none")).fit(X, Y)


def score_one_class():
    return task_scores(ONE_CLASS, Y, "roc_auc")


def score_one_class_in_a_search():
    scoring = make_multitask_scorer("roc_auc")
    search = GridSearchCV(
        make_pipeline(StandardScaler(), classifier()), {}, cv=2, scoring=scoring
    )
    return search.fit(X, ONE_CLASS)


def score_by_a_metric_that_warns():
    return task_scores(Y, Y, "top_k_accuracy")


def dependence_of_tasks_apart():
    return label_dependence(APART, min_rows=1)


def split_rare_classes():
    return list(MultiTaskStratifiedKFold(4).split(X, RARE))


def predict_rare_classes():
    splits = [(np.arange(3, 30), np.arange(3)), (np.arange(3), np.arange(3, 30))]
    labels = np.column_stack([RARE, Y[:, 0]])
    return cross_val_predict(classifier(), X, labels, cv=splits, method="predict_proba")


class Failing(BaseEstimator):
    def fit(self, X, y):
        raise RuntimeError("no")


def compare_with_what_fails():
    candidates = {"works": classifier(), "fails": Failing()}
    return compare_sharing(candidates, X, Y, cv=2, error_score=0.0)


WARNING = {
    fit_without_neighbours: "no row has the labels of two tasks",
    fit_more_members_than_rows: "more than the 3 labelled rows",
    fit_fewer_labels_than_folds: "has 2 labelled rows",
    fit_one_task_by_gradients: "one task trains",
    train_on_one_task_by_gradients: "one task trains",
    fit_into_a_folder_that_nobody_can_make: "No checkpoint was written",
    score_one_class: "is NaN",
    score_one_class_in_a_search: "is NaN",
    score_by_a_metric_that_warns: "(tasks ['task0', 'task1'])",
    dependence_of_tasks_apart: "Fewer than min_rows",
    split_rare_classes: "Some classes have fewer",
    predict_rare_classes: "Some training folds lack classes",
    compare_with_what_fails: "fits of the comparison failed",
}


@pytest.mark.parametrize("trigger", WARNING, ids=lambda f: f.__name__)
def test_warnings_point_at_the_user_s_line(trigger):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trigger()
    matching = [w for w in caught if WARNING[trigger] in str(w.message)]
    assert matching
    assert {w.filename for w in matching} == {__file__}
    first = trigger.__code__.co_firstlineno
    assert all(first < w.lineno < first + 12 for w in matching)


def test_every_warning_of_the_package_goes_through_one_function():
    package = Path(skmtl.__file__).parent
    found = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "warnings.warn(" in path.read_text(encoding="utf-8")
    ]
    assert found == ["_core/validation.py"]
