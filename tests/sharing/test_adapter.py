"""Facts of low-rank adapters: shared weights plus a small matrix per task."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.encoder import ModuleEncoder
from skmtl.sharing import Adapter, Hard
from tests._networks import (
    ENCODERS,
    N_FEATURES,
    SAME_STEPS,
    BatchNormed,
    Prepared,
    inputs,
    plain_mlp,
    randomised,
    table,
)
from tests.sharing import test_all as contract
from tests.sharing._helpers import IMAGE_SHAPE, Convolutions, Frozen

T = 3


class Plain(nn.Sequential):
    """A user's network that can be stacked."""

    def __init__(self):
        super().__init__(nn.Linear(N_FEATURES, 6), nn.Tanh(), nn.Linear(6, 5))


class Branching(Plain):
    """One that cannot: it decides in Python."""

    def forward(self, X):
        H = super().forward(X)
        return H if H.sum() > 0 else H.abs()


class Tied(nn.Module):
    """Two layers of the same weights."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(N_FEATURES, N_FEATURES)
        self.second = nn.Linear(N_FEATURES, N_FEATURES)
        self.second.weight = self.first.weight

    def forward(self, X):
        return self.second(self.first(X).tanh())


class Tokens(nn.Module):
    """Looks up one column, and adds a vector that looks like a matrix."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(3, 6)
        self.token = nn.Parameter(torch.randn(1, 6))
        self.layer = nn.Linear(6, 5)

    def forward(self, X):
        codes = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()
        return self.layer(self.embedding(codes) + self.token)


MODULES = [ModuleEncoder(cls) for cls in (Plain, Branching, Tied, Tokens)]
NETWORKS = [
    plain_mlp((8, 6)),
    plain_mlp((8, 6), norm="batch"),
    *MODULES,
    Convolutions(),
]


def shape_of(encoder):
    return IMAGE_SHAPE if isinstance(encoder, Convolutions) else (N_FEATURES,)


def built(encoder, rank=2, n_tasks=T):
    return Adapter(rank).build(encoder, shape_of(encoder), n_tasks).double().eval()


def one_task(module, encoder, t):
    """Return the weights of a task's network, W + B A, under one copy's names."""
    network = encoder.build(shape_of(encoder), 1).double().eval()
    weights = [W.detach().clone() for W in module.shared]
    for i, A, B in zip(module.adapted, module.A, module.B, strict=True):
        weights[i] += (B[t] @ A[t]).detach().reshape(weights[i].shape)
    named = {
        name: W.reshape(old.shape)
        for (name, old), W in zip(network.named_parameters(), weights, strict=True)
    }
    return network, named


@pytest.mark.parametrize("encoder", NETWORKS, ids=str)
def test_each_task_adds_a_low_rank_matrix_to_the_shared_weights(encoder):
    module = randomised(built(encoder), 0)
    X = inputs(9, encoder=encoder)
    features, _ = module(X)
    for t in range(T):
        network, named = one_task(module, encoder, t)
        expected = functional_call(network, named, (X,))[0]
        torch.testing.assert_close(features[:, t], expected)


@pytest.mark.parametrize("encoder", NETWORKS, ids=str)
def test_tasks_start_as_one(encoder):
    features, _ = built(encoder)(inputs(9, encoder=encoder))
    torch.testing.assert_close(features, features[:, :1].expand_as(features))


@pytest.mark.parametrize("norm", [None, "layer", "batch"])
@pytest.mark.parametrize(
    "sharing", [Adapter(0), Frozen(Adapter(2), frozen="B.")], ids=["rank 0", "frozen"]
)
def test_without_what_sets_tasks_apart_it_is_hard_sharing(sharing, norm):
    X, Y = table()
    settings = {**SAME_STEPS, "encoder": Prepared(plain_mlp((16, 8), norm=norm))}
    hard = MultiTaskRegressor("hard", **settings).fit(X, Y)
    adapted = MultiTaskRegressor(sharing, **settings).fit(X, Y)
    np.testing.assert_allclose(adapted.loss_curve_, hard.loss_curve_)
    np.testing.assert_allclose(adapted.predict(X), hard.predict(X))


