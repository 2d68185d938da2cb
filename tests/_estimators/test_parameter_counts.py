"""The table of parameters that tasks share."""

import builtins
from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError
from torch import nn

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import Encoder, EncoderModule, ModuleEncoder
from skmtl.relation import Relation, RelationModule
from skmtl.sharing import SHARING, Hard, Sharing, SharingModule
from tests._networks import (
    ENCODERS,
    N_FEATURES,
    BatchNormed,
    Network,
    plain_mlp,
    shape_of,
    table,
)

X, Y = table(n=20)
T = 3
# Weights and biases of plain_mlp((8, 6)), and of one output for each task.
FIRST, SECOND, HEADS = 8 * N_FEATURES + 8, 6 * 8 + 6, T * (6 + 1)


def summary(sharing, encoder=None, **settings):
    est = MultiTaskRegressor(
        sharing,
        encoder=encoder or plain_mlp((8, 6)),
        **{"max_iter": 1, "n_estimators": 1} | settings,
    )
    return est.fit(X, Y).sharing_summary()


def test_hard_sharing():
    expected = pd.DataFrame(
        {
            "shared": [FIRST, SECOND, 0, FIRST + SECOND],
            "per_task": [0, 0, HEADS, HEADS],
            "total": [FIRST, SECOND, HEADS, FIRST + SECOND + HEADS],
            "separate": [T * FIRST, T * SECOND, HEADS, T * (FIRST + SECOND) + HEADS],
        },
        index=["layer 1", "layer 2", "heads", "total"],
    )
    pd.testing.assert_frame_equal(summary("hard"), expected)


def test_independent_networks_are_separate_ones():
    found = summary("independent")
    assert found["per_task"].tolist() == [
        T * FIRST,
        T * SECOND,
        HEADS,
        T * (FIRST + SECOND) + HEADS,
    ]
    assert not found["shared"].any()
    assert found["total"].tolist() == found["separate"].tolist()


def test_additive_networks_have_one_shared_beside_those_of_tasks():
    found, hard, apart = map(summary, ["additive", "hard", "independent"])
    assert found["shared"].tolist() == hard["shared"].tolist()
    assert found["per_task"].tolist() == apart["per_task"].tolist()
    assert found["separate"].tolist() == hard["separate"].tolist()


def test_heads_of_different_sizes():
    y = np.column_stack([np.arange(20) % 3, np.arange(20) % 2, Y[:, 0]])
    est = MultiTaskEstimator(encoder=plain_mlp((8, 6)), max_iter=1, n_estimators=1).fit(
        X, y
    )
    found = est.sharing_summary()
    assert found.loc["heads"].tolist() == [0, (3 + 1 + 1) * 7, 35, 35]


@pytest.mark.one_version
@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.sampled(7)
def test_sums_are_exact_for_every_strategy_and_encoder(sharing, name):
    encoder = ENCODERS[name]
    rng = np.random.default_rng(0)
    sharing = SHARING[sharing]()
    if "rank" in sharing.get_params():
        sharing.set_params(rank=2)  # no wider than the narrowest layer
    est = MultiTaskRegressor(sharing, encoder=encoder, max_iter=1, n_estimators=1)
    data = rng.normal(size=(20, *shape_of(encoder)))
    found = est.fit(data, Y).sharing_summary()
    assert found.loc["total", "total"] == sum(
        p.numel() for p in est.module_.parameters()
    )
    shared = sum(p.numel() for p in est.module_.shared_parameters())
    assert found.loc["total", "shared"] == shared
    assert (found["shared"] + found["per_task"] == found["total"]).all()
    pd.testing.assert_series_equal(
        found.iloc[:-1].sum(), found.loc["total"], check_names=False
    )
    alone = MultiTaskRegressor("hard", encoder=encoder, max_iter=1, n_estimators=1)
    alone.fit(data, Y[:, 0])
    size = sum(p.numel() for p in alone.module_.parameters())
    assert found.loc["total", "separate"] == T * size
    assert (found.dtypes == np.int64).all()


