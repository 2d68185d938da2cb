"""Every callback that skorch ships, with one network and with an ensemble."""

import functools
import json
import os
import pickle
import signal
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skorch.callbacks
import torch
import tqdm
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score, make_scorer, r2_score
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    Freezer,
    GradientNormClipping,
    Initializer,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
    MlflowLogger,
    NeptuneLogger,
    ParamMapper,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
    SacredLogger,
    TensorBoard,
    TrainEndCheckpoint,
    Unfreezer,
    WandbLogger,
    WarmRestartLR,
)
from skorch.utils import freeze_parameter

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.metrics import make_multitask_scorer
from tests._networks import plain_mlp

X, SPECIES = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
Y = pd.DataFrame({"species": SPECIES, "long": (X[:, 0] > 0).astype(int)})
X_VAL, Y_VAL = X[::3], Y[::3]
SETTINGS = {
    "encoder": plain_mlp((8,)),
    "max_iter": 3,
    "learning_rate_init": 0.02,
    "batch_size": 60,
    "random_state": 0,
    "n_estimators": 1,
}
MEMBERS = pytest.mark.parametrize("n_estimators", [1, 3])
#: What loggers draw of each epoch, beside what callbacks record.
NUMBERS = {
    "train_loss",
    "train_loss_species",
    "train_loss_long",
    "train_weight_species",
    "train_weight_long",
    "valid_loss",
    "valid_loss_species",
    "valid_loss_long",
    "dur",
}


def fitted(*callbacks, n_estimators=1, cls=MultiTaskClassifier, y=Y, **settings):
    est = cls(**SETTINGS | {"n_estimators": n_estimators, "callbacks": list(callbacks)})
    est.set_params(**settings)
    return est.fit(X, y, X_val=X_VAL, y_val=y[::3])


class Snapshots(Callback):
    """Keep the parameters of each epoch."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.states_ = []

    def on_epoch_end(self, net, **kwargs):
        state = net.module_.state_dict()
        self.states_.append({name: value.clone() for name, value in state.items()})


def column(est, name):
    return [epoch[name] for epoch in est.history_]


# The progress bar of skmtl


class Bar(tqdm.tqdm):
    """A bar that keeps what it was told."""

    bars = ()

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs, mininterval=0)
        self.seen, self.totals = [], [self.total]
        Bar.bars = (self,)

    def update(self, n=1):
        super().update(n)
        self.seen.append(round(self.n, 2))
        self.totals.append(self.total)


@pytest.fixture
def bar(monkeypatch):
    monkeypatch.setattr("skmtl.training._callbacks.tqdm", Bar)
    return lambda: Bar.bars[0]


@pytest.mark.parametrize(
    ("settings", "n_batches"),
    [
        ({"n_estimators": 1}, 3),
        ({"n_estimators": 3}, 2),
        ({"n_estimators": 3, "weighting": "mgda"}, 6),
    ],
    ids=["one", "at once", "in turns"],
)
def test_the_bar_moves_within_epochs(settings, n_batches, bar, capfd):
    fitted(verbose=1, max_iter=2, **settings)
    shares = np.arange(1, n_batches + 1) / n_batches
    expected = [*shares, 1, *(1 + shares), 2]
    assert bar().seen == pytest.approx(expected, abs=0.15)
    assert bar().seen == sorted(bar().seen)
    assert "| 2/2 [" in capfd.readouterr().err


@MEMBERS
def test_the_bar_ends_where_patience_does(n_estimators, bar, capfd):
    settings = {"max_iter": 1000, "tol": 1e9, "n_iter_no_change": 4}
    est = fitted(n_estimators=n_estimators, verbose=1, **settings)
    assert est.n_iter_ == 5
    assert set(bar().totals) == {5}
    assert "| 5/5 [" in capfd.readouterr().err


def test_the_bar_knows_early_stopping_of_skorch(bar, capfd):
    stopping = EarlyStopping(patience=2, threshold=1e9, threshold_mode="abs", sink=list)
    settings = {"max_iter": 1000, "n_iter_no_change": np.inf, "n_estimators": 1}
    est = fitted(stopping, verbose=1, **settings)
    assert est.n_iter_ == 3
    assert set(bar().totals) == {3}


def test_the_bar_ends_early_where_training_does(bar, capfd):
    class Enough(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.stop_training_ = len(net.history) == 2

    fitted(Enough(), verbose=1, max_iter=1000, n_iter_no_change=np.inf)
    assert bar().totals[0] == 1000
    assert "| 2/2 [" in capfd.readouterr().err


def test_the_bar_shows_losses_as_losses_and_scores_as_scores(capfd):
    est = fitted(verbose=1)
    err = capfd.readouterr().err
    assert f"valid_loss={est.history_[-1]['valid_loss']:.4f}" in err
    assert f"best={min(column(est, 'valid_loss')):.4f}" in err
    est = fitted(verbose=1, validation_metric="accuracy")
    err = capfd.readouterr().err
    assert f"valid_score={est.history_[-1]['valid_score']:.4f}" in err
    assert f"best={max(column(est, 'valid_score')):.4f}" in err


# Ctrl-C


class PressingAt(Callback):
    """Press Ctrl-C at the beginning of some epoch, or at the end of its n-th batch."""

    def __init__(self, epoch, batch=None):
        self.epoch = epoch
        self.batch = batch

    def on_epoch_begin(self, net, **kwargs):
        self.n_ = 0
        if self.batch is None and len(net.history) == self.epoch:
            signal.raise_signal(signal.SIGINT)

    def on_batch_end(self, net, training=None, **kwargs):
        self.n_ += 1
        if len(net.history) == self.epoch and self.n_ == self.batch:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def listening():
    """Hear Ctrl-C also where the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@MEMBERS
