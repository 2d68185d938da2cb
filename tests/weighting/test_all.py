"""What every weighting promises, and a user's own."""

import copy
import pickle

import numpy as np
import pytest
import torch

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.weighting import (
    WEIGHTING,
    GradientWeighting,
    Weighting,
    WeightingModule,
)
from tests._networks import SAME_STEPS, check_spec, plain_mlp, state_of, table
from tests.weighting._helpers import normalised, some_losses, trained

#: Weightings that draw at random.
DRAWING = {"graddrop", "gradvac", "pcgrad", "rlw"}
DECIDED = [name for name in WEIGHTING if name not in DRAWING]

weightings = pytest.mark.parametrize("name", WEIGHTING)
decided_by_losses = pytest.mark.parametrize(
    "name", [n for n in DECIDED if not issubclass(WEIGHTING[n], GradientWeighting)]
)
LOSSES = torch.tensor([0.5, 2.0, 1e-3, 7.0])
ABSENT = torch.tensor([True, False, True, True])


@weightings
def test_spec_is_a_small_estimator(name):
    check_spec(WEIGHTING[name]())


@weightings
@pytest.mark.parametrize("present", [None, ABSENT], ids=["all", "one absent"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.sampled(3)
def test_weights_are_finite_and_not_negative(name, present, dtype):
    module = WEIGHTING[name]().build(4).to(dtype)
    losses = LOSSES.to(dtype)
    if present is not None:
        losses = losses * present
    for _ in range(3):
        weights = module(losses, present)
        assert weights.shape == (4,)
        assert weights.dtype == dtype
        assert weights.isfinite().all()
        assert (weights >= 0).all()
        assert weights.sum() > 0


@weightings
def test_a_weighting_that_says_it_is_fixed_is(name):
    module = WEIGHTING[name]().build(4)
    if module.fixed:
        first = module(LOSSES, None).clone()
        torch.testing.assert_close(module(10 * LOSSES.flip(0), ABSENT), first)


@weightings
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_losses_leave_weights_finite(name, dtype):
    module = WEIGHTING[name]().build(4).to(dtype)
    losses = torch.tensor([[0.0, 1.0, 1e6, 1e-30], [1e6, 0.0, 0.0, 0.0]], dtype=dtype)
    for weights in trained(module, losses.repeat(3, 1, 1)):
        assert weights.isfinite().all()
        assert (weights >= 0).all()
        assert 0 < weights.sum() < torch.inf


@decided_by_losses
def test_a_task_that_is_absent_does_not_matter_to_the_others(name):
    others = [0, 2, 3]
    losses = some_losses(epochs=4, steps=5, n_tasks=4)
    losses[..., 1] = 0
    four = trained(WEIGHTING[name]().build(4).double(), losses, ABSENT)
    three = trained(WEIGHTING[name]().build(3).double(), losses[..., others])
    for with_absent, without in zip(four, three, strict=True):
        torch.testing.assert_close(normalised(with_absent[others]), normalised(without))


@pytest.mark.parametrize("name", DECIDED)
@pytest.mark.parametrize(
    "twin_of", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))]
)
def test_copies_and_pickles_go_on_from_the_same_state(name, twin_of):
    module = WEIGHTING[name]().build(4).double()
    past, future = some_losses(epochs=6, steps=5, n_tasks=4).split(3)
    list(trained(module, past))
    twin = twin_of(module)
    state = state_of(module)
    expected = list(trained(module, future))
    for key, value in state_of(twin).items():  # what was learned since is not there
        torch.testing.assert_close(value, state[key], equal_nan=True)
    torch.testing.assert_close(list(trained(twin, future)), expected)


@weightings
def test_looking_at_losses_changes_no_state(name):
    module = WEIGHTING[name]().build(4)
    list(trained(module, some_losses(epochs=3, steps=2, n_tasks=4).float()))
    before = state_of(module)
    module(LOSSES, ABSENT)
    module.own_loss(LOSSES, ABSENT)
    torch.testing.assert_close(state_of(module), before, equal_nan=True)


@pytest.mark.parametrize("name", DECIDED)
@pytest.mark.parametrize("present", [None, ABSENT], ids=["all", "one absent"])
def test_three_stacked_modules_give_what_three_separate_ones_do(name, present):
    modules = [WEIGHTING[name]().build(4) for _ in range(3)]
    for module, past in zip(
        modules, some_losses(9, 2, 4).float().split(3), strict=True
    ):
        list(trained(module, past))
    losses = torch.stack([LOSSES, LOSSES.flip(0), LOSSES**2])
    expected = torch.stack(
        [module(own, present) for module, own in zip(modules, losses, strict=True)]
    )
    parameters, buffers = torch.func.stack_module_state(modules)

    def one(parameters, buffers, losses):
        state = (parameters, buffers)
        return torch.func.functional_call(modules[0], state, (losses, present))

    torch.testing.assert_close(torch.vmap(one)(parameters, buffers, losses), expected)


