"""Facts of smooth Tchebycheff scalarisation."""

import numpy as np
import pytest
import torch
import torchjd.scalarization

from skmtl import MultiTaskClassifier
from skmtl.weighting import STCH, LogSum
from tests._networks import table
from tests.weighting._helpers import easy_and_noisy, gradient, normalised

LOSSES = torch.tensor([0.5, 2.0, 1e-2, 7.0], dtype=torch.float64)
FIRST = torch.tensor([1.0, 2.5, 3e-2, 9.0], dtype=torch.float64)


def after_first_epoch(mu, first=FIRST):
    module = STCH(mu).build(4).double()
    module.after_epoch(first)
    return module


def test_the_first_epoch_is_a_sum_of_logarithms():
    torch.testing.assert_close(
        normalised(STCH().build(4).double()(LOSSES, None)),
        normalised(LogSum().build(4)(LOSSES, None)),
    )


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 3.0])
def test_weights_are_torchjd_s_on_logarithms(mu):
    peer = torchjd.scalarization.STCH(mu, weights=torch.ones(4))
    expected = gradient(lambda losses: peer((losses / FIRST).log()), LOSSES)
    weights = after_first_epoch(mu)(LOSSES, None)
    torch.testing.assert_close(normalised(weights), expected)


def test_mu_goes_from_the_worst_task_to_a_sum_of_logarithms():
    worst = int((LOSSES / FIRST).argmax())
    sharp = normalised(after_first_epoch(1e-3)(LOSSES, None))
    torch.testing.assert_close(sharp[worst], sharp.sum())
    constant = normalised(after_first_epoch(1)(LOSSES, None))
    torch.testing.assert_close(constant, normalised(1 / FIRST))
    smooth = normalised(after_first_epoch(1e9)(LOSSES, None))
    torch.testing.assert_close(smooth, normalised(1 / LOSSES))


def test_losses_are_compared_with_those_of_a_task_s_own_first_epoch():
    late = FIRST.clone()
    late[1] = torch.nan
    module = after_first_epoch(0.5, first=late)
    as_if_first_were_now = torch.cat([FIRST[:1], LOSSES[1:2], FIRST[2:]])
    expected = after_first_epoch(0.5, first=as_if_first_were_now)(LOSSES, None)
    torch.testing.assert_close(module(LOSSES, None), expected)
    module.after_epoch(FIRST * torch.tensor([3, 1, 3, 3]))
    torch.testing.assert_close(
        module(LOSSES, None), after_first_epoch(0.5)(LOSSES, None)
    )


def test_training_keeps_the_losses_of_the_first_epoch():
    est, _, _ = easy_and_noisy("stch", batch_size=400)
    first, last = (np.array(est.history_[e]["train_losses"]) for e in (0, -1))
    np.testing.assert_allclose(est.weighting_.nadir.numpy(), first)
    shares = (last / first) ** 2 / last
    np.testing.assert_allclose(est.task_weights_, 2 * shares / shares.sum())
    assert est.task_weights_[1] > 1.5  # what falls least is the noise


@pytest.mark.parametrize("mu", [0, -1.0, "low", None])
def test_a_bad_mu_is_refused_before_training(mu):
    X, Z = table()
    est = MultiTaskClassifier(weighting=STCH(mu), n_estimators=1)
    with pytest.raises(ValueError, match="'mu' parameter of STCH"):
        est.fit(X, Z > 0)
