"""Gradients of the tasks, against autograd one task at a time."""

import numpy as np
import pytest
import torch
from torch import nn

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import MLP, ModuleEncoder
from skmtl.sharing import SHARING
from skmtl.training import _gradients as gradients_module
from skmtl.training._gradients import TaskGradients
from skmtl.training._task_balancing import TaskBalancer
from skmtl.weighting import (
    Equal,
    GradientCombiningModule,
    GradientWeighting,
    GradientWeightingModule,
)
from tests._networks import SAME_STEPS, inputs, table, whole_network

pytestmark = [
    pytest.mark.one_version,
]

WEIGHTS = (0.5, 1.5, 0.25, 2.0, 0.75)
#: Strategies in which tasks share parameters.
SHARERS = sorted(set(SHARING) - {"independent", "soft"})
#: Those whose shared features reach the outputs through heads alone.
PLAIN = {"additive", "cgc", "dselect_k", "grouped", "hard", "learned_branching", "mmoe"}
PLAIN |= {"auto_grouped", "ple"}
SPECS = {name: SHARING[name]() for name in SHARERS}
SPECS["grouped"] = SHARING["grouped"]([[0, 2, 4], [1, 3]])
SPECS["adapter"] = SHARING["adapter"](rank=2)
SPECS["additive"] = SHARING["additive"](strength=0.1)

sharers = pytest.mark.parametrize("name", SHARERS)


class Given(GradientWeighting):
    """Weights that do not depend on the gradients."""

    def __init__(self, weights=WEIGHTS, gradient_at="representation", update_every=1):
        super().__init__(gradient_at, update_every)
        self.weights = weights

    def build(self, n_tasks):
        return _Given(self.weights)


class _Given(GradientWeightingModule):
    def __init__(self, weights):
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights))
        self.register_buffer("gramian", torch.zeros(len(weights), len(weights)))
        self.n_looks = 0

    def from_gramian(self, gramian, losses, present):
        self.gramian.copy_(gramian)
        self.n_looks += 1
        return self.weights


def network(name, encoder=None):
    """Return a network of five tasks and a loss for each, from outputs."""
    module = whole_network(SPECS[name], encoder or MLP((8, 6)), 0)
    owner = module.heads.task_of_output
    weight = torch.linspace(0.5, 2, len(owner), dtype=torch.float64)

    def losses(outputs):
        entries = (weight * (outputs - 0.3).square()).mean(dim=0)
        return entries.new_zeros(5).index_add(0, owner, entries)

    return module.train(), losses


def one_by_one(losses, inputs):
    rows = [
        torch.autograd.grad(loss, inputs, retain_graph=True, materialize_grads=True)
        for loss in losses
    ]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


@sharers
@pytest.mark.parametrize("gradient_at", ["representation", "parameters"])
def test_gramian_is_that_of_gradients_taken_one_by_one(name, gradient_at):
    module, of = network(name)
    torch.manual_seed(0)
    trace = module.trace(inputs(17))
    assert trace.heads_only == (name in PLAIN)
    losses = of(trace.outputs)
    gradients = TaskGradients(module, gradient_at)
    (D,) = torch.autograd.grad(losses.sum(), trace.outputs, retain_graph=True)
    gramian, _ = gradients.compute_gramian(trace, D)
    by_parameters = (
        gradient_at == "parameters" or name == "adapter"
    )  # has no such features
    J = one_by_one(losses, gradients.shared if by_parameters else [trace.shared])
    torch.testing.assert_close(gramian, J @ J.T)


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_gramian_does_not_depend_on_the_way_it_is_computed(name, monkeypatch):
    module, of = network(name)
    module.eval()
    found = []
    for many in (0, 4096):
        monkeypatch.setattr(gradients_module, "MANY_OUTPUTS", many)
        trace = module.trace(inputs(17))
        (D,) = torch.autograd.grad(
            of(trace.outputs).sum(), trace.outputs, retain_graph=True
        )
        found.append(
            TaskGradients(module, "representation").compute_gramian(trace, D)[0]
        )
    torch.testing.assert_close(*found)


