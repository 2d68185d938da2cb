"""Both versions of CIFAR-10 are read, and nothing else is."""

import io
import pickle
import struct
import tarfile

import numpy as np
import pytest
from sklearn.datasets import get_data_home

from skmtl.datasets import load_cifar10

NAMES = [f"class{i}" for i in range(10)]
FILES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
RNG = np.random.default_rng(0)
IMAGES = {
    name: RNG.integers(256, size=(3, 3, 32, 32), dtype=np.uint8) for name in FILES
}
LABELS = {name: RNG.integers(10, size=3) for name in FILES}
TRAIN = np.concatenate([IMAGES[name] for name in FILES[:5]])
FOLDERS = {"binary": "cifar-10-batches-bin", "python": "cifar-10-batches-py"}


class Python2Pickler(pickle._Pickler):
    """Writes as Python 2 did, as which the archive was made."""

    def save(self, value, **settings):
        if not isinstance(value, bytes):
            super().save(value, **settings)
        elif id(value) in self.memo:
            self.write(self.get(self.memo[id(value)][0]))
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
            self.memoize(value)


def python2(value):
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(value)
    return stream.getvalue().replace(b"numpy._core.multi", b"numpy.core.multi")


def batch_of(name):
    return {
        b"batch_label": b"a batch",
        b"labels": LABELS[name].tolist(),
        b"data": IMAGES[name].reshape(3, -1),
        b"filenames": [b"a.png", b"b.png", b"c.png"],
    }


def python_files(dumps=python2):
    meta = {b"num_cases_per_batch": 3, b"label_names": [n.encode() for n in NAMES]}
    files = {name: dumps(batch_of(name)) for name in FILES}
    return {**files, "batches.meta": dumps(meta), "readme.html": b"<html>"}


def binary_files():
    files = {
        f"{name}.bin": b"".join(
            bytes([label]) + image.tobytes()
            for label, image in zip(LABELS[name], IMAGES[name], strict=True)
        )
        for name in FILES
    }
    meta = "\n".join(NAMES) + "\n\n"
    return {**files, "batches.meta.txt": meta.encode()}


