"""DataFrames of all kinds are read alike, and given back in kind."""

import decimal
import importlib
import sys

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal
from sklearn.model_selection import KFold, cross_val_score

from skmtl import MultiTaskClassifier, MultiTaskEstimator
from skmtl.encoder import MLP
from skmtl.inspection import label_dependence
from skmtl.inspection._frames import read_affinity
from skmtl.metrics import delta_m, make_multitask_scorer, task_scores
from skmtl.model_selection import MultiTaskStratifiedKFold

RNG = np.random.default_rng(0)
N = 60
X = pd.DataFrame(
    {
        "number": np.where(np.arange(N) % 9, RNG.normal(size=N), np.nan),
        "color": RNG.choice(["r", "g", "b"], N),
        "level": pd.array([None, 0, 1, 2] * 15, dtype="Int64"),
    }
)
Y = pd.DataFrame(
    {
        "red": np.where(X["color"] == "r", "yes", "no"),
        "level": pd.array([None, 0, 1, 2] * 15, dtype="Int64"),
        "cool": X["color"] == "b",
    }
)
WEIGHT = pd.DataFrame(RNG.uniform(0.5, 2, size=(N, 3)), columns=list(Y))
SETTINGS = {"encoder": MLP((8,)), "max_iter": 2, "n_estimators": 1, "random_state": 0}


def arrow(frame):
    return pa.Table.from_pandas(frame, preserve_index=False)


def dictionary(frame):
    """Return an Arrow table whose strings are encoded."""
    table = arrow(frame)
    for i, column in enumerate(table.columns):
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            name = table.column_names[i]
            table = table.set_column(i, name, column.dictionary_encode())
    return table


KINDS = {
    "polars": (pl.from_pandas, pl.DataFrame),
    "Arrow": (arrow, pa.Table),
    "Arrow dictionary": (dictionary, pa.Table),
    "Arrow batch": (lambda f: arrow(f).to_batches()[0], pd.DataFrame),
    "narwhals of pandas": (nw.from_native, nw.DataFrame),
    "narwhals of polars": (lambda f: nw.from_native(pl.from_pandas(f)), nw.DataFrame),
    "narwhals of Arrow": (lambda f: nw.from_native(arrow(f)), nw.DataFrame),
}


@pytest.fixture
def fitted():
    return MultiTaskClassifier(**SETTINGS).fit(X, Y, WEIGHT, X_val=X, y_val=Y)


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_all_kinds_are_read_alike(kind, fitted):
    convert, returned = KINDS[kind]
    frame, y, weight = convert(X), convert(Y), convert(WEIGHT[["cool", "red", "level"]])
    val = {"X_val": frame, "y_val": convert(Y[["cool", "level", "red"]])}
    est = MultiTaskClassifier(**SETTINGS).fit(frame, y, weight, **val)
    assert est.task_names_ == ["red", "level", "cool"]
    assert list(est.feature_names_in_) == list(X)
    for one, other in zip(
        est.predict_proba(frame), fitted.predict_proba(X), strict=True
    ):
        assert_array_equal(one, other)
    assert est.score(frame, y, weight) == fitted.score(X, Y, WEIGHT)
    predicted = est.predict_frame(frame)
    assert type(predicted) is returned
    expected = fitted.predict_frame(X)
    found = pd.DataFrame(nw.from_native(predicted).to_pandas())
    assert list(found) == list(expected)
    assert_array_equal(found.to_numpy(), expected.to_numpy())
    assert_array_equal(task_scores(y, predicted), task_scores(Y, expected))
    order = ["cool", "red", "level"]
    scorer = make_multitask_scorer("accuracy")
    assert scorer(est, frame, convert(Y[order])) == scorer(fitted, X, Y)


@pytest.mark.parametrize("kind", ["polars", "Arrow"])
def test_tools_take_frames_of_all_kinds(kind):
    convert, returned = KINDS[kind]
    y = convert(Y[["red", "cool"]])
    folds = MultiTaskStratifiedKFold(3).split(convert(X), y)
    expected = MultiTaskStratifiedKFold(3).split(X, Y[["red", "cool"]])
    for one, other in zip(folds, expected, strict=True):
        assert_array_equal(one[1], other[1])
    dependence = label_dependence(y, n_permutations=0).value
    assert type(dependence) is returned
    base = label_dependence(Y[["red", "cool"]], n_permutations=0).value
    assert_array_equal(nw.from_native(dependence).to_numpy(), base.to_numpy())


@pytest.mark.one_version  # scikit-learn 1.6 cannot split Arrow tables
def test_cross_validation_of_an_arrow_table():
    est = MultiTaskClassifier(**SETTINGS)
    cv, scoring = KFold(2), make_multitask_scorer("accuracy")
    numbers = X[["number"]]
    given = arrow(numbers), pl.from_pandas(Y)
    found = cross_val_score(est, *given, cv=cv, scoring=scoring)
    assert_array_equal(found, cross_val_score(est, numbers, Y, cv=cv, scoring=scoring))


def test_a_column_of_arrow_is_one_task():
    column = arrow(Y)["red"]
    for y in (column, column.combine_chunks()):
        est = MultiTaskClassifier(**SETTINGS).fit(X, y)
        assert est.classes_.tolist() == ["no", "yes"]


