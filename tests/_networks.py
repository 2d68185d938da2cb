"""Encoders and networks with random weights, and what several modules test on them."""

import copy
import pickle

import numpy as np
import torch
from sklearn.base import clone
from torch import nn
from torch.func import functional_call, stack_module_state

from skmtl._data.output_kinds import group_tasks
from skmtl.encoder import (
    CNN,
    MLP,
    Encoder,
    ModuleEncoder,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
)
from skmtl.training import MultiTaskModule

N_FEATURES = 4
IMAGE_SHAPE = (2, 6, 6)


def plain_mlp(hidden_layer_sizes, **settings):
    """Return an encoder without dropout, which would hide what is the same.

    It embeds no numbers either, which would hide what is small.
    """
    settings = {"dropout": 0.0, "numeric_embedding": None} | settings
    return MLP(hidden_layer_sizes, **settings)


class Network(nn.Module):
    """A user's network: parameters of two kinds, a buffer, no statistics."""

    def __init__(self, n_features):
        super().__init__()
        self.first = nn.Linear(n_features, 6)
        self.scale = nn.Parameter(torch.ones(6))
        self.register_buffer("shift", torch.randn(6))

    def forward(self, X):
        return torch.tanh(self.first(X) * self.scale + self.shift)


class WithoutArguments(nn.Sequential):
    """A user's network that knows its input's width."""

    def __init__(self):
        super().__init__(nn.Linear(N_FEATURES, 6), nn.GELU(), nn.Dropout(0.3))


class BatchNormed(nn.Sequential):
    """A user's network with running statistics."""

    def __init__(self, n_features):
        super().__init__(nn.Linear(n_features, 6), nn.BatchNorm1d(6), nn.ReLU())


# What evaluates the same on one network and on three stacked ones.
REPLICABLE = {
    "mlp": plain_mlp((8, 6)),
    "one layer": plain_mlp(6),
    "linear": plain_mlp(()),
    "layer norm": plain_mlp((8, 6), norm="layer"),
    "tanh": plain_mlp((8, 6), activation="tanh"),
    "residual": plain_mlp((8, 8), residual=True),
    "cnn": CNN((4, 5), hidden_layer_sizes=(5,)),
    "deep cnn": CNN(
        3,
        kernel_size=2,
        padding="valid",
        pooling="avg",
        n_convolutions=2,
        hidden_layer_sizes=(),
        norm="layer",
    ),
    "module": ModuleEncoder(Network),
    "periodic": PeriodicEmbedding((6,), embedding_dim=3, n_frequencies=2, dropout=0.0),
    "piecewise": PiecewiseLinearEmbedding((6,), embedding_dim=3, n_bins=3, dropout=0.0),
}
# Dropout draws at random, where stacked networks need not draw the same.
RANDOM = {
    "dropout": plain_mlp((8, 6), dropout=0.3),
    "cnn with dropout": CNN((3,), dropout=0.3, hidden_layer_sizes=(5,)),
    "module with dropout": ModuleEncoder(WithoutArguments),
}
# Batch normalisation changes its own statistics and mixes samples while training.
MUTATING = {
    "batch norm": plain_mlp((8, 6), norm="batch"),
    "cnn with batch norm": CNN((4, 5), hidden_layer_sizes=(5,), norm="batch"),
    "module with batch norm": ModuleEncoder(BatchNormed),
}
ENCODERS = {**REPLICABLE, **RANDOM, **MUTATING}


def shape_of(encoder):
    """Return the shape of a sample that an encoder of the tests takes."""
    return IMAGE_SHAPE if encoder.input_ndim == 4 else (N_FEATURES,)


def inputs(n, seed=0, dtype=torch.float64, encoder=None):
    """Return a batch of inputs."""
    generator = torch.Generator().manual_seed(seed)
    shape = (N_FEATURES,) if encoder is None else shape_of(encoder)
    return torch.randn(n, *shape, generator=generator, dtype=dtype)


