"""Facts of random weights."""

import numpy as np
import torch
from torchjd.scalarization import Random

from skmtl import MultiTaskRegressor
from skmtl.weighting import RLW
from tests._networks import SAME_STEPS, plain_mlp, table
from tests.weighting._helpers import gradient

LOSSES = torch.tensor([0.5, 2.0, 7.0])


def test_from_the_same_seed_weights_are_torchjd_s():
    torch.manual_seed(0)
    weights = RLW().build(3)(LOSSES, None)
    torch.manual_seed(0)
    torch.testing.assert_close(weights, gradient(Random(), LOSSES))


def test_every_step_draws_anew_and_all_tasks_alike():
    torch.manual_seed(0)
    module = RLW().build(3)
    weights = torch.stack([module(LOSSES, None) for _ in range(2000)])
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2000))
    assert weights.std(dim=0).min() > 0.1
    torch.testing.assert_close(
        weights.mean(dim=0), torch.full((3,), 1 / 3), atol=0.02, rtol=0
    )


def test_an_absent_task_leaves_its_share_to_the_others():
    weights = RLW().build(3)(LOSSES, torch.tensor([True, False, True]))
    assert weights[1] == 0
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))


def test_stacked_modules_draw_their_own():
    draw = torch.vmap(
        lambda losses: RLW().build(3)(losses, None), randomness="different"
    )
    weights = draw(LOSSES.expand(2, 3))
    assert not torch.equal(weights[0], weights[1])


def test_the_seed_of_the_estimator_decides():
    X, Y = table()
    settings = {"encoder": plain_mlp((8,)), **SAME_STEPS}
    first, again, other = (
        MultiTaskRegressor(weighting="rlw", **{**settings, "random_state": seed})
        .fit(X, Y)
        .task_weights_
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
