"""Facts of the trace norm of heads."""

import numpy as np
import pytest
import torch

from skmtl import MultiTaskRegressor
from skmtl.relation import TraceNorm
from tests._networks import table
from tests.relation._helpers import LINEAR, D, heads, penalty


def test_two_tasks_have_a_closed_form():
    W = heads(2, D)
    gramian = W @ W.T
    norm = (gramian.trace() + 2 * torch.linalg.det(gramian).sqrt()).sqrt()
    expected = 0.3 * (2 * D) ** 0.5 * norm
    torch.testing.assert_close(penalty(TraceNorm(0.3), W), expected)


def test_it_is_the_sum_of_singular_values():
    W = heads(5, D)
    expected = 0.3 * (5 * D) ** 0.5 * np.linalg.norm(W.numpy(), "nuc")
    assert float(penalty(TraceNorm(0.3), W)) == pytest.approx(expected)


def test_equal_heads_cost_what_one_direction_does():
    w = heads(1, D)
    expected = 0.3 * 5 * D**0.5 * w.norm()
    torch.testing.assert_close(penalty(TraceNorm(0.3), w.expand(5, D)), expected)


@pytest.mark.parametrize("n_tasks", [2, 5])
def test_the_gradient_has_singular_values_of_one(n_tasks):
    W = heads(n_tasks, D).requires_grad_()
    (found,) = torch.autograd.grad(penalty(TraceNorm(1.0), W), W)
    U, _, Vt = np.linalg.svd(W.detach().numpy(), full_matrices=False)
    expected = (n_tasks * D) ** 0.5 * U @ Vt
    np.testing.assert_allclose(found, expected)


def test_where_values_are_zero_the_gradient_is_the_smallest():
    u, v = heads(5, 1), heads(1, D, seed=1)
    W = (u @ v).requires_grad_()
    (found,) = torch.autograd.grad(penalty(TraceNorm(1.0), W), W)
    torch.testing.assert_close(found, (5 * D) ** 0.5 * (u / u.norm()) @ (v / v.norm()))
    zero = torch.zeros(5, D, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(penalty(TraceNorm(1.0), zero), zero)
    assert not found.any()


def test_a_large_strength_leaves_few_directions():
    def effective_rank(strength):
        est = MultiTaskRegressor(relation=TraceNorm(strength), **LINEAR).fit(*table())
        values = torch.linalg.svdvals(est.module_.heads.weight.detach())
        return float(values.sum() / values.max())

    assert effective_rank(30.0) < 0.7 * effective_rank(0.0)


def test_it_knows_nothing_of_pairs_of_tasks():
    est = MultiTaskRegressor(relation="trace_norm", **LINEAR).fit(*table())
    assert not hasattr(est, "relation_")
