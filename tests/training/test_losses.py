"""The packed loss against one torch loss per task."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from skmtl._data.output_kinds import REGRESSION_LOSSES, group_tasks
from skmtl.training import PackedLoss, pack_targets

pytestmark = pytest.mark.one_version

N = 23
CPU = torch.device("cpu")
LAYOUTS = {
    "binary": [2, 2, 2],
    "multiclass": [5, 5],
    "ragged": [3, 4, 5, 7, 8],
    "far apart": [2, 3, 10, 300],
    "regression": [0, 0],
    "out of order": [0, 5, 2, 3, 0, 2, 4],
    "with tasks of one class": [1, 3, 1, 2, 0],
}


def kinds(counts):
    return ["classification" if k else "regression" for k in counts]


def draw(counts, missing=0.0, weighted=False, seed=0):
    """Return outputs, labels per task and weights."""
    rng = np.random.RandomState(seed)
    blocks = group_tasks(kinds(counts), counts)
    n_outputs = max((b.stop for b in blocks), default=0)
    outputs = torch.from_numpy(3 * rng.randn(N, n_outputs)).requires_grad_()
    labels = []
    for k in counts:
        absent = rng.rand(N) < missing
        if k:
            labels.append(np.where(absent, -1, rng.randint(0, k, N)).astype(np.int32))
        else:
            labels.append(np.where(absent, np.nan, 2 * rng.randn(N)))
    weight = rng.rand(N, len(counts)) + 0.1 if weighted else None
    return blocks, outputs, labels, weight


def one_by_one(blocks, outputs, labels, weight, n_tasks, loss):
    """Return each task's loss and the weight of its labels, without packing."""
    losses = [outputs.new_zeros(())] * n_tasks
    counts = [0.0] * n_tasks
    for block in blocks:
        start = block.start
        for t, size in zip(block.tasks, block.sizes, strict=True):
            Z = outputs[:, start : start + size]
            start += size
            y = labels[t]
            present = ~np.isnan(y) if block.kind == "regression" else y >= 0
            w = np.ones(N) if weight is None else weight[:, t]
            Z, w = Z[present], torch.from_numpy(w[present])
            y = torch.from_numpy(y[present])
            if block.kind == "regression":
                entries = REGRESSION_LOSSES[loss](Z[:, 0], y, reduction="none")
            elif block.kind == "binary":
                both = torch.stack([torch.zeros_like(Z[:, 0]), Z[:, 0]], dim=1)
                entries = F.cross_entropy(both, y.long(), reduction="none")
            else:
                entries = F.cross_entropy(Z, y.long(), reduction="none")
            counts[t] = float(w.sum())
            if len(y):
                losses[t] = (entries * w).sum() / w.sum()
    return torch.stack(losses), torch.tensor(counts, dtype=torch.float64)


def packed(blocks, outputs, labels, weight, n_tasks, loss="squared_error"):
    targets = pack_targets(blocks, labels, weight, outputs.dtype, CPU)
    return PackedLoss(blocks, n_tasks, loss)(outputs, targets)


def gradient(losses, outputs):
    (grad,) = torch.autograd.grad(losses.sum(), outputs)
    return grad


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", REGRESSION_LOSSES)
@pytest.mark.sampled(5)
def test_losses_and_gradients_equal_those_of_single_tasks(
    layout, missing, weighted, loss
):
    counts = LAYOUTS[layout]
    blocks, outputs, labels, weight = draw(counts, missing, weighted)
    args = (blocks, outputs, labels, weight, len(counts), loss)
    losses, label_counts = packed(*args)
    expected, expected_counts = one_by_one(*args)
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(gradient(losses, outputs), gradient(expected, outputs))
    if missing or weighted:
        torch.testing.assert_close(label_counts, expected_counts)
    else:
        assert label_counts is None


@pytest.mark.parametrize("loss", REGRESSION_LOSSES)
def test_regression_losses_are_those_of_the_formulas(loss):
    blocks, outputs, labels, _ = draw([0])
    losses, _ = packed(blocks, outputs, labels, None, 1, loss)
    error = abs(outputs.detach().numpy()[:, 0] - labels[0])
    formulas = {
        "absolute_error": error,
        "squared_error": error**2,
        "huber": np.where(error <= 1, error**2 / 2, error - 0.5),
    }
    assert losses.item() == pytest.approx(formulas[loss].mean())


@pytest.mark.parametrize("layout", ["ragged", "out of order", "regression", "binary"])
def test_a_task_without_labels_in_the_batch_has_loss_and_gradient_zero(layout):
    counts = LAYOUTS[layout]
    blocks, outputs, labels, _ = draw(counts)
    labels[1] = np.full(N, -1, np.int32) if counts[1] else np.full(N, np.nan)
    losses, label_counts = packed(blocks, outputs, labels, None, len(counts))
    assert losses[1] == label_counts[1] == 0
    assert (losses[[t for t in range(len(counts)) if t != 1]] > 0).all()
    grad = gradient(losses, outputs)
    assert torch.isfinite(grad).all()
    for block in blocks:
        starts = block.start + np.cumsum([0, *block.sizes])
        for t, start, stop in zip(block.tasks, starts, starts[1:], strict=False):
            assert (grad[:, start:stop] == 0).all() == (t == 1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_missing_label_covers_has_no_say(layout):
    """Outputs beside missing labels may be anything finite."""
    counts = LAYOUTS[layout]
    blocks, outputs, labels, weight = draw(counts, 0.5, True)
    before, _ = packed(blocks, outputs, labels, weight, len(counts))
    changed = outputs.detach().clone()
    for block in blocks:
        starts = block.start + np.cumsum([0, *block.sizes])
        for t, start, stop in zip(block.tasks, starts, starts[1:], strict=False):
            y = labels[t]
            absent = np.isnan(y) if block.kind == "regression" else y < 0
            changed[absent, start:stop] += 1e3
    after, _ = packed(blocks, changed, labels, weight, len(counts))
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_repeated_rows_equal_integer_weights(layout):
    counts = LAYOUTS[layout]
    blocks, outputs, labels, _ = draw(counts, 0.2)
    times = np.random.RandomState(1).randint(0, 4, N)
    weight = np.repeat(times[:, None].astype(float), len(counts), axis=1)
    losses, _ = packed(blocks, outputs, labels, weight, len(counts))
    rows = np.repeat(np.arange(N), times)
    repeated = [y[rows] for y in labels]
    others, _ = packed(blocks, outputs[rows], repeated, None, len(counts))
    torch.testing.assert_close(losses, others)


def test_large_logits_stay_finite():
    blocks, outputs, labels, _ = draw(LAYOUTS["out of order"])
    scaled = (outputs * 1e6).float()
    losses, _ = packed(blocks, scaled, labels, None, 7)
    assert torch.isfinite(losses).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_have_the_type_of_the_outputs(dtype):
    blocks, outputs, labels, weight = draw(LAYOUTS["out of order"], 0.3, True)
    losses, counts = packed(blocks, outputs.to(dtype), labels, weight, 7)
    assert losses.dtype == counts.dtype == dtype


def test_tasks_of_one_class_alone_have_no_loss():
    losses, counts = packed((), torch.zeros(N, 0), [np.zeros(N)] * 2, None, 2)
    assert losses.tolist() == [0, 0]
    assert counts is None
