"""What every kind of output must do, over all kinds."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skmtl._data.output_kinds import OUTPUT_KINDS, group_tasks

TASKS = {
    "regression": ("regression", [0, 0]),
    "binary": ("classification", [2, 2]),
    "multiclass": ("classification", [3, 4]),
}


@pytest.fixture(params=OUTPUT_KINDS, ids=lambda kind: kind.kind)
def block(request):
    """Return a block of two tasks of each kind, behind three other outputs."""
    task_type, n_classes = TASKS[request.param.kind]
    (block,) = group_tasks([task_type] * 2, n_classes)
    assert type(block) is request.param
    return type(block)(block.tasks, block.sizes, start=3)


@pytest.fixture
def outputs(block):
    """Return packed outputs of three networks for seven rows, of all blocks."""
    rng = torch.Generator().manual_seed(0)
    shape = 3, 7, block.stop + 1
    return torch.randn(shape, generator=rng, dtype=torch.float64)


@pytest.fixture
def labels(block):
    """Return labels of the rows, codes or values."""
    rng = np.random.RandomState(0)
    if not block.n_classes:
        return torch.from_numpy(rng.normal(size=(7, 2)))
    n_classes = TASKS[block.kind][1]
    return torch.from_numpy(
        np.column_stack([rng.randint(k, size=7) for k in n_classes])
    )


def test_selected_outputs_are_those_of_the_block(block, outputs):
    Z = block.select(outputs)
    assert Z.shape[-1] == sum(block.sizes)
    torch.testing.assert_close(Z, outputs[..., 3 : block.stop])
    assert block.select(Z) is Z


def test_losses_and_divergences_have_one_value_per_label(block, outputs, labels):
    Z = block.unpack(block.select(outputs[0]))
    loss = block.compute_losses(Z, labels, "squared_error")
    assert loss.shape == (7, 2)
    assert (loss >= 0).all()
    divergence = block.compute_divergences(Z, Z, 2.0)
    assert divergence.shape == (7, 2)
    assert_allclose(divergence, 0, atol=1e-12)
    other = block.unpack(block.select(outputs[1]))
    assert (block.compute_divergences(other, Z, 2.0) > 0).all()


def test_derivatives_are_those_of_the_loss(block, outputs, labels):
    prior, Z = block.select(outputs[0]), block.select(outputs[1])
    d = block.unpack(Z - prior, 0.0)

    def loss(a):
        Z_a = block.unpack(prior) + a * d
        half = 0.5 if block.kind == "regression" else 1.0
        return half * block.compute_losses(Z_a, labels, "squared_error").sum()

    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(loss(a), a, create_graph=True)
    (h,) = torch.autograd.grad(g, a)
    a = a.detach()
    first, second = block.differentiate(block.unpack(prior) + a * d, d, labels)
    assert_allclose(first.sum(), g.detach(), rtol=1e-9)
    assert_allclose(second.sum(), h, rtol=1e-9)


def test_the_average_of_equal_networks_predicts_the_same(block, outputs):
    Z = block.select(outputs[:1]).expand(3, -1, -1)
    average = block.average(Z, torch.full((3, 1, 1), 1 / 3, dtype=torch.float64))
    assert average.shape == Z.shape[1:]
    if block.task_type == "classification":
        assert_allclose(block.predict_proba(average), block.predict_proba(Z[0]))
    else:
        assert_allclose(average, Z[0])


def test_the_average_predicts_mean_probabilities_or_values(block, outputs):
    Z = block.select(outputs)
    share = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).view(3, 1, 1)
    average = block.average(Z, share)
    if block.task_type == "regression":
        assert_allclose(average, (share * Z).sum(dim=0))
        return
    proba = torch.stack([block.predict_proba(z) for z in Z])
    expected = (share.unsqueeze(1) * proba).sum(dim=0)
    assert_allclose(block.predict_proba(average), expected)
    assert_allclose(expected.sum(dim=2), 1)
    codes = block.predict_codes(average)
    assert_allclose(codes.T, block.predict_proba(average).argmax(dim=2))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_prior_predicts_the_shares_of_classes(block, labels, weighted):
    weight = np.arange(1.0, 8.0) if weighted else None
    n_classes = TASKS[block.kind][1]
    parts = [
        block.compute_prior(labels[:, j].numpy(), weight, n_classes[j])
        for j in range(2)
    ]
    assert [len(part) for part in parts] == list(block.sizes)
    if block.task_type == "regression":
        assert_allclose(np.concatenate(parts), 0)
        return
    proba = block.predict_proba(torch.from_numpy(np.concatenate(parts))[None])
    for j, k in enumerate(n_classes):
        counts = np.bincount(labels[:, j], weight, minlength=k)
        # A class without labels counts as half a label.
        counts = np.maximum(counts * 7 / counts.sum(), 0.5)
        assert_allclose(proba[j, 0, :k], counts / counts.sum())


def test_other_tasks_read_bounded_outputs_of_classes(block, outputs):
    Z = block.select(1e3 * outputs)
    read = block.compute_link_inputs(Z, torch.from_numpy(block.padded_columns))
    assert read.shape == Z.shape
    torch.testing.assert_close(read, block.compute_link_inputs(Z))
    if block.task_type == "classification":
        assert (read.abs() <= 1).all()


def test_every_task_belongs_to_one_kind():
    for task_type, k in [
        ("regression", 0),
        ("classification", 2),
        ("classification", 9),
    ]:
        groups = [kind.find_group(task_type, k) for kind in OUTPUT_KINDS]
        assert sum(group is not None for group in groups) == 1
    assert all(kind.find_group("classification", 1) is None for kind in OUTPUT_KINDS)
