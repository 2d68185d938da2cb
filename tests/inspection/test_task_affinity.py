"""Affinities are those of a training, and groups of tasks can be read off them."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.datasets import make_multitask_classification, make_multitask_regression
from skmtl.encoder import MLP
from skmtl.inspection import group_tasks, task_affinity
from skmtl.training import Lookahead
from tests._networks import SAME_STEPS, table

GROUPS = [[0, 2], [1, 3]]
SETTINGS = {"encoder": MLP((8,)), **SAME_STEPS}


def data():
    X, Z = table(n_tasks=4)
    return X, np.column_stack([Z[:, :3] > 0, Z[:, :1] > 0]).astype(int)


def regressor(**settings):
    return MultiTaskRegressor(**{**SETTINGS, "batch_size": 20, **settings})


def test_affinity_is_what_looks_at_the_training_see():
    X, Z = table()
    look = Lookahead(2, 0.02)
    regressor(callbacks=[look], max_iter=3).fit(X, Z)
    found = task_affinity(regressor(), X, Z, every=2, max_iter=3, step_size=0.02)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, look.affinity())


def test_steps_may_have_the_learning_rate():
    X, Z = table()
    look = Lookahead(1, None)
    regressor(callbacks=[look]).fit(X, Z)
    found = task_affinity(regressor(), X, Z, every=1, step_size="learning_rate")
    np.testing.assert_array_equal(found, look.affinity())


@pytest.mark.parametrize(("own", "given", "n"), [(6, 4, 4), (3, 4, 3), (5, None, 5)])
def test_the_training_has_as_many_epochs_as_asked_for(own, given, n):
    X, Z = table()
    epochs = []

    class Counter(Lookahead):
        def on_epoch_end(self, net, **kwargs):
            epochs.append(len(net.history))

    est = regressor(max_iter=own, callbacks=[Counter()], n_estimators=2)
    task_affinity(est, X, Z, max_iter=given)
    assert epochs[-1] == len(epochs) == n
    assert est.n_estimators == 2
    assert not hasattr(est, "net_")


@pytest.mark.parametrize("method", ["lookahead", "gradient_cosine"])
def test_names_of_tasks_make_a_frame(method):
    X, Z = table()
    est = make_pipeline(StandardScaler(), regressor())
    frame = task_affinity(est, X, pd.DataFrame(Z, columns=list("abc")), method)
    assert frame.index.tolist() == frame.columns.tolist() == list("abc")
    plain = task_affinity(regressor(), StandardScaler().fit_transform(X), Z, method)
    np.testing.assert_allclose(frame, plain)


@pytest.mark.parametrize("frame", [False, True])
def test_cosines_are_those_that_a_training_has_recorded(frame):
    X, Z = table()
    Y = pd.DataFrame(Z, columns=list("abc")) if frame else Z
    est = regressor(record_gradients=True).fit(X, Y)
    records = [epoch["train_gradient_cosines"] for epoch in est.history_]
    found = task_affinity(est, method="gradient_cosine")
    np.testing.assert_allclose(found, np.mean(records, axis=0))
    np.testing.assert_allclose(found, np.transpose(found))
    np.testing.assert_allclose(np.diag(found), 1)
    again = task_affinity(regressor(), X, Y, "gradient_cosine")
    np.testing.assert_array_equal(found, again)
    assert hasattr(found, "columns") is frame


def test_cosines_leave_out_epochs_without_them():
    X, Z = table()
    est = regressor(record_gradients=True, max_iter=2).fit(X, Z)
    est.history_[0]["train_gradient_cosines"][0][1] = np.nan
    found = task_affinity(est, method="gradient_cosine")
    assert found[0, 1] == est.history_[1]["train_gradient_cosines"][0][1]


def test_a_weighting_that_looks_at_gradients_records_them():
    X, Z = table()
    est = regressor(weighting="pcgrad").fit(X, Z)
    assert task_affinity(est, method="gradient_cosine").shape == (3, 3)


@pytest.mark.parametrize("n_groups", [2, "auto"])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.sampled(3)
def test_true_groups_are_found(n_groups, seed):
    groups = [[0, 2, 4], [1, 3, 5]]
    X, Y = make_multitask_classification(400, groups=groups, random_state=seed)
    est = MultiTaskClassifier(encoder=MLP((32, 32)), random_state=seed, n_estimators=1)
    assert group_tasks(task_affinity(est, X, Y), n_groups) == groups


def test_groups_are_found_where_labels_are_missing():
    X, Y = make_multitask_regression(groups=GROUPS, missing=0.5, random_state=0)
    est = MultiTaskRegressor(encoder=MLP((32, 32)), random_state=0, n_estimators=1)
    assert group_tasks(task_affinity(est, X, Y), 2) == GROUPS


def says(start):
    return pytest.raises(ValueError, match=re.escape(start))


def test_what_is_no_estimator_of_skmtl_is_refused():
    with says("The 'estimator' parameter of task_affinity must be an estimator of"):
        task_affinity(make_pipeline(StandardScaler(), Ridge()), *table())


def test_looks_need_data():
    with says("The method 'lookahead' of task_affinity looks at a training: give X"):
        task_affinity(regressor().fit(*table()))


@pytest.mark.parametrize("method", ["lookahead", "gradient_cosine"])
def test_inputs_and_labels_belong_together(method):
    with says("X and Y of task_affinity must be given together."):
        task_affinity(regressor(), table()[0], method=method)


def test_cosines_need_a_fit():
    with pytest.raises(NotFittedError, match="MultiTaskRegressor"):
        task_affinity(regressor(), method="gradient_cosine")


def test_missing_records_say_how_to_record():
    with says("The estimator has no recorded gradients: fit it with record_gradients="):
        task_affinity(regressor().fit(*table()), method="gradient_cosine")


def test_tasks_that_share_nothing_have_no_affinity():
    with says("A look ahead needs parameters that several tasks share, but Indep"):
        task_affinity(regressor(sharing="independent"), *table())
    with says("The estimator has no recorded gradients: fit it with record_gradients="):
        task_affinity(regressor(sharing="independent"), *table(), "gradient_cosine")


def test_too_few_batches_are_refused():
    with says("The training had 6 batches, too few to look at all of 3 tasks, 8 at a"):
        task_affinity(regressor(max_iter=2), *table(), every=7)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "cosine"),
        ("every", 0),
        ("max_iter", 0),
        ("step_size", 1.0),
        ("step_size", "lr"),
    ],
)
def test_other_settings_are_refused(name, value):
    with says(f"The '{name}' parameter of task_affinity must be"):
        task_affinity(regressor(), *table(), **{name: value})
