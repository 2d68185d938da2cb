"""Facts of heads that a graph convolution makes."""

import numpy as np
import pandas as pd
import pytest
import torch

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.relation import LabelGraph, TaskGraph, TaskTable
from skmtl.relation._label_dependence import measure_dependence
from skmtl.sharing import Hard
from skmtl.weighting import WEIGHTING
from tests._networks import SAME_STEPS, plain_mlp, table, whole_network
from tests.relation import test_all as contract

ACTIVATIONS = sorted(LabelGraph._parameter_constraints["activation"][0].options)


def network(relation, n_classes=(2, 0, 3, 2, 3)):
    kinds = ["classification" if k else "regression" for k in n_classes]
    return whole_network(Hard(), plain_mlp(6), 0, kinds, list(n_classes), relation)


def fitted(relation, cls=MultiTaskRegressor, sharing="hard", y=None, **settings):
    X, Y = table()
    settings = {**SAME_STEPS, "encoder": plain_mlp((8,)), **settings}
    return cls(sharing, relation=relation, **settings).fit(X, Y if y is None else y)


def informed(relation, classes, labels):
    return relation.for_tasks(TaskTable(list("abcdef")[: len(labels)], classes, labels))


# ------------------------------------------------------------------- the formula
@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("normalization", ["sym", "row", None])
def test_heads_are_a_loop_over_outputs(n_layers, normalization):
    A = np.random.default_rng(0).random((5, 5))
    relation = LabelGraph(A, n_layers, normalization, activation="elu")
    module = network(relation)
    # One output each of the tasks 0, 1 and 3 and three of the tasks 2 and 4.
    owner = module.heads.task_of_output.tolist()
    place = [owner[:i].count(t) for i, t in enumerate(owner)]
    n, single = len(owner), {0, 1, 3}
    S = np.eye(n)
    for i in range(n):
        for j in range(n):
            if place[i] == place[j] and (owner[i] in single) == (owner[j] in single):
                S[i, j] += A[owner[i], owner[j]]
    rows, columns = S.sum(axis=1, keepdims=True), S.sum(axis=0, keepdims=True)
    S = S / {"sym": np.sqrt(rows * columns), "row": rows, None: 1}[normalization]
    E = module.heads.weight
    for i, change in enumerate(module.relation.layers.changes):
        theta = torch.eye(6) + change
        Z = [sum(S[a, b] * E[b] for b in range(n)) @ theta for a in range(n)]
        E = torch.stack(Z)
        if i < n_layers - 1:
            E = torch.nn.functional.elu(E)
    torch.testing.assert_close(module.head_weight(), E)


def test_outputs_begin_at_the_priors():
    X, Y = table()
    est = fitted(LabelGraph(), y=Y, max_iter=1, learning_rate_init=1e-12)
    np.testing.assert_allclose(est.predict(X) - Y.mean(axis=0), 0, atol=1e-8)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_embeddings_leave_zero_with_every_activation(activation):
    for optimizer in ("adamw", "sgd"):
        relation = LabelGraph(activation=activation)
        est = fitted(relation, optimizer=optimizer, learning_rate_init=0.02)
        assert est.module_.heads.weight.abs().min() > 1e-4
        assert est.loss_curve_[-1] < est.loss_curve_[0]


def test_one_linear_layer_alone_is_no_relation_with_fixed_weights():
    module = network(LabelGraph(np.zeros((5, 5)), 1, activation="identity"))
    theta = torch.eye(6) + module.relation.layers.changes[0]
    torch.testing.assert_close(module.head_weight(), module.heads.weight @ theta)


def test_a_task_without_labels_learns_from_its_neighbour():
    _, Y = table()
    Y[:, 1:], Y[:2, 1:] = np.nan, 0
    est = fitted(LabelGraph([[0, 1, 0], [1, 0, 0], [0, 0, 0]]), y=Y)
    told, neighbour, other = est.module_.head_weight().detach()
    assert torch.cosine_similarity(told, neighbour, dim=0) > 0.99
    assert not other.any()


def test_a_single_task_works():
    _, Y = table()
    assert fitted(LabelGraph(), y=Y[:, :1]).relation_ == [[1]]


# -------------------------------------------------------------------- estimation
def test_every_class_is_a_label_of_its_own():
    rng = np.random.default_rng(0)
    Y = np.column_stack([rng.integers(0, k, 80) for k in (3, 2, 3)])
    Y[:, 2] = np.where(rng.random(80) < 0.7, (Y[:, 0] + 1) % 3, Y[:, 2])
    Y[:7, 0] = -1
    classes = [np.arange(3), np.arange(2), np.array([5, 6, 7])]
    relation = LabelGraph("cooccurrence", normalization=None, threshold=0.5)
    relation = informed(relation, classes, list(Y.T))
    # Heads have the one output of task 1 first.
    owner = torch.tensor([1, 0, 0, 0, 2, 2, 2])
    S = relation.for_network(owner, True).build(3, 4).adjacency.numpy()
    nodes = [(1, 1), (0, 0), (0, 1), (0, 2), (2, 0), (2, 1), (2, 2)]
    expected = 0.8 * np.eye(7)
    for i, (t, a) in enumerate(nodes):
        joined = []
        for j, (s, b) in enumerate(nodes):
            has = (Y[:, t] == a) & (Y[:, s] >= 0)
            joined += [j] if s != t and (Y[has, s] == b).mean() >= 0.5 else []
        expected[i, joined] = 0.2 / max(len(joined), 1)
    np.testing.assert_allclose(S, expected)
    assert (S[[1, 2, 3], [5, 6, 4]] > 0).all()  # a class goes with the next


