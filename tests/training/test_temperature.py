"""One slope that makes outputs fit best, found as a general optimiser finds it."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from skmtl._data.output_kinds import group_tasks
from skmtl.training import PackedLoss, apply_temperatures, fit_temperatures
from skmtl.training._temperature import HIGHEST, LOWEST, average_networks

KINDS = ["classification"] * 3 + ["regression"] * 2
BLOCKS = group_tasks(KINDS, [2, 3, 4, 0, 0])
N = 200


def example(sharpness):
    """Return outputs, targets and priors; outputs are too sharp by some factor."""
    rng = torch.Generator().manual_seed(0)
    size = BLOCKS[-1].stop
    prior = torch.randn(1, size, generator=rng, dtype=torch.float64)
    added = torch.randn(N, size, generator=rng, dtype=torch.float64)
    numbers = next(b for b in BLOCKS if b.kind == "regression")
    prior[:, numbers.start : numbers.stop] = 0
    targets = []
    for block in BLOCKS:
        Z = (prior + added)[:, block.start : block.stop]
        if block.kind == "regression":
            y = Z + torch.randn(Z.shape, generator=rng, dtype=torch.float64)
        elif block.kind == "binary":
            y = torch.bernoulli(Z.sigmoid(), generator=rng)
        else:
            parts = Z.split(list(block.sizes), dim=1)
            drawn = [torch.multinomial(p.softmax(1), 1, generator=rng) for p in parts]
            y = torch.cat(drawn, dim=1)
        w = torch.rand(y.shape, generator=rng, dtype=torch.float64)
        targets.append((y, w.where(w > 0.2, 0)))
    return prior + sharpness * added, targets, prior


@pytest.mark.parametrize("sharpness", [0.5, 0.9, 1.0, 3.0, 10.0])
def test_slopes_are_the_best_ones(sharpness):
    Z, targets, prior = example(sharpness)
    slopes = fit_temperatures(Z, targets, BLOCKS, prior)
    loss = PackedLoss(BLOCKS, 5, "squared_error").double()
    for i, tasks in enumerate([[0, 1, 2], [3, 4]]):

        def total(a, i=i, tasks=tasks):
            pair = [torch.ones(()), torch.ones(())]
            pair[i] = torch.tensor(a)
            losses, _ = loss(apply_temperatures(Z, tuple(pair), BLOCKS, prior), targets)
            return float(losses[tasks].sum())

        best = minimize_scalar(total, bounds=(LOWEST, HIGHEST), method="bounded")
        assert float(slopes[i]) == pytest.approx(best.x, abs=5e-3)


def test_networks_on_an_axis_before_the_rows_have_slopes_of_their_own():
    examples = [example(sharpness) for sharpness in (0.8, 2.0, 5.0)]
    alone = [fit_temperatures(Z, t, BLOCKS, prior) for Z, t, prior in examples]
    Z, prior = (torch.stack([e[i] for e in examples]) for i in (0, 2))
    per_block = zip(*(e[1] for e in examples), strict=True)
    targets = [
        tuple(torch.stack(parts) for parts in zip(*block, strict=True))
        for block in per_block
    ]
    together = fit_temperatures(Z, targets, BLOCKS, prior)
    for found, expected in zip(together, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(found, torch.stack(expected))


def test_a_found_slope_stays_found():
    """Rounding of a derivative that is zero must not restart the search."""
    Z, targets, prior = example(2.0)
    a, _ = fit_temperatures(Z, targets, BLOCKS, prior)
    again = [
        fit_temperatures(Z * (1 + e), targets, BLOCKS, prior)[0] for e in (0, 1e-15)
    ]
    np.testing.assert_allclose([float(b) for b in again], float(a), rtol=1e-10)


def test_means_are_of_probabilities_and_values():
    Z = torch.stack([example(sharpness)[0] for sharpness in (1.0, 4.0)])
    mean = average_networks(Z, BLOCKS)
    for block in BLOCKS:
        own, each = mean[:, block.start : block.stop], Z[..., block.start : block.stop]
        if block.kind == "binary":
            torch.testing.assert_close(own.sigmoid(), each.sigmoid().mean(dim=0))
        elif block.kind == "regression":
            torch.testing.assert_close(own, each.mean(dim=0))
        else:
            sizes = list(block.sizes)
            pairs = zip(own.split(sizes, 1), each.split(sizes, 2), strict=True)
            for z, zs in pairs:
                torch.testing.assert_close(z.softmax(1), zs.softmax(2).mean(dim=0))
