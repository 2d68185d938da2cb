"""Fits that are interrupted and go on, and files that cannot be written or read."""

import copy
import errno
import json
import os
import pickle
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from joblib import parallel_config
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from torch import nn

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl._estimators.fitting.checkpointing import make_canonical
from skmtl.encoder import MLP
from skmtl.exceptions import CheckpointWarning
from skmtl.relation import Distillation
from skmtl.sharing import AutoGrouped
from skmtl.training import Checkpoints
from skmtl.training._checkpoint import read, write
from skmtl.training._loop import TrainingLoop
from skmtl.training._training_state import from_plain, to_plain
from skmtl.weighting import UPGrad

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = np.column_stack([X[:, 0] > 0, X[:, 1] + X[:, 2] > 0, X[:, 3] > 0.5]).astype(int)
Y_MISSING = np.where(RNG.random(Y.shape) < 0.2, np.nan, Y)
Y_RANDOM = np.column_stack([Y[:, :2], np.random.default_rng(1).integers(0, 2, 60)])
Z = np.column_stack([X[:, 0], X[:, 1] ** 2, X[:, 1] + X[:, 2]])
IMAGES = RNG.normal(size=(60, 1, 6, 6))
SMALL = {
    "encoder": MLP((6,), dropout=0.2),
    "batch_size": 16,
    "max_iter": 9,
    "n_estimators": 1,
    "n_iter_no_change": np.inf,
    "random_state": 0,
}
MEMBERS = {"n_estimators": 3, "resampling": "bootstrap"}
TURNS = {"hard_example_mining": "loss"}  # members that take turns


def own_network(n_features):
    return nn.Sequential(nn.Linear(n_features, 5), nn.Dropout())


def classifier(**settings):
    return MultiTaskClassifier(**{**SMALL, "checkpoint_every": 2, **settings})


class Killed(BaseException):
    """Ends a fit as nothing that it could expect does."""


def finished(est, *data, epochs=3, **fit):
    """Fit with an end after some epochs, again and again until all is done."""
    after_epoch = Checkpoints.after_epoch

    for _ in range(40):
        left = [epochs]

        def dying(self, net, batches, n_done, last, left=left):
            after_epoch(self, net, batches, n_done, last)
            left[0] -= 1
            if not left[0] and not last:
                raise Killed

        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Checkpoints, "after_epoch", dying)
                return clone(est).fit(*data, resume="auto", **fit)
        except Killed:
            continue
    raise AssertionError("the fit does not come to an end")


def records(est):
    """Return what was recorded, but for the seconds that it took."""
    return repr([{**epoch, "dur": 0.0} for epoch in est.history_])


def assert_same(est, other):
    """Check that two models are the same to the last bit."""
    for module, twin in [
        (est.module_, other.module_),
        (est.weighting_, other.weighting_),
    ]:
        state, same = module.state_dict(), twin.state_dict()
        assert state.keys() == same.keys()
        assert all(torch.equal(state[name], same[name]) for name in state)
    assert records(est) == records(other)
    assert est.n_iter_ == other.n_iter_
    assert_array_equal(est.task_weights_, other.task_weights_)
    if est._oof is not None:
        assert_array_equal(est._oof.outputs, other._oof.outputs)
        if est._oof.fold_outputs is not None:
            assert_array_equal(est._oof.fold_outputs, other._oof.fold_outputs)


def assert_goes_on(est, folder, *data, **fit):
    """Check that a fit of many parts ends as the one that nothing interrupts."""
    whole = clone(est).set_params(checkpoint=None).fit(*data, **fit)
    parts = finished(est.set_params(checkpoint=folder), *data, **fit)
    assert_same(parts, whole)
    return whole


# Whatever trains goes on where it was


