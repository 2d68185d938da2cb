"""What fit does beside learning: stopping, callbacks, failures, memory, randomness."""

import copy
import gc
import os
import pickle
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.utils import check_random_state
from sklearn.utils.fixes import parse_version
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
)
from skorch.exceptions import DeviceWarning
from torch import nn

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.exceptions import DivergenceError
from skmtl.sharing import SHARING
from skmtl.training import MultiTaskNet
from tests._networks import plain_mlp
from tests._pairs import pairs

needs_callbacks = pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"),
    reason="callbacks came with scikit-learn 1.9",
)

SETTINGS = {
    "encoder": plain_mlp((16,)),
    "max_iter": 5,
    "learning_rate_init": 0.02,
    "random_state": 0,
    "n_estimators": 1,
}
X, SPECIES = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
Y = np.column_stack([SPECIES, X[:, 0] > 0])
NUMPY_STATE = check_random_state(None)  # the global one
DIGITS = load_digits()
IMAGES = DIGITS.data / 16
DIGIT_TASKS = np.column_stack(
    [DIGITS.target, DIGITS.target % 2, np.isin(DIGITS.target, [0, 6, 8, 9])]
)
ESTIMATORS = {
    "classifier": (MultiTaskClassifier, Y),
    "regressor": (MultiTaskRegressor, X[:, 2:]),
    "both": (MultiTaskEstimator, np.column_stack([SPECIES, X[:, 3]])),
}


def classifier(**kwargs):
    return MultiTaskClassifier(**SETTINGS | kwargs)


def assert_identical(est, other, data=X):
    if hasattr(est, "predict_proba"):
        for P, Q in zip(
            est.predict_proba(data), other.predict_proba(data), strict=True
        ):
            assert_array_equal(P, Q)
    assert_array_equal(est.predict(data), other.predict(data))


def assert_unfitted(est):
    assert not [k for k in vars(est) if k.endswith("_") and not k.startswith("_")]
    with pytest.raises(NotFittedError):
        est.predict(X)


@pytest.fixture
def trained_rows(monkeypatch):
    """Record which rows train and which are held out."""
    seen = {}
    train = MultiTaskNet.train

    def spy(net, rows, valid, epochs, **options):
        seen["train"], seen["valid"], seen["epochs"] = rows, valid, epochs
        return train(net, rows, valid, epochs, **options)

    monkeypatch.setattr(MultiTaskNet, "train", spy)
    return seen


# Early stopping


@pytest.mark.parametrize(
    ("n", "early_stopping", "held_out"),
    [
        (49, "auto", 0),
        (50, "auto", 5),
        (600, False, 0),
        (100, True, 10),
        (600, True, 60),
    ],
)
def test_rows_are_held_out_only_for_early_stopping(
    n, early_stopping, held_out, trained_rows
):
    classifier(early_stopping=early_stopping).fit(IMAGES[:n], DIGIT_TASKS[:n])
    assert len(trained_rows["train"]) == n - held_out
    if held_out:
        assert len(trained_rows["valid"]) == held_out
        both = [trained_rows[part].index.tolist() for part in ("train", "valid")]
        assert sorted(both[0] + both[1]) == list(range(n))
    else:
        assert trained_rows["valid"] is None


def test_regression_alone_needs_more_rows_to_stop_early(trained_rows):
    est = MultiTaskRegressor(**SETTINGS)
    est.fit(IMAGES[:499], DIGIT_TASKS[:499])
    assert trained_rows["valid"] is None
    est.fit(IMAGES[:500], DIGIT_TASKS[:500])
    assert len(trained_rows["valid"]) == 50
    kinds = ["regression", "regression", "classification"]
    both = MultiTaskEstimator(**SETTINGS, task_types=kinds)
    both.fit(IMAGES[:50], DIGIT_TASKS[:50])
    assert len(trained_rows["valid"]) == 5


def test_only_labelled_rows_count_for_early_stopping(trained_rows):
    y = DIGIT_TASKS[:600].astype(float)
    y[:551] = np.nan
    classifier().fit(IMAGES[:600], y)
    assert trained_rows["valid"] is None
    y[550] = 1
    classifier().fit(IMAGES[:600], y)
    assert len(trained_rows["valid"]) == 5
    assert min(trained_rows["train"].index.tolist()) == 550


def test_held_out_rows_are_stratified_over_tasks(trained_rows):
    classifier(validation_fraction=0.2, max_iter=1).fit(IMAGES, DIGIT_TASKS)
    rows = trained_rows["valid"].index.numpy()
    for task in DIGIT_TASKS.T:
        counts, expected = np.bincount(task[rows]), 0.2 * np.bincount(task)
        assert_allclose(counts, expected, atol=3)


def test_with_a_validation_set_all_rows_train(trained_rows):
    classifier().fit(X, Y, X_val=X[:30], y_val=Y[:30])
    assert len(trained_rows["train"]) == 150
    assert len(trained_rows["valid"]) == 30


def mean_loss(est, data, labels):
    losses = [
        -np.log(P[np.arange(len(data)), labels[:, t]]).mean()
        for t, P in enumerate(est.predict_proba(data))
    ]
    return np.mean(losses)


@pairs(
    ("sharing", "precision", "given"),
    list(SHARING),
    ["float32", "float64"],
    [True, False],
)
@pytest.mark.sampled(5)
def test_the_best_epoch_is_restored(sharing, precision, given, trained_rows):
    rng = np.random.RandomState(0)
    labels = np.where(rng.rand(*Y.shape) < 0.3, rng.randint(0, 2, Y.shape), Y)
    est = classifier(
        sharing=sharing,
        precision=precision,
        max_iter=25,
        learning_rate_init=0.1,
        early_stopping=True,
        validation_fraction=0.3,
        n_iter_no_change=np.inf,
    )
    held_out = {"X_val": X[1::2], "y_val": labels[1::2]} if given else {}
    train = slice(0, None, 2) if given else slice(None)
    est.fit(X[train], labels[train], **held_out)
    if given:
        data, truth = X[1::2], labels[1::2]
    else:
        rows = trained_rows["valid"].index.numpy()
        data, truth = X[rows], labels[rows]
    losses = [epoch["valid_loss"] for epoch in est.history_]
    assert len(losses) == est.n_iter_ == 25
    assert np.argmin(losses) < 24
    assert mean_loss(est, data, truth) == pytest.approx(min(losses), rel=1e-5)
    assert est.best_validation_score_ == -min(losses)
    assert est.validation_scores_ == [-loss for loss in losses]


