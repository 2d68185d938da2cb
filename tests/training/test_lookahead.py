"""What looks ahead say is what steps on single tasks do."""

import copy

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch import nn

from skmtl import MultiTaskClassifier, MultiTaskEstimator
from skmtl.encoder import ModuleEncoder
from skmtl.sharing import CGC, Grouped
from skmtl.training import Lookahead
from tests._networks import SAME_STEPS, plain_mlp, table

SETTINGS = {
    **SAME_STEPS,
    "encoder": plain_mlp((8, 6)),
    "batch_size": 20,
    "max_iter": 4,
    "n_estimators": 1,
}
T = 4


class Recorder(Callback):
    """Keeps networks and batches as they are before each step."""

    def __init__(self):
        self.seen = []

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        self.criterion = net.criterion_
        if training:
            rate = net.optimizer_.param_groups[0]["lr"]
            self.seen.append((copy.deepcopy(net.module_), batch.packed, rate))


def tasks():
    """Return inputs and labels of all kinds, some of which are missing."""
    X, Z = table(n_tasks=T)
    classes = np.digitize(Z[:, 2], [-1, 1])
    Y = np.column_stack([Z[:, 0], Z[:, 1] > 0, classes, Z[:, 3] > 0]).astype(float)
    Y[:30:2, 0] = Y[:20, 1] = Y[40:, 2] = np.nan
    return X, Y


def fitted(callbacks, sharing="hard", Y=None, **settings):
    X, labels = tasks()
    types = ["regression", *["classification"] * 3]
    settings = {**SETTINGS, "task_types": types, "callbacks": callbacks, **settings}
    est = MultiTaskEstimator(sharing, **settings)
    return est.fit(X, labels if Y is None else Y)


def by_hand(recorder, turns, step_size):
    """Return affinities from copies of networks, one task after the other."""
    before, after = np.zeros((T, T)), np.zeros((T, T))
    for (module, (X, y), rate), sources in zip(recorder.seen, turns, strict=True):
        losses, counts = recorder.criterion(module.eval()(X), y)
        present = np.full(T, True) if counts is None else (counts > 0).numpy()
        for i in sources:
            shared = list(module.shared_parameters())
            gradients = torch.autograd.grad(
                losses[i], shared, retain_graph=True, materialize_grads=True
            )
            square = sum(g.square().sum() for g in gradients)
            if square == 0:  # no labels, or heads are at zero
                continue
            step = rate if step_size is None else step_size * losses[i] / square
            moved = copy.deepcopy(module)
            with torch.no_grad():
                for p, g in zip(moved.shared_parameters(), gradients, strict=True):
                    p.sub_(step * g)
                new, _ = recorder.criterion(moved(X), y)
            before[i, present] += losses.detach().numpy()[present]
            after[i, present] += new.numpy()[present]
    return 1 - after / before


STRATEGIES = {
    "hard": "hard",
    "groups": Grouped([[0, 2], [1, 3]]),
    "experts": "mmoe",
    "own_experts": CGC(n_own=1),
    "stitches": "cross_stitch",
    "chain": "chain",
}


@pytest.mark.parametrize("step_size", [0.01, None])
@pytest.mark.parametrize("sharing", STRATEGIES.values(), ids=STRATEGIES.keys())
@pytest.mark.sampled(3)
def test_looks_are_what_steps_on_single_tasks_do(sharing, step_size):
    recorder, look = Recorder(), Lookahead(1, step_size)
    fitted([recorder, look], sharing)
    expected = by_hand(recorder, [range(T)] * len(recorder.seen), step_size)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(look.affinity(), expected, rtol=1e-6, atol=1e-12)


def test_looks_are_at_one_of_so_many_batches():
    recorder, look = Recorder(), Lookahead(2)
    fitted([recorder, look])
    turns = [range(T) if i % 2 else () for i in range(len(recorder.seen))]
    np.testing.assert_allclose(look.affinity(), by_hand(recorder, turns, 0.01))


@pytest.mark.parametrize(("batch_size", "every"), [(60, 1), (20, 1), (10, 2), (6, 4)])
def test_about_three_batches_of_an_epoch_are_looked_at(batch_size, every):
    look = Lookahead()
    fitted([look], batch_size=batch_size)
    assert look.every_ == every
    assert look.n_looks_ == look.n_batches_ // every


def test_more_tasks_are_looked_at_more_often(monkeypatch):
    monkeypatch.setattr("skmtl.training._lookahead.TASKS_PER_LOOK", 0.4)
    look = Lookahead()
    fitted([look], batch_size=5)  # 12 batches an epoch, 10 looks
    assert look.every_ == 2


def test_many_tasks_take_turns(monkeypatch):
    monkeypatch.setattr("skmtl.training._lookahead.AT_ONCE", 3)
    recorder, look = Recorder(), Lookahead(1)
    fitted([recorder, look])
    turns = [[(3 * s + k) % T for k in range(3)] for s, _ in enumerate(recorder.seen)]
    np.testing.assert_allclose(look.affinity(), by_hand(recorder, turns, 0.01))


