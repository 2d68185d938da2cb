"""Facts of graph convolutions over tasks."""

import numpy as np
import pandas as pd
import pytest
import torch

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.relation import TaskGraph, TaskTable
from skmtl.relation._label_dependence import measure_dependence
from skmtl.weighting import WEIGHTING
from tests._networks import SAME_STEPS, plain_mlp, randomised, table, whole_network
from tests.relation import test_all as contract

T, WIDTH = 4, 3
GRAPH = np.array([[0, 2, 0, 1], [2, 0, 3, 0], [0, 3, 0, 0], [1, 0, 0, 0.0]])
NAMES = ["a", "b", "c"]
CHAIN = [[0, 1, 0], [1, 0, 2], [0, 2, 0]]

forms = pytest.mark.parametrize(
    "settings",
    [
        {},
        {"n_layers": 1, "activation": "relu"},
        {"normalization": "row", "residual": True},
        {"normalization": None, "self_loops": False, "activation": "tanh"},
        {"propagate_weight": True, "n_layers": 3},
    ],
    ids=str,
)


def over_features(adjacency=GRAPH, seed=0, **settings):
    """Return a module with random weights and what it reads."""
    module = TaskGraph(adjacency, **settings).build(T, WIDTH).double()
    H = torch.randn(5, T, WIDTH, generator=torch.Generator().manual_seed(1))
    return randomised(module, seed), H.double()


def over_heads(relation, n_classes=(2, 0, 3, 2, 3), sharing="hard"):
    """Return the graph of a network whose tasks share all but their heads."""
    kinds = ["classification" if k else "regression" for k in n_classes]
    sharing = contract.SHARING[sharing]()
    return whole_network(sharing, plain_mlp(6), 0, kinds, list(n_classes), relation)


def normalised(A, normalization, self_loops):
    A = A + np.eye(len(A)) if self_loops else A
    if normalization == "row":
        return A / A.sum(axis=1, keepdims=True)
    if normalization == "sym":
        D = np.diag(A.sum(axis=1) ** -0.5)
        return D @ A @ D
    return A


def fitted(relation, cls=MultiTaskRegressor, sharing="hard", y=None, **settings):
    X, Y = table()
    settings = {**SAME_STEPS, "encoder": plain_mlp((8,)), **settings}
    return cls(sharing, relation=relation, **settings).fit(X, Y if y is None else y)


# ------------------------------------------------------------------- the formula
@forms
def test_a_layer_is_a_loop_over_tasks(settings):
    module, H = over_features(**settings)
    settings = TaskGraph(GRAPH, **settings).get_params()
    A = normalised(GRAPH, settings["normalization"], settings["self_loops"])
    sigma = {"identity": lambda Z: Z, "relu": torch.relu, "tanh": torch.tanh}
    expected = H.clone()
    for change in module.layers.changes:
        theta = torch.eye(WIDTH) + change
        before = expected.clone()
        for n in range(len(H)):
            for t in range(T):
                passed = sum(A[t, s] * before[n, s] for s in range(T))
                own = passed @ theta
                if not settings["propagate_weight"]:
                    own = before[n, t] @ theta + passed
                expected[n, t] = sigma[settings["activation"]](own)
        if settings["residual"]:
            expected += before
    torch.testing.assert_close(module(H), expected)


@pytest.mark.parametrize("normalization", ["sym", "row", None])
@pytest.mark.parametrize("self_loops", [True, False])
def test_normalisations_are_those_of_the_papers(normalization, self_loops):
    graph = TaskGraph(GRAPH, normalization=normalization, self_loops=self_loops)
    found = graph.build(T, WIDTH).matrix().numpy()
    expected = normalised(GRAPH, normalization, self_loops)
    np.testing.assert_allclose(found, expected)


def test_one_layer_is_that_of_kipf_and_welling():
    module, H = over_features(n_layers=1, propagate_weight=True, activation="relu")
    A = GRAPH + np.eye(T)
    D = np.diag(A.sum(axis=1))
    A = torch.from_numpy(np.linalg.inv(D) ** 0.5 @ A @ np.linalg.inv(D) ** 0.5)
    theta = torch.eye(WIDTH) + module.layers.changes[0]
    torch.testing.assert_close(module(H), torch.relu(A @ H @ theta))


