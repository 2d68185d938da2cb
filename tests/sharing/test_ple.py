"""Facts of progressive layered extraction."""

import numpy as np
import pytest
import torch

from skmtl import MultiTaskRegressor
from skmtl.encoder import Encoder as EncoderSpec
from skmtl.encoder import EncoderModule
from skmtl.sharing import CGC, PLE, Independent
from tests._networks import N_FEATURES, Prepared, inputs, plain_mlp, randomised, table

T = 3
DEEP = plain_mlp((8, 7, 6, 5))


def built(sharing, encoder=DEEP, n_tasks=T):
    return sharing.build(encoder, (N_FEATURES,), n_tasks).double()


def dependence(module, n_tasks=T):
    """Return, by parameter, the tasks whose features depend on it."""
    randomised(module, 0)
    named = dict(module.named_parameters())
    tasks = {name: set() for name in named}
    features, _ = module(inputs(64))
    for t in range(n_tasks):
        gradients = torch.autograd.grad(
            features[:, t].square().sum(),
            list(named.values()),
            retain_graph=True,
            materialize_grads=True,
        )
        for name, gradient in zip(named, gradients, strict=True):
            if gradient.any():
                tasks[name].add(t)
    return tasks


@pytest.mark.parametrize(("n_shared", "n_own"), [(2, 1), (1, 2), (0, 2), (3, 0)])
def test_one_level_is_cgc(n_shared, n_own):
    X = inputs(9)
    ple = randomised(built(PLE(n_shared, n_own, n_levels=1)), 0)
    cgc = built(CGC(n_shared, n_own))
    cgc.load_state_dict(ple.state_dict())
    torch.testing.assert_close(ple(X)[0], cgc(X)[0])
    torch.testing.assert_close(ple.gates(X), cgc.gates(X))


@pytest.mark.parametrize(
    ("n_levels", "cuts"),
    [
        (None, [[0], [1], [2], [3]]),
        (1, [[0, 1, 2, 3]]),
        (2, [[0, 1], [2, 3]]),
        (3, [[0, 1], [2], [3]]),
        (4, [[0], [1], [2], [3]]),
    ],
)
def test_layers_are_cut_into_even_levels(n_levels, cuts):
    module = built(PLE(n_levels=n_levels))
    assert module.own.cuts == module.shared.cuts == cuts
    assert len(module.gate) == len(cuts)
    assert len(module.shared_gate) == len(cuts) - 1
    assert module(inputs(5))[0].shape == (5, T, 5)


@pytest.mark.parametrize(("n_shared", "n_own"), [(2, 1), (1, 2)])
def test_two_levels_mix_as_the_paper_says(n_shared, n_own):
    encoder = plain_mlp((8, 6), activation="tanh")
    module = randomised(built(PLE(n_shared, n_own), encoder, n_tasks=2), 0)
    X = inputs(9)

    def layer(experts, level, e, Z):
        linear = experts.encoder.layers[level][0]
        # A single copy is a plain layer.
        W = linear.weight.reshape(experts.encoder.n_copies, -1, Z.shape[1])[e]
        b = linear.bias.reshape(experts.encoder.n_copies, -1)[e]
        return torch.tanh(Z @ W.T + b)

    def mix(gate, g, Z, experts):
        W, b = gate.weight[g], gate.bias[g]
        weights = (Z @ W.T + b).softmax(dim=1)
        return sum(w[:, None] * H for w, H in zip(weights.T, experts, strict=True))

    H, H_s = [X, X], X
    for level in range(2):
        own = [
            [layer(module.own, level, t * n_own + e, H[t]) for e in range(n_own)]
            for t in range(2)
        ]
        common = [layer(module.shared, level, e, H_s) for e in range(n_shared)]
        mixed = [mix(module.gate[level], t, H[t], own[t] + common) for t in range(2)]
        if level == 0:
            H_s = mix(module.shared_gate[0], 0, H_s, own[0] + own[1] + common)
        H = mixed
    features, shared = module(X)
    torch.testing.assert_close(features, torch.stack(H, dim=1))
    torch.testing.assert_close(shared, torch.stack(common, dim=1))


@pytest.mark.parametrize("n_own", [1, 2])
@pytest.mark.parametrize("n_levels", [None, 1, 2])
def test_without_shared_experts_tasks_are_isolated(n_own, n_levels):
    module = built(PLE(n_shared=0, n_own=n_own, n_levels=n_levels))
    assert not list(module.shared_parameters())
    assert module(inputs(3))[1] is None
    assert not len(module.shared_gate)
    randomised(module, 0)
    before = module(inputs(9))[0]
    with torch.no_grad():  # all that is task 0's
        for name, parameter in module.named_parameters():
            parameter[: n_own if name.startswith("own") else 1] += 1
    after = module(inputs(9))[0]
    assert torch.equal(after[:, 1:], before[:, 1:])
    assert not torch.equal(after[:, 0], before[:, 0])