def test_the_best_epoch_is_restored_with_batch_statistics():
    est = classifier(encoder=plain_mlp((16,), norm="batch"), max_iter=30)
    est.set_params(learning_rate_init=0.1, n_iter_no_change=np.inf)
    est.fit(X[::2], Y[::2], X_val=X[1::2], y_val=Y[1::2])
    losses = [epoch["valid_loss"] for epoch in est.history_]
    assert mean_loss(est, X[1::2], Y[1::2]) == pytest.approx(min(losses), rel=1e-5)


def test_training_stops_after_epochs_without_improvement():
    est = classifier(max_iter=500, n_iter_no_change=4, tol=0, learning_rate_init=0.1)
    est.fit(X[::2], Y[::2], X_val=X[1::2], y_val=Y[1::2])
    losses = [epoch["valid_loss"] for epoch in est.history_]
    assert est.n_iter_ == np.argmin(losses) + 1 + 4 < 500


@pytest.mark.parametrize("monitor", ["train", "valid"])
def test_improvements_smaller_than_tol_do_not_count(monitor):
    valid = {"X_val": X, "y_val": Y} if monitor == "valid" else {}
    est = classifier(tol=1e3, n_iter_no_change=3, max_iter=50).fit(X, Y, **valid)
    assert est.n_iter_ == 4
    assert classifier(tol=1e3, n_iter_no_change=np.inf).fit(X, Y).n_iter_ == 5


def test_without_early_stopping_there_is_no_validation_score():
    est = classifier(early_stopping=False).fit(X, Y)
    assert not hasattr(est, "validation_scores_")
    assert not hasattr(est, "best_validation_score_")
    assert len(est.loss_curve_) == est.n_iter_ == 5
    assert est.loss_ == est.loss_curve_[-1]
    assert est.loss_curve_[-1] < est.loss_curve_[0]


def test_losses_of_the_curve_are_means_over_tasks():
    est = classifier(early_stopping=False).fit(X, Y)
    for epoch, loss in zip(est.history_, est.loss_curve_, strict=True):
        assert loss == pytest.approx(np.mean(epoch["train_losses"]))


def test_refitting_on_other_features_takes_their_validation_set():
    est = classifier().fit(X, Y)
    est.fit(
        IMAGES[:100], DIGIT_TASKS[:100], X_val=IMAGES[100:], y_val=DIGIT_TASKS[100:]
    )
    assert est.n_features_in_ == 64


def test_frames_of_validation_must_match_those_of_training():
    names = list("abcd")
    frame, y = pd.DataFrame(X, columns=names), pd.DataFrame(Y, columns=["s", "b"])
    est = classifier().fit(frame, y, X_val=frame, y_val=y)
    other = classifier().fit(X, Y, X_val=X, y_val=Y)
    assert_array_equal(est.predict(frame), other.predict(X))
    classifier().fit(frame, Y, X_val=frame, y_val=y)
    classifier().fit(frame, y, X_val=frame, y_val=Y)
    with pytest.raises(ValueError, match="feature names should match"):
        classifier().fit(frame, y, X_val=frame[names[::-1]], y_val=y)
    with pytest.raises(ValueError, match="y_val must have one column for each task"):
        classifier().fit(frame, y, X_val=frame, y_val=y.rename(columns={"b": "c"}))


# One pass and going on


def test_partial_fit_makes_one_pass():
    est = classifier()
    for n in range(1, 4):
        est.partial_fit(X, Y, classes=[[0, 1, 2], [0, 1]] if n == 1 else None)
        assert est.n_iter_ == len(est.loss_curve_) == n
    assert est.loss_curve_[2] < est.loss_curve_[0]


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_two_passes_are_two_epochs(optimizer):
    est = classifier(optimizer=optimizer)
    for _ in range(2):
        est.partial_fit(X, Y, classes=[[0, 1, 2], [0, 1]])
    settings = {"optimizer": optimizer, "max_iter": 2, "early_stopping": False}
    assert_identical(est, classifier(**settings).fit(X, Y))


def test_partial_fit_of_regression_keeps_the_first_units():
    _, y = load_diabetes(return_X_y=True)
    features = load_diabetes().data
    est = MultiTaskRegressor(**SETTINGS)
    est.partial_fit(features, y).partial_fit(features, y * 2)
    assert est._targets.mean == pytest.approx(y.mean())
    with pytest.raises(TypeError):
        est.partial_fit(features, y, classes=[0])


def test_declared_classes_may_come_later():
    classes = [["ant", "bee", "caterpillar"], ["no", "yes"]]
    labels = [np.array(c)[Y[:, t]] for t, c in enumerate(classes)]
    y = np.column_stack(labels)
    first = SPECIES == 0
    est = classifier().partial_fit(X[first], y[first].astype("<U3"), classes=classes)
    assert est.classes_[0].tolist() == classes[0]
    for _ in range(30):
        est.partial_fit(X, y)
    assert (est.predict(X) == y).mean() > 0.8
    assert [p.shape[1] for p in est.predict_proba(X)] == [3, 2]


def test_declared_classes_of_one_task():
    est = classifier().partial_fit(X, SPECIES, classes=[0, 1, 2, 3])
    assert est.predict_proba(X).shape == (150, 4)
    est.partial_fit(X, SPECIES, classes=np.array([3, 2, 1, 0]))
    assert est.n_iter_ == 2


def test_a_batch_may_lack_all_labels_of_a_task():
    y = Y.astype(float)
    y[:, 0] = np.nan
    est = classifier().partial_fit(X, y, classes=[[0, 1, 2], [0, 1]])
    assert np.isfinite(est.predict_proba(X)[0]).all()
    est.partial_fit(X, Y)
    assert est.classes_[0].tolist() == [0, 1, 2]


def test_partial_fit_goes_on_from_fit():
    est = classifier().fit(X, Y)
    before = est.predict_proba(X)
    est.partial_fit(X, Y)
    assert est.n_iter_ == 6
    assert not np.array_equal(est.predict_proba(X)[0], before[0])


def test_learning_rates_and_optimizers_may_change_between_passes():
    est = classifier().partial_fit(X, Y, classes=[[0, 1, 2], [0, 1]])
    before = est.predict_proba(X)[0]
    est.set_params(learning_rate_init=1e-12).partial_fit(X, Y)
    assert_allclose(est.predict_proba(X)[0], before, atol=1e-9)
    est.set_params(learning_rate_init=0.02).partial_fit(X, Y)
    assert abs(est.predict_proba(X)[0] - before).max() > 1e-3
    est.set_params(optimizer="sgd").partial_fit(X, Y)
    assert est.n_iter_ == 4