def test_without_neighbours_a_graph_is_no_relation():
    alone = {"adjacency": np.zeros((3, 3)), "self_loops": False}
    module = TaskGraph(**alone).build(3, WIDTH).double()
    H = torch.randn(5, 3, WIDTH).double()
    torch.testing.assert_close(module(H), H)
    X, _ = table()
    found, expected = fitted(TaskGraph(**alone)), fitted(None)
    np.testing.assert_allclose(found.loss_curve_, expected.loss_curve_)
    np.testing.assert_allclose(found.predict(X), expected.predict(X))


def test_a_single_task_has_no_one_to_hear_from():
    _, Y = table()
    for adjacency in ("correlation", "learned", "attention", [[0]]):
        for sharing in ("hard", "independent"):
            est = fitted(TaskGraph(adjacency), sharing=sharing, y=Y[:, :1])
            assert est.loss_curve_[-1] < est.loss_curve_[0]
    assert fitted(TaskGraph(), y=Y[:, :1]).relation_ == [[1]]


# ------------------------------------------------------------------------- heads
@forms
def test_under_hard_sharing_heads_are_passed_on(settings):
    module = over_heads(TaskGraph(1 + np.eye(5), **settings))
    settings = TaskGraph(**settings).get_params()
    A = normalised(1 + np.eye(5), settings["normalization"], settings["self_loops"])
    # One output each of the tasks 0, 1 and 3 and three of the tasks 2 and 4.
    owner = module.heads.task_of_output.tolist()
    outputs = [(t, owner[:i].count(t)) for i, t in enumerate(owner)]
    alike = {0: [0, 1, 3], 1: [0, 1, 3], 3: [0, 1, 3], 2: [2, 4], 4: [2, 4]}
    W = dict(zip(outputs, module.heads.weight, strict=True))
    for _ in range(settings["n_layers"]):
        before = W
        for t, c in outputs:
            passed = sum(A[t, s] * before[s, c] for s in alike[t])
            own = 0 if settings["propagate_weight"] else before[t, c]
            W = {**W, (t, c): passed + own + settings["residual"] * before[t, c]}
    expected = torch.stack([W[output] for output in outputs])
    torch.testing.assert_close(module.head_weight(), expected)


@pytest.mark.parametrize("adjacency", ["learned", "attention"])
def test_heads_of_other_classes_are_not_passed_on(adjacency):
    X, _ = table()
    rng = np.random.default_rng(0)
    Y = np.column_stack([rng.choice(list("abc"), len(X)) for _ in range(3)])
    Y[:, 1] = np.char.upper(Y[:, 1])
    for settings in ({}, {"n_estimators": 2}):
        est = fitted(TaskGraph(adjacency), MultiTaskClassifier, y=Y, **settings)
        module = est.module_.member(0) if settings else est.module_
        W = module.heads.weight
        (found,) = torch.autograd.grad(module.head_weight()[3:6].sum(), W)
        assert found[3:6].abs().min() > 0
        assert not found[[0, 1, 2, 6, 7, 8]].any()
        (found,) = torch.autograd.grad(module.head_weight()[1].sum(), W)
        assert found[[1, 7]].abs().min() > 0
        assert not found[[0, 2, 3, 4, 5, 6, 8]].any()


@pytest.mark.parametrize("sharing", ["hard", "grouped", "learned_branching"])
def test_a_network_with_the_same_features_for_all_has_its_graph_over_heads(sharing):
    spec = contract.SHARING[sharing]()
    if sharing == "learned_branching":
        spec.set_params(n_branches=1)
    for relation in (TaskGraph(), TaskGraph("learned"), TaskGraph("attention")):
        module = whole_network(spec, plain_mlp(6), 0, relation=relation)
        assert module.sharing.same_features
        assert module.makes_heads
        other = whole_network(
            contract.SHARING["mmoe"](), plain_mlp(6), 0, relation=relation
        )
        assert not other.makes_heads


def test_a_task_without_labels_learns_from_its_neighbour():
    _, Y = table()
    Y[:, 1:], Y[:2, 1:] = np.nan, 0
    est = fitted(TaskGraph([[0, 1, 0], [1, 0, 0], [0, 0, 0]], n_layers=1), y=Y)
    told, neighbour, other = est.module_.head_weight().detach()
    assert torch.cosine_similarity(told, neighbour, dim=0) > 0.9
    assert neighbour.norm() > 0.3 * told.norm()
    assert not other.any()


