import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl._data.labels import read_labels
from skmtl._data.output_kinds import group_tasks
from skmtl._data.targets import Targets
from skmtl._estimators.fitting.distillation import make_soft_labels
from skmtl.relation import Distillation
from skmtl.training import Mixup, PackedLoss
from skmtl.training._batches import pack_targets
from skmtl.weighting import WEIGHTING
from tests._networks import SAME_STEPS, plain_mlp, table

KINDS = ["classification", "regression", *["classification"] * 3]
N_CLASSES = [2, 0, 3, 4, 2]
BLOCKS = group_tasks(KINDS, N_CLASSES)
SMALL = {"encoder": plain_mlp((8,)), "max_iter": 3, "random_state": 0}
ONE = {**SMALL, "n_estimators": 1}


class Teacher(BaseEstimator):
    """Predicts what it is told, row by row."""

    def __init__(self, proba=None, classes=None, values=None):
        self.proba = proba
        self.classes = classes
        self.values = values

    @property
    def classes_(self):
        return self.classes

    def fit(self, X, y):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, X):
        return self.values[: len(X)]

    def predict_proba(self, X):
        return self.proba


def labels(missing=False):
    X, Z = table()
    Y = np.column_stack([Z[:, 0] > 0, np.digitize(Z[:, 1], [-1, 1]), Z[:, 2] > 1])
    Y = Y.astype(float)
    if missing:
        Y[::3, 1] = Y[1::4, 2] = np.nan
    return X, Y


def perfect(Y):
    """Return a teacher that is sure of the labels."""
    classes = [np.unique(y) for y in Y.T]
    proba = [(y[:, None] == c).astype(float) for y, c in zip(Y.T, classes, strict=True)]
    return Teacher(proba, classes, Y)


def batch(missing=False, n=7):
    """Return outputs of five tasks, packed labels and the outputs of a teacher."""
    rng = np.random.default_rng(0)
    labels = [rng.integers(max(k, 1), size=n) for k in N_CLASSES]
    labels[1] = rng.normal(size=n)
    if missing:
        labels[0][:] = -1
        labels[2][:3] = -1
        labels[1][2] = np.nan
    targets = pack_targets(BLOCKS, labels, None, torch.float64, torch.device("cpu"))
    Z, S = torch.from_numpy(3 * rng.normal(size=(2, n, BLOCKS[-1].stop)))
    return Z.requires_grad_(), targets, S


def packed_loss(**settings):
    return PackedLoss(BLOCKS, 5, "squared_error", Distillation(**settings).soft_loss())


def of_tasks(Z):
    """Return for each task its logits, or values, one by one."""
    found = [None] * 5
    for block in BLOCKS:
        start = block.start
        for task, size in zip(block.tasks, block.sizes, strict=True):
            z = Z[:, start : start + size]
            found[task] = torch.cat([0 * z, z], 1) if block.kind == "binary" else z
            start += size
    return found


def by_hand(Z, S, w, temperature, strength):
    """Return what the teacher adds to the loss of each task."""
    terms = []
    for kind, z, s in zip(KINDS, of_tasks(Z), of_tasks(S), strict=True):
        if kind == "regression":
            term = (z - s).square().sum(1)
        else:
            log_p, q = (z / temperature).log_softmax(1), (s / temperature).softmax(1)
            term = temperature**2 * F.kl_div(log_p, q, reduction="none").sum(1)
        terms.append(strength * (w * term).sum() / w.sum())
    return torch.stack(terms)


# ---------------------------------------------------------------------- the loss
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_loss_gains_the_divergence_from_the_teacher(temperature, missing):
    Z, targets, S = batch(missing)
    w = torch.arange(1.0, 8.0, dtype=torch.float64)
    settings = {"temperature": temperature, "strength": 0.7}
    loss = packed_loss(**settings)
    hard, _ = loss(Z, targets)
    whole, _ = loss(Z, [*targets, (S, w[:, None])])
    expected = by_hand(Z, S, w, **settings)
    torch.testing.assert_close(whole - hard, expected)
    for t in range(5):
        found, same = (
            torch.autograd.grad(terms[t], Z, retain_graph=True)[0]
            for terms in (whole - hard, expected)
        )
        torch.testing.assert_close(found, same)
        other = of_tasks(found)
        assert all((other[u] == 0).all() for u in range(5) if u != t)


