"""Weights that combine models, against scipy's general optimizers."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from skmtl.ensemble._combination import (
    TaskLabels,
    fit_mixture_weights,
    fit_squared_error_weights,
    select_greedily,
)

N_MODELS, N_TASKS, N = 3, 2, 80


def minimize_on_simplex(function, n):
    """Return the minimum over non-negative numbers of sum one."""
    constraint = {"type": "eq", "fun": lambda w: w.sum() - 1}
    start, bounds = np.full(n, 1 / n), [(1e-9, 1)] * n
    with warnings.catch_warnings():  # of steps that older versions cut at the bounds
        warnings.simplefilter("ignore", RuntimeWarning)
        found = minimize(
            function, start, bounds=bounds, constraints=constraint, tol=1e-13
        )
    return found.x


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    values = rng.beta(2, 1, size=(N_MODELS, N_TASKS * N))
    values[0, :N] **= 0.3  # the first model is better in the first task
    task, weight = np.repeat([0, 1], N), rng.uniform(0.5, 1.5, N_TASKS * N)
    weight /= np.repeat([weight[:N].mean(), weight[N:].mean()], N)
    return TaskLabels(values, task, weight)


def of_task(labels, t):
    rows = labels.task == t
    return labels.values[:, rows], labels.weight[rows]


def test_mixture_weights_maximise_the_likelihood_of_each_task(labels):
    weights = fit_mixture_weights(labels, N_TASKS, shrinkage=0.0)
    for t in range(N_TASKS):
        values, weight = of_task(labels, t)
        best = minimize_on_simplex(
            lambda w, p=values, v=weight: -v @ np.log(w @ p), N_MODELS
        )
        assert_allclose(weights[:, t], best, atol=1e-3)
    assert weights[0, 0] > weights[0, 1]


def test_squared_error_weights_are_those_of_least_squares(labels):
    errors = labels._replace(values=labels.values - [[0.5], [0.7], [0.2]])
    weights = fit_squared_error_weights(errors, N_TASKS, shrinkage=0.0)
    for t in range(N_TASKS):
        values, weight = of_task(errors, t)
        best = minimize_on_simplex(
            lambda w, e=values, v=weight: v @ (w @ e) ** 2, N_MODELS
        )
        assert_allclose(weights[:, t], best, atol=1e-4)


@pytest.mark.parametrize("fit", [fit_mixture_weights, fit_squared_error_weights])
def test_weights_of_tasks_are_drawn_to_common_ones(fit, labels):
    alone, some, much, common = (
        fit(labels, N_TASKS, shrinkage=s) for s in (0.0, 30.0, 1e9, np.inf)
    )
    for weights in (alone, some, much, common):
        assert_allclose(weights.sum(axis=0), 1)
        assert (weights >= 0).all()
    assert_allclose(common[:, 0], common[:, 1])
    assert_allclose(much, common, atol=1e-4)
    distances = [np.linalg.norm(weights - common) for weights in (alone, some, much)]
    assert distances[0] > distances[1] > distances[2]


@pytest.mark.parametrize("fit", [fit_mixture_weights, fit_squared_error_weights])
def test_a_task_without_labels_has_the_common_weights(fit, labels):
    weights = fit(labels, N_TASKS + 1, shrinkage=5.0)
    common = fit(labels, N_TASKS + 1, shrinkage=np.inf)
    assert_allclose(weights[:, 2], common[:, 2], atol=1e-6)


def test_a_squared_error_penalty_is_that_of_the_distance(labels):
    """The minimum is that of mean w'Qw / 1 + s |w - common|^2 / n."""
    errors = labels._replace(values=labels.values - 0.6)
    common = fit_squared_error_weights(errors, N_TASKS, np.inf)[:, 0]
    weights = fit_squared_error_weights(errors, N_TASKS, shrinkage=20.0)
    values, weight = of_task(errors, 0)
    best = minimize_on_simplex(
        lambda w: weight @ (w @ values) ** 2 / N + 20.0 / N * np.sum((w - common) ** 2),
        N_MODELS,
    )
    assert_allclose(weights[:, 0], best, atol=1e-4)


def test_greedy_selection_finds_the_best_mixture():
    """The score of a task is highest at a share of the models of its own."""
    ideal = np.array([[0.8, 0.2], [0.2, 0.8], [0.0, 0.0]])

    def score(counts):
        return -((counts / counts.sum(axis=0) - ideal) ** 2).sum(axis=0)

    each = select_greedily(score, N_MODELS, N_TASKS, together=False)
    assert_allclose(each, ideal, atol=0.04)
    together = select_greedily(score, N_MODELS, N_TASKS, together=True)
    assert_allclose(together, [[0.5, 0.5], [0.5, 0.5], [0, 0]], atol=0.04)
