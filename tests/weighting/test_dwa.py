"""Facts of the dynamic weight average."""

import numpy as np
import pytest
import torch
import torchjd.scalarization

from skmtl import MultiTaskClassifier
from skmtl.weighting import DWA
from tests._networks import table
from tests.weighting._helpers import (
    easy_and_noisy,
    gradient,
    normalised,
    some_losses,
    trained,
)

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


def test_training_prefers_the_task_that_learns_slowly():
    est, X, Y = easy_and_noisy("dwa", max_iter=4)
    losses = np.array([epoch["train_losses"] for epoch in est.history_])
    ratios = losses[-2] / losses[-3]  # the last epoch used those before it
    shares = np.exp(ratios / 2)
    np.testing.assert_allclose(est.task_weights_, 2 * shares / shares.sum())
    assert est.task_weights_[1] > 1.01
    before = est.weighting_.ratios.tolist()
    Y[:, 0] = np.nan
    est.partial_fit(X, Y)
    after = est.weighting_.ratios.tolist()
    assert after[0] == before[0]
    last = est.history_[-1]["train_losses"][1]
    np.testing.assert_allclose(after[1], last / losses[-1][1])


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
    est = MultiTaskClassifier(weighting=DWA(temperature), n_estimators=1)
    with pytest.raises(ValueError, match="'temperature' parameter of DWA"):
        est.fit(X, Z > 0)
