"""Fits and predictions in several threads at once, and what they leave behind."""

import copy
import gc
import multiprocessing
import os
import pickle
import random
import signal
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl._estimators.fitting.net_factory import choose_n_threads
from skmtl.encoder import CNN, ENCODER, MLP
from skmtl.relation import RELATION
from skmtl.sharing import SHARING, AutoGrouped, LearnedBranching, TaskToken
from skmtl.training import (
    AUGMENTATION,
    MultiTaskNet,
    use_n_threads,
    uses_own_generator_only,
)
from skmtl.training._loop import TrainingLoop
from skmtl.weighting import WEIGHTING, Equal

NUMPY_STATE = np.random.mtrand._rand
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = np.column_stack([X[:, 0] > 0, X[:, 1] + X[:, 2] > 0, X[:, 3] > 0.5]).astype(int)
Z = np.column_stack([X[:, 0], X[:, 1] ** 2, X[:, 1] + X[:, 2]])
IMAGES = RNG.normal(size=(60, 1, 6, 6))
SMALL = {
    "encoder": MLP((6,), dropout=0.3),
    "batch_size": 16,
    "max_iter": 3,
    "n_estimators": 1,
    "random_state": 0,
    "n_threads": 1,
}


def classifier(**settings):
    return MultiTaskClassifier(**{**SMALL, **settings})


class Drawing(nn.Module):
    """A user's network, which draws from every global state there is."""

    def __init__(self, n_features):
        super().__init__()
        self.first = nn.Linear(n_features, 5)

    def forward(self, H):
        drawn = random.random() + NUMPY_STATE.random_sample() + torch.rand(())
        return self.first(H) * drawn


class Plain(nn.Sequential):
    """A user's network that draws from nothing."""

    def __init__(self, n_features):
        super().__init__(nn.Linear(n_features, 6), nn.Tanh())


class Watching(Callback):
    """A user's callback, which may draw as well."""

    def on_epoch_end(self, net, **kwargs):
        net.history.record("drawn", float(torch.rand(())))


class OwnWeighting(Equal):
    """A user's weighting."""

    name = "own"


BESIDE = {
    "one network": classifier(),
    "members": classifier(n_estimators=3, resampling="bootstrap"),
    "members in turns": classifier(n_estimators=2, weighting="pcgrad"),
    "rlw": classifier(weighting="rlw"),
    "stacked rlw": classifier(weighting="rlw", n_estimators=3),
    "graddrop": classifier(weighting="graddrop"),
    "gradvac": classifier(weighting="gradvac"),
    "noise": classifier(augmentation=["noise", "mixup"]),
    "sampling": classifier(sampling="classes"),
    "images": classifier(encoder=CNN((4,)), augmentation=["flip", "crop"]),
    "branching": classifier(sharing=LearnedBranching(2)),
    "stacked branching": classifier(sharing=LearnedBranching(2), n_estimators=2),
    "auto_grouped": classifier(sharing=AutoGrouped(2, max_iter=2)),
    "held out": classifier(early_stopping=True, stop_tasks=True),
    "relation": MultiTaskRegressor(**SMALL, relation="task_covariance"),
    "distillation": classifier(relation="distillation", n_estimators=2),
}
IN_TURN = {
    "own module": classifier(encoder=Drawing),
    "stacked own module": classifier(sharing="mmoe", encoder=Drawing),
    "torch's dropout": classifier(sharing=TaskToken(dropout=0.2)),
    "callback": classifier(callbacks=[Watching()]),
    "own augmentation": classifier(augmentation=lambda X: X + torch.randn_like(X)),
    "metric": classifier(validation_metric="accuracy"),
    "own weighting": classifier(weighting=OwnWeighting()),
    "several threads": classifier(n_threads=2),
}


def data_of(est, name):
    if isinstance(est, MultiTaskRegressor):
        return X, Z
    return (IMAGES if name == "images" else X), Y


def bits(est):
    """Return all that a fit has come to, but for the seconds that it took."""
    modules = est.module_, est.weighting_
    state = [v.numpy().tobytes() for m in modules for v in m.state_dict().values()]
    return state, repr([{**epoch, "dur": 0.0} for epoch in est.history_])


