"""The perceptron is the one that torch's own layers make."""

import numpy as np
import pytest
import torch
from torch import nn

from skmtl import MultiTaskClassifier, MultiTaskEstimator
from skmtl._core.layers import ACTIVATIONS, Dropout
from skmtl.encoder import MLP
from tests._networks import N_FEATURES, inputs, plain_mlp, randomised, state_of

pytestmark = [
    pytest.mark.one_version,
]


def reference(widths, activation, norm, state, copy):
    """Return the same network made of torch's layers, with one copy's weights."""
    layers = []
    for fan_in, width in zip([N_FEATURES, *widths], widths, strict=False):
        layers.append(nn.Linear(fan_in, width))
        if norm == "layer":
            layers.append(nn.LayerNorm(width))
        layers.append(ACTIVATIONS[activation]())
    network = nn.Sequential(*layers).double()
    with torch.no_grad():
        for own, value in zip(network.parameters(), state, strict=True):
            own.copy_(value[copy].reshape(own.shape))
    return network


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", [None, "layer"])
def test_copies_are_networks_of_torch_s_layers(activation, norm):
    widths = (8, 6)
    encoder = plain_mlp(widths, activation=activation, norm=norm)
    module = randomised(encoder.build((N_FEATURES,), 3).double(), 0)
    X = inputs(9)
    features = module(X)
    state = list(module.parameters())
    for copy in range(3):
        network = reference(widths, activation, norm, state, copy)
        torch.testing.assert_close(features[copy], network(X))


@pytest.mark.parametrize("n_copies", [1, 3])
def test_batch_normalisation_is_torch_s(n_copies):
    module = plain_mlp((6,), norm="batch", activation="identity").build(
        (N_FEATURES,), n_copies
    )
    module.double().train()
    X = inputs(17)
    features = module(X)
    torch.testing.assert_close(
        features.mean(dim=1), torch.zeros(n_copies, 6).double(), atol=1e-9, rtol=0
    )
    variance = features.var(dim=1, correction=0)
    torch.testing.assert_close(variance, torch.ones_like(variance), atol=1e-3, rtol=0)


def test_an_integer_is_one_hidden_layer():
    torch.manual_seed(0)
    one = state_of(plain_mlp(7).build((N_FEATURES,), 2))
    torch.manual_seed(0)
    same = state_of(plain_mlp((7,)).build((N_FEATURES,), 2))
    assert all(torch.equal(value, same[name]) for name, value in one.items())


@pytest.mark.parametrize("n_copies", [1, 3])
def test_without_hidden_layers_features_are_the_input(n_copies):
    module = plain_mlp(()).build((N_FEATURES,), n_copies)
    X = inputs(5)
    assert module.width == N_FEATURES
    assert not list(module.parameters())
    assert all(torch.equal(features, X) for features in module(X))


@pytest.mark.parametrize("n_copies", [1, 3])
def test_dropout_acts_only_while_training(n_copies):
    module = plain_mlp((64,), dropout=0.5).build((N_FEATURES,), n_copies).double()
    X = inputs(50)
    evaluated = module.eval()(X)
    torch.testing.assert_close(module(X), evaluated)
    torch.manual_seed(0)
    trained = module.train()(X)
    active = evaluated > 0
    dropped = (trained[active] == 0).double().mean()
    assert 0.45 < dropped < 0.55
    kept = active & (trained > 0)
    torch.testing.assert_close(trained[kept], 2 * evaluated[kept])


@pytest.mark.parametrize("n_copies", [1, 3])
def test_layers_can_be_walked_one_by_one(n_copies):
    module = plain_mlp((8, 6, 5)).build((N_FEATURES,), n_copies).double()
    assert len(module.layers) == 3
    X = H = inputs(9)
    for layer, width in zip(module.layers, (8, 6, 5), strict=True):
        H = layer(H)
        assert H.shape == (n_copies, 9, width)[-H.ndim :]
        assert H.ndim == 3 or n_copies == 1
    torch.testing.assert_close(H.reshape(n_copies, 9, 5), module(X))


@pytest.mark.parametrize("n_copies", [1, 3])
@pytest.mark.parametrize("norm", [None, "layer", "batch"])
def test_residual_layers_are_added_to_what_they_read(n_copies, norm):
    # The first width is that of the input, which is raw: nothing is added to it.
    widths = (N_FEATURES, N_FEATURES, 6, 6, 6)
    residual = plain_mlp(widths, residual=True, norm=norm).build(
        (N_FEATURES,), n_copies
    )
    plain = plain_mlp(widths, norm=norm).build((N_FEATURES,), n_copies)
    for module in (residual.double(), plain.double()):
        randomised(module, 0)
    H = inputs(9)
    for i, layer in enumerate(plain.layers):
        H = layer(H) + H if i in (1, 3, 4) else layer(H)
    torch.testing.assert_close(residual(inputs(9)), H.reshape(n_copies, 9, 6))


@pytest.mark.parametrize("n_copies", [1, 3])
def test_initial_weights_are_as_large_as_torch_s(n_copies):
    torch.manual_seed(0)
    first, second = plain_mlp((256, 256)).build((100,), n_copies).layers
    for layer, fan_in in [(first, 100), (second, 256)]:
        for parameter in layer.parameters():
            bound = fan_in**-0.5
            assert 0.9 * bound < parameter.abs().max() <= bound


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (plain_mlp((8, 0)), "'hidden_layer_sizes' parameter of MLP must hold positive"),
        (MLP(0), "'hidden_layer_sizes' parameter of MLP must be"),
        (plain_mlp((8.5,)), "'hidden_layer_sizes' parameter of MLP must hold positive"),
        (MLP("wide"), "'hidden_layer_sizes' parameter of MLP must be"),
        (MLP(activation="sine"), "'activation' parameter of MLP must be a str among"),
        (plain_mlp((8, 6), residual=True), "set residual=False"),
        (plain_mlp((8, 8), residual=1), "'residual' parameter of MLP must be"),
        (MLP(dropout=1.0), "'dropout' parameter of MLP must be a float in the range"),
        (MLP(norm="group"), "'norm' parameter of MLP must be a str among"),
    ],
    ids=str,
)
def test_bad_settings_are_refused_before_training(bad, message):
    X, y = np.zeros((4, 2)), [0, 1, 0, 1]
    with pytest.raises(ValueError, match=message):
        MultiTaskClassifier(encoder=bad, n_estimators=1).fit(X, y)


@pytest.mark.parametrize(
    ("n_rows", "kinds", "p"),
    [
        (60, ("classification", "classification"), 0.3),
        (60, ("classification", "regression"), 0.3),
        (60, ("regression", "regression"), 0.1),
        (40, ("regression", "regression"), None),
        (40, ("classification", "classification"), None),
    ],
)
def test_dropout_is_chosen_by_tasks_and_rows(n_rows, kinds, p):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3))
    Y = np.column_stack([(X[:, 0] > 0) + 0.0, X[:, 1] > 0])
    est = MultiTaskEstimator(task_types=list(kinds), max_iter=1, n_estimators=2)
    module = est.fit(X, Y).module_
    found = {layer.p for layer in module.modules() if isinstance(layer, Dropout)}
    assert found == ({p} if p else set())
