"""Outputs drawn towards the priors by one slope: stopping, calibration, averages."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from skmtl._data.targets import OutputBlock, pad_outputs, unpad_outputs
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
    r"""Return the slopes that make outputs fit best.

    The slope a scales what outputs add to the prior,
    :math:`z_0 + a (z - z_0)`. It minimises the mean over tasks of the log-loss, and of
    the squared error in regression.

    Parameters
    ----------
    outputs : Tensor of shape (..., n, n_outputs)
        Packed outputs of one network, or of several on axes before the rows.
    targets : sequence of (Tensor of shape (..., n, n_block_tasks), Tensor or None)
        Labels and weights of each block.
    blocks : sequence of OutputBlock
        Layout of the outputs.
    prior : Tensor of shape (..., 1, n_outputs) or (..., n, n_outputs)
        Outputs of a model that has learned nothing.

    Returns
    -------
    classification, regression : Tensor of shape (...)
        The slopes of each network; one where there are no labels.
    """
    ones = outputs.new_ones(outputs.shape[:-2])
    a, low, high = ones, LOWEST * ones, HIGHEST * ones
    classified = [
        _LogLoss(block, outputs, prior, y, w)
        for block, (y, w) in zip(blocks, targets, strict=True)
        if block.kind != "regression"
    ]
    for _ in range(N_STEPS if classified else 0):
        found = [loss.derivatives(a) for loss in classified]
        g, h = (torch.stack(terms).sum(dim=0) for terms in zip(*found, strict=True))
        high, low = torch.where(g > 0, a, high), torch.where(g > 0, low, a)
        newton = a - g / h.clamp_min(torch.finfo(h.dtype).tiny)
        inside = (newton >= low) & (newton <= high)
        # The loss is convex: what Newton's method oversteps, halving finds.
        a = torch.where(inside, newton, (low + high) / 2).where(h > 0, a)
    return a, _solve_least_squares(outputs, targets, blocks, prior, ones)


def apply_temperatures(
    outputs: Tensor, slopes: Temperatures, blocks: Sequence[OutputBlock], prior: Tensor
) -> Tensor:
    """Return outputs drawn towards the prior."""
    # outputs of shape (..., n, n_outputs), slopes of shape (...), prior of shape (...,
    # 1, n_outputs); returns (..., n, n_outputs).
    numbers = outputs.new_zeros(outputs.shape[-1], dtype=torch.bool)
    for block in blocks:
        numbers[block.start : block.stop] = block.kind == "regression"
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
    for block in blocks:
        Z = outputs[..., block.start : block.stop]
        if block.kind == "regression":
            parts.append((share * Z).sum(dim=0))
        elif block.kind == "binary":
            yes, no = F.logsigmoid(Z), F.logsigmoid(-Z)
            parts.append(_compute_log_mean(yes, share) - _compute_log_mean(no, share))
        else:
            logs = unpad_outputs(block, pad_outputs(block, Z).log_softmax(dim=-1))
            parts.append(_compute_log_mean(logs, share))
    return torch.cat(parts, dim=1)


def _compute_log_mean(L: Tensor, share: Tensor) -> Tensor:
    return (L + share.log()).logsumexp(dim=0)


def _compute_shares(y: Tensor, w: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Return weights that sum to one for each task with labels."""
    w = torch.ones_like(y, dtype=dtype) if w is None else w.to(dtype)
    total = w.sum(dim=-2, keepdim=True)
    return w / total.where(total > 0, 1.0)


def _solve_least_squares(
    outputs: Tensor,
    targets: Sequence[BlockTarget],
    blocks: Sequence[OutputBlock],
    prior: Tensor,
    ones: Tensor,
) -> Tensor:
    products, squares = torch.zeros_like(ones), torch.zeros_like(ones)
    for block, (y, w) in zip(blocks, targets, strict=True):
        if block.kind == "regression":
            span, share = (
                slice(block.start, block.stop),
                _compute_shares(y, w, ones.dtype),
            )
            mean = prior[..., span]
            added = outputs[..., span] - mean
            products = products + (share * added * (y - mean)).sum((-2, -1))
            squares = squares + (share * added**2).sum((-2, -1))
    b = products / squares.where(squares > 0, 1.0)
    return b.clamp(LOWEST, HIGHEST).where(squares > 0, ones)


class _LogLoss:
    """Derivatives of the log-loss of a block by the slope."""

    def __init__(
        self,
        block: OutputBlock,
        outputs: Tensor,
        prior: Tensor,
        y: Tensor,
        w: Tensor | None,
    ) -> None:
        span = slice(block.start, block.stop)
        self.block = block
        self.prior = prior[..., span]
        self.added = outputs[..., span] - self.prior
        self.share = _compute_shares(y, w, outputs.dtype)
        self.y = y
        if block.kind == "multiclass":
            self.prior = pad_outputs(block, self.prior)
            self.added = pad_outputs(block, self.added, 0.0)

    def derivatives(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first and the second for slopes of shape (...)."""
        d = self.added
        a = a.view(*a.shape, *[1] * (d.ndim - a.ndim))
        Z = self.prior + a * d
        if self.block.kind == "binary":
            p = Z.sigmoid()
            first, second = (p - self.y) * d, p * (1 - p) * d**2
        else:
            p = Z.softmax(dim=-1)
            mean = (p * d).sum(dim=-1)
            chosen = d.gather(-1, self.y.long().unsqueeze(-1)).squeeze(-1)
            first, second = mean - chosen, (p * d**2).sum(dim=-1) - mean**2
        return (first * self.share).sum((-2, -1)), (second * self.share).sum((-2, -1))
