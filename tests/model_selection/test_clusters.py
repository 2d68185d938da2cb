"""Searches on a cluster: the same results, data sent once, and workers that die."""

import os
import pickle
import signal
import time
from contextlib import suppress
from itertools import chain

import numpy as np
import pytest
import torch
from joblib import parallel_config
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score

from skmtl import MultiTaskRegressor
from skmtl.encoder import MLP
from skmtl.model_selection import (
    TaskWeightSearchCV,
    compare_sharing,
    cross_val_predict,
)
from tests._networks import SAME_STEPS, table
from tests._workers import Dying, Failing, Interrupting, Noting, noted

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
X, Z = table()
IMPORTED = ["distributed", "skmtl.model_selection", "tests._workers", "torch._dynamo"]
GRID = {"alpha": [0.0, 0.1]}


def encoder(*sizes):
    """Return an encoder that no default of the tests changes: workers have others."""
    return MLP(sizes, dropout=0.0, numeric_embedding=None)


def regressor(**settings):
    small = {"encoder": encoder(6), "n_estimators": 1, "max_iter": 2}
    return MultiTaskRegressor(**{**SAME_STEPS, **small, **settings})


def many_rows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(1000, 4)), rng.normal(size=(1000, 2))


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread on this machine, forked for speed."""
    start = {"distributed.worker.multiprocessing-method": "forkserver"}
    settings = {"threads_per_worker": 1, "dashboard_address": ":0"}  # a free port
    with dask.config.set(start), pytest.MonkeyPatch.context() as patch:
        distributed.utils.get_mp_context().set_forkserver_preload(IMPORTED)
        patch.delenv("OMP_NUM_THREADS", raising=False)  # Dask is to choose it
        with (
            distributed.LocalCluster(n_workers=2, **settings) as cluster,
            distributed.Client(cluster),
        ):
            yield cluster


@pytest.fixture
def client(cluster):
    client = distributed.get_client()
    client.wait_for_workers(2, timeout=60)
    return client


def grid_search(X, Z, callbacks=None, **settings):
    est = regressor(callbacks=callbacks)
    search = GridSearchCV(est, GRID, cv=3, error_score="raise", refit=False)
    results = search.set_params(**settings).fit(X, Z).cv_results_
    return [results[f"split{k}_test_score"] for k in range(3)]


def comparison(X, Z, callbacks=None, **settings):
    est = regressor(callbacks=callbacks)
    settings = {"cv": 3, "random_state": 0, "error_score": "raise", **settings}
    return compare_sharing(est, X, Z, param_grid=GRID, **settings).scores


def predictions(X, Z, **settings):
    params = {"sample_weight": np.linspace(0.5, 1, Z.size).reshape(Z.shape)}
    return cross_val_predict(regressor(), X, Z, cv=3, params=params, **settings)


def weight_search(X, Z, **settings):
    search = TaskWeightSearchCV(
        regressor(), n_candidates=4, factor=2, cv=3, random_state=0, refit=False
    )
    return search.set_params(**settings).fit(X, Z).cv_results_["mean_test_score"]


TOOLS = [grid_search, comparison, predictions, weight_search]


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.sampled(2)
def test_results_are_those_of_one_process(tool):
    expected = tool(X, Z)
    with parallel_config("dask"):
        np.testing.assert_array_equal(tool(X, Z), expected)


@pytest.mark.usefixtures("client")
def test_a_search_inside_a_search_uses_the_same_cluster():
    search = TaskWeightSearchCV(regressor(), n_candidates=2, factor=2, cv=2)
    candidates = {"tuned": search, "plain": regressor()}
    settings = {"baseline": "plain", "cv": 2, "random_state": 0, "error_score": "raise"}
    expected = compare_sharing(candidates, X, Z, **settings).scores
    with parallel_config("dask"):
        found = compare_sharing(candidates, X, Z, **settings).scores
    np.testing.assert_array_equal(found, expected)


class Sizes(distributed.SchedulerPlugin):
    """Notes the sizes of all that comes to the cluster, by key."""

    def __init__(self, scheduler):
        self.scheduler = scheduler
        self.before = set(scheduler.tasks)
        self.sizes = {}

    def transition(self, key, start, finish, *args, **kwargs):
        for name, task in self.scheduler.tasks.items():
            if name not in self.before:
                self.sizes[name] = task.get_nbytes()


@pytest.fixture
def sent(monkeypatch):
    """Count the bytes that this process, with the scheduler in it, sends."""
    from distributed.comm.tcp import TCP

    sizes, write = [], TCP.write

    async def counting(comm, *args, **kwargs):
        sizes.append(await write(comm, *args, **kwargs))
        return sizes[-1]

    monkeypatch.setattr(TCP, "write", counting)
    return sizes


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(
    ("tool", "n_times"),
    [(grid_search, 1), (comparison, 1), (predictions, 1), (weight_search, 2)],
)
@pytest.mark.sampled(2, 1)
def test_data_is_sent_once_and_not_with_each_fit(tool, n_times, cluster, sent):
    """In each of the two rounds of a search that narrows down."""
    rng = np.random.default_rng(0)
    wide, targets = rng.normal(size=(1000, 200)), rng.normal(size=(1000, 5))
    plugin = Sizes(cluster.scheduler)
    cluster.scheduler.add_plugin(plugin, name="sizes")
    with parallel_config("dask"):
        tool(wide, targets)
    cluster.scheduler.remove_plugin("sizes")
    sizes = list(plugin.sizes.values())
    n_tables = 2 if tool is predictions else 1  # with weights as large as the targets
    assert sizes.count(wide.nbytes) == n_times
    assert sizes.count(targets.nbytes) == n_times * n_tables
    # From here to the scheduler, and on to a worker.
    n_bytes = 2 * n_times * (wide.nbytes + n_tables * targets.nbytes)
    assert n_bytes < sum(sent) < 1.2 * n_bytes


# Threads


LARGE = {"encoder": encoder(300, 300), "batch_size": 1000, "max_iter": 1}


@pytest.mark.usefixtures("client")
def test_a_worker_fits_with_as_many_threads_as_it_has(tmp_path):
    est = regressor(callbacks=[Noting(tmp_path)], **LARGE)
    splits = [(np.arange(1000), np.arange(10))] * 4
    with parallel_config("dask"):
        cross_val_score(est, *many_rows(), cv=splits)
    assert [threads for _, threads in noted(tmp_path)] == [1] * 4
    assert os.getpid() not in dict(noted(tmp_path))


def test_large_fits_in_threads_of_one_process_take_turns(monkeypatch):
    """So that they use no more threads together than one does."""
    from skmtl.training import MultiTaskNet

    running, most, train = [], [], MultiTaskNet.train

    def counting(net, *args, **options):
        running.append(torch.get_num_threads())
        most.append(sum(running))
        time.sleep(0.05)  # for others to begin
        train(net, *args, **options)
        running.pop()

    monkeypatch.setattr(MultiTaskNet, "train", counting)
    monkeypatch.setattr("skmtl._estimators.fitting.net_factory.ONE_THREAD_WORK", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with parallel_config("threading", n_jobs=2):
            cross_val_score(regressor(), X, Z, cv=4)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert most == [2] * 4


# Failures


@pytest.mark.parametrize(("tool", "n_fits"), [(grid_search, 6), (comparison, 9)])
@pytest.mark.sampled(2, 1)
def test_a_search_goes_on_where_a_worker_is_killed(tool, n_fits, client, tmp_path):
    folder, data = tmp_path / "fits", many_rows()
    folder.mkdir()
    splits = list(KFold(3).split(*data))
    expected = tool(*data, cv=splits)
    client.amm.stop()  # it drops copies of data that other workers have
    with parallel_config("dask", scatter=[*data, *chain(*splits)]):
        found = tool(*data, cv=splits, callbacks=[Dying(folder, os.getpid())])
    np.testing.assert_array_equal(found, expected)
    assert folder.with_suffix(".done").exists()
    assert len(noted(folder)) > n_fits  # those of the dead worker again


@pytest.mark.usefixtures("client")
def test_a_fit_that_fails_is_no_failure_of_the_worker(tmp_path):
    est = regressor(callbacks=[Failing(tmp_path)])
    grid = {"alpha": [0.1, 0.9]}
    with parallel_config("dask"):
        with pytest.warns(FitFailedWarning, match="2 of 6 fits"):
            found = compare_sharing(est, X, Z, param_grid=grid, cv=2, random_state=0)
        search = GridSearchCV(est, grid, cv=2, refit=False)
        with (
            pytest.warns(UserWarning, match="non-finite"),
            pytest.warns(FitFailedWarning, match="2 fits failed out of a total of 4"),
        ):
            search.fit(X, Z)
        with pytest.raises(RuntimeError, match="told to fail"):
            search.set_params(error_score="raise").fit(X, Z)
    assert np.isnan(found.scores).all(axis=(1, 2)).tolist() == [False, False, True]
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]


@pytest.fixture
def listening():
    """Hear Ctrl-C also where the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt(backend, folder):
    """Run a search that a worker interrupts; return the processes of its fits."""
    folder.mkdir()
    est = regressor(callbacks=[Interrupting(folder, os.getpid())], max_iter=10)
    search = GridSearchCV(est, {"alpha": np.linspace(0, 1, 20)}, cv=3, n_jobs=2)
    with pytest.raises(KeyboardInterrupt), parallel_config(backend):
        search.fit(X, Z)
    assert len(noted(folder)) < 60
    return dict(noted(folder))


