"""Facts of multi-gate mixtures of experts."""

import numpy as np
import pytest
import torch

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.exceptions import GateCollapseWarning
from skmtl.sharing import Hard, MMoE
from skmtl.sharing._mmoe import _MMoE
from tests._networks import (
    ENCODERS,
    N_FEATURES,
    SAME_STEPS,
    Prepared,
    inputs,
    plain_mlp,
    randomised,
    shape_of,
    table,
)

T = 3


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS.keys())
def test_one_expert_is_hard_sharing(encoder):
    torch.manual_seed(0)
    mmoe = MMoE(1).build(Prepared(encoder), shape_of(encoder), T).double().eval()
    torch.manual_seed(0)
    hard = Hard().build(Prepared(encoder), shape_of(encoder), T).double().eval()
    X = inputs(9, encoder=encoder)
    expected = hard(X)[0].unsqueeze(1).expand(-1, T, -1)
    torch.testing.assert_close(mmoe(X)[0], expected)
    assert torch.equal(mmoe.gates(X), torch.ones(9, T, 1).double())


def test_one_expert_learns_what_hard_sharing_learns():
    X, Y = table()
    encoder = Prepared(plain_mlp((16, 8)))
    fits = [
        MultiTaskRegressor(sharing, encoder=encoder, **SAME_STEPS).fit(X, Y)
        for sharing in (MMoE(1), "hard")
    ]
    np.testing.assert_allclose(*(est.predict(X) for est in fits))


def test_features_are_the_experts_mixed_by_a_softmax_gate_per_task():
    module = MMoE(4).build(Prepared(plain_mlp((8, 6))), (N_FEATURES,), T).double()
    randomised(module.gate, 1)
    X = inputs(9)
    experts = module.experts(X)
    W, b = module.gate.weight, module.gate.bias
    for t in range(T):
        gate = (X @ W[t].T + b[t]).softmax(dim=1)
        expected = sum(gate[:, e, None] * experts[e] for e in range(4))
        torch.testing.assert_close(module(X)[0][:, t], expected)
        torch.testing.assert_close(module.gates(X)[:, t], gate)


def test_with_one_task_nothing_is_shared():
    module = MMoE().build(plain_mlp((8, 6)), (N_FEATURES,), 1)
    assert module(inputs(3, dtype=torch.float32))[1] is None
    assert not list(module.shared_parameters())


def test_tasks_of_two_kinds_read_different_experts():
    """Gates tell apart what hard sharing must mix, and usage shows it."""
    X, Z = table(n=200, n_tasks=4)
    est = MultiTaskRegressor(
        "mmoe", encoder=plain_mlp((16,)), random_state=0, n_estimators=1
    ).fit(X, Z)
    usage = est.net_.module_.gate_usage(X)
    assert usage.shape == (4, 4)
    np.testing.assert_allclose(usage.sum(axis=1), 1)
    assert np.ptp(usage, axis=0).max() > 0.05


def test_five_hundred_tasks_take_one_product():
    module = MMoE().build(plain_mlp((16,)), (N_FEATURES,), 512)
    X = inputs(50, dtype=torch.float32)
    assert module(X)[0].shape == (50, 512, 16)
    assert len(list(module.parameters())) == 4


@pytest.mark.parametrize("n_experts", [0, 1.5, "four"])
def test_a_bad_number_of_experts_is_refused(n_experts):
    X, Y = table()
    with pytest.raises(ValueError, match="'n_experts' parameter of MMoE"):
        MultiTaskRegressor(MMoE(n_experts), n_estimators=1).fit(X, Y)


# ------------------------------------------------------------------------- collapse


class Collapsing(MMoE):
    """A user's strategy some of whose gates prefer expert 0 beyond recall."""

    def __init__(self, n_experts=4, n_collapsed=1, bias=30.0):
        super().__init__(n_experts)
        self.n_collapsed = n_collapsed
        self.bias = bias

    def build(self, encoder, input_shape, n_tasks):
        module = super().build(encoder, input_shape, n_tasks)
        with torch.no_grad():
            module.gate.bias[: self.n_collapsed, 0] += self.bias
        return module


def collapsing(sharing, n_tasks=3, method="fit", **parameters):
    X, Z = table(n_tasks=n_tasks)
    est = MultiTaskClassifier(
        sharing, max_iter=3, random_state=0, **parameters, n_estimators=1
    )
    Y = (Z > 0).astype(int)
    if method == "partial_fit":
        return est.partial_fit(X, Y, classes=[[0, 1]] * n_tasks)
    return est.fit(X, Y)


def test_a_collapsed_gate_warns_once_and_by_name():
    with pytest.warns(GateCollapseWarning) as caught:
        collapsing(Collapsing())
    (warning,) = caught
    assert warning.filename == __file__
    assert str(warning.message).startswith(
        "The gates of Collapsing have collapsed onto one expert for 'task0':"
    )


@pytest.mark.parametrize(
    ("n", "listed"),
    [
        (2, "for 'task0', 'task1':"),
        (3, "for 'task0', 'task1', 'task2':"),
        (6, "for 'task0', 'task1', 'task2' and 3 more:"),
    ],
)
def test_a_few_tasks_are_named(n, listed):
    with pytest.warns(GateCollapseWarning, match=listed) as caught:
        collapsing(Collapsing(n_collapsed=n), n_tasks=7)
    assert len(caught) == 1


def test_gates_that_are_only_uneven_do_not_warn():
    est = collapsing(Collapsing(bias=3.0))
    X, _ = table()
    assert 0.7 < est.net_.module_.gate_usage(X)[0].max() < 0.99


def test_partial_fit_does_not_warn_at_every_pass():
    collapsing(Collapsing(), method="partial_fit")


def test_the_warning_looks_at_the_weights_that_are_kept():
    with pytest.warns(GateCollapseWarning) as caught:
        est = collapsing(Collapsing(), early_stopping=True)
    assert len(caught) == 1
    assert est.net_.module_.gate_usage(table()[0])[0, 0] > 0.99


def test_strategies_without_gates_are_not_asked(monkeypatch):
    from skmtl.training import TrainingRows

    def read(self, rows):
        raise AssertionError("a row was read for the warning")

    monkeypatch.setattr(TrainingRows, "__getitem__", read)
    collapsing("hard")
    with pytest.raises(AssertionError, match="row was read"):
        collapsing("mmoe")


def test_at_most_1024_rows_are_looked_at(monkeypatch):
    seen = []
    collapsed = _MMoE.find_collapsed

    def watched(self, X):
        seen.append(len(X))
        return collapsed(self, X)

    monkeypatch.setattr(_MMoE, "find_collapsed", watched)
    X, Y = table(n=3000)
    MultiTaskRegressor("mmoe", encoder=plain_mlp((4,)), max_iter=1, n_estimators=1).fit(
        X, Y
    )
    (n,) = seen
    assert 512 <= n <= 1024
