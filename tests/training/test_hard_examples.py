"""The hardest labels of each task in a batch, against one task at a time."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from skmtl.training import HardExampleSelection, PackedLoss, pack_targets
from tests.training.test_losses import CPU, LAYOUTS, N, draw

pytestmark = [
    pytest.mark.one_version,
]

layouts = pytest.mark.parametrize("layout", LAYOUTS)


def entries(Z, y, k):
    """Return the loss and the negative margin of each of one task's labels."""
    if not k:
        loss = (Z[:, 0] - y) ** 2
        return loss, loss
    Z = torch.cat([torch.zeros_like(Z), Z], dim=1) if k == 2 else Z
    own = F.one_hot(y.long(), k).bool()
    margin = Z[own] - Z.masked_fill(own, -torch.inf).amax(dim=1)
    return F.cross_entropy(Z, y.long(), reduction="none"), -margin


def one_by_one(blocks, outputs, labels, weight, hard_example_mining):
    """Return each task's loss and weight over the labels kept, without packing."""
    losses, counts = [], []
    place = {}
    for block in blocks:
        starts = block.start + np.cumsum([0, *block.sizes])
        place |= dict(zip(block.tasks, pairwise(starts), strict=False))
    for t, y in enumerate(labels):
        if t not in place:
            losses.append(outputs.new_zeros(()))
            counts.append(0.0)
            continue
        regression = y.dtype.kind == "f"
        present = ~np.isnan(y) if regression else y >= 0
        w = np.ones(len(y)) if weight is None else weight[:, t]
        y, w = torch.from_numpy(y[present]), torch.from_numpy(w[present])
        start, stop = place[t]
        k = 0 if regression else max(stop - start, 2)
        loss, hardness = entries(outputs[present, start:stop], y, k)
        hardness = hardness if hard_example_mining.by == "margin" else loss
        order = hardness.argsort(descending=True)
        shares = (w[order] / w.sum()).cumsum(0)
        n_kept = int((shares < hard_example_mining.fraction - 1e-9).sum()) + 1
        kept = order[:n_kept].tolist()
        for c in [] if regression else y.unique():
            members = (y == c).nonzero().flatten()
            kept.append(int(members[hardness[members].argmax()]))
        kept = sorted(set(kept))
        losses.append((loss * w)[kept].sum() / w[kept].sum())
        counts.append(float(w[kept].sum()))
    return torch.stack(losses), torch.tensor(counts, dtype=torch.float64)


@layouts
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("by", ["loss", "margin"])
@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 1.0])
@pytest.mark.sampled(5)
def test_losses_and_gradients_are_those_of_the_labels_kept(
    layout, missing, weighted, by, fraction
):
    counts = LAYOUTS[layout]
    blocks, outputs, labels, weight = draw(counts, missing, weighted)
    hard_example_mining = HardExampleSelection(by, fraction)
    targets = pack_targets(blocks, labels, weight, outputs.dtype, CPU)
    loss = PackedLoss(blocks, len(counts), "squared_error")
    losses, kept = loss(outputs, targets, hard_example_mining)
    expected = one_by_one(blocks, outputs, labels, weight, hard_example_mining)
    torch.testing.assert_close((losses, kept), expected)
    grads = [torch.autograd.grad(x.sum(), outputs)[0] for x in (losses, expected[0])]
    torch.testing.assert_close(*grads)
    if fraction == 1:
        torch.testing.assert_close(losses, loss(outputs, targets)[0])
    elif fraction < 0.5:
        assert (losses > loss(outputs, targets)[0]).any()


def binary(outputs, y, w=None, fraction=0.25, by="loss"):
    """Return loss and weight of the labels kept of one task of two classes."""
    blocks, *_ = draw([2])
    loss = PackedLoss(blocks, 1, "squared_error")
    targets = [(y[:, None], None if w is None else w[:, None])]
    losses, kept = loss(outputs[:, None], targets, HardExampleSelection(by, fraction))
    return losses.item(), kept.item()


def test_a_rare_class_keeps_its_hardest_label():
    y = torch.tensor([0] * 8 + [1] * 2)
    logits = torch.tensor([1.0, 2, 3, 4, 1, 2, 3, 4, 5, 6])  # all rare ones are right
    losses, kept = binary(logits, y, fraction=0.2)
    assert kept == 3  # the two 4 and the rare 5
    expected = (2 * F.softplus(torch.tensor(4.0)) + F.softplus(torch.tensor(-5.0))) / 3
    assert losses == pytest.approx(expected.item())


def test_labels_that_are_equally_hard_are_kept_together():
    y = torch.tensor([0] * 6 + [1] * 2)
    _, kept = binary(torch.zeros(8), y)
    assert kept == 8
    _, kept = binary(torch.full((8,), -1.0), y)
    assert kept == 2 + 6  # the rare class, and all that tie for the hardest of class 0


def test_weights_count_labels_and_do_not_make_them_harder():
    y, logits = torch.zeros(6), torch.arange(6.0)
    w = torch.tensor([10.0, 1, 1, 3, 1, 4])
    losses, kept = binary(logits, y, w)
    assert kept == 5  # 4 + 1 are a quarter of 20
    expected = (F.softplus(logits[4:]) * w[4:]).sum() / 5
    assert losses == pytest.approx(expected.item())


@layouts
@pytest.mark.parametrize("by", ["loss", "margin"])
def test_integer_weights_are_repeated_rows(layout, by):
    counts = LAYOUTS[layout]
    blocks, outputs, labels, _ = draw(counts, 0.2)
    loss, hard_example_mining = (
        PackedLoss(blocks, len(counts), "squared_error"),
        HardExampleSelection(by, 0.3),
    )
    times = np.random.default_rng(1).integers(0, 4, N)
    weight = np.repeat(times[:, None].astype(float), len(counts), axis=1)
    weighted = pack_targets(blocks, labels, weight, outputs.dtype, CPU)
    rows = np.repeat(np.arange(N), times)
    repeated = pack_targets(blocks, [y[rows] for y in labels], None, outputs.dtype, CPU)
    torch.testing.assert_close(
        loss(outputs, weighted, hard_example_mining),
        loss(outputs[rows], repeated, hard_example_mining),
    )


def test_margins_and_losses_choose_differently_among_several_classes():
    # Both are wrong: by 2 to one class, or by 1.9 to two.
    Z = torch.tensor([[0.0, 2.0, -9.0], [0.0, 1.9, 1.9], [9.0, 0.0, 0.0]])
    y = torch.zeros(3, 1, dtype=torch.int64)
    blocks, *_ = draw([3])
    loss = PackedLoss(blocks, 1, "squared_error")
    by_loss, by_margin = (
        loss(Z, [(y, None)], HardExampleSelection(by, 0.3))[0]
        for by in ("loss", "margin")
    )
    each = F.cross_entropy(Z, y[:, 0], reduction="none")
    torch.testing.assert_close(by_margin, each[:1])
    torch.testing.assert_close(by_loss, each[1:2])


def test_a_loss_that_is_no_number_is_not_dropped():
    logits = torch.tensor([1.0, torch.nan, 2, 3])
    losses, _ = binary(logits, torch.tensor([0, 0, 1, 1]))
    assert np.isnan(losses)


def test_a_task_without_labels_keeps_none():
    y, logits = torch.zeros(4), torch.arange(4.0)
    assert binary(logits, y, torch.zeros(4)) == (0, 0)
