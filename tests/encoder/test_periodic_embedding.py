"""Periodic embeddings are those of the paper's authors."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skmtl import MultiTaskRegressor
from skmtl.encoder import PeriodicEmbedding
from tests._networks import N_FEATURES, inputs, plain_mlp, randomised

SETTINGS = {
    "learning_rate_init": 1e-2,
    "max_iter": 200,
    "random_state": 0,
    "n_estimators": 1,
}


def numbers_of(encoder, n_copies):
    return encoder.stem(N_FEATURES, n_copies).numbers.double()


@pytest.mark.parametrize("n_copies", [1, 3])
def test_an_embedding_is_relu_of_a_linear_map_of_cosines_and_sines(n_copies):
    encoder = PeriodicEmbedding(n_frequencies=5, embedding_dim=7)
    numbers = randomised(numbers_of(encoder, n_copies), 0)
    X = inputs(9)
    v = 2 * torch.pi * torch.einsum("nf,kfm->knfm", X, numbers.frequency)
    waves = torch.cat([v.cos(), v.sin()], dim=-1)
    H = torch.einsum("knfm,kfmd->knfd", waves, numbers.linear.weight)
    expected = (H + numbers.linear.bias[:, None]).relu()
    torch.testing.assert_close(numbers(X), expected)


@pytest.mark.parametrize("n_copies", [1, 3])
def test_every_copy_is_the_module_of_the_paper_s_authors(n_copies):
    rtdl = pytest.importorskip("rtdl_num_embeddings")
    encoder = PeriodicEmbedding(n_frequencies=5, embedding_dim=7, frequency_scale=0.1)
    numbers = numbers_of(encoder, n_copies)
    X = inputs(9)
    for copy, found in enumerate(numbers(X)):
        theirs = rtdl.PeriodicEmbeddings(
            N_FEATURES, 7, n_frequencies=5, frequency_init_scale=0.1, lite=False
        ).double()
        with torch.no_grad():
            theirs.periodic.weight.copy_(numbers.frequency[copy])
            theirs.linear.weight.copy_(numbers.linear.weight[copy])
            theirs.linear.bias.copy_(numbers.linear.bias[copy])
        torch.testing.assert_close(found, theirs(X))


def test_frequencies_start_as_large_as_the_setting_says():
    torch.manual_seed(0)
    frequency = numbers_of(PeriodicEmbedding(n_frequencies=500), 2).frequency
    assert_allclose(frequency.std().item(), 0.03, rtol=0.05)
    assert frequency.abs().max() <= 0.09


def test_what_is_not_smooth_is_learned_better():
    rng = np.random.default_rng(0)
    X, new = rng.uniform(-2, 2, size=(2, 300, 2))

    def target(X):
        return np.sin(8 * X)

    embedded = PeriodicEmbedding((32,), frequency_scale=0.5)
    scores = [
        MultiTaskRegressor(encoder=encoder, **SETTINGS)
        .fit(X, target(X))
        .score(new, target(new))
        for encoder in (embedded, plain_mlp((32,)))
    ]
    assert scores[0] > 0.9 > 0.5 > scores[1]


def test_numbers_and_categories_of_a_raw_table_are_embedded():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"c": pd.Categorical(list("ab") * 60), "x": rng.normal(size=120)})
    X.loc[::9, "x"] = np.nan
    Y = np.column_stack([X["c"] == "b", X["x"].fillna(3)]).astype(float)
    encoder = PeriodicEmbedding((16,), categories="embed", embedding_dim=3, dropout=0.0)
    est = MultiTaskRegressor("independent", encoder=encoder, **SETTINGS).fit(X, Y)
    assert est.score(X, Y) > 0.95
    stem = est.module_.sharing.columns.layers[0][0]
    assert stem.numbers.frequency.shape == (2, 2, 16)  # x and whether it is missing
    assert stem.categories.weight.shape == (2, 3, 3)
    assert stem.width == 3 * 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_frequencies": 0}, "'n_frequencies' parameter of PeriodicEmbedding must"),
        ({"frequency_scale": 0.0}, "'frequency_scale' parameter of PeriodicEmbedding"),
        ({"embedding_dim": "wide"}, "'embedding_dim' parameter of PeriodicEmbedding"),
        ({"hidden_layer_sizes": (0,)}, "'hidden_layer_sizes' parameter of .* positive"),
    ],
    ids=str,
)
def test_bad_settings_are_refused_before_training(settings, message):
    est = MultiTaskRegressor(encoder=PeriodicEmbedding(**settings), n_estimators=1)
    with pytest.raises(ValueError, match=message):
        est.fit(np.zeros((4, 2)), np.arange(4.0))