@pytest.mark.usefixtures("client", "listening")
def test_after_an_interruption_the_cluster_goes_on(tmp_path):
    interrupt("dask", tmp_path / "fits")
    with parallel_config("dask"):
        found = comparison(X, Z)
    np.testing.assert_array_equal(found, comparison(X, Z))


@pytest.mark.usefixtures("listening")
def test_two_processes_find_what_one_does_and_an_interruption_leaves_none(tmp_path):
    expected = grid_search(X, Z)
    with parallel_config("loky", n_jobs=2):
        np.testing.assert_array_equal(grid_search(X, Z), expected)
    pids = interrupt("loky", tmp_path / "fits")
    assert os.getpid() not in pids
    end = time.monotonic() + 30
    with suppress(ProcessLookupError):
        for pid in pids:
            while time.monotonic() < end:
                os.kill(pid, 0)
                time.sleep(0.01)
    assert time.monotonic() < end


# Memory, progress, size


@pytest.mark.usefixtures("client")
def test_what_is_done_is_kept_and_shown(tmp_path, capsys):
    est = regressor(callbacks=[Noting(tmp_path / "fits")])
    (tmp_path / "fits").mkdir()
    settings = {"cv": 2, "random_state": 0, "memory": tmp_path / "kept"}
    with parallel_config("dask"):
        found = compare_sharing(est, X, Z, verbose=1, **settings)
        assert "4/4" in capsys.readouterr().err
        n_fits = len(noted(tmp_path / "fits"))
        again = compare_sharing(est, X, Z, **settings)
    assert n_fits == len(noted(tmp_path / "fits")) == 4
    np.testing.assert_array_equal(again.scores, found.scores)
    np.testing.assert_array_equal(again.fit_seconds, found.fit_seconds)


