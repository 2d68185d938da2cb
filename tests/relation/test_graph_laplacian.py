"""Facts of heads that a graph draws together."""

import numpy as np
import pandas as pd
import pytest
import torch

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.relation import GraphLaplacian, MeanRegularized, TaskTable
from tests._networks import SAME_STEPS, table
from tests.relation._helpers import LINEAR, D, grouped_tasks, heads, owners

CHAIN = [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]


def tasks(n_tasks):
    """Return what is known of tasks before training: one label of each."""
    names = [f"task{t}" for t in range(n_tasks)]
    return TaskTable(names, [None] * n_tasks, [np.zeros(1)] * n_tasks)


def penalty(A, W, strength=1.0, sizes=None):
    """Return the penalty of heads by a given graph."""
    sizes = [1] * len(A) if sizes is None else sizes
    spec = GraphLaplacian(A, strength).for_tasks(tasks(len(A)))
    module = spec.for_network(owners(sizes), True).build(len(A), W.shape[1]).double()
    return module.penalty(W, owners(sizes))


def random_graph(n_tasks, seed=0):
    A = np.random.default_rng(seed).uniform(size=(n_tasks, n_tasks))
    A = A + A.T
    np.fill_diagonal(A, 0)
    return A


def fitted(relation, X, Y, cls=MultiTaskRegressor):
    return cls(relation=relation, **LINEAR).fit(X, Y)


def test_two_tasks_are_a_squared_distance_apart():
    W = heads(2, D)
    expected = 0.3 * D * (W[0] - W[1]).square().sum()
    torch.testing.assert_close(penalty([[0, 7], [7, 0]], W, 0.3), expected)


@pytest.mark.parametrize("sign", [1, -1])
def test_it_is_the_sum_over_pairs(sign):
    A, W = random_graph(5), heads(5, D)
    A[1, 3] *= sign
    A[3, 1] *= sign
    scaled = A / np.abs(A).sum(axis=1).mean()
    expected = D * sum(
        abs(scaled[s, t]) / 2 * (W[s] - np.sign(A[s, t]) * W[t]).square().sum()
        for s in range(5)
        for t in range(5)
    )
    torch.testing.assert_close(penalty(A, W), expected)


def test_equal_heads_cost_nothing():
    W = heads(1, D).expand(5, D)
    assert float(penalty(random_graph(5), W)) == pytest.approx(0, abs=1e-12)


def test_a_negative_edge_draws_heads_to_opposites():
    w = heads(1, D)
    opposite = torch.cat([w, -w])
    edge = np.array([[0, -1], [-1, 0]])
    assert float(penalty(edge, opposite)) == pytest.approx(0, abs=1e-12)
    assert float(penalty(-edge, opposite)) == pytest.approx(4 * D * float(w @ w.T))


def test_a_direction_does_not_matter():
    A, W = random_graph(5), heads(5, D)
    directed = 2 * np.triu(A)
    torch.testing.assert_close(penalty(directed, W), penalty(A, W))


def test_scale_and_diagonal_do_not_matter():
    A, W = random_graph(5), heads(5, D)
    torch.testing.assert_close(penalty(9 * A + np.eye(5), W), penalty(A, W))


def test_a_complete_graph_is_the_distance_from_the_mean():
    W = heads(5, D)
    module = MeanRegularized(1.0).build(5, D).double()
    expected = module.penalty(W, owners([1] * 5)) * 5 / 4
    torch.testing.assert_close(penalty(np.ones((5, 5)), W), expected)


def test_tasks_with_other_numbers_of_outputs_are_no_neighbours():
    W, sizes = heads(9, D), [3, 1, 3, 1, 1]
    three = (W[0:3] - W[4:7]).square().sum()
    one = sum((W[s] - W[t]).square().sum() for s, t in ((3, 7), (3, 8), (7, 8)))
    expected = D * (three + one) / (2 * 4 / 5)  # 4 edges are left between 5 tasks
    torch.testing.assert_close(penalty(np.ones((5, 5)), W, sizes=sizes), expected)


