"""What every sharing strategy promises."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV

from skmtl import MultiTaskClassifier
from skmtl.sharing import SHARING, Sharing, SharingModule
from tests._networks import (
    ENCODERS,
    MUTATING,
    RANDOM,
    REPLICABLE,
    check_spec,
    inputs,
    one_by_one,
    plain_mlp,
    randomised,
    shape_of,
    stacked,
    state_of,
    table,
    whole_network,
)
from tests._pairs import pairs

T = 3


class OddAndEven(SHARING["grouped"]):
    """Two groups, whatever the number of tasks."""

    def build(self, encoder, input_shape, n_tasks):
        tasks = range(n_tasks)
        groups = [list(tasks[i::2]) for i in range(min(2, n_tasks))]
        return SHARING["grouped"](groups).build(encoder, input_shape, n_tasks)


# A strategy with settings that change what it computes is tested with them too.
SPECS = {name: cls() for name, cls in SHARING.items()}
SPECS["additive with strength"] = SHARING["additive"](strength=0.1)
SPECS["adapter"] = SHARING["adapter"](rank=2)  # no wider than the narrowest layer here
# With the random weights given below, no choice is decided.
SPECS["dselect_k"] = SHARING["dselect_k"](gamma=8.0)
SPECS["learned_branching"] = SHARING["learned_branching"](scale=1.0)
SPECS["soft with strength"] = SHARING["soft"](strength=0.1)
SPECS["soft with trace norm"] = SHARING["soft"]("trace_norm", strength=0.1)
SPECS["sluice of orthogonal subspaces"] = SHARING["sluice"](orthogonality=0.1)
SPECS["chain of many orders"] = SHARING["chain"](order="ensemble", n_orders=3)
SPECS["task tokens unmasked"] = SHARING["task_token"](masked=False)
SPECS["groups"] = OddAndEven()
SPECS["cgc without own experts"] = SHARING["cgc"](n_own=0)
SPECS["ple without shared experts"] = SHARING["ple"](n_shared=0)

#: Strategies whose forward pass draws at random while training.
DRAWING = {"learned_branching"}

sharings = pytest.mark.parametrize("sharing", SPECS.values(), ids=SPECS.keys())


def encoders(table):
    """Parametrise over encoders."""
    return pytest.mark.parametrize("encoder", table.values(), ids=table.keys())


def built(sharing, encoder, n_tasks=T, seed=0):
    torch.manual_seed(seed)
    module = sharing.build(encoder, shape_of(encoder), n_tasks).double()
    return randomised(module, seed)


def task_features(module, X, n_tasks=T):
    features, _ = module(X)
    if features.ndim == 2:
        features = features.unsqueeze(1)
    return features.expand(-1, n_tasks, -1)


@sharings
def test_spec_is_a_small_estimator(sharing):
    check_spec(sharing)


@pairs(
    ("sharing", "encoder", "size"),
    SPECS,
    ENCODERS,
    list(itertools.product([1, 2, 5], [1, 2, 17])),
)
@pytest.mark.sampled(5)
def test_features_have_one_row_per_sample_and_one_column_per_task(
    sharing, encoder, size
):
    n_tasks, n = size
    module = built(sharing, encoder, n_tasks).eval()
    features, shared = module(inputs(n, encoder=encoder))
    assert features.shape in [(n, n_tasks, module.width), (n, module.width)]
    assert features.isfinite().all()
    assert shared is None or len(shared) == n


@sharings
@pytest.mark.parametrize("n_tasks", [1, 5])
def test_modules_tell_whether_all_tasks_read_the_same(sharing, n_tasks):
    module = built(sharing, plain_mlp((8, 6)), n_tasks)
    features, _ = module(inputs(3))
    assert module.same_features == (features.ndim == 2)


@sharings
@encoders(ENCODERS)
@pytest.mark.sampled(5)
def test_building_alone_decides_the_spec_and_nothing_else(sharing, encoder):
    before = repr(sharing), repr(encoder)
    first, second = built(sharing, encoder), built(sharing, encoder)
    assert (repr(sharing), repr(encoder)) == before
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


@sharings
@encoders(ENCODERS)
@pytest.mark.sampled(5)
def test_samples_do_not_mix_when_evaluated(sharing, encoder):
    module = built(sharing, encoder).eval()
    X = inputs(17, encoder=encoder)
    features, _ = module(X)
    for rows in ([3], [16, 0], [5, 5, 7]):
        torch.testing.assert_close(module(X[rows])[0], features[rows])


@sharings
@encoders({**REPLICABLE, **RANDOM})
@pytest.mark.sampled(5)
def test_every_parameter_gets_a_gradient(sharing, encoder):
    if not list(encoder.build(shape_of(encoder)).parameters()):
        return  # experts that are all alike leave gates without a gradient
    module = built(sharing, encoder).train()
    features = task_features(module, inputs(64, encoder=encoder))
    (features * torch.randn_like(features)).sum().backward()
    silent = [
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert not silent


@sharings
@encoders(MUTATING)
@pytest.mark.sampled(2)
def test_every_parameter_takes_part_under_batch_normalisation(sharing, encoder):
    # What a linear layer adds is taken away by the normalisation after it, so that the
    # gradient of its bias is zero but for rounding.
    module = built(sharing, encoder).train()
    features = task_features(module, inputs(64, encoder=encoder))
    (features * torch.randn_like(features)).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


@sharings
@encoders({**REPLICABLE, **MUTATING})
@pytest.mark.sampled(5)
def test_shared_parameters_are_those_that_autograd_finds_to_be(sharing, encoder):
    module = built(sharing, encoder).train()
    parameters = dict(module.named_parameters())
    if not parameters:
        assert not list(module.shared_parameters())
        return
    found = set()
    # What a strategy draws at random decides what is shared in one step.
    for _ in range(30 if sharing.name in DRAWING else 1):
        features = task_features(module, inputs(64, encoder=encoder))
        uses = dict.fromkeys(parameters, 0)
        for t in range(T):
            out = features[:, t]
            gradients = torch.autograd.grad(
                (out * torch.randn_like(out)).sum(),
                list(parameters.values()),
                retain_graph=True,
                materialize_grads=True,
            )
            for name, gradient in zip(parameters, gradients, strict=True):
                uses[name] = uses[name] + (gradient != 0).long()
        found |= {name for name, count in uses.items() if (count > 1).any()}
    declared = {id(p) for p in module.shared_parameters()}
    assert {name for name, p in parameters.items() if id(p) in declared} == found


@sharings
@encoders(REPLICABLE)
@pytest.mark.sampled(5)
def test_shared_features_are_what_several_tasks_depend_on(sharing, encoder):
    module = built(sharing, encoder)
    X = inputs(8, encoder=encoder).requires_grad_()
    features, shared = module(X)
    features = features if features.ndim == 3 else features.unsqueeze(1)
    features = features.expand(-1, T, -1)
    if shared is None:
        assert not list(module.shared_parameters())
        return
    gradients = [
        torch.autograd.grad(features[:, t].square().sum(), shared, retain_graph=True)[0]
        for t in range(T)
    ]
    assert sum(bool(gradient.any()) for gradient in gradients) > 1


@sharings
@encoders({**REPLICABLE, **RANDOM})
@pytest.mark.sampled(5)
def test_forward_changes_no_state(sharing, encoder):
    module = whole_network(sharing, encoder, seed=0).train()
    before = state_of(module)
    module(inputs(17, encoder=encoder))
    after = state_of(module)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@sharings
@encoders(MUTATING)
@pytest.mark.sampled(2)
def test_batch_normalisation_changes_its_statistics_and_so_is_exempt(sharing, encoder):
    module = whole_network(sharing, encoder, seed=0).train()
    before = state_of(module)
    module(inputs(17, encoder=encoder))
    after = state_of(module)
    changed = {n for n in before if not torch.equal(before[n], after[n])}
    assert changed
    assert all("running" in name or "num_batches" in name for name in changed)


def assert_replicates(modules, encoder):
    X = torch.stack([inputs(9, seed, encoder=encoder) for seed in range(3)])
    expected, penalties, gradients = one_by_one(modules, X)
    found, found_penalties, found_gradients = stacked(modules, X)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found_penalties, penalties)
    assert found_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(found_gradients[name], gradient, msg=name)


@sharings
@encoders(REPLICABLE)
@pytest.mark.sampled(7)
def test_three_stacked_networks_train_as_three_separate_ones(sharing, encoder):
    training = sharing.name not in DRAWING  # no two draws would be the same
    assert_replicates(
        [whole_network(sharing, encoder, seed).train(training) for seed in (1, 2, 3)],
        encoder,
    )


@sharings
@encoders({**RANDOM, **MUTATING})
@pytest.mark.sampled(5)
def test_three_stacked_networks_predict_as_three_separate_ones(sharing, encoder):
    assert_replicates(
        [whole_network(sharing, encoder, seed).eval() for seed in (1, 2, 3)],
        encoder,
    )


@sharings
def test_stacked_networks_draw_their_own_dropout(sharing):
    encoder = RANDOM["dropout"]
    module = whole_network(sharing, encoder, seed=1).train()
    X = inputs(9, encoder=encoder).expand(3, -1, -1)
    parameters, buffers = torch.func.stack_module_state([module] * 3)

    def one(parameters, buffers, X):
        return torch.func.functional_call(module, (parameters, buffers), (X,))

    outputs = torch.vmap(one, randomness="different")(parameters, buffers, X)
    assert outputs.isfinite().all()
    assert not torch.equal(outputs[0], outputs[1])


class Partnership(Sharing):
    """A user's strategy: groups of tasks share, groups do not."""

    def __init__(self, groups=(0, 0, 1)):
        self.groups = groups

    def build(self, encoder, input_shape, n_tasks):
        columns = encoder.build(input_shape, max(self.groups) + 1)
        return _Partnership(columns, self.groups)


