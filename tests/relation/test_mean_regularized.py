"""Facts of heads near their mean."""

import numpy as np
import pytest
import torch

from skmtl import MultiTaskRegressor
from skmtl.relation import MeanRegularized
from tests._networks import table
from tests.relation._helpers import LINEAR, D, heads, penalty


def test_two_tasks_are_half_a_squared_distance_apart():
    W = heads(2, D)
    expected = 0.3 * D * (W[0] - W[1]).square().sum() / 2
    torch.testing.assert_close(penalty(MeanRegularized(0.3), W), expected)


def test_it_is_the_sum_of_squared_distances_from_the_mean():
    W = heads(5, D)
    expected = 0.3 * D * 5 * np.var(W.numpy(), axis=0).sum()
    assert float(penalty(MeanRegularized(0.3), W)) == pytest.approx(expected)


def test_equal_heads_cost_nothing():
    W = heads(1, D).expand(5, D)
    assert penalty(MeanRegularized(0.3), W) == pytest.approx(0, abs=1e-30)


def test_the_gradient_points_away_from_the_mean():
    W = heads(5, D).requires_grad_()
    (found,) = torch.autograd.grad(penalty(MeanRegularized(0.3), W), W)
    torch.testing.assert_close(found, (0.6 * D * (W - W.mean(dim=0))).detach())


def test_classes_are_compared_in_order():
    W = heads(6, D)
    first, second = W[:3], W[3:]
    expected = D * (first - second).square().sum() / 2
    torch.testing.assert_close(penalty(MeanRegularized(1.0), W, [3, 3]), expected)


def test_a_large_strength_makes_heads_alike():
    def distance(strength):
        relation = MeanRegularized(strength)
        est = MultiTaskRegressor(relation=relation, **LINEAR).fit(*table())
        W = est.module_.heads.weight.detach()
        return float((W - W.mean(dim=0)).norm() / W.norm())

    assert distance(600.0) < 0.1 * distance(0.0)


def test_it_knows_nothing_of_pairs_of_tasks():
    est = MultiTaskRegressor(relation="mean_regularized", **LINEAR).fit(*table())
    assert not hasattr(est, "relation_")
