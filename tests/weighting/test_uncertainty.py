"""Facts of uncertainty weighting, its analytic form and IMTL's loss balance."""

import numpy as np
import pytest
import torch
from torchjd.scalarization import IMTLL as TorchjdIMTLL
from torchjd.scalarization import UW

from skmtl import MultiTaskClassifier
from skmtl.weighting import IMTLL, UWSO, TaskLabels, Uncertainty
from tests._networks import table
from tests.weighting._helpers import (
    easy_and_noisy,
    gradient,
    normalised,
    trained,
)

LOSSES = torch.tensor([0.5, 2.0, 1e-3, 7.0], dtype=torch.float64)
LOGITS = torch.tensor([0.3, -0.2, 1.0, 0.0], dtype=torch.float64)
REGRESSION = TaskLabels("r", None, np.zeros(2), None, mean=5.0, scale=3.0)
CLASSIFICATION = TaskLabels("c", np.arange(2), np.zeros(2), None)


def learned(module):
    (parameter,) = module.parameters()
    return parameter


@pytest.mark.parametrize(
    ("spec", "peer"), [(Uncertainty(), UW(4)), (IMTLL(), TorchjdIMTLL(4))]
)
def test_weights_and_what_is_learned_are_torchjd_s(spec, peer):
    module, peer = spec.build(4).double(), peer.double()
    learned(module).data.copy_(LOGITS)
    learned(peer).data.copy_(LOGITS)
    weights = normalised(module(LOSSES, None))
    torch.testing.assert_close(weights, gradient(peer, LOSSES))
    own = module.own_loss(LOSSES, None)
    torch.testing.assert_close(own, peer(LOSSES))
    own.backward()
    peer(LOSSES).backward()
    torch.testing.assert_close(learned(module).grad, learned(peer).grad)


@pytest.mark.parametrize("spec", [Uncertainty(), IMTLL()])
def test_weights_come_without_gradients(spec):
    """Or the network's weighted sum would drive them to zero."""
    module = spec.build(4)
    assert not module(LOSSES, None).requires_grad
    assert module.own_loss(LOSSES, None).requires_grad


def test_classification_has_a_form_of_its_own():
    spec = Uncertainty().for_labels([REGRESSION, CLASSIFICATION])
    module = spec.build(2).double()
    s = LOGITS[:2]
    module.log_variances.data.copy_(s)
    variances = s.exp()
    c = torch.tensor([0.5, 1.0])
    torch.testing.assert_close(module(LOSSES[:2], None), c / variances)
    expected = (c * LOSSES[:2] / variances + variances.sqrt().log()).sum()
    torch.testing.assert_close(module.own_loss(LOSSES[:2], None), expected)
    scales = torch.tensor([3.0, 1.0])
    torch.testing.assert_close(module.sigma, scales * variances.sqrt())


def test_looking_at_labels_leaves_the_spec_alone():
    spec = Uncertainty()
    first = spec.for_labels([REGRESSION, CLASSIFICATION])
    assert vars(spec) == {}
    assert first.for_labels([CLASSIFICATION]).build(1).factors.tolist() == [1]


def test_variances_end_at_the_losses():
    constant = LOSSES[:2].expand(1, 500, 2)
    module = Uncertainty().for_labels([REGRESSION, CLASSIFICATION]).build(2).double()
    list(trained(module, constant))
    variances = module.log_variances.exp()
    torch.testing.assert_close(variances, LOSSES[:2] * torch.tensor([1.0, 2.0]))


def test_scaled_losses_end_equal():
    losses = torch.tensor([0.2, 1.0, 5.0], dtype=torch.float64)
    module = IMTLL().build(3).double()
    list(trained(module, losses.expand(1, 500, 3)))
    scaled = module(losses, None) * losses
    torch.testing.assert_close(scaled, torch.ones_like(scaled))


@pytest.mark.parametrize("spec", [Uncertainty(), IMTLL()])
def test_an_absent_task_learns_no_scale(spec):
    present = torch.tensor([True, True, False, True])
    module = spec.build(4).double()
    module.own_loss(LOSSES, present).backward()
    assert (learned(module).grad != 0).tolist() == present.tolist()


def test_the_analytic_form_is_a_softmax_of_inverse_losses():
    losses = torch.tensor([0.5, 1.0, 0.25])
    weights = UWSO(temperature=2.0).build(3)(losses, None)
    torch.testing.assert_close(weights, torch.tensor([1.0, 0.5, 2.0]).softmax(dim=0))
    equal = UWSO(temperature=1e6).build(3)(losses, None)
    torch.testing.assert_close(equal, torch.full((3,), 1 / 3))
    lowest = UWSO(temperature=1e-35).build(3)(losses * torch.tensor([1, 1, 0]), None)
    assert lowest.tolist() == [0, 0, 1]


def test_sigma_becomes_the_noise_of_each_target():
    est, X, Y = easy_and_noisy(
        "uncertainty", noise=(0.1, 1.0), scale=(1.0, 20.0), max_iter=300
    )
    sigma = est.weighting_.sigma.numpy()
    np.testing.assert_allclose(sigma, [0.1, 20.0], rtol=0.15)
    errors = np.sqrt(np.square(Y - est.predict(X)).mean(axis=0))
    np.testing.assert_allclose(sigma, errors, rtol=0.05)
    variances = (sigma / Y.std(axis=0)) ** 2
    expected = 2 * (1 / variances) / (1 / variances).sum()
    np.testing.assert_allclose(est.task_weights_, expected, rtol=0.05)


def test_learned_scales_become_the_inverses_of_losses():
    est, _, _ = easy_and_noisy("imtl_l", max_iter=500)
    losses = est.history_[-1]["train_losses"]
    scales = est.weighting_.log_scales.detach().exp().numpy()
    np.testing.assert_allclose(scales * losses, 1, rtol=0.1)


def test_soft_weights_prefer_the_task_of_little_noise():
    est, _, _ = easy_and_noisy("uw_so")
    assert est.task_weights_[0] > est.task_weights_[1]
    sharper, _, _ = easy_and_noisy(UWSO(temperature=3.0))
    assert sharper.task_weights_[0] > est.task_weights_[0]


@pytest.mark.parametrize("temperature", [0, -1.0, "high", None])
def test_a_bad_temperature_is_refused_before_training(temperature):
    X, Z = table()
    est = MultiTaskClassifier(weighting=UWSO(temperature), n_estimators=1)
    with pytest.raises(ValueError, match="'temperature' parameter of UWSO"):
        est.fit(X, Z > 0)