class Undecided(nn.Module):
    """A user's network that torch.vmap cannot run on many weights."""

    def __init__(self, n_features):
        super().__init__()
        self.layer = nn.Linear(n_features, 6)

    def forward(self, X):
        return self.layer(X) if self.layer.weight.sum() > -1e9 else X


class Attention(nn.Module):
    """A user's network with an operation that torch.vmap can only loop over."""

    def __init__(self, n_features):
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(n_features, 4))
        self.layer = nn.TransformerEncoderLayer(4, 2, 4, batch_first=True)

    def forward(self, X):
        return self.layer(X[:, :, None] * self.embedding).mean(dim=1)


@pytest.mark.parametrize("network", [Undecided, Attention])
def test_networks_that_cannot_be_run_at_once_are_run_one_by_one(network):
    recorder, look = Recorder(), Lookahead(1)
    fitted([recorder, look], encoder=ModuleEncoder(network))
    assert not look._batched
    expected = by_hand(recorder, [range(T)] * len(recorder.seen), 0.01)
    np.testing.assert_allclose(look.affinity(), expected)


@pytest.mark.parametrize(
    "encoder", [plain_mlp((8,), dropout=0.5), plain_mlp((8,), norm="batch")]
)
def test_training_is_the_same_as_without_looks(encoder):
    X, _ = tasks()
    settings = {"encoder": encoder, "shuffle": True, "n_estimators": 1}
    plain, watched = fitted([], **settings), fitted([Lookahead(2)], **settings)
    assert watched.loss_curve_ == plain.loss_curve_
    np.testing.assert_array_equal(watched._forward(X), plain._forward(X))


def test_a_step_takes_its_share_of_a_linear_loss():
    look = Lookahead(1, step_size=1e-6)
    fitted([look])
    np.testing.assert_allclose(np.diag(look.affinity()), 1e-6, rtol=1e-3)


def binary(columns, looks):
    X, Z = table(n_tasks=2)
    labels = (Z > 0).astype(int)
    labels = np.column_stack([columns(labels[:, 0]), labels[:, 1]])
    est = MultiTaskClassifier(callbacks=[*looks[:-1], looks[-1]], **SETTINGS)
    est.fit(X, labels)
    return looks[-1].affinity()


def test_a_task_helps_its_copy_as_much_as_itself():
    A = binary(lambda y: np.column_stack([y, y]), [Lookahead(1)])
    np.testing.assert_allclose(A[:2, :2], A[0, 0])
    assert A[0, 0] > 0
    assert abs(A[:2, 2]).max() < A[0, 0]


def test_a_task_helps_one_with_opposite_labels_as_much():
    # Its head reads the same features with the opposite sign.
    same = binary(lambda y: np.column_stack([y, y]), [Lookahead(1)])
    opposite = binary(lambda y: np.column_stack([y, 1 - y]), [Lookahead(1)])
    np.testing.assert_allclose(opposite, same)


class SameHeads(Callback):
    """Gives the second task the head of the first."""

    def on_batch_begin(self, net, **kwargs):
        heads = net.module_.heads
        with torch.no_grad():
            heads.weight[1], heads.bias[1] = heads.weight[0], heads.bias[0]


def test_tasks_that_need_opposite_features_harm_each_other():
    A = binary(lambda y: np.column_stack([y, 1 - y]), [SameHeads(), Lookahead(1)])
    assert A[0, 1] < -A[0, 0] / 2
    assert A[1, 0] < -A[1, 1] / 2


def test_tasks_that_never_share_a_batch_are_unknown_to_each_other():
    _, Y = tasks()
    Y[:20, 0] = Y[20:, 3] = np.nan
    look = Lookahead(1)
    fitted([look], Y=Y)
    unknown = np.zeros((T, T), dtype=bool)
    unknown[0, 3] = unknown[3, 0] = True
    unknown[1, 3] = unknown[3, 1] = True  # as tasks() has it
    np.testing.assert_array_equal(np.isnan(look.affinity()), unknown)


def test_tasks_that_do_not_train_are_unknown():
    _, Y = tasks()
    Y[:, 3] = 1
    look = Lookahead(1)
    fitted([look], Y=Y, task_weight=[1, 1, 0, 1])
    known = np.array([True, True, False, False])
    np.testing.assert_array_equal(~np.isnan(look.affinity()), np.outer(known, known))


def test_autocast_does_not_blur_looks():
    exact, blurred = Lookahead(1), Lookahead(1)
    fitted([exact], precision="float32", learning_rate_init=1e-9)
    fitted([blurred], precision="bf16", learning_rate_init=1e-9)
    np.testing.assert_allclose(blurred.affinity(), exact.affinity(), rtol=0.05)


@pytest.mark.parametrize("sharing", ["independent", "soft"])
def test_tasks_that_share_nothing_cannot_be_looked_at(sharing):
    with pytest.raises(ValueError, match="parameters that several tasks share"):
        fitted([Lookahead(1)], sharing)