def test_the_gradient_is_the_difference_of_tempered_probabilities():
    Z, targets, S = batch()
    loss = packed_loss(temperature=3.0, strength=0.5)
    soft = [*targets, (S, torch.ones(7, 1, dtype=torch.float64))]
    extra = loss(Z, soft)[0] - loss(Z, targets)[0]
    (D,) = torch.autograd.grad(extra.sum(), Z)
    for t, (d, z, s) in enumerate(
        zip(of_tasks(D), of_tasks(Z), of_tasks(S), strict=True)
    ):
        if KINDS[t] == "regression":
            expected = 2 * 0.5 * (z - s) / 7
        else:
            expected = 3 * 0.5 * ((z / 3).softmax(1) - (s / 3).softmax(1)) / 7
        if N_CLASSES[t] == 2:  # the first class has no output of its own
            d, expected = d[:, 1:], expected[:, 1:]
        torch.testing.assert_close(d, expected)


def test_several_networks_have_the_losses_of_each():
    Z, targets, S = batch(missing=True)
    w = torch.arange(7.0, dtype=torch.float64)[:, None]
    loss, other = packed_loss(), 1 - 2 * S
    every = [
        (torch.stack([y, y]), None if v is None else torch.stack([v, v]))
        for y, v in targets
    ]
    every.append((torch.stack([S, other]), torch.stack([w, w])))
    found, counts = loss(torch.stack([Z, Z + 1]), every)
    for i, (z, s) in enumerate([(Z, S), (Z + 1, other)]):
        one, count = loss(z, [*targets, (s, w)])
        torch.testing.assert_close(found[i], one)
        torch.testing.assert_close(counts[i], count)


def test_a_teacher_without_doubt_repeats_the_labels():
    Z, targets, _ = batch()
    S = torch.full_like(Z, -torch.inf)
    for block, (y, _) in zip(BLOCKS, targets, strict=True):
        if block.kind == "regression":
            S[:, block.start : block.stop] = y
        elif block.kind == "binary":
            S[:, block.start : block.stop] = torch.where(y > 0, torch.inf, -torch.inf)
        else:
            first = block.start + np.cumsum([0, *block.sizes[:-1]])
            S.scatter_(1, torch.from_numpy(first) + y.long(), 0.0)
    loss = packed_loss(temperature=1.0, strength=2.0)
    hard, _ = loss(Z, targets)
    whole, _ = loss(Z, [*targets, (S, torch.ones(7, 1, dtype=torch.float64))])
    torch.testing.assert_close(whole, 3 * hard)
    one, three = (
        torch.autograd.grad(x.sum(), Z, retain_graph=True)[0] for x in (hard, whole)
    )
    torch.testing.assert_close(three, 3 * one)


def test_a_task_without_labels_in_a_batch_learns_from_the_teacher():
    Z, targets, S = batch(missing=True)
    ones = torch.ones(7, 1, dtype=torch.float64)
    hard, none = packed_loss()(Z, targets)
    whole, counts = packed_loss()(Z, [*targets, (S, ones)])
    assert hard[0] == none[0] == 0
    torch.testing.assert_close(whole[0], by_hand(Z, S, ones[:, 0], 2.0, 1.0)[0])
    torch.testing.assert_close(counts, none + 7)


def test_mixed_rows_learn_from_the_teachers_of_both():
    Z, targets, S = batch()
    X = torch.eye(7, dtype=torch.float64)
    torch.manual_seed(0)
    mixed, y = Mixup(1.0).batch(X, [*targets, (S, torch.ones(7, 1, dtype=X.dtype))])
    whole, _ = packed_loss()(Z.repeat(2, 1), y)
    hard, _ = packed_loss()(Z.repeat(2, 1), y[:-1])
    expected = 0
    for i, row in enumerate(mixed):  # its entries are the shares of both
        for j in row.nonzero().ravel():
            one = torch.ones(1, dtype=torch.float64)
            pair = by_hand(Z[i : i + 1], S[j : j + 1], one, 2.0, 1.0)
            expected = expected + row[j] * pair / 7
    torch.testing.assert_close(whole - hard, expected)