@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.usefixtures("listening")
def test_ctrl_c_may_keep_the_best_epoch(n_estimators, batch):
    pressing = PressingAt(4, batch)
    settings = {"n_estimators": n_estimators, "max_iter": 9, "n_iter_no_change": np.inf}
    with pytest.warns(UserWarning, match="interrupted in epoch 4") as caught:
        est = fitted(pressing, on_interrupt="keep", **settings)
    assert caught[0].filename == __file__
    short = fitted(PressingAt(99, batch), **settings | {"max_iter": 3})
    assert est.n_iter_ == len(est.loss_curve_) == 3
    assert_array_equal(est.predict_proba(X)[0], short.predict_proba(X)[0])
    assert_allclose(est.validation_scores_, short.validation_scores_)


@MEMBERS
@pytest.mark.usefixtures("listening")
def test_ctrl_c_raises_where_there_is_no_best_epoch(n_estimators):
    settings = SETTINGS | {"on_interrupt": "keep", "n_estimators": n_estimators}
    with pytest.raises(KeyboardInterrupt):
        fitted(PressingAt(1), **settings)
    est = MultiTaskClassifier(callbacks=[PressingAt(3)], **settings)
    with pytest.raises(KeyboardInterrupt):
        est.set_params(early_stopping=False).fit(X, Y)
    with pytest.raises(KeyboardInterrupt):
        fitted(PressingAt(3), n_estimators=n_estimators)
    assert not hasattr(est, "net_")


# Scores


def accuracy_of_all(net, data, y):
    return float((net.predict(data) == y).mean())


SCORINGS = {
    "name": "accuracy",
    "function": accuracy_score,
    "scorer": make_scorer(accuracy_score),
    "of several tasks": make_multitask_scorer("accuracy"),
    "callable": accuracy_of_all,
    "none": None,
}


@MEMBERS
@pytest.mark.parametrize("scoring", SCORINGS.values(), ids=SCORINGS)
def test_epoch_scoring_is_the_mean_over_tasks(scoring, n_estimators):
    score = EpochScoring(scoring, name="a", lower_is_better=False)
    train = EpochScoring(scoring, name="b", on_train=True, lower_is_better=False)
    est = fitted(score, train, n_estimators=n_estimators, n_iter_no_change=np.inf)
    best = int(np.argmin(column(est, "valid_loss")))
    assert len(column(est, "a")) == 3
    if n_estimators == 1 and best == 2:  # the last weights are kept
        assert est.score(X_VAL, Y_VAL) == pytest.approx(est.history_[-1]["a"])
        assert est.score(X, Y) == pytest.approx(est.history_[-1]["b"])
    expected = np.maximum.accumulate(column(est, "a")) == column(est, "a")
    assert column(est, "a_best")[0] is True
    assert all(e or not b for e, b in zip(expected, column(est, "a_best"), strict=True))


