"""Facts of regularised multi-task learning: w_t = w_0 + v_t."""

import numpy as np
import pytest
import torch

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.sharing import Additive, Hard, Independent
from tests._networks import N_FEATURES, Prepared, inputs, plain_mlp, randomised, table

T = 3
MLPS = [
    plain_mlp((8, 6)),
    plain_mlp(6, activation="tanh"),
    plain_mlp((8, 6), norm="layer"),
]
mlps = pytest.mark.parametrize("encoder", MLPS, ids=str)


def built(encoder):
    return Additive().build(Prepared(encoder), (N_FEATURES,), T).double()


def silence(network):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()


@mlps
def test_features_are_the_sum_of_the_task_s_own_and_the_common_ones(encoder):
    module = built(encoder)
    X = inputs(9)
    own, common = module.columns(X), module.common(X)
    features, shared = module(X)
    torch.testing.assert_close(shared, common.transpose(0, 1))
    for t in range(T):
        torch.testing.assert_close(features[:, t], own[t] + common[0])


@mlps
def test_without_task_specific_networks_it_is_hard_sharing(encoder):
    module = built(encoder)
    silence(module.columns)
    hard = Hard().build(Prepared(encoder), (N_FEATURES,), T).double()
    X = inputs(9)
    expected, _ = hard(X)
    torch.testing.assert_close(module(X)[0], expected.unsqueeze(1).expand(-1, T, -1))


@mlps
def test_without_the_shared_network_tasks_are_independent(encoder):
    module = built(encoder)
    silence(module.common)
    independent = Independent().build(Prepared(encoder), (N_FEATURES,), T).double()
    X = inputs(9)
    torch.testing.assert_close(module(X)[0], independent(X)[0])


def test_penalty_is_the_mean_square_norm_of_the_task_specific_weights():
    module = Additive(strength=0.3).build(plain_mlp((8, 6)), (N_FEATURES,), T).double()
    randomised(module, 0)
    norms = sum(p.square().sum() for p in module.columns.parameters())
    torch.testing.assert_close(module.penalty(), 0.3 / T * norms)


@pytest.mark.parametrize("encoder", [plain_mlp((8, 6)), plain_mlp(())], ids=str)
def test_there_is_no_penalty_where_nothing_is_to_be_penalised(encoder):
    assert built(encoder).penalty() is None
    linear = Additive(strength=1.0).build(plain_mlp(()), (N_FEATURES,), T)
    assert linear.penalty() is None


def own_norm(est):
    columns = est.module_.sharing.columns
    return sum(float(p.detach().square().sum()) for p in columns.parameters()) ** 0.5


def test_task_specific_weights_vanish_as_strength_grows():
    X, Y = table(n=100)
    norms, gaps = [], []
    for strength in (0.0, 0.01, 1.0, 100.0):
        est = MultiTaskRegressor(
            Additive(strength),
            encoder=plain_mlp((16,)),
            learning_rate_init=1e-2,
            max_iter=200,
            early_stopping=False,
            n_iter_no_change=np.inf,
            random_state=0,
            n_estimators=1,
        ).fit(X, Y)
        norms.append(own_norm(est))
        with torch.no_grad():
            features, shared = est.module_.sharing(torch.from_numpy(X))
        gaps.append(float((features - shared).norm() / features.norm()))
        assert est.score(X, Y) > 0.9
    assert norms == sorted(norms, reverse=True)
    assert gaps == sorted(gaps, reverse=True)
    assert norms[-1] < 1e-2 * norms[0]
    assert gaps[-1] < 1e-2


def test_penalty_is_no_part_of_the_reported_loss():
    X, Y = table()
    settings = {"encoder": plain_mlp((16,)), "max_iter": 1, "random_state": 0}
    losses = {
        MultiTaskRegressor(Additive(strength), **settings, n_estimators=1)
        .fit(X, Y)
        .loss_
        for strength in (0.0, 100.0)
    }
    assert len(losses) == 1


@pytest.mark.parametrize("strength", [-1, "much", None])
def test_a_bad_strength_is_refused_before_training(strength):
    X, Z = table()
    est = MultiTaskClassifier(Additive(strength), n_estimators=1)
    with pytest.raises(ValueError, match="'strength' parameter of Additive"):
        est.fit(X, Z > 0)
