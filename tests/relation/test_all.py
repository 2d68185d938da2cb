"""What every relation promises, and a user's own."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV, KFold
from torch import nn

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import MLP
from skmtl.relation import RELATION, Relation, RelationModule
from skmtl.sharing import SHARING
from tests._networks import (
    REPLICABLE,
    SAME_STEPS,
    check_spec,
    inputs,
    one_by_one,
    stacked,
    strategy_files,
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


RELATIONS = {name: cls() for name, cls in RELATION.items()}
RELATIONS |= {"a user's": Mixing(0.1), "none": Identity()}
relations = pytest.mark.parametrize("relation", RELATIONS.values(), ids=RELATIONS)
sharings = pytest.mark.parametrize("sharing", SHARING)


def labels():
    X, Z = table()
    return X, np.column_stack([Z[:, 0] > 0, np.digitize(Z[:, 1], [-1, 1]), Z[:, 2] > 1])


def fitted(relation, sharing="hard", **settings):
    X, Y = labels()
    settings = {**SAME_STEPS, "encoder": MLP((16,)), **settings}
    return MultiTaskClassifier(sharing, relation=relation, **settings).fit(X, Y)


def test_every_file_is_one_registered_relation_of_that_name():
    assert strategy_files("skmtl.relation") == set(RELATION)
    for name, cls in RELATION.items():
        assert cls.name == name
        assert cls.__module__ == f"skmtl.relation._{name}"


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


@pairs(
    ("relation", "sharing", "cls"),
    RELATIONS,
    list(SHARING),
    [MultiTaskClassifier, MultiTaskRegressor, MultiTaskEstimator],
)
def test_training_works_with_every_sharing_and_estimator(relation, sharing, cls):
    X, Z = table()
    Y = np.column_stack([Z[:, 0] > 0, Z[:, 1] > 1, Z[:, 2] > 0]).astype(float)
    if cls is MultiTaskRegressor:
        Y = Z
    elif cls is MultiTaskEstimator:
        Y[:, 1] = Z[:, 1]
    est = cls(
        sharing,
        relation=relation,
        encoder=MLP((16,)),
        learning_rate_init=1e-2,
        max_iter=60,
        random_state=0,
    ).fit(X, Y)
    assert est.score(X, Y) > 0.8
    np.testing.assert_allclose(est.predict(X[:1]), est.predict(X)[:1])


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


def test_relations_compete_in_a_search():
    X, Y = labels()
    est = MultiTaskClassifier(encoder=MLP((16,)), max_iter=3, random_state=0)
    grid = [
        {"relation": [None, Identity()]},
        {"relation": [Mixing()], "relation__strength": [0.0, 0.1]},
    ]
    search = GridSearchCV(est, grid, cv=KFold(2)).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("bad", ["graph", 3, MLP()], ids=str)
def test_what_is_no_relation_is_refused(bad):
    with pytest.raises(ValueError, match="'relation' parameter of MultiTaskClassifier"):
        fitted(bad)