@MEMBERS
def test_scores_of_held_out_rows_are_by_networks_that_have_not_seen_them(n_estimators):
    score = EpochScoring("neg_log_loss", name="a", lower_is_better=False)
    est = MultiTaskClassifier(
        **SETTINGS | {"n_estimators": n_estimators, "max_iter": 1}
    )
    est.set_params(callbacks=[score], early_stopping=True, calibrate=False).fit(X, Y)
    (value,) = column(est, "a")
    if n_estimators > 1:
        outputs = est._oof.outputs
        proba = est._targets.predict_proba(outputs)
        scores = [
            np.log(P[np.arange(len(P)), Y.iloc[:, t]]).mean()
            for t, P in enumerate(proba)
        ]
        assert value == pytest.approx(np.mean(scores), rel=1e-4)
    else:
        assert value == pytest.approx(-est.history_[-1]["valid_loss"], rel=1e-4)


@MEMBERS
@pytest.mark.parametrize("on_train", [False, True])
def test_callables_get_labels_as_given_to_fit(n_estimators, on_train):
    seen = {}

    def look(net, data, y):
        seen["y"], seen["x"] = y, np.stack([data[i][0] for i in range(3)])
        seen["labels"] = np.stack([data[i][1] for i in range(3)])
        seen["rows"], seen["prediction"] = len(data), net.predict(data)
        seen["names"], seen["classes"] = net.task_names_, net.classes_
        return 0.0

    y = pd.DataFrame({"kind": np.array(["a", "b", "c"])[SPECIES], "size": X[:, 2] * 9})
    y.loc[::10, "kind"] = None
    y.loc[5, "size"] = np.nan
    score = EpochScoring(look, on_train=on_train)
    fitted(score, n_estimators=n_estimators, cls=MultiTaskEstimator, y=y, max_iter=1)
    expected = y if on_train else y[::3]
    kinds = seen["y"][:, 0].tolist()
    assert kinds == [v if isinstance(v, str) else None for v in expected["kind"]]
    sizes = np.array([np.nan if v is None else v for v in seen["y"][:, 1]], float)
    assert_allclose(sizes, expected["size"])
    assert_array_equal(seen["labels"][:, 0], seen["y"][:3, 0])
    assert seen["rows"] == len(seen["prediction"]) == len(expected)
    assert seen["prediction"].shape == (len(expected), 2)
    assert seen["names"] == ["kind", "size"]
    assert seen["classes"][0].tolist() == ["a", "b", "c"]


def test_scores_of_regression_are_in_the_units_of_the_targets():
    def error(net, data, y):
        return float(np.abs(net.predict(data) - y).mean())

    callbacks = [EpochScoring(error), EpochScoring("r2", lower_is_better=False)]
    y = X[:, 0] * 1000
    est = fitted(*callbacks, cls=MultiTaskRegressor, y=y, n_iter_no_change=np.inf)
    assert est.history_[-1]["error"] == pytest.approx(
        np.abs(est.predict(X_VAL) - y[::3]).mean(), rel=1e-3
    )
    assert est.history_[-1]["r2"] == pytest.approx(
        r2_score(y[::3], est.predict(X_VAL)), rel=1e-3
    )


def test_a_score_without_a_name_in_scikit_learn_is_refused_before_training():
    with pytest.raises(ValueError, match="'accurcy'"):
        fitted(EpochScoring("accurcy"))


@MEMBERS
@pytest.mark.parametrize("on_train", [False, True])
def test_batch_scoring(n_estimators, on_train):
    score = BatchScoring("accuracy", on_train=on_train, lower_is_better=False)
    est = fitted(score, n_estimators=n_estimators)
    values = column(est, "accuracy")
    assert len(values) == 3
    assert 0.2 < values[-1] <= 1
    if n_estimators == 1 and not on_train:
        assert est.score(X_VAL, Y_VAL) == pytest.approx(max(values))


