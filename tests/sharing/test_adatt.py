"""Facts of adaptive task-to-task fusion."""

import pytest
import torch

from skmtl import MultiTaskRegressor
from skmtl.sharing import AdaTT
from tests._networks import N_FEATURES, Prepared, inputs, plain_mlp, randomised, table

T = 3
ENCODER = plain_mlp((8, 6), activation="tanh")


def built(sharing, encoder=ENCODER, n_tasks=T):
    return sharing.build(encoder, (N_FEATURES,), n_tasks).double()


@pytest.mark.parametrize("n_experts", [1, 2])
@pytest.mark.parametrize("n_levels", [None, 1])
def test_fusion_adds_own_experts_to_a_gate_over_all(n_experts, n_levels):
    module = randomised(built(AdaTT(n_experts, n_levels), n_tasks=2), 0)
    X = inputs(9)
    H, gates = [X, X], [X, X]
    for level, cut in enumerate(module.levels.cuts):
        experts = []
        for e in range(2 * n_experts):
            Z = H[e // n_experts]
            for i in cut:
                linear = module.levels.encoder.layers[i][0]
                Z = torch.tanh(Z @ linear.weight[e].T + linear.bias[e])
            experts.append(Z)
        fused = []
        for t in range(2):
            weights = module.gate[level]
            gate = (H[t] @ weights.weight[t].T + weights.bias[t]).softmax(dim=1)
            own = experts[t * n_experts : (t + 1) * n_experts]
            native = module.native[level][t] if n_experts > 1 else [1.0]
            fused.append(
                sum(g[:, None] * h for g, h in zip(gate.T, experts, strict=True))
                + sum(v * h for v, h in zip(native, own, strict=True))
            )
            gates[t] = gate
        H = fused
    features, shared = module(X)
    torch.testing.assert_close(features, torch.stack(H, dim=1))
    torch.testing.assert_close(shared, torch.stack(experts, dim=1))
    torch.testing.assert_close(module.gates(X), torch.stack(gates, dim=1))


def test_equal_gates_over_known_experts():
    """Two tasks whose experts return constants: own one plus the mean of both."""
    module = built(AdaTT(), plain_mlp(2), n_tasks=2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        bias = module.levels.encoder.layers[0][0].bias
        bias.copy_(torch.tensor([[2.0, 0], [4, 6]]))
    expected = torch.tensor([[5.0, 3], [7, 9]]).double()
    torch.testing.assert_close(module(inputs(3))[0], expected.expand(3, 2, 2))


def test_own_experts_start_with_equal_weights():
    module = built(AdaTT(n_experts=4))
    for native in module.native:
        assert torch.equal(native, torch.full((T, 4), 0.25).double())


def test_one_task_and_one_expert_is_its_network_twice():
    """The only expert is what the gate fuses and what is added to it."""
    X = inputs(9)
    module = built(AdaTT(), Prepared(plain_mlp(6)), n_tasks=1)
    network = module.levels.encoder.single(X)
    torch.testing.assert_close(module(X)[0][:, 0], 2 * network)
    assert torch.equal(module.gates(X), torch.ones(9, 1, 1).double())
    assert module.find_collapsed(X) is None


@pytest.mark.parametrize("n_experts", [1, 2])
def test_only_the_last_fusion_is_a_task_s_own(n_experts):
    module = built(AdaTT(n_experts))
    shared = {id(p) for p in module.shared_parameters()}
    own = {n for n, p in module.named_parameters() if id(p) not in shared}
    expected = {"gate.1.weight", "gate.1.bias"}
    assert own == (expected | {"native.1"} if n_experts > 1 else expected)


def test_with_one_task_nothing_is_shared():
    module = built(AdaTT(n_experts=2), n_tasks=1)
    assert module(inputs(3))[1] is None
    assert not list(module.shared_parameters())


def test_it_learns_related_tasks():
    X, Y = table(n=200)
    est = MultiTaskRegressor(
        "adatt", encoder=plain_mlp((16, 16)), random_state=0, n_estimators=1
    ).fit(X, Y)
    assert est.score(X, Y) > 0.95
    usage = est.net_.module_.gate_usage(X)
    assert usage.shape == (3, 3)
    assert abs(usage.sum(axis=1) - 1).max() < 1e-6


def test_more_levels_than_layers_are_refused_before_training():
    X, Y = table()
    with pytest.raises(ValueError, match=r"at most the number of layers .* Got 3"):
        MultiTaskRegressor(
            AdaTT(n_levels=3), encoder=plain_mlp((8, 6)), n_estimators=1
        ).fit(X, Y)


@pytest.mark.parametrize("sharing", [AdaTT(0), AdaTT("two"), AdaTT(n_levels=0)])
def test_bad_settings_are_refused(sharing):
    X, Y = table()
    with pytest.raises(ValueError, match=r"'n_(experts|levels)' parameter of AdaTT"):
        MultiTaskRegressor(sharing, n_estimators=1).fit(X, Y)