def write(home, version, files, archive=False, prefix=""):
    folder = FOLDERS[version]
    if not archive:
        (home / folder).mkdir(parents=True)
        for name, content in files.items():
            (home / folder / name).write_bytes(content)
        return
    with tarfile.open(home / f"cifar-10-{version}.tar.gz", "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{prefix}{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


VERSIONS = {
    "binary": ("binary", binary_files),
    "python 2": ("python", python_files),
    **{
        f"protocol {p}": (
            "python",
            lambda p=p: python_files(lambda value: pickle.dumps(value, protocol=p)),
        )
        for p in (2, 3, 4)
    },
}
every_version = pytest.mark.parametrize(
    ("version", "files"), VERSIONS.values(), ids=VERSIONS
)


@every_version
@pytest.mark.parametrize(("archive", "prefix"), [(False, ""), (True, ""), (True, "./")])
def test_both_versions_are_read_extracted_or_not(
    tmp_path, version, files, archive, prefix
):
    write(tmp_path, version, files(), archive, prefix)
    before = sorted(tmp_path.rglob("*"))
    train = load_cifar10(tmp_path)
    assert train.data.shape == (15, 3, 32, 32)
    assert train.data.dtype == np.float32
    np.testing.assert_allclose(train.data, TRAIN / 255, rtol=1e-6)
    assert train.target.tolist() == np.concatenate(list(LABELS.values())[:5]).tolist()
    assert train.target_names == NAMES
    assert "cs.toronto.edu" in train.DESCR
    X, y = load_cifar10(str(tmp_path), subset="test", return_X_y=True)
    np.testing.assert_allclose(X, IMAGES["test_batch"] / 255, rtol=1e-6)
    assert y.tolist() == LABELS["test_batch"].tolist()
    X, y = load_cifar10(tmp_path, subset="all", return_X_y=True)
    assert X.shape == (18, 3, 32, 32)
    assert y[15:].tolist() == LABELS["test_batch"].tolist()
    assert sorted(tmp_path.rglob("*")) == before  # nothing was extracted


def test_by_default_it_lies_in_the_data_folder_of_scikit_learn(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    assert get_data_home() == str(tmp_path)
    write(tmp_path / "cifar10", "binary", binary_files())
    assert load_cifar10().data.shape == (15, 3, 32, 32)


def test_what_is_absent_is_asked_for_in_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load_cifar10(tmp_path / "nowhere")
    message = str(caught.value)
    for part in (
        str(tmp_path / "nowhere"),
        "cifar-10-binary.tar.gz or cifar-10-python.tar.gz",
        "Alex Krizhevsky at the University of Toronto",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        "put it there",
    ):
        assert part in message
    assert "\n" not in message
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize(
    ("version", "files", "lost"),
    [
        ("binary", binary_files, "data_batch_3.bin"),
        ("binary", binary_files, "batches.meta.txt"),
        ("python", python_files, "data_batch_3"),
        ("python", python_files, "batches.meta"),
    ],
)
def test_a_missing_file_is_named(tmp_path, version, files, lost, archive):
    files = files()
    del files[lost]
    write(tmp_path, version, files, archive)
    with pytest.raises(FileNotFoundError, match=f"lacks {lost}: get the whole of it"):
        load_cifar10(tmp_path)


RECORD = bytes(3073)
BAD_BINARY = {
    "cut": ("data_batch_1.bin", RECORD * 3 + b"0", "whole records of 3073 bytes"),
    "empty": ("data_batch_2.bin", b"", "must hold 1 to 10000 images. Got 0"),
    "label": ("data_batch_1.bin", b"\x0a" + RECORD[1:], "labels from 10 to 10"),
    "long": ("data_batch_1.bin", RECORD * 10_001, "1 to 10000 images. Got 10001"),
    "huge": ("data_batch_1.bin", RECORD * 11_000, "must have 32000000 bytes at most"),
    "names": ("batches.meta.txt", b"cat\ndog\n", "must name 10 classes"),
}


@pytest.mark.parametrize(
    ("name", "content", "message"), BAD_BINARY.values(), ids=BAD_BINARY
)
@pytest.mark.parametrize("archive", [False, True])
def test_a_broken_binary_file_is_refused(tmp_path, name, content, message, archive):
    write(tmp_path, "binary", {**binary_files(), name: content}, archive)
    with pytest.raises(ValueError, match=message) as caught:
        load_cifar10(tmp_path)
    assert str(caught.value).startswith(name)


class Evil:
    """Runs something where it is unpickled."""

    def __reduce__(self):
        return print, ("this ran",)


def changed(**values):
    return {**batch_of("test_batch"), **{k.encode(): v for k, v in values.items()}}


PIXELS = np.zeros((3, 3072), dtype=np.uint8)
BAD_PYTHON = {
    "code": (changed(filenames=Evil()), "nothing else is read: it asks for"),
    "code in an array": (changed(data=np.array([Evil()])), "asks for"),
    "another class": (changed(filenames=slice(3)), "asks for (__builtin__|builtins)"),
    "no dict": ([1, 2], "must hold a dict. Got list"),
    "no data": ({b"labels": [1, 2, 3]}, "must hold one label and 3072 bytes"),
    "no labels": ({b"data": PIXELS}, "must hold a list of numbers as b'labels'"),
    "floats": (changed(data=PIXELS / 1.0), "and type float64"),
    "widths": (changed(data=PIXELS[:, 1:]), r"pixels of shape \(3, 3071\)"),
    "lengths": (changed(labels=[1, 2]), r"labels of shape \(2,\)"),
    "range": (changed(labels=[1, 2, -1]), "labels from -1 to 2"),
    "text": (changed(labels=["a", "b", "c"]), "must hold a list of numbers"),
}


@pytest.mark.parametrize(("value", "message"), BAD_PYTHON.values(), ids=BAD_PYTHON)
def test_a_python_file_that_asks_for_more_is_refused(tmp_path, capsys, value, message):
    files = {**python_files(), "test_batch": pickle.dumps(value, protocol=3)}
    write(tmp_path, "python", files)
    with pytest.raises(ValueError, match=message) as caught:
        load_cifar10(tmp_path, subset="test")
    assert str(caught.value).startswith("test_batch must")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "content", [b"", b"no pickle", python2(batch_of("test_batch"))[:50]]
)
def test_what_is_no_pickle_is_refused(tmp_path, content):
    write(tmp_path, "python", {**python_files(), "test_batch": content}, archive=True)
    with pytest.raises(ValueError, match="test_batch must be a pickle of arrays and"):
        load_cifar10(tmp_path, subset="test")


def test_another_codec_is_refused(tmp_path):
    text = pickle.dumps(b"\xff", protocol=2)
    assert b"_codecs" in text
    bad = text.replace(b"latin1", b"base64")
    write(tmp_path, "python", {**python_files(), "test_batch": bad})
    with pytest.raises(ValueError, match="it asks for the codec 'base64'"):
        load_cifar10(tmp_path, subset="test")


def test_an_archive_that_is_none_or_cut_is_refused(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    write(tmp_path, "binary", binary_files(), archive=True)
    for content in (b"no archive", path.read_bytes()[:20_000], b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"binary.tar.gz cannot be read"):
            load_cifar10(tmp_path)


def test_links_in_an_archive_lead_nowhere(tmp_path):
    (tmp_path / "secret").write_bytes(RECORD)
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo(f"{FOLDERS['binary']}/test_batch.bin")
        member.type, member.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        tar.addfile(member)
    with pytest.raises(FileNotFoundError, match=r"lacks batches.meta.txt"):
        load_cifar10(tmp_path, subset="test")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subset": "val"}, "'subset' parameter of load_cifar10 must be a str among"),
        ({"data_home": 3}, "'data_home' parameter of load_cifar10 must be"),
        ({"return_X_y": "yes"}, "'return_X_y' parameter of load_cifar10 must be"),
    ],
)
def test_bad_parameters_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        load_cifar10(**settings)