# --------------------------------------------------------------- what teachers say
def targets_of(Y, kinds=None):
    columns = read_labels(Y)
    kinds = kinds or ["classification"] * len(columns.columns)
    return Targets(columns, kinds)


def test_classes_are_matched_by_label():
    Y = np.array([["a", "x"], ["b", "y"], ["c", "x"]], dtype=object)
    P = [np.array([[0.6, 0.4], [1.0, 0.0]]), np.array([[0.3, 0.7], [0.9, 0.1]])]
    teacher = Teacher(P, [np.array(["c", "a"]), np.array(["y", "x"])])
    targets = targets_of(Y)
    (S,) = make_soft_labels(teacher, np.zeros((2, 1)), targets)
    first, second = targets.predict_proba(S)
    np.testing.assert_allclose(first, [[0.4, 0, 0.6], [0, 0, 1]])
    np.testing.assert_allclose(second, [[0.7, 0.3], [0.1, 0.9]])


def test_values_are_standardised_as_the_targets():
    Y = np.array([[0.0, 100], [2, 300], [np.nan, 500]])
    teacher = Teacher(values=np.array([[1.0, 300], [3, 100]]))
    (S,) = make_soft_labels(
        teacher, np.zeros((2, 1)), targets_of(Y, ["regression"] * 2)
    )
    scale = np.std([100, 300, 500])
    np.testing.assert_allclose(S, [[0, 0], [2, -200 / scale]])


@pytest.mark.parametrize(
    "teacher",
    [
        RandomForestClassifier(5, random_state=0),
        MultiOutputClassifier(LogisticRegression()),
        make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)),
        ClassifierChain(LogisticRegression()),
        MLPClassifier((3,), max_iter=5000, tol=1e-2, random_state=0),
        MultiTaskClassifier(**SMALL, n_estimators=1),
        FrozenEstimator(MultiOutputClassifier(LogisticRegression())),
    ],
    ids=lambda teacher: type(teacher).__name__,
)
def test_every_kind_of_classifier_teaches(teacher):
    X, Y = labels()
    Y = (Y > 0).astype(int)
    inner = teacher.estimator if isinstance(teacher, FrozenEstimator) else teacher
    inner.fit(X, Y)
    targets = targets_of(Y)
    (S,) = make_soft_labels(teacher, X, targets)
    P, expected = targets.predict_proba(S), teacher.predict_proba(X)
    for t in range(3):
        second = expected[t][:, 1] if isinstance(expected, list) else expected[:, t]
        np.testing.assert_allclose(P[t][:, 1], second, atol=1e-7)


@pytest.mark.parametrize("y", [0, 1, [1]], ids=str)
def test_one_task_has_a_teacher_too(y):
    X, Y = labels()
    teacher = RandomForestClassifier(5, random_state=0).fit(X, Y[:, y].ravel())
    targets = targets_of(Y[:, y])
    (S,) = make_soft_labels(teacher, X, targets)
    np.testing.assert_allclose(
        targets.predict_proba(S)[0], teacher.predict_proba(X), atol=1e-12
    )


def test_tasks_of_both_kinds_have_a_teacher():
    X, Z = table()
    Y = np.column_stack([Z[:, 0] > 0, Z[:, 1]])
    teacher = MultiTaskEstimator(**SMALL, n_estimators=1).fit(X, Y)
    targets = targets_of(Y, ["classification", "regression"])
    (S,) = make_soft_labels(teacher, X, targets)
    np.testing.assert_allclose(targets.predict_proba(S)[0], teacher.predict_proba(X)[0])
    np.testing.assert_allclose(
        targets.predict_values(S)[:, 1], teacher.predict(X)[:, 1]
    )