def test_warm_start_goes_on_and_fit_begins_anew_without():
    est = classifier(warm_start=True, max_iter=3).fit(X, Y)
    first = est.loss_
    est.fit(X, Y)
    assert est.n_iter_ == 6
    assert est.loss_ < first
    est.set_params(warm_start=False).fit(X, Y)
    assert est.n_iter_ == 3
    assert est.loss_ == first


def test_warm_start_refuses_another_architecture_and_stays_fitted():
    est = classifier(warm_start=True).fit(X, Y)
    before = est.predict_proba(X)
    est.set_params(sharing="independent")
    with pytest.raises(ValueError, match="'sharing' parameter cannot change"):
        est.fit(X, Y)
    assert_array_equal(est.predict_proba(X)[0], before[0])


# Optimizers, precision, threads, containers of X


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [
        ("adamw", 0.02),
        ("adam", 0.02),
        ("sgd", 0.1),
        (torch.optim.RMSprop, 0.01),
        (torch.optim.Adagrad, 0.1),
        (torch.optim.LBFGS, 0.1),
        (torch.optim.Rprop, 0.01),
    ],
)
@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.sampled(4)
def test_every_optimizer_learns(kind, optimizer, rate):
    cls, y = ESTIMATORS[kind]
    est = cls(**SETTINGS | {"optimizer": optimizer, "learning_rate_init": rate})
    est.set_params(max_iter=30).fit(X, y)
    assert est.loss_ < 0.7 * est.loss_curve_[0]
    assert est.score(X, y) > 0.8


@pytest.mark.parametrize("precision", ["auto", "float32", "float64", "bf16"])
@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.sampled(3)
def test_every_precision_learns_the_same(kind, precision):
    cls, y = ESTIMATORS[kind]
    est = cls(**SETTINGS | {"precision": precision, "max_iter": 30}).fit(X, y)
    reference = cls(**SETTINGS | {"precision": "float64", "max_iter": 30}).fit(X, y)
    assert est.score(X, y) == pytest.approx(reference.score(X, y), abs=0.05)


CONTAINERS = {
    "lists": lambda folder: X.tolist(),
    "Fortran order": lambda folder: np.asfortranarray(X),
    "read-only": lambda folder: read_only(X),
    "reversed twice": lambda folder: X[::-1].copy()[::-1],
    "every second column": lambda folder: np.repeat(X, 2, axis=1)[:, ::2],
    "big-endian": lambda folder: X.astype(">f8"),
    "long double": lambda folder: X.astype(np.longdouble),
    "frame": lambda folder: pd.DataFrame(X),
    "nullable frame": lambda folder: pd.DataFrame(X).astype("Float64"),
    "csr_matrix": lambda folder: sparse.csr_matrix(X),
    "csr_array": lambda folder: sparse.csr_array(X),
    "csc_matrix": lambda folder: sparse.csc_matrix(X),
    "csc_array": lambda folder: sparse.csc_array(X),
    "coo_array": lambda folder: sparse.coo_array(X),
    "torch": lambda folder: torch.from_numpy(X),
    "torch on the tape": lambda folder: torch.from_numpy(X).requires_grad_(),
    "memory map": lambda folder: mapped(X, folder),
}


def read_only(array):
    array = array.copy()
    array.setflags(write=False)
    return array


def mapped(array, folder):
    np.save(folder / "X.npy", array)
    return np.load(folder / "X.npy", mmap_mode="r")


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("batch_size", [32, "auto"])
@pytest.mark.sampled(2)
def test_x_in_every_container_gives_the_same_model(container, batch_size, tmp_path):
    data = CONTAINERS[container](tmp_path)
    est = classifier(batch_size=batch_size).fit(data, Y)
    other = classifier(batch_size=batch_size).fit(X, Y)
    for P, Q in zip(est.predict_proba(data), other.predict_proba(X), strict=True):
        assert_allclose(P, Q, rtol=1e-9)
    assert est.score(data, Y) == other.score(X, Y)


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.int8, np.int64, np.uint8, bool]
)
@pytest.mark.parametrize("as_type", [np.asarray, sparse.csr_array])
def test_x_of_every_numeric_type(dtype, as_type):
    data = (X > 0) if dtype is bool else (X * 4 + 20).round().astype(dtype)
    if dtype is np.float16 and as_type is sparse.csr_array:
        pytest.skip("scipy has no sparse float16")
    est = classifier().fit(as_type(data), Y)
    other = classifier().fit(data.astype(float), Y)
    assert_allclose(
        est.predict_proba(as_type(data))[0],
        other.predict_proba(data.astype(float))[0],
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("container", ["read-only", "memory map", "csr_array", "frame"])
def test_fit_and_predict_change_nothing_in_the_data(container, tmp_path):
    data, y = CONTAINERS[container](tmp_path), Y.copy()
    before = copy.deepcopy(data)
    classifier(encoder=plain_mlp((16,), dropout=0.5)).fit(data, y).predict(data)
    difference = before != data
    assert not (difference.sum() if sparse.issparse(data) else np.any(difference))
    assert_array_equal(y, Y)


def test_x_may_be_a_tensor_of_bfloat16():
    data = torch.from_numpy(X).bfloat16()
    est = classifier().fit(data, Y)
    assert est.score(data, Y) > 0.7


def test_reversed_rows_are_predicted_in_reverse():
    est = classifier().fit(X, Y)
    assert_array_equal(est.predict(X[::-1]), est.predict(X)[::-1])


def test_images_of_four_dimensions_reach_the_encoder():
    def network():
        return nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten())

    images = DIGITS.images[:300, None] / 16
    est = classifier(encoder=network, max_iter=20, n_iter_no_change=np.inf)
    est.fit(images, DIGIT_TASKS[:300])
    assert est.score(images, DIGIT_TASKS[:300]) > 0.8
    with pytest.raises(ValueError, match=r"X has samples of shape \(1, 8, 7\)"):
        est.predict(images[..., :7])


def test_memory_maps_are_never_read_as_a_whole(tmp_path, trained_rows):
    data = mapped(X.astype(np.float32), tmp_path)
    est = classifier(batch_size=32, precision="float32").fit(data, Y)
    source = trained_rows["train"].source
    assert np.shares_memory(source.data, data)
    assert_array_equal(est.predict(data), est.predict(X.astype(np.float32)))


