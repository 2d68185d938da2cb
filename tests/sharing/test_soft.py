"""Facts of soft parameter sharing: networks tied by a penalty."""

import numpy as np
import pytest
import torch

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.encoder import ModuleEncoder
from skmtl.sharing import Hard, Soft
from tests._networks import (
    ENCODERS,
    SAME_STEPS,
    BatchNormed,
    Network,
    Prepared,
    inputs,
    plain_mlp,
    randomised,
    shape_of,
    table,
)
from tests.sharing._helpers import Alike

T = 3
TIES = ("l2", "trace_norm")
ties = pytest.mark.parametrize("tie", TIES)


def built(tie="l2", strength=1.0, encoder=None, n_tasks=T):
    encoder = encoder or plain_mlp((8, 6))
    return Soft(tie, strength).build(encoder, shape_of(encoder), n_tasks).double()


def spread(module):
    """Return how far the tasks' weights lie from their mean."""
    stacks = [p.detach() for p in module.columns.stacks().values()]
    return sum(float((p - p.mean(dim=0)).square().sum()) for p in stacks) ** 0.5


def spectrum(module):
    """Return the singular values of the tasks' weights."""
    stack = module.columns.stacks()["layers.0.0.weight"]
    return torch.linalg.svdvals(stack.detach().flatten(1))


@ties
@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS.keys())
def test_tasks_start_from_the_same_weights(tie, encoder):
    module = built(tie, encoder=encoder)
    for stack in module.columns.stacks().values():
        assert torch.equal(stack, stack[:1].expand_as(stack))


def test_equal_networks_are_one_network():
    encoder = Prepared(plain_mlp((8, 6), norm="layer"))
    X = inputs(5, encoder=encoder)
    expected, _ = Hard().build(encoder, shape_of(encoder), T).double()(X)
    features, _ = built(encoder=encoder)(X)
    torch.testing.assert_close(features, expected.unsqueeze(1).expand(-1, T, -1))


@ties
@pytest.mark.parametrize("norm", [None, "batch"])
def test_without_a_tie_tasks_are_independent(tie, norm):
    X, Y = table()
    settings = {**SAME_STEPS, "encoder": Alike(plain_mlp((16, 8), norm=norm))}
    independent = MultiTaskRegressor("independent", **settings).fit(X, Y)
    soft = MultiTaskRegressor(Soft(tie, 0), **settings).fit(X, Y)
    np.testing.assert_allclose(soft.loss_curve_, independent.loss_curve_)
    np.testing.assert_allclose(soft.predict(X), independent.predict(X))


@pytest.mark.parametrize(
    "encoder", [plain_mlp((8, 6)), ModuleEncoder(Network), ModuleEncoder(BatchNormed)]
)
def test_l2_is_the_mean_squared_distance_from_the_mean_weights(encoder):
    module = randomised(built("l2", 0.3, encoder), 0)
    stacks = module.columns.stacks()
    expected = sum(
        (stacks[name][t] - stacks[name].mean(dim=0)).square().sum()
        for name in stacks
        for t in range(T)
    )
    torch.testing.assert_close(module.penalty(), 0.3 / T * expected)


def test_trace_norm_of_equal_networks_is_the_norm_of_one_times_a_root():
    """A stack of T equal rows has one singular value, sqrt(T) times their norm."""
    module = built("trace_norm", 0.3)
    norms = sum(stack[0].norm() for stack in module.columns.stacks().values())
    torch.testing.assert_close(module.penalty(), 0.3 * T**0.5 * norms)
    # What is zero but for rounding pushes the equal rows in no arbitrary direction.
    module.penalty().backward()
    for parameter in module.columns.parameters():
        rows = parameter.detach().flatten(1)
        expected = 0.3 * rows / (T**0.5 * rows[0].norm())
        torch.testing.assert_close(parameter.grad.flatten(1), expected)


def test_trace_norm_of_orthogonal_networks_is_the_sum_of_their_norms():
    module = built("trace_norm", encoder=plain_mlp(3))
    with torch.no_grad():
        module.columns.get_parameter("layers.0.0.bias").copy_(
            torch.diag(torch.tensor([3.0, 2.0, 1.0]))
        )
        weight = module.columns.get_parameter("layers.0.0.weight").zero_()
    torch.testing.assert_close(float(module.penalty().detach()), 6.0)
    module.penalty().backward()
    assert weight.grad.isfinite().all()


@ties
@pytest.mark.parametrize(
    ("strength", "encoder", "n_tasks"),
    [(0, None, T), (1, plain_mlp(()), T), (1, None, 1)],
)
def test_there_is_no_penalty_where_nothing_is_to_be_tied(
    tie, strength, encoder, n_tasks
):
    assert built(tie, strength, encoder, n_tasks).penalty() is None


def fitted(tie, strength):
    X, Y = table(n=100)
    return MultiTaskRegressor(
        Soft(tie, strength),
        encoder=plain_mlp((16,)),
        learning_rate_init=1e-2,
        max_iter=200,
        early_stopping=False,
        n_iter_no_change=np.inf,
        random_state=0,
        n_estimators=1,
    ).fit(X, Y)


def test_weights_of_tasks_become_equal_as_strength_grows():
    X, Y = table(n=100)
    fits = [fitted("l2", strength) for strength in (0, 0.1, 10, 1000)]
    spreads = [spread(est.module_.sharing) for est in fits]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[-1] < 1e-2 * spreads[0]
    assert all(est.score(X, Y) > 0.9 for est in fits)


def test_trace_norm_lowers_the_rank():
    X, Y = table(n=100)
    fits = [fitted("trace_norm", strength) for strength in (0, 0.03, 0.3)]
    spectra = [spectrum(est.module_.sharing) for est in fits]
    assert [int((s > 0.02 * s[0]).sum()) for s in spectra] == [3, 2, 2]
    norms = [float(s.sum()) for s in spectra]
    assert norms == sorted(norms, reverse=True)
    assert all(est.score(X, Y) > 0.9 for est in fits)


def test_many_tasks_are_tied_at_once():
    module = built("trace_norm", encoder=plain_mlp((8,)), n_tasks=512)
    randomised(module, 0).penalty().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize(
    ("parameters", "name"),
    [({"tie": "l1"}, "tie"), ({"strength": -1}, "strength")],
)
def test_bad_settings_are_refused_before_training(parameters, name):
    X, Z = table()
    est = MultiTaskClassifier(Soft(**parameters), n_estimators=1)
    with pytest.raises(ValueError, match=f"'{name}' parameter of Soft"):
        est.fit(X, Z > 0)