# ------------------------------------------------------------------------ training
def test_no_strength_is_no_relation():
    X, Y = labels(missing=True)
    plain = MultiTaskClassifier(**SMALL, n_estimators=1).fit(X, Y)
    est = MultiTaskClassifier(
        relation=Distillation(strength=0), **SMALL, n_estimators=1
    ).fit(X, Y)
    for p, q in zip(est.predict_proba(X), plain.predict_proba(X), strict=True):
        np.testing.assert_array_equal(p, q)
    assert not hasattr(est, "teacher_")


def test_a_perfect_teacher_is_a_second_set_of_labels():
    X, Y = labels()
    settings = {
        **SAME_STEPS,
        "encoder": plain_mlp((8,)),
        "optimizer": "sgd",
        "alpha": 0.0,
    }
    plain = MultiTaskClassifier(**{**settings, "learning_rate_init": 0.06}).fit(X, Y)
    relation = Distillation(perfect(Y), temperature=1.0, strength=2.0)
    settings["learning_rate_init"] = 0.02
    est = MultiTaskClassifier(relation=relation, **settings).fit(X, Y)
    np.testing.assert_allclose(est.loss_curve_, 3 * np.array(plain.loss_curve_))
    for p, q in zip(est.predict_proba(X), plain.predict_proba(X), strict=True):
        np.testing.assert_allclose(p, q, atol=1e-9)


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_a_strong_teacher_is_followed(n_estimators):
    X, Z = table()
    said = Z[:, [1, 2, 0]]
    settings = {"max_iter": 100, "learning_rate_init": 0.02, "n_iter_no_change": 100}
    settings |= {
        "encoder": plain_mlp((16,)),
        "random_state": 0,
        "n_estimators": n_estimators,
    }
    settings |= {"early_stopping": False, "calibrate": False}  # by labels
    est = MultiTaskRegressor(
        relation=Distillation(Teacher(values=said), strength=1e3), **settings
    ).fit(X, Z)
    assert est.score(X, said) > 0.95
    assert est.score(X, Z) < 0.5


def test_rows_without_a_label_are_learned_from_the_teacher():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    Y = np.column_stack([X[:, 1] > 0, X[:, 0] * X[:, 1] > 0]).astype(float)
    unknown = X[:, 0] > 0
    seen = Y.copy()
    seen[unknown, 1] = np.nan
    settings = {"encoder": plain_mlp((16,)), "max_iter": 60, "learning_rate_init": 0.01}
    est = MultiTaskClassifier(random_state=0, n_estimators=2, **settings)
    relation = Distillation(perfect(Y))
    taught = clone(est).set_params(relation=relation).fit(X, seen)
    alone = est.fit(X, seen)
    scores = [
        np.mean(e.predict(X)[unknown, 1] == Y[unknown, 1]) for e in (alone, taught)
    ]
    assert scores[0] < 0.6 < 0.9 < scores[1]


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_weights_are_repetitions(n_estimators):
    X, Y = labels(missing=True)
    weight = np.arange(len(X)) % 3
    rows = np.repeat(np.arange(len(X)), weight)
    teacher = MultiOutputClassifier(LogisticRegression()).fit(X, labels()[1])
    settings = {**SAME_STEPS, "encoder": plain_mlp((8,)), "batch_size": 1000}
    settings |= {"n_estimators": n_estimators, "resampling": None}
    est = MultiTaskClassifier(relation=Distillation(teacher), **settings)
    weighted = clone(est).fit(X, Y, sample_weight=weight)
    repeated = est.fit(X[rows], Y[rows])
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_)
    for p, q in zip(weighted.predict_proba(X), repeated.predict_proba(X), strict=True):
        np.testing.assert_allclose(p, q, atol=1e-8)


@pytest.mark.parametrize("sizes", [(2.0**-30, 2.0**-990), (2.0**30, 2.0**990)])
def test_weights_may_be_huge_or_tiny(sizes):
    X, Y = labels()
    weight = np.linspace(0, 1, len(X))
    est = MultiTaskClassifier(
        relation="distillation", precision="float32", **SMALL, n_estimators=1
    )
    expected, found = (clone(est).fit(X, Y, size * weight) for size in sizes)
    np.testing.assert_allclose(found.loss_curve_, expected.loss_curve_, rtol=1e-6)


