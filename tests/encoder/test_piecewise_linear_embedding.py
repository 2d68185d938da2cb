"""Piecewise linear embeddings are those of the paper's authors."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskRegressor
from skmtl.encoder import PiecewiseLinearEmbedding, TrainingInputs
from tests._networks import N_FEATURES, inputs, plain_mlp, randomised

SETTINGS = {
    "learning_rate_init": 1e-2,
    "max_iter": 200,
    "random_state": 0,
    "n_estimators": 1,
}


def prepared(X, **settings):
    encoder = PiecewiseLinearEmbedding(embedding_dim=7, **settings)
    return encoder.prepare(TrainingInputs(X, np.arange(X.shape[0])))


def numbers_of(encoder, n_copies):
    return encoder.stem(N_FEATURES, n_copies).numbers.double()


def test_an_encoding_fills_bins_one_after_another():
    X = np.repeat(np.arange(5.0)[:, None], N_FEATURES, axis=1)
    numbers = numbers_of(prepared(X, n_bins=4, scale=None), 1)
    X = (
        torch.tensor([-1.0, 0.0, 1.5, 4.0, 6.0])
        .double()[:, None]
        .expand(-1, N_FEATURES)
    )
    expected = [[-1, 0, 0, 0], [0] * 4, [1, 0.5, 0, 0], [1] * 4, [1, 1, 1, 3]]
    for found in numbers.encode(X):
        assert_allclose(found, expected)


def test_bins_are_quantiles_of_the_scaled_rows_that_train():
    X = inputs(200).numpy() * 100 + 7
    encoder = PiecewiseLinearEmbedding(n_bins=5)
    rows = np.arange(0, 200, 2)
    found = encoder.prepare(TrainingInputs(X, rows)).edges_
    Z = StandardScaler().fit_transform(X[rows])
    assert_allclose(np.array(found), np.quantile(Z, np.linspace(0, 1, 6), axis=0).T)


@pytest.mark.parametrize("n_copies", [1, 3])
def test_every_copy_is_the_module_of_the_paper_s_authors(n_copies):
    rtdl = pytest.importorskip("rtdl_num_embeddings")
    X = inputs(200)
    encoder = prepared(X.numpy(), n_bins=6, scale=None)
    for edges, theirs in zip(encoder.edges_, rtdl.compute_bins(X, 6), strict=True):
        assert_allclose(edges, theirs, rtol=1e-5)  # theirs are at shares in float32
    bins = list(map(torch.from_numpy, encoder.edges_))
    numbers = randomised(numbers_of(encoder, n_copies), 0)
    new = 2 * inputs(9, seed=1)
    for copy, found in enumerate(numbers(new)):
        module = rtdl.PiecewiseLinearEmbeddings(bins, 7, activation=True, version="A")
        module.double()
        with torch.no_grad():
            module.linear.weight.copy_(numbers.linear.weight[copy])
            module.linear.bias.copy_(numbers.linear.bias[copy])
        # Theirs rounds edges to float32.
        torch.testing.assert_close(found, module(new), rtol=1e-5, atol=1e-5)


def test_equal_quantiles_count_once():
    X = inputs(200).numpy()
    X[:, 0] = 7  # no bin
    X[:, 1] = X[:, 1] > 0  # one bin
    X[:, 2] = np.arange(200) % 3  # two bins
    encoder = prepared(X, n_bins=4, scale=None)
    assert [len(edges) - 1 for edges in encoder.edges_] == [0, 1, 2, 4]
    codes = numbers_of(encoder, 1).encode(torch.from_numpy(X)).numpy()
    assert not codes[0].any()
    assert_allclose(codes[1], np.outer(X[:, 1], [1, 0, 0, 0]))
    assert_allclose(codes[2, :3], [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]])
    Y = X[:, 1:3] + X[:, 3:]
    est = MultiTaskRegressor(encoder=PiecewiseLinearEmbedding((16,)), **SETTINGS)
    assert est.fit(X, Y).score(X, Y) > 0.95


@pytest.mark.parametrize("scale", ["standard", "quantile", None])
def test_missing_numbers_and_sparse_tables_are_embedded(scale):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, N_FEATURES)) * (rng.uniform(size=(120, N_FEATURES)) < 0.5)
    Y = X[:, :2] + X[:, 2:]
    X[::9, 1] = np.nan
    encoder = PiecewiseLinearEmbedding((16,), scale=scale, missing_inputs="impute")
    est = MultiTaskRegressor("independent", encoder=encoder, **SETTINGS).fit(X, Y)
    assert est.score(X, Y) > 0.9
    again = MultiTaskRegressor("independent", encoder=encoder, **SETTINGS)
    again.fit(sparse.csr_array(X), Y)
    assert_allclose(again.predict(X), est.predict(X), rtol=1e-4, atol=1e-6)
    stem = est.module_.sharing.columns.layers[0][0]
    assert stem.numbers.linear.weight.shape[:2] == (2, N_FEATURES + 1)


def test_what_is_not_smooth_is_learned_better():
    rng = np.random.default_rng(0)
    X, new = rng.uniform(-2, 2, size=(2, 300, 2))

    def target(X):
        return np.sin(8 * X)

    scores = [
        MultiTaskRegressor(encoder=encoder, **SETTINGS)
        .fit(X, target(X))
        .score(new, target(new))
        for encoder in (PiecewiseLinearEmbedding((32,), n_bins=32), plain_mlp((32,)))
    ]
    assert scores[0] > 0.9 > 0.5 > scores[1]


def test_bad_settings_are_refused_before_training():
    est = MultiTaskRegressor(encoder=PiecewiseLinearEmbedding(n_bins=0), n_estimators=1)
    with pytest.raises(ValueError, match="'n_bins' parameter of PiecewiseLinearEmb"):
        est.fit(np.zeros((4, 2)), np.arange(4.0))
