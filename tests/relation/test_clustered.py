"""Facts of learned clusters of heads."""

import numpy as np
import pytest
import torch
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from skmtl import MultiTaskRegressor
from skmtl.relation import Clustered
from tests._networks import table
from tests.relation._helpers import (
    LINEAR,
    D,
    after_epoch,
    grouped_tasks,
    heads,
    owners,
    penalty,
)


def updated(relation, W):
    """Return the penalty after an epoch."""
    return after_epoch(relation, W).penalty(W, owners([1] * len(W)))


def test_it_begins_as_a_ridge():
    W = heads(5, D)
    share, eta = 2 / 5, 0.3
    expected = 0.7 * D * eta * (1 - share) / (eta + share) * W.square().sum()
    torch.testing.assert_close(penalty(Clustered(2, 0.7, eta), W), expected)


def test_two_tasks_have_a_closed_form():
    a, b = heads(1, D), heads(1, D, seed=1)
    b = (b - a * (a @ b.T) / a.square().sum()) / b.norm()  # orthogonal
    a, b = 3 * a / a.norm(), 2 * b / b.norm()
    # Of singular values 3 and 2, eta = 1 leaves shares 3 / nu - 1 and 2 / nu - 1, which
    # sum to 1 for nu = 5 / 3.
    W = torch.cat([a, b])
    found = after_epoch(Clustered(1, 1.0, 1.0), W).matrix()
    np.testing.assert_allclose(found, np.diag([0.8, 0.2]), atol=1e-6)
    expected = D * (9 * 0.2 / 1.8 + 4 * 0.8 / 1.2)
    assert float(updated(Clustered(1, 1.0, 1.0), W)) == pytest.approx(expected)
    # Of 3 and 0.2, eta = 0.1 would leave nu = 8 / 3 and a second share below zero.
    W = torch.cat([a, b / 10])
    found = after_epoch(Clustered(1, 1.0, 0.1), W).matrix()
    np.testing.assert_allclose(found, np.diag([1.0, 0.0]), atol=1e-6)
    assert float(updated(Clustered(1, 1.0, 0.1), W)) == pytest.approx(D * 0.04)


def test_as_many_heads_as_clusters_cost_nothing():
    W = heads(2, D)[[0, 1, 1, 0, 1]]
    assert float(updated(Clustered(2), W)) < 1e-6 * float(penalty(Clustered(2), W))
    expected = np.array([0, 1, 1, 0, 1])
    together = expected[:, None] == expected
    found = after_epoch(Clustered(2), W).matrix()
    np.testing.assert_allclose(found, together / together.sum(axis=1), atol=1e-6)


def test_as_many_clusters_as_tasks_cost_nothing():
    W = heads(3, D)
    assert float(penalty(Clustered(3), W)) == 0
    assert float(updated(Clustered(3), W)) == pytest.approx(0, abs=1e-9)


def test_no_other_clusters_have_a_smaller_penalty():
    W, eta = heads(6, 9), 0.2
    found = after_epoch(Clustered(2, eta=eta), W).matrix().numpy()

    def objective(M):
        one = np.eye(6)
        P = eta * (one - M) @ np.linalg.inv(eta * one + M)
        return np.trace(W.numpy().T @ P @ W.numpy())

    values, vectors = np.linalg.eigh(found)
    assert values.min() > -1e-9
    assert values.max() < 1 + 1e-9
    assert found.trace() == pytest.approx(2)
    rng = np.random.default_rng(0)
    for size in (1e-2, 1e-1, 1.0):
        for _ in range(20):
            Q, _ = np.linalg.qr(vectors + size * rng.normal(size=(6, 6)))
            share = size / (1 + size)
            shares = (1 - share) * values + share * rng.dirichlet(np.ones(6) * 9) * 2
            if shares.max() <= 1:
                assert objective((Q * shares) @ Q.T) > objective(found)


def test_heads_that_are_zero_tell_nothing():
    module = after_epoch(Clustered(2), torch.zeros(4, D, dtype=torch.float64))
    torch.testing.assert_close(module.matrix(), torch.eye(4).double() / 2)


def test_tasks_with_other_numbers_of_outputs_are_in_no_cluster():
    size = torch.tensor([3, 1, 3, 1, 1])
    found = after_epoch(Clustered(2), heads(9, D), size.tolist()).matrix()
    assert found[size[:, None] != size].abs().max() < 1e-9


def test_true_clusters_are_found():
    X, Y = grouped_tasks()
    est = MultiTaskRegressor(relation=Clustered(2), **LINEAR).fit(X, Y)
    clustering = SpectralClustering(2, affinity="precomputed", random_state=0)
    found = clustering.fit_predict(np.maximum(est.relation_, 0))
    assert adjusted_rand_score(found, [0, 1, 0, 1, 0, 1]) == 1


def test_a_large_strength_leaves_as_many_directions_as_clusters():
    def beyond(strength):
        relation = Clustered(1, strength)
        est = MultiTaskRegressor(relation=relation, **LINEAR).fit(*table())
        values = torch.linalg.svdvals(est.module_.heads.weight.detach())
        return float(values[1:].sum() / values.sum())

    assert beyond(600.0) < 0.1 * beyond(0.0)


def test_more_clusters_than_tasks_are_refused():
    with pytest.raises(ValueError, match=r"at most the number of tasks, 3\. Got 4\."):
        MultiTaskRegressor(relation=Clustered(4), **LINEAR).fit(*table())


@pytest.mark.parametrize("name", ["n_clusters", "eta"])
def test_zero_is_refused(name):
    relation = Clustered(**{name: 0})
    with pytest.raises(ValueError, match=f"'{name}' parameter of Clustered"):
        MultiTaskRegressor(relation=relation, n_estimators=1).fit(*table())
