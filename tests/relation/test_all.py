"""What every relation promises, and a user's own."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from torch import nn

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import MLP
from skmtl.relation import RELATION, Relation, RelationModule
from skmtl.sharing import SHARING
from skmtl.training import MembersNet
from skmtl.weighting import WEIGHTING
from tests._networks import (
    REPLICABLE,
    SAME_STEPS,
    check_spec,
    inputs,
    one_by_one,
    plain_mlp,
    stacked,
    table,
    whole_network,
)
from tests._pairs import pairs
from tests.sharing.test_all import DRAWING, SPECS


class Mixing(Relation):
    """A user's relation: tasks read each other's features, heads stay alike."""

    def __init__(self, strength=0.0):
        self.strength = strength

    def build(self, n_tasks, width):
        return _Mixing(n_tasks, self.strength)


class _Mixing(RelationModule):
    def __init__(self, n_tasks, strength):
        super().__init__()
        self.mix = nn.Parameter(torch.eye(n_tasks))
        self.strength = strength

    def forward(self, features):
        return torch.einsum("st,nth->nsh", self.mix, features)

    def penalty(self, weight, task_of_output):
        if not self.strength:
            return None
        return self.strength * (weight - weight.mean(dim=0)).square().sum()


class Identity(Relation):
    """A relation that does nothing."""

    def build(self, n_tasks, width):
        return RelationModule()


class Recorded(Relation):
    """A relation that keeps what it is called with."""

    def build(self, n_tasks, width):
        return _Recorded(n_tasks, width)


class _Recorded(RelationModule):
    def __init__(self, n_tasks, width):
        super().__init__()
        self.built = (n_tasks, width)

    def forward(self, features):
        assert features.shape[1:] == self.built
        return features

    def penalty(self, weight, task_of_output):
        assert weight.shape == (len(task_of_output), self.built[1])
        self.owners = task_of_output


class Following(Relation):
    """A relation that makes heads, draws them to what they were, and knows tasks."""

    def __init__(self, strength=0.1):
        self.strength = strength

    def for_tasks(self, tasks):
        informed = clone(self)
        informed.n_seen = [int((y >= 0).sum()) for y in tasks.labels]
        informed.names = list(tasks.names)
        return informed

    def build(self, n_tasks, width):
        return _Following(self.strength, torch.tensor(self.n_seen), width)


class _Following(RelationModule):
    def __init__(self, strength, n_seen, width):
        super().__init__()
        self.strength = strength
        self.rotation = nn.Parameter(torch.eye(width))
        self.register_buffer("n_seen", n_seen)
        self.register_buffer("n_epochs", torch.zeros(()))
        self.register_buffer("gramian", torch.zeros(len(n_seen), len(n_seen)))

    def head_weight(self, weight, task_of_output):
        return 2 * weight @ self.rotation

    def penalty(self, weight, task_of_output):
        return self.strength * (1 + self.gramian.trace()) * weight.square().sum()

    def after_epoch(self, weight, task_of_output):
        rows = torch.zeros(len(self.gramian), weight.shape[1], dtype=weight.dtype)
        rows.index_add_(0, task_of_output, weight)
        self.gramian.copy_(rows @ rows.T)
        self.n_epochs.add_(1)

    def matrix(self):
        return self.gramian


RELATIONS = {name: cls() for name, cls in RELATION.items()}
RELATIONS |= {"a user's": Mixing(0.1), "none": Identity()}
EPOCHS = {**RELATIONS, "following": Following()}
relations = pytest.mark.parametrize("relation", RELATIONS.values(), ids=RELATIONS)
sharings = pytest.mark.parametrize("sharing", SHARING)


def labels():
    X, Z = table()
    return X, np.column_stack([Z[:, 0] > 0, np.digitize(Z[:, 1], [-1, 1]), Z[:, 2] > 1])


def fitted(relation, sharing="hard", **settings):
    X, Y = labels()
    settings = {**SAME_STEPS, "encoder": plain_mlp((16,)), **settings}
    return MultiTaskClassifier(sharing, relation=relation, **settings).fit(X, Y)


@relations
def test_spec_is_a_small_estimator(relation):
    check_spec(relation)


@pytest.mark.one_version
@pairs(
    ("relation", "sharing", "encoder"),
    RELATIONS,
    {name: SPECS[name] for name in SHARING},
    REPLICABLE,
)
@pytest.mark.sampled(5)
def test_three_stacked_networks_train_as_three_separate_ones(
    relation, sharing, encoder
):
    training = sharing.name not in DRAWING  # no two draws would be the same
    modules = [
        whole_network(sharing, encoder, seed, relation=relation).train(training)
        for seed in (1, 2, 3)
    ]
    X = torch.stack([inputs(9, seed, encoder=encoder) for seed in range(3)])
    for found, expected in zip(
        stacked(modules, X), one_by_one(modules, X), strict=True
    ):
        torch.testing.assert_close(found, expected)


@pytest.mark.one_version
@pairs(
    ("relation", "sharing", "cls"),
    RELATIONS,
    list(SHARING),
    [MultiTaskClassifier, MultiTaskRegressor, MultiTaskEstimator],
)
@pytest.mark.sampled(5)
def test_training_works_with_every_sharing_and_estimator(relation, sharing, cls):
    X, Z = table()
    Y = np.column_stack([Z[:, 0] > 0, Z[:, 1] > 1, Z[:, 2] > 0]).astype(float)
    if cls is MultiTaskRegressor:
        Y = Z
    elif cls is MultiTaskEstimator:
        Y[:, 1] = Z[:, 1]
    # A transformer learns more slowly.
    rate, epochs = (1e-2, 60) if sharing == "task_token" else (3e-2, 20)
    est = cls(
        sharing,
        relation=relation,
        encoder=plain_mlp((16,)),
        learning_rate_init=rate,
        max_iter=epochs,
        random_state=0,
        n_estimators=1,
    ).fit(X, Y)
    assert est.score(X, Y) > 0.8
    np.testing.assert_allclose(est.predict(X[:1]), est.predict(X)[:1])


@pytest.mark.parametrize("n_estimators", [1, 2])
@pytest.mark.parametrize("relation", RELATION)
def test_tasks_of_one_class_have_nothing_to_relate(relation, n_estimators):
    X, _ = table()
    est = MultiTaskClassifier(relation=relation, n_estimators=n_estimators, max_iter=1)
    proba = est.fit(X, np.zeros((len(X), 2))).predict_proba(X)
    np.testing.assert_array_equal(proba, np.ones((2, len(X), 1)))


@sharings
def test_a_relation_that_does_nothing_changes_nothing(sharing):
    X, _ = labels()
    plain, related = fitted(None, sharing), fitted(Identity(), sharing)
    for found, expected in zip(
        related.predict_proba(X), plain.predict_proba(X), strict=True
    ):
        np.testing.assert_allclose(found, expected)


def test_a_relation_s_parameters_are_trained():
    mix = fitted(Mixing()).module_.relation.mix.detach()
    off_diagonal = mix - torch.diag(mix.diag())
    assert off_diagonal.abs().max() > 1e-2


def test_a_relation_s_penalty_is_obeyed():
    def spread(est):
        weight = est.module_.heads.weight.detach()
        return float((weight - weight.mean(dim=0)).norm())

    settings = {"max_iter": 60}
    free, tied = (fitted(Mixing(s), **settings) for s in (0.0, 10.0))
    assert spread(tied) < 0.1 * spread(free)


@sharings
def test_a_relation_sees_every_task_s_features_and_heads(sharing):
    est = fitted(Recorded(), sharing)
    blocks = est.module_.heads.blocks
    expected = [
        t
        for b in blocks
        for t, n in zip(b.tasks, b.sizes, strict=True)
        for _ in range(n)
    ]
    assert est.module_.relation.owners.tolist() == expected


@pytest.mark.one_version
@pytest.mark.parametrize("relation", EPOCHS.values(), ids=EPOCHS)
@pytest.mark.parametrize("sharing", ["hard", "additive"])
@pytest.mark.sampled(3)
def test_stacked_members_train_as_members_in_turns(monkeypatch, relation, sharing):
    X, Y = labels()
    settings = {"encoder": plain_mlp((8,)), "n_estimators": 3, "precision": "float64"}
    settings |= {"max_iter": 12, "n_iter_no_change": 2, "learning_rate_init": 0.05}
    est = MultiTaskClassifier(sharing, relation=relation, random_state=0, **settings)
    stacked = clone(est).fit(X, Y)
    assert stacked.net_.stacked
    with monkeypatch.context() as patch:
        patch.setattr(MembersNet, "_may_stack", lambda self: False)
        turns = clone(est).fit(X, Y)
    assert stacked.n_iter_ == turns.n_iter_
    np.testing.assert_allclose(stacked.loss_curve_, turns.loss_curve_, rtol=1e-6)
    if hasattr(stacked, "relation_"):
        matrices = stacked.relation_, turns.relation_
        np.testing.assert_allclose(*matrices, rtol=1e-6, atol=1e-9)
    for p, q in zip(stacked.predict_proba(X), turns.predict_proba(X), strict=True):
        np.testing.assert_allclose(p, q, atol=1e-7)


def test_a_relation_sees_labels_and_epochs():
    X, Y = labels()
    Y = pd.DataFrame(Y, columns=["a", "b", "c"]).astype(float)
    Y.loc[:9, "b"] = np.nan
    est = MultiTaskClassifier(
        relation=Following(),
        encoder=plain_mlp((8,)),
        early_stopping=False,
        max_iter=5,
        random_state=0,
        n_estimators=1,
    ).fit(X, Y)
    relation = est.module_.relation
    assert relation.n_seen.tolist() == [len(X), len(X) - 10, len(X)]
    assert int(relation.n_epochs) == est.n_iter_ == 5
    assert est.relation_.index.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(np.diag(est.relation_), relation.gramian.diag())
    weight = 2 * est.module_.heads.weight @ relation.rotation
    rows = torch.zeros(3, 8, dtype=weight.dtype)
    rows.index_add_(0, est.module_.heads.task_of_output, weight)
    torch.testing.assert_close(relation.gramian, rows @ rows.T)
    with torch.no_grad():
        H, _ = est.module_.sharing(est.module_.apply_inputs(torch.from_numpy(X)))
        Z = H @ weight.T + est.module_.heads.bias + est.module_.heads.prior
        torch.testing.assert_close(est.module_(torch.from_numpy(X)), Z)


def test_heads_that_a_relation_makes_are_shared_parameters():
    module = fitted(Following()).module_
    assert any(p is module.heads.weight for p in module.shared_parameters())


@pytest.mark.parametrize("weighting", ["upgrad", "pcgrad", "gradnorm"])
@pytest.mark.parametrize("gradient_at", ["representation", "parameters"])
def test_gradients_are_balanced_under_every_kind_of_relation(weighting, gradient_at):
    weighting = WEIGHTING[weighting](gradient_at=gradient_at)
    for relation in (Mixing(0.1), Following()):
        est = fitted(relation, weighting=weighting, max_iter=20)
        assert np.isfinite(est.loss_curve_).all()
        assert est.loss_curve_[-1] < est.loss_curve_[0]


def test_what_no_relation_tells_is_no_attribute():
    with pytest.raises(AttributeError, match="relation_ needs a relation that tells"):
        fitted(Identity()).relation_  # noqa: B018


def test_relations_compete_in_a_search():
    X, Y = labels()
    est = MultiTaskClassifier(
        encoder=plain_mlp((16,)), max_iter=3, random_state=0, n_estimators=1
    )
    grid = [
        {"relation": [None, Identity()]},
        {"relation": [Mixing()], "relation__strength": [0.0, 0.1]},
    ]
    search = GridSearchCV(est, grid, cv=KFold(2)).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("bad", ["no relation", 3, MLP()], ids=str)
def test_what_is_no_relation_is_refused(bad):
    with pytest.raises(ValueError, match="'relation' parameter of MultiTaskClassifier"):
        fitted(bad)
