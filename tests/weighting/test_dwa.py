"""Facts of the dynamic weight average."""

import pytest
import torch
import torchjd.scalarization

from skmtl import MultiTaskClassifier
from skmtl.weighting import DWA
from tests._networks import table
from tests.weighting._helpers import gradient, normalised, some_losses, trained

NAN = float("nan")
ONES = torch.ones(3)


def after(*epochs, temperature=2.0):
    """Return the weights after epochs of mean losses."""
    module = DWA(temperature).build(3)
    for losses in epochs:
        module.after_epoch(torch.tensor(losses))
    return module(ONES, None)


def expected(ratios, temperature=2.0):
    return (torch.tensor(ratios) / temperature).softmax(dim=0)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_weights_are_torchjd_s(temperature):
    losses = some_losses(epochs=4, steps=3, n_tasks=3)
    module = DWA(temperature).build(3).double()
    peer = torchjd.scalarization.DWA(temperature)
    weights = trained(module, losses)
    for epoch in losses:
        for step in epoch:
            torch.testing.assert_close(normalised(next(weights)), gradient(peer, step))
        peer.step()


def test_weights_are_equal_until_two_epochs_are_known():
    torch.testing.assert_close(after(), ONES / 3)
    torch.testing.assert_close(after([1.0, 2.0, 3.0]), ONES / 3)


def test_the_task_that_falls_slowest_counts_most():
    weights = after([1.0, 2.0, 4.0], [0.9, 1.0, 1.0])
    torch.testing.assert_close(weights, expected([0.9, 0.5, 0.25]))


def test_an_epoch_without_labels_is_none():
    weights = after([1.0, 2.0, 4.0], [0.9, NAN, 2.0], [0.45, 1.0, NAN])
    torch.testing.assert_close(weights, expected([0.5, 0.5, 0.5]))
    weights = after([NAN, 2.0, 4.0], [0.9, 1.0, 1.0])
    torch.testing.assert_close(weights, expected([1.0, 0.5, 0.25]))


def test_losses_of_single_batches_do_not_matter():
    module = DWA().build(3)
    torch.testing.assert_close(module(ONES, None), module(10 * ONES, None))


@pytest.mark.parametrize("temperature", [0, -1.0, "high", None])
def test_a_bad_temperature_is_refused_before_training(temperature):
    X, Z = table()
    est = MultiTaskClassifier(weighting=DWA(temperature))
    with pytest.raises(ValueError, match="'temperature' parameter of DWA"):
        est.fit(X, Z > 0)
