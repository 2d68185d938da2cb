"""Fits by several processes at once, and by one of them alone.

Run by ``python -m torch.distributed.run --nproc_per_node=2`` with a folder: the main
process prints a line for each case, and fails where processes end up with different
models, or with another one than a single process.
"""

import copy
import io
import pickle
import sys
import time
import warnings
import weakref
from contextlib import redirect_stderr, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from sklearn.base import clone
from skorch.callbacks import Callback, LRScheduler
from torch import nn

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.datasets import open_table
from skmtl.encoder import MLP
from skmtl.exceptions import CheckpointWarning, DivergenceError
from skmtl.relation import Distillation
from skmtl.sharing import Additive, AutoGrouped
from skmtl.training import Checkpoints
from skmtl.weighting import GradDrop, PCGrad, UPGrad

ACCELERATOR = Accelerator(cpu=True)
MAIN = ACCELERATOR.is_main_process
RNG = np.random.default_rng(0)
N = 60
X = RNG.normal(size=(N, 4))
Y = np.column_stack([X[:, 0] > 0, X[:, 1] + X[:, 2] > 0, X[:, 3] > 0.5]).astype(float)
Z = np.column_stack([X[:, 0], X[:, 1] ** 2, X[:, 1] + X[:, 2]])
MIXED = np.column_stack([Y[:, 0], Z[:, 1], np.digitize(X[:, 2], [-0.5, 0.5])])
WEIGHT = RNG.uniform(0.5, 2, size=(N, 3))
#: Labels missing at random, and those of one task in the share of one process only.
MISSING = np.where(RNG.random(Y.shape) < 0.3, np.nan, Y)
MISSING[N // 2 :, 2] = np.nan
COLUMNS = pa.table({f"x{j}": X[:, j] for j in range(4)})
TABLE, _ = open_table(COLUMNS, shuffle_window=24)
IMAGES = RNG.normal(size=(N, 1, 6, 6))
SMALL = {
    "encoder": MLP((6,), dropout=0.0),
    "batch_size": 15,
    "max_iter": 3,
    "n_estimators": 1,
    "early_stopping": False,
    "random_state": 0,
    "device": "cpu",
}
#: Largest difference between models of one process and of two.
TOLERANCE = 1e-10


class Normalised(nn.Module):
    """A network that keeps statistics of batches."""

    width = 5

    def __init__(self, n_features):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_features, 5), nn.BatchNorm1d(5), nn.Dropout(0.3)
        )

    def forward(self, X):
        return self.layers(X)


def fitted(est, *data, accelerator=ACCELERATOR, **fit):
    return clone(est).set_params(accelerator=accelerator).fit(*data, **fit)


def state(est):
    """Return all numbers of a model."""
    modules = {"module": est.module_, "weighting": est.weighting_}
    return {
        f"{part}.{name}": value.clone()
        for part, module in modules.items()
        for name, value in module.state_dict().items()
    }


def records(est):
    return repr([{**epoch, "dur": 0.0} for epoch in est.history_])


def content(est):
    """Return all that processes must agree on, to the last bit."""
    found = {k: v.numpy().tobytes() for k, v in state(est).items()}
    return found, records(est), est.n_iter_


def assert_alike(est):
    """Check that a model is the same in all processes."""
    first, *others = gather_object([content(est)])
    for other in others:
        assert other == first


def assert_equals(est, other, tolerance=TOLERANCE):
    """Check that two models are the same but for rounding."""
    own, expected = state(est), state(other)
    assert own.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            own[name], value, rtol=tolerance, atol=tolerance, msg=name
        )
    assert est.n_iter_ == other.n_iter_
    np.testing.assert_allclose(est.loss_curve_, other.loss_curve_, rtol=tolerance)


def classifier(**settings):
    return MultiTaskClassifier(**{**SMALL, **settings})


def regressor(**settings):
    return MultiTaskRegressor(**{**SMALL, **settings})