def test_held_out_rows_are_judged_by_their_labels():
    X, Y = labels()
    est = MultiTaskClassifier(
        relation=Distillation(RandomForestClassifier(5, random_state=0).fit(X, Y)),
        **ONE,
    ).fit(X[:40], Y[:40], X_val=X[40:], y_val=Y[40:])
    P = est.predict_proba(X[40:])
    losses = [
        log_loss(Y[40:, t], P[t], labels=est.classes_[t]) for t in range(est.n_tasks_)
    ]
    np.testing.assert_allclose(-est.best_validation_score_, np.mean(losses))


@pytest.mark.parametrize("weighting", WEIGHTING)
def test_every_weighting_works(weighting):
    X, Y = labels(missing=True)
    est = MultiTaskClassifier(
        weighting=weighting, relation="distillation", batch_size=20, **ONE
    ).fit(X, Y)
    assert np.isfinite(est.loss_curve_).all()
    assert np.isfinite(est.teacher_.loss_curve_).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"augmentation": "mixup"},
        {"hard_example_mining": "margin"},
        {"sampling": "classes"},
        {"class_weight": "balanced"},
        {"task_weight": [1, 0, 2]},
        {"resampling": "bootstrap", "n_estimators": 3},
        {"optimizer": torch.optim.LBFGS, "n_estimators": 1},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_other_settings_combine(settings):
    X, Y = labels(missing=True)
    settings = {**SMALL, "n_estimators": 2, "batch_size": 20, **settings}
    est = MultiTaskClassifier(relation=Distillation(), **settings).fit(X, Y)
    assert np.isfinite(est.loss_curve_).all()
    for p in est.predict_proba(X):
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)


def test_a_task_of_one_class_needs_no_teacher():
    X, Y = labels()
    Y[:, 1] = 0
    est = MultiTaskClassifier(
        relation=Distillation(perfect(Y)), **SMALL, n_estimators=1
    ).fit(X, Y)
    assert (est.predict(X)[:, 1] == 0).all()
    Y[:] = 0
    assert (
        MultiTaskClassifier(relation="distillation", **SMALL, n_estimators=1)
        .fit(X, Y)
        .score(X, Y)
    )
    est.fit(X, Y)


# --------------------------------------------------------------- the own teacher
@pytest.mark.parametrize("n_estimators", [1, 3])
def test_the_own_teacher_shares_nothing(n_estimators):
    X, Y = labels(missing=True)
    est = MultiTaskClassifier(
        "mmoe", weighting="upgrad", relation="distillation", n_estimators=1
    )
    est.set_params(**{**SMALL, "n_estimators": n_estimators}).fit(X, Y)
    alone = clone(est).set_params(sharing="independent", relation=None)
    alone.set_params(weighting="equal").fit(X, Y)
    expected = alone.predict_proba(X)
    for p, q in zip(est.teacher_.predict_proba(X), expected, strict=True):
        np.testing.assert_array_equal(p, q)
    est.set_params(relation=None).fit(X, Y)
    assert not hasattr(est, "teacher_")


def test_the_own_teacher_weighs_labels_as_the_weighting_does():
    X, Y = labels()
    est = MultiTaskClassifier(
        weighting="target_kl", relation="distillation", **SMALL, n_estimators=1
    )
    assert est.fit(X, Y).teacher_.weighting == "target_kl"


@pytest.mark.parametrize("random_state", [0, None, np.random.RandomState(0)], ids=type)
@pytest.mark.parametrize("resampling", ["crossfit", "bootstrap"])
def test_members_learn_from_those_that_hold_out_the_same_rows(resampling, random_state):
    X, Y = labels()
    settings = {**SMALL, "n_estimators": 3, "random_state": random_state}
    est = MultiTaskClassifier(
        relation=Distillation(), resampling=resampling, **settings
    )
    est.fit(X, Y)
    pairs = zip(est._parts_of_fit[1], est.teacher_._parts_of_fit[1], strict=True)
    for own, teacher_s in pairs:
        for rows, same in zip(own, teacher_s, strict=True):
            np.testing.assert_array_equal(rows, same)


