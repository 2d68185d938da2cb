"""Periodic embeddings beside the numbers, inside the perceptron."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.func import functional_call, stack_module_state

from skmtl import MultiTaskRegressor
from skmtl.encoder import MLP, TrainingInputs
from skmtl.encoder._mlp import PBLD
from tests._networks import N_FEATURES, inputs, plain_mlp, randomised

SETTINGS = {"learning_rate_init": 1e-2, "n_estimators": 1, "random_state": 0}


@pytest.mark.parametrize("n_copies", [1, 3])
def test_an_embedding_is_relu_of_a_linear_map_of_shifted_cosines(n_copies):
    numbers = randomised(PBLD(n_copies, N_FEATURES).double(), 0)
    X = inputs(9)
    frequency, phase = numbers.frequency[..., 0], numbers.phase[..., 0]
    waves = torch.einsum("nf,kfm->knfm", X, frequency) + phase[:, None]
    waves = (2 * torch.pi * waves).cos()
    H = torch.einsum("knfm,kfdm->knfd", waves, numbers.weight)
    expected = (H + numbers.bias[:, None, :, :, 0]).relu()
    torch.testing.assert_close(numbers(X), expected)


def test_frequencies_phases_and_weights_start_as_in_the_paper():
    torch.manual_seed(0)
    numbers = PBLD(2, 500)
    assert_allclose(numbers.frequency.std().item(), 0.3, rtol=0.05)
    assert_allclose(numbers.phase.std().item(), 12**-0.5, rtol=0.05)
    assert numbers.phase.abs().max() <= 0.5
    bound = numbers.weight.abs().max().item()
    assert_allclose(bound, nn.Linear(8, 3).in_features ** -0.5, rtol=0.01)


@pytest.mark.parametrize("n_copies", [1, 3])
def test_networks_read_the_numbers_beside_their_embeddings(n_copies):
    encoder = MLP((5,), activation="identity", dropout=0.0)
    module = encoder.build((N_FEATURES,), n_copies).double()
    stem, layer = module.layers[0]
    X = inputs(9)
    H = torch.cat([stem.numbers(X).flatten(2), X.expand(n_copies, -1, -1)], dim=2)
    assert stem.width == 4 * N_FEATURES
    torch.testing.assert_close(module(X), layer(H).reshape(n_copies, 9, 5))


def table(n=300):
    """Return categories, levels, a sparse and 0/1 columns around two continuous."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "category": rng.choice(list("abc"), n),
            "first": rng.normal(size=n),
            "level": rng.integers(0, 5, n),
            "binary": rng.integers(0, 2, n),
            "sparse": rng.normal(size=n) * (rng.uniform(size=n) < 0.1),
            "second": 50 + rng.normal(size=n),
        }
    )
    X.loc[::7, "second"] = np.nan
    Y = np.column_stack([np.sin(4 * X["first"]), X["level"] + (X["category"] == "b")])
    return X, Y


@pytest.mark.parametrize("categories", ["one_hot", "embed"])
@pytest.mark.parametrize("sharing", ["hard", "independent"])
@pytest.mark.sampled(3)
def test_only_continuous_columns_are_embedded(categories, sharing):
    X, Y = table()
    encoder = MLP((32,), categories=categories, numeric_embedding="pbld")
    est = MultiTaskRegressor(sharing, encoder=encoder, max_iter=100, **SETTINGS)
    assert est.fit(X, Y).score(X, Y) > 0.9
    n_copies = 1 if sharing == "hard" else 2
    names = dict(est.module_.named_parameters())
    shapes = [p.shape for name, p in names.items() if name.endswith("frequency")]
    assert shapes == [(n_copies, 2, 8, 1)]
    stage = est.module_.inputs
    found = stage(torch.from_numpy(est._check_X(X, encoder, reset=False)))
    names = ["first", "second", "level", "binary", "sparse"]
    Z = X[names].fillna(X[names].median())
    expected = (Z - X[names].mean()) / X[names].std(ddof=0)
    assert_allclose(found[:, :5], expected.clip(-5, 5))
    assert_array_equal(found[:, 5], X["second"].isna())
    assert_array_equal(found[:, 6:11], X[["level"]].to_numpy() == np.arange(5))
    assert_array_equal(pickle.loads(pickle.dumps(est)).predict(X), est.predict(X))


def test_what_is_not_smooth_is_learned_better():
    rng = np.random.default_rng(0)
    X, new = rng.uniform(-2, 2, size=(2, 300, 2))
    scores = [
        MultiTaskRegressor(encoder=encoder, max_iter=200, **SETTINGS)
        .fit(X, np.sin(6 * X))
        .score(new, np.sin(6 * new))
        for encoder in (MLP((32,), dropout=0.0), plain_mlp((32,)))
    ]
    assert scores[0] > 0.9 > 0.6 > scores[1]


@pytest.mark.parametrize("scale", ["standard", None])
def test_without_a_continuous_column_nothing_is_embedded(scale):
    X = np.random.default_rng(0).integers(0, 2, (60, 4)).astype(float)
    encoder = MLP((8,), scale=scale, numeric_embedding="pbld")
    encoder = encoder.prepare(TrainingInputs(X, np.arange(60)))
    assert encoder.stem(4, 1) is None


def test_very_wide_tables_do_without():
    encoder = MLP((8,), numeric_embedding="pbld")
    assert encoder.stem(500, 1).width == 4 * 500
    assert encoder.stem(501, 1) is None


def test_networks_are_stacked_by_torch_s_vmap():
    encoder = MLP((5,), dropout=0.3, numeric_embedding="pbld")
    modules = [encoder.build((N_FEATURES,)).double() for _ in range(3)]
    parameters, buffers = stack_module_state(modules)
    skeleton = copy.deepcopy(modules[0])
    X = torch.stack([inputs(9, seed) for seed in range(3)])

    def one(p, b, x):
        return functional_call(skeleton, (p, b), (x,))

    skeleton.eval()
    found = torch.vmap(one)(parameters, buffers, X)
    for module, x, own in zip(modules, X, found, strict=True):
        torch.testing.assert_close(own, module.eval()(x))
    skeleton.train()
    trained = torch.vmap(one, randomness="different")(parameters, buffers, X)
    zeros = (trained == 0) & (found != 0)
    assert not torch.equal(zeros[0], zeros[1])
    trained.sum().backward()
    gradients = {n: p.grad for n, p in parameters.items()}
    assert all(g.isfinite().all() and g.any() for g in gradients.values())
