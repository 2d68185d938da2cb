"""What is damaged or made up gives one clear error, or a model; never more."""

import copy
import json
import re

import numpy as np
import pytest
import safetensors.torch
import torch

import skmtl
from skmtl import MultiTaskEstimator
from skmtl._estimators.persistence.file_format import read, write
from skmtl.encoder import MLP
from skmtl.exceptions import ModelFileError
from tests._estimators.persistence.test_save import (
    CLASSES,
    OwnEncoder,
    OwnEstimator,
    mixed_tasks,
)

SENTENCES = re.compile(
    r"'.*' (is no file of skmtl\.save, or its beginning is damaged: .*"
    r"|is damaged: its checksum is not that of what it holds\. .*"
    r"|has version '.*' of the format, of which this skmtl knows version 1: .*"
    r"|names code that is not skmtl's, \[.*\]: .*"
    r"|holds no model that this version of skmtl can build: .*)"
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return a file of a small model, and what the model predicts."""
    X, Y = mixed_tasks()
    # All that this says holds outside of the tests' settings, too.
    encoder = MLP((2,), dropout=0, numeric_embedding=None)
    settings = {"encoder": encoder, "n_estimators": 1, "max_iter": 1, "random_state": 0}
    est = MultiTaskEstimator("mmoe", relation="graph", **settings)
    path = tmp_path_factory.mktemp("files") / "model"
    skmtl.save(est.partial_fit(X, Y, CLASSES), path)
    return path, est


def refused(path, **options):
    with pytest.raises(ModelFileError) as error:
        skmtl.load(path, **options)
    message = str(error.value)
    assert SENTENCES.fullmatch(message), message
    return message


# ------------------------------------------------------------------------------ damage
@pytest.mark.one_version
def test_2000_damaged_files_are_refused(small, tmp_path):
    whole = small[0].read_bytes()
    rng = np.random.default_rng(0)
    for i in range(2000):
        damaged = bytearray(whole)
        if i % 4 == 0:
            del damaged[rng.integers(len(whole)) :]
        elif i % 4 == 1:  # the header is a small part of the file
            damaged[rng.integers(1000)] ^= 1 << rng.integers(8)
        else:
            for place in rng.integers(len(whole), size=i % 4):
                damaged[place] ^= rng.integers(1, 256)
        path = tmp_path / str(i)  # a new file, as disks wait for those cut to nothing
        path.write_bytes(damaged)
        refused(path)
        path.unlink()


def test_whole_files_are_not_refused(small):
    path, est = small
    X, _ = mixed_tasks()
    assert (skmtl.load(path).predict(X) == est.predict(X)).all()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        b"\0" * 8,
        b"\xff" * 100,
        b"\x02" + b"\0" * 7 + b"{}",
        b"\x02" + b"\0" * 7 + b"[]",
        b"\x04" + b"\0" * 7 + b"[[[[",
        b"PK\x03\x04 a zip file",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
    ],
    ids=lambda content: str(content[:12]),
)
def test_files_of_other_formats_are_refused(content, tmp_path):
    (tmp_path / "model").write_bytes(content)
    assert "is no file of skmtl.save" in refused(tmp_path / "model")


def test_tensors_of_others_are_refused(tmp_path):
    safetensors.torch.save_file({"a": torch.ones(3)}, tmp_path / "model")
    assert "is no file of skmtl.save" in refused(tmp_path / "model")
    metadata = {"format": "pt", "version": "1", "sha256": "0" * 64}
    safetensors.torch.save_file({"a": torch.ones(3)}, tmp_path / "model", metadata)
    assert "is no file of skmtl.save" in refused(tmp_path / "model")


def test_other_versions_are_refused(small, tmp_path):
    later = small[0].read_bytes().replace(b'"version":"1"', b'"version":"2"')
    (tmp_path / "model").write_bytes(later)
    assert "has version '2' of the format" in refused(tmp_path / "model")


def test_no_file_is_what_python_says(tmp_path):
    with pytest.raises(FileNotFoundError):
        skmtl.load(tmp_path / "model")


# ------------------------------------------------------------- made up, with a checksum
@pytest.fixture
def forged(small, tmp_path):
    """Return a function that changes what a file holds, and gives it its checksum."""

    def forge(change):
        document, tensors = read(small[0])
        change(document, tensors)
        write(tmp_path / "model", document, tensors)
        return tmp_path / "model"

    return forge


def _net(document):
    return document["net"]["settings"]


FORGERIES = {
    "unknown kind": lambda d, t: d["learned"].update(n_iter_={"kind": "pickle"}),
    "no kind": lambda d, t: d["learned"].update(n_iter_={}),
    "no estimator": lambda d, t: d.clear() or d.update(kind="tuple", items=[]),
    "a class of another kind": lambda d, t: d.update({"class": "sharing/hard"}),
    "an unknown class": lambda d, t: d.update({"class": "sharing/own"}),
    "a parameter out of range": lambda d, t: d["parameters"].update(max_iter=-1),
    "an unknown parameter": lambda d, t: d["parameters"].update(own=1),
    "a setting out of range": lambda d, t: _net(d)["module__sharing"][
        "parameters"
    ].update(n_experts=0),
    "a method": lambda d, t: d["learned"].update(predict_=1, fit=1),
    "a property": lambda d, t: d["learned"].update(module_=1),
    "a private name": lambda d, t: d["learned"].update(__class__=1),
    "a method of a strategy": lambda d, t: _net(d)["module__sharing"]["learned"].update(
        build=1
    ),
    "a tensor that is not there": lambda d, t: t.pop("estimator.net.module.heads.bias"),
    "a tensor of another shape": lambda d, t: t.update(
        {"estimator.net.module.heads.bias": torch.zeros(1)}
    ),
    "a tensor of another type": lambda d, t: t.update(
        {"estimator.net.module.heads.bias": torch.zeros(5)}
    ),
    "objects in an array": lambda d, t: d["learned"]["task_weights_"].update(dtype="O"),
    "an array of another type": lambda d, t: d["learned"]["task_weights_"].update(
        dtype="<f4"
    ),
    "no character": lambda d, t: (
        d["learned"]["task_weights_"].update(dtype="<U2")
        or t.update({"estimator.task_weights_": torch.full((3, 8), 255).byte()})
    ),
    "tasks too many": lambda d, t: d["learned"]["_targets"]["attributes"][
        "names"
    ].append("more"),
    "classes too many": lambda d, t: d["learned"]["_targets"]["attributes"][
        "classes"
    ].append(None),
    "other samples": lambda d, t: _net(d)["module__input_shape"].update(items=[3]),
    "no samples": lambda d, t: _net(d)["module__input_shape"].update(items=[-4]),
    "another sharing": lambda d, t: _net(d)["module__sharing"].update(
        {"class": "sharing/hard", "parameters": {}}
    ),
    "huge layers": lambda d, t: _net(d)["module__encoder"]["parameters"][
        "hidden_layer_sizes"
    ].update(items=[10**6, 10**6]),
    "endless experts": lambda d, t: _net(d)["module__sharing"]["parameters"].update(
        n_experts=10**15
    ),
    "no document": lambda d, t: d.clear(),
    "deep lists": lambda d, t: d["learned"].update(n_iter_=_deep(900)),
}


def _deep(n):
    node = []
    for _ in range(n):
        node = [node]
    return node


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_forged_files_are_refused(forgery, forged):
    assert "holds no model" in refused(forged(forgery))


def test_a_document_that_is_no_json_is_refused(small, tmp_path):
    _, tensors = read(small[0])
    write(tmp_path / "model", 0, tensors)
    text = (tmp_path / "model").read_bytes()
    assert "holds no model" in refused(tmp_path / "model")
    metadata = {"format": "skmtl", "version": "1", "sha256": "0" * 64}
    safetensors.torch.save_file(tensors, tmp_path / "model", metadata)
    assert "is damaged" in refused(tmp_path / "model")
    assert text != (tmp_path / "model").read_bytes()


def test_a_class_is_what_it_is_named_for(forged):
    path = forged(lambda d, t: d.pop("class") and d.update(path=_path(OwnEncoder)))
    assert "OwnEncoder is no MultiTaskFit" in refused(path, trusted=[OwnEncoder])


def test_a_trusted_subclass_of_an_estimator_is_built(forged, small):
    path = forged(lambda d, t: d.pop("class") and d.update(path=_path(OwnEstimator)))
    assert "'class_weight'" in refused(path, trusted=[_path(OwnEstimator)])


def _path(found):
    return f"{found.__module__}.{found.__qualname__}"


def test_nothing_is_imported_wherever_a_path_stands(small, tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    document, tensors = read(small[0])
    for node in (
        {"kind": "callable", "path": "trap.run"},
        {"kind": "spec", "path": "trap.run"},
    ):
        for holder, name in _places(document)[::12]:
            kept, holder[name] = holder[name], node
            write(tmp_path / "model", document, tensors)
            assert "names code" in refused(tmp_path / "model")
            holder[name] = kept


def _places(node):
    """Return every place in a document, as what holds it and the key or number."""
    places, stack = [], [node]
    while stack:
        holder = stack.pop()
        inside = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for name, value in inside:
            places.append((holder, name))
            if isinstance(value, dict | list):
                stack.append(value)
    return places


#: What may stand anywhere in a forged document.
JUNK = [
    None,
    True,
    -1,
    0,
    3,
    10**30,
    1e300,
    "",
    "x",
    "hard",
    [],
    {},
    [1, 2],
    {"kind": "float", "value": "nan"},
    {"kind": "tuple", "items": [1]},
    {"kind": "array", "tensor": "estimator.net.module.heads.weight"},
    {"kind": "callable", "class": "optim/SGD"},
    {"kind": "spec", "class": "sharing/chain", "parameters": {}, "learned": {}},
    {"kind": "estimator", "same": 0},
]


def forge_at_random(document, tensors, rng):
    """Change a place or two of a file's document, or one of its tensors."""
    places = _places(document)
    for _ in range(rng.integers(1, 3)):
        holder, name = places[rng.integers(len(places))]
        if rng.integers(2):
            holder[name] = JUNK[rng.integers(len(JUNK))]
        else:  # what stands elsewhere
            other, place = places[rng.integers(len(places))]
            if isinstance(other, dict) == (place in other):
                holder[name] = json.loads(json.dumps(other[place]))
    if not rng.integers(4):
        names = sorted(tensors)
        one, other = (names[i] for i in rng.integers(len(names), size=2))
        tensors[one] = [tensors[other], tensors[one].flatten()[:1], tensors[one] * 0][
            rng.integers(3)
        ].clone()


@pytest.mark.one_version
def test_forged_files_give_a_model_or_an_error(small, tmp_path):
    document, tensors = read(small[0])
    rng = np.random.default_rng(0)
    built, errors = 0, []
    for _ in range(150):
        forgery = copy.deepcopy(document), dict(tensors)
        forge_at_random(*forgery, rng)
        write(tmp_path / "model", *forgery)
        try:
            built += isinstance(skmtl.load(tmp_path / "model"), MultiTaskEstimator)
        except ModelFileError as error:
            errors.append(str(error))
    assert built > 5  # most of them are refused
    assert len(errors) > 10
    assert all(map(SENTENCES.fullmatch, errors))


def test_refuses_to_write_where_it_cannot(small, tmp_path):
    with pytest.raises(FileNotFoundError):
        skmtl.save(small[1], tmp_path / "no folder" / "model")


def test_says_which_extra_is_missing(small, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"save needs safetensors: .*skmtl\[files\]"):
        skmtl.save(small[1], tmp_path / "model")
    with pytest.raises(ImportError, match=r"load needs safetensors: .*skmtl\[files\]"):
        skmtl.load(small[0])


def test_tools_for_safetensors_read_the_tensors(small):
    with safetensors.safe_open(small[0], "pt") as file:
        names = set(file.keys())
        assert file.metadata()["format"] == "skmtl"
    assert {"document", "estimator.net.module.heads.weight"} <= names