def test_tasks_that_do_not_fit_into_one_pass_take_turns(monkeypatch):
    module, of = network("cross_stitch")
    trace = module.trace(inputs(17))
    (D,) = torch.autograd.grad(of(trace.outputs).sum(), trace.outputs)
    gradients = TaskGradients(module, "representation")
    expected, _ = gradients.compute_gramian(trace, D)
    monkeypatch.setattr(gradients_module, "SEED_NUMBERS", 2 * D.numel() + 1)
    torch.testing.assert_close(gradients.compute_gramian(trace, D)[0], expected)


@sharers
@pytest.mark.parametrize("gradient_at", ["representation", "parameters"])
@pytest.mark.parametrize("task_weight", [(1, 1, 1, 1, 1), (1, 2, 3, 0, 1)])
def test_shared_parameters_get_weighted_gradients_and_others_their_own(
    name, gradient_at, task_weight
):
    module, of = network(name)
    factors = torch.tensor(task_weight, dtype=torch.float64)
    spec = Given(gradient_at=gradient_at)
    balance = TaskBalancer(module, spec.build(5).double(), spec, factors, False)
    torch.manual_seed(0)
    trace = module.trace(inputs(17))
    weights, _ = balance.backward(trace, of(trace.outputs), None)
    found = {name: p.grad for name, p in module.named_parameters()}
    expected = torch.tensor(WEIGHTS, dtype=torch.float64) * factors
    expected *= (factors > 0).sum() / expected.sum()
    torch.testing.assert_close(weights, expected)

    torch.manual_seed(0)
    losses = of(module(inputs(17)))
    shared = {id(p) for p in module.shared_parameters()}
    even = factors * (factors > 0).sum() / factors.sum()
    penalty = module.penalty()
    for key, parameter in module.named_parameters():
        w = weights if id(parameter) in shared else even
        total = losses @ w if penalty is None else losses @ w + penalty
        (gradient,) = torch.autograd.grad(
            total, parameter, retain_graph=True, materialize_grads=True
        )
        grad = torch.zeros_like(parameter) if found[key] is None else found[key]
        torch.testing.assert_close(grad, gradient, msg=key)


def fitted(cls=MultiTaskRegressor, weighting="equal", Y=None, **settings):
    X, complete = table()
    settings = {**SAME_STEPS, "batch_size": 20, "encoder": MLP((16, 8)), **settings}
    est = cls(weighting=weighting, **settings)
    return est.fit(X, complete if Y is None else Y)


class BatchNormed(nn.Module):
    def __init__(self, n_features):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_features, 8), nn.BatchNorm1d(8), nn.Tanh()
        )

    def forward(self, X):
        return self.layers(X)


ENCODERS = {
    "batch norm": MLP((8, 6), norm="batch"),
    "layer norm": MLP((8, 6), norm="layer"),
    "dropout": MLP((8, 6), dropout=0.2),
    "module": ModuleEncoder(BatchNormed),
}


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS.keys())
@pytest.mark.parametrize("gradient_at", ["representation", "parameters"])
@pytest.mark.parametrize("sharing", ["hard", "cgc", "mmoe", "mtan"])
@pytest.mark.sampled(5)
def test_equal_weights_of_gradients_train_as_equal_weights(
    sharing, gradient_at, encoder
):
    X, _ = table()
    settings = {"sharing": sharing, "encoder": encoder}
    est = fitted(weighting=Given((1.0, 1.0, 1.0), gradient_at), **settings)
    equal = fitted(**settings)
    np.testing.assert_allclose(est.predict(X), equal.predict(X), rtol=1e-6)


@pytest.mark.parametrize("gradient_at", ["representation", "parameters"])
@pytest.mark.parametrize("norm", ["layer", "batch"])
@pytest.mark.parametrize("sharing", ["hard", "adatt"])
def test_gradients_under_autocast(sharing, norm, gradient_at):
    encoder = MLP((8, 6), norm=norm)
    est = fitted(
        weighting=Given((1.0, 2.0, 3.0), gradient_at),
        sharing=sharing,
        encoder=encoder,
        precision="bf16",
    )
    np.testing.assert_allclose(est.task_weights_, [0.5, 1, 1.5], rtol=1e-6)
    G = est.weighting_.gramian.numpy()
    assert (np.diagonal(G) > 0).all()


def compiled(n_features):
    return torch.compile(BatchNormed(n_features), backend="aot_eager")