@MEMBERS
def test_scores_of_batches_pass_through(n_estimators):
    class Largest(Callback):
        def on_batch_end(self, net, batch=None, training=None, **kwargs):
            X, y = batch
            assert y.shape == (len(X), 2)
            if training:
                net.history.record_batch("largest", float(X.abs().max()))

    passing = PassthroughScoring("largest", on_train=True)
    est = fitted(Largest(), passing, n_estimators=n_estimators)
    assert all(1 < value < 4 for value in column(est, "largest"))


# Training


@MEMBERS
def test_a_checkpoint_holds_what_is_kept(n_estimators, tmp_path):
    callback = Checkpoint(dirname=tmp_path, f_pickle="net.pkl")
    est = fitted(callback, n_estimators=n_estimators, n_iter_no_change=np.inf)
    names = {"params.pt", "optimizer.pt", "criterion.pt", "history.json", "net.pkl"}
    assert names <= set(os.listdir(tmp_path))
    assert any(column(est, "event_cp"))
    records = json.loads((tmp_path / "history.json").read_text())
    assert len(records[0]["train_losses"]) == 2
    saved = torch.load(tmp_path / "params.pt", weights_only=True)
    if n_estimators == 1:
        for name, value in est.module_.state_dict().items():
            torch.testing.assert_close(saved[name], value)


@MEMBERS
def test_the_best_checkpoint_is_loaded(n_estimators, tmp_path):
    callback = Checkpoint(dirname=tmp_path, load_best=True)
    fitted(callback, n_estimators=n_estimators)


@MEMBERS
def test_training_goes_on_from_the_end_of_another(n_estimators, tmp_path):
    end = TrainEndCheckpoint(dirname=tmp_path)
    first = fitted(end, LoadInitState(end), n_estimators=n_estimators)
    second = fitted(end, LoadInitState(end), n_estimators=n_estimators)
    assert len(second.history_) == len(first.history_) + 3
    assert second.history_[3]["train_loss"] < first.history_[0]["train_loss"]
    assert second.history_[0]["train_losses"] == first.history_[0]["train_losses"]
    assert second.n_iter_ == 6


@MEMBERS
def test_early_stopping_by_the_loss_of_a_task(n_estimators):
    stopping = EarlyStopping("valid_loss_long", patience=1, threshold=10)
    est = fitted(
        stopping, n_estimators=n_estimators, max_iter=9, n_iter_no_change=np.inf
    )
    assert est.n_iter_ == 2


@MEMBERS
def test_parameters_are_mapped_and_frozen(n_estimators):
    def fill(parameter):
        with torch.no_grad():
            parameter.fill_(0.5)

    seen = Snapshots()
    callbacks = [
        Initializer("*head*", fn=fill),
        ParamMapper("*head*", fn=freeze_parameter, at=2),
        Unfreezer("*head*", at=3),
        seen,
    ]
    fitted(*callbacks, n_estimators=n_estimators, n_iter_no_change=np.inf)
    states = seen.states_
    heads = [name for name in states[0] if name.endswith("heads.weight")]
    assert heads
    for name in heads:
        assert (states[0][name] - 0.5).abs().max() < 0.4
        torch.testing.assert_close(states[0][name], states[1][name])
        assert not torch.equal(states[1][name], states[2][name])


@MEMBERS
def test_frozen_parameters_stay(n_estimators):
    seen = Snapshots()
    est = fitted(Freezer("*encoder*"), seen, n_estimators=n_estimators)
    for name, value in seen.states_[0].items():
        if name.endswith(("weight", "bias")) and "encoder" in name:
            assert torch.equal(value, seen.states_[-1][name])
    assert est.score(X, Y) > 0.2


@MEMBERS
def test_clipped_gradients_take_small_steps(n_estimators):
    def distance(*callbacks):
        seen = Snapshots()
        settings = {"optimizer": "sgd", "alpha": 0.0, "max_iter": 2}
        fitted(*callbacks, seen, n_estimators=n_estimators, **settings)
        first, last = (seen.states_[i] for i in (0, -1))
        changes = [
            (last[n] - first[n]).double().square().sum() for n in first if n in last
        ]
        return float(sum(changes)) ** 0.5

    assert distance(GradientNormClipping(1e-6)) < 0.01 * distance()