CASES = {
    "plain": {},
    "all rows in a batch": {"batch_size": 60, "shuffle": False},
    "sgd": {"optimizer": "sgd"},
    "lbfgs": {"optimizer": torch.optim.LBFGS},
    "rmsprop": {"optimizer": torch.optim.RMSprop},
    "float32": {"precision": "float32"},
    "bf16": {"precision": "bf16"},
    "held out": {"early_stopping": True},
    "stops early": {"early_stopping": True, "n_iter_no_change": 1, "tol": 0.05},
    "by a metric": {"validation_metric": "roc_auc", "validation_average": "min"},
    "sampling": {"sampling": "classes"},
    "hard_example_mining": {"hard_example_mining": "margin"},
    "mixup": {"augmentation": "mixup"},
    "noise": {"augmentation": ["noise", "mixup"]},
    "recorded gradients": {"record_gradients": True},
    "gradients now and then": {"weighting": UPGrad(update_every=3)},
    "zero weight": {"task_weight": [1, 0, 2]},
    "auto_grouped": {"sharing": AutoGrouped(2, max_iter=2)},
    "batch norm": {"encoder": MLP((6,), norm="batch", dropout=0.2)},
    "own module": {"encoder": own_network},
} | {
    name: {"weighting": name}
    for name in [
        *("dwa", "famo", "gradnorm", "imtl_l", "pcgrad", "graddrop", "rlw"),
        *("uncertainty", "nash_mtl", "uw_so", "gradvac", "stch"),
    ]
}
STACKED = {
    "stacked": {},
    "stacked with drops": {"n_iter_no_change": 2, "tol": 0.02},
    "stacked with dwa": {"weighting": "dwa", "n_iter_no_change": 2, "tol": 0.02},
    "stacked with uncertainty": {"weighting": "uncertainty", "n_iter_no_change": 2},
    "crossfit": {"resampling": "crossfit", "early_stopping": True},
    "alike": {"resampling": None},
    "stacked by a metric": {"validation_metric": "roc_auc"},
    "stacked relation": {"relation": "task_covariance"},
    "stacked sampling": {"sampling": "tasks"},
    "turns": TURNS,
    "turns with drops": {**TURNS, "n_iter_no_change": 2, "tol": 0.02},
    "turns with gradients": {"weighting": "pcgrad", "sampling": "tasks"},
    "turns with batch norm": {"encoder": MLP((6,), norm="batch")},
}
#: The cases for lower versions, too: others differ in what torch alone computes.
IN_ALL_VERSIONS = {"plain", "lbfgs", "held out", "dwa", "stacked", "crossfit", "turns"}
STOPPING = {"n_iter_no_change": 2, "tol": 0.01, "learning_rate_init": 0.03}


def each_of(cases):
    """Parametrise over cases, of which lower versions see some."""
    few, rest = (), pytest.mark.one_version
    return pytest.mark.parametrize(
        "case",
        [pytest.param(c, marks=few if c in IN_ALL_VERSIONS else rest) for c in cases],
    )


@each_of(CASES)
@pytest.mark.sampled(3)
def test_one_network_goes_on(case, tmp_path):
    assert_goes_on(classifier(**CASES[case]), tmp_path, X, Y_MISSING)


@each_of(STACKED)
@pytest.mark.sampled(3)
def test_members_go_on(case, tmp_path):
    est = classifier(**MEMBERS | {"max_iter": 8} | STACKED[case])
    whole = assert_goes_on(est, tmp_path, X, Y)
    assert whole.net_.stacked is not case.startswith("turns")


def test_members_that_have_stopped_stay_so(tmp_path):
    est = classifier(**MEMBERS, **STOPPING, checkpoint_every=1)
    est.set_params(n_estimators=5, max_iter=30)
    whole = clone(est).fit(X, Y)
    assert 5 < whole.n_iter_ < 30
    parts = finished(est.set_params(checkpoint=tmp_path), X, Y, epochs=1)
    assert_same(parts, whole)


@pytest.mark.parametrize("settings", [{}, MEMBERS], ids=["alone", "members"])
@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_tasks_that_have_stopped_stay_so(settings, epochs, tmp_path):
    est = classifier(**settings, **STOPPING, stop_tasks=True, early_stopping=True)
    est.set_params(checkpoint_every=1, max_iter=20)
    whole = clone(est).fit(X, Y_RANDOM)
    stopped = [any(epoch["stopped_tasks"]) for epoch in whole.history_]
    assert any(stopped[:-4])
    parts = finished(est.set_params(checkpoint=tmp_path), X, Y_RANDOM, epochs=epochs)
    assert_same(parts, whole)


@pytest.mark.parametrize(
    "relation", ["task_covariance", "graph", "clustered", "trace_norm"]
)
@pytest.mark.parametrize("settings", [{}, MEMBERS], ids=["alone", "members"])
def test_relations_go_on(relation, settings, tmp_path):
    est = MultiTaskRegressor(relation=relation, **SMALL).set_params(**settings)
    assert_goes_on(est.set_params(checkpoint_every=2), tmp_path, X, Z)