# --------------------------------------------------------------- learned, attention
@pytest.mark.parametrize("sharing", ["hard", "mmoe"])
@pytest.mark.parametrize("start", [None, "correlation", CHAIN], ids=str)
def test_learned_weights_begin_at_the_start_and_move(sharing, start):
    relation = TaskGraph("learned", start=start)
    fixed = TaskGraph(1 - np.eye(3) if start is None else start)
    expected = fitted(fixed, sharing=sharing, max_iter=1).relation_
    first = fitted(relation, sharing=sharing, max_iter=1, learning_rate_init=1e-9)
    np.testing.assert_allclose(first.relation_, expected, atol=1e-6)
    moved = abs(fitted(relation, sharing=sharing).relation_ - expected)
    assert moved.max() > 0.02


def test_learned_weights_stay_normalised():
    est = fitted(TaskGraph("learned", normalization="row"))
    np.testing.assert_allclose(abs(est.relation_).sum(axis=1), 1)


def test_attention_has_rows_of_sum_one_that_depend_on_the_sample():
    module, H = over_features("attention")
    A = module.weights(H)
    torch.testing.assert_close(A.sum(dim=2), torch.ones(5, T, dtype=A.dtype))
    assert (A.std(dim=0) > 1e-3).any()
    scores = torch.einsum(
        "nti,nsi->nts",
        H @ module.weights.query.weight.T,
        H @ module.weights.key.weight.T,
    )
    torch.testing.assert_close(A, (scores / 4).softmax(dim=2))
    theta = [torch.eye(WIDTH) + change for change in module.layers.changes]
    first = H @ theta[0] + A @ H
    torch.testing.assert_close(module(H), first @ theta[1] + A @ first)
    assert module.matrix() is None


def test_attention_starts_alike_and_without_self_loops_sees_others_only():
    for loops, weight in ((True, 1 / T), (False, 1 / (T - 1))):
        module = TaskGraph("attention", self_loops=loops).build(T, WIDTH)
        A = module.weights(torch.randn(5, T, WIDTH))
        expected = torch.full((T, T), weight)
        if not loops:
            expected.fill_diagonal_(0)
        torch.testing.assert_close(A, expected.expand(5, T, T))
    alone = TaskGraph("attention", self_loops=False).build(1, WIDTH)
    assert not alone.weights(torch.randn(5, 1, WIDTH)).any()


# ------------------------------------------------------------------- estimation
def seen(relation, Z, classes=None):
    """Return weights that a graph estimates from labels, before normalisation."""
    classes = [None] * Z.shape[1] if classes is None else classes
    tasks = TaskTable(list(range(Z.shape[1])), classes, list(Z.T))
    return relation.for_tasks(tasks).known_weights(Z.shape[1])


def test_cooccurrence_is_that_of_the_paper():
    # Of 10 rows, a has 5, b 4 of which 2 are a's, c 2 which are both a's and b's.
    Y = np.zeros((10, 3), dtype=np.int64)
    Y[:5, 0], Y[3:7, 1], Y[3:5, 2] = 1, 1, 1
    P = np.array([[1, 2 / 5, 2 / 5], [2 / 4, 1, 2 / 4], [1, 1, 1]])
    p = 0.3
    relation = TaskGraph(
        "cooccurrence", None, 1, None, threshold=0.45, neighbor_weight=p
    )
    informed = relation.for_tasks(TaskTable(NAMES, [np.arange(2)] * 3, list(Y.T)))
    expected = np.zeros((3, 3))
    for i in range(3):
        A = [P[i, j] >= 0.45 for j in range(3)]
        for j in range(3):
            if i == j:
                expected[i, j] = 1 - p
            elif A[j]:
                expected[i, j] = p / sum(A[k] for k in range(3) if k != i)
    np.testing.assert_allclose(informed.build(3, WIDTH).matrix(), expected)
    assert expected[0, 1] == expected[0, 2] == 0 < expected[1, 0]


def test_correlation_is_pearson_s_less_its_bias_in_common_rows():
    _, Z = table(30)
    Z[:5, 0], Z[3:9, 1] = np.nan, np.nan
    found = seen(TaskGraph(), Z)
    for s, t in ((0, 1), (0, 2), (1, 2)):
        both = ~np.isnan(Z[:, [s, t]]).any(axis=1)
        r = np.corrcoef(Z[both][:, [s, t]].T)[0, 1]
        expected = np.sign(r) * np.sqrt(max(0, r**2 - 1 / (both.sum() - 1)))
        assert found[s, t] == found[t, s] == pytest.approx(expected)
    assert not found.diagonal().any()


