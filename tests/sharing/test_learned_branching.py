"""Facts of trees of layers that choose their branches."""

import numpy as np
import pytest
import torch

from skmtl import MultiTaskRegressor
from skmtl.sharing import Grouped, Hard, Independent, LearnedBranching
from tests._networks import (
    ENCODERS,
    N_FEATURES,
    REPLICABLE,
    SAME_STEPS,
    Prepared,
    inputs,
    plain_mlp,
    randomised,
    shape_of,
    table,
)
from tests.sharing import test_all as contract

T = 3
MLPS = [
    plain_mlp((8, 6)),
    plain_mlp(6, activation="tanh"),
    plain_mlp((8, 7, 6), norm="layer"),
]
mlps = pytest.mark.parametrize("encoder", MLPS, ids=str)


def built(encoder, n_branches=T, **settings):
    sharing = LearnedBranching(n_branches, **settings)
    return sharing.build(Prepared(encoder), (N_FEATURES,), T).double()


def force(choice, parents):
    """Make a choice certain."""
    with torch.no_grad():
        choice.zero_()
        choice[torch.arange(len(choice)), torch.tensor(parents)] = 100.0


@mlps
def test_predictions_follow_the_tree(encoder):
    module = randomised(built(encoder, n_branches=2), seed=3).eval()
    X = inputs(9)
    features, _ = module(X)
    tree = module.tree()
    assert len(tree) == len(module.branches.steps())
    for t in range(T):
        path = [tree[-1][t]]  # nodes from the task back to the input
        for parents in reversed(tree[:-1]):
            path.append(parents[path[-1]])
        H = X.expand(2, -1, -1)
        for step, node in zip(module.branches.steps(), reversed(path), strict=True):
            H = step(H)[node].expand(2, -1, -1)
        torch.testing.assert_close(features[:, t], H[0])


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS.keys())
def test_one_branch_is_hard_sharing(encoder):
    torch.manual_seed(0)
    hard = Hard().build(encoder, shape_of(encoder), T).double().eval()
    torch.manual_seed(0)
    sharing = LearnedBranching(n_branches=1)
    module = sharing.build(encoder, shape_of(encoder), T).double().eval()
    X = inputs(9, encoder=encoder)
    assert torch.equal(module(X)[0], hard(X)[0])
    assert [parents.any() for parents in module.tree()] == [False] * len(module.tree())
    contract.test_shared_parameters_are_those_that_autograd_finds_to_be(
        sharing, encoder
    )


@mlps
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("other", "parents"),
    [
        (Independent(), [0, 1, 2]),
        (Grouped([[0, 2], [1]]), [0, 1, 0]),
        (Grouped([[0, 1, 2]]), [0, 0, 0]),
    ],
)
def test_certain_choices_make_groups(encoder, training, other, parents):
    module = built(encoder).train(training)
    *inner, last = module.choices
    for choice in inner:
        force(choice, range(T))
    force(last, parents)
    expected, _ = other.build(Prepared(encoder), (N_FEATURES,), T).double()(inputs(9))
    if expected.ndim == 2:
        expected = expected.unsqueeze(1).expand(-1, T, -1)
    torch.testing.assert_close(module(inputs(9))[0], expected)


@pytest.mark.parametrize("n_branches", [2, 4])
def test_there_are_no_more_branches_than_tasks(n_branches):
    module = LearnedBranching(n_branches).build(plain_mlp((8, 6)), (N_FEATURES,), T)
    assert module.branches.n_copies == min(n_branches, T)
    assert [len(parents) for parents in module.tree()] == [min(n_branches, T), T]