@pytest.mark.parametrize("weighting", ["equal", "upgrad"])  # stacked, or in turns
def test_labels_held_out_of_a_member_never_reach_it(weighting):
    X, Y = labels()
    settings = {**SMALL, "n_estimators": 3, "resampling": "bootstrap"}
    settings |= {"early_stopping": False, "calibrate": False}
    est = MultiTaskClassifier(weighting=weighting, relation=Distillation(), **settings)
    before = clone(est).fit(X, Y)
    held = before._parts_of_fit[1][0][1]  # of all rows, since all have labels
    i, j = held[Y[held, 0] == 0][0], held[Y[held, 0] == 1][0]
    Y[[i, j]] = Y[[j, i]]
    after = clone(est).fit(X, Y)
    X = torch.from_numpy(X)
    for fitted in (before, after):
        assert fitted.net_.stacked is (weighting == "equal")
    outputs = [
        [e.module_.member(m).eval()(X.to(e.module_.input_dtype)) for m in range(3)]
        for e in (before, after)
    ]
    torch.testing.assert_close(outputs[0][0], outputs[1][0], rtol=0, atol=0)
    assert any((outputs[0][m] != outputs[1][m]).any() for m in (1, 2))


@pytest.mark.parametrize("n_estimators", [1, 3])
def test_training_on_trains_the_teacher_on(n_estimators):
    X, Z = table()
    settings = {**SMALL, "n_estimators": n_estimators, "warm_start": True}
    est = MultiTaskRegressor(relation=Distillation(), **settings).fit(X, Z)
    teacher, known = est.teacher_, est.teacher_.predict(X)
    est.set_params(max_iter=2).fit(X, Z)
    assert est.n_iter_ == est.teacher_.n_iter_ == 5
    assert teacher.n_iter_ == 3
    np.testing.assert_array_equal(teacher.predict(X), known)
    est.partial_fit(X[:20], Z[:20])
    assert est.n_iter_ == est.teacher_.n_iter_ == 6


def test_partial_fit_starts_with_a_teacher():
    X, Y = labels()
    est = MultiTaskClassifier(relation=Distillation(), **SMALL, n_estimators=1)
    classes = [np.unique(y) for y in Y.T]
    for rows in (slice(0, 20), slice(20, 60)):
        est.partial_fit(X[rows], Y[rows], classes)
    assert est.n_iter_ == est.teacher_.n_iter_ == 2


def test_a_fit_that_fails_keeps_the_teacher_before():
    X, Z = table()
    est = MultiTaskRegressor(
        relation=Distillation(), warm_start=True, **SMALL, n_estimators=1
    )
    teacher = est.fit(X, Z).teacher_
    with pytest.raises(ValueError, match="infinity"):
        est.fit(np.where(X > 1, np.inf, X), Z)
    assert est.teacher_ is teacher


# ----------------------------------------------------------------- a given teacher
@pytest.mark.parametrize("frozen", [False, True])
def test_a_given_teacher_stays_fitted_in_a_search(frozen):
    X, Y = labels()
    forest = RandomForestClassifier(5, random_state=0).fit(X, Y)
    teacher = FrozenEstimator(forest) if frozen else forest
    est = MultiTaskClassifier(relation=Distillation(teacher), **SMALL, n_estimators=1)
    assert clone(est).relation.teacher is teacher
    assert clone(est).relation is not est.relation
    grid = {"relation__strength": [0.0, 1.0], "relation__temperature": [1.0, 4.0]}
    search = GridSearchCV(est, grid, cv=KFold(2)).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = clone(est).set_params(relation__strength=1.0).fit(X, Y)
    assert best.teacher_ is teacher