@weightings
@pytest.mark.parametrize("cls", [MultiTaskClassifier, MultiTaskRegressor])
@pytest.mark.sampled(3)
def test_training_works_and_reports_weights_that_sum_to_the_tasks(name, cls):
    X, Y = table()
    Y = Y > 0 if cls is MultiTaskClassifier else Y
    est = cls(
        weighting=name, encoder=plain_mlp((16,)), random_state=0, **FAST, n_estimators=1
    ).fit(X, Y)
    assert est.score(X, Y) > 0.8
    assert est.task_weights_.shape == (3,)
    np.testing.assert_allclose(est.task_weights_.sum(), 3)


@pytest.mark.parametrize("name", DECIDED)
def test_warm_start_goes_on_where_a_pickle_left_it(name):
    X, Y = table()
    Y[:, 1] *= np.linspace(0, 2, len(Y))  # a task unlike the others
    plain = {"optimizer": torch.optim.SGD, "encoder": plain_mlp((8,)), "batch_size": 20}
    settings = {**SAME_STEPS, **plain, "weighting": name}  # Adam would start anew
    whole = MultiTaskRegressor(**settings).fit(X, Y)
    half = MultiTaskRegressor(**{**settings, "max_iter": 5}, warm_start=True).fit(X, Y)
    half = pickle.loads(pickle.dumps(half)).fit(X, Y)
    np.testing.assert_allclose(half.task_weights_, whole.task_weights_)
    np.testing.assert_allclose(half.predict(X), whole.predict(X))
    state = state_of(half.weighting_)
    torch.testing.assert_close(state, state_of(whole.weighting_), equal_nan=True)


FAST = {"learning_rate_init": 1e-2, "max_iter": 60}


class Focus(Weighting):
    """A user's weighting, not registered: tasks weigh as their losses do."""

    def __init__(self, power=1.0):
        self.power = power

    def build(self, n_tasks):
        return _Focus(self.power)


class _Focus(WeightingModule):
    def __init__(self, power):
        super().__init__()
        self.power = power

    def forward(self, losses, present):
        return losses.detach() ** self.power


class Learned(Weighting):
    """A user's weighting with parameters, which are trained too."""

    def build(self, n_tasks):
        return _Learned(n_tasks)


class _Learned(WeightingModule):
    def __init__(self, n_tasks):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.zeros(n_tasks))

    def forward(self, losses, present):
        return self.logits.softmax(dim=0)


class Constant(Weighting):
    """A user's weighting of given weights, on any scale."""

    def __init__(self, weights=(1.0, 1.0, 1.0)):
        self.weights = weights

    def build(self, n_tasks):
        return _Constant(self.weights)


class _Constant(WeightingModule):
    def __init__(self, weights):
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights))

    def forward(self, losses, present):
        return self.weights


def fitted(weighting, Y=None, **settings):
    X, complete = table()
    Y = complete if Y is None else Y
    settings = {**SAME_STEPS, "batch_size": 20, "encoder": plain_mlp((16,)), **settings}
    return MultiTaskRegressor(weighting=weighting, **settings).fit(X, Y)


def test_a_user_s_weighting_follows_the_losses():
    est = fitted(Focus())
    weights, losses = est.task_weights_, est.history_[-1]["train_losses"]
    assert weights.max() > 1.05 > 0.95 > weights.min()
    assert np.argmax(losses) == np.argmax(weights)
    np.testing.assert_allclose(weights.sum(), 3)
    assert "Focus()" in repr(est)
    est.set_params(weighting__power=2.0)
    assert est.weighting.power == 2.0


def test_a_user_s_weighting_with_parameters_is_trained():
    est = fitted(Learned())
    np.testing.assert_allclose(est.task_weights_.sum(), 3)
    assert np.ptp(est.task_weights_) > 1e-3


@pytest.mark.parametrize("scale", [1e-3, 1.0, 3000.0])
def test_the_scale_of_weights_changes_nothing(scale):
    X, _ = table()
    equal = fitted("equal")
    est = fitted(Constant((scale, scale, scale)))
    np.testing.assert_allclose(est.predict(X), equal.predict(X), rtol=1e-5)
    np.testing.assert_allclose(est.task_weights_, 1, rtol=1e-6)


def test_constant_weights_are_task_weights():
    X, _ = table()
    by_spec = fitted(Constant((1.0, 2.0, 3.0)))
    by_parameter = fitted("equal", task_weight=[1, 2, 3])
    np.testing.assert_allclose(by_spec.predict(X), by_parameter.predict(X), rtol=1e-5)
    np.testing.assert_allclose(by_spec.task_weights_, [0.5, 1, 1.5], rtol=1e-6)


def test_a_task_absent_from_a_batch_weighs_nothing_in_it():
    _, Y = table()
    Y[40:, 1] = np.nan  # batches of 20 in order: the last has no label of task 1
    for weighting in (*WEIGHTING, Focus(), Learned(), Constant()):
        weights = fitted(weighting, Y).task_weights_
        assert weights[1] == 0
        np.testing.assert_allclose(weights.sum(), 2)
