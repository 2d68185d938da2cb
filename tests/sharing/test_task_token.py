"""Facts of a transformer with a token for each task."""

import numpy as np
import pytest
import torch

from skmtl import MultiTaskRegressor
from skmtl.sharing import TaskToken
from tests._networks import N_FEATURES, REPLICABLE, inputs, plain_mlp, randomised, table
from tests.sharing import test_all as contract

T = 3

SPECS = {
    "unmasked": TaskToken(8, masked=False),
    "one block": TaskToken(8, n_blocks=1, n_heads=2),
    "odd groups": TaskToken(8, n_tokens=4),  # of 6 features
    "one head": TaskToken(6, n_heads=1, n_tokens=1),
}
specs = pytest.mark.parametrize("sharing", SPECS.values(), ids=SPECS)
masks = pytest.mark.parametrize("masked", [True, False])


def built(sharing, encoder=None, seed=0):
    encoder = plain_mlp((8, 6)) if encoder is None else encoder
    module = sharing.build(encoder, (N_FEATURES,), T).double()
    return randomised(module, seed)


@specs
@pytest.mark.parametrize("encoder", REPLICABLE.values(), ids=REPLICABLE)
@pytest.mark.sampled(3)
def test_every_form_keeps_the_contract(sharing, encoder):
    for check in (
        contract.test_shared_parameters_are_those_that_autograd_finds_to_be,
        contract.test_shared_features_are_what_several_tasks_depend_on,
        contract.test_every_parameter_gets_a_gradient,
        contract.test_three_stacked_networks_train_as_three_separate_ones,
    ):
        check(sharing, encoder)


@masks
@pytest.mark.parametrize("n_blocks", [1, 2, 3])
def test_a_mask_hides_the_tokens_of_other_tasks(masked, n_blocks):
    module = built(TaskToken(8, n_blocks=n_blocks, masked=masked))
    before, _ = module(inputs(5))
    with torch.no_grad():
        module.tasks[1] += 1.0
    after, _ = module(inputs(5))
    assert not torch.isclose(after[:, 1], before[:, 1]).any(dim=1).all()
    for t in (0, 2):
        assert torch.equal(after[:, t], before[:, t]) == masked


@masks
def test_one_block_attends_as_a_transformer_with_a_mask_does(masked):
    """Against attention of all tokens to all, where a mask forbids the rest."""
    module = built(TaskToken(8, n_blocks=2, n_heads=2, masked=masked))
    X = inputs(5)
    features, start = module(X)
    f = start.shape[1]
    S = torch.cat([start, module.tasks.expand(5, -1, -1)], dim=1)
    allowed = torch.ones(f + T, f + T, dtype=torch.bool)
    allowed[:f, f:] = False
    if masked:
        allowed[f:, f:] = torch.eye(T, dtype=torch.bool)
    for block in module.blocks:
        Q, K, V = block.project(block.norm(S)).unflatten(2, (3, 2, 4)).unbind(2)
        scores = torch.einsum("nqhd,nkhd->nhqk", Q, K) / 4**0.5
        A = scores.masked_fill(~allowed, -torch.inf).softmax(dim=3)
        S = S + block.merge(torch.einsum("nhqk,nkhd->nqhd", A, V).flatten(2))
        S = S + block.feed(S)
    torch.testing.assert_close(features, module.norm(S[:, f:]))


def test_with_a_token_per_column_tokens_are_those_of_the_paper():
    module = built(TaskToken(8, n_tokens=10), plain_mlp(()))
    X = inputs(5)
    _, tokens = module(X)
    W, b = module.tokens.weight[:, :, 0], module.tokens.bias
    assert W.shape == (N_FEATURES, 8)
    torch.testing.assert_close(tokens, X.unsqueeze(2) * W + b)


@pytest.mark.parametrize(
    ("width", "n_tokens", "expected"),
    [(6, 32, 6), (6, 6, 6), (6, 4, 3), (6, 1, 1), (7, 3, 3), (33, 32, 17)],
)
def test_features_are_cut_into_at_most_so_many_tokens(width, n_tokens, expected):
    module = built(TaskToken(8, n_tokens=n_tokens), plain_mlp(width))
    X = inputs(5)
    assert module(X)[1].shape == (5, expected, 8)
    # Neighbours share a token.
    size = -(-width // n_tokens)
    H = module.encoder.single(X).detach().requires_grad_()
    module.encoder.single = lambda X: H
    (gradient,) = torch.autograd.grad(module(X)[1][:, -1].sum(), H)
    used = gradient.any(dim=0).nonzero().flatten().tolist()
    assert used == list(range((expected - 1) * size, width))


def test_dropout_is_for_training():
    module = built(TaskToken(8, dropout=0.5))
    X = inputs(5)
    assert not torch.equal(module(X)[0], module(X)[0])
    module.eval()
    assert torch.equal(module(X)[0], module(X)[0])


def test_time_per_task_does_not_grow_with_their_number():
    module = TaskToken(8).build(plain_mlp(8), (N_FEATURES,), 1000)
    features, _ = module(inputs(4, dtype=torch.float32))
    features.square().sum().backward()
    assert features.shape == (4, 1000, 8)
    assert module.tasks.grad.any(dim=1).all()


def test_it_learns_with_the_default_settings():
    X, Y = table(n=300)
    est = MultiTaskRegressor(TaskToken(), random_state=0, max_iter=50, n_estimators=1)
    assert est.fit(X[:200], Y[:200]).score(X[200:], Y[200:]) > 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"token_width": 30}, r"divisible by 'n_heads'\. Got 30 and 4\.$"),
        ({"n_tokens": 0}, "'n_tokens' parameter of TaskToken must be an int"),
        ({"dropout": 1.0}, "'dropout' parameter of TaskToken must be a float"),
        ({"masked": "yes"}, "'masked' parameter of TaskToken must be"),
    ],
)
def test_bad_settings_are_refused_before_training(settings, message):
    X, Y = table()
    with pytest.raises(ValueError, match=message):
        MultiTaskRegressor(TaskToken(**settings), n_estimators=1).fit(X, np.asarray(Y))
