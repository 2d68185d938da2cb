"""Sets of classes compare each fold with the networks that hold it out."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skmtl import MultiTaskClassifier, MultiTaskEstimator
from skmtl._data.labels import read_labels
from skmtl._data.targets import Targets
from skmtl._estimators.conformal import CrossConformal
from skmtl.encoder import MLP
from skmtl.training import InputSource, apply_temperatures

SMALL = {"encoder": MLP((16,)), "n_estimators": 3, "max_iter": 8, "random_state": 0}


def make_set_slowly(scores, folds, weight, new_scores, coverage):
    """Return which classes belong to the set of a sample, one by one.

    ``new_scores[k][c]`` is the score of class c under the network of fold k.
    """
    new_weight = sum(w * w for w in weight) / sum(weight)
    members = []
    for c in range(len(new_scores[0])):
        mass = new_weight
        for s, k, w in zip(scores, folds, weight, strict=True):
            if s >= new_scores[k][c] - 1e-6:
                mass += w
        members.append(mass > (1 - coverage) * (sum(weight) + new_weight) + 1e-9)
    return members


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.97])
def test_sets_are_those_of_loops(weighted, coverage):
    rng = np.random.RandomState(0)
    y, fold = rng.randint(0, 4, 50), rng.randint(0, 3, 50)
    y[:4] = np.arange(4)
    columns = read_labels(y)
    targets = Targets(columns, ["classification"])
    Z = 2 * rng.randn(50, 4).round(1)  # some are equal
    new = {k: 2 * rng.randn(30, 4).round(1) for k in range(3)}
    weight = rng.randint(0, 4, (50, 1)) / 3 if weighted else np.ones((50, 1))
    conformal = CrossConformal.fit(
        targets, torch.from_numpy(Z), targets.encode(columns), weight, fold
    )
    mean = np.mean(list(new.values()), axis=0)
    tensors = {k: torch.from_numpy(outputs) for k, outputs in new.items()}
    (sets,) = conformal.predict_regions(torch.from_numpy(mean), coverage, tensors)
    scores = 1 - softmax(Z)[np.arange(50), y]
    kept = weight[:, 0] > 0
    for i in range(30):
        expected = make_set_slowly(
            scores[kept],
            fold[kept],
            weight[kept, 0],
            [1 - softmax(new[k][i]) for k in range(3)],
            coverage,
        )
        expected[mean[i].argmax()] = True
        assert_array_equal(sets[i], expected)
    assert 1 < sets.sum(axis=1).mean() <= 4


def test_one_fold_is_split_conformal_prediction():
    rng = np.random.RandomState(0)
    columns = read_labels(np.arange(60) % 3)
    targets = Targets(columns, ["classification"])
    Z, new = torch.from_numpy(rng.randn(60, 3)), torch.from_numpy(rng.randn(40, 3))
    conformal = CrossConformal.fit(targets, Z, targets.encode(columns), None)
    for coverage in (0.3, 0.6, 0.9):
        (sets,) = conformal.predict_regions(new, coverage)
        proba = softmax(new.numpy())
        expected = 1 - proba <= conformal.quantile(0, coverage)
        expected[np.arange(40), proba.argmax(axis=1)] = True
        assert_array_equal(sets, expected)


def test_networks_that_predict_the_same_for_all_rows_keep_all_classes():
    """Scores that differ by rounding only are equal."""
    columns = read_labels(np.arange(40) % 2)
    targets = Targets(columns, ["classification"])
    conformal = CrossConformal.fit(
        targets, torch.zeros(40, 1), targets.encode(columns), None, np.arange(40) % 4
    )
    new = {k: torch.full((5, 1), 1e-8 * (-1) ** k) for k in range(4)}
    (sets,) = conformal.predict_regions(torch.zeros(5, 1), 0.5, new)
    assert sets.all()


def make_tasks(n=150, seed=0):
    """Return inputs and labels of three and two classes, some missing."""
    rng = np.random.RandomState(seed)
    X = rng.randn(n, 5)
    signal = X @ rng.randn(5, 2) + rng.randn(n, 2)
    Y = np.column_stack([np.digitize(signal[:, 0], [-1, 1]), signal[:, 1] > 0])
    Y = Y.astype(float)
    Y[rng.rand(*Y.shape) < 0.1] = np.nan
    return X, Y


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"calibrate": False},
        {"early_stopping": False},
        {"weighting": "upgrad"},
        {"threshold": "f1"},
    ],
    ids=str,
)
def test_sets_of_an_estimator_are_those_of_loops(settings):
    X, Y = make_tasks()
    est = MultiTaskClassifier(**{**SMALL, **settings}).fit(X, Y)
    net, targets = est.net_, est._targets
    modules = [est.module_.member(k).eval() for k in range(3)]

    def predict(k, X):
        with torch.no_grad():
            Z = modules[k](torch.from_numpy(X).to(net.module_.input_dtype)).double()
        if net.slopes is not None:
            slopes = tuple(slope**2 for slope in net.slopes)
            prior = torch.from_numpy(net.module__prior).double()
            Z = apply_temperatures(Z, slopes, targets.blocks, prior)
        return targets.predict_proba(Z)

    labelled = np.flatnonzero(~np.isnan(Y).all(axis=1))
    held_out = [labelled[rows] for _, rows in est._parts_of_fit[1]]
    new = make_tasks(12, seed=1)[0]
    for coverage in (0.6, 0.9):
        sets = est.predict_set(new, coverage)
        for t in range(2):
            scores, folds = [], []
            for k, rows in enumerate(held_out):
                proba = predict(k, X[rows])[t]
                for p, y in zip(proba, Y[rows, t], strict=True):
                    if not np.isnan(y):
                        scores.append(1 - p[int(y)])
                        folds.append(k)
            of_folds = [1 - predict(k, new)[t] for k in range(3)]
            for i, proba in enumerate(est.predict_proba(new)[t]):
                new_scores = [of_fold[i] for of_fold in of_folds]
                expected = make_set_slowly(
                    scores, folds, np.ones(len(scores)), new_scores, coverage
                )
                expected[proba.argmax()] = True
                assert_array_equal(sets[t][i], expected)


@pytest.mark.parametrize("seed", [0, 1])
def test_labels_that_do_not_depend_on_X_are_held(seed):
    """Networks overfit such labels, each in its own way, unlike their average."""
    rng = np.random.RandomState(seed)
    X = rng.randn(740, 10)
    y = rng.permutation(np.arange(740) % 4)
    y[:240] = rng.permutation(np.arange(240) % 4)
    est = MultiTaskClassifier(
        encoder=MLP((32,)), n_estimators=4, max_iter=15, random_state=seed
    ).fit(X[:240], y[:240])
    for coverage in (0.8, 0.9, 0.95):
        sets = est.predict_set(X[240:], coverage)
        assert sets[np.arange(500), y[240:]].mean() >= coverage - 0.03
        assert coverage > 0.8 or sets.sum(axis=1).mean() < 3.9


def test_parts_of_rows_and_single_rows_have_the_same_sets(monkeypatch):
    X, Y = make_tasks()
    est = MultiTaskClassifier(**SMALL).fit(X, Y)
    whole = est.predict_set(X, 0.8)
    monkeypatch.setattr("skmtl.training._ensemble_net.PREDICT_ROWS", 7)
    monkeypatch.setattr("skmtl.training._ensemble_net.MANY_NUMBERS", 0)
    for one, other in zip(whole, est.predict_set(X, 0.8), strict=True):
        assert_array_equal(one, other)
    for one, other in zip(whole, est.predict_set(X[5:6], 0.8), strict=True):
        assert_array_equal(one[5:6], other)


def test_the_mean_and_networks_are_those_of_predictions():
    X, Y = make_tasks()
    net = MultiTaskClassifier(**SMALL).fit(X, Y).net_
    source = InputSource(X, net.module_.input_dtype, torch.device("cpu"))
    ((mean, each),) = net.iterate_outputs(source)
    assert_allclose(mean, net.outputs(source), atol=1e-6)
    assert_allclose(each, net.compute_member_outputs(source), atol=1e-6)


def test_what_is_kept_of_the_folds():
    X, Y = make_tasks()
    est = MultiTaskClassifier(**SMALL).fit(X, Y)
    counts = est._oof.fold_networks.sum(axis=1)
    assert_array_equal(counts, [0, 1, 1, 1])  # the first has no label
    overlapping = MultiTaskClassifier(resampling="bootstrap", **SMALL).fit(X, Y)
    assert overlapping._oof.fold_outputs is None
    assert [s.shape for s in overlapping.predict_set(X)] == [(150, 3), (150, 2)]
    Z = np.column_stack([X[:, 0], Y[:, 1]])
    mixed = MultiTaskEstimator(**SMALL).fit(X, Z)
    none, sets = mixed.predict_set(X, 0.9)
    assert none is None
    assert sets.shape == (150, 2)
    assert mixed.predict_interval(X)[0].shape == (150, 2)
    assert MultiTaskEstimator(**SMALL).fit(X, X[:, :2])._oof.fold_outputs is None


@pytest.mark.filterwarnings("ignore:n_estimators=")
def test_more_networks_than_rows_share_folds():
    X, Y = make_tasks()
    Y = Y[:, 0]
    Y[np.flatnonzero(~np.isnan(Y))[12:]] = np.nan
    settings = {**SMALL, "n_estimators": 14, "early_stopping": True}
    est = MultiTaskClassifier(**settings).fit(X, Y)
    counts = est._oof.fold_networks.sum(axis=1)
    assert_array_equal(np.sort(counts[counts > 0]), [1] * 10 + [2] * 2)
    assert est.predict_set(X, 0.99).all()
    assert not est.predict_set(X, 0.5).all()