#: Estimators, data and what else fit is given: two processes do what one does.
EQUAL = {
    "missing labels": (classifier(shuffle=False), (X, MISSING)),
    "missing labels in order": (classifier(batch_size=N), (X, MISSING)),
    "weights": (classifier(class_weight="balanced"), (X, Y, WEIGHT)),
    "both kinds": (
        MultiTaskEstimator(
            **SMALL, task_types=["classification", "regression", "classification"]
        ),
        (X, MIXED),
    ),
    "uncertainty": (regressor(weighting="uncertainty"), (X, Z)),
    "dwa": (classifier(weighting="dwa", max_iter=4), (X, MISSING)),
    "rlw": (classifier(weighting="rlw"), (X, MISSING)),
    "representation": (classifier(weighting=UPGrad()), (X, MISSING)),
    "several draws": (regressor(weighting=PCGrad()), (X, Z)),
    "parameters": (
        classifier(weighting=UPGrad(gradient_at="parameters")),
        (X, MISSING),
    ),
    "gradients of columns": (
        regressor(weighting=UPGrad(), sharing="cross_stitch"),
        (X, Z),
    ),
    "combined gradients": (classifier(weighting=GradDrop()), (X, MISSING)),
    "combined gradients of experts": (
        regressor(weighting=GradDrop(), sharing="mmoe"),
        (X, Z),
    ),
    "rereads": (classifier(weighting="famo"), (X, MISSING)),
    "recorded gradients": (classifier(record_gradients=True), (X, Y)),
    "penalty of a relation": (
        classifier(relation="task_covariance", weighting="uncertainty"),
        (X, MISSING),
    ),
    "penalty of sharing": (
        regressor(sharing=Additive(strength=0.1), weighting=UPGrad()),
        (X, Z),
    ),
    "teacher": (classifier(relation=Distillation()), (X, MISSING)),
    "scout": (classifier(sharing=AutoGrouped(n_groups=2), max_iter=1), (X, Y)),
    "members at once": (
        classifier(n_estimators=3, resampling="bootstrap", early_stopping="auto"),
        (X, MISSING),
    ),
    "members in turns": (
        regressor(n_estimators=2, resampling="bootstrap", weighting="pcgrad"),
        (X, Z),
    ),
    "members by default": (
        MultiTaskClassifier(
            encoder=MLP((6,), dropout=0.0), max_iter=2, random_state=0, device="cpu"
        ),
        (X, MISSING),
    ),
    "metric": (
        classifier(
            early_stopping=True, validation_metric="roc_auc", n_iter_no_change=2
        ),
        (X, Y),
    ),
    "stopped tasks": (
        classifier(
            early_stopping=True,
            stop_tasks=True,
            n_iter_no_change=1,
            max_iter=6,
            sharing="independent",
        ),
        (X, Y),
    ),
    "one held-out row": (
        classifier(early_stopping=True, validation_fraction=0.01, max_iter=2),
        (X[:, :], Y),
    ),
    "schedule": (
        classifier(callbacks=[LRScheduler("StepLR", step_size=1, gamma=0.5)]),
        (X, MISSING),
    ),
    "closures": (
        regressor(optimizer=torch.optim.LBFGS, batch_size=N, learning_rate_init=0.1),
        (X, Z),
    ),
    "sampling": (classifier(sampling="classes"), (X, MISSING)),
    "hard_example_mining": (classifier(hard_example_mining="margin"), (X, MISSING)),
    "selection of values": (regressor(hard_example_mining="loss"), (X, Z, WEIGHT)),
    "images": (
        MultiTaskClassifier(**{**SMALL, "encoder": "cnn", "max_iter": 1}),
        (IMAGES, Y),
    ),
    "table on disk": (classifier(), (TABLE, MISSING)),
    "table on disk of members": (classifier(n_estimators=2), (TABLE, MISSING)),
    "batches of one row": (classifier(batch_size=1, max_iter=1), (X[:5], Y[:5])),
}
#: Fits that draw for each process by itself.
ALIKE = {
    "dropout": (classifier(encoder=MLP((6,), dropout=0.5)), (X, MISSING)),
    "augmentation": (classifier(augmentation=["noise", "mixup"]), (X, MISSING)),
    "augmentation and selection": (
        classifier(augmentation="mixup", hard_example_mining="loss"),
        (X, Y),
    ),
    "statistics of batches": (
        classifier(encoder=Normalised, early_stopping=True, batch_size=16),
        (X, MISSING),
    ),
    "dropout of members": (
        MultiTaskRegressor(max_iter=2, random_state=0, device="cpu"),
        (X, Z),
    ),
    "no seed": (classifier(random_state=None), (X, Y)),
    "bf16": (regressor(precision="bf16", augmentation="mixup"), (X, Z)),
}


def check_equal(name):
    est, data = EQUAL[name]
    several = fitted(est, *data)
    assert_alike(several)
    assert_equals(several, fitted(est, *data, accelerator=None))


def check_alike(name):
    est, data = ALIKE[name]
    assert_alike(fitted(est, *data))


def check_further_training():
    """Warm starts and passes over data that the user feeds."""
    ends = []
    for accelerator in (ACCELERATOR, None):
        est = classifier(weighting="uncertainty", warm_start=True)
        ends.append(est.set_params(accelerator=accelerator).fit(X, Y).fit(X, MISSING))
        est = clone(est).partial_fit(X, Y, classes=[[0, 1]] * 3)
        ends.append(est.partial_fit(X[:31], MISSING[:31]))
    for several, alone in zip(ends[:2], ends[2:], strict=True):
        assert_alike(several)
        assert_equals(several, alone)


def check_own_dropout():
    """Processes draw different dropout, and draw it anew in every epoch."""
    seen = []

    class Seen(nn.Dropout):
        def forward(self, H):
            kept = super().forward(torch.ones(64))
            if self.training:
                seen.append((kept > 0).tolist())
            return H

    def network(n_features):
        return nn.Sequential(nn.Linear(n_features, 5), Seen())

    fitted(classifier(encoder=network, batch_size=N, max_iter=3), X, Y)
    every = [mask for of_process in gather_object([seen]) for mask in of_process]
    n_different = len({tuple(mask) for mask in every})
    assert len(every) >= 6
    assert n_different == len(every)


