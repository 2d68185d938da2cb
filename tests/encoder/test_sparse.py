"""Wide sparse tables, such as words of texts, are read without their zeros."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import (
    MLP,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    TrainingInputs,
)
from skmtl.encoder._sparse import WIDE, SparseInputs, sparse_product
from skmtl.sharing import SHARING

QUICK = {"max_iter": 2, "early_stopping": False, "random_state": 0, "n_threads": 1}


def words(n=120, n_words=700, per_row=12, seed=0):
    """Return counts of words, more frequent and rarer ones, and two tasks on them."""
    rng = np.random.default_rng(seed)
    p = 1 / np.arange(5, n_words + 5)
    drawn = rng.choice(n_words, (n, per_row), p=p / p.sum())
    told = rng.uniform(size=(n, 2)) < (0.4, 0.2)
    for t in range(2):
        hints = 100 + 20 * t + rng.integers(0, 20, (n, 2))
        drawn[:, 2 * t : 2 * t + 2][told[:, t]] = hints[told[:, t]]
    rows = np.arange(n).repeat(per_row)
    X = sparse.csr_array((np.ones(drawn.size), (rows, drawn.ravel())), (n, n_words))
    return sparse.csr_array(X), told.astype(int)


def fitted(X, Y, kind=MultiTaskClassifier, **settings):
    encoder = MLP((8,), min_frequency=2)
    return kind(**{"encoder": encoder, "n_estimators": 1, **QUICK, **settings}).fit(
        X, Y
    )


def pairs(n_copies=(), n=4, m=3, n_columns=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = *n_copies, n, m
    positions = torch.randint(n_columns, shape, generator=generator).double()
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    return positions, values * (values > -0.5)  # some are zero


def as_dense(positions, values, n_columns=6):
    X = values.new_zeros(*positions.shape[:-1], n_columns)
    return X.scatter_add(-1, positions.long(), values)


@pytest.mark.parametrize("copies", [(False, False), (False, True), (True, True)])
def test_the_product_and_its_gradients_are_those_of_dense_rows(copies):
    of_rows, of_weights = copies
    positions, values = pairs((3,) * of_rows)
    shape = (3,) * of_weights
    weights = [
        torch.randn(*shape, 6, width, dtype=torch.float64, requires_grad=True)
        for width in (2, 5)
    ]
    found = sparse_product(positions, values, tuple(weights))
    expected = [as_dense(positions, values) @ W for W in weights]
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one.detach(), other.detach(), atol=1e-12)
    gradients = [
        torch.autograd.grad(
            sum((H**3).sum() for H in products), weights, create_graph=True
        )
        for products in (found, expected)
    ]
    twice = [
        torch.autograd.grad(sum((G**2).sum() for G in of_each), weights)
        for of_each in gradients
    ]
    for one, other in [*zip(*gradients, strict=True), *zip(*twice, strict=True)]:
        assert_allclose(one.detach(), other.detach(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dims", [(None, 0), (0, 0), (0, None)])
def test_the_product_is_mapped_over_networks(dims):
    positions, values = pairs((3,) if dims[0] == 0 else ())
    shape = (3, 6, 2) if dims[1] == 0 else (6, 2)
    W = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    mapped = torch.vmap(
        lambda p, v, W: sparse_product(p, v, (W,))[0], (dims[0], dims[0], dims[1])
    )
    expected = as_dense(positions, values) @ W
    found = mapped(positions, values, W)
    assert_allclose(found.detach(), expected.detach(), atol=1e-12)
    (one,), (other,) = (torch.autograd.grad((H**3).sum(), W) for H in (found, expected))
    assert_allclose(one, other, atol=1e-12)


def test_gradients_of_many_outputs_are_taken_at_once():
    positions, values = pairs()
    W = torch.randn(6, 2, dtype=torch.float64, requires_grad=True)
    seeds = torch.randn(3, 4, 2, dtype=torch.float64)
    found, expected = (
        torch.autograd.grad(H, W, seeds, is_grads_batched=True)[0]
        for H in (
            sparse_product(positions, values, (W,))[0],
            as_dense(positions, values) @ W,
        )
    )
    assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_zeros_are_neither_multiplied_nor_made_dense(n_estimators, monkeypatch):
    X, Y = words(n_words=3_000)
    multiplied, made = [], []
    real, dense = F.embedding_bag, sparse.csr_array.toarray

    def embedding_bag(index, *args, **kwargs):
        multiplied.append(len(index))
        return real(index, *args, **kwargs)

    def toarray(self, *args, **kwargs):
        made.append(np.prod(self.shape))
        return dense(self, *args, **kwargs)

    monkeypatch.setattr(F, "embedding_bag", embedding_bag)
    monkeypatch.setattr(sparse.csr_array, "toarray", toarray)
    est = fitted(X, Y, n_estimators=n_estimators, batch_size=20)
    est.predict_proba(X)
    assert max(multiplied) <= n_estimators * X.nnz
    assert sum(multiplied) > 0
    assert max(made, default=0) <= X.nnz


def test_words_are_told_as_well_as_by_logistic_regression():
    X, Y = words(1_200, 2_000)
    train, test = slice(0, 800), slice(800, None)
    settings = {"n_estimators": 1, "max_iter": 15, "random_state": 0, "n_threads": 1}
    est = MultiTaskClassifier(encoder=MLP((32,)), **settings)
    P = est.fit(X[train], Y[train]).predict_proba(X[test])
    for t in range(2):
        linear = LogisticRegression().fit(X[train], Y[train, t])
        expected = roc_auc_score(Y[test, t], linear.predict_proba(X[test])[:, 1])
        assert roc_auc_score(Y[test, t], P[t][:, 1]) > expected - 0.02


@pytest.mark.parametrize(
    ("sharing", "n_estimators"),
    [("cross_stitch", 1), ("hard", 1), *((name, 2) for name in sorted(SHARING))],
)
@pytest.mark.sampled(4)
def test_every_sharing_reads_sparse_rows_as_dense_ones(sharing, n_estimators):
    X, Y = words(60)
    settings = {"grouped": {"groups": [[0], [1]]}}.get(sharing, {})
    est = fitted(X, Y, sharing=SHARING[sharing](**settings), n_estimators=n_estimators)
    P = np.array(est.predict_proba(X))
    assert_allclose(P, est.predict_proba(X.toarray()), rtol=1e-4, atol=1e-6)
    assert_allclose(P[:, :1], est.predict_proba(X[:1]), rtol=1e-5, atol=1e-7)
    assert np.ptp(P[0, :, 1]) > 0.01


@pytest.mark.parametrize("encoder", [PiecewiseLinearEmbedding, PeriodicEmbedding])
def test_columns_with_few_zeros_are_embedded_beside_words(encoder):
    X, Y = words()
    dense = np.random.default_rng(1).normal(size=(X.shape[0], 3))
    X = sparse.csr_array(sparse.hstack([X, dense]))
    est = fitted(X, Y, encoder=encoder((8,)))
    stage = est.module_.inputs
    assert_array_equal(stage.sparse.rest[-3:], X.shape[1] - np.arange(3, 0, -1))
    P = np.array(est.predict_proba(X))
    assert_allclose(P, est.predict_proba(X.toarray()), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [MultiTaskRegressor, MultiTaskEstimator])
def test_other_tasks_learn_from_words(kind):
    X, Y = words(300)
    Y = Y + np.random.default_rng(0).normal(scale=0.05, size=Y.shape)
    est = fitted(X, Y, kind, max_iter=30)
    assert est.score(X, Y) > 0.4


def test_files_and_pickles_hold_what_was_learned_of_words(tmp_path):
    X, Y = words()
    est = fitted(X, Y, n_estimators=2)
    expected = np.array(est.predict_proba(X))
    skmtl.save(est, tmp_path / "model")
    for again in (skmtl.load(tmp_path / "model"), pickle.loads(pickle.dumps(est))):
        assert_array_equal(again.predict_proba(X), expected)


def test_an_onnx_file_takes_dense_rows(tmp_path, onnx_operators):
    runtime = pytest.importorskip("onnxruntime")
    X, Y = words(60)
    est = fitted(X, Y)
    skmtl.export_onnx(est, tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    (given,) = session.get_inputs()
    dtype = np.float64 if "double" in given.type else np.float32
    found = session.run(None, {given.name: X.toarray().astype(dtype)})
    assert_allclose(found[:2], est.predict_proba(X), rtol=1e-4, atol=1e-6)


def test_training_goes_on_with_words():
    X, Y = words()
    est = fitted(X, Y, n_estimators=2, warm_start=True)
    before = np.array(est.predict_proba(X))
    after = np.array(est.fit(X, Y).predict_proba(X))
    assert not np.allclose(before, after)
    classes = [np.array([0, 1])] * 2
    est = MultiTaskClassifier(n_estimators=1, **QUICK).partial_fit(X, Y, classes)
    assert est.partial_fit(X, Y).predict(X).shape == Y.shape


def test_whole_weights_count_rows():
    X, Y = words()
    weight = np.arange(len(Y)) % 3
    encoder = MLP((8,))
    repeated = np.arange(len(Y)).repeat(weight)
    weighted = TrainingInputs(X, np.flatnonzero(weight), weight[weight > 0] + 0.0)
    stages = [
        encoder.fit_stage(inputs).sparse
        for inputs in (weighted, TrainingInputs(X, repeated))
    ]
    assert_array_equal(stages[0].columns, stages[1].columns)
    assert_allclose(stages[0].scale, stages[1].scale)
    assert_allclose(stages[0].weight, stages[1].weight, rtol=0.02)


def test_words_of_few_rows_have_no_weight():
    X, Y = words()
    counts = np.asarray((X != 0).sum(axis=0)).ravel()
    for min_frequency, least in {"auto": 3, 5: 5, 0.1: 12}.items():
        encoder = MLP((8,), min_frequency=min_frequency)
        columns = encoder.fit_stage(TrainingInputs(X, np.arange(120))).sparse.columns
        assert_array_equal(columns, np.flatnonzero((counts >= least) & (counts < 24)))
    est = fitted(X, Y)
    rare = np.flatnonzero(counts == 1)[0]
    other = X.tolil()
    other[:, rare] = 3.0
    found = est.predict_proba(sparse.csr_array(other))
    assert_array_equal(found, est.predict_proba(X))


def test_units_do_not_matter():
    X, Y = words()
    expected = np.array(fitted(X, Y).predict_proba(X))
    factor = 10.0 ** np.random.default_rng(0).integers(-100, 100, X.shape[1])
    factor[np.asarray((X != 0).mean(axis=0)).ravel() >= 0.2] = 1
    scaled = sparse.csr_array(X @ sparse.diags(factor))
    found = fitted(scaled, Y).predict_proba(scaled)
    assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_huge_and_tiny_numbers_are_scaled_as_in_dense_tables(factor):
    X = sparse.csr_array(sparse.random(60, 600, 0.1, "csr", random_state=0))
    rows = np.arange(60)
    stages = [
        MLP((4,)).prepare(TrainingInputs(table, rows)).input_stage()
        for table in (X.toarray(), X * factor)
    ]
    assert stages[1].sparse is None
    found = stages[1].float()(torch.from_numpy((X * factor).toarray()))
    expected = stages[0](torch.from_numpy(X.toarray()))
    torch.testing.assert_close(found, expected.float())


def test_a_sparse_column_with_missing_entries_has_a_median_and_an_indicator():
    X, Y = words()
    X.data[::60] = np.nan
    est = fitted(X, Y)
    missing = np.unique(X.indices[np.isnan(X.data)])
    assert np.isin(missing, est.module_.inputs.sparse.rest).all()
    assert est.module_.inputs.n_numbers >= 2 * len(missing)
    other = words(seed=1)[0]
    other.data[:] = np.nan  # where training had none
    assert np.isfinite(est.predict_proba(other)).all()


def test_duplicate_entries_are_summed():
    X, Y = words()
    halves = sparse.csr_array(
        (np.repeat(X.data / 2, 2), X.indices.repeat(2), 2 * X.indptr), X.shape
    )
    for start, stop in zip(halves.indptr, halves.indptr[1:], strict=False):
        for entries in (halves.indices, halves.data):
            entries[start:stop] = entries[start:stop][::-1].copy()
    before = halves.data.copy(), halves.indices.copy()
    est = fitted(halves, Y)
    assert_allclose(est.predict_proba(halves), fitted(X, Y).predict_proba(X), rtol=1e-5)
    assert_array_equal(halves.data, before[0])
    assert_array_equal(halves.indices, before[1])


def test_rows_without_words_are_predicted():
    X, Y = words()
    empty = sparse.csr_array((3, X.shape[1]))
    est = fitted(X, Y)
    P = np.array(est.predict_proba(empty))
    assert_allclose(P, est.predict_proba(empty.toarray()), rtol=1e-5)
    assert np.ptp(P, axis=1).max() < 1e-6


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_a_loaded_model_trains_on_with_the_state_of_its_optimizer(
    n_estimators, tmp_path
):
    X, Y = words(60)
    est = MultiTaskClassifier(encoder=MLP((8,)), n_estimators=n_estimators, **QUICK)
    est.partial_fit(X, Y, [np.array([0, 1])] * 2)
    skmtl.save(est, tmp_path / "model")
    again = skmtl.load(tmp_path / "model")
    found, expected = (e.partial_fit(X, Y).predict_proba(X) for e in (again, est))
    assert_array_equal(found, expected)


@pytest.mark.parametrize("sharing", ["independent", "hard"])
def test_tasks_share_what_reads_words_unless_they_share_nothing(sharing):
    X, Y = words()
    module = fitted(X, Y, sharing=sharing).module_
    nn.init.normal_(module.heads.weight)
    outputs = module(torch.from_numpy(X.toarray()).float())
    gradients = [
        torch.autograd.grad(outputs[:, t].sum(), module.sparse.features, None, True)[0]
        for t in range(2)
    ]
    meet = ((gradients[0] != 0) & (gradients[1] != 0)).any()
    assert meet == (sharing == "hard")
    shared = list(module.shared_parameters())
    assert any(p is module.sparse.features for p in shared) == (sharing == "hard")
    assert not any(p is module.sparse.linear for p in shared)


@pytest.mark.parametrize("weighting", ["pcgrad", "mgda", "uncertainty", "gradnorm"])
def test_weightings_balance_tasks_on_words(weighting):
    X, Y = words()
    est = fitted(X, Y, weighting=weighting)
    assert np.ptp(est.predict_proba(X)[0][:, 1]) > 0.01


@pytest.mark.parametrize(
    ("settings", "n_estimators"),
    [({"augmentation": "noise"}, 1), ({"compile": "eager"}, 2)],
)
def test_what_needs_dense_rows_gets_them(settings, n_estimators):
    X, Y = words(60)
    est = fitted(X, Y, n_estimators=n_estimators, **settings)
    P = np.array(est.predict_proba(X))
    assert_allclose(P, est.predict_proba(X.toarray()), rtol=1e-4, atol=1e-6)


def test_augmentation_leaves_levels_beside_words_alone():
    X, Y = words()
    levels = np.random.default_rng(0).integers(1, 4, (X.shape[0], 1))
    X = sparse.csr_array(sparse.hstack([X, levels]))
    stage = fitted(X, Y, augmentation="noise").module_.inputs
    assert X.shape[1] - 1 in stage.code_columns


def test_a_module_of_the_user_gets_dense_rows():
    X, Y = words()
    est = fitted(X, Y, encoder=lambda: nn.Sequential(nn.Linear(X.shape[1], 4)))
    assert_allclose(
        est.predict_proba(X), est.predict_proba(X.toarray()), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_adam_takes_steps_of_gradient_descent_on_words(optimizer):
    X, Y = words()
    est = MultiTaskClassifier(optimizer=optimizer, n_estimators=1, **QUICK)
    est.partial_fit(X, Y, [np.array([0, 1])] * 2)
    groups = est.net_.optimizer_.param_groups
    if optimizer == "sgd":
        assert len(groups) == 1
        return
    assert [g["lr"] for g in groups] == pytest.approx([3e-3, 3e-2, 0.3])
    assert [g["eps"] for g in groups] == [1e-8, 0.12, 0.06]
    for group, parameter in zip(
        groups[1:], est.module_.sparse.parameters(), strict=True
    ):
        assert group["params"][0] is parameter


def test_narrow_and_dense_tables_stay_as_they_are():
    X, Y = words(n_words=WIDE)
    for data in (X, words()[0].toarray()):
        module = fitted(data, Y).module_
        assert module.inputs.sparse is None
        assert not any(isinstance(m, SparseInputs) for m in module.modules())


def test_summaries_count_the_weights_of_words():
    X, Y = words()
    est = fitted(X, Y)
    table = est.sharing_summary()
    n = sum(p.numel() for p in est.module_.parameters())
    assert f"{n:,}" in str(table) or str(n) in str(table)
