"""A forged file takes little memory and never reaches compiled code unchecked."""

import copy
import datetime as dt
import json
import tracemalloc

import numpy as np
import pytest
import torch

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl._estimators.persistence.codecs import Reader
from skmtl._estimators.persistence.file_format import read, write
from skmtl._estimators.persistence.import_paths import Trust
from skmtl.encoder import MLP
from skmtl.exceptions import ModelFileError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2))
Y = (X @ np.array([[1.0, 0.5], [0.0, 1.0]]) > 0).astype(int)
SMALL = {"encoder": MLP((2,), numeric_embedding=None), "max_iter": 1}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return the document and the tensors of a model that trains on."""
    est = MultiTaskClassifier(
        **SMALL, n_estimators=1, random_state=np.random.RandomState(0)
    )
    path = tmp_path_factory.mktemp("files") / "model"
    skmtl.save(est.partial_fit(X, Y, [[0, 1]] * 2), path)
    return read(path)


@pytest.fixture
def load(small, tmp_path):
    """Return a function that changes a file, gives it its checksum and loads it."""

    def load_forged(change):
        document, tensors = copy.deepcopy(small)
        change(document, tensors)
        write(tmp_path / "model", document, tensors)
        return skmtl.load(tmp_path / "model")

    return load_forged


def refuses(load, change, why="holds no model"):
    with pytest.raises(ModelFileError, match=why) as error:
        load(change)
    assert "\n" not in str(error.value)


def test_what_is_not_changed_is_loaded(load):
    est = load(lambda document, tensors: None)
    est.partial_fit(X, Y)
    assert est.predict(X).shape == Y.shape


# ---------------------------------------------------------------------- compiled code
def _set_state(document, **values):
    state = document["parameters"]["random_state"]["state"]
    for key, entry in state["items"]:
        if key in values:
            entry_of = values[key]
            state["items"][state["items"].index([key, entry])][1] = entry_of


def _set_pos(pos):
    def change(document, tensors):
        items = document["parameters"]["random_state"]["state"]["items"]
        (words,) = (entry for key, entry in items if key == "state")
        words["items"] = [[k, pos if k == "pos" else v] for k, v in words["items"]]

    return change


@pytest.mark.parametrize("pos", [10**9, 10**6, -(10**6), 625, -1, 1.5, True, None])
def test_positions_of_random_states(pos, load):
    refuses(load, _set_pos(pos))


@pytest.mark.parametrize(
    "values",
    [
        {"bit_generator": "PCG64"},
        {"has_gauss": 2},
        {"gauss": "0"},
        {"gauss": {"kind": "float", "value": "nan"}},
    ],
    ids=lambda values: str(next(iter(values))),
)
def test_values_of_random_states(values, load):
    refuses(load, lambda document, tensors: _set_state(document, **values))


def _words(tensors):
    (name,) = (name for name in tensors if name.endswith(".key"))
    return name


@pytest.mark.parametrize("n", [623, 625, 624])
def test_words_of_random_states(n, load):
    """From zeros alone come zeros alone, and normal numbers never."""
    zeros = torch.zeros(n, 4, dtype=torch.uint8)
    refuses(load, lambda document, tensors: tensors.update({_words(tensors): zeros}))


def _optimizer(tensors, name):
    return [key for key in tensors if "optimizer" in key and name in key]


@pytest.mark.parametrize("name", ["exp_avg", "exp_avg_sq", "step"])
@pytest.mark.parametrize("shape", [(1,), (10**5,), (3, 3)])
def test_states_of_optimizers(name, shape, load):
    """A fused optimizer writes as many numbers as a parameter has."""

    def change(document, tensors):
        keys = _optimizer(tensors, name)
        assert keys
        for key in keys:
            tensors[key] = torch.zeros(shape)

    if name == "step" and shape == (1,):
        load(change).partial_fit(X, Y)
    else:
        refuses(load, change)


def test_states_of_optimizers_are_complete(load):
    def change(document, tensors):
        state = json.dumps(document["net"])
        assert '"exp_avg"' in state
        document["net"] = json.loads(state.replace('"exp_avg"', '"other"', 1))

    refuses(load, change, "its state")


def test_other_bytes_than_those_of_bools():
    """What numpy selects by them is counted in another way than it is copied."""
    tensor = torch.full((9,), 255, dtype=torch.uint8).view(torch.bool)
    with pytest.raises(ValueError, match="more should hold True and False only"):
        Reader({"more": tensor}, Trust(()))


def test_labels_that_are_counted(tmp_path):
    est = MultiTaskClassifier(**SMALL, n_estimators=2, resampling="crossfit")
    skmtl.save(est.fit(X, Y), tmp_path / "model")
    document, tensors = read(tmp_path / "model")
    (name, *_) = (name for name in tensors if "_oof.labels.0" in name)
    tensors[name] = torch.full_like(tensors[name], 100)
    write(tmp_path / "model", document, tensors)
    with pytest.raises(ModelFileError, match="labels of training rows"):
        skmtl.load(tmp_path / "model")


@pytest.mark.parametrize("name", ["_oof.group", "_oof.fold_networks"])
def test_folds_that_do_not_go_together(name, tmp_path):
    est = MultiTaskClassifier(**SMALL, n_estimators=2, resampling="crossfit")
    skmtl.save(est.fit(X, Y), tmp_path / "model")
    document, tensors = read(tmp_path / "model")
    (name,) = (stored for stored in tensors if name in stored)
    tensors[name] = tensors[name][..., :1].contiguous()
    write(tmp_path / "model", document, tensors)
    with pytest.raises(ModelFileError, match="what it says of the folds"):
        skmtl.load(tmp_path / "model")


def test_other_random_states_are_not_stored(tmp_path):
    random_state = np.random.RandomState(np.random.PCG64(0))
    est = MultiTaskRegressor(**SMALL, n_estimators=1, random_state=random_state)
    with pytest.raises(ModelFileError, match="random_state, a RandomState with the"):
        skmtl.save(est.fit(X, Y), tmp_path / "model")


# ---------------------------------------------------------------------------- memory
def array_of(tensors, shape, dtype=torch.uint8):
    tensors["large"] = torch.zeros(shape, dtype=dtype)
    return {"kind": "array", "tensor": "large"}


def _many_mentions(document, tensors):
    node = array_of(tensors, 2_000_000)
    document["parameters"]["task_weight"] = [node] * 2500


def _many_strings(document, tensors):
    node = array_of(tensors, (500_000, 4)) | {"dtype": "<U1"}
    document["parameters"]["task_weight"] = [node] * 2500


def _many_tables(document, tensors):
    node = array_of(tensors, (1000, 1000), torch.float64)
    names = list(range(1000))
    table = {"kind": "table", "values": node, "index": names, "columns": names}
    document["parameters"]["task_weight"] = [table] * 25


def _wide_table(document, tensors):
    names = list(range(20_000))
    table = {"kind": "table", "values": 0, "index": names, "columns": names}
    document["parameters"]["task_weight"] = table


def _large_samples(document, tensors):
    shape = document["net"]["settings"]["module__input_shape"]
    shape["items"] = [3, 10**5, 10**5]


def _many_lists(document, tensors):
    document["parameters"]["task_weight"] = [[]] * 3_000_000


FORGERIES = {
    "an array many times": _many_mentions,
    "strings many times": _many_strings,
    "tables many times": _many_tables,
    "a table of one value": _wide_table,
    "samples of any size": _large_samples,
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_forged_files_take_little_memory(forgery, load):
    tracemalloc.start()
    try:
        refuses(load, forgery)
        assert tracemalloc.get_traced_memory()[1] < 3e8
    finally:
        tracemalloc.stop()


def test_lists_take_more_memory_than_their_text(load):
    refuses(load, _many_lists, "is no file of skmtl.save")


def test_ragged_categories_are_not_made_a_table(tmp_path):
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"a": ["x", "y"] * 30, "b": ["u", "v", "w"] * 20})
    est = MultiTaskRegressor(**SMALL, n_estimators=1, random_state=0).fit(table, X)
    skmtl.save(est, tmp_path / "model")
    again = skmtl.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(table), est.predict(table))
    assert again._categories.encoder.get_params() == (
        est._categories.encoder.get_params()
    )
    document, tensors = read(tmp_path / "model")
    one, long = ({"kind": "array", "shape": [n]} for n in (1, 20_000))
    one["items"], long["items"] = ["x"], [str(i) for i in range(20_000)]
    node = document["learned"]["_categories"]
    node["labels"] = [long, *[one] * 99]
    write(tmp_path / "other", document, tensors)
    with pytest.raises(ModelFileError, match="categories does not go together"):
        skmtl.load(tmp_path / "other")
    node["columns"] = node["names"] = list(range(100))
    write(tmp_path / "other", document, tensors)
    tracemalloc.start()
    skmtl.load(tmp_path / "other")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2e7  # a table of them has 1.6e7 bytes


@pytest.mark.parametrize("depth", [300, 100_000])
def test_deep_documents(depth, small, tmp_path, monkeypatch):
    document, tensors = copy.deepcopy(small)
    document["parameters"]["task_weight"] = "deep"
    deep = "[" * depth + "]" * depth
    dumps = json.dumps
    monkeypatch.setattr(
        "skmtl._estimators.persistence.file_format.json.dumps",
        lambda *args, **options: dumps(*args, **options).replace('"deep"', deep),
    )
    write(tmp_path / "model", document, tensors)
    with pytest.raises(ModelFileError, match="deep in each other"):
        skmtl.load(tmp_path / "model")


def test_parameters_that_hold_themselves_are_not_stored(tmp_path):
    weight = [1.0]
    weight.append(weight)
    est = MultiTaskRegressor(**SMALL, n_estimators=1).fit(X, Y)
    est.task_weight = weight
    with pytest.raises(ModelFileError, match=r"cannot store estimator\.task_weight"):
        skmtl.save(est, tmp_path / "model")


# ------------------------------------------------------------------------ time zones
def _timestamp(text, tz):
    def change(document, tensors):
        node = {"kind": "timestamp", "value": [text, "ns", tz]}
        document["parameters"]["task_weight"] = node

    return change


@pytest.mark.parametrize(
    ("text", "tz"),
    [
        ("2026-01-01T00:00:00", "dateutil//etc/hostname"),
        ("2026-01-01T00:00:00", "tzlocal()"),
        ("2026-01-01T00:00:00", "../../etc/hostname"),
        ("2026-01-01T00:00:00", 5),
        ("now", None),
        ("2026-01-01T00:00:00 dateutil//etc/hostname", None),
    ],
)
def test_time_zones_lead_to_no_file(text, tz, load):
    pytest.importorskip("pandas")
    refuses(load, _timestamp(text, tz), "is no time")


ZONES = [None, "UTC", dt.timezone(dt.timedelta(hours=-3.5)), "Europe/Berlin"]


@pytest.mark.parametrize("tz", ZONES, ids=str)
def test_time_zones_are_kept(tz, tmp_path):
    pd = pytest.importorskip("pandas")
    est = MultiTaskRegressor(**SMALL, n_estimators=1).fit(X, Y)
    stamp = pd.Timestamp("2026-07-01 12:00:00.000000001", tz=tz)
    est.task_weight = [stamp]
    skmtl.save(est.set_params(task_weight=None), tmp_path / "model")
    est.missing_label = stamp
    skmtl.save(est, tmp_path / "model")
    again = skmtl.load(tmp_path / "model").missing_label
    assert again == stamp
    assert str(again.tz) == str(stamp.tz)


@pytest.mark.one_version  # lower versions of dateutil hold no such time zone
def test_other_time_zones_are_not_stored(tmp_path):
    pd = pytest.importorskip("pandas")
    est = MultiTaskRegressor(**SMALL, n_estimators=1).fit(X, Y)
    est.missing_label = pd.Timestamp("2026-07-01", tz="dateutil/Europe/Berlin")
    with pytest.raises(ModelFileError, match="in the time zone"):
        skmtl.save(est, tmp_path / "model")