@pytest.mark.parametrize("sharing", ["hard", "additive", "independent"])
def test_a_user_s_network_is_one_layer(sharing):
    found = summary(sharing, Network)
    size = 6 * N_FEATURES + 6 + 6
    assert found.index.tolist() == ["layer 1", "heads", "total"]
    assert found.loc["layer 1", "separate"] == T * size
    shared = 0 if sharing == "independent" else size
    assert found.loc["layer 1", "shared"] == shared
    apart = 0 if sharing == "hard" else T * size
    assert found.loc["layer 1", "per_task"] == apart


def test_copies_that_cannot_be_stacked_count_too():
    found = summary("independent", ModuleEncoder(BatchNormed))
    assert found["total"].tolist() == found["separate"].tolist()


def test_an_encoder_without_parameters_has_a_layer_of_none():
    found = summary("hard", plain_mlp(()))
    assert found.loc["layer 1"].tolist() == [0, 0, 0, 0]
    heads = T * (N_FEATURES + 1)
    assert found.loc["heads"].tolist() == [0, heads, heads, heads]


class Embedding(Encoder):
    """An encoder with a parameter outside its steps."""

    def build(self, input_shape, n_copies=1):
        return _Embedding(input_shape[0], n_copies)


class _Embedding(EncoderModule):
    def __init__(self, n_inputs, n_copies):
        super().__init__()
        self.n_copies, self.width = n_copies, 5
        self.offset = nn.Parameter(torch.zeros(n_copies, n_inputs))
        self.layers = nn.ModuleList([nn.Linear(n_inputs, 5)])

    def forward(self, X):
        return super().forward(X + self.offset[:, None])


class Gated(Sharing):
    """Hard sharing with a gate per task, wider features and coupled outputs."""

    def build(self, encoder, input_shape, n_tasks):
        return _Gated(encoder.build(input_shape, 1), n_tasks)


class _Gated(SharingModule):
    def __init__(self, encoder, n_tasks):
        super().__init__()
        self.encoder = encoder
        self.gate = nn.Parameter(torch.ones(n_tasks, encoder.width))
        self.width = 2 * encoder.width

    def forward(self, X):
        H = self.encoder.single(X)
        G = H.unsqueeze(1) * self.gate
        return torch.cat([G, G], dim=2), H

    def shared_parameters(self) -> Iterable[nn.Parameter]:
        return self.encoder.parameters()

    def coupling(self, blocks):
        return nn.Linear(T, T, bias=False)


class Mixing(Relation):
    """Tasks read a mixture of all tasks' features."""

    def build(self, n_tasks, width):
        return _Mixing(n_tasks)


class _Mixing(RelationModule):
    def __init__(self, n_tasks):
        super().__init__()
        self.mixing = nn.Parameter(torch.eye(n_tasks))

    def forward(self, features):
        return torch.einsum("ts,nsw->ntw", self.mixing, features)


def test_what_strategies_add_has_rows_of_its_own():
    found = summary(Gated(), Embedding(), relation=Mixing())
    layer = 5 * N_FEATURES + 5
    rows = {
        "layer 1": (layer, 0, layer, T * layer),
        "offset": (N_FEATURES, 0, N_FEATURES, T * N_FEATURES),
        "gate": (0, T * 5, T * 5, 0),
        "relation": (T * T, 0, T * T, 0),
        "heads": (0, T * (10 + 1), T * (10 + 1), T * (5 + 1)),
        "coupling": (T * T, 0, T * T, 0),
    }
    assert {row[0]: row[1:] for row in found.iloc[:-1].itertuples(name=None)} == rows


def test_the_summary_changes_nothing():
    est = MultiTaskClassifier(Hard(), max_iter=1, random_state=0, n_estimators=1)
    est.fit(X, (Y > 0).astype(int))
    before, state = est.predict_proba(X), torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()
    est.sharing_summary()
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    np.testing.assert_array_equal(est.predict_proba(X), before)


def test_the_summary_needs_a_fitted_estimator():
    with pytest.raises(NotFittedError):
        MultiTaskRegressor(n_estimators=1).sharing_summary()


def test_without_pandas_the_error_names_the_cure(monkeypatch):
    est = MultiTaskRegressor(max_iter=1, n_estimators=1).fit(X, Y)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "pandas":
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    message = r"needs pandas: install it with `pip install 'skmtl\[pandas\]'`"
    with pytest.raises(ImportError, match=f"sharing_summary {message}"):
        est.sharing_summary()
    with pytest.raises(ImportError, match=f"predict_frame {message}"):
        est.predict_frame(X)