def test_images_go_on(tmp_path):
    est = MultiTaskEstimator(
        **SMALL | {"encoder": "cnn", "augmentation": ["flip", "crop"], "max_iter": 4},
        checkpoint_every=1,
    )
    mixed = np.column_stack([Y[:, 0], Z[:, 0]])
    assert_goes_on(est, tmp_path, IMAGES, mixed)


@pytest.mark.parametrize("settings", [{}, MEMBERS], ids=["alone", "members"])
def test_students_and_their_teachers_go_on(settings, tmp_path):
    est = classifier(relation="distillation", **settings)
    whole = assert_goes_on(est, tmp_path, X, Y)
    again = clone(est).fit(X, Y, resume="auto")
    assert_same(again.teacher_, whole.teacher_)
    assert len({path.name.split("-")[0] for path in tmp_path.iterdir()}) == 2


def test_students_of_a_given_teacher_go_on(tmp_path):
    teacher = RandomForestRegressor(3, random_state=0).fit(X, Z)
    est = MultiTaskRegressor(relation=Distillation(teacher), **SMALL)
    assert_goes_on(est.set_params(checkpoint_every=2), tmp_path, X, Z)


@pytest.mark.parametrize("settings", [{}, MEMBERS], ids=["alone", "members"])
def test_a_fit_that_trains_on_goes_on(settings, tmp_path):
    est = classifier(**settings, warm_start=True)
    whole = clone(est).fit(X, Y).fit(X, Y)
    first = clone(est).set_params(checkpoint=tmp_path).fit(X, Y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "after_epoch", ending_after(5))
        with pytest.raises(Killed):
            first.fit(X, Y)
    assert first.n_iter_ == 9
    assert_same(first.fit(X, Y, resume="auto"), whole)


def ending_after(n):
    after_epoch = Checkpoints.after_epoch

    def ending(self, net, batches, n_done, last):
        after_epoch(self, net, batches, n_done, last)
        if n_done == n:
            raise Killed

    return ending


def test_a_validation_set_and_weights_go_on(tmp_path):
    weight = RNG.uniform(size=Y.shape)
    fit = {"sample_weight": weight, "X_val": X[:20], "y_val": Y[:20]}
    assert_goes_on(classifier(class_weight="balanced"), tmp_path, X, Y, **fit)


