"""Facts of the learned covariance between tasks."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import sqrtm

from skmtl import MultiTaskRegressor
from skmtl.relation import TaskCovariance
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

TINY = 1e-12


def paper(strength, ridge=TINY):
    """Return the penalty as it was published."""
    return TaskCovariance(strength, ridge, shrinkage=1.0)


def updated(relation, W):
    """Return the penalty after an epoch."""
    return after_epoch(relation, W).penalty(W, owners([1] * len(W)))


def test_it_begins_as_nothing_or_as_a_ridge():
    W = heads(5, D)
    assert float(penalty(TaskCovariance(0.3), W)) == 0
    expected = 0.3 * D * W.square().sum()
    torch.testing.assert_close(penalty(paper(0.3), W), expected)
    half = TaskCovariance(0.3, shrinkage=0.5)
    torch.testing.assert_close(penalty(half, W), expected / 2)


def test_two_tasks_have_a_closed_form():
    W = heads(2, D)
    G = (W @ W.T).numpy()
    root = G + np.sqrt(np.linalg.det(G)) * np.eye(2)  # of a 2 x 2 matrix, but for scale
    found = after_epoch(TaskCovariance(ridge=TINY), W).matrix()
    np.testing.assert_allclose(found, root / root.trace())


def test_it_is_the_root_of_the_gramian():
    W = heads(4, D)
    G = (W @ W.T).numpy()
    root = sqrtm(G + 0.1 * G.trace() / 4 * np.eye(4))
    found = after_epoch(TaskCovariance(ridge=0.1), W).matrix()
    np.testing.assert_allclose(found, root / root.trace())


@pytest.mark.parametrize("shrinkage", [0.0, 0.4, 1.0])
def test_the_penalty_weighs_heads_by_the_inverse(shrinkage):
    W = heads(4, D)
    module = after_epoch(TaskCovariance(0.3, shrinkage=shrinkage), W)
    covariance = module.matrix().numpy()
    weights = np.linalg.inv(covariance)
    weights -= (1 - shrinkage) / np.linalg.eigvalsh(covariance)[-1] * np.eye(4)
    expected = 0.3 * D / 4 * np.trace(W.numpy().T @ weights @ W.numpy())
    found = module.penalty(W, owners([1] * 4))
    assert float(found) == pytest.approx(expected)


def test_no_other_covariance_has_a_smaller_penalty():
    W = heads(5, 7)
    found = after_epoch(TaskCovariance(ridge=0.1), W).matrix().numpy()
    squares = (W @ W.T).numpy() + 0.1 * float(W.square().sum()) / 5 * np.eye(5)

    def objective(covariance):
        return np.trace(squares @ np.linalg.inv(covariance))

    assert np.trace(found) == pytest.approx(1)
    assert np.linalg.eigvalsh(found).min() > 0
    rng = np.random.default_rng(0)
    for size in (1e-3, 1e-2, 1e-1):
        for _ in range(20):
            A = rng.normal(size=(5, 5))
            other = found + size * (A @ A.T) / 5
            assert objective(other / other.trace()) > objective(found)


def test_the_smallest_penalty_is_the_squared_trace_norm():
    W = heads(3, D)
    expected = 0.3 * D / 3 * np.linalg.norm(W.numpy(), "nuc") ** 2
    assert float(updated(paper(0.3), W)) == pytest.approx(expected)


def test_unrelated_tasks_keep_the_start():
    W = 2 * torch.linalg.qr(heads(6, 6)).Q[:4]
    module = after_epoch(TaskCovariance(0.3), W)
    torch.testing.assert_close(module.matrix(), torch.eye(4).double() / 4)
    assert float(updated(TaskCovariance(0.3), W)) == pytest.approx(0, abs=1e-12)
    expected = 0.3 * 6 * W.square().sum()
    torch.testing.assert_close(updated(paper(0.3), W), expected)


@pytest.mark.parametrize("sizes", [[1, 1, 1], [1, -2, 3]])
def test_heads_that_agree_cost_nothing(sizes):
    W = torch.tensor(sizes).double().unsqueeze(1) * heads(1, D)
    assert float(updated(TaskCovariance(0.3), W)) == pytest.approx(0, abs=1e-12)


def test_published_equal_heads_cost_as_much_as_one():
    w = heads(1, D)
    expected = 0.3 * D * w.square().sum()
    found = updated(paper(0.3), w.expand(5, D))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_opposite_heads_covary_negatively():
    w = heads(1, D)
    covariance = after_epoch(TaskCovariance(), torch.cat([w, -w])).matrix()
    assert covariance[0, 1] < -0.3


def test_heads_that_are_zero_tell_nothing():
    module = after_epoch(TaskCovariance(), torch.zeros(3, D, dtype=torch.float64))
    torch.testing.assert_close(module.matrix(), torch.eye(3).double() / 3)


def test_tasks_with_other_numbers_of_outputs_do_not_covary():
    W = heads(9, D)
    covariance = after_epoch(TaskCovariance(), W, [3, 1, 3, 1, 1]).matrix()
    size = torch.tensor([3, 1, 3, 1, 1])
    apart = size[:, None] != size
    assert covariance[apart].abs().max() < 1e-12
    assert covariance[~apart].abs().min() > 1e-3


def test_tasks_of_one_group_covary_more():
    X, Y = grouped_tasks()
    group = np.array([0, 1, 0, 1, 0, 1])
    names = list("abcdef")
    est = MultiTaskRegressor(relation="task_covariance", **LINEAR)
    found = est.fit(X, pd.DataFrame(Y, columns=names)).relation_
    assert found.index.tolist() == found.columns.tolist() == names
    deviation = np.sqrt(np.diag(found))
    correlation = found.to_numpy() / np.outer(deviation, deviation)
    together = group[:, None] == group
    assert correlation[together].min() > 1.5 * abs(correlation[~together]).max()
    assert np.trace(found) == pytest.approx(1)


def test_members_are_averaged():
    X, Y = table()
    settings = {"max_iter": 5, "early_stopping": "auto", "n_estimators": 2}
    est = MultiTaskRegressor(relation="task_covariance", **{**LINEAR, **settings})
    est.fit(X, Y)
    own = [est.module_.member(i).relation.covariance for i in range(2)]
    assert not torch.allclose(*own)
    np.testing.assert_allclose(est.relation_, (own[0] + own[1]) / 2)


@pytest.mark.parametrize("bad", [{"ridge": 0}, {"shrinkage": 1.5}])
def test_settings_out_of_range_are_refused(bad):
    (name,) = bad
    relation = TaskCovariance(**bad)
    with pytest.raises(ValueError, match=f"'{name}' parameter of TaskCovariance"):
        MultiTaskRegressor(relation=relation, n_estimators=1).fit(*table())
