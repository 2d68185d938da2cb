"""Independent networks are what separate models are."""

import numpy as np
import pytest
import torch

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.encoder import ModuleEncoder
from skmtl.sharing import Independent
from tests._networks import (
    ENCODERS,
    N_FEATURES,
    SAME_STEPS,
    Network,
    Prepared,
    inputs,
    plain_mlp,
    shape_of,
    table,
)

T = 3


@pytest.mark.parametrize("name", [n for n in ENCODERS if "module" not in n])
def test_each_column_is_a_network_of_its_own(name):
    shape = shape_of(ENCODERS[name])
    encoder = Prepared(ENCODERS[name])
    together = Independent().build(encoder, shape, T).double().eval()
    X = inputs(9, encoder=ENCODERS[name])
    features, shared = together(X)
    assert shared is None
    assert not list(together.shared_parameters())
    for t in range(T):
        alone = encoder.set_params(first=t).build(shape, 1).double().eval()
        torch.testing.assert_close(features[:, t], alone(X)[0])


def test_users_networks_are_independent_too():
    module = Independent().build(ModuleEncoder(Network), (N_FEATURES,), T).double()
    features, _ = module(inputs(5))
    (gradient,) = torch.autograd.grad(
        features[:, 1].sum(), [next(module.columns.parameters())]
    )
    assert gradient[1].any()
    assert not gradient[[0, 2]].any()


@pytest.mark.parametrize("norm", [None, "layer", "batch"])
@pytest.mark.parametrize("batch_size", [20, 60])
def test_classifier_fits_as_separate_models_that_start_alike(norm, batch_size):
    X, Z = table()
    Y = np.column_stack([Z[:, 0] > 0, np.digitize(Z[:, 1], [-1, 1]), Z[:, 2] > 1])
    settings = {**SAME_STEPS, "sharing": "independent", "batch_size": batch_size}
    encoder = plain_mlp((16, 8), norm=norm)
    est = MultiTaskClassifier(encoder=Prepared(encoder), **settings).fit(X, Y)
    for t in range(T):
        alone = MultiTaskClassifier(encoder=Prepared(encoder, first=t), **settings)
        alone.fit(X, Y[:, t])
        np.testing.assert_allclose(est.predict_proba(X)[t], alone.predict_proba(X))
        losses = [epoch["train_losses"][t] for epoch in est.history_]
        np.testing.assert_allclose(losses, alone.loss_curve_)


def test_regressor_with_missing_labels_fits_as_separate_models_that_start_alike():
    X, Y = table()
    Y[np.random.default_rng(1).uniform(size=Y.shape) < 0.3] = np.nan
    # One batch: a model of one task skips the rows without its label.
    settings = {**SAME_STEPS, "sharing": "independent", "batch_size": 60}
    encoder = plain_mlp((16, 8))
    est = MultiTaskRegressor(encoder=Prepared(encoder), **settings).fit(X, Y)
    for t in range(T):
        alone = MultiTaskRegressor(encoder=Prepared(encoder, first=t), **settings)
        alone.fit(X, Y[:, t])
        np.testing.assert_allclose(est.predict(X)[:, t], alone.predict(X))


def test_what_one_task_is_told_changes_no_other():
    X, Y = table()
    settings = {**SAME_STEPS, "sharing": "independent", "encoder": plain_mlp((16,))}
    before = MultiTaskRegressor(**settings).fit(X, Y).predict(X)
    Y[:, 1] = Y[::-1, 1]
    after = MultiTaskRegressor(**settings).fit(X, Y).predict(X)
    np.testing.assert_allclose(after[:, [0, 2]], before[:, [0, 2]])
    assert not np.allclose(after[:, 1], before[:, 1])