def test_whole_numbers_with_gaps_stay_whole():
    large = 2**60 + 1
    y = pa.table({"id": [large, None, 0] * 20, "x": [1.5, 2.5, None] * 20})
    est = MultiTaskEstimator(**SETTINGS).fit(X, y)
    assert est.classes_[0].tolist() == [0, large]
    assert est.task_types_ == ["classification", "regression"]


TYPES = {
    "bools": pa.array([True, None, False] * 20),
    "decimals": pa.array([decimal.Decimal("0.5"), None, decimal.Decimal(2)] * 20),
    "whole numbers": pa.array([1, None, 3] * 20, pa.int16()),
    "numbers in a dictionary": pa.array([1, None, 3] * 20).dictionary_encode(),
    "strings in a dictionary": pa.array(["a", None, "b"] * 20).dictionary_encode(),
    "nothing": pa.nulls(N),
}


@pytest.fixture
def without_pandas(monkeypatch):
    """Let nothing import pandas."""

    class Refuse:
        def find_spec(self, name, path=None, target=None):
            if name == "pandas":
                raise ImportError("pandas is not installed")

    monkeypatch.setattr(sys, "meta_path", [Refuse(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "pandas")


def test_arrow_needs_no_pandas(without_pandas):
    with pytest.raises(ImportError, match="not installed"):
        importlib.import_module("pandas")
    frame = pa.table({"number": list(range(N)), **TYPES})
    y = pa.table({name: TYPES[name] for name in ["bools", "strings in a dictionary"]})
    weight = pa.chunked_array([[1.0] * N])
    est = MultiTaskClassifier(**SETTINGS).fit(frame, y, weight)
    assert [c.tolist() for c in est.classes_] == [[False, True], ["a", "b"]]
    assert est.predict_frame(frame).column_names == est.task_names_
    assert 0 <= est.score(frame, y, weight) <= 1


def test_columns_of_arrow_are_read_as_those_of_pandas():
    y = X["color"] == "r"
    frame = pa.table({"number": list(range(N)), **TYPES})
    est = MultiTaskClassifier(**SETTINGS).fit(frame, y)
    assert est._categories.names == [
        "numbers in a dictionary",
        "strings in a dictionary",
    ]
    assert est._categories.get_categories() == {4: [1, 3], 5: ["a", "b"]}
    similar = frame.to_pandas().astype({"bools": "boolean"})
    for name in est._categories.names:
        similar[name] = similar[name].astype("category")
    base = MultiTaskClassifier(**SETTINGS).fit(similar, y)
    assert_array_equal(est.predict_proba(frame), base.predict_proba(similar))
    numbers = frame.set_column(4, frame.column_names[4], [[1, None, 3] * 20])
    encoded = frame.set_column(1, "bools", [TYPES["numbers in a dictionary"]])
    for given in (numbers, encoded):  # numbers and categories of them are both read
        assert est.predict(given).shape == (N,)


def test_columns_of_an_arrow_table_with_one_name():
    table = pa.Table.from_arrays([pa.array([0, 1] * 30)] * 2, ["a", "a"])
    for name, given in {"X": (table, Y), "y": (X, table)}.items():
        with pytest.raises(ValueError, match=f"^Column names of {name} must be unique"):
            MultiTaskClassifier(**SETTINGS).fit(*given)


def test_matrices_between_tasks_in_arrow_tables_have_names():
    names, matrix = read_affinity(pa.table({"a": [1.0, 0.5], "b": [0.5, 1.0]}), "it")
    assert names == ["a", "b"]
    assert_array_equal(matrix, [[1, 0.5], [0.5, 1]])
    scores, baseline = pa.table({"a": [0.5], "b": [0.75]}), {"b": [0.5], "a": [0.25]}
    assert delta_m(scores, pa.table(baseline)) == 0.75


LAZY = {
    "polars": (lambda: pl.from_pandas(X).lazy(), r"polars\.LazyFrame: call \.collect"),
    "narwhals": (
        lambda: nw.from_native(pl.from_pandas(X).lazy()),
        r"narwhals\.LazyFrame: call \.collect\(\) on it",
    ),
    "dask": (
        lambda: type("DataFrame", (), {"__module__": "dask.dataframe.core"})(),
        r"dask\.DataFrame: call \.compute\(\) on it",
    ),
    "Hugging Face": (
        lambda: type("Dataset", (), {"__module__": "datasets.arrow_dataset"})(),
        r"datasets\.Dataset: open it with skmtl\.datasets\.open_table",
    ),
}


@pytest.mark.parametrize("kind", LAZY)
def test_tables_that_are_not_in_memory(kind, fitted):
    make, message = LAZY[kind]
    for where, call in {
        "X": lambda: MultiTaskClassifier(**SETTINGS).fit(make(), Y),
        "X ": lambda: fitted.predict(make()),
        "y": lambda: MultiTaskClassifier(**SETTINGS).fit(X, make()),
        "sample_weight": lambda: fitted.score(X, Y, make()),
    }.items():
        expected = f"^{where.strip()} must be a table in memory. Got a {message}"
        with pytest.raises(TypeError, match=expected):
            call()