def global_states():
    return (
        torch.get_rng_state().tolist(),
        NUMPY_STATE.get_state()[1].tolist(),
        (random.getstate()),
    )


@pytest.fixture
def meeting(monkeypatch):
    """Let two fits wait for each other in every epoch; return what they find out."""
    barrier, met, epoch = threading.Barrier(2), [], TrainingLoop._run_epoch

    def waiting(net, *args):
        with suppress(threading.BrokenBarrierError):
            met.append(barrier.wait(timeout=20))
        return epoch(net, *args)

    monkeypatch.setattr(TrainingLoop, "_run_epoch", waiting)
    return met


def together(est, data, n_threads=2, n_fits=2):
    with ThreadPoolExecutor(n_threads) as pool:
        fits = [pool.submit(clone(est).fit, *data) for _ in range(n_fits)]
        return [fit.result() for fit in fits]


def test_two_fits_train_at_the_same_time(meeting):
    est = classifier(max_iter=5, n_iter_no_change=np.inf)
    together(est, (X, Y))
    assert len(meeting) == 2 * 5


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.sampled(5)
def test_fits_beside_each_other_are_as_alone(name):
    est, data = BESIDE[name], data_of(BESIDE[name], name)
    before, expected = global_states(), bits(clone(est).fit(*data))
    for fitted in together(est, data, n_threads=2, n_fits=2):
        assert bits(fitted) == expected
    assert global_states() == before


@pytest.mark.parametrize("name", IN_TURN)
@pytest.mark.sampled(3)
def test_fits_that_take_turns_are_as_alone(name):
    est, before = IN_TURN[name], global_states()
    expected = bits(clone(est).fit(X, Y))
    for fitted in together(est, (X, Y), n_threads=2, n_fits=2):
        assert bits(fitted) == expected
    assert global_states() == before


def test_fits_of_all_kinds_at_once_are_as_alone():
    every = {**BESIDE, **IN_TURN}
    expected = {n: bits(clone(e).fit(*data_of(e, n))) for n, e in every.items()}
    with ThreadPoolExecutor(6) as pool:
        fits = {n: pool.submit(clone(e).fit, *data_of(e, n)) for n, e in every.items()}
        for name, fit in fits.items():
            assert bits(fit.result()) == expected[name], name


@pytest.fixture
def said(monkeypatch):
    """Record which fits train beside others."""
    found = []

    def spy(net, scores):
        found.append(uses_own_generator_only(net, scores))
        return found[-1]

    monkeypatch.setattr("skmtl._estimators.fit.uses_own_generator_only", spy)
    return found


@pytest.mark.parametrize("name", BESIDE)
def test_what_draws_from_its_own_generator_is_known(name, said):
    clone(BESIDE[name]).fit(*data_of(BESIDE[name], name))
    assert said == [True] * len(said)
    assert said


@pytest.mark.parametrize("name", IN_TURN)
def test_what_may_draw_from_global_states_is_known(name, said):
    before = torch.get_num_threads()
    clone(IN_TURN[name]).fit(X, Y)
    assert said == ([] if name == "several threads" else [False])
    assert torch.get_num_threads() == before


STRATEGIES = [
    *(("sharing", name) for name in SHARING),
    *(("weighting", name) for name in WEIGHTING),
    *(("relation", name) for name in RELATION),
    *(("augmentation", name) for name in AUGMENTATION),
    *(("encoder", name) for name in ENCODER),
]


@pytest.mark.one_version
@pytest.mark.parametrize(("family", "name"), STRATEGIES)
@pytest.mark.sampled(5)
def test_while_a_strategy_trains_global_states_are_the_users(
    family, name, said, monkeypatch
):
    epoch = TrainingLoop._run_epoch
    seen = []

    def looking(net, *args):
        before = global_states()
        epoch(net, *args)
        seen.append(not said or global_states() == before)  # after looks at tasks

    monkeypatch.setattr(TrainingLoop, "_run_epoch", looking)
    images = name in ("cnn", "flip", "crop")
    if images and family != "encoder":
        monkeypatch.setitem(SMALL, "encoder", CNN((4,)))
    est = classifier(**{family: name}, max_iter=2)
    est.fit(IMAGES if images else X, Y)
    assert said
    assert all(said)
    assert all(seen)


