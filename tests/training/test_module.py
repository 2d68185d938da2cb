"""Mixing outputs in place of features changes the cost, not the outputs."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from skmtl.encoder import MLP
from skmtl.sharing import SHARING, DSelectK, Grouped, LearnedBranching, MMoE
from tests._networks import N_FEATURES, inputs, whole_network

pytestmark = [
    pytest.mark.one_version,
]

MIXTURES = {
    "mmoe": MMoE(n_experts=3),
    "dselect_k": DSelectK(n_experts=3, gamma=8.0),
    "grouped": Grouped([[0, 3], [4, 1, 2]]),
    "learned_branching": LearnedBranching(n_branches=2, scale=1.0),
}
KINDS = {
    "one output each": (["regression", *["classification"] * 4], [0, 2, 2, 2, 2]),
    "several outputs": (None, None),
}
WIDE = MLP((8, 128))  # where mixing outputs costs less

mixtures = pytest.mark.parametrize("sharing", MIXTURES.values(), ids=MIXTURES.keys())
kinds = pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS.keys())


@contextmanager
def saved_shapes(module, X):
    """Collect the shapes of all that a forward pass keeps for the backward pass."""
    shapes = []

    def pack(tensor):
        shapes.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(X)
    yield shapes


@mixtures
@kinds
@pytest.mark.parametrize("training", [True, False])
def test_mixed_outputs_are_those_of_mixed_features(sharing, kinds, training):
    module = whole_network(sharing, WIDE, 0, *kinds).train(training)
    X = inputs(17)
    results = []
    for outputs in (module, lambda X: module.heads(module.sharing(X)[0])):
        torch.manual_seed(0)  # for strategies that draw
        Z = outputs(X)
        weight = torch.linspace(-1, 2, Z.numel(), dtype=Z.dtype)
        gradients = torch.autograd.grad(
            Z.flatten() @ weight, list(module.parameters()), materialize_grads=True
        )
        results.append((Z, *gradients))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


@mixtures
@kinds
def test_features_of_every_task_are_never_made(sharing, kinds):
    module = whole_network(sharing, WIDE, 0, *kinds).train()
    with saved_shapes(module, inputs(17)) as shapes:
        assert shapes
        assert not any(np.prod(shape) >= 17 * 5 * 128 for shape in shapes)


@pytest.mark.parametrize("n_classes", [5, 40])
def test_many_outputs_for_each_task_mix_features(n_classes):
    kinds = ["classification"] * 5
    module = whole_network(MMoE(n_experts=3), WIDE, 0, kinds, [n_classes] * 5)
    with saved_shapes(module, inputs(17)) as shapes:
        assert ((5, 17, 128) in shapes) == (n_classes == 40)


def test_mixtures_are_all_strategies_that_can_be():
    def mixes(cls):
        module = cls().build(MLP((8, 128)), (N_FEATURES,), 5)
        return hasattr(module, "mixture")

    found = {name for name, cls in SHARING.items() if mixes(cls)}
    assert found - {"auto_grouped"} == set(MIXTURES)  # it builds what "grouped" does