RATES = {
    "StepLR": [0.02, 0.01, 0.005],
    "ExponentialLR": [0.02, 0.01, 0.005],
    "CosineAnnealingLR": [0.02, 0.015, 0.005],
    "WarmRestartLR": [0.02, 0.01, 1e-6],
    "LambdaLR": [0.02, 0.01, 0.02 / 3],
}
POLICIES = {
    "StepLR": {"step_size": 1, "gamma": 0.5},
    "ExponentialLR": {"gamma": 0.5},
    "CosineAnnealingLR": {"T_max": 3},
    "WarmRestartLR": {"max_lr": 0.02, "base_period": 2},
    "LambdaLR": {"lr_lambda": lambda epoch: 1 / (1 + epoch)},
}


@MEMBERS
@pytest.mark.parametrize("policy", RATES)
def test_learning_rates_follow_a_policy(policy, n_estimators):
    schedule = LRScheduler(policy, **POLICIES[policy])
    est = fitted(schedule, n_estimators=n_estimators, n_iter_no_change=np.inf)
    assert_allclose(column(est, "event_lr"), RATES[policy], rtol=1e-3)


@MEMBERS
@pytest.mark.parametrize("monitor", ["valid_loss", "train_loss_long", "accuracy"])
def test_learning_rates_follow_a_plateau(monitor, n_estimators):
    schedule = LRScheduler(
        "ReduceLROnPlateau",
        monitor=monitor,
        patience=0,
        threshold=1e3,
        threshold_mode="abs",
    )
    score = EpochScoring("accuracy")
    est = fitted(score, schedule, n_estimators=n_estimators, n_iter_no_change=np.inf)
    assert_allclose(column(est, "event_lr"), [0.02, 0.02, 0.002])


@MEMBERS
@pytest.mark.parametrize("weighting", ["equal", "mgda"])  # at once, and in turns
def test_every_member_follows_a_schedule_by_batch(weighting, n_estimators):
    n_steps = 3 * (3 if n_estimators == 1 else 2)
    schedule = LRScheduler(
        torch.optim.lr_scheduler.OneCycleLR,
        max_lr=0.1,
        total_steps=n_steps + 1,
        step_every="batch",
    )
    seen = []

    class Watch(Callback):
        def on_epoch_end(self, net, **kwargs):
            nets = [net] if weighting == "equal" else getattr(net, "_alone", [net])
            seen.append([n.optimizer_.param_groups[0]["lr"] for n in nets])

    settings = {"n_estimators": n_estimators, "weighting": weighting}
    settings |= {
        "n_iter_no_change": np.inf,
        "batch_size": 75 if n_estimators > 1 else 60,
    }
    fitted(schedule, Watch(), **settings)
    assert all(len(set(rates)) == 1 for rates in seen)
    assert seen[-1][0] < 1e-5


@MEMBERS
def test_schedules_go_on_with_a_warm_start(n_estimators):
    schedule = LRScheduler("LambdaLR", lr_lambda=lambda epoch: 1 / (1 + epoch))
    settings = {"n_estimators": n_estimators, "n_iter_no_change": np.inf}
    est = fitted(schedule, warm_start=True, **settings)
    est.fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    expected = 0.02 / np.arange(1, 7)
    assert_allclose(column(est, "event_lr"), expected)


def test_a_schedule_by_epoch_leaves_members_at_once():
    at_once = fitted(LRScheduler("StepLR", step_size=2), n_estimators=3)
    assert at_once.net_.stacked


def test_the_input_shape_is_known_without_its_setter():
    with pytest.raises(ValueError, match=r"InputShapeSetter, .* leave it out"):
        fitted(InputShapeSetter())


def test_monitors_of_held_out_rows_need_some():
    known = [EarlyStopping(), EarlyStopping, ("name", Checkpoint()), WandbLogger(None)]
    for callback in known:
        settings = SETTINGS | {"early_stopping": False}
        est = MultiTaskClassifier(**settings, callbacks=[callback])
        with pytest.raises(ValueError, match="no rows are held out"):
            est.fit(X, Y)


# Logging