# The progress bar


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_without_verbose_nothing_is_printed(kind, capfd):
    cls, y = ESTIMATORS[kind]
    est = cls(**SETTINGS).fit(X, y)
    est.score(X, y)
    assert capfd.readouterr() == ("", "")


def test_the_progress_bar_shows_epochs_losses_scores_and_the_best(capfd):
    y = pd.DataFrame(Y, columns=["species", "long"])
    est = classifier(verbose=1).fit(X, y, X_val=X, y_val=Y)
    out, err = capfd.readouterr()
    assert out == ""
    assert "5/5" in err
    last = est.history_[-1]
    for name, loss in zip(est.task_names_, last["train_losses"], strict=True):
        assert f"{name}={loss:.4f}" in err
    assert f"valid_loss={last['valid_loss']:.4f}" in err
    assert f"best={-est.best_validation_score_:.4f}" in err


def test_the_progress_bar_without_validation(capfd):
    classifier(verbose=1, early_stopping=False).fit(X, Y)
    _, err = capfd.readouterr()
    assert "task0=" in err
    assert "valid" not in err


def test_the_progress_bar_of_many_tasks_stays_short(capfd):
    y = np.random.RandomState(0).randint(0, 2, (150, 40))
    classifier(verbose=1).fit(X, y)
    _, err = capfd.readouterr()
    assert "36 more" in err
    assert max(map(len, err.replace("\r", "\n").split("\n"))) < 200


def test_the_progress_bar_closes_when_training_fails(capfd):
    class Failing(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise RuntimeError("no more")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="no more"):
            classifier(verbose=1, callbacks=[Failing()]).fit(X, Y)
    _, err = capfd.readouterr()
    # A bar left open would push the next one to another line.
    assert "\x1b[A" not in err


# Callbacks of skorch


class Recorder(Callback):
    def __init__(self):
        self.events = []

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.events.append("train begin")

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.events.append("epoch begin")

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        self.events.append(("batch begin", training, len(batch[0])))

    def on_batch_end(self, net, batch=None, training=None, **kwargs):
        assert kwargs["y_pred"].shape[0] == len(batch[0])
        assert kwargs["loss"].ndim == 0
        self.events.append(("batch end", training, len(batch[0])))

    def on_grad_computed(self, net, named_parameters, **kwargs):
        named = list(named_parameters)
        assert all(p.grad is not None for _, p in named)
        self.events.append("gradients")

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.events.append("epoch end")

    def on_train_end(self, net, X=None, y=None, **kwargs):
        self.events.append("train end")


def test_callbacks_hear_every_event_in_order():
    recorder = Recorder()
    classifier(callbacks=[recorder], max_iter=1, batch_size=100).fit(
        X, Y, X_val=X[:30], y_val=Y[:30]
    )

    def step(n):
        return [("batch begin", True, n), "gradients", ("batch end", True, n)]

    assert recorder.events == [
        "train begin",
        "epoch begin",
        *step(100),
        *step(50),
        ("batch begin", False, 30),
        ("batch end", False, 30),
        "epoch end",
        "train end",
    ]


@pytest.mark.parametrize("monitor", ["train_loss", "valid_loss"])
def test_early_stopping_of_skorch_stops_without_an_interrupt(monitor):
    stopper = EarlyStopping(monitor=monitor, patience=3, threshold=10, sink=list)
    est = classifier(callbacks=[stopper], max_iter=50, n_iter_no_change=np.inf)
    valid = {"X_val": X, "y_val": Y} if monitor == "valid_loss" else {}
    est.fit(X, Y, **valid)
    assert est.n_iter_ == 4
    assert est.score(X, Y) > 0.3
    if valid:
        assert mean_loss(est, X, Y) == pytest.approx(-est.best_validation_score_)


def test_a_callback_may_stop_by_raising():
    class Enough(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise KeyboardInterrupt

    est = classifier(callbacks=[Enough()]).fit(X, Y)
    assert est.n_iter_ == 2
    assert est.predict(X).shape == Y.shape


@pytest.mark.parametrize(
    ("scheduler", "rates"),
    [
        (
            LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5),
            [0.02, 0.01, 0.005, 0.0025, 0.00125],
        ),
        (
            LRScheduler(
                torch.optim.lr_scheduler.ExponentialLR, gamma=0.1, step_every="epoch"
            ),
            [0.02, 0.002, 0.0002, 2e-5, 2e-6],
        ),
        (
            LRScheduler(
                torch.optim.lr_scheduler.ReduceLROnPlateau,
                patience=0,
                threshold=1e3,
                threshold_mode="abs",
                monitor="train_loss",
            ),
            [0.02, 0.02, 0.002, 0.0002, 2e-5],
        ),
    ],
    ids=["StepLR", "ExponentialLR", "ReduceLROnPlateau"],
)
def test_learning_rates_follow_a_schedule(scheduler, rates):
    seen = []

    class Watch(Callback):
        def on_epoch_begin(self, net, **kwargs):
            seen.append(net.optimizer_.param_groups[0]["lr"])

    est = classifier(callbacks=[scheduler, Watch()], n_iter_no_change=np.inf)
    est.fit(X, Y)
    assert_allclose(seen, rates)


def test_a_schedule_per_batch():
    scheduler = LRScheduler(
        torch.optim.lr_scheduler.OneCycleLR,
        max_lr=0.1,
        total_steps=50,
        step_every="batch",
    )
    est = classifier(callbacks=[scheduler], batch_size=15).fit(X, Y)
    assert np.isfinite(est.loss_curve_).all()
    assert est.score(X, Y) > 0.7


def test_gradients_are_clipped():
    norms = []

    class Watch(Callback):
        def on_batch_end(self, net, **kwargs):
            parameters = net.module_.parameters()
            squares = [(p.grad**2).sum() for p in parameters if p.grad is not None]
            norms.append(float(torch.stack(squares).sum().sqrt()))

    clip = GradientNormClipping(gradient_clip_value=1e-3)
    classifier(callbacks=[clip, Watch()]).fit(X, Y)
    assert max(norms) < 1.01e-3
    norms.clear()
    classifier(callbacks=[Watch()]).fit(X, Y)
    assert max(norms) > 1e-2