@pytest.mark.parametrize(
    ("encoder", "n_tasks"),
    [(plain_mlp((8, 6)), 1), (plain_mlp(()), T), (ENCODERS["module"], 1)],
)
def test_where_nothing_can_be_adapted_it_is_hard_sharing(encoder, n_tasks):
    assert type(built(encoder, n_tasks=n_tasks)) is type(
        Hard().build(encoder, (N_FEATURES,), n_tasks)
    )


@pytest.mark.parametrize(
    ("encoder", "sizes"),
    [
        (plain_mlp((8, 6)), [(8, 4), (6, 8)]),
        (plain_mlp((8, 6), norm="layer"), [(8, 4), (6, 8)]),
        (ModuleEncoder(Plain), [(6, 4), (5, 6)]),
        (ModuleEncoder(BatchNormed), [(6, 4)]),
        (ModuleEncoder(Tied), [(4, 4)]),
        (ModuleEncoder(Tokens), [(5, 6)]),
        (Convolutions(), [(4, 2 * 9), (5, 4 * 9)]),
    ],
    ids=str,
)
@pytest.mark.parametrize("rank", [1, 3])
def test_number_of_parameters_is_what_the_formula_says(encoder, sizes, rank):
    def count(module):
        return sum(p.numel() for p in module.parameters())

    shared = count(encoder.build(shape_of(encoder), 1))
    added = T * rank * sum(n_outputs + n_inputs for n_outputs, n_inputs in sizes)
    assert count(built(encoder, rank)) == shared + added


@pytest.mark.parametrize(
    "encoder", [plain_mlp((8, 6), norm="batch"), ModuleEncoder(BatchNormed)], ids=str
)
def test_each_task_has_its_own_batch_statistics(encoder):
    module = randomised(built(encoder), 0).train()
    before = {name: value.clone() for name, value in module.named_buffers()}
    module(inputs(17))
    means = [n for n in before if n.endswith("running_mean")]
    assert means
    assert all(not torch.equal(module.get_buffer(n), before[n]) for n in means)
    for _ in range(200):
        train, _ = module(inputs(17))
    evaluated, _ = module.eval()(inputs(17))
    # Variances are unbiased where they are kept and biased where they normalise.
    torch.testing.assert_close(evaluated, train, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("encoder", [*MODULES[:1], *MODULES[2:], Convolutions()])
def test_networks_of_other_kinds_keep_the_contract(encoder):
    spec = Adapter(2)
    if isinstance(encoder, Convolutions):
        contract.test_every_parameter_gets_a_gradient(spec, encoder)
        contract.test_three_stacked_networks_train_as_three_separate_ones(spec, encoder)
    contract.test_shared_parameters_are_those_that_autograd_finds_to_be(spec, encoder)


def test_many_tasks_are_adapted_at_once():
    module = built(plain_mlp((16, 8)), n_tasks=512)
    module(inputs(8))[0].sum().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters())


def test_opposite_tasks_learn_what_one_encoder_without_room_cannot():
    """One feature per layer serves one task; adapters give each its own."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    Y = np.abs(X)
    settings = {
        "encoder": plain_mlp((6, 2), activation="tanh"),
        "n_estimators": 1,
        "learning_rate_init": 1e-2,
        "max_iter": 100,
        "early_stopping": False,
        "random_state": 0,
    }
    hard, adapted = (
        MultiTaskRegressor(sharing, **settings).fit(X, Y).score(X, Y)
        for sharing in ("hard", Adapter(2))
    )
    assert adapted > hard + 0.2


@pytest.mark.parametrize("rank", [-1, 1.5, "full"])
def test_a_bad_rank_is_refused_before_training(rank):
    X, Z = table()
    est = MultiTaskClassifier(Adapter(rank), n_estimators=1)
    with pytest.raises(ValueError, match="'rank' parameter of Adapter"):
        est.fit(X, Z > 0)


def test_a_rank_above_a_layer_s_width_is_refused_before_training():
    X, Z = table()
    est = MultiTaskClassifier(Adapter(7), encoder=plain_mlp((8, 6)), n_estimators=1)
    with pytest.raises(ValueError, match=r"must be at most 6.*narrowest.* Got 7\."):
        est.fit(X, Z > 0)
