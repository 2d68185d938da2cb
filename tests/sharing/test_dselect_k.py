"""Facts of DSelect-k: sparse gates that gradients train."""

import itertools

import numpy as np
import pytest
import torch

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.exceptions import GateCollapseWarning
from skmtl.sharing import DSelectK
from skmtl.sharing._experts import apply_smooth_step
from tests._networks import N_FEATURES, inputs, plain_mlp, randomised, table

T = 3


def built(sharing, encoder=None, n_tasks=T):
    encoder = plain_mlp((8, 6)) if encoder is None else encoder
    return sharing.build(encoder, (N_FEATURES,), n_tasks).double()


@pytest.mark.parametrize("gamma", [0.1, 1.0, 4.0])
def test_smooth_step_is_a_cubic_between_two_constants(gamma):
    half = gamma / 2
    z = torch.tensor([-9, -half, 0, half, 9]).double()
    known = torch.tensor([0, 0, 0.5, 1, 1]).double()
    torch.testing.assert_close(apply_smooth_step(z, gamma), known)
    z = torch.linspace(-half, half, 11).double().requires_grad_()
    cubic = -2 / gamma**3 * z**3 + 3 / (2 * gamma) * z + 0.5
    step = apply_smooth_step(z, gamma)
    torch.testing.assert_close(step, cubic)
    (slope,) = torch.autograd.grad(step.sum(), z)
    assert (slope[1:-1] > 0).all()
    torch.testing.assert_close(slope[[0, -1]], torch.zeros(2).double())


@pytest.mark.parametrize("n_experts", [2, 4, 8])
def test_an_expert_s_probability_is_the_product_over_its_bits(n_experts):
    module = built(DSelectK(n_experts, gamma=3.0))
    randomised(module, 0)
    S = apply_smooth_step(module.code, 3.0)
    P = module.selectors()
    for e in range(n_experts):
        bits = [e >> b & 1 for b in range(S.shape[2])]
        factors = [
            s if bit else 1 - s for bit, s in zip(bits, S.unbind(2), strict=True)
        ]
        torch.testing.assert_close(P[..., e], torch.stack(factors).prod(dim=0))


@pytest.mark.parametrize("n_experts", [2, 3, 4, 5, 6, 7, 9, 13])
def test_every_code_has_an_expert_and_every_expert_a_code(n_experts):
    module = built(DSelectK(n_experts, k=1), n_tasks=1)
    chosen = set()
    n_bits = module.code.shape[2]
    assert 2 ** (n_bits - 1) < n_experts <= 2**n_bits
    for code in itertools.product([-1.0, 1.0], repeat=n_bits):
        with torch.no_grad():
            module.code.copy_(torch.tensor(code))
        P = module.selectors()[0, 0]
        assert P.sum() == P.max() == 1
        chosen.add(int(P.argmax()))
    assert chosen == set(range(n_experts))
    randomised(module, 0)
    torch.testing.assert_close(module.selectors().sum(-1), torch.ones(1, 1).double())


def test_features_are_the_selected_experts_weighted_by_a_softmax():
    module = randomised(built(DSelectK(5, k=3, gamma=3.0)), 0)
    X = inputs(9)
    experts = module.experts(X)
    for training in (True, False):
        module.train(training)
        P = module.selectors()
        if not training:
            P = (P.amax(-1, keepdim=True) == P).double()
        weights = torch.einsum("tk,tke->te", module.logits.softmax(-1), P)
        expected = torch.einsum("te,enh->nth", weights, experts)
        torch.testing.assert_close(module(X)[0], expected)
        torch.testing.assert_close(module.gates(X)[4], weights)


def test_penalty_is_the_entropy_of_every_task_s_selectors():
    module = built(DSelectK(4, entropy=0.7, gamma=3.0))
    randomised(module, 0)
    P = module.selectors()
    entropies = torch.special.entr(P).sum(-1)  # (tasks, k)
    torch.testing.assert_close(module.penalty(), 0.7 * entropies.sum())
    (gradient,) = torch.autograd.grad(module.penalty(), module.code)
    assert gradient.flatten(1).any(1).all()  # the last task's is not alone
    with torch.no_grad():
        module.code.fill_(9.0)
    (gradient,) = torch.autograd.grad(module.penalty(), module.code)
    assert module.penalty().abs() < 1e-3
    assert not gradient.any()
    assert built(DSelectK(entropy=0.0)).penalty() is None


