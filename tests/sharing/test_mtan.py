"""Facts of multi-task attention: tasks mask the features of one shared network."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.encoder import ModuleEncoder
from skmtl.sharing import MTAN, Hard
from tests._networks import (
    ENCODERS,
    N_FEATURES,
    SAME_STEPS,
    Network,
    Prepared,
    inputs,
    plain_mlp,
    randomised,
    shape_of,
    table,
)
from tests.sharing import test_all as contract
from tests.sharing._helpers import IMAGE_SHAPE, Convolutions, Frozen

T = 3


def built(encoder, n_tasks=T, shape=None, reduction=2):
    shape = shape or shape_of(encoder)
    return MTAN(reduction).build(encoder, shape, n_tasks).double().eval()


def opened(module):
    """Make every mask one."""
    with torch.no_grad():
        for mask in module.attention:
            mask.outer.weight.zero_()
            mask.outer.bias.fill_(50.0)
    return module


class Opened(MTAN):
    def build(self, encoder, input_shape, n_tasks):
        return opened(super().build(encoder, input_shape, n_tasks))


@pytest.mark.parametrize("name", [n for n in ENCODERS if "module" not in n])
def test_masks_of_one_are_hard_sharing(name):
    encoder = Prepared(ENCODERS[name])
    hard = Hard().build(encoder, shape_of(encoder), T).double().eval()
    X = inputs(9, encoder=encoder)
    expected = hard(X)[0].unsqueeze(1).expand(-1, T, -1)
    torch.testing.assert_close(opened(built(encoder))(X)[0], expected)


@pytest.mark.parametrize("norm", [None, "batch"])
def test_with_frozen_masks_of_one_tasks_train_as_in_hard_sharing(norm):
    X, Y = table()
    settings = {**SAME_STEPS, "encoder": Prepared(plain_mlp((16, 8), norm=norm))}
    hard = MultiTaskRegressor("hard", **settings).fit(X, Y)
    masked = MultiTaskRegressor(Frozen(Opened(), frozen="attention"), **settings)
    masked.fit(X, Y)
    np.testing.assert_allclose(masked.loss_curve_, hard.loss_curve_)
    np.testing.assert_allclose(masked.predict(X), hard.predict(X))


def masked_by_hand(module, X, t):
    """Return a task's masks and features, by the formula of the docstring."""
    H, A, masks = X, None, []
    for i, mask in enumerate(module.attention):
        H = module.network.step(i, H)
        P = H[0].movedim(1, -1)  # (n, ..., channels)
        read = P
        if A is not None:
            A = A.movedim(-1, 1)
            if P.ndim == 4 and A.shape[2:] != H.shape[3:]:
                A = F.avg_pool2d(A, A.shape[-1] // P.shape[1])
            elif P.ndim == 2 and A.ndim == 4:
                A = A.mean(dim=(2, 3))
            read = torch.cat([P, A.movedim(1, -1)], dim=-1)
        inner = F.linear(read, mask.inner.weight[t], mask.inner.bias[t]).relu()
        outer = F.linear(inner, mask.outer.weight[t], mask.outer.bias[t])
        masks.append(torch.sigmoid(outer + 2))
        A = masks[-1] * P
    return masks, A


@pytest.mark.parametrize(
    "encoder",
    [plain_mlp((8, 6, 6)), plain_mlp(()), ModuleEncoder(Network), Convolutions()],
)
def test_each_task_attends_as_the_formula_says(encoder):
    shape = IMAGE_SHAPE if isinstance(encoder, Convolutions) else (N_FEATURES,)
    module = randomised(built(encoder, shape=shape), 0)
    X = inputs(7, encoder=encoder)
    features, _ = module(X)
    found = module.masks(X)
    for t in range(T):
        masks, expected = masked_by_hand(module, X, t)
        torch.testing.assert_close(features[:, t], expected)
        for mask, by_hand in zip(found, masks, strict=True):
            torch.testing.assert_close(mask[:, t], by_hand.movedim(-1, 1))
            assert not mask.requires_grad


@pytest.mark.parametrize("n_tasks", [1, T, 512])
def test_masks_start_open_and_alike(n_tasks):
    module = built(plain_mlp((8, 6)), n_tasks)
    for mask, width in zip(module.masks(inputs(5)), (8, 6), strict=True):
        expected = torch.full((5, n_tasks, width), 2.0).double().sigmoid()
        torch.testing.assert_close(mask, expected)


def test_reduction_narrows_the_masks_layers_down_to_one_unit():
    module = built(plain_mlp((8, 6)), reduction=4)
    assert [mask.inner.bias.shape for mask in module.attention] == [(T, 2), (T, 1)]
    assert built(plain_mlp(3), reduction=8).attention[0].inner.bias.shape == (T, 1)


def test_images_keep_the_contract():
    encoder = Convolutions()
    contract.test_every_parameter_gets_a_gradient(MTAN(), encoder)
    contract.test_shared_parameters_are_those_that_autograd_finds_to_be(MTAN(), encoder)
    contract.test_shared_features_are_what_several_tasks_depend_on(MTAN(), encoder)
    contract.test_three_stacked_networks_train_as_three_separate_ones(MTAN(), encoder)


def test_all_that_reaches_tasks_goes_through_the_shared_features():
    module = randomised(built(plain_mlp((8, 6, 6))), 0)
    features, shared = module(inputs(9))
    loss = features.sin().sum()
    (at_shared,) = torch.autograd.grad(loss, shared, retain_graph=True)
    network = list(module.network.parameters())
    expected = torch.autograd.grad(loss, network, retain_graph=True)
    # Layers lie side by side in what is shared: each is read there and by the next.
    found = torch.autograd.grad(shared, network, at_shared)
    torch.testing.assert_close(found, expected)


def test_masks_let_through_what_a_task_needs_where_it_needs_it():
    X = np.random.default_rng(0).normal(size=(200, 4))
    Y = X * (X[:, [1, 2, 3, 0]] > 0)  # a feature counts where the next one is positive
    hard, masked = (
        MultiTaskRegressor(
            sharing,
            encoder=plain_mlp(()),
            learning_rate_init=0.1,
            max_iter=100,
            random_state=0,
            n_estimators=1,
        )
        .fit(X, Y)
        .score(X, Y)
        for sharing in ("hard", MTAN(reduction=1))
    )
    assert hard < 0.8
    assert masked > 0.9


@pytest.mark.parametrize("reduction", [0, 1.5, "half"])
def test_a_bad_reduction_is_refused_before_training(reduction):
    X, Z = table()
    est = MultiTaskClassifier(MTAN(reduction), n_estimators=1)
    with pytest.raises(ValueError, match="'reduction' parameter of MTAN"):
        est.fit(X, Z > 0)
