"""What several tests of weightings need."""

import numpy as np
import torch

from skmtl import MultiTaskRegressor
from tests._networks import SAME_STEPS, plain_mlp


def easy_and_noisy(weighting, noise=(0.1, 3.0), scale=(1.0, 1.0), **settings):
    """Return a fit of two linear targets that differ in noise, and the data."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 4))
    W = rng.normal(size=(4, 2))
    W /= np.linalg.norm(W, axis=0)
    Y = (X @ W + noise * rng.normal(size=(400, 2))) * scale
    settings = {**SAME_STEPS, "encoder": plain_mlp((8,)), "max_iter": 60, **settings}
    return MultiTaskRegressor(weighting=weighting, **settings).fit(X, Y), X, Y


def normalised(weights):
    """Return weights that sum to one."""
    return (weights / weights.sum()).detach()


def gradient(scalarizer, losses):
    """Return the weights that a scalarizer of torchjd gives to losses."""
    losses = losses.clone().requires_grad_()
    (weights,) = torch.autograd.grad(scalarizer(losses), losses)
    return normalised(weights)


def some_losses(epochs, steps, n_tasks, seed=0):
    """Return losses of different sizes, of shape (epochs, steps, n_tasks)."""
    generator = torch.Generator().manual_seed(seed)
    shape = (epochs, steps, n_tasks)
    return torch.randn(shape, generator=generator, dtype=torch.float64).exp()


def trained(module, losses, present=None, lr=0.1):
    """Go through epochs of losses as training does; yield the weights of each step.

    Each step brings a loss to the one that comes next.
    """
    parameters = list(module.parameters())
    flat = losses.flatten(0, 1)
    following = iter(torch.cat([flat[1:], flat[-1:]]))
    for epoch in losses:
        for step in epoch:
            yield module(step, present)
            own = module.own_loss(step, present)
            if own is not None:
                gradients = torch.autograd.grad(own, parameters)
                with torch.no_grad():
                    for parameter, grad in zip(parameters, gradients, strict=True):
                        parameter -= lr * grad
            after = next(following)
            if module.rereads:
                module.after_step(step, after, present)
        mean = epoch.mean(dim=0)
        module.after_epoch(mean if present is None else mean.where(present, torch.nan))