def test_a_graph_without_edges_is_no_relation():
    X, Y = table()
    none = fitted(GraphLaplacian(np.zeros((3, 3))), X, Y)
    np.testing.assert_allclose(none.predict(X), fitted(None, X, Y).predict(X))


def test_neighbours_agree_under_a_large_strength():
    X, Y = table()
    A = [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    est = fitted(GraphLaplacian(A, strength=600.0), X, Y)
    free = fitted(None, X, Y).module_.heads.weight.detach()
    W = est.module_.heads.weight.detach()
    assert (W[0] - W[1]).norm() < 0.02 * (free[0] - free[1]).norm()
    torch.testing.assert_close(W[2], free[2])


def test_names_align_a_frame():
    X, Y = table()
    Y = pd.DataFrame(Y, columns=["a", "b", "c"])
    chain = pd.DataFrame(CHAIN, ["a", "b", "c"], ["a", "b", "c"])
    shuffled = chain.loc[["c", "a", "b"], ["b", "c", "a"]]
    found = fitted(GraphLaplacian(shuffled), X, Y).relation_
    pd.testing.assert_frame_equal(found, 0.75 * chain)


def test_correlation_is_estimated_with_its_sign():
    X, Y = grouped_tasks()
    Y[:, 0] *= -1
    Y[::3, 2] = np.nan
    Y[1::3, 3] = np.nan
    r, present = pd.DataFrame(Y).corr().to_numpy(), (~np.isnan(Y)).astype(int)
    chance = 1 / (present.T @ present - 1)  # what unrelated labels have on average
    A = np.sign(r) * np.sqrt(np.maximum(r**2 - chance, 0))
    np.fill_diagonal(A, 0)
    found = fitted(GraphLaplacian(), X, Y).relation_
    np.testing.assert_allclose(found, A / np.abs(A).sum(axis=1).mean())
    assert found[0, 2] < 0 < found[4, 2]


@pytest.mark.parametrize("method", ["cooccurrence", "kl", "mutual_information"])
def test_other_estimates_relate_tasks_of_one_group_more(method):
    X, Y = grouped_tasks()
    group = np.array([0, 1, 0, 1, 0, 1])
    cut = 4 * group - 2 if method == "kl" else 2
    est = fitted(GraphLaplacian(method), X, cut < Y, MultiTaskClassifier)
    found = np.asarray(est.relation_)
    together = (group[:, None] == group) & ~np.eye(6, dtype=bool)
    apart = group[:, None] != group
    assert found[together].min() > found[apart].max()
    assert np.abs(found).sum() == pytest.approx(6)


@pytest.mark.parametrize(
    ("adjacency", "message"),
    [
        (np.ones((2, 2)), "a row and a column for each of the 3 tasks"),
        (np.ones((3, 2)), r"must have shape \(n_tasks, n_tasks\)"),
        (np.full((3, 3), np.nan), "must be finite"),
        ([["a"] * 3] * 3, "must hold numbers"),
        ("no method", "'adjacency' parameter of GraphLaplacian"),
        (pd.DataFrame(CHAIN, list("abd"), list("abd")), "names the unknown task 'd'"),
        ("cooccurrence", "only where all tasks have two classes"),
    ],
)
def test_bad_graphs_are_refused(adjacency, message):
    X, Y = table()
    Y = pd.DataFrame(Y, columns=["a", "b", "c"])
    with pytest.raises(ValueError, match=message):
        fitted(GraphLaplacian(adjacency), X, Y)


def test_labels_without_common_rows_tell_no_graph():
    X, Y = table()
    Y[np.arange(len(Y))[:, None] % 3 != np.arange(3)] = np.nan
    settings = {**SAME_STEPS, "max_iter": 1}
    with pytest.warns(UserWarning, match="no row has the labels of two tasks"):
        est = MultiTaskRegressor(relation=GraphLaplacian(), **settings).fit(X, Y)
    assert not est.relation_.any()