def test_a_fit_inside_another_is_as_alone(monkeypatch):
    inner, outer = classifier(random_state=1), classifier()
    expected = bits(clone(inner).fit(X, Y)), bits(clone(outer).fit(X, Y))
    fitted, train = [], MultiTaskNet.train

    def fitting(net, *args, **options):
        with monkeypatch.context() as patch:
            patch.setattr(MultiTaskNet, "train", train)
            fitted.append(clone(inner).fit(X, Y))
        return train(net, *args, **options)

    monkeypatch.setattr(MultiTaskNet, "train", fitting)
    outer.fit(X, Y)
    assert (bits(fitted[0]), bits(outer)) == expected


@pytest.mark.parametrize("name", ["one network", "members", "images", "relation"])
def test_predictions_in_16_threads_equal_serial_ones(name):
    est, data = clone(BESIDE[name]), data_of(BESIDE[name], name)
    est.fit(*data)
    parts = [data[0][i : i + 40] for i in range(0, 50, 10)]
    answers = [est.predict] * 2 + (
        [est.predict_proba] if hasattr(est, "predict_proba") else []
    )
    jobs = [(answer, part) for answer in answers for part in parts]
    expected = [answer(part) for answer, part in jobs]
    start = threading.Barrier(16)

    def work(n):
        start.wait()
        return [answer(part) for answer, part in jobs[n:] + jobs[:n]]

    with ThreadPoolExecutor(16) as pool:
        for n, found in enumerate(pool.map(work, range(16))):
            for known, answer in zip(expected[n:] + expected[:n], found, strict=True):
                assert_array_equal(np.asarray(answer), np.asarray(known))


SHARED = {
    "joined encoders": {"encoder": MLP((6,)), "n_estimators": 3},
    "mapped networks": {"sharing": "mmoe", "n_estimators": 3},
    "heads of a relation": {"relation": "label_graph", "n_estimators": 3},
    "own modules of experts": {"sharing": "mmoe", "encoder": Plain},
    "own modules, mapped": {"sharing": "mmoe", "encoder": Plain, "n_estimators": 2},
    "adapters": {"sharing": "adapter"},
}


