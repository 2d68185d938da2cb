"""Facts of cross-stitch networks: features of tasks are mixed after each layer."""

import numpy as np
import pytest
import torch

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.encoder import ModuleEncoder
from skmtl.sharing import CrossStitch, Independent
from tests._networks import (
    ENCODERS,
    SAME_STEPS,
    Network,
    Prepared,
    inputs,
    plain_mlp,
    randomised,
    shape_of,
    table,
)
from tests.sharing._helpers import IMAGE_SHAPE, Convolutions, Frozen
from tests.sharing.test_all import assert_replicates, whole_network

T = 3


def built(self_weight=0.9, encoder=None, n_tasks=T, shape=None):
    encoder = encoder or Prepared(plain_mlp((8, 6)))
    shape = shape or shape_of(encoder)
    return CrossStitch(self_weight).build(encoder, shape, n_tasks).double()


@pytest.mark.parametrize("name", [n for n in ENCODERS if "module" not in n])
@pytest.mark.parametrize(("self_weight", "n_tasks"), [(1.0, T), (0.5, 1)])
def test_unmixed_features_are_those_of_independent_tasks(name, self_weight, n_tasks):
    encoder = Prepared(ENCODERS[name])
    module = built(self_weight, encoder, n_tasks).eval()
    shape, X = shape_of(encoder), inputs(9, encoder=encoder)
    independent = Independent().build(encoder, shape, n_tasks).double().eval()
    torch.testing.assert_close(module(X)[0], independent(X)[0])


def test_with_a_frozen_identity_tasks_train_as_independent_ones():
    X, Y = table()
    settings = {**SAME_STEPS, "encoder": Prepared(plain_mlp((16, 8)))}
    independent = MultiTaskRegressor("independent", **settings).fit(X, Y)
    frozen = Frozen(CrossStitch(self_weight=1.0), frozen="deviations")
    mixed = MultiTaskRegressor(frozen, **settings).fit(X, Y)
    np.testing.assert_allclose(mixed.loss_curve_, independent.loss_curve_)
    np.testing.assert_allclose(mixed.predict(X), independent.predict(X))


def test_two_tasks_mix_as_told():
    module = built(0.75, n_tasks=2)
    with torch.no_grad():
        module.deviations[1].copy_(torch.tensor([[0.25, -0.25], [0.0, 0.5]]))
    first, second = module.columns.steps()
    H = first(inputs(9))
    H = torch.stack([0.75 * H[0] + 0.25 * H[1], 0.25 * H[0] + 0.75 * H[1]])
    H = second(H)
    features, shared = module(inputs(9))
    torch.testing.assert_close(shared, H.transpose(0, 1))
    torch.testing.assert_close(features[:, 0], H[0])
    torch.testing.assert_close(features[:, 1], 0.25 * H[0] + 1.25 * H[1])
    expected = torch.tensor([[[0.75, 0.25], [0.25, 0.75]], [[1.0, 0.0], [0.25, 1.25]]])
    torch.testing.assert_close(module.mixing(), expected.double())


@pytest.mark.parametrize("n_tasks", [1, 2, 5, 512])
def test_mixing_starts_near_the_identity_and_keeps_the_scale(n_tasks):
    mixing = built(0.8, n_tasks=n_tasks).mixing()
    assert mixing.shape == (2, n_tasks, n_tasks)
    assert not mixing.requires_grad
    torch.testing.assert_close(mixing.sum(dim=2), torch.ones(2, n_tasks).double())
    own = 0.8 if n_tasks > 1 else 1.0
    diagonal = mixing.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(diagonal.float(), torch.full((2, n_tasks), own))


def test_a_network_without_layers_is_mixed_once():
    for encoder in (ModuleEncoder(Network), plain_mlp(())):
        assert built(encoder=encoder).mixing().shape == (1, T, T)


def test_channels_are_mixed_at_every_position():
    module = built(encoder=Convolutions(), shape=IMAGE_SHAPE)
    randomised(module, 0)
    X = inputs(5, encoder=Convolutions())
    H = X
    for step, W in zip(module.columns.steps(), module.mixing(), strict=True):
        H = torch.tensordot(W, step(H), dims=1)
    torch.testing.assert_close(module(X)[0], H.transpose(0, 1))
    nets = [whole_network(CrossStitch(), Convolutions(), seed) for seed in (1, 2, 3)]
    assert_replicates(nets, Convolutions())


def test_weight_decay_draws_mixing_to_its_start():
    X, Y = table(n=100)
    distances = []
    for alpha in (0.0, 90.0):
        est = MultiTaskRegressor(
            CrossStitch(),
            learning_rate_init=1e-2,
            alpha=alpha,
            random_state=0,
            n_estimators=1,
        ).fit(X, Y)
        start = torch.full((T, T), 0.05).fill_diagonal_(0.9)
        distances.append(float((est.module_.sharing.mixing() - start).norm()))
    assert distances[0] > 0.05
    assert distances[1] < 0.5 * distances[0]


@pytest.mark.parametrize("self_weight", [-0.1, 1.1, "own", None])
def test_a_bad_self_weight_is_refused_before_training(self_weight):
    X, Z = table()
    est = MultiTaskClassifier(CrossStitch(self_weight), n_estimators=1)
    with pytest.raises(ValueError, match="'self_weight' parameter of CrossStitch"):
        est.fit(X, Z > 0)