def test_mutual_information_is_as_a_correlation():
    rng = np.random.default_rng(0)
    U = rng.normal(size=(20_000, 2))
    Z = np.column_stack([U[:, 0], 0.8 * U[:, 0] + 0.6 * U[:, 1]])
    assert seen(TaskGraph("mutual_information"), Z)[0, 1] == pytest.approx(
        0.8, abs=0.08
    )
    Y = (Z > 0).astype(int)
    value = measure_dependence(list(Y.T), [2, 2], "mutual_information")[0][0, 1]
    expected = np.sqrt(1 - np.exp(-2 * (value - 1 / (2 * len(Y)))))
    found = seen(TaskGraph("mutual_information"), Y, [np.arange(2)] * 2)
    np.testing.assert_allclose(found, [[0, expected], [expected, 0]])


def test_divergence_is_a_symmetric_likeness():
    Y = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 1, 0]])
    P = {0: [0.5, 0.5], 1: [0.25, 0.75], 2: [0.5, 0.5]}
    found = seen(TaskGraph("kl"), Y, [np.arange(2)] * 3)

    def D(s, t):
        return sum(p * np.log(p / q) for p, q in zip(P[s], P[t], strict=True))

    assert found[0, 1] == pytest.approx(np.exp(-(D(0, 1) + D(1, 0)) / 2))
    assert found[0, 2] == 1


@pytest.mark.parametrize("method", ["correlation", "mutual_information"])
@pytest.mark.parametrize("n_classes", [0, 2, 4])
def test_half_of_the_pairs_of_independent_labels_are_no_neighbours(method, n_classes):
    rng = np.random.default_rng(0)
    Y = rng.integers(0, n_classes, (60, 12)) if n_classes else rng.normal(size=(60, 12))
    classes = [np.arange(n_classes) if n_classes else None] * 12
    found = seen(TaskGraph(method), Y, classes)[np.triu_indices(12, 1)]
    assert 0.3 < (found == 0).mean() < 0.7


def test_a_pair_without_common_rows_are_no_neighbours():
    _, Z = table(40)
    Z[:20, 0], Z[20:, 1] = np.nan, np.nan
    found = seen(TaskGraph(), Z)
    assert found[0, 1] == found[1, 0] == 0
    assert abs(found[2]).max() > 0.1


def test_tasks_that_no_row_has_together_are_told_of():
    _, Y = table()
    Y[np.arange(60), np.arange(60) % 3] += 1
    Y = np.where(np.arange(60)[:, None] % 3 == np.arange(3), Y, np.nan)
    with pytest.warns(UserWarning, match="no row has the labels of two tasks"):
        est = fitted(TaskGraph(), y=Y)
    np.testing.assert_allclose(est.relation_, np.eye(3))


def test_labels_of_all_kinds_make_a_graph():
    _, Z = table()
    Y = np.column_stack([Z[:, 0] > 0, Z[:, 1], np.digitize(Z[:, 2], [-1, 1])])
    for method in ("correlation", "mutual_information"):
        est = fitted(TaskGraph(method), MultiTaskEstimator, y=Y)
        assert est.relation_.shape == (3, 3)
        assert (np.diag(est.relation_) > 0).all()


# ------------------------------------------------------------- given with names
def test_a_frame_is_read_by_the_names_of_tasks():
    _, Y = table()
    Y = pd.DataFrame(Y, columns=NAMES)
    A = pd.DataFrame(np.array(CHAIN) + np.triu(np.ones((3, 3))), NAMES, NAMES)
    straight = fitted(TaskGraph(A), y=Y).relation_
    shuffled = fitted(TaskGraph(A.loc[["c", "a", "b"], ["b", "c", "a"]]), y=Y).relation_
    assert shuffled.index.tolist() == shuffled.columns.tolist() == NAMES
    np.testing.assert_allclose(shuffled, straight)
    np.testing.assert_allclose(straight, fitted(TaskGraph(A.to_numpy())).relation_)


