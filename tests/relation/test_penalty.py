"""What penalties on the tasks' weights have in common."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.relation import (
    Clustered,
    GraphLaplacian,
    MeanRegularized,
    TaskCovariance,
    TaskTable,
    TraceNorm,
)
from tests._networks import SAME_STEPS, plain_mlp, table
from tests.relation._helpers import built, grouped_tasks, heads, penalty

PENALTIES = [
    Clustered(),
    GraphLaplacian(),
    MeanRegularized(),
    TaskCovariance(shrinkage=1.0),
    TraceNorm(),
]
penalties = pytest.mark.parametrize("relation", PENALTIES, ids=lambda r: r.name)


def changed(relation, **settings):
    """Return the penalty with other settings."""
    return clone(relation).set_params(**settings)


def test_the_matrix_has_a_row_per_task_and_columns_per_size():
    W = heads(9, 2)
    # Packed heads come in blocks, here of tasks 1 and 4, then 0 and 3; 2 has none.
    owner = torch.tensor([1, 4, 0, 0, 0, 3, 3, 3, 3])
    module = MeanRegularized().for_network(owner, True).build(5, 2).double()
    zero = torch.zeros(2, dtype=torch.float64)
    expected = torch.stack(
        [
            torch.cat([zero, W[2], W[3], W[4], *[zero] * 4]),
            torch.cat([W[0], *[zero] * 7]),
            torch.cat([zero] * 8),
            torch.cat([*[zero] * 4, W[5], W[6], W[7], W[8]]),
            torch.cat([W[1], *[zero] * 7]),
        ]
    )
    torch.testing.assert_close(module.by_task(W), expected)


@penalties
def test_strength_scales_the_penalty(relation):
    W = heads(5, 4)
    one, three = (penalty(changed(relation, strength=s), W) for s in (1.0, 3.0))
    assert one > 0
    torch.testing.assert_close(three, 3 * one)
    assert penalty(changed(relation, strength=0), W) is None


@penalties
def test_strength_is_in_labels(relation):
    W, ones, halves = (
        heads(5, 4),
        [np.ones(6)] * 5,
        [np.r_[[1.0] * 3, [np.nan] * 3]] * 5,
    )

    def with_labels(labels, weight=None):
        # Correlations of constants are zero, so all pairs of tasks are given.
        spec = changed(relation)
        if isinstance(relation, GraphLaplacian):
            spec = changed(relation, adjacency=np.ones((5, 5)))
        table = TaskTable(list("abcde"), [None] * 5, labels, weight)
        return penalty(spec.for_tasks(table), W)

    one = with_labels([np.ones(1)] * 5)
    torch.testing.assert_close(with_labels(ones), one / 6)
    torch.testing.assert_close(with_labels(halves), one / 3)
    # What weighs twice is two labels; tasks without any do not count.
    torch.testing.assert_close(with_labels(halves, np.full((6, 5), 2.0)), one / 6)
    none = [*halves[:4], np.full(6, np.nan)]
    torch.testing.assert_close(with_labels(none), one / 3)


@penalties
def test_strength_zero_is_no_relation(relation):
    X, Y = table()
    settings = {**SAME_STEPS, "encoder": plain_mlp((16,))}
    plain = MultiTaskRegressor(**settings).fit(X, Y)
    none = changed(relation, strength=0)
    none = MultiTaskRegressor(relation=none, **settings).fit(X, Y)
    np.testing.assert_allclose(none.predict(X), plain.predict(X))


@pytest.mark.parametrize("cls", [MeanRegularized, TraceNorm])
def test_tasks_with_other_numbers_of_outputs_are_apart(cls):
    def measure(W, sizes):
        module = built(cls(), sizes)
        return module.measure(module.by_task(W))

    W = heads(9, 4)
    three = torch.cat([W[0:3], W[4:7]])
    one = W[[3, 7, 8]]
    found = measure(W, [3, 1, 3, 1, 1])
    torch.testing.assert_close(found, measure(three, [3, 3]) + measure(one, [1, 1, 1]))


@penalties
def test_strength_means_the_same_for_any_width(relation):
    # Twice the features, which are the same twice, halve the weights of each.
    W = heads(5, 4)
    wide = torch.cat([W, W], dim=1) / 2
    torch.testing.assert_close(penalty(relation, wide), penalty(relation, W))


@penalties
def test_strength_means_the_same_for_any_number_of_tasks(relation):
    # Twice the tasks, the same twice, have twice the losses.
    W = heads(5, 4)
    more = {"n_clusters": 4} if isinstance(relation, Clustered) else {}
    twice = changed(relation, **more)
    found, expected = penalty(twice, torch.cat([W, W])), 2 * penalty(relation, W)
    if isinstance(relation, GraphLaplacian):  # with no edge from a task to itself
        found, expected = found * 9 / 10, expected * 4 / 5
    torch.testing.assert_close(found, expected)


@penalties
def test_bf16_trains(relation):
    X, Y = grouped_tasks(60)
    est = MultiTaskClassifier(
        relation=relation,
        encoder=plain_mlp((8,)),
        precision="bf16",
        max_iter=2,
        n_estimators=1,
    ).fit(X, Y > 0)
    assert np.isfinite(est.loss_curve_).all()


@penalties
def test_single_classes_and_single_tasks_train(relation):
    X, Y = table()
    fewer = {"n_clusters": 1} if isinstance(relation, Clustered) else {}
    relation = changed(relation, **fewer)
    est = MultiTaskClassifier(
        relation=relation, encoder=plain_mlp((8,)), max_iter=2, n_estimators=1
    )
    constant = np.column_stack([Y[:, 0] > 0, np.zeros(len(Y)), Y[:, 1] > 0])
    for y in (constant, constant[:, 0]):
        assert np.isfinite(est.fit(X, y).loss_curve_).all()


@penalties
def test_a_negative_strength_is_refused(relation):
    X, Y = table()
    message = f"'strength' parameter of {type(relation).__name__}"
    with pytest.raises(ValueError, match=message):
        MultiTaskRegressor(
            relation=changed(relation, strength=-1.0), n_estimators=1
        ).fit(X, Y)