def accuracy_of_first_task(net, dataset, y=None):
    labels = net.predict(dataset)
    assert labels.shape == y.shape == (len(dataset), 2)
    rows = [dataset[i][1][0].item() for i in range(len(dataset))]
    assert rows == y[:, 0].tolist()
    return float(len(rows)) + labels.shape[0]


@pytest.mark.parametrize("on_train", [True, False])
def test_epoch_scoring_by_the_dataset(on_train):
    scoring = EpochScoring(
        accuracy_of_first_task, name="rows", use_caching=False, on_train=on_train
    )
    est = classifier(callbacks=[scoring]).fit(X, Y, X_val=X[:30], y_val=Y[:30])
    n = 150 if on_train else 30
    assert [epoch["rows"] for epoch in est.history_] == [2 * n] * 5
    assert est.history_[0]["rows_best"] is False or est.history_[0]["rows_best"] is True


@pytest.mark.parametrize("on_train", [True, False])
def test_epoch_scoring_by_cached_predictions(on_train):
    seen = []

    def score(net, dataset, y):
        outputs = np.concatenate([to.numpy() for to in net.forward_iter(dataset)])
        seen.append((outputs.shape, None if y is None else len(y)))
        return float(outputs.mean())

    scoring = EpochScoring(score, name="mean", use_caching=True, on_train=on_train)
    est = classifier(callbacks=[scoring], batch_size=64, max_iter=2)
    est.fit(X, Y, X_val=X[:30], y_val=Y[:30])
    n = 150 if on_train else 30
    assert [shape for shape, _ in seen] == [(n, 4)] * 2


def test_checkpoints_are_written_and_hold_the_weights(tmp_path):
    checkpoint = Checkpoint(dirname=tmp_path, monitor="valid_loss_best")
    est = classifier(callbacks=[checkpoint], max_iter=20, learning_rate_init=0.1)
    est.fit(X[::2], Y[::2], X_val=X[1::2], y_val=Y[1::2])
    assert {"params.pt", "optimizer.pt", "history.json"} <= set(os.listdir(tmp_path))
    saved = torch.load(tmp_path / "params.pt", weights_only=True)
    for name, value in est.module_.state_dict().items():
        torch.testing.assert_close(saved[name], value)


def test_a_checkpoint_may_watch_the_training_loss(tmp_path):
    checkpoint = Checkpoint(
        dirname=tmp_path, monitor="train_loss_best", load_best=True, f_optimizer=None
    )
    est = classifier(callbacks=[checkpoint]).fit(X, Y)
    assert est.score(X, Y) > 0.7
    assert (tmp_path / "params.pt").exists()


def make_callbacks(folder):
    return [
        EarlyStopping(monitor="valid_loss", patience=50, sink=list),
        LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=2),
        GradientNormClipping(1.0),
        EpochScoring(accuracy_of_first_task, name="rows", use_caching=False),
        Checkpoint(dirname=folder),
    ]


def test_a_model_fitted_with_callbacks_can_be_pickled_cloned_and_refitted(tmp_path):
    est = classifier(callbacks=make_callbacks(tmp_path)).fit(X, Y, X_val=X, y_val=Y)
    assert_identical(pickle.loads(pickle.dumps(est)), est)
    assert_identical(copy.deepcopy(est), est)
    other = clone(est).fit(X, Y, X_val=X, y_val=Y)
    assert_identical(other, est)
    assert_identical(est.fit(X, Y, X_val=X, y_val=Y), other)


# Callbacks of scikit-learn


def own_score(est, X, y):
    return {"score": est.score(X, y)}


def score_per_task(est, X, y):
    prediction = est.predict(X)
    return {
        name: accuracy_score(np.asarray(y)[:, t], prediction[:, t])
        for t, name in enumerate(est.task_names_)
    }


@needs_callbacks
def test_a_scoring_monitor_logs_each_epoch_and_task():
    from sklearn.callback import ScoringMonitor

    monitor = ScoringMonitor(scoring=score_per_task)
    est = classifier().set_callbacks(monitor).fit(X, Y)
    log = monitor.get_logs().data_as_pandas
    epochs = log[log["task_name"] == "epoch"]
    assert len(epochs) == est.n_iter_ == 5
    assert {"task0", "task1"} <= set(log.columns)
    final = score_per_task(est, X, Y)
    last = epochs.iloc[-1]
    assert last["task0"] == final["task0"]
    assert last["task1"] == final["task1"]
    assert epochs["task0"].nunique() > 1


@needs_callbacks
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_scoring_monitor_takes_the_score_of_each_estimator(kind):
    from sklearn.callback import ScoringMonitor

    cls, y = ESTIMATORS[kind]
    settings = SETTINGS | {"encoder": plain_mlp((16,), dropout=0.3)}
    monitor = ScoringMonitor(scoring=own_score)
    est = cls(**settings).set_callbacks(monitor).fit(X, y)
    log = monitor.get_logs().data_as_pandas
    assert est.score(X, y) in log.select_dtypes(float).to_numpy()
    assert_identical(est, cls(**settings).fit(X, y))


@needs_callbacks
def test_a_progress_bar_in_a_search_shows_epochs(capfd):
    from sklearn.callback import ProgressBar

    search = GridSearchCV(classifier(), {"sharing": ["hard", "independent"]}, cv=2)
    search.set_callbacks(ProgressBar(max_propagation_depth=5)).fit(X, Y)
    out, err = capfd.readouterr()
    assert "epoch" in out + err or "MultiTaskClassifier" in out + err
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@needs_callbacks
def test_a_callback_of_scikit_learn_may_stop_training():
    class StopAtTwo:
        def setup(self, estimator, context):
            self.n = 0

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            self.n += context.task_name == "epoch"
            return self.n == 2

        def teardown(self, estimator, context):
            pass

    assert classifier().set_callbacks(StopAtTwo()).fit(X, Y).n_iter_ == 2


@needs_callbacks
@pytest.mark.parametrize("early_stopping", [True, False])
def test_callbacks_are_content_when_there_is_nothing_to_learn(early_stopping, capfd):
    from sklearn.callback import ProgressBar, ScoringMonitor

    y = np.zeros(Y.shape)
    est = classifier(verbose=1, callbacks=[Recorder()], early_stopping=early_stopping)
    est.set_callbacks(ScoringMonitor(scoring=own_score), ProgressBar()).fit(X, y)
    assert est.score(X, y) == 1