def test_a_graph_keeps_its_parameters_when_it_has_seen_labels():
    relation = TaskGraph(self_loops=False)
    est = fitted(relation, warm_start=True)
    assert est.relation is relation
    assert relation.weights_ is None
    assert est.fit(*table()).n_iter_ == 20  # trains on: the spec is still the same


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"adjacency": np.eye(2)},
            r"for each of the 3 tasks. Got shape \(2, 2\)",
        ),
        (
            {"adjacency": np.ones((3, 2))},
            r"\(n_tasks, n_tasks\).* Got shape \(3, 2\)",
        ),
        ({"adjacency": [0, 1, 0]}, r"must have shape \(n_tasks, n_tasks\).* \(3,\)\."),
        ({"adjacency": [[0, np.nan], [0, 0]]}, "must be finite. Got nan: give zero"),
        ({"adjacency": [["x", 1], [1, 0]]}, "of TaskGraph must hold numbers"),
        (
            {"adjacency": -np.eye(3)},
            "not be negative with normalization='sym'. Got -1",
        ),
        (
            {"adjacency": pd.DataFrame(np.eye(3), list("abd"), list("abd"))},
            "parameter of TaskGraph names the unknown task 'd'. The tasks are",
        ),
        (
            {"adjacency": pd.DataFrame(np.eye(3), list("abb"), list("abc"))},
            r"must hold every task once, but misses \['c'\] and repeats \['b'\]",
        ),
        ({"adjacency": "kl"}, "of TaskGraph can be 'kl' only where .* 'mutual_info"),
        ({"adjacency": "cooccurrence"}, "can be 'cooccurrence' only where all tasks"),
        (
            {"adjacency": "cosine"},
            "'adjacency' parameter of TaskGraph must be a str",
        ),
        (
            {"adjacency": "learned", "start": -np.eye(3)},
            "The 'start' parameter of TaskG",
        ),
        (
            {"adjacency": "learned", "start": "attention"},
            "'start' parameter of TaskGraph",
        ),
        ({"start": "kl"}, "no use for start='kl' without adjacency='learned'"),
        ({"n_layers": 0}, "The 'n_layers' parameter of TaskGraph must be an int in"),
        (
            {"normalization": "column"},
            "'normalization' parameter of TaskGraph must",
        ),
        ({"threshold": 1.5}, "The 'threshold' parameter of TaskGraph must be a float"),
    ],
    ids=str,
)
def test_bad_graphs_are_refused_before_training(settings, message):
    X, Y = table()
    est = MultiTaskRegressor(relation=TaskGraph(**settings), n_estimators=1)
    with pytest.raises(ValueError, match=message):
        est.fit(X, pd.DataFrame(Y, columns=NAMES))
    assert not hasattr(est, "net_")


def test_divergence_of_tasks_with_other_classes_is_refused():
    _, Z = table()
    Y = np.column_stack([Z[:, 0] > 0, np.digitize(Z[:, 1], [-1, 1])])
    with pytest.raises(ValueError, match="'mutual_information' takes any labels"):
        fitted(TaskGraph("kl"), MultiTaskClassifier, y=Y)


# ---------------------------------------------------------------- with the rest
KINDS = [
    TaskGraph(),
    TaskGraph("learned"),
    TaskGraph("attention", self_loops=False),
    TaskGraph(propagate_weight=True, residual=True, activation="gelu"),
]
kinds = pytest.mark.parametrize("relation", KINDS, ids=str)


@kinds
@pytest.mark.parametrize("sharing", ["hard", "mmoe", "grouped", "independent"])
def test_every_kind_keeps_the_contract(relation, sharing):
    contract.test_three_stacked_networks_train_as_three_separate_ones(
        relation, contract.SPECS[sharing], plain_mlp((8, 6))
    )


@kinds
def test_members_of_every_kind_train_at_once(monkeypatch, relation):
    contract.test_stacked_members_train_as_members_in_turns(
        monkeypatch, relation, "hard"
    )


@kinds
@pytest.mark.parametrize(
    "weighting", ["uncertainty", "dwa", "upgrad", "pcgrad", "mgda"]
)
@pytest.mark.parametrize("sharing", ["hard", "mmoe"])
@pytest.mark.sampled(3)
def test_every_kind_combines_with_weightings(relation, weighting, sharing):
    est = fitted(relation, sharing=sharing, weighting=WEIGHTING[weighting]())
    assert np.isfinite(est.loss_curve_).all()
    assert est.loss_curve_[-1] < est.loss_curve_[0]
