"""No out-of-fold prediction depends on the label of its row."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.metrics import r2_score

import skmtl._estimators.fit
import skmtl._estimators.fitting.out_of_fold
from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl._data.output_kinds import group_tasks
from skmtl._estimators.fitting.run import TrainingRun
from skmtl.encoder import MLP
from skmtl.training import EpochChoice, InputSource, TrainingRows, ValidationScores

BLOCKS = group_tasks(["regression"], [0])
N = 12


def choice_of(folds, n_samples=N):
    """Return the choice for networks that hold out these rows."""
    source = InputSource(np.zeros((n_samples, 1)), torch.float64, torch.device("cpu"))
    return EpochChoice([TrainingRows(source, [], np.array(fold)) for fold in folds])


def show_epochs(choice, losses):
    """Let networks predict 100 times the epoch plus their number, for every row."""
    n_networks = losses.shape[1]
    for epoch, row in enumerate(losses, start=1):
        Z = {i: torch.full((N, 1), 100.0 * epoch + i) for i in range(n_networks)}
        choice.update(Z, row)
    return choice.outputs(BLOCKS)[:, 0].numpy()


FOLDS = [np.arange(i, N, 3) for i in range(3)]


def test_a_fold_has_the_epoch_at_which_the_others_are_best():
    losses = np.array([[9, 3, 5.0], [0, 4, 9], [5, 1, 1], [9, 9, 0]])
    # Mean losses of the other two: 4, 6.5, 1, 4.5; 7, 4.5, 3, 4.5; 6, 2, 3, 9.
    predicted = show_epochs(choice_of(FOLDS), losses)
    for i, epoch in enumerate([3, 3, 2]):
        assert_array_equal(predicted[FOLDS[i]], 100 * epoch + i)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_losses_on_a_fold_do_not_choose_its_epoch(data):
    """Whatever the labels of a fold say of its network, its predictions stay."""
    values = st.floats(-1e3, 1e3)
    curves = st.lists(st.lists(values, min_size=3, max_size=3), min_size=1, max_size=8)
    losses = np.array(data.draw(curves))
    i = data.draw(st.integers(0, 2))
    other = losses.copy()
    other[:, i] = data.draw(
        st.lists(values, min_size=len(losses), max_size=len(losses))
    )
    predicted = [
        show_epochs(choice_of(FOLDS), curve)[FOLDS[i]] for curve in (losses, other)
    ]
    assert_array_equal(*predicted)


def test_networks_that_train_on_a_row_choose_its_epoch():
    """Rows of a bootstrap are held out of several networks, or of none, or of all."""
    rows = [np.array([0, 1, 2, 9]), np.array([1, 2, 3, 9]), np.array([2, 4, 9])]
    losses = np.array([[1, 5, 5.0], [5, 1, 4], [4, 4, 1]])
    choice = choice_of([*rows, np.array([9])])
    predicted = show_epochs(choice, np.column_stack([losses, [3, 2, 9]]))
    # Others of row 0: networks 1, 2, 3: 13, 7, 14; of row 1: 2 and 3: 8, 6, 10.
    assert predicted[0] == 200
    assert predicted[1] == np.mean([200, 201])
    assert predicted[2] == np.mean([200, 201, 202])  # network 3 alone: 3, 2, 9
    assert predicted[3] == 101  # networks 0, 2 and 3: 9, 11, 14
    assert np.isnan(predicted[[5, 9]]).all()


def test_a_network_that_has_stopped_keeps_what_it_has_predicted():
    choice = choice_of(FOLDS)
    ones = torch.ones(4, 1)
    choice.update({0: ones, 1: ones, 2: ones}, np.array([3, 3, 3.0]))
    choice.update({1: 2 * ones, 2: 2 * ones}, np.array([3, 2, 2.0]))
    choice.update({2: 3 * ones}, np.array([3, 2, 1.0]))
    assert choice.epochs.tolist() == [2, 2, 1]  # groups of the last network first
    predicted = choice.outputs(BLOCKS)[:, 0].numpy()
    for fold, epoch in zip(FOLDS, [1, 2, 2], strict=True):
        assert_array_equal(predicted[fold], epoch)
    rows, sample = choice.sample(2, BLOCKS)
    assert_array_equal(rows, np.arange(N))
    # The first network has stopped: what it predicted last stands beside the others.
    assert_array_equal(sample[:, 0], np.array([1.0, 2, 2])[np.arange(N) % 3])


# ------------------------------------------------------------------ fitted estimators
SETTINGS = {
    "encoder": MLP((8,), dropout=0.1),
    "n_estimators": 4,
    "max_iter": 6,
    "n_iter_no_change": 100,
    "learning_rate_init": 0.03,
    "random_state": 0,
}
CASES = {
    "classifier": (MultiTaskClassifier, {"threshold": "f1"}),
    "classifier, metric": (MultiTaskClassifier, {"validation_metric": "roc_auc"}),
    "classifier, bootstrap": (MultiTaskClassifier, {"resampling": "bootstrap"}),
    "regressor": (MultiTaskRegressor, {}),
    "regressor, turns": (MultiTaskRegressor, {"weighting": "upgrad"}),
    "regressor, bootstrap": (
        MultiTaskRegressor,
        {"resampling": "bootstrap", "loss": "huber", "validation_metric": "r2"},
    ),
    "both": (MultiTaskEstimator, {"threshold": "balanced_accuracy"}),
    "both, no calibration": (MultiTaskEstimator, {"calibrate": False}),
}


def make_tasks(cls, n=60):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4))
    score = X[:, :2] + rng.normal(size=(n, 2))
    binary = (score > 0.3).astype(float)
    if cls is MultiTaskClassifier:
        return X, binary
    return X, score if cls is MultiTaskRegressor else np.c_[score[:, 0], binary[:, 1]]


def change_labels(labels, rows):
    """Return other labels of some rows: of the other class, or far away."""
    changed = [task.copy() for task in labels]
    for task in changed:
        task[rows] = 5 - task[rows] if task.dtype.kind == "f" else 1 - task[rows]
    return changed


def fit_with_changed_labels(monkeypatch, est, X, Y, rows):
    """Fit the same networks, but look at other labels of held-out rows."""
    trained = []

    def change(data):
        return replace(data, labels=change_labels(data.labels, rows))

    def rows_of_members(job, net, packed, original=TrainingRun._make_rows_of_members):
        trains, valid = original(job, net, packed)
        for own in valid:
            own.targets = job._pack_labels(change(job.data), net).targets
        return trains, valid

    def judging(job):
        if job.scorer is None:
            return None
        judge = replace(job.scorer, data=change(job.data))
        return ValidationScores(judge, len(job.splits), job.targets.n_tasks)

    def out_of_fold(
        net, job, *args, original=skmtl._estimators.fit.predict_out_of_fold
    ):
        trained.append(job)
        return original(net, replace(job, data=change(job.data)), *args)

    def means(
        job, tasks, original=skmtl._estimators.fitting.out_of_fold._compute_label_means
    ):
        return original(trained[0], tasks)  # networks have trained on these labels

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "_make_rows_of_members", rows_of_members)
        patch.setattr(TrainingRun, "make_validation_scores", judging)
        patch.setattr(skmtl._estimators.fit, "predict_out_of_fold", out_of_fold)
        patch.setattr(
            skmtl._estimators.fitting.out_of_fold, "_compute_label_means", means
        )
        return est.fit(X, Y)


@pytest.mark.parametrize("case", CASES)
def test_labels_do_not_change_predictions_of_their_own_rows(monkeypatch, case):
    cls, given = CASES[case]
    X, Y = make_tasks(cls)
    est = cls(**SETTINGS | given).fit(X, Y)
    fold = est._parts_of_fit[1][1][1]
    rows = fold[:1] if given.get("resampling") == "bootstrap" else fold
    other = fit_with_changed_labels(monkeypatch, cls(**SETTINGS | given), X, Y, rows)
    rest = np.setdiff1d(np.arange(len(X)), rows)
    differs = False
    for a, b in zip(est.oof_prediction_, other.oof_prediction_, strict=True):
        assert_array_equal(a[rows], b[rows])
        differs |= not np.array_equal(a[rest], b[rest], equal_nan=True)
    # Elsewhere the labels count; without calibration only if an epoch changes by them.
    assert differs or not est.calibrate
    if "threshold" in given:
        a, b = (e._oof.thresholds[e._oof.group[rows]] for e in (est, other))
        assert_array_equal(a, b)


NOISE = {
    "n_estimators": 3,
    "max_iter": 12,
    "batch_size": 60,
    "learning_rate_init": 0.05,
}


def make_noise(cls, seed, n=60):
    rng = np.random.default_rng(seed)
    X, numbers = rng.normal(size=(n, 10)), rng.normal(size=(n, 4))
    truth = numbers > 0
    if cls is MultiTaskClassifier:
        return X, truth.astype(float)
    return X, numbers if cls is MultiTaskRegressor else np.c_[
        numbers[:, :2], truth[:, 2:]
    ]


def explained(est, Y):
    """Return the share of the variance that out-of-fold predictions explain."""
    shares = []
    for y, predicted in zip(Y.T, est.oof_prediction_, strict=True):
        values = predicted[:, 1] if predicted.ndim == 2 else predicted
        known = ~np.isnan(values)
        shares.append(r2_score(y[known], values[known]))
    return shares


METRICS = {
    MultiTaskClassifier: "accuracy",
    MultiTaskRegressor: "r2",
    MultiTaskEstimator: {"classification": "accuracy", "regression": "r2"},
}


@pytest.mark.parametrize("cls", METRICS)
def test_noise_is_not_explained(cls):
    """Predicting the mean explains nothing, and what is learned from noise less."""
    metric = {"validation_metric": METRICS[cls]}
    shares = []
    for seed, scheme in enumerate([{}, {}, {"resampling": "bootstrap"}, metric]):
        X, Y = make_noise(cls, seed)
        est = cls(**SETTINGS | NOISE | scheme | {"random_state": seed})
        shares += explained(est.fit(X, Y), Y)
    assert np.mean(shares) < 0


def test_a_choice_takes_the_state_of_one_for_the_same_rows_only():
    choice, twin = choice_of(FOLDS), choice_of(FOLDS)
    for _ in range(2):
        choice.update({i: torch.rand(4, 1) for i in range(3)}, np.arange(3.0))
    state = choice.state_dict()
    assert twin.accepts_state(state, 1)
    twin.load_state_dict(state)
    assert_array_equal(twin.outputs(BLOCKS), choice.outputs(BLOCKS))
    assert not twin.accepts_state(state, 2)
    assert not twin.accepts_state(state | {"n_epochs": 0}, 1)
    assert not twin.accepts_state(state | {"best": state["best"][:2]}, 1)
    assert not twin.accepts_state(state | {"samples": {}}, 1)
    assert not twin.accepts_state(state | {"latest": [torch.rand(5, 1)] * 3}, 1)
    assert not twin.accepts_state(state | {"predictions": [torch.rand(4, 2)] * 3}, 1)