@pytest.mark.parametrize("gradient_at", ["representation", "parameters"])
def test_compiled_encoders(gradient_at):
    X, _ = table()
    weighting = Given((1.0, 2.0, 3.0), gradient_at)
    est = fitted(weighting=weighting, encoder=compiled)
    plain = fitted(weighting=weighting, encoder=BatchNormed)
    np.testing.assert_allclose(est.predict(X), plain.predict(X), rtol=1e-5)


def test_weights_are_recomputed_every_few_steps():
    est = fitted(weighting=Given((1.0, 2.0, 3.0), update_every=4))
    n_steps = 3 * est.n_iter_
    assert est.weighting_.n_looks == -(-n_steps // 4)
    every = fitted(weighting=Given((1.0, 2.0, 3.0)))
    X, _ = table()
    np.testing.assert_allclose(est.predict(X), every.predict(X))


def test_a_task_without_labels_has_no_gradient_and_changes_nothing_for_others():
    X, Y = table()
    absent = Y.copy()
    absent[:, 1] = np.nan
    absent[50, 1] = 1.0  # in the last batch alone
    est = fitted(weighting=Given((1.0, 2.0, 3.0)), Y=absent)
    without = fitted(weighting=Given((1.0, 3.0)), Y=Y[:, [0, 2]], max_iter=1)
    one = fitted(weighting=Given((1.0, 2.0, 3.0)), Y=absent, max_iter=1)
    # Steps 1 and 2 know nothing of the task; weights sum to the number of those here.
    np.testing.assert_allclose(
        np.array(without.history_[0]["train_weights"]), [0.5, 1.5]
    )
    weights = np.array(one.history_[0]["train_weights"])
    np.testing.assert_allclose(
        weights, (2 * np.array([0.5, 0, 1.5]) + [0.5, 1, 1.5]) / 3
    )
    assert np.isfinite(est.predict(X)).all()


@pytest.mark.parametrize("weighting", [Given((1.0, 1.0, 1.0)), Equal()], ids=str)
def test_history_holds_what_gradients_were_like(weighting):
    est = fitted(weighting=weighting, record_gradients=isinstance(weighting, Equal))
    for epoch in est.history_:
        C = np.array(epoch["train_gradient_cosines"])
        np.testing.assert_allclose(np.diagonal(C), 1, rtol=1e-6)
        np.testing.assert_allclose(C, C.T, rtol=1e-6)
        assert (np.abs(C) < 1 + 1e-9).all()
        assert (np.array(epoch["train_gradient_norms"]) > 0).all()
        np.testing.assert_allclose(epoch["train_weights"], 1)


def test_recording_gradients_changes_nothing_else():
    X, _ = table()
    est, recorded = fitted(), fitted(record_gradients=True)
    np.testing.assert_allclose(est.predict(X), recorded.predict(X), rtol=1e-10)
    assert "train_gradient_norms" not in est.history_[-1]
    assert len(est.history_[-1]["train_weights"]) == 3


def test_cosines_tell_equal_tasks_from_opposite_ones():
    _, Y = table()
    Y = np.column_stack([Y[:, 0], Y[:, 0], Y[:, 1]])
    C = np.array(
        fitted(Y=Y, record_gradients=True).history_[0]["train_gradient_cosines"]
    )
    # Heads start at zero, so that there are gradients from the second step on.
    np.testing.assert_allclose(C[0, 1], 1, rtol=1e-6)
    assert C[0, 2] < 0.9


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"sharing": "independent"}, "but they share none: it works as 'equal'"),
        ({"task_weight": [0, 1, 0]}, "but one task trains: it works as 'equal'"),
    ],
    ids=["independent", "one task"],
)
def test_nothing_to_balance_is_warned_of_once(settings, reason):
    X, _ = table()
    with pytest.warns(UserWarning, match=reason) as caught:
        est = fitted(weighting=Given((1.0, 2.0, 3.0)), **settings)
    assert len(caught) == 1
    np.testing.assert_array_equal(est.predict(X), fitted(**settings).predict(X))


class Flipped(GradientWeighting):
    """The negative sum of gradients at the features."""

    def __init__(self):
        super().__init__()

    def build(self, n_tasks):
        return _Flipped()


class _Flipped(GradientCombiningModule):
    def combine(self, gradients, present):
        return -gradients.sum(dim=0)