# Divergence


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("early_stopping", [True, False])
def test_divergence_stops_with_one_sentence(kind, early_stopping):
    cls, y = ESTIMATORS[kind]
    est = cls(**SETTINGS | {"optimizer": "sgd", "learning_rate_init": 1e30})
    est.set_params(early_stopping=early_stopping, max_iter=1000)
    begun = time.perf_counter()
    with pytest.raises(
        DivergenceError,
        match=r"loss of task 'task\d' was not finite in epoch \d+: lower "
        r"learning_rate_init \(now 1e\+30\), or scale the features",
    ) as caught:
        est.fit(X, y)
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - begun < 2
    assert_unfitted(est)


def test_divergence_names_the_task_and_the_epoch():
    class Spoil(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 3:
                with torch.no_grad():
                    net.module_.heads.bias[-1] = torch.nan  # the last task's output

    y = pd.DataFrame({"species": SPECIES, "long": Y[:, 1], "petal": X[:, 2]})
    est = MultiTaskEstimator(**SETTINGS, callbacks=[Spoil()])
    with pytest.raises(DivergenceError, match=r"task 'petal' .* in epoch 3"):
        est.fit(X, y)


@pytest.mark.parametrize("valid", [True, False])
def test_divergence_in_the_last_step_is_found(valid):
    est = classifier(optimizer="sgd", learning_rate_init=1e300, max_iter=1)
    est.set_params(precision="float64", early_stopping=valid)
    with pytest.raises(DivergenceError):
        est.fit(X, Y)
    assert_unfitted(est)


def test_divergence_in_partial_fit_leaves_the_model_as_it_was():
    est = classifier(optimizer="sgd", precision="float32")
    est.partial_fit(X, Y, classes=[[0, 1, 2], [0, 1]])
    before = est.predict_proba(X)
    est.set_params(learning_rate_init=1e30)
    with pytest.raises(DivergenceError):
        est.partial_fit(X, Y)
    assert_array_equal(est.predict_proba(X)[0], before[0])


# Ctrl-C


class Interrupting(nn.Module):
    """An encoder during whose fifth training batch a user presses Ctrl-C."""

    pressed = 5
    forwards = 0

    def __init__(self, n_features):
        super().__init__()
        self.linear = nn.Linear(n_features, 8)

    def forward(self, X):
        if self.training:
            type(self).forwards += 1
            if type(self).forwards == self.pressed:
                raise KeyboardInterrupt
        return self.linear(X)


@pytest.fixture
def interrupting():
    Interrupting.forwards = 0
    return Interrupting


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("verbose", [0, 1])
def test_ctrl_c_reaches_the_user_and_leaves_the_estimator_unfitted(
    kind, verbose, interrupting
):
    cls, y = ESTIMATORS[kind]
    est = cls(**SETTINGS | {"encoder": interrupting, "verbose": verbose})
    with pytest.raises(KeyboardInterrupt):
        est.fit(X, y)
    assert_unfitted(est)


def test_ctrl_c_during_a_refit_leaves_the_estimator_unfitted(interrupting):
    est = classifier(encoder=interrupting, max_iter=2).fit(X, Y)
    with pytest.raises(KeyboardInterrupt):
        est.set_params(max_iter=10).fit(X, Y)
    assert_unfitted(est)


@pytest.mark.parametrize("method", ["partial_fit", "fit"])
def test_ctrl_c_while_going_on_leaves_the_model_as_it_was(method, interrupting):
    est = classifier(encoder=interrupting, warm_start=True, max_iter=2).fit(X, Y)
    before, n_iter = est.predict_proba(X), est.n_iter_
    interrupting.forwards = 4
    with pytest.raises(KeyboardInterrupt):
        getattr(est, method)(X, Y)
    assert_array_equal(est.predict_proba(X)[0], before[0])
    assert est.n_iter_ == n_iter
    getattr(est, method)(X, Y)
    assert est.n_iter_ > n_iter


def test_global_states_are_given_back_after_ctrl_c(interrupting):
    before = torch.get_rng_state(), NUMPY_STATE.get_state()[1].copy(), random.getstate()
    with pytest.raises(KeyboardInterrupt):
        classifier(encoder=interrupting).fit(X, Y)
    assert torch.equal(before[0], torch.get_rng_state())
    assert_array_equal(before[1], NUMPY_STATE.get_state()[1])
    assert before[2] == random.getstate()


@pytest.fixture
def listening():
    """Hear Ctrl-C also where the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    # Python drops an interrupt that comes within a callback of its garbage collector,
    # which Dask sets when other tests import it.
    callbacks = gc.callbacks[:]
    gc.callbacks.clear()
    yield
    gc.callbacks[:] = callbacks
    signal.signal(signal.SIGINT, before)


class PressSoon(Callback):
    """Press Ctrl-C some time after training began."""

    def __init__(self, delay):
        self.delay = delay

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        press = (os.getpid(), signal.SIGINT)
        self.timer_ = threading.Timer(self.delay, os.kill, press)
        self.timer_.start()


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("verbose", [0, 1])
@pytest.mark.parametrize("delay", [0.01, 0.05, 0.1])
def test_a_real_signal_stops_the_fit(verbose, delay):
    stopper = EarlyStopping(monitor="train_loss", patience=10**6)
    est = classifier(max_iter=5000, n_iter_no_change=np.inf, verbose=verbose)
    est.set_params(callbacks=[PressSoon(delay), stopper])
    with pytest.raises(KeyboardInterrupt):
        est.fit(X, Y)
    assert_unfitted(est)


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_batch_end", "on_epoch_end"])
def test_a_signal_that_arrives_inside_a_callback_is_no_wish_to_stop(hook):
    class Slow(Callback):
        pass

    def wait(self, net, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            time.sleep(0)

    setattr(Slow, hook, wait)
    est = classifier(callbacks=[Slow()])
    with pytest.raises(KeyboardInterrupt):
        est.fit(X, Y)
    assert_unfitted(est)


def test_ctrl_c_in_a_search_ends_the_search(interrupting):
    with pytest.raises(KeyboardInterrupt):
        GridSearchCV(classifier(encoder=interrupting), {"alpha": [0, 1]}, cv=2).fit(
            X, Y
        )


# All or nothing


def test_bad_input_after_a_fit_changes_nothing():
    est = classifier().fit(X, Y)
    before, state = est.predict_proba(X), set(vars(est))
    bad = Y.astype(float)
    bad[:, 1] = np.nan
    for data, y, fit in [
        (IMAGES[:150], bad, {}),
        (IMAGES[:150], Y, {"sample_weight": [1]}),
        (np.full_like(X, np.inf), Y, {}),
        (pd.DataFrame(X, columns=list("abcd")), bad, {}),
    ]:
        with pytest.raises(ValueError, match=r"y|X|task|sample_weight"):
            est.fit(data, y, **fit)
    assert set(vars(est)) == state
    assert est.n_features_in_ == 4
    assert not hasattr(est, "feature_names_in_")
    assert_array_equal(est.predict_proba(X)[0], before[0])


def test_a_failure_in_training_leaves_nothing_half_fitted():
    class Failing(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise RuntimeError("disk full")

    est = classifier().fit(X, Y)
    with pytest.raises(RuntimeError, match="disk full"):
        est.set_params(callbacks=[Failing()]).fit(X, Y)
    assert_unfitted(est)


def test_old_attributes_go_with_a_new_fit():
    est = classifier(early_stopping=True).fit(pd.DataFrame(X, columns=list("abcd")), Y)
    assert hasattr(est, "validation_scores_")
    est.set_params(early_stopping=False).fit(X, Y)
    assert not hasattr(est, "validation_scores_")
    assert not hasattr(est, "best_validation_score_")
    assert not hasattr(est, "feature_names_in_")


# Memory and pickles


def reachable(root):
    """Return all objects that an object keeps alive, short of modules and classes."""
    skipped = type | type(os) | type(reachable)
    seen, stack = {}, [root]
    while stack:
        thing = stack.pop()
        if id(thing) in seen or isinstance(thing, skipped):
            continue
        seen[id(thing)] = thing
        stack.extend(gc.get_referents(thing))
        if isinstance(thing, np.ndarray) and thing.base is not None:
            stack.append(thing.base)
    return seen.values()


def large_arrays(est, n):
    found = []
    for thing in reachable(est):
        if isinstance(thing, np.ndarray | torch.Tensor) and n in tuple(thing.shape):
            found.append(thing.shape)
        if isinstance(thing, list | tuple) and len(thing) == n:
            found.append(type(thing))
        if sparse.issparse(thing) or isinstance(thing, pd.DataFrame):
            found.append(thing.shape)
    return found


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("how", ["fit", "early stopping", "weights", "partial_fit"])
def test_no_training_data_is_held_after_fit(kind, how, tmp_path):
    cls, y = ESTIMATORS[kind]
    n = 149
    data, y = X[:n].copy(), y[:n].copy()
    est = cls(**SETTINGS | {"early_stopping": how == "early stopping"})
    if how == "partial_fit":
        kinds = {"classifier": [[0, 1, 2], [0, 1]], "both": [[0, 1, 2], None]}
        est.partial_fit(data, y, *([kinds[kind]] if kind in kinds else []))
    else:
        weight = np.linspace(0, 1, n) if how == "weights" else None
        est.fit(data, y, sample_weight=weight)
    est.predict(data)
    assert large_arrays(est, n) == []


def test_no_training_data_is_held_through_callbacks(tmp_path):
    n = 149
    callbacks = make_callbacks(tmp_path)
    callbacks.append(EpochScoring(lambda net, ds, y: 0.0, name="cached", on_train=True))
    callbacks[-1].target_extractor = lambda y: np.zeros(1)
    est = classifier(callbacks=callbacks)
    est.fit(X[:n].copy(), Y[:n].copy(), X_val=X[:n].copy(), y_val=Y[:n].copy())
    assert large_arrays(est, n) == []


@needs_callbacks
def test_no_training_data_is_held_through_scikit_learn_s_callbacks():
    from sklearn.callback import ScoringMonitor

    n = 149
    est = classifier().set_callbacks(ScoringMonitor(scoring=score_per_task))
    est.fit(X[:n].copy(), Y[:n].copy())
    assert large_arrays(est, n) == []


def test_no_optimizer_state_gradient_or_batch_history_is_held_after_fit():
    est = classifier(batch_size=10, callbacks=[Recorder()]).fit(X, Y)
    assert est.net_.optimizer_ is None
    assert all(p.grad is None for p in est.module_.parameters())
    assert all(epoch["batches"] == [] for epoch in est.history_)
    assert not [t for t in reachable(est) if isinstance(t, torch.optim.Optimizer)]


@pytest.mark.parametrize(
    ("sharing", "max_iter"), [*((sharing, 1) for sharing in SHARING), ("hard", 200)]
)
def test_a_pickle_of_a_default_model_is_small(sharing, max_iter):
    est = MultiTaskClassifier(
        sharing, max_iter=max_iter, random_state=0, n_estimators=1
    )
    est.set_params(n_iter_no_change=np.inf, early_stopping=True)
    est.fit(IMAGES[:120], DIGIT_TASKS[:120])
    assert est.n_iter_ == max_iter
    n_bytes = sum(p.nbytes for p in est.module_.parameters())
    assert len(pickle.dumps(est)) < 2 * n_bytes + 100_000


def test_models_survive_pickle_joblib_and_deepcopy(tmp_path):
    for cls, y in ESTIMATORS.values():
        est = cls(**SETTINGS).fit(X, y)
        joblib.dump(est, tmp_path / "est.joblib")
        for other in (
            pickle.loads(pickle.dumps(est)),
            joblib.load(tmp_path / "est.joblib"),
            copy.deepcopy(est),
        ):
            assert_identical(other, est)
            assert other.score(X, y) == est.score(X, y)
            assert other.get_params(deep=False).keys() == est.get_params(False).keys()
            other.set_params(warm_start=True).fit(X, y)
            assert other.n_iter_ > est.n_iter_


def test_a_pickled_model_trains_on_as_the_first_would():
    est = classifier().partial_fit(X, Y, classes=[[0, 1, 2], [0, 1]])
    other = pickle.loads(pickle.dumps(est))
    assert_identical(other.partial_fit(X, Y), est.partial_fit(X, Y))


def test_a_clone_is_unfitted_and_learns_the_same():
    est = classifier().fit(X, Y)
    other = clone(est)
    assert_unfitted(other)
    assert_identical(other.fit(X, Y), est)


def test_a_copy_is_independent():
    est = classifier().fit(X, Y)
    before = est.predict_proba(X)
    copy.deepcopy(est).partial_fit(X, Y)
    assert_array_equal(est.predict_proba(X)[0], before[0])


# Randomness and threads


@pairs(
    ("sharing", "precision", "kind"),
    list(SHARING),
    ["float32", "float64", "bf16"],
    list(ESTIMATORS),
)
@pytest.mark.sampled(5)
def test_the_same_random_state_gives_the_same_bits(sharing, precision, kind):
    cls, y = ESTIMATORS[kind]
    est = cls(
        **SETTINGS
        | {
            "sharing": sharing,
            "precision": precision,
            "batch_size": 64,
            "early_stopping": True,
            "encoder": plain_mlp((16,), dropout=0.3),
            "max_iter": 3,
        }
    )
    est.fit(X, y)
    torch.manual_seed(random.randrange(1000))
    NUMPY_STATE.seed(1)
    other = clone(est).fit(X, y)
    assert_identical(other, est)
    assert_identical(copy.deepcopy(est).fit(X, y), est)
    assert other.loss_curve_ == est.loss_curve_


def test_other_random_states_give_other_models():
    est, other = classifier().fit(X, Y), classifier(random_state=1).fit(X, Y)
    assert not np.array_equal(est.predict_proba(X)[0], other.predict_proba(X)[0])


def test_a_random_state_instance_goes_on():
    est = classifier(random_state=np.random.RandomState(3))
    first = est.fit(X, Y).predict_proba(X)[0]
    second = est.fit(X, Y).predict_proba(X)[0]
    assert not np.array_equal(first, second)
    again = classifier(random_state=np.random.RandomState(3)).fit(X, Y)
    assert_array_equal(again.predict_proba(X)[0], first)


def test_fits_in_threads_at_once_give_the_same_bits():
    est = classifier(batch_size=16, encoder=plain_mlp((16,), dropout=0.3), max_iter=10)
    expected = clone(est).fit(X, Y)
    before = torch.get_rng_state(), NUMPY_STATE.get_state()[1].copy(), random.getstate()
    with ThreadPoolExecutor(4) as pool:
        fits = [pool.submit(clone(est).fit, X, Y) for _ in range(6)]
        for fit in fits:
            assert_identical(fit.result(), expected)
    assert torch.equal(before[0], torch.get_rng_state())
    assert_array_equal(before[1], NUMPY_STATE.get_state()[1])
    assert before[2] == random.getstate()


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("n_threads", [None, 1, 2])
def test_global_states_are_as_before(kind, n_threads):
    cls, y = ESTIMATORS[kind]
    torch.manual_seed(5)
    NUMPY_STATE.seed(5)
    random.seed(5)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        states = torch.get_rng_state(), NUMPY_STATE.get_state(), random.getstate()
        est = cls(
            **SETTINGS
            | {"encoder": plain_mlp((16,), dropout=0.3), "n_threads": n_threads}
        )
        est.fit(X, y)
        est.predict(X)
        est.predict_frame(X)
        est.score(X, y)
        assert torch.get_num_threads() == 2
        assert torch.equal(states[0], torch.get_rng_state())
        assert_array_equal(states[1][1], NUMPY_STATE.get_state()[1])
        assert states[1][2:] == NUMPY_STATE.get_state()[2:]
        assert states[2] == random.getstate()
        assert torch.get_default_dtype() == torch.float32
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
    finally:
        torch.set_num_threads(threads)


def test_the_number_of_threads_holds_while_training():
    seen = []

    class Watch(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append(torch.get_num_threads())

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        classifier(n_threads=1, callbacks=[Watch()]).fit(X, Y)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_number_of_threads_survives_fits_and_predictions_at_once():
    est = classifier().fit(X, Y)
    expected = est.predict(X)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(4) as pool:
            fits = [pool.submit(clone(est).fit, X, Y) for _ in range(10)]
            predictions = [pool.submit(est.predict, X) for _ in range(40)]
            assert all(fit.result() for fit in fits)
            for prediction in predictions:
                assert_array_equal(prediction.result(), expected)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("one_pass", [False, True])
def test_tensors_of_a_device_that_is_gone_load_on_the_cpu(monkeypatch, one_pass):
    est = classifier()
    if one_pass:
        est.partial_fit(X, Y, classes=[np.unique(y) for y in Y.T])
    else:
        est.fit(X, Y)
    expected = est.predict_proba(X)[0]
    # What a model that was trained on CUDA looks like in a pickle.
    est.net_.device = "cuda"
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    blob = pickle.dumps(est)
    monkeypatch.undo()
    assert b"cuda:0" in blob
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.warns(DeviceWarning) as told:
        loaded = pickle.loads(blob)
    assert any("no CUDA devices are available" in str(w.message) for w in told)
    assert_array_equal(loaded.predict_proba(X)[0], expected)


def test_without_a_random_state_fits_differ():
    est = classifier(random_state=None)
    first = est.fit(X, Y).predict_proba(X)[0]
    assert not np.array_equal(est.fit(X, Y).predict_proba(X)[0], first)
    states = torch.get_rng_state(), random.getstate()
    est.fit(X, Y)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()


def test_shuffling_may_be_turned_off():
    est = classifier(shuffle=False, batch_size=50, random_state=0)
    orders = []

    class Watch(Callback):
        def on_batch_end(self, net, batch, training, **kwargs):
            orders.append(batch[0][:, 0].numpy().copy())

    est.set_params(callbacks=[Watch()], max_iter=2, early_stopping=False).fit(X, Y)
    assert_allclose(np.concatenate(orders[:3]), X[:, 0])
    assert_allclose(np.concatenate(orders[3:]), X[:, 0])


def test_one_row_is_predicted_as_in_the_table():
    for cls, y in ESTIMATORS.values():
        est = cls(**SETTINGS).fit(X, y)
        whole = est.predict(X)
        for i in (0, 75, 149):
            assert_allclose(est.predict(X[i : i + 1]), whole[[i]], rtol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_rows_do_for_members_that_hold_out_what_they_do_not_draw(n):
    for seed in range(5):
        settings = {"n_estimators": 3, "resampling": "bootstrap", "random_state": seed}
        est = classifier(**settings).fit(X[:n], Y[:n])
        assert est.n_estimators_ == 3
        parts = [] if n == 1 else est._parts_of_fit[1]
        assert all(len(held) for _, held in parts)


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_batch_normalisation_of_one_row_is_refused(n_estimators):
    encoder = plain_mlp((4,), norm="batch")
    est = classifier(encoder=encoder, batch_size=1, n_estimators=n_estimators)
    with pytest.raises(ValueError, match="norm='batch' needs at least 2 rows in every"):
        est.fit(X[::30], Y[::30])
    assert not hasattr(est, "net_")