@pytest.mark.parametrize("first", [True, False])
def test_fits_in_turn_and_beside_others_go_on_from_each_other(first, tmp_path):
    """A search watches its fits, for example, which then keep their turn."""
    est = classifier(checkpoint=tmp_path, augmentation="mixup")
    whole = clone(est).set_params(checkpoint=None).fit(X, Y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skmtl._estimators.fit.uses_own_generator_only", lambda *_: first)
        patch.setattr(Checkpoints, "after_epoch", ending_after(5))
        with pytest.raises(Killed):
            clone(est).fit(X, Y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "skmtl._estimators.fit.uses_own_generator_only", lambda *_: not first
        )
        assert_same(clone(est).fit(X, Y, resume="auto"), whole)


class Counting(Callback):
    """A user's callback: what it counts decides on learning rates."""

    def __init__(self, sizes=(1.0, 0.5)):
        self.sizes = sizes

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.seen_ = {"losses": [], "last": np.zeros(2), "least": np.float64(np.inf)}
        self.bar_ = object()  # no checkpoint can hold it

    def on_epoch_end(self, net, **kwargs):
        loss = net.history[-1]["train_loss"]
        self.seen_["losses"].append(loss)
        self.seen_["last"] = np.array([loss, len(self.seen_["losses"])])
        self.seen_["least"] = min(self.seen_["least"], np.float64(loss))
        net.history.record("least", self.seen_["least"])
        for group in net.optimizer_.param_groups:
            group["lr"] = 0.001 * self.sizes[len(self.seen_["losses"]) % 2]


class Keeping(Callback):
    """A user's callback that says itself what is to be kept."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.n = 0

    def on_epoch_end(self, net, **kwargs):
        self.n += 1
        net.history.record("n", self.n)

    def state_dict(self):
        return {"n": self.n}

    def load_state_dict(self, state):
        self.n = state["n"]


@pytest.mark.parametrize(
    "callback",
    [
        Counting(),
        Keeping(),
        LRScheduler("StepLR", step_size=2, gamma=0.5),
        LRScheduler(
            torch.optim.lr_scheduler.OneCycleLR,
            max_lr=0.1,
            total_steps=200,
            step_every="batch",
        ),
        LRScheduler("ReduceLROnPlateau", monitor="train_loss", patience=0),
        EarlyStopping("train_loss", patience=2, threshold=0.2, load_best=True),
    ],
    ids=lambda callback: type(callback).__name__,
)
@pytest.mark.parametrize("settings", [{}, MEMBERS], ids=["alone", "members"])
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.sampled(3)
def test_callbacks_go_on(callback, settings, tmp_path, capsys):
    est = classifier(callbacks=[callback], **settings)
    assert_goes_on(est, tmp_path, X, Y)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_schedules_of_members_that_take_turns_go_on(tmp_path):
    schedule = LRScheduler(
        torch.optim.lr_scheduler.OneCycleLR,
        max_lr=0.1,
        total_steps=200,
        step_every="batch",
    )
    est = classifier(callbacks=[schedule], weighting="mgda", **MEMBERS)
    assert_goes_on(est, tmp_path, X, Y)


def test_a_progress_bar_goes_on(tmp_path, capsys):
    est = classifier(checkpoint=tmp_path, max_iter=4, verbose=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "after_epoch", ending_after(2))
        with pytest.raises(Killed):
            est.fit(X, Y)
    capsys.readouterr()
    est.fit(X, Y, resume="auto")
    assert "4/4" in capsys.readouterr().err


def test_a_checkpoint_after_the_last_epoch_spares_training(tmp_path, monkeypatch):
    est = classifier(checkpoint=tmp_path).fit(X, Y)
    monkeypatch.delattr(TrainingLoop, "train_step")
    assert_same(clone(est).fit(X, Y, resume="auto"), est)


# Which checkpoints belong to a fit


def epochs_trained(monkeypatch, est, *data, **fit):
    """Return a fitted estimator and the number of epochs that it took."""
    trained = []
    epoch = TrainingLoop._run_epoch
    with monkeypatch.context() as patch:
        patch.setattr(
            TrainingLoop, "_run_epoch", lambda *args: trained.append(1) or epoch(*args)
        )
        est = clone(est).fit(*data, **fit)
    return est, len(trained)


def test_without_resume_a_fit_starts_anew(tmp_path, monkeypatch):
    est = classifier(checkpoint=tmp_path).fit(X, Y)
    again, trained = epochs_trained(monkeypatch, est, X, Y)
    assert trained == 9
    assert_same(again, est)
    assert epochs_trained(monkeypatch, est, X, Y, resume="auto")[1] == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"alpha": 0.5},
        {"max_iter": 12},
        {"random_state": 1},
        {"sharing": "independent"},
        {"sharing": AutoGrouped(2)},
        {"encoder": MLP((7,), dropout=0.2)},
        {"encoder": own_network},
        {"weighting": UPGrad(update_every=2)},
        {"task_weight": [1, 1, 2]},
        {"callbacks": [Counting()]},
        {"callbacks": [Counting((1.0, 0.2))]},
        {"optimizer": torch.optim.Adam},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_other_settings_start_anew(settings, tmp_path, monkeypatch):
    est = classifier(checkpoint=tmp_path).fit(X, Y)
    other = clone(est).set_params(**settings)
    _, trained = epochs_trained(monkeypatch, other, X, Y, resume="auto")
    assert trained >= other.max_iter
    assert epochs_trained(monkeypatch, est, X, Y, resume="auto")[1] == 0


def test_what_does_not_decide_on_the_model_goes_on(tmp_path, monkeypatch, capsys):
    est = classifier(checkpoint=tmp_path).fit(X, Y)
    for settings in [
        {"verbose": 1},
        {"checkpoint_every": 3},
        {"checkpoint": str(tmp_path)},
        {"random_state": np.int64(0)},
    ]:
        other = clone(est).set_params(**settings)
        assert epochs_trained(monkeypatch, other, X, Y, resume="auto")[1] == 0


def changed(array, value=0.5):
    array = array.astype(float)
    array.flat[3] = value
    return array


@pytest.mark.parametrize(
    ("data", "fit"),
    [
        ((changed(X), Y), {}),
        ((X[:-1], Y[:-1]), {}),
        ((X, changed(Y, 1 - Y.flat[3])), {}),
        ((X, changed(Y, np.nan)), {}),
        ((X, Y), {"sample_weight": np.arange(60) + 1.0}),
        ((X, Y), {"X_val": X[:9], "y_val": Y[:9]}),
        ((X, Y + 1), {}),
    ],
    ids=["X", "rows", "y", "missing", "weight", "validation", "names of classes"],
)
def test_other_data_start_anew(data, fit, tmp_path, monkeypatch):
    est = classifier(checkpoint=tmp_path).fit(X, Y)
    assert epochs_trained(monkeypatch, est, *data, resume="auto", **fit)[1] >= 9
    assert epochs_trained(monkeypatch, est, X, Y, resume="auto")[1] == 0


def test_memory_maps_are_what_they_hold(tmp_path, monkeypatch):
    est = classifier(checkpoint=tmp_path / "kept").fit(X, Y)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert epochs_trained(monkeypatch, est, mapped, Y, resume="auto")[1] == 0


@pytest.mark.parametrize("n_jobs", [None, 3])
def test_fits_of_a_search_do_not_mix(n_jobs, tmp_path):
    grid = {"alpha": [0.0, 1.0], "sharing": ["hard", "independent"]}
    plain_search = GridSearchCV(classifier(max_iter=4), grid, cv=2).fit(X, Y)
    est = classifier(max_iter=4, checkpoint=tmp_path)
    search = GridSearchCV(est, grid, cv=2, n_jobs=n_jobs)
    for _ in range(2):
        with parallel_config("threading"):
            search.fit(X, Y, resume="auto")
        for name in ("mean_test_score", "split0_test_score"):
            expected = plain_search.cv_results_[name]
            assert_array_equal(search.cv_results_[name], expected)
        assert_same(search.best_estimator_, plain_search.best_estimator_)
    names = {path.name.split("-")[0] for path in tmp_path.iterdir()}
    assert len(names) == 4 * 2 + 1


def test_partial_fit_writes_nothing(tmp_path):
    classifier(checkpoint=tmp_path / "new").partial_fit(X, Y, classes=[[0, 1]] * 3)
    assert not list(tmp_path.iterdir())


def test_functions_are_told_apart_by_what_they_do():
    same = make_canonical(lambda x: x + 1)
    assert make_canonical(lambda x: x + 1) == same
    for other in (lambda x: x + 2, lambda x: x * 1, lambda x: x.real + 1, np.sin):
        assert make_canonical(other) != same


class Odd:
    """What joblib cannot hash."""

    def __reduce__(self):
        raise TypeError


def test_parameters_are_described_by_what_they_hold():
    for value, other in [
        (partial(MLP, (5,)), partial(MLP, (6,))),
        ({"a": [1, (2,)]}, {"a": [1, (3,)]}),
        (np.array(["a", None], dtype=object), np.array(["b", None], dtype=object)),
        (torch.arange(3), torch.arange(3) + 1),
        (csr_array(np.eye(2)), csr_array(np.ones((2, 2)))),
        (MLP((5,)), MLP((6,))),
        (Counting((1.0, 2.0)), Counting((1.0, 3.0))),
        (Odd(), Counting()),
    ]:
        again = copy.deepcopy(value) if not isinstance(value, Odd) else Odd()
        found = joblib.hash(make_canonical(value))
        assert found == joblib.hash(make_canonical(again))
        assert found != joblib.hash(make_canonical(other))


# Files


def files(folder):
    return sorted(folder.iterdir(), reverse=True)


def test_two_files_are_kept(tmp_path):
    classifier(checkpoint=tmp_path / "a" / "b").fit(X, Y)
    newest, before = files(tmp_path / "a" / "b")
    assert newest.name.endswith("-0000009.pt")
    assert before.name.endswith("-0000008.pt")
    header = json.loads(newest.read_bytes().splitlines()[0])
    assert header["epochs"] == 9


def test_files_that_a_killed_process_has_left_are_deleted(tmp_path):
    est = classifier(checkpoint=tmp_path).fit(X, Y)
    name = files(tmp_path)[0].name
    stem = name.split("-")[0]
    old, new = tmp_path / f".{name}.{'0' * 16}", tmp_path / f".{name}.{'1' * 16}"
    earlier = tmp_path / f".{stem}-0000003.pt.{'2' * 16}"
    others = tmp_path / f".other-0000009.pt.{'0' * 16}"
    for path in (old, new, earlier, others):
        path.touch()
    for path in (old, earlier, others):
        os.utime(path, (0, 0))
    est.fit(X, Y)
    assert not old.exists()
    assert not earlier.exists()
    assert new.exists()
    assert others.exists()


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def emptied(path):
    path.write_bytes(b"")


def replaced(path):
    path.write_bytes(b"[1, 2]\n" + path.read_bytes())


def of_another(path):
    write(path, "another", 9, {})


def of_another_version(path):
    line, _, content = path.read_bytes().partition(b"\n")
    header = {**json.loads(line), "skmtl checkpoint": 1}
    path.write_bytes(json.dumps(header).encode() + b"\n" + content)


class Evil:
    """Runs code where it is unpickled without care."""

    def __reduce__(self):
        return os.abort, ()


def of_an_attacker(path):
    fingerprint = path.name.split("-")[0]
    write(path, fingerprint, 9, {"net": Evil()})


SAYS = {
    truncated: "it is truncated or damaged.",
    flipped: "it is truncated or damaged.",
    emptied: "it is no checkpoint, or its start is damaged.",
    replaced: "it is no checkpoint, or its start is damaged.",
    of_another: "it belongs to other settings or data.",
    of_another_version: "it was written by another version of skmtl.",
    of_an_attacker: "it holds more than tensors and plain values.",
}


@pytest.mark.parametrize("damage", SAYS, ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    damage, tmp_path, monkeypatch
):
    est = classifier(checkpoint=tmp_path).fit(X, Y)
    newest = files(tmp_path)[0]
    damage(newest)
    with pytest.warns(CheckpointWarning) as caught:
        other, trained = epochs_trained(monkeypatch, est, X, Y, resume="auto")
    (warning,) = caught
    assert warning.filename == __file__
    expected = f"The checkpoint {str(newest)!r} is not used: {SAYS[damage]}"
    assert str(warning.message) == expected
    assert trained == 1
    assert_same(other, est)
    assert epochs_trained(monkeypatch, est, X, Y, resume="auto")[1] == 0


def test_without_any_that_is_whole_a_fit_starts_anew(tmp_path, monkeypatch):
    est = classifier(checkpoint=tmp_path).fit(X, Y)
    for path in files(tmp_path):
        truncated(path)
    with pytest.warns(CheckpointWarning) as caught:
        other, trained = epochs_trained(monkeypatch, est, X, Y, resume="auto")
    assert len(caught) == 2
    assert trained == 9
    assert_same(other, est)


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_cannot_be_written_does_not_end_the_fit(fault, tmp_path, monkeypatch):
    whole = classifier().fit(X, Y)

    def failing(handle):
        raise OSError(fault, os.strerror(fault))

    with monkeypatch.context() as patch:
        patch.setattr("skmtl.training._checkpoint.os.fsync", failing)
        with pytest.warns(CheckpointWarning) as caught:
            est = classifier(checkpoint=tmp_path).fit(X, Y)
    (warning,) = caught
    reason = os.strerror(fault)
    assert str(warning.message) == (
        f"No checkpoint was written to {str(tmp_path)!r}, and training goes on "
        f"without: {reason[0].lower() + reason[1:]}."
    )
    assert not files(tmp_path)
    assert_same(est, whole)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc")
def test_a_folder_that_cannot_be_made_does_not_end_the_fit():
    with pytest.warns(CheckpointWarning, match="No checkpoint was written to '/proc/"):
        est = classifier(checkpoint="/proc/none").fit(X, Y, resume="auto")
    assert_same(est, classifier().fit(X, Y))


def test_a_disk_with_room_again_gets_checkpoints_again(tmp_path, monkeypatch):
    fsync, calls = os.fsync, []

    def failing_once(handle):
        calls.append(handle)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr("skmtl.training._checkpoint.os.fsync", failing_once)
    with pytest.warns(CheckpointWarning, match="no space left on device"):
        classifier(checkpoint=tmp_path).fit(X, Y)
    assert len(files(tmp_path)) == 2


class Recording(Callback):
    def on_epoch_end(self, net, **kwargs):
        net.history.record("odd", {1, 2})


def test_records_that_no_file_can_hold_do_not_end_the_fit(tmp_path):
    says = "goes on without: a checkpoint cannot hold a set"
    with pytest.warns(CheckpointWarning, match=says):
        classifier(checkpoint=tmp_path, callbacks=[Recording()]).fit(X, Y)


def test_values_come_back_as_they_were(tmp_path):
    values = {
        "array": np.arange(6, dtype=np.uint32).reshape(2, 3).T,
        "bools": np.array([True, False]),
        "scalar": np.array(1.5),
        "number": np.float64(2.5),
        "whole": np.int64(-3),
        "tuple": (1, "a", None, [True, np.inf]),
        3: {"empty": {}},
    }
    write(tmp_path / "a.pt", "f", 5, to_plain(values))
    n_done, state = read(tmp_path / "a.pt", "f", 9)
    found = from_plain(state)
    assert n_done == 5
    assert found.keys() == values.keys()
    for name in ("array", "bools", "scalar"):
        assert_array_equal(found[name], values[name], strict=True)
    for name in ("number", "whole"):
        assert type(found[name]) is type(values[name])
    for name in ("number", "whole", "tuple", 3):
        assert found[name] == values[name]
    assert isinstance(found["scalar"], np.ndarray)


@pytest.mark.parametrize("value", [{1}, object(), np.array([None]), {(1, 2): 3}])
def test_values_that_a_file_cannot_hold_are_refused(value):
    with pytest.raises(TypeError, match=r"can't convert|cannot hold a"):
        to_plain(value)


# Parameters


SAID = {
    "type": "The 'checkpoint' parameter of MultiTaskClassifier must be",
    "never": "an int in the range [1, inf)",
    "seed": "The 'checkpoint' parameter needs a random_state, without which the next "
    "fit would be another one. Got random_state=None: set it to an integer.",
    "file": "The 'checkpoint' parameter must be a folder, which may not exist yet. Got "
    f"{__file__!r}, which is a file.",
    "nowhere": "resume='auto' goes on from a checkpoint, but checkpoint=None: set it "
    "to the folder that holds them, or leave 'resume' out.",
    "resume": "The 'resume' parameter must be 'auto' or False. Got True instead.",
}


@pytest.mark.parametrize(
    ("case", "settings", "fit"),
    [
        ("type", {"checkpoint": 3}, {}),
        ("never", {"checkpoint_every": 0}, {}),
        ("seed", {"checkpoint": "kept", "random_state": None}, {}),
        ("file", {"checkpoint": __file__}, {}),
        ("nowhere", {}, {"resume": "auto"}),
        ("resume", {"checkpoint": "kept"}, {"resume": True}),
    ],
)
def test_bad_parameters_are_told_of(case, settings, fit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=re.escape(SAID[case])):
        classifier(**settings).fit(X, Y, **fit)
    assert not list(tmp_path.iterdir())


def test_nothing_of_checkpoints_stays_in_the_estimator(tmp_path):
    est = classifier(checkpoint=tmp_path).fit(X, Y)
    assert "checkpoints" not in vars(est.net_)
    assert_same(pickle.loads(pickle.dumps(est)), est)


# A process that is killed


@pytest.mark.one_version
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked")
@pytest.mark.parametrize("n_kills", [2, pytest.param(24, marks=pytest.mark.slow)])
def test_a_process_that_is_killed_at_random_moments_goes_on(n_kills, tmp_path):
    script = Path(__file__).with_name("_killed.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, script, tmp_path, str(n_kills)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    assert int(found.stdout.split()[0]) >= n_kills


class PressingAt(Callback):
    """Press Ctrl-C in some epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("settings", [{}, MEMBERS], ids=["alone", "members"])
def test_ctrl_c_says_how_to_resume(settings, tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    est = classifier(checkpoint=tmp_path, checkpoint_every=2, **settings)
    try:
        says = r"after epoch 2 \(checkpoint_every"
        with pytest.raises(KeyboardInterrupt, match=says):
            est.set_params(callbacks=[PressingAt(2)]).fit(X, Y)
        with pytest.raises(KeyboardInterrupt) as caught:
            est.set_params(callbacks=[PressingAt(4)]).fit(X, Y)
        assert "resume='auto' goes on after epoch 2" in str(caught.value)
        assert repr(str(tmp_path)) in str(caught.value)
        without = classifier(callbacks=[PressingAt(2)], **settings)
        with pytest.raises(KeyboardInterrupt) as caught:
            without.fit(X, Y)
        assert str(caught.value) == ""
    finally:
        signal.signal(signal.SIGINT, before)
