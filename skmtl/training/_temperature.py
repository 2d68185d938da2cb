"""Outputs drawn towards the priors by one slope: stopping, calibration, averages."""

from collections.abc import Sequence

import torch
from torch import Tensor

from skmtl._data.output_kinds import OutputBlock
from skmtl.training._batches import BlockTarget

#: Bounds of the slopes, which the best of them rarely reach.
LOWEST, HIGHEST = 0.05, 1.3
#: Steps of the search for the slope of classification.
N_STEPS = 8

#: Rows that are refined at a time, and from which slopes are fitted: more of them would
#: tell no more.
MANY_ROWS = 2**17

#: One slope for all classification tasks and one for all of regression.
Temperatures = tuple[Tensor, Tensor]


def fit_temperatures(
    outputs: Tensor,
    targets: Sequence[BlockTarget],
    blocks: Sequence[OutputBlock],
    prior: Tensor,
) -> Temperatures:
    """Return the slopes of classification and of regression that fit labels best."""
    # The slope a scales what outputs (..., n, n_outputs) add to the prior,
    # z0 + a (z - z0). It minimises the mean over tasks of the log-loss, or of the
    # squared error. Slopes have shape (...), and are one where there are no labels.
    terms: dict[str, list[_CalibrationLoss]] = {"classification": [], "regression": []}
    for block, (y, w) in zip(blocks, targets, strict=True):
        terms[block.task_type].append(_CalibrationLoss(block, outputs, prior, y, w))
    ones = outputs.new_ones(outputs.shape[:-2])
    classification, regression = (_fit_slope(part, ones) for part in terms.values())
    return classification, regression


def _fit_slope(terms: "list[_CalibrationLoss]", ones: Tensor) -> Tensor:
    """Minimise a convex loss by Newton's method, safeguarded by bisection."""
    if not terms:
        return ones
    a, low, high = ones, LOWEST * ones, HIGHEST * ones
    if all(term.block.quadratic for term in terms):
        g, h = _sum_derivatives(terms, a)
        return (a - g / h.where(h > 0, 1.0)).clamp(LOWEST, HIGHEST).where(h > 0, ones)
    for _ in range(N_STEPS):
        g, h = _sum_derivatives(terms, a)
        high, low = torch.where(g > 0, a, high), torch.where(g > 0, low, a)
        newton = a - g / h.clamp_min(torch.finfo(h.dtype).tiny)
        inside = (newton >= low) & (newton <= high)
        a = torch.where(inside, newton, (low + high) / 2).where(h > 0, a)
    return a


def _sum_derivatives(
    terms: "list[_CalibrationLoss]", a: Tensor
) -> tuple[Tensor, Tensor]:
    first, second = zip(*(term.differentiate(a) for term in terms), strict=True)
    return torch.stack(first).sum(dim=0), torch.stack(second).sum(dim=0)


def apply_temperatures(
    outputs: Tensor, slopes: Temperatures, blocks: Sequence[OutputBlock], prior: Tensor
) -> Tensor:
    """Return outputs drawn towards the prior."""
    # outputs of shape (..., n, n_outputs), slopes of shape (...), prior of shape (...,
    # 1, n_outputs); returns (..., n, n_outputs).
    numbers = outputs.new_zeros(outputs.shape[-1], dtype=torch.bool)
    for block in blocks:
        numbers[block.start : block.stop] = block.task_type == "regression"
    a, b = (slope[..., None, None].to(outputs) for slope in slopes)
    return prior + torch.where(numbers, b, a) * (outputs - prior)


def average_networks(
    outputs: Tensor, blocks: Sequence[OutputBlock], share: Tensor | None = None
) -> Tensor:
    """Return outputs that stand for mean probabilities and mean values."""
    # outputs of shape (n_estimators, n, n_outputs), share of shape (n_estimators, n);
    # returns (n, n_outputs).
    if share is None:
        share = outputs.new_full((len(outputs), 1), 1 / len(outputs))
    share = share.unsqueeze(2)
    parts = [outputs.new_empty(outputs.shape[1], 0)]
    parts += [block.average(block.select(outputs), share) for block in blocks]
    return torch.cat(parts, dim=1)


def _compute_shares(y: Tensor, w: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return weights that sum to one for each task with labels."""
    w = torch.ones_like(y, dtype=dtype) if w is None else w.to(dtype)
    total = w.sum(dim=-2, keepdim=True)
    return w / total.where(total > 0, 1.0)


class _CalibrationLoss:
    """The loss of a block as a function of the slope."""

    def __init__(
        self,
        block: OutputBlock,
        outputs: Tensor,
        prior: Tensor,
        y: Tensor,
        w: Tensor | None,
    ) -> None:
        Z, Z0 = block.select(outputs), block.select(prior)
        self.block = block
        self.prior = block.unpack(Z0)
        self.added = block.unpack(Z - Z0, 0.0)
        self.share = _compute_shares(y, w, outputs.dtype)
        self.y = y

    def differentiate(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first and the second derivative for slopes of shape (...)."""
        d = self.added
        a = a.view(*a.shape, *[1] * (d.ndim - a.ndim))
        first, second = self.block.differentiate(self.prior + a * d, d, self.y)
        return (first * self.share).sum((-2, -1)), (second * self.share).sum((-2, -1))