@MEMBERS
def test_epochs_are_timed(n_estimators):
    est = fitted(EpochTimer(), n_estimators=n_estimators)
    assert all(0 < seconds < 60 for seconds in column(est, "dur"))


@MEMBERS
def test_the_log_is_printed_with_a_column_per_task(n_estimators, capsys):
    fitted(PrintLog(), n_estimators=n_estimators)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 3
    assert lines[0].split()[0] == "epoch"
    assert set(lines[0].split()) == {*NUMBERS, "epoch"} - {"train_weights"}


@MEMBERS
def test_a_progress_bar_of_batches(n_estimators, capfd, monkeypatch):
    at_once = functools.partial(tqdm.tqdm, mininterval=0)
    monkeypatch.setattr("skorch.callbacks.logging.tqdm.tqdm", at_once)
    est = fitted(ProgressBar(), n_estimators=n_estimators, max_iter=1)
    _, err = capfd.readouterr()
    assert "train_loss=" in err
    assert est.net_.max_epochs == 1


class Client:
    """What loggers take for the client of their service."""

    def __init__(self, folder):
        self.dir = str(folder)
        self.info = types.SimpleNamespace(run_id="run")
        self.logged, self.files, self.ended, self.watched = {}, [], False, None

    def keep(self, key, value, step=None):
        assert isinstance(value, float | int | np.floating)
        self.logged.setdefault(key, []).append(value)

    # MLflow
    def log_metric(self, run_id, key, value, step):
        self.keep(key, value, step)

    def log_artifact(self, run_id, path):
        self.files.append(Path(path).name)

    def set_terminated(self, run_id):
        self.ended = True

    # sacred
    log_scalar = keep

    # TensorBoard
    def add_scalar(self, tag, scalar_value, global_step):
        self.keep(tag.removeprefix("Loss/"), scalar_value, global_step)

    def close(self):
        self.ended = True

    stop = close

    # wandb
    def watch(self, module):
        self.watched = module

    def log(self, values):
        for key, value in values.items():
            self.keep(key, value)


class Run(dict):
    """A run of Neptune: folders of series and values."""

    def __init__(self):
        super().__init__()
        self.values, self.ended = [], False

    def __missing__(self, key):
        self[key] = Run()
        return self[key]

    def append(self, value):
        assert isinstance(value, float | int | np.floating | list)
        self.values.append(value)

    def stop(self):
        self.ended = True


LOGGERS = {
    "mlflow": lambda client: MlflowLogger(client, client),
    "sacred": SacredLogger,
    "tensorboard": TensorBoard,
    "wandb": WandbLogger,
}


@MEMBERS
@pytest.mark.parametrize("make", LOGGERS.values(), ids=LOGGERS)
def test_loggers_draw_a_curve_per_task(make, n_estimators, tmp_path):
    client = Client(tmp_path)
    est = fitted(make(client), n_estimators=n_estimators)
    assert client.logged.keys() == NUMBERS
    assert all(len(values) == 3 for values in client.logged.values())
    losses = np.array(column(est, "train_losses"))
    assert_array_equal(client.logged["train_loss_long"], losses[:, 1])
    if n_estimators > 1:
        assert est.net_.stacked


@MEMBERS
def test_files_of_a_run_go_to_mlflow(n_estimators, tmp_path):
    client = Client(tmp_path)
    fitted(MlflowLogger(client, client), n_estimators=n_estimators)
    names = ["params.pth", "optimizer.pth", "criterion.pth", "history.json"]
    assert client.files == names
    assert client.ended


@MEMBERS
@pytest.mark.parametrize(
    "make",
    [
        lambda client: MlflowLogger(client, client, log_on_batch_end=True),
        lambda client: SacredLogger(client, log_on_batch_end=True),
    ],
    ids=["mlflow", "sacred"],
)
def test_loggers_draw_losses_of_batches(make, n_estimators, tmp_path):
    client = Client(tmp_path)
    fitted(make(client), n_estimators=n_estimators)
    n_batches = 3 * (3 if n_estimators == 1 else 2)
    assert len(client.logged["train_loss_batch"]) >= n_batches
    assert len(client.logged["train_loss_epoch"]) == 3
    means = np.mean(client.logged["train_loss_batch"])
    assert means == pytest.approx(np.mean(client.logged["train_loss_epoch"]), rel=0.1)


