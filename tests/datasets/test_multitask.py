"""Generated tasks are as related as was asked for."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LinearRegression

from skmtl import MultiTaskRegressor
from skmtl.datasets import make_multitask_classification, make_multitask_regression
from skmtl.datasets._functions import N_UNITS, Functions
from skmtl.inspection import group_tasks, label_dependence
from tests._networks import plain_mlp

GENERATORS = [make_multitask_regression, make_multitask_classification]
both = pytest.mark.parametrize("make", GENERATORS)

MATRIX = [[1, 0.7, 0, 0], [0.7, 1, 0.5, 0], [0, 0.5, 1, -0.4], [0, 0, -0.4, 1]]
IN_PAIRS = np.kron(np.eye(2), np.ones((2, 2)))
RELATIONS = {
    "default": ({}, 0.8 + 0.2 * np.eye(4)),
    "unrelated": ({"relatedness": 0}, np.eye(4)),
    "half": ({"relatedness": 0.5, "n_tasks": 6}, 0.5 + 0.5 * np.eye(6)),
    "opposite": ({"relatedness": -1, "n_tasks": 2}, [[1, -1], [-1, 1]]),
    "equal": ({"relatedness": 1, "groups": 2}, IN_PAIRS),
    "number": ({"groups": 2}, 0.8 * IN_PAIRS + 0.2 * np.eye(4)),
    "labels": (
        {"groups": ["b", "a", "b"], "relatedness": 0.6},
        [[1, 0, 0.6], [0, 1, 0], [0.6, 0, 1]],
    ),
    "lists": (
        {"groups": [[2, 0], [1]], "relatedness": 0.6},
        [[1, 0, 0.6], [0, 1, 0], [0.6, 0, 1]],
    ),
    "matrix": ({"relation": MATRIX}, MATRIX),
    "many": ({"n_tasks": 40, "groups": 8}, None),
}
relations = pytest.mark.parametrize(
    ("settings", "relation"), RELATIONS.values(), ids=RELATIONS.keys()
)


@relations
def test_the_functions_have_the_correlations_asked_for(settings, relation):
    data = make_multitask_regression(
        20_000, return_X_y=False, random_state=0, **settings
    )
    if relation is not None:
        assert_allclose(data.relation, relation)
    assert_allclose(np.corrcoef(data.signal.T), data.relation, atol=0.04)
    assert_allclose(data.signal.mean(axis=0), 0, atol=0.04)
    assert_allclose(data.signal.var(axis=0), 1, atol=0.06)


@pytest.mark.parametrize("n_features", [3, 10, 100])
def test_correlations_are_exact_over_all_inputs(n_features):
    functions = Functions.draw(np.array(MATRIX), n_features, np.random.RandomState(0))
    A, W = functions.directions, functions.readout
    assert_allclose((A**2).sum(axis=1), 1)
    # E[max(a x, 0) max(b x, 0)] by polar integration over the plane of a and b.
    cosine = np.clip(A @ A.T, -1, 1)[..., None]
    angle = (np.arange(4000) + 0.5) * 2 * np.pi / 4000
    second = np.maximum(np.cos(angle - np.arccos(cosine)), 0)
    moment = 2 * (np.maximum(np.cos(angle), 0) * second).mean(axis=-1)
    covariance = moment - 1 / (2 * np.pi)
    assert_allclose(W @ covariance @ W.T, MATRIX, atol=1e-4)


def test_unrelated_tasks_have_hidden_units_of_their_own():
    functions = Functions.draw(np.eye(3), 3 * N_UNITS, np.random.RandomState(0))
    assert_allclose(
        functions.directions @ functions.directions.T, np.eye(12), atol=1e-9
    )
    used = abs(functions.readout) > 1e-9
    assert_array_equal(used, np.kron(np.eye(3), np.ones(N_UNITS)))


def test_functions_are_not_linear():
    X, Y = make_multitask_regression(3000, noise=0, relatedness=0, random_state=0)
    assert 0.3 < LinearRegression().fit(X, Y).score(X, Y) < 0.8


def test_noise_lowers_correlations_and_the_best_score():
    data = make_multitask_regression(
        50_000, n_tasks=2, noise=[0.5, 2], return_X_y=False, random_state=0
    )
    noise = data.Y - data.signal
    assert_allclose(noise.std(axis=0), [0.5, 2], rtol=0.02)
    correlation = np.corrcoef(data.Y.T, noise.T)
    assert correlation[0, 1] == pytest.approx(0.8 / np.sqrt(1.25 * 5), abs=0.02)
    assert abs(correlation[2, 3]) < 0.02
    exact = make_multitask_regression(9, noise=0, return_X_y=False, random_state=0)
    assert_array_equal(exact.Y, exact.signal)


@both
def test_functions_do_not_depend_on_the_number_of_rows(make):
    few, many = (make(n, return_X_y=False, random_state=0) for n in (20, 30))
    assert_array_equal(few.X, many.X[:20])
    assert_allclose(few.signal, many.signal[:20])


@both
def test_the_same_seed_gives_the_same_data(make):
    settings = {"n_samples": 30, "missing": 0.3}
    first, again, other = (make(**settings, random_state=seed) for seed in (0, 0, 1))
    assert len(first) == 2
    for a, b in zip(first, again, strict=True):
        assert_array_equal(a, b)
    assert not np.array_equal(first[0], other[0])


@both
@pytest.mark.parametrize("n_groups", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_groups_are_found_in_the_labels(make, n_groups, seed):
    data = make(
        500,
        n_tasks=9,
        groups=n_groups,
        noise=0.3,
        missing=0.3,
        return_X_y=False,
        random_state=seed,
    )
    assert len(data.groups) == n_groups
    for method in ("mutual_information", "correlation"):
        affinity = label_dependence(data.Y, method).value
        assert group_tasks(affinity) == data.groups
        assert group_tasks(affinity, n_groups) == data.groups


@pytest.mark.parametrize(
    ("settings", "groups"),
    [
        ({}, [[0, 1, 2, 3]]),
        ({"relatedness": 0}, [[0], [1], [2], [3]]),
        ({"groups": 3, "n_tasks": 7}, [[0, 1, 2], [3, 4], [5, 6]]),
        ({"groups": [1, 0, 1, 0, 2]}, [[0, 2], [1, 3], [4]]),
        ({"groups": [[3, 1], [2, 0]]}, [[0, 2], [1, 3]]),
        ({"groups": np.array([[0, 3], [1, 2]])}, [[0, 3], [1, 2]]),
        ({"relation": MATRIX}, [[0, 1, 2, 3]]),
        ({"relation": np.eye(2)}, [[0], [1]]),
    ],
)
@both
def test_groups_are_given_back(make, settings, groups):
    data = make(10, return_X_y=False, random_state=0, **settings)
    assert data.groups == groups
    assert data.Y.shape == (10, sum(map(len, groups)))


def test_classes_have_their_shares():
    data = make_multitask_classification(
        1000,
        n_tasks=4,
        n_classes=[2, 4, 2, 5],
        imbalance=[0.9, 0.7, 0.5, 0.2],
        noise=0.5,
        return_X_y=False,
        random_state=0,
    )
    shares = [np.bincount(y) for y in data.Y.T]
    expected = [[900, 100], [700, 100, 100, 100], [500, 500], [200] * 5]
    for found, counts in zip(shares, expected, strict=True):
        assert_array_equal(found, counts)
    assert data.Y.dtype == np.int64
    means = [data.signal[data.Y[:, 1] == c, 1].mean() for c in range(4)]
    assert means == sorted(means)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_classes_are_equally_frequent_by_default(n_classes):
    _, Y = make_multitask_classification(n_classes * 30, n_classes=n_classes)
    for y in Y.T:
        assert_array_equal(np.bincount(y), [30] * n_classes)


def test_classes_are_those_of_noise_free_scores_without_noise():
    data = make_multitask_classification(
        200, n_classes=4, noise=0, return_X_y=False, random_state=0
    )
    order = data.signal.argsort(axis=0)
    sorted_classes = np.take_along_axis(data.Y, order, axis=0)
    assert_array_equal(sorted_classes, np.repeat(np.arange(4), 50)[:, None] * [[1] * 4])


@both
def test_missing_labels_have_their_shares(make):
    settings = {"n_samples": 200, "random_state": 0}
    _, Y = make(**settings, missing=[0, 0.25, 0.5, 0.999])
    assert_array_equal(np.isnan(Y).sum(axis=0), [0, 50, 100, 199])
    whole = make(**settings)[1]
    present = ~np.isnan(Y)
    assert_array_equal(Y[present], whole[present])
    _, Y = make(**settings, missing=0.3)
    gone = np.isnan(Y)
    assert_array_equal(gone.sum(axis=0), 60)
    assert 10 < (gone[:, 0] & gone[:, 1]).sum() < 28  # 18 by chance


def scores(relatedness, seed):
    """Return scores of separate networks and a shared one, with one label per row."""
    data = make_multitask_regression(
        1000,
        n_tasks=6,
        relatedness=relatedness,
        noise=0.3,
        return_X_y=False,
        random_state=seed,
    )
    Y = data.Y[:200].copy()
    Y[np.arange(200)[:, None] % 6 != np.arange(6)] = np.nan
    settings = {
        "encoder": plain_mlp((64,), numeric_embedding=None),
        "max_iter": 60,
        "learning_rate_init": 0.01,
        "early_stopping": False,
        "random_state": 0,
        "n_estimators": 1,
    }
    return [
        MultiTaskRegressor(sharing, **settings)
        .fit(data.X[:200], Y)
        .score(data.X[200:], data.signal[200:])
        for sharing in ("independent", "hard")
    ]


def test_a_shared_network_helps_related_tasks_and_harms_others():
    separate, shared = scores(relatedness=0.9, seed=0)
    assert shared > separate + 0.03
    separate, shared = scores(relatedness=0, seed=0)
    assert shared < separate - 0.03


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_samples": 0}, "The 'n_samples' parameter of make_multitask_{} must be an"),
        ({"n_features": 0}, "The 'n_features' parameter of make_multitask_{} must be"),
        ({"n_tasks": 0}, "The 'n_tasks' parameter of make_multitask_{} must be an int"),
        (
            {"relatedness": 2},
            "The 'relatedness' parameter of make_multitask_{} must be",
        ),
        ({"noise": -1}, "The 'noise' parameter of make_multitask_{} must be"),
        ({"missing": 1}, "The 'missing' parameter of make_multitask_{} must be"),
        (
            {"random_state": "a"},
            "The 'random_state' parameter of make_multitask_{} mus",
        ),
        ({"return_X_y": 2}, "The 'return_X_y' parameter of make_multitask_{} must be"),
        (
            {"relatedness": -0.5, "n_tasks": 6},
            (
                "The 'relatedness' parameter must be at least -0.2 for 6 related "
                "tasks, since not all of them can be opposites. Got -0.5."
            ),
        ),
        (
            {"relation": np.eye(2), "groups": 2},
            (
                "The 'relation' parameter must not be given together with 'groups' or "
                "'relatedness', which it takes the place of: leave them out."
            ),
        ),
        ({"relation": np.eye(2), "relatedness": 0}, "must not be given together with"),
        (
            {"relation": np.ones((2, 3))},
            (
                "The 'relation' parameter must be a matrix of correlations with one "
                "row and one column per task. Got shape (2, 3)."
            ),
        ),
        ({"relation": np.eye(2), "n_tasks": 3}, "Got shape (2, 2) for n_tasks=3."),
        (
            {"relation": [[1, 0.5], [0.4, 1]]},
            (
                "The 'relation' parameter must be a matrix of correlations: symmetric "
                "and without NaN."
            ),
        ),
        ({"relation": [[1, np.nan], [np.nan, 1]]}, "symmetric and without NaN."),
        ({"relation": 2 * np.eye(2)}, "with ones on the diagonal. Got [2.0, 2.0]."),
        (
            {"relation": [[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]]},
            (
                "positive semidefinite, which no set of functions can do without. Got "
                "the eigenvalue -0.8: move its entries towards zero."
            ),
        ),
        (
            {"groups": 5},
            "The 'groups' parameter must be at most the number of tasks, 4. Got 5.",
        ),
        (
            {"groups": [0, 0, 1], "n_tasks": 4},
            (
                "The 'groups' parameter must be a number, one label per task or a list "
                "of lists of tasks. Got 3 labels for 4 tasks."
            ),
        ),
        ({"groups": []}, "or a list of lists of tasks. Got 0 labels."),
        (
            {"groups": [[0, 1], [1]]},
            (
                "The 'groups' parameter must hold every task once, but misses [2] and "
                "repeats [1]."
            ),
        ),
        ({"groups": [[0, 7]]}, "The 'groups' parameter names the unknown task 7. The"),
        (
            {"noise": [1, 2]},
            (
                "The 'noise' parameter must be one number or one for each of the 4 "
                "tasks. Got shape (2,)."
            ),
        ),
        (
            {"noise": [0, 0, -1, 0]},
            (
                "The 'noise' parameter must hold numbers from 0 to less than inf. Got "
                "[0.0, 0.0, -1.0, 0.0]."
            ),
        ),
        (
            {"missing": [0, 0, 0, 1]},
            "The 'missing' parameter must hold numbers from 0 to less than 1. Got",
        ),
        (
            {"n_features": 1},
            (
                "The 'n_features' parameter must be large enough for 4 tasks to have "
                "functions that do not correlate. Got 1: use more features or fewer "
                "tasks."
            ),
        ),
    ],
)
@both
def test_bad_parameters_are_refused(make, settings, message):
    message = message.format(make.__name__.removeprefix("make_multitask_"))
    with pytest.raises(ValueError, match=re.escape(message)):
        make(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"n_classes": 1},
            "The 'n_classes' parameter of make_multitask_classification",
        ),
        (
            {"n_classes": [2, 2, 2, 1]},
            "The 'n_classes' parameter must hold numbers from",
        ),
        ({"n_classes": [2]}, "The 'n_classes' parameter must be one number or one for"),
        (
            {"n_classes": [2, 2, 2, 2.5]},
            "The 'n_classes' parameter must hold integers. Got",
        ),
        ({"imbalance": 1.0}, "The 'imbalance' parameter of make_multitask_classific"),
        (
            {"imbalance": 0.3, "n_classes": [4, 4, 3, 4]},
            (
                "The 'imbalance' parameter must hold numbers from 0.333 to less than "
                "1. Got [0.3, 0.3, 0.3, 0.3]."
            ),
        ),
    ],
)
def test_classes_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_multitask_classification(**settings)
