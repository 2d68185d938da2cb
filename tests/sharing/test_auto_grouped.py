"""Facts of sharing inside groups that training finds."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.datasets import make_multitask_classification, make_multitask_regression
from skmtl.inspection import group_tasks, task_affinity
from skmtl.sharing import AutoGrouped, Grouped
from tests._networks import SAME_STEPS, plain_mlp, table

GROUPS = [[0, 2], [1, 3]]
SETTINGS = {**SAME_STEPS, "encoder": plain_mlp((32, 32)), "max_iter": 3}


def related(**settings):
    return make_multitask_regression(
        400, groups=GROUPS, relatedness=0.95, random_state=0, **settings
    )


def named(groups):
    return [[f"task{t}" for t in group] for group in groups]


@pytest.mark.parametrize("settings", [{}, {"n_estimators": 2, "early_stopping": True}])
def test_true_groups_are_found_and_trained_as_if_they_were_given(settings):
    X, Y = related()
    settings = {**SETTINGS, **settings}
    found = MultiTaskRegressor(AutoGrouped(2), **settings).fit(X, Y)
    assert found.groups_ == named(GROUPS)
    given = MultiTaskRegressor(Grouped(GROUPS), **settings).fit(X, Y)
    np.testing.assert_array_equal(found.predict(X), given.predict(X))
    assert found.loss_curve_ == given.loss_curve_
    assert not hasattr(given, "groups_")


def test_groups_are_those_of_task_affinity():
    X, Y = related(missing=0.3)
    est = MultiTaskRegressor(AutoGrouped(3, max_iter=4), **SETTINGS).fit(X, Y)
    hard = MultiTaskRegressor(**{**SETTINGS, "max_iter": 4})
    affinity = task_affinity(hard, X, Y)
    assert est.groups_ == named(group_tasks(affinity, 3))


def test_their_number_is_found_too():
    X, Y = make_multitask_classification(
        600, groups=[[0, 2, 4], [1, 3, 5]], relatedness=1, random_state=0
    )
    est = MultiTaskClassifier("auto_grouped", **SETTINGS).fit(X, Y)
    assert est.groups_ == named([[0, 2, 4], [1, 3, 5]])


def test_groups_have_the_names_of_tasks():
    X, Y = related()
    Y = pd.DataFrame(Y, columns=list("abcd"))
    est = MultiTaskRegressor(AutoGrouped(2), **SETTINGS).fit(X, Y)
    assert est.groups_ == [["a", "c"], ["b", "d"]]
    assert pickle.loads(pickle.dumps(est)).groups_ == est.groups_
    assert not hasattr(clone(est), "groups_")


def test_training_on_keeps_the_groups():
    X, Y = related()
    est = MultiTaskRegressor(AutoGrouped(2), warm_start=True, **SETTINGS).fit(X, Y)
    groups = est.groups_
    est.fit(X, np.roll(Y, 1, axis=1) ** 2)
    assert est.groups_ == groups
    assert est.n_iter_ == 6
    with pytest.raises(ValueError, match="'sharing' parameter cannot change"):
        est.set_params(sharing__n_groups=3).fit(X, Y)


@pytest.mark.parametrize("Y", [table()[1][:, 0], table()[1][:, :1]])
def test_one_task_is_not_looked_at(Y):
    X, _ = table()
    est = MultiTaskRegressor("auto_grouped", **SETTINGS).fit(X, Y)
    hard = MultiTaskRegressor(**SETTINGS).fit(X, Y)
    np.testing.assert_array_equal(est.predict(X), hard.predict(X))
    with pytest.raises(AttributeError, match="'auto_grouped' and at least 2 tasks"):
        est.groups_  # noqa: B018


def test_encoders_without_parameters_make_one_group():
    X, Y = table()
    settings = {**SETTINGS, "encoder": plain_mlp(())}
    est = MultiTaskRegressor("auto_grouped", **settings).fit(X, Y)
    hard = MultiTaskRegressor(**settings).fit(X, Y)
    np.testing.assert_array_equal(est.predict(X), hard.predict(X))


def test_tasks_of_one_class_are_no_hindrance():
    X, Y = table()
    labels = np.column_stack([Y[:, :2] > 0, np.ones(len(Y))]).astype(int)
    est = MultiTaskClassifier("auto_grouped", **SETTINGS).fit(X, labels)
    assert sorted(np.concatenate(est.groups_)) == ["task0", "task1", "task2"]


def test_tasks_that_all_have_one_class_are_not_looked_at():
    X, _ = table()
    est = MultiTaskClassifier("auto_grouped", **SETTINGS).fit(X, np.ones((len(X), 2)))
    assert (est.predict(X) == 1).all()
    assert not hasattr(est, "groups_")


def test_more_groups_than_tasks_are_refused():
    est = MultiTaskRegressor(AutoGrouped(4), **SETTINGS)
    with pytest.raises(ValueError, match="must be at most the number of tasks, 3"):
        est.fit(*table())


@pytest.mark.parametrize("setting", [{"n_groups": 0}, {"max_iter": 0}])
def test_impossible_settings_are_refused(setting):
    with pytest.raises(ValueError, match=f"The '{next(iter(setting))}' parameter of"):
        MultiTaskRegressor(AutoGrouped(**setting), n_estimators=1).fit(*table())
