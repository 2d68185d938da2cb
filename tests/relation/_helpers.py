"""Penalties on random heads, and data whose tasks are related."""

import numpy as np
import torch

from tests._networks import SAME_STEPS, plain_mlp

D = 4


def heads(*shape, seed=0):
    """Return random weights."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def owners(sizes):
    """Return the task of each output."""
    return torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))


def built(relation, sizes, width=D):
    """Return the module of a penalty on tasks with so many outputs."""
    spec = relation.for_network(owners(sizes), True)
    return spec.build(len(sizes), width).double()


def penalty(relation, W, sizes=None):
    """Return the penalty of heads before the first epoch."""
    sizes = [1] * len(W) if sizes is None else sizes
    return built(relation, sizes, W.shape[1]).penalty(W, owners(sizes))


def after_epoch(relation, W, sizes=None):
    """Return the module of a penalty after an epoch that ended with these heads."""
    sizes = [1] * len(W) if sizes is None else sizes
    module = built(relation, sizes, W.shape[1])
    module.after_epoch(W, owners(sizes))
    return module


def grouped_tasks(n=100, group=(0, 1, 0, 1, 0, 1), n_features=8, seed=0):
    """Return inputs and linear targets that nearly agree within groups."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_features))
    centres = rng.normal(size=(n_features, max(group) + 1))
    V = centres[:, list(group)] + 0.2 * rng.normal(size=(n_features, len(group)))
    return X, X @ V + 0.1 * rng.normal(size=(n, len(group)))


#: Linear models that learn their heads alone.
LINEAR = {
    **SAME_STEPS,
    "encoder": plain_mlp((), numeric_embedding=None),
    "max_iter": 60,
}