@pytest.mark.parametrize(("n_experts", "k"), [(4, 2), (5, 3), (4, 4), (6, 1)])
def test_selectors_of_a_task_start_towards_different_experts(n_experts, k):
    torch.manual_seed(0)
    choice = built(DSelectK(n_experts, k), n_tasks=50).selectors().argmax(-1)
    assert all(len(set(row)) == k for row in choice.tolist())
    assert len(choice.unique()) == n_experts


def smooth_usage(est):
    """Return the weights that training ended with, before rounding."""
    module = est.net_.module_.sharing.train()
    weights = module.gates(torch.zeros(1, N_FEATURES))[0].detach()
    module.eval()
    return weights


@pytest.mark.parametrize("cls", [MultiTaskClassifier, MultiTaskRegressor])
@pytest.mark.parametrize(("n_experts", "k"), [(4, 2), (4, 1), (5, 2)])
@pytest.mark.sampled(3)
def test_two_hundred_steps_choose_at_most_k_experts(cls, n_experts, k):
    X, Y = table(n=100)
    Y = Y if cls is MultiTaskRegressor else (Y > 0).astype(int)
    settings = {"max_iter": 200, "n_iter_no_change": np.inf, "random_state": 0}
    est = cls(
        DSelectK(n_experts, k), encoder=plain_mlp((32,)), **settings, n_estimators=1
    )
    est.fit(X, Y)  # 200 steps
    usage = est.net_.module_.gate_usage(X)
    assert usage.shape == (3, n_experts)
    assert ((usage > 0).sum(axis=1) <= k).all()
    np.testing.assert_allclose(usage.sum(axis=1), 1, rtol=1e-6)
    smooth = smooth_usage(est)
    assert ((smooth > 1e-3).sum(dim=1) <= k).all()
    np.testing.assert_allclose(smooth, usage, atol=1e-3)  # rounding does no harm
    assert est.score(X, Y) > 0.9


def test_prediction_reads_at_most_k_experts_whatever_training_reached():
    X, Y = table()
    sharing = DSelectK(8, k=2, gamma=10.0, entropy=0.0)
    est = MultiTaskRegressor(
        sharing, encoder=plain_mlp((16,)), max_iter=2, random_state=0, n_estimators=1
    )
    est.fit(X, Y)
    assert (smooth_usage(est) > 1e-3).sum(dim=1).min() > 2
    assert ((est.net_.module_.gate_usage(X) > 0).sum(axis=1) <= 2).all()


def test_only_several_selectors_on_one_expert_are_a_collapse():
    class Alike(DSelectK):
        def build(self, encoder, input_shape, n_tasks):
            module = super().build(encoder, input_shape, n_tasks)
            with torch.no_grad():
                module.code[0] = 1.0  # all selectors of task 0 choose the last expert
            return module

    X, Y = table()
    settings = {"encoder": plain_mlp((16,)), "max_iter": 3, "random_state": 0}
    with pytest.warns(GateCollapseWarning, match="gates of Alike .* for 'task0':") as w:
        MultiTaskRegressor(Alike(), **settings, n_estimators=1).fit(X, Y)
    assert len(w) == 1
    MultiTaskRegressor(Alike(k=1), **settings, n_estimators=1).fit(X, Y)


def test_with_one_task_nothing_is_shared():
    module = built(DSelectK(), n_tasks=1)
    assert module(inputs(3))[1] is None
    assert not list(module.shared_parameters())


def test_five_hundred_tasks_take_one_product():
    module = built(DSelectK(), plain_mlp((16,)), 512)
    assert module(inputs(50))[0].shape == (50, 512, 16)
    assert len(list(module.parameters())) == 4


@pytest.mark.parametrize(
    ("sharing", "message"),
    [
        (DSelectK(4, k=5), r"'k' parameter of DSelectK must be at most n_experts=4\."),
        (DSelectK(1), "'n_experts' parameter of DSelectK"),
        (DSelectK(k=0), "'k' parameter of DSelectK"),
        (DSelectK(gamma=0), "'gamma' parameter of DSelectK"),
        (DSelectK(entropy=-1), "'entropy' parameter of DSelectK"),
    ],
)
def test_bad_settings_are_refused(sharing, message):
    X, Y = table()
    with pytest.raises(ValueError, match=message):
        MultiTaskRegressor(sharing, n_estimators=1).fit(X, Y)