class Killed(BaseException):
    """Ends a fit as nothing that it could expect does."""


def check_checkpoints(folder):
    """The main process writes; a fit goes on to the last bit."""
    for name, settings in {
        "alone": {"early_stopping": True, "weighting": "rlw"},
        "turns": {"n_estimators": 2, "resampling": "bootstrap", "weighting": "pcgrad"},
    }.items():
        est = classifier(encoder=MLP((6,), dropout=0.5), max_iter=4, **settings)
        whole = fitted(est, X, MISSING)
        kept = folder / name
        # A folder of the main process need not be there for others.
        own = kept if MAIN else folder / f"{name} not there"
        est = est.set_params(checkpoint=own, checkpoint_every=1)
        after_epoch = Checkpoints.after_epoch

        def dying(self, net, batches, n_done, last, after_epoch=after_epoch):
            after_epoch(self, net, batches, n_done, last)
            if n_done == 2:
                raise Killed

        Checkpoints.after_epoch = dying
        with suppress(Killed):
            fitted(est, X, MISSING)
        Checkpoints.after_epoch = after_epoch
        parts = fitted(est, X, MISSING, resume="auto")
        assert_alike(parts)
        assert content(parts) == content(whole)
        assert kept.exists()
        assert not (folder / f"{name} not there").exists()
        assert len(list(kept.iterdir())) == 2


def check_shown_once(folder):
    """Bars and warnings are those of the main process."""
    shown = io.StringIO()
    blocked = folder / "file" / "in" / "the way"
    with redirect_stderr(shown), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (folder / "file").touch()
        ACCELERATOR.wait_for_everyone()
        fitted(classifier(verbose=1, checkpoint=blocked), X, Y)
    assert ("epoch" in shown.getvalue()) == MAIN
    assert [w.category for w in caught] == [CheckpointWarning] * MAIN


def check_refused():
    """All processes refuse what differs, and go on."""
    rank = ACCELERATOR.process_index
    shuffled = np.where(np.arange(N)[:, None] == 7, 1 - Y, Y)
    invalid = np.where(np.arange(N)[:, None] == 3, np.inf, X)
    for data, words in [
        ((X, [Y, shuffled][rank]), "the same data"),
        ((X[: N - rank], Y[: N - rank]), "the same data"),
        ((X + rank, Y), "the same data"),
        ((X, Y, [None, WEIGHT][rank]), "the same data"),
        (([X, invalid][rank], Y), "infinity"),
    ]:
        with pytest.raises(ValueError, match=words):
            fitted(classifier(), *data)
    with pytest.raises(ValueError, match="the same settings"):
        fitted(classifier(max_iter=3 + rank), X, Y)
    with pytest.raises(DivergenceError, match="lower learning_rate_init"):
        fitted(regressor(learning_rate_init=1e30, optimizer="sgd"), X, 1e9 * Z)


def check_files(folder):
    """One process saves; no file knows of processes."""
    est = fitted(classifier(), X, Y)
    if MAIN:
        skmtl.save(est, folder / "model.skmtl")
    ACCELERATOR.wait_for_everyone()
    for copied in (
        skmtl.load(folder / "model.skmtl"),
        pickle.loads(pickle.dumps(est)),
        copy.deepcopy(est),
    ):
        assert copied.accelerator is None
        assert copied.net_.processes.n == 1
        assert np.array_equal(copied.predict_proba(X)[0], est.predict_proba(X)[0])
    assert clone(est).accelerator is ACCELERATOR
    if MAIN:
        est.predict(X[:7])  # by itself: nothing waits for others


def check_stops_together():
    """What one process wants to end, ends in all."""

    class Late(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.stop_training_ = not MAIN and len(net.history) == 2

    est = fitted(classifier(max_iter=9, callbacks=[Late()]), X, Y)
    assert gather_object([est.n_iter_]) == [2, 2]


ONLY = sys.argv[2:]


def main(folder):
    checks = [
        *((name, lambda name=name: check_equal(name)) for name in EQUAL),
        *((name, lambda name=name: check_alike(name)) for name in ALIKE),
        ("further training", check_further_training),
        ("own dropout", check_own_dropout),
        ("checkpoints", lambda: check_checkpoints(folder)),
        ("shown once", lambda: check_shown_once(folder)),
        ("refused", check_refused),
        ("files", lambda: check_files(folder)),
        ("stops together", check_stops_together),
    ]
    for name, check in checks:
        if ONLY and name not in ONLY:
            continue
        start = time.perf_counter()
        check()
        if MAIN:
            print(f"{name}: {time.perf_counter() - start:.2f} s", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("error")
    main(Path(sys.argv[1]))
    group = weakref.ref(torch.distributed.group.WORLD)
    ACCELERATOR.end_training()
    assert group() is None  # else its threads may abort the process as it ends