@pytest.fixture
def neptune(monkeypatch):
    """Stand in for the package, of which the logger takes two classes."""
    texts = types.SimpleNamespace(from_content=lambda text, extension: text)
    for name, content in [
        ("neptune", {}),
        ("neptune.types", {"File": texts}),
        ("neptune.handler", {"Handler": dict}),
    ]:
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)


@MEMBERS
def test_neptune_gets_a_series_per_task(n_estimators, neptune):
    run = Run()
    run.get_root_object = lambda: run
    est = fitted(NeptuneLogger(run, log_on_batch_end=True), n_estimators=n_estimators)
    training = run["training"]
    series = training["train"]["epoch"]["loss_long"].values
    assert_array_equal(series, np.array(column(est, "train_losses"))[:, 1])
    assert len(training["validation"]["epoch"]["loss_species"].values) == 3
    assert training["train"]["batch"]["loss"].values
    assert training["config/epochs"] == 3
    assert run.ended


# All of them, and the history


CALLBACKS = {
    "BatchScoring": lambda client: BatchScoring("accuracy"),
    "Callback": lambda client: Callback(),
    "Checkpoint": lambda client: Checkpoint(dirname=client.dir),
    "EarlyStopping": lambda client: EarlyStopping(sink=list),
    "EpochScoring": lambda client: EpochScoring("accuracy"),
    "EpochTimer": lambda client: EpochTimer(),
    "Freezer": lambda client: Freezer("*encoder*"),
    "GradientNormClipping": lambda client: GradientNormClipping(1.0),
    "Initializer": lambda client: Initializer("*encoder*", fn=torch.nn.init.zeros_),
    "InputShapeSetter": None,  # which has no use here, and is refused
    "LRScheduler": lambda client: LRScheduler("StepLR", step_size=1),
    "LoadInitState": lambda client: LoadInitState(Checkpoint(dirname=client.dir)),
    "MlflowLogger": lambda client: MlflowLogger(client, client),
    "NeptuneLogger": lambda client: NeptuneLogger(Run(), close_after_train=False),
    "ParamMapper": lambda client: ParamMapper("*", fn=torch.detach),
    "PassthroughScoring": lambda client: PassthroughScoring("train_loss"),
    "PrintLog": lambda client: PrintLog(sink=list),
    "ProgressBar": lambda client: ProgressBar(),
    "SacredLogger": SacredLogger,
    "TensorBoard": TensorBoard,
    "TrainEndCheckpoint": lambda client: TrainEndCheckpoint(dirname=client.dir),
    "Unfreezer": lambda client: Unfreezer("*"),
    "WandbLogger": WandbLogger,
    "WarmRestartLR": lambda client: LRScheduler(WarmRestartLR),
}


@MEMBERS
@pytest.mark.parametrize("name", skorch.callbacks.__all__)
def test_every_callback_of_skorch_works(name, n_estimators, tmp_path, neptune):
    make = CALLBACKS[name]
    if make is not None:
        est = fitted(make(Client(tmp_path)), n_estimators=n_estimators, max_iter=1)
        assert pickle.loads(pickle.dumps(est.net_)).history == est.history_


def test_lists_of_the_history_are_found_by_name_alone(tmp_path):
    est = fitted(Snapshots())
    epoch = est.history_[-1]
    assert set(epoch) - {"batches", "epoch"} >= NUMBERS
    assert not [key for key in epoch if isinstance(epoch[key], list) and epoch[key]]
    assert epoch["train_losses"] == [
        epoch["train_loss_species"],
        epoch["train_loss_long"],
    ]
    assert np.shape(est.history_[:, "valid_losses"]) == (3, 2)
    assert len(pd.DataFrame(est.history_)["valid_loss_long"]) == 3
    assert pickle.loads(pickle.dumps(est)).history_ == est.history_
    est.set_params(callbacks=None)
    skmtl.save(est, tmp_path / "model")
    other = skmtl.load(tmp_path / "model")
    assert other.history_ == est.history_
    assert column(other, "valid_loss_long") == column(est, "valid_loss_long")
