"""Files are written atomically, whoever writes them, and only where files may be."""

import copy
import os
import re
import socket
import stat
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import skmtl
from skmtl import MultiTaskRegressor
from skmtl._core.atomic_file import replace_file
from skmtl.encoder import MLP
from skmtl.exceptions import ModelFileError

posix = pytest.mark.skipif(os.name != "posix", reason="files have other modes there")


@pytest.fixture(scope="module")
def estimator():
    X = np.random.default_rng(0).normal(size=(12, 2))
    settings = {"encoder": MLP((2,), numeric_embedding=None), "n_estimators": 1}
    Y = X @ np.ones((2, 2))
    return MultiTaskRegressor(**settings, max_iter=1, random_state=0).fit(X, Y)


WRITERS = {
    "save": skmtl.save,
    "report_html": lambda estimator, path: estimator.report_html(path),
    "export_onnx": skmtl.export_onnx,
}


@pytest.fixture(params=WRITERS)
def write(request, estimator):
    """Return a function that writes to a path."""
    if request.param == "export_onnx":
        pytest.importorskip("onnx")
    return lambda path: WRITERS[request.param](estimator, path)


@posix
def test_the_mode_is_kept(estimator, tmp_path):
    path = tmp_path / "model"
    path.touch()
    for mode in (0o600, 0o664):
        path.chmod(mode)
        skmtl.save(estimator, path)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert path.stat().st_size > 100


@posix
def test_the_mode_of_a_new_file_is_that_of_any(tmp_path):
    with replace_file(tmp_path / "model") as temporary:
        temporary.write_text("model")
    (tmp_path / "other").touch()
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "other").stat().st_mode


@posix
def test_no_one_else_reads_what_is_being_written(tmp_path):
    (tmp_path / "model").touch(0o600)
    with replace_file(tmp_path / "model") as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600


@posix
@pytest.mark.parametrize("exists", [True, False])
def test_what_a_link_leads_to_is_replaced(exists, estimator, tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "model", tmp_path / "link"
    link.symlink_to("folder/model")
    if exists:
        target.write_text("model")
        target.chmod(0o600)
    skmtl.save(estimator, link)
    assert link.is_symlink()
    assert target.stat().st_size > 100
    if exists:
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link"]


def _fifo(path):
    os.mkfifo(path)


def _socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


def _device(path):
    path.symlink_to("/dev/null")


KINDS = {"a FIFO": _fifo, "a socket": _socket, "a device": _device}
KINDS["a folder"] = lambda path: path.mkdir()


@posix
@pytest.mark.parametrize("kind", KINDS)
def test_other_kinds_of_files_are_refused(kind, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model"
    KINDS[kind](path)
    message = re.escape(f"Cannot write {str(path)!r}: it is {kind}. Give the path")
    with pytest.raises(OSError, match=message):
        write(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
    assert not path.is_file()


def test_a_folder_that_does_not_exist(write, tmp_path):
    path = tmp_path / "none" / "model"
    message = re.escape(f"the folder {str(path.parent)!r} does not exist")
    with pytest.raises(FileNotFoundError, match=message):
        write(path)


@contextmanager
def limit(n_bytes):
    """Let no file grow beyond a size, as on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@posix
def test_a_full_disk_gives_an_error_with_the_path(write, tmp_path):
    path = tmp_path / "model"
    path.write_text("model")
    with pytest.raises(OSError, match="File too large") as error, limit(500):
        write(path)
    assert error.value.filename == str(path)
    assert path.read_text() == "model"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_old_temporary_files_are_deleted(estimator, tmp_path):
    old, new = tmp_path / f".model.{'0' * 16}", tmp_path / f".model.{'1' * 16}"
    other, users = tmp_path / f".other.{'0' * 16}", tmp_path / ".model.backup"
    for path in (old, new, other, users):
        path.touch()
        if path != new:
            os.utime(path, (0, 0))
    skmtl.save(estimator, tmp_path / "model")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {new.name, other.name, users.name, "model"}


def test_long_names(estimator, tmp_path):
    path = tmp_path / ("m" * 250)
    skmtl.save(estimator, path)
    skmtl.save(estimator, path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@posix
def test_a_fifo_is_no_file_to_load(tmp_path):
    os.mkfifo(tmp_path / "model")
    with pytest.raises(ModelFileError, match=r"is no file of skmtl\.save"):
        skmtl.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("class_weight", [{"a": torch.ones(2).to_sparse()}] * 2, "layout torch.spar"),
        ("class_weight", [{"a": torch.ones(2, device="meta")}] * 2, "without numbers"),
        ("class_weight", [{"a": torch.ones(2) + 1j}] * 2, "of type torch.complex64"),
        ("class_weight", [{"a": 10**5000}] * 2, "of more than 10000 bits"),
        ("max_iter", -1, "The 'max_iter' parameter of"),
    ],
    ids=["sparse", "meta", "complex", "int", "max_iter"],
)
def test_what_could_not_be_loaded_is_not_stored(name, value, says, tmp_path):
    X = np.random.default_rng(0).normal(size=(12, 2))
    est = skmtl.MultiTaskClassifier(encoder=MLP((2,)), n_estimators=1, max_iter=1)
    setattr(est.fit(X, (X > 0).astype(int)), name, value)
    with pytest.raises(ValueError, match=says):
        skmtl.save(est, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_names_of_tensors_have_an_encoding(estimator, tmp_path):
    weight = {"\ud800\x1b": np.ones(2), "\ud800\x1b#": np.zeros(2)}
    est = copy.copy(estimator)
    est.task_weight = weight
    skmtl.save(est, tmp_path / "model")
    assert repr(skmtl.load(tmp_path / "model").task_weight) == repr(weight)


def test_pages_hold_text_that_has_no_encoding(tmp_path):
    X = np.random.default_rng(0).normal(size=(12, 2))
    names, labels = ["a\ud800", "b"], np.array([["x\udfff", "y"], ["z", "w"]] * 6)
    pd = pytest.importorskip("pandas")
    Y = pd.DataFrame(
        labels.astype(object), columns=pd.Index(names, dtype=object), dtype=object
    )
    settings = {"encoder": MLP((2,)), "n_estimators": 1, "max_iter": 1}
    est = skmtl.MultiTaskClassifier(**settings, random_state=0).fit(X, Y)
    est.report_html(tmp_path / "page.html", X, Y)
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "a\\ud800" in page
    assert "x\\udfff" in page
