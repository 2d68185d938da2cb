"""Facts of fast adaptive multitask optimization."""

import pytest
import torch
import torchjd.scalarization

from skmtl import MultiTaskClassifier
from skmtl.weighting import FAMO, LogSum
from tests._networks import table
from tests.weighting._helpers import (
    easy_and_noisy,
    gradient,
    normalised,
    some_losses,
    trained,
)

LOSSES = torch.tensor([0.5, 2.0, 7.0], dtype=torch.float64)


@pytest.mark.parametrize("settings", [(0.025, 1e-3), (0.3, 0.1), (0.1, 0)])
def test_weights_are_torchjd_s(settings):
    losses = some_losses(epochs=1, steps=30, n_tasks=3)
    module = FAMO(*settings).build(3).double()
    lr, decay = settings
    peer = torchjd.scalarization.FAMO(3, lr=lr, weight_decay=decay).double()
    weights = trained(module, losses)
    for step, after in zip(losses[0], losses[0, 1:], strict=False):
        expected = gradient(peer, step)
        torch.testing.assert_close(
            normalised(next(weights)), expected, rtol=1e-5, atol=0
        )
        peer.update(after)


def test_it_starts_at_the_sum_of_logarithms():
    weights = FAMO().build(3).double()(LOSSES, None)
    expected = LogSum().build(3)(LOSSES, None)
    torch.testing.assert_close(normalised(weights), normalised(expected))


def test_the_task_that_fell_least_counts_more_from_then_on():
    module = FAMO().build(3).double()
    module.after_step(LOSSES, LOSSES * torch.tensor([0.5, 0.99, 0.5]), None)
    assert module.logits.argmax() == 1
    assert (module.logits[[0, 2]] < 0).all()


@pytest.mark.parametrize("n_epochs", [0, 1])
def test_an_absent_task_keeps_its_state(n_epochs):
    module = FAMO().build(3).double()
    list(trained(module, some_losses(1, 5, 3).repeat(n_epochs, 1, 1)))
    before = {name: value.clone() for name, value in module.named_buffers()}
    present = torch.tensor([True, False, True])
    fall = torch.tensor([0.5, 1.0, 0.9])
    module.after_step(LOSSES * present, fall * LOSSES * present, present)
    for name, value in module.named_buffers():
        assert (value != before[name]).tolist() == present.tolist()


def test_training_prefers_the_task_whose_loss_falls_least():
    est, _, _ = easy_and_noisy("famo")
    easy, noisy = est.weighting_.logits.tolist()
    assert noisy > 0.1 > -0.1 > easy
    by_logarithms, _, _ = easy_and_noisy("log_sum")
    assert est.task_weights_[1] > 1.2 * by_logarithms.task_weights_[1]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("learning_rate", 0), ("learning_rate", "fast"), ("weight_decay", -0.1)],
)
def test_bad_settings_are_refused_before_training(setting, value):
    X, Z = table()
    est = MultiTaskClassifier(weighting=FAMO(**{setting: value}), n_estimators=1)
    with pytest.raises(ValueError, match=f"'{setting}' parameter of FAMO"):
        est.fit(X, Z > 0)