def test_a_pickle_holds_parameters_and_not_the_training_data():
    sizes = []
    for n in (100, 1000):
        X, Z = table(n)
        est = regressor(batch_size=100, max_iter=1).fit(X, Z)
        n_bytes = 4 * sum(p.numel() for p in est.module_.parameters())
        sizes.append(len(pickle.dumps(est)))
    assert abs(sizes[1] - sizes[0]) < 100
    assert sizes[1] < n_bytes + 50_000


# Ray


@pytest.fixture(scope="module")
def ray():
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
    from ray.util.joblib import register_ray

    register_ray()
    yield ray
    ray.shutdown()


@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("tool", TOOLS)
def test_results_on_ray_are_those_of_one_process(tool):
    expected = tool(X, Z)
    with parallel_config("ray", n_jobs=2):
        np.testing.assert_array_equal(tool(X, Z), expected)


@pytest.mark.usefixtures("ray")
def test_ray_fits_with_few_threads_and_shows_progress(tmp_path, capsys):
    est = regressor(callbacks=[Noting(tmp_path)], **LARGE)
    with parallel_config("ray", n_jobs=2):
        compare_sharing(est, *many_rows(), cv=2, random_state=0, verbose=1)
    assert "4/4" in capsys.readouterr().err
    assert [threads for _, threads in noted(tmp_path)] == [1] * 4