def test_parents_are_drawn_as_their_logits_say_while_training():
    torch.manual_seed(0)
    module = built(plain_mlp(6), scale=2.0).train()
    (choice,) = module.choices
    probabilities = torch.tensor([[0.2, 0.3, 0.5], [1.0, 1e-9, 1e-9], [0.1, 0.8, 0.1]])
    with torch.no_grad():
        choice.copy_(probabilities.log() / 2)
        drawn = sum(module._choose_branches(choice) for _ in range(4000)) / 4000
        assert torch.equal(
            module.eval()._choose_branches(choice).argmax(1), choice.argmax(1)
        )
    torch.testing.assert_close(drawn, probabilities.double(), rtol=0, atol=0.03)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_gradients_go_through_the_softmax(temperature):
    torch.manual_seed(0)
    module = built(plain_mlp(6), temperature=temperature, scale=3.0).train()
    (choice,) = randomised(module, 0).choices
    torch.manual_seed(1)
    hard = module._choose_branches(choice)
    direction = torch.randn_like(hard)
    (found,) = torch.autograd.grad((hard * direction).sum(), choice)
    assert ((hard - 1).abs() < 1e-12).sum().item() == T  # one parent for each
    torch.manual_seed(1)
    noise = -(-torch.rand_like(choice).log()).log()
    soft = ((3 * choice + noise) / temperature).softmax(dim=1)
    (expected,) = torch.autograd.grad((soft * direction).sum(), choice)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("encoder", REPLICABLE.values(), ids=REPLICABLE)
@pytest.mark.parametrize("n_branches", [2, 3])
@pytest.mark.sampled(2)
def test_undecided_choices_keep_the_contract(encoder, n_branches):
    sharing = LearnedBranching(n_branches, scale=1.0)
    contract.test_shared_parameters_are_those_that_autograd_finds_to_be(
        sharing, encoder
    )
    contract.test_every_parameter_gets_a_gradient(sharing, encoder)


def test_stacked_networks_draw_their_own_trees():
    module = contract.whole_network(
        LearnedBranching(scale=0.1), plain_mlp((8, 6)), 0
    ).train()
    parameters, buffers = torch.func.stack_module_state([module] * 5)
    X = inputs(9)

    def one(parameters, buffers):
        return torch.func.functional_call(module, (parameters, buffers), (X,))

    outputs = torch.vmap(one, randomness="different")(parameters, buffers)
    assert len({tuple(out.flatten().tolist()) for out in outputs.detach()}) > 1


def test_a_fit_decides_and_learns():
    """Two pairs of tasks that have nothing in common but the input."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 6))
    A, B = np.sin(2 * X[:, :3]).sum(axis=1), np.abs(X[:, 3:]).sum(axis=1)
    Y = np.column_stack([A, B, -A, 2 * B])
    est = MultiTaskRegressor(
        "learned_branching",
        encoder=plain_mlp((32,), scale=None),
        learning_rate_init=5e-3,
        early_stopping=False,
        max_iter=200,
        random_state=0,
        n_estimators=1,
    ).fit(X[:400], Y[:400])
    module = est.module_.sharing
    (choice,) = module.choices
    assert ((module.scale * choice).softmax(dim=1).amax(dim=1) > 0.9).all()
    assert est.score(X[400:], Y[400:]) > 0.85
    X_new = torch.from_numpy(X[:5]).to(choice.dtype)
    features, _ = module.eval()(X_new)
    by_branch = module.branches(X_new)
    for t, branch in enumerate(module.tree()[0]):
        torch.testing.assert_close(features[:, t], by_branch[branch])


@pytest.mark.parametrize("n_tasks", [1, 3])
def test_one_branch_fits_as_hard_sharing(n_tasks):
    X, Y = table(n_tasks=n_tasks)
    encoder = Prepared(plain_mlp((16, 8)))
    settings = {**SAME_STEPS, "encoder": encoder}
    n_branches = 1 if n_tasks > 1 else 4  # a single task needs no more than one
    branching = MultiTaskRegressor(LearnedBranching(n_branches), **settings).fit(X, Y)
    hard = MultiTaskRegressor("hard", **settings).fit(X, Y)
    np.testing.assert_allclose(branching.predict(X), hard.predict(X))


@pytest.mark.parametrize(
    "settings",
    [{"n_branches": 0}, {"temperature": 0.0}, {"scale": -1.0}],
    ids=lambda settings: next(iter(settings)),
)
def test_bad_settings_are_refused_before_training(settings):
    X, Y = table()
    (name,) = settings
    message = f"'{name}' parameter of LearnedBranching must be"
    with pytest.raises(ValueError, match=message):
        MultiTaskRegressor(LearnedBranching(**settings), n_estimators=1).fit(X, Y)
