"""Facts of customised gate control: shared and own experts."""

import numpy as np
import pytest
import torch

from skmtl import MultiTaskRegressor
from skmtl.sharing import CGC, Independent, MMoE
from tests._networks import N_FEATURES, Prepared, inputs, plain_mlp, randomised, table

T = 3


def built(sharing, encoder=None, n_tasks=T):
    encoder = plain_mlp((8, 6)) if encoder is None else encoder
    return sharing.build(encoder, (N_FEATURES,), n_tasks).double()


@pytest.mark.parametrize(("n_shared", "n_own"), [(2, 1), (1, 2), (3, 2), (1, 1)])
def test_a_task_mixes_its_own_and_the_shared_experts(n_shared, n_own):
    module = randomised(built(CGC(n_shared, n_own), n_tasks=2), 0)
    X = inputs(9)
    own, shared = module.own.encoder(X), module.shared.encoder(X)
    W, b = module.gate[0].weight, module.gate[0].bias
    gates = module.gates(X)
    assert gates.shape == (9, 2, 2 * n_own + n_shared)
    for t in range(2):
        seen = [*own[t * n_own : (t + 1) * n_own], *shared]
        gate = (X @ W[t].T + b[t]).softmax(dim=1)
        expected = sum(g[:, None] * h for g, h in zip(gate.T, seen, strict=True))
        torch.testing.assert_close(module(X)[0][:, t], expected)
        mine = slice(t * n_own, (t + 1) * n_own)
        torch.testing.assert_close(gates[:, t, mine], gate[:, :n_own])
        torch.testing.assert_close(gates[:, t, 2 * n_own :], gate[:, n_own:])
        others = np.r_[0 : t * n_own, (t + 1) * n_own : 2 * n_own]
        assert not gates[:, t, others].any()


def test_equal_gates_average_known_experts():
    """Two tasks, experts that return constants: the answer is their mean."""
    module = built(CGC(n_shared=1, n_own=1), plain_mlp(2), n_tasks=2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.own.encoder.layers[0][0].bias.copy_(torch.tensor([[2.0, 0], [4, 0]]))
        module.shared.encoder.layers[0][0].bias.copy_(torch.tensor([0.0, 6]))
    features, shared = module(inputs(3))
    expected = torch.tensor([[1.0, 3], [2, 3]]).double()
    torch.testing.assert_close(features, expected.expand(3, 2, 2))
    torch.testing.assert_close(shared, torch.tensor([0.0, 6]).double().expand(3, 1, 2))


def test_without_own_experts_it_is_mmoe():
    X = inputs(9)
    cgc = built(CGC(n_shared=4, n_own=0), Prepared(plain_mlp((8, 6))))
    mmoe = built(MMoE(4), Prepared(plain_mlp((8, 6))))
    randomised(cgc.gate, 0), randomised(mmoe.gate, 0)
    for found, expected in zip(cgc(X), mmoe(X), strict=True):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(cgc.gates(X), mmoe.gates(X))
    shared = {id(p) for p in cgc.shared_parameters()}
    assert shared == {id(p) for p in cgc.shared.parameters()}


def test_one_own_expert_and_none_shared_is_a_network_per_task():
    X = inputs(9)
    cgc = built(CGC(n_shared=0, n_own=1), Prepared(plain_mlp((8, 6))))
    independent = built(Independent(), Prepared(plain_mlp((8, 6))))
    torch.testing.assert_close(cgc(X)[0], independent(X)[0])
    assert torch.equal(cgc.gates(X), torch.eye(T).double().expand(9, T, T))
    assert cgc.find_collapsed(X) is None  # there is nothing to choose
    n_parameters = [sum(p.numel() for p in m.parameters()) for m in (cgc, independent)]
    assert n_parameters[0] == n_parameters[1]


@pytest.mark.parametrize("sharing", [CGC(), CGC(n_own=0), CGC(n_shared=0, n_own=2)])
def test_with_one_task_nothing_is_shared(sharing):
    module = built(sharing, n_tasks=1)
    assert module(inputs(3))[1] is None
    assert not list(module.shared_parameters())


def test_five_hundred_tasks_grow_linearly():
    sizes = [
        sum(p.numel() for p in built(CGC(), plain_mlp((16,)), n_tasks).parameters())
        for n_tasks in (128, 256, 512)
    ]
    assert sizes[2] - sizes[1] == 2 * (sizes[1] - sizes[0])
    module = built(CGC(), plain_mlp((16,)), 512)
    assert module(inputs(20))[0].shape == (20, 512, 16)


def test_a_task_whose_label_is_noise_does_not_spoil_the_other():
    """Own experts keep harm out: the related tasks still learn."""
    X, Z = table(n=200)
    Z[:, 0] = np.random.default_rng(0).normal(size=200)
    est = MultiTaskRegressor(
        "cgc", encoder=plain_mlp((16,)), random_state=0, n_estimators=1
    )
    est.set_params(learning_rate_init=1e-2, max_iter=60).fit(X, Z)
    assert est.task_estimator(1).score(X, Z[:, 1]) > 0.95


@pytest.mark.parametrize(
    ("sharing", "message"),
    [
        (CGC(0, 0), "'n_shared' and 'n_own' of CGC must not both be 0"),
        (CGC(-1), "'n_shared' parameter of CGC"),
        (CGC(n_own=1.5), "'n_own' parameter of CGC"),
    ],
)
def test_bad_settings_are_refused(sharing, message):
    X, Y = table()
    with pytest.raises(ValueError, match=message):
        MultiTaskRegressor(sharing, n_estimators=1).fit(X, Y)
