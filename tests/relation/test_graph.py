"""Facts of graph convolutions over tasks."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl._activations import ACTIVATIONS
from skmtl._adjacency import estimated
from skmtl.encoder import MLP
from skmtl.relation import TaskGraph
from tests._networks import SAME_STEPS, table
from tests.relation._helpers import LINEAR, D, grouped_tasks, heads, owners

CHAIN = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
#: Not symmetric, so that rows and columns are told apart.
ARROWS = np.array([[0.0, 0.5, 0.0], [1.0, 0.0, 2.0], [0.0, 0.0, 0.0]])


class Tasks:
    """What is known of tasks before training."""

    def __init__(self, names, labels=(), classes=None):
        self.names, self.labels = names, labels
        self.classes = [None] * len(names) if classes is None else classes
        self.n_tasks = len(names)


def of_features(spec, n_tasks=3, seed=0):
    """Return the module over features, with random transforms."""
    module = spec.for_network(owners([1] * n_tasks), False).build(n_tasks, D).double()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if "changes" in name:
            nn.init.normal_(parameter, generator=generator)
    return module


def expected_weights(A, normalization, self_loops):
    A = A + np.eye(len(A)) * self_loops
    rows, columns = np.abs(A).sum(axis=1), np.abs(A).sum(axis=0)
    normalised = np.zeros_like(A)
    for i in range(len(A)):
        for j in range(len(A)):
            if A[i, j]:
                by = {"row": rows[i], "sym": np.sqrt(rows[i] * columns[j]), None: 1.0}
                normalised[i, j] = A[i, j] / by[normalization]
    return normalised


@pytest.mark.parametrize("normalization", ["sym", "row", None])
@pytest.mark.parametrize("self_loops", [True, False])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("propagate_weight", [True, False])
def test_layers_are_the_formula_task_by_task(
    normalization, self_loops, residual, propagate_weight
):
    spec = TaskGraph(
        ARROWS,
        n_layers=2,
        normalization=normalization,
        self_loops=self_loops,
        residual=residual,
        activation="tanh",
        propagate_weight=propagate_weight,
    )
    module = of_features(spec)
    A = torch.from_numpy(expected_weights(ARROWS, normalization, self_loops))
    torch.testing.assert_close(module.matrix(), A)
    H = heads(5, 3, D)
    found, sigma = module(H), ACTIVATIONS["tanh"]()
    for change in module.layers.changes:
        theta = torch.eye(D, dtype=torch.float64) + change
        new = torch.empty_like(H)
        for t in range(3):
            neighbours = sum(A[t, s] * H[:, s] for s in range(3))
            z = H[:, t] @ theta + neighbours
            if propagate_weight:  # Kipf & Welling
                z = neighbours @ theta
            new[:, t] = sigma(z) + (H[:, t] if residual else 0)
        H = new
    torch.testing.assert_close(found, H)


@pytest.mark.parametrize("sharing", ["hard", "independent", "additive"])
def test_a_graph_without_neighbours_is_no_relation(sharing):
    X, Y = table()
    graph = TaskGraph(np.zeros((3, 3)), self_loops=False)
    settings = {"encoder": MLP((8,)), **SAME_STEPS, "alpha": 0.0}
    plain = MultiTaskRegressor(sharing, **settings).fit(X, Y)
    # Transforms that stay at the identity, as the issue has it.
    related = MultiTaskRegressor(sharing, relation=graph, **settings)
    module = related.fit(X, Y).module_
    for name, parameter in module.named_parameters():
        if "changes" in name:
            nn.init.zeros_(parameter)
    H = heads(4, 3, module.sharing.width)
    if sharing == "hard":
        np.testing.assert_allclose(related.predict(X), plain.predict(X))
    else:
        torch.testing.assert_close(module.double().relation(H), H)


def test_heads_of_neighbours_move_together():
    graph = TaskGraph(CHAIN, n_layers=2, self_loops=False, normalization=None)
    spec = graph.for_network(owners([1, 1, 1]), True)
    module, W = spec.build(3, D).double(), heads(3, D)
    step = torch.eye(3, dtype=torch.float64) + torch.from_numpy(CHAIN)
    found = module.head_weight(W, owners([1, 1, 1]))
    torch.testing.assert_close(found, step @ step @ W)
    torch.testing.assert_close(module(heads(2, 3, D)), heads(2, 3, D))


def test_outputs_pass_to_those_of_the_same_class():
    classes = [np.array(["a", "b", "c"])] * 2 + [np.array([0, 1])]
    tasks = Tasks(["x", "y", "z"], classes=classes)
    owner = owners([3, 3, 1])
    graph = TaskGraph(CHAIN, n_layers=1, self_loops=False, normalization=None)
    spec = graph.for_tasks(tasks).for_network(owner, True)
    W = heads(7, D)
    found = spec.build(3, D).double().head_weight(W, owner)
    # The third task is a neighbour of the second, but its output is another's.
    torch.testing.assert_close(found[:3], W[:3] + W[3:6])
    torch.testing.assert_close(found[3:6], W[3:6] + W[:3])
    torch.testing.assert_close(found[6], W[6])


def test_attention_depends_on_the_sample_and_sums_to_one():
    module = of_features(TaskGraph("attention"))
    H = heads(5, 3, D)
    torch.testing.assert_close(
        module.weights(H), torch.full((5, 3, 3), 1 / 3, dtype=torch.float64)
    )
    nn.init.normal_(module.weights.query.weight)
    weights = module.weights(H)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(5, 3).double())
    assert (weights[0] - weights[1]).abs().max() > 1e-3
    assert module.matrix() is None


def test_attention_without_self_loops_looks_at_others():
    module = of_features(TaskGraph("attention", self_loops=False))
    diagonal = module.weights(heads(5, 3, D)).diagonal(dim1=1, dim2=2)
    assert not diagonal.any()


def test_learned_weights_move_from_where_they_start():
    X, Y = grouped_tasks(n=100)
    start = np.ones((6, 6)) - np.eye(6)
    graph = TaskGraph("learned", start=start)
    begun = graph.for_tasks(Tasks(range(6))).for_network(owners([1] * 6), True)
    before = begun.build(6, D).matrix().detach().numpy()
    np.testing.assert_allclose(before, np.full((6, 6), 1 / 6))
    est = MultiTaskRegressor(relation=graph, **LINEAR).fit(X, Y)
    assert np.abs(est.relation_ - before).max() > 0.01


def test_correlation_of_the_labels_is_what_numpy_says():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(500, 3)) @ np.array([[1, 0.8, 0], [0, 0.6, 0], [0, 0, 1.0]])
    y[:100, 0] = np.nan
    found = estimated("correlation", range(3), [None] * 3, list(y.T), "it")
    r = np.corrcoef(y[100:, 0], y[100:, 1])[0, 1]
    np.testing.assert_allclose(found[0, 1], np.sqrt(r**2 - 1 / 399))
    np.testing.assert_allclose(found, found.T)
    assert not np.diag(found).any()


def test_cooccurrence_is_the_paper_s_on_a_small_table():
    # Of three rows with the first label two have the second, and of two with the
    # second both have the first; the third stands alone.
    first, second, third = [1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 1, 0]
    labels = [np.array(y) for y in (first, second, third)]
    tasks = Tasks(["a", "b", "c"], labels, [np.array([0, 1])] * 3)
    graph = TaskGraph("cooccurrence", threshold=0.7, normalization=None)
    A = graph.for_tasks(tasks)
    A = A.for_network(owners([1, 1, 1]), False).build(3, D).matrix()
    np.testing.assert_allclose(A, [[0.8, 0, 0], [0.2, 0.8, 0], [0, 0, 0.8]])
    lower = TaskGraph("cooccurrence", threshold=0.6, normalization=None)
    A = lower.for_tasks(tasks).for_network(owners([1, 1, 1]), False).build(3, D)
    np.testing.assert_allclose(A.matrix()[0], [0.8, 0.2, 0])


@pytest.mark.parametrize("adjacency", ["correlation", "mutual_information"])
def test_groups_are_seen_in_the_labels(adjacency):
    X, Y = grouped_tasks(n=300, group=(0, 0, 1, 1))
    names = ["a", "b", "c", "d"]
    Y = pd.DataFrame(Y, columns=names)
    graph = TaskGraph(adjacency, self_loops=False, normalization=None)
    A = MultiTaskRegressor(relation=graph, **LINEAR | {"max_iter": 1}).fit(X, Y)
    A = A.relation_.abs()
    assert A.index.tolist() == A.columns.tolist() == names
    assert min(A.loc["a", "b"], A.loc["c", "d"]) > A.loc[["a", "b"], ["c", "d"]].max(
        axis=None
    )


def test_kl_is_of_the_labels_distributions():
    labels = [np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])]
    classes = [np.array([0, 1])] * 2
    found = estimated("kl", ["a", "b"], classes, labels, "it")
    p, q = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    mean = ((p - q) * np.log(p / q)).sum() / 2
    np.testing.assert_allclose(found[0, 1], np.exp(-mean))


def test_names_put_weights_in_order():
    X, Y = table()
    Y = pd.DataFrame(Y, columns=["a", "b", "c"])
    A = pd.DataFrame(ARROWS, ["a", "b", "c"], ["a", "b", "c"])
    graph = TaskGraph(A, normalization=None, self_loops=False)
    turned = TaskGraph(A.iloc[::-1, [1, 0, 2]], normalization=None, self_loops=False)
    settings = LINEAR | {"max_iter": 1}
    for spec in (graph, turned):
        est = MultiTaskRegressor(relation=spec, **settings).fit(X, Y)
        np.testing.assert_allclose(est.relation_, ARROWS)


def test_one_task_and_few_labels_work():
    X, Y = table()
    est = MultiTaskRegressor(relation="graph", **LINEAR | {"max_iter": 2})
    assert est.fit(X, Y[:, 0]).relation_.shape == (1, 1)
    Y = Y.copy()
    Y[::2, 0], Y[1::2, 1:] = np.nan, np.nan
    assert not np.isnan(est.fit(X, Y).predict(X)).any()


@pytest.mark.parametrize("adjacency", ["correlation", "learned", "attention"])
@pytest.mark.parametrize("sharing", ["hard", "additive"])
def test_gradients_are_balanced(adjacency, sharing):
    X, Y = table()
    Y = Y > 0
    est = MultiTaskClassifier(
        sharing,
        weighting="pcgrad",
        relation=TaskGraph(adjacency),
        encoder=MLP((8,)),
        max_iter=15,
        learning_rate_init=0.01,
        random_state=0,
    ).fit(X, Y)
    assert est.loss_curve_[-1] < est.loss_curve_[0]


@pytest.mark.parametrize(
    ("adjacency", "sentence"),
    [
        (np.ones((3, 2)), r"must have shape \(n_tasks, n_tasks\).*Got shape \(3, 2\)"),
        (np.ones((2, 2)), "row and a column for each of the 3 tasks"),
        (np.full((3, 3), np.nan), "must be finite. Got nan: give zero"),
        (-np.ones((3, 3)), "must not be negative with normalization='sym'. Got -1.0"),
        ([["a"] * 3] * 3, "must hold numbers"),
        (pd.DataFrame(CHAIN, list("abx"), list("abx")), "'adjacency' parameter"),
        ("kl", "mutual_information"),
        ("cooccurrence", "two classes"),
    ],
    ids=str,
)
def test_weights_that_no_tasks_can_have_are_refused(adjacency, sentence):
    X, Y = table()
    Y = pd.DataFrame(Y, columns=["a", "b", "c"])
    est = MultiTaskRegressor(relation=TaskGraph(adjacency), max_iter=1)
    with pytest.raises(ValueError, match=sentence):
        est.fit(X, Y)
    assert not hasattr(est, "net_")


def test_a_start_is_for_learned_weights():
    X, Y = table()
    est = MultiTaskRegressor(relation=TaskGraph("kl", start=CHAIN))
    with pytest.raises(ValueError, match="no use for start"):
        est.fit(X, Y)
