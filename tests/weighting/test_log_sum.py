"""Facts of the sum of logarithms and of the geometric mean."""

import numpy as np
import pytest
import torch
from torchjd.scalarization import GeometricMean

from skmtl import MultiTaskRegressor
from skmtl.weighting import GLS, LogSum
from tests._networks import SAME_STEPS, plain_mlp, table
from tests.weighting._helpers import easy_and_noisy, gradient, normalised

LOSSES = torch.tensor([0.5, 2.0, 1e-3, 7.0], dtype=torch.float64)


@pytest.mark.parametrize("spec", [LogSum(), GLS()])
def test_weights_are_the_gradient(spec):
    weights = normalised(spec.build(4)(LOSSES, None))
    logarithms = gradient(lambda losses: losses.log().sum(), LOSSES)
    torch.testing.assert_close(weights, logarithms)
    torch.testing.assert_close(weights, gradient(GeometricMean(), LOSSES))


def test_scales_of_losses_do_not_matter():
    module = LogSum().build(4)
    scales = torch.tensor([1e-2, 1.0, 30.0, 5.0], dtype=torch.float64)
    expected = module(LOSSES, None) * LOSSES
    torch.testing.assert_close(
        module(scales * LOSSES, None) * scales * LOSSES, expected
    )


def test_training_weighs_tasks_by_their_inverse_losses():
    est, _, _ = easy_and_noisy("log_sum", batch_size=400)
    losses = np.array(est.history_[-1]["train_losses"])
    expected = 2 * (1 / losses) / (1 / losses).sum()
    np.testing.assert_allclose(est.task_weights_, expected)


def test_sum_of_logarithms_and_geometric_mean_make_the_same_steps():
    X, Y = table()
    settings = {"encoder": plain_mlp((8,)), "batch_size": 20, **SAME_STEPS}
    log_sum, gls, equal = (
        MultiTaskRegressor(weighting=name, **settings).fit(X, Y).predict(X)
        for name in ("log_sum", "gls", "equal")
    )
    np.testing.assert_array_equal(log_sum, gls)
    assert np.abs(log_sum - equal).max() > 1e-3
