"""Facts of given weights."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torchjd.scalarization import Constant

from skmtl import MultiTaskRegressor
from skmtl.weighting import Static, TaskLabels
from tests._networks import SAME_STEPS, plain_mlp, table
from tests.weighting._helpers import gradient, normalised

TASKS = [TaskLabels(name, None, np.zeros(1), None) for name in ("a", "b", "c")]


def built(weights):
    return Static(weights).validate().for_labels(TASKS).build(3)


def fitted(Y=None, **settings):
    X, complete = table()
    Y = complete if Y is None else Y
    return MultiTaskRegressor(encoder=plain_mlp((8,)), **SAME_STEPS, **settings).fit(
        X, Y
    )


@pytest.mark.parametrize(
    "weights", [[1, 2, 3], (1.0, 2.0, 3.0), np.array([1, 2, 3]), {"c": 3, "b": 2}]
)
def test_weights_may_be_given_in_several_forms(weights):
    losses = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)
    expected = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    found = built(weights)(losses, None)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(normalised(found), gradient(Constant(expected), losses))


def test_without_weights_all_tasks_count_the_same():
    assert built(None)(torch.ones(3), None).tolist() == [1, 1, 1]


def test_names_are_those_of_the_table():
    X, Y = table()
    Y = pd.DataFrame(Y, columns=["a", "b", "c"])
    by_name = fitted(Y, weighting=Static({"c": 3}))
    np.testing.assert_allclose(by_name.task_weights_, [0.6, 0.6, 1.8])
    by_order = fitted(weighting=Static([1, 1, 3]))
    np.testing.assert_array_equal(by_name.predict(X), by_order.predict(X))


def test_it_is_task_weight_and_multiplies_it():
    X, _ = table()
    static = fitted(weighting=Static([1, 2, 3]))
    given = fitted(task_weight=[1, 2, 3])
    np.testing.assert_allclose(static.predict(X), given.predict(X), rtol=1e-5)
    both = fitted(weighting=Static([1, 2, 3]), task_weight=[2, 1, 1])
    np.testing.assert_allclose(both.task_weights_, np.array([2, 2, 3]) * 3 / 7)


def test_weights_can_be_searched():
    X, Y = table()
    est = MultiTaskRegressor(weighting=Static(), encoder=plain_mlp((8,)), **SAME_STEPS)
    grid = {"weighting__weights": [None, [1, 0, 0], np.array([1, 2, 3])]}
    search = GridSearchCV(est, grid, cv=2).fit(X, Y)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert scores[1] < scores[0]  # two tasks did not learn


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], r"'weights' parameter of Static must have one weight per task, "),
        ([[1, 2, 3]], r"one weight per task, shape \(3,\)\. Got shape \(1, 3\)"),
        ([1, -1, 1], r"must be finite, not negative and positive .* \[1\.0, -1\.0"),
        ([1, np.nan, 1], "must be finite"),
        ([0, 0, 0], "positive for at least one task"),
        ({"a": 0, "b": 0, "c": 0}, "positive for at least one task"),
        ({"d": 1}, r"of Static names the unknown task 'd'\. The tasks are \['a', 'b'"),
        ("abc", "'weights' parameter of Static must be an array-like"),
        (2.0, "'weights' parameter of Static must be an array-like"),
    ],
)
def test_bad_weights_are_refused_before_training(weights, message):
    _, Y = table()
    with pytest.raises(ValueError, match=message):
        fitted(pd.DataFrame(Y, columns=["a", "b", "c"]), weighting=Static(weights))


def test_a_task_alone_has_nothing_to_weigh():
    X, Y = table()
    est = MultiTaskRegressor(
        weighting=Static([1, 2, 3]), max_iter=2, n_estimators=1
    ).fit(X, Y)
    alone = clone(est.task_estimator(1)).fit(X, Y[:, 1])
    assert alone.predict(X).shape == (len(X),)