@pytest.fixture
def hasty():
    """Let threads take turns often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("name", SHARED)
def test_predictions_in_threads_change_nothing_that_is_shared(name, tmp_path):
    est = classifier(**SHARED[name], max_iter=1).fit(X, Y)
    answers = [est.predict, est.predict_proba, est.task_estimator(1).predict]
    if est.n_estimators_ > 1:
        answers.append(lambda X: est.oof_prediction_[0])
        answers.append(lambda X: est.predict_set(X)[0])
    expected, whole = [answer(X[:4]) for answer in answers], bits(est)
    fresh = pickle.loads(pickle.dumps(est))
    answers[:3] = [fresh.predict, fresh.predict_proba, fresh.task_estimator(1).predict]
    start = threading.Barrier(9)

    def work():
        start.wait()
        for answer, known in zip(answers * 2, expected * 2, strict=True):
            assert_array_equal(answer(X[:4]), known)

    with ThreadPoolExecutor(8) as pool:
        threads = [pool.submit(work) for _ in range(8)]
        start.wait()
        skmtl.save(fresh, tmp_path / "model")
        copies = [copy.deepcopy(fresh), pickle.loads(pickle.dumps(fresh))]
        for thread in threads:
            thread.result()
    loaded = skmtl.load(tmp_path / "model", trusted=[Plain])
    for found in (fresh, loaded, *copies):
        assert bits(found) == whole
        assert_array_equal(found.predict(X[:4]), expected[0])


def test_predictions_beside_an_export_are_as_alone(tmp_path, monkeypatch):
    est = classifier(sharing="mmoe", n_estimators=2, max_iter=1).fit(X, Y)
    expected, whole = est.predict_proba(X)[0], bits(est)
    export, traced = torch.export.export, threading.Event()

    def predict():
        while not traced.wait(0.01):
            assert_array_equal(est.predict_proba(X)[0], expected)

    def trace(*args, **kwargs):
        export(*args, **kwargs)
        raise ValueError("traced")

    monkeypatch.setattr(torch.export, "export", trace)
    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(predict)
        try:
            with pytest.raises(skmtl.exceptions.ModelFileError, match="traced"):
                skmtl.export_onnx(est, tmp_path / "model.onnx")
        finally:
            traced.set()
        thread.result()
    assert bits(est) == whole


def test_a_fit_beside_an_export_is_as_alone(monkeypatch):
    """torch tells all threads that it compiles while it exports in one."""
    est = classifier(max_iter=2)
    expected = bits(clone(est).fit(X, Y))
    monkeypatch.setattr(torch.compiler, "_is_compiling_flag", True)
    assert bits(clone(est).fit(X, Y)) == expected


@pytest.mark.parametrize("name", ["one network", "members", "images", "relation"])
def test_predictions_add_nothing_to_an_estimator(name):
    est, data = clone(BESIDE[name]), data_of(BESIDE[name], name)
    before = pickle.dumps(est.fit(*data))
    est.predict(data[0])
    assert pickle.dumps(est) == before


def test_predictions_beside_a_fit_are_as_alone():
    est = classifier().fit(X, Y)
    expected, whole = est.predict(X), bits(est)
    with ThreadPoolExecutor(4) as pool:
        fits = [pool.submit(clone(est).fit, X, Y) for _ in range(3)]
        answers = [pool.submit(est.predict, X) for _ in range(50)]
        for answer in answers:
            assert_array_equal(answer.result(), expected)
        assert all(bits(fit.result()) == whole for fit in fits)


@pytest.mark.parametrize("n", [None, 1, 2])
def test_a_thread_that_begins_beside_others_keeps_its_number_of_torch_threads(n):
    """A new thread begins with the number that another one has set."""
    before, seen = torch.get_num_threads(), []

    def work():
        with use_n_threads(n):
            seen.append(torch.get_num_threads())
        seen.append(torch.get_num_threads())

    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(1) as pool, use_n_threads(1):
            pool.submit(work).result()
        assert seen == [n or 2, 2]
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked")
def test_a_forked_process_fits_and_predicts_on_one_thread(tmp_path):
    """OpenMP waits there for threads that only the parent has."""
    before, path = torch.get_num_threads(), tmp_path / "answers.npy"
    est = classifier(n_threads=2)
    expected = clone(est).fit(X, Y).predict_proba(X)
    torch.set_num_threads(2)
    torch.rand(2**20).exp()  # so that OpenMP has threads
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python too warns of forks beside threads
        child = os.fork()
        if not child:
            try:
                torch.set_num_threads(2)
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    np.save(path, est.fit(X, Y).predict_proba(X))
                told = {str(w.message) for w in caught if w.filename == __file__}
                os._exit(not any("n_threads=2 is not used" in t for t in told))
            finally:
                os._exit(2)
    torch.set_num_threads(before)
    for _ in range(6000):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.01)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise AssertionError("the forked process hangs")
    assert os.waitstatus_to_exitcode(status) == 0
    assert_array_equal(np.load(path), expected)


def test_no_more_threads_are_used_than_there_are_cpus(monkeypatch):
    monkeypatch.setattr("skmtl._estimators.fitting.net_factory.cpu_count", lambda: 3)
    est = classifier(n_threads=1024, max_iter=1).fit(X, Y)
    assert choose_n_threads(est.n_threads, est.net_) == 3
    assert choose_n_threads(2, est.net_) == 2


# What is left behind


class Interrupting(Callback):
    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(10_000):  # the signal arrives between instructions
                pass


@pytest.fixture
def listening():
    """Hear Ctrl-C also where the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening")
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc")
@pytest.mark.parametrize("ends", ["well", "by Ctrl-C"])
def test_a_fit_leaves_no_processes_threads_or_open_files(ends, tmp_path):
    def left():
        gc.collect()
        files = sorted(map(os.path.realpath, Path("/proc/self/fd").iterdir()))
        return len(files), threading.active_count(), multiprocessing.active_children()

    est = classifier(checkpoint=tmp_path, checkpoint_every=1, verbose=1)
    est.fit(X, Y).predict(X)
    before = left()
    if ends == "well":
        for _ in range(2):
            est.fit(X, Y).predict(X)
    else:
        with pytest.raises(KeyboardInterrupt):
            est.set_params(callbacks=[Interrupting()]).fit(X, Y)
    assert left() == before