def test_correlations_between_classes_have_signs():
    codes = np.arange(60) % 3
    relation = LabelGraph(normalization=None, self_loops=False)
    same = informed(relation, [np.arange(3)] * 2, [codes, codes])
    owner = torch.tensor([0, 0, 0, 1, 1, 1])
    S = same.for_network(owner, True).build(2, 4).adjacency.numpy()
    assert not S[:3, :3].any()
    two = [(codes == c).astype(int) for c in (0, 1)]
    value = measure_dependence(two, [2, 2], "correlation")[0][0, 1]
    shrunk = [np.sqrt(r**2 - 1 / 59) for r in (1, value)]
    np.testing.assert_allclose(
        S[:3, 3:], np.eye(3) * shrunk[0] - (1 - np.eye(3)) * shrunk[1]
    )


def test_relation_sums_over_the_outputs_of_tasks():
    module = network(LabelGraph(np.ones((5, 5)) - np.eye(5), normalization="row"))
    A = module.relation_matrix().numpy()
    np.testing.assert_allclose(A.sum(axis=1), 1)
    single, several = [0, 1, 3], [2, 4]
    np.testing.assert_allclose(A[np.ix_(single, single)], 1 / 3)
    np.testing.assert_allclose(A[np.ix_(several, several)], 1 / 2)
    assert not A[np.ix_(single, several)].any()


def test_a_task_with_one_class_has_no_node():
    X, _ = table()
    Y = np.column_stack([np.zeros(60), X[:, 0] > 0, np.digitize(X[:, 1], [-1, 1])])
    est = fitted(LabelGraph(), MultiTaskClassifier, y=Y)
    assert est.module_.relation.adjacency.shape == (4, 4)
    assert not est.relation_[0].any()
    assert not est.relation_[:, 0].any()


@pytest.mark.parametrize("method", ["correlation", "mutual_information"])
def test_labels_of_all_kinds_make_a_graph(method):
    _, Z = table()
    Y = np.column_stack([Z[:, 0] > 0, Z[:, 1], np.digitize(Z[:, 2], [-1, 1])])
    est = fitted(LabelGraph(method), MultiTaskEstimator, y=Y)
    assert est.module_.relation.adjacency.shape == (5, 5)
    assert np.isfinite(est.relation_).all()


def test_a_graph_over_heads_of_tasks_has_the_same_neighbours():
    _, Y = table()
    Y = pd.DataFrame(Y, columns=list("abc"))
    found, expected = (
        fitted(relation, y=Y) for relation in (LabelGraph(), TaskGraph())
    )
    pd.testing.assert_frame_equal(found.relation_, expected.relation_)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"adjacency": np.eye(2)},
            "LabelGraph must have a row and a column for each",
        ),
        (
            {"adjacency": -np.eye(3)},
            "LabelGraph must not be negative with normalizat",
        ),
        ({"adjacency": "kl"}, "The 'adjacency' parameter of LabelGraph must be a str"),
        (
            {"adjacency": "cooccurrence"},
            "LabelGraph can be 'cooccurrence' only where",
        ),
        (
            {"activation": "relu"},
            "'activation' parameter of LabelGraph must be a str",
        ),
    ],
    ids=str,
)
def test_bad_graphs_are_refused_before_training(settings, message):
    with pytest.raises(ValueError, match=message):
        fitted(LabelGraph(**settings))


# ---------------------------------------------------------------- with the rest
@pytest.mark.parametrize("method", ["cooccurrence", "mutual_information"])
def test_members_of_every_kind_train_at_once(monkeypatch, method):
    relation = LabelGraph(method)
    if method == "cooccurrence":
        _, Y = contract.labels()
        est = fitted(relation, MultiTaskClassifier, y=Y, n_estimators=2)
        assert np.isfinite(est.loss_curve_).all()
    else:
        contract.test_stacked_members_train_as_members_in_turns(
            monkeypatch, relation, "hard"
        )


@pytest.mark.parametrize("weighting", ["uncertainty", "dwa", "upgrad", "pcgrad"])
@pytest.mark.parametrize("sharing", ["hard", "mmoe"])
def test_heads_that_are_made_combine_with_weightings(weighting, sharing):
    est = fitted(LabelGraph(), sharing=sharing, weighting=WEIGHTING[weighting]())
    assert np.isfinite(est.loss_curve_).all()
    assert est.loss_curve_[-1] < est.loss_curve_[0]


def test_tasks_of_one_class_need_no_graph():
    X = table()[0]
    est = fitted("label_graph", MultiTaskClassifier, y=np.zeros((len(X), 2), dtype=int))
    assert (est.predict(X) == 0).all()