def test_a_search_trains_the_own_teacher_in_each_fold():
    X, Y = labels()
    est = MultiTaskClassifier(relation="distillation", **SMALL, n_estimators=1)
    grid = {"relation__strength": [0.5, 1.0]}
    search = GridSearchCV(est, grid, cv=KFold(2)).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.teacher_.sharing == "independent"


def test_a_given_teacher_changes_the_student():
    X, Z = table()
    forest = RandomForestRegressor(5, random_state=0).fit(X, Z)
    before = copy.deepcopy(forest).predict(X)
    plain = MultiTaskRegressor(**SMALL, n_estimators=1).fit(X, Z)
    est = MultiTaskRegressor(
        relation=Distillation(forest), **SMALL, n_estimators=1
    ).fit(X, Z)
    assert np.abs(est.predict(X) - plain.predict(X)).max() > 1e-3
    np.testing.assert_array_equal(forest.predict(X), before)
    twin = pickle.loads(pickle.dumps(est))
    np.testing.assert_array_equal(twin.predict(X), est.predict(X))
    np.testing.assert_array_equal(twin.teacher_.predict(X), before)


def test_a_task_alone_has_no_teacher():
    X, Y = labels()
    teacher = MultiOutputClassifier(LogisticRegression()).fit(X, Y)
    est = MultiTaskClassifier(
        relation=Distillation(teacher), **SMALL, n_estimators=1
    ).fit(X, Y)
    plain = MultiTaskClassifier(**SMALL, n_estimators=1).fit(X, Y[:, 2])
    view = clone(est.task_estimator("task2")).fit(X, Y[:, 2])
    np.testing.assert_array_equal(view.predict_proba(X), plain.predict_proba(X))


# ------------------------------------------------------------------------ bad input
@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"teacher": 3}, "'teacher' parameter of Distillation must be"),
        ({"teacher": RandomForestClassifier()}, "must be a fitted estimator. Got Rand"),
        ({"temperature": 0}, "'temperature' parameter of Distillation must be"),
        ({"strength": -1}, "'strength' parameter of Distillation must be"),
    ],
)
def test_bad_settings(settings, match):
    X, Y = labels()
    with pytest.raises(ValueError, match=match):
        MultiTaskClassifier(
            relation=Distillation(**settings), **SMALL, n_estimators=1
        ).fit(X, Y)


def test_teachers_that_do_not_fit_are_refused_before_training():
    X, Y = labels()
    est = MultiTaskClassifier(**SMALL, n_estimators=1).fit(X, Y)
    known = est.predict(X)

    def refused(teacher, match):
        est.set_params(relation=Distillation(teacher))
        with pytest.raises(ValueError, match=match):
            est.fit(X, Y)
        np.testing.assert_array_equal(est.predict(X), known)

    forest = RandomForestClassifier(3)
    refused(
        clone(forest).fit(X, Y[:, :2]), "must predict the 3 tasks of y. Got 2: fit it"
    )
    refused(
        clone(forest).fit(X, Y[:, 1]), "must predict the 3 tasks of y. Got 1: fit it"
    )
    refused(
        RidgeClassifier().fit(X, Y > 0), "teacher must have predict_proba and class"
    )
    refused(
        clone(forest).fit(X, Y + 1), "knows the class 2.0 of task 'task0', which is"
    )
    unsure = perfect(Y)
    unsure.proba[2][0] = np.nan
    refused(unsure, "predictions for task 'task2' must be finite. Got nan")
    refused(
        MultiTaskRegressor(**SMALL, n_estimators=1).fit(X, Y), "must have predict_proba"
    )


def test_a_teacher_of_other_numbers_is_refused():
    X, Z = table()
    est = MultiTaskRegressor(**SMALL, n_estimators=1)
    est.set_params(relation=Distillation(LinearRegression().fit(X, Z[:, 0])))
    with pytest.raises(
        ValueError, match=r"must predict the 3 tasks of y. Got 1: fit it"
    ):
        est.fit(X, Z)
    est.set_params(relation=Distillation(Teacher(values=Z * np.nan)))
    with pytest.raises(ValueError, match=r"for task 'task0' must be finite. Got nan"):
        est.fit(X, Z)