def test_one_own_expert_alone_is_a_network_per_task():
    ple = built(PLE(n_shared=0, n_own=1), Prepared(DEEP))
    independent = built(Independent(), Prepared(DEEP))
    X = inputs(9)
    torch.testing.assert_close(ple(X)[0], independent(X)[0])
    assert ple.find_collapsed(X) is None


@pytest.mark.parametrize("n_levels", [None, 1, 2, 3])
@pytest.mark.parametrize(("n_shared", "n_own"), [(2, 1), (1, 1), (2, 0), (1, 0)])
def test_shared_parameters_are_those_that_feed_other_tasks(n_shared, n_own, n_levels):
    module = built(
        PLE(n_shared, n_own, n_levels), plain_mlp((8, 7, 6, 5), activation="tanh")
    )
    declared = {id(p) for p in module.shared_parameters()}
    names = {n for n, p in module.named_parameters() if id(p) in declared}
    used = dependence(module)
    everywhere = {n for n in used if n.startswith("shared")}
    n_levels = n_levels or 4
    last = module.own.cuts[-1] if n_own else []
    own = {n for n in used if n.startswith("own") and int(n.split(".")[3]) not in last}
    gates = {
        n
        for n in used
        if n_own and n.startswith("gate") and int(n.split(".")[1]) < n_levels - 2
    }
    assert names == everywhere | own | gates
    assert all(used[n] == set(range(T)) for n in names)


@pytest.mark.parametrize("sharing", [PLE(), PLE(n_own=0), PLE(n_shared=0, n_own=2)])
def test_with_one_task_nothing_is_shared(sharing):
    module = built(sharing, n_tasks=1)
    assert module(inputs(3))[1] is None
    assert not list(module.shared_parameters())


class Images(EncoderSpec):
    """Two convolutions of stacked copies, then an average over positions."""

    input_ndim = 4

    def build(self, input_shape, n_copies=1):
        return _Images(input_shape[0], n_copies)


class _Convolution(torch.nn.Module):
    def __init__(self, n_copies, n_inputs, n_outputs):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(n_copies, n_outputs, n_inputs))

    def forward(self, H):
        copies = "" if H.ndim == 4 else "k"
        return torch.einsum(f"koc,{copies}nchw->knohw", self.weight, H).tanh()


class _Average(torch.nn.Module):
    def forward(self, H):
        return H.mean(dim=(-1, -2))


class _Images(EncoderModule):
    def __init__(self, n_channels, n_copies):
        super().__init__()
        self.n_copies, self.width = n_copies, 6
        self.layers = torch.nn.ModuleList(
            [
                _Convolution(n_copies, n_channels, 5),
                _Convolution(n_copies, 5, 6),
                _Average(),
            ]
        )


@pytest.mark.parametrize(("n_shared", "n_own"), [(2, 1), (1, 2), (0, 2)])
def test_gates_after_a_convolution_read_averages_over_positions(n_shared, n_own):
    module = PLE(n_shared, n_own).build(Images(), (2, 4, 4), 2).double()
    assert [gate.weight.shape[2] for gate in module.gate] == [2 * 4 * 4, 5, 6]
    X = torch.randn(7, 2, 4, 4).double()
    features, _ = module(X)
    assert features.shape == (7, 2, 6)
    # Moving what is at each position about changes nothing that these layers compute.
    with torch.no_grad():
        module.gate[0].weight.zero_()
        for gate in module.shared_gate[:1]:
            gate.weight.zero_()
    torch.testing.assert_close(module(X.flip(2, 3))[0], module(X)[0])


def test_a_user_s_network_is_one_level():
    def network(n_features):
        return torch.nn.Sequential(torch.nn.Linear(n_features, 6), torch.nn.Tanh())

    X, Y = table()
    est = MultiTaskRegressor(
        "ple", encoder=network, max_iter=5, random_state=0, n_estimators=1
    )
    assert len(est.fit(X, Y).net_.module_.sharing.gate) == 1
    usage = est.net_.module_.gate_usage(X)
    np.testing.assert_allclose(usage.sum(axis=1), 1)


def test_more_levels_than_layers_are_refused_before_training():
    X, Y = table()
    est = MultiTaskRegressor(PLE(n_levels=3), encoder=plain_mlp((8, 6)), n_estimators=1)
    message = r"'n_levels' parameter must be at most .* encoder, 2\. Got 3: lower it"
    with pytest.raises(ValueError, match=message):
        est.fit(X, Y)


@pytest.mark.parametrize(
    ("sharing", "message"),
    [
        (PLE(0, 0), "'n_shared' and 'n_own' of PLE must not both be 0"),
        (PLE(n_levels=0), "'n_levels' parameter of PLE"),
        (PLE(n_shared=-1), "'n_shared' parameter of PLE"),
    ],
)
def test_bad_settings_are_refused(sharing, message):
    X, Y = table()
    with pytest.raises(ValueError, match=message):
        MultiTaskRegressor(sharing, n_estimators=1).fit(X, Y)