class _Partnership(SharingModule):
    def __init__(self, columns, groups):
        super().__init__()
        self.columns = columns
        self.width = columns.width
        self.register_buffer("groups", torch.tensor(groups))

    def forward(self, X):
        H = self.columns(X).transpose(0, 1)
        return H.index_select(1, self.groups), H

    def shared_parameters(self):
        return self.columns.parameters()

    def penalty(self):
        return 1e-4 * sum(p.square().sum() for p in self.parameters())


def test_a_user_written_strategy_works_unregistered():
    X, Z = table()
    settings = {"encoder": plain_mlp((16,)), "max_iter": 60, "random_state": 0}
    est = MultiTaskClassifier(
        Partnership(), learning_rate_init=1e-2, **settings, n_estimators=1
    )
    est.fit(X, Z > 0)
    assert est.score(X, Z > 0) > 0.9
    assert repr(est.sharing) == "Partnership()"
    grid = {"sharing": ["hard", Partnership(), Partnership((0, 1, 1))]}
    search = GridSearchCV(est, grid, cv=2).fit(X, Z > 0)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    nested = GridSearchCV(est, {"sharing__groups": [(0, 0, 0), (0, 1, 2)]}, cv=2)
    assert np.isfinite(nested.fit(X, Z > 0).best_score_)


def test_a_user_written_strategy_keeps_the_contract():
    encoder = REPLICABLE["mlp"]
    kinds, n_classes = ["classification"] * 3, [2, 3, 4]
    assert_replicates(
        [whole_network(Partnership(), encoder, s, kinds, n_classes) for s in (1, 2, 3)],
        encoder,
    )