@sharers
def test_a_combined_gradient_goes_on_below_the_shared_features_alone(name):
    module, of = network(name)
    spec = Flipped()
    balance = TaskBalancer(module, spec.build(5), spec, torch.ones(5).double(), False)
    torch.manual_seed(0)
    trace = module.trace(inputs(17))
    balance.backward(trace, of(trace.outputs), None)
    torch.manual_seed(0)
    trace = module.trace(inputs(17))
    losses = of(trace.outputs).sum()
    if trace.shared is None:
        assert name == "adapter"
        return
    (at_features,) = torch.autograd.grad(losses, trace.shared, retain_graph=True)
    penalty = module.penalty()
    for key, parameter in module.named_parameters():
        (below,) = torch.autograd.grad(
            trace.shared,
            parameter,
            at_features,
            retain_graph=True,
            materialize_grads=True,
        )
        total = losses if penalty is None else losses + penalty
        (all_of_it,) = torch.autograd.grad(
            total, parameter, retain_graph=True, materialize_grads=True
        )
        grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(grad, all_of_it - 2 * below, msg=key)


@pytest.mark.parametrize("precision", ["float64", "bf16"])
def test_combined_gradients_train_an_estimator(precision):
    X, _Y = table()
    est = fitted(weighting=Flipped(), max_iter=3, precision=precision)
    assert np.isfinite(est.predict(X)).all()


@pytest.mark.parametrize("gradient_at", ["representation", "parameters"])
@pytest.mark.parametrize("cls", [MultiTaskClassifier, MultiTaskEstimator])
def test_other_kinds_of_tasks_with_partial_fit_and_warm_start(cls, gradient_at):
    X, Y = table()
    Y = np.column_stack([Y[:, 0] > 0, np.digitize(Y[:, 1], [-1, 1]), Y[:, 2] > 1])
    est = fitted(
        cls, Given((1.0, 2.0, 3.0), gradient_at), Y.astype(object), warm_start=True
    )
    before = est.n_iter_
    est.fit(X, Y.astype(object))
    assert est.n_iter_ > before
    np.testing.assert_allclose(est.task_weights_, [0.5, 1, 1.5], rtol=1e-6)


def test_weights_that_no_longer_fit_the_tasks_present_give_way_to_equal_ones():
    _, Y = table()
    Y[20:, :2] = np.nan  # from the second batch on, only task 2 has labels
    weighting = Given((2.0, 2.0, -1.0), update_every=3)
    est = fitted(weighting=weighting, Y=Y, max_iter=1)
    np.testing.assert_allclose(est.task_weights_, [0, 0, 1])
    weighted = fitted(weighting=Given((2.0, 2.0, -1.0)), task_weight=[1, 1, 10])
    np.testing.assert_allclose(weighted.task_weights_, [0.25, 0.25, 2.5], rtol=1e-6)


class Failing(GradientWeighting):
    """A solver that never finds weights."""

    def build(self, n_tasks):
        return _Failing()


class _Failing(GradientWeightingModule):
    def __init__(self):
        super().__init__()
        self.register_buffer("failures", torch.zeros((), dtype=torch.int64))

    def from_gramian(self, gramian, losses, present):
        self.failures += 1
        return torch.ones_like(losses)


def test_failures_of_a_solver_are_recorded_and_warned_of_once():
    with pytest.warns(UserWarning, match=r"no weights in 3 of 3 steps") as caught:
        est = fitted(weighting=Failing(), max_iter=4)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert [epoch["solver_failures"] for epoch in est.history_] == [3] * 4


def test_a_task_of_a_single_class_has_no_gradient(monkeypatch):
    X, _ = table()
    Y = np.column_stack([X[:, 0] > 0, np.zeros(len(X)), X[:, 1] > 0])
    for many in (0, 4096):
        monkeypatch.setattr(gradients_module, "MANY_OUTPUTS", many)
        est = fitted(MultiTaskClassifier, Given((1.0, 2.0, 3.0)), Y)
        np.testing.assert_allclose(est.task_weights_, [0.5, 0, 1.5])
        G = est.weighting_.gramian.numpy()
        assert (G[1] == 0).all()
        assert (G.diagonal()[[0, 2]] > 0).all()