def randomised(module, seed):
    """Give every parameter random values, also those that start at zero or one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(
                0.5 * torch.randn(parameter.shape, generator=generator).to(parameter)
            )
    return module


def whole_network(sharing, encoder, seed, kinds=None, n_classes=None, relation=None):
    """Return a network from inputs to outputs of five tasks of all kinds."""
    torch.manual_seed(seed)
    kinds = kinds or ["classification", "regression", *["classification"] * 3]
    blocks = group_tasks(kinds, n_classes or [2, 0, 3, 4, 2])
    prior = np.random.default_rng(0).normal(size=blocks[-1].stop)
    module = MultiTaskModule(
        sharing=sharing,
        encoder=encoder,
        relation=relation,
        input_shape=shape_of(encoder),
        n_tasks=len(kinds),
        blocks=blocks,
        prior=prior,
        dtype=torch.float64,
    )
    return randomised(module, seed)


class Prepared(Encoder):
    """An encoder whose copy c starts from the weights that the seed first + c gives."""

    def __init__(self, encoder, first=0):
        self.encoder = encoder
        self.first = first

    @property
    def input_ndim(self):
        return self.encoder.input_ndim

    def build(self, input_shape, n_copies=1):
        module = self.encoder.build(input_shape, n_copies)
        singles = [
            randomised(self.encoder.build(input_shape, 1), self.first + c)
            for c in range(n_copies)
        ]
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                values = torch.stack([single.get_parameter(name) for single in singles])
                parameter.copy_(values.reshape(parameter.shape))
        return module


#: What makes two fits that start alike do the same steps.
SAME_STEPS = {
    "learning_rate_init": 1e-2,
    "max_iter": 10,
    "shuffle": False,
    "early_stopping": False,
    "n_iter_no_change": np.inf,
    "n_estimators": 1,
    "precision": "float64",
    "random_state": 0,
}


def table(n=60, n_tasks=3, seed=0):
    """Return inputs and several related numeric targets."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, N_FEATURES))
    Z = X @ rng.normal(size=(N_FEATURES, n_tasks))
    return X, Z + 0.1 * rng.normal(size=Z.shape)


class WithPenalty(nn.Module):
    """Returns outputs and penalty in one forward pass."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, X):
        penalty = self.module.penalty()
        return self.module(X), X.new_zeros(()) if penalty is None else penalty


def one_by_one(modules, X):
    """Return outputs, penalties and gradients of separate networks."""
    results = [
        WithPenalty(module)(batch) for module, batch in zip(modules, X, strict=True)
    ]
    outputs = torch.stack([output for output, _ in results])
    penalties = torch.stack([penalty for _, penalty in results])
    _scalar(outputs, penalties).backward()
    names = [name for name, _ in modules[0].named_parameters()]
    parameters = {name: [m.get_parameter(name) for m in modules] for name in names}
    gradients = {
        name: torch.stack(
            [torch.zeros_like(p) if p.grad is None else p.grad for p in ps]
        )
        for name, ps in parameters.items()
    }
    return outputs, penalties, gradients


def stacked(modules, X):
    """Return the same of networks that torch.func replicates."""
    parameters, buffers = stack_module_state([WithPenalty(m) for m in modules])
    skeleton = copy.deepcopy(WithPenalty(modules[0])).to("meta")

    def one(parameters, buffers, X):
        return functional_call(skeleton, (parameters, buffers), (X,))

    outputs, penalties = torch.vmap(one)(parameters, buffers, X)
    gradients = torch.autograd.grad(
        _scalar(outputs, penalties), list(parameters.values()), materialize_grads=True
    )
    names = [name.removeprefix("module.") for name in parameters]
    return outputs, penalties, dict(zip(names, gradients, strict=True))


def _scalar(outputs, penalties):
    """Return something on which every output has its own influence."""
    weight = torch.linspace(-1, 2, outputs.numel(), dtype=outputs.dtype)
    return outputs.flatten() @ weight + penalties.sum()


def state_of(module):
    """Return a copy of a network's parameters and buffers."""
    return {
        name: value.detach().clone()
        for name, value in [*module.named_parameters(), *module.named_buffers()]
    }


def check_spec(spec):
    """A spec is a small scikit-learn estimator."""
    for twin in (clone(spec), pickle.loads(pickle.dumps(spec)), copy.deepcopy(spec)):
        assert type(twin) is type(spec)
        assert twin is not spec
        assert twin.get_params() == spec.get_params()
        assert repr(twin) == repr(spec)
    assert repr(spec).startswith(type(spec).__name__ + "(")
    assert spec.validate() is spec
    assert spec.set_params(**spec.get_params()) is spec
