"""Reading y, whatever it comes as."""

import datetime
import decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse

from skmtl import MultiTaskEstimator
from skmtl._data.labels import read_labels

TODAY = np.datetime64("2026-01-01")


def values_of(y, missing_label=np.nan):
    return [c.values.tolist() for c in read_labels(y, missing_label).columns]


def present_of(y, missing_label=np.nan):
    return [c.present.tolist() for c in read_labels(y, missing_label).columns]


@pytest.mark.parametrize(
    ("y", "kind", "values"),
    [
        (np.array([2, 0, 1], dtype=np.uint8), "u", [2, 0, 1]),
        (np.array([2, 0, 1], dtype=np.int16), "i", [2, 0, 1]),
        (np.array([2.0, 0.0, 1.0], dtype=np.float16), "f", [2.0, 0.0, 1.0]),
        (np.array([True, False, True]), "b", [True, False, True]),
        (np.array(["b", "a", "c"]), "U", ["b", "a", "c"]),
        (np.array(["b", "a", "c"], dtype=object), "O", ["b", "a", "c"]),
        (np.array([2, 0, 1], dtype=object), "i", [2, 0, 1]),
        (np.array([2, 0.5, 1], dtype=object), "f", [2.0, 0.5, 1.0]),
        (np.array([True, False, True], dtype=object), "b", [True, False, True]),
        ([2, 0, 1], "i", [2, 0, 1]),
        ((2.5, 0, 1), "f", [2.5, 0.0, 1.0]),
        ([True, False], "b", [True, False]),
        (["b", "a"], "U", ["b", "a"]),
        (iter(["b", "a"]), "U", ["b", "a"]),
        (range(3), "i", [0, 1, 2]),
        (torch.tensor([2, 0, 1]), "i", [2, 0, 1]),
        (torch.tensor([2.0, 0.5], requires_grad=True), "f", [2.0, 0.5]),
        (pd.Series([2, 0, 1]), "i", [2, 0, 1]),
        (pd.Series([2, 0, 1], dtype="Int8"), "i", [2, 0, 1]),
        (pd.Series([2, 0, 1], dtype="Float32"), "f", [2.0, 0.0, 1.0]),
        (pd.Series([True, False], dtype="boolean"), "b", [True, False]),
        (pd.Series(["b", "a"], dtype="string"), "O", ["b", "a"]),
        (pd.Series(["b", "a"]), "O", ["b", "a"]),
        (pd.Series([2, 0], dtype="category"), "i", [2, 0]),
        (pd.Series(["b", "a"], dtype="category"), "O", ["b", "a"]),
        (pd.Series([True, False], dtype="category"), "b", [True, False]),
        (pd.Categorical([2, 0]), "i", [2, 0]),
        (pd.Index([2, 0]), "i", [2, 0]),
        (pd.array([2, 0], dtype="Int64"), "i", [2, 0]),
        (pl.Series([2, 0]), "i", [2, 0]),
        (pl.Series(["b", "a"]), "O", ["b", "a"]),
        (pl.Series(["b", "a"], dtype=pl.Categorical), "O", ["b", "a"]),
        (pl.Series(["b", "a"], dtype=pl.Enum(["a", "b", "c"])), "O", ["b", "a"]),
        (pl.Series([True, False]), "b", [True, False]),
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)
def test_one_column_keeps_its_type(y, kind, values):
    columns = read_labels(y)
    (column,) = columns.columns
    assert columns.one_d
    assert column.values.dtype.kind == kind
    assert column.values.tolist() == values
    assert column.present.all()


@pytest.mark.parametrize(
    "y",
    [
        np.array([1.0, np.nan, 3.0]),
        np.array([1.0, np.nan, 3.0], dtype=np.float16),
        np.array([1, None, 3], dtype=object),
        np.array([1, np.nan, 3], dtype=object),
        np.array([1, pd.NA, 3], dtype=object),
        np.array([1, pd.NaT, 3], dtype=object),
        np.array([1, np.float32("nan"), 3], dtype=object),
        np.array([1, np.datetime64("NaT"), 3], dtype=object),
        np.array([1, np.timedelta64("NaT"), 3], dtype=object),
        np.array([1, decimal.Decimal("NaN"), 3], dtype=object),
        np.ma.array([1, 2, 3], mask=[False, True, False]),
        np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False]),
        np.ma.array([1.0, np.nan, 3.0], mask=[False, False, False]),
        np.ma.array([1, "x", 3], mask=[False, True, False], dtype=object),
        [1, None, 3],
        [1, np.nan, 3],
        [1, pd.NA, 3],
        [1, np.ma.masked, 3],
        (1.0, None, 3.0),
        pd.Series([1, None, 3]),
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series([1, None, 3], dtype="Float64"),
        pd.Series([1, None, 3], dtype=object),
        pd.Series([1, None, 3], dtype="category"),
        pd.Categorical([1, None, 3]),
        pd.array([1, None, 3], dtype="Int64"),
        pl.Series([1, None, 3]),
        pl.Series([1.0, None, 3.0]),
        pl.Series([1.0, float("nan"), 3.0]),
        torch.tensor([1.0, float("nan"), 3.0]),
    ],
    ids=lambda y: f"{type(y).__name__}-{getattr(y, 'dtype', '')}",
)
def test_every_missing_marker_counts_as_absent(y):
    (column,) = read_labels(y).columns
    assert column.present.tolist() == [True, False, True]
    assert column.values.tolist() == [1, 3]
    assert column.values.dtype.kind in "if"


@pytest.mark.parametrize(
    "y",
    [
        ["a", None, "b"],
        ["a", np.nan, "b"],
        np.array(["a", pd.NA, "b"], dtype=object),
        np.ma.array(["a", "x", "b"], mask=[False, True, False]),
        pd.Series(["a", None, "b"]),
        pd.Series(["a", None, "b"], dtype="string"),
        pd.Series(["a", None, "b"], dtype="category"),
        pd.Series(["a", None, "b"], dtype=object),
        pl.Series(["a", None, "b"]),
        pl.Series(["a", None, "b"], dtype=pl.Categorical),
    ],
    ids=lambda y: f"{type(y).__name__}-{getattr(y, 'dtype', '')}",
)
def test_strings_may_be_missing(y):
    assert values_of(y) == [["a", "b"]]
    assert present_of(y) == [[True, False, True]]


@pytest.mark.parametrize(
    "y",
    [
        pd.Series([True, None, False], dtype="boolean"),
        pd.Series([True, None, False], dtype=object),
        pl.Series([True, None, False]),
        [True, None, False],
        np.ma.array([True, True, False], mask=[False, True, False]),
    ],
    ids=lambda y: f"{type(y).__name__}-{getattr(y, 'dtype', '')}",
)
def test_bools_may_be_missing_and_stay_bools(y):
    (column,) = read_labels(y).columns
    assert column.values.dtype == bool
    assert column.values.tolist() == [True, False]


@pytest.mark.parametrize(
    "y",
    [
        np.array(["2026-01-01", "NaT", "2026-02-01"], dtype="M8[D]"),
        pd.Series(pd.to_datetime(["2026-01-01", None, "2026-02-01"])),
        pl.Series([datetime.date(2026, 1, 1), None, datetime.date(2026, 2, 1)]),
        np.array([TODAY, np.datetime64("NaT"), np.datetime64("2026-02-01")], object),
    ],
    ids=["numpy", "pandas", "polars", "object"],
)
def test_dates_may_be_missing(y):
    (column,) = read_labels(y).columns
    assert column.present.tolist() == [True, False, True]
    assert column.values[0] == TODAY


@pytest.mark.parametrize(
    ("y", "missing_label"),
    [
        (np.array([1, -1, 3]), -1),
        (np.array([1.0, -1.0, 3.0]), -1),
        (np.array([1, -1, 3], dtype=np.int8), -1),
        (np.array([1, 255, 3], dtype=np.uint8), 255),
        (np.array([1, -1, 3], dtype=object), -1),
        ([1, -1, 3], -1),
        ([1, "?", 3], "?"),
        ([1, "", 3], ""),
        (pd.Series([1, -1, 3]), -1),
        (pd.Series([1, -1, 3], dtype="Int64"), -1),
        (pd.Series([1, -1, 3], dtype="category"), -1),
        (pl.Series([1, -1, 3]), -1),
        ([1, None, 3], None),
        (pd.Series([1, None, 3], dtype="Int64"), pd.NA),
        (np.ma.array([1, 2, 3], mask=[False, True, False]), -1),
    ],
)
def test_missing_label_marks_absent_labels(y, missing_label):
    assert values_of(y, missing_label) == [[1, 3]]
    assert present_of(y, missing_label) == [[True, False, True]]


@pytest.mark.parametrize(
    "y",
    [
        np.array(["a", "?", "b"]),
        np.array(["a", "?", "b"], dtype=object),
        ["a", "?", "b"],
        pd.Series(["a", "?", "b"]),
        pd.Series(["a", "?", "b"], dtype="category"),
        pl.Series(["a", "?", "b"]),
    ],
    ids=lambda y: f"{type(y).__name__}-{getattr(y, 'dtype', '')}",
)
def test_missing_label_may_be_a_string(y):
    assert values_of(y, "?") == [["a", "b"]]


def test_missing_label_joins_the_other_markers():
    y = np.array([1, -1, None, np.nan, pd.NA, pd.NaT, 3], dtype=object)
    assert values_of(y, -1) == [[1, 3]]


@pytest.mark.parametrize(
    "y",
    [
        np.array(["a", "b"]),
        np.array([b"a", b"b"]),
        np.array([True, False]),
        np.array([0, 1], dtype=np.uint8),
        np.array(["2026-01-01", "2026-02-01"], dtype="M8[D]"),
        np.array([1, 2], dtype="m8[s]"),
    ],
    ids=lambda y: str(y.dtype),
)
@pytest.mark.parametrize("missing_label", [-1, "?", 2.5])
def test_a_missing_label_of_another_type_marks_nothing(y, missing_label):
    assert present_of(y, missing_label) == [[True, True]]


def test_a_numeric_missing_label_is_no_bool():
    frame = pd.DataFrame({"a": [True, False, True], "b": [0, 1, 2]})
    assert present_of(frame, 0) == [[True] * 3, [False, True, True]]
    assert present_of(frame.astype(object), 0) == [[True] * 3, [False, True, True]]


def test_columns_of_a_frame_keep_their_own_types():
    y = pd.DataFrame(
        {
            "int": [0, 1, 2],
            "nullable": pd.array([0, None, 2], dtype="Int64"),
            "bool": [True, False, True],
            "string": ["a", "b", None],
            "category": pd.Categorical([7, None, 9], categories=[5, 7, 9, 11]),
            "object": np.array([1, None, 3], dtype=object),
            "float": [0.5, np.nan, 1.5],
        }
    )
    columns = read_labels(y)
    assert columns.names == list(y.columns)
    assert [c.values.dtype.kind for c in columns.columns] == list("iibOiif")
    assert columns.columns[4].values.tolist() == [7, 9]
    assert not columns.one_d


def test_columns_of_a_polars_frame_keep_their_own_types():
    y = pl.DataFrame(
        {"a": [0, None, 2], "b": ["x", "y", None], "c": [True, None, False]}
    )
    columns = read_labels(y)
    assert columns.task_names == ["a", "b", "c"]
    assert [c.values.tolist() for c in columns.columns] == [
        [0, 2],
        ["x", "y"],
        [True, False],
    ]


@pytest.mark.parametrize("as_type", [list, lambda y: np.array(y, dtype=object)])
def test_columns_of_rows_that_mix_kinds_keep_their_own_types(as_type):
    y = as_type([[0, "a", True, 0.5], [None, "b", False, None], [2, None, None, 1.5]])
    assert [c.values.dtype.kind for c in read_labels(y).columns] == list("iObf")
    assert values_of(y) == [[0, 2], ["a", "b"], [True, False], [0.5, 1.5]]


def test_lists_that_mix_numbers_keep_ints_and_bools():
    y = [[True, 3, 0.5], [False, 4, 1.5]]
    assert [c.values.dtype.kind for c in read_labels(y).columns] == list("bif")


def test_a_column_that_mixes_ints_and_floats_is_float():
    (column,) = read_labels(np.array([1, 2.5, np.int8(3)], dtype=object)).columns
    assert column.values.dtype == np.float64


def test_integers_beyond_64_bits_stay_what_they_are():
    y = np.array([2**70, 2**63, 1], dtype=object)
    assert values_of(y) == [[2**70, 2**63, 1]]
    assert values_of(y[1:]) == [[2**63, 1]]
    assert values_of(np.array([2**63, -1], dtype=object)) == [[2**63, -1]]


def test_masks_of_two_dimensional_arrays_go_column_by_column():
    mask = [[False, True], [False, False], [True, False]]
    y = np.ma.array([[0, 1], [2, 3], [4, 5]], mask=mask)
    assert values_of(y) == [[0, 2], [3, 5]]


def test_an_array_without_any_mask_is_complete():
    assert present_of(np.ma.array([[0, 1], [2, 3]])) == [[True, True], [True, True]]


@pytest.mark.parametrize(
    "y",
    [
        sparse.csr_matrix([[0, 1], [1, 0]]),
        sparse.csc_array([[0, 1], [1, 0]]),
        np.array([[0, 1], [1, 0]]).view(np.matrix),
        np.asfortranarray([[0, 1], [1, 0]]),
        torch.tensor([[0, 1], [1, 0]]),
    ],
    ids=lambda y: type(y).__name__,
)
def test_two_columns_of_any_container(y):
    columns = read_labels(y)
    assert [c.values.tolist() for c in columns.columns] == [[0, 1], [1, 0]]
    assert all(c.values.ndim == 1 for c in columns.columns)


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (np.zeros((2, 2)), ["task0", "task1"]),
        ([[0, 1], [1, 0]], ["task0", "task1"]),
        (pd.DataFrame({"a": [0, 1], "b": [1, 0]}), ["a", "b"]),
        (pd.DataFrame([[0, 1], [1, 0]], columns=[3, 1]), [3, 1]),
        (pd.DataFrame([[0, 1], [1, 0]], columns=["a", 1]), ["a", 1]),
        (
            pd.DataFrame(
                [[0, 1], [1, 0]],
                columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)]),
            ),
            [("a", 1), ("a", 2)],
        ),
        (pd.Series([0, 1], name="a"), ["a"]),
        (pd.Series([0, 1], name=0), [0]),
        (pd.Series([0, 1]), ["task0"]),
        (pl.Series("a", [0, 1]), ["a"]),
        (pl.Series([0, 1]), ["task0"]),
        (pl.DataFrame({"a": [0, 1]}), ["a"]),
    ],
)
def test_task_names_come_from_columns(y, names):
    assert read_labels(y).task_names == names


@pytest.mark.parametrize("columns", [["a", "b", "a"], [0, 1, 0]])
def test_duplicate_names_are_refused(columns):
    y = pd.DataFrame(np.zeros((2, 3)), columns=columns)
    with pytest.raises(ValueError, match=r"must be unique\. Got \['?.'?\] more than"):
        read_labels(y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "y cannot be None"),
        (3, "y must be a table with one label per row and task. Got 3"),
        ("cat", "Got 'cat'"),
        (np.array(3), "Got 3"),
        ({"a": [0, 1], "b": [1, 0]}, "Got a dict"),
        ({0, 1}, "Got a set"),
        (np.zeros((2, 2, 2)), r"Got an array of shape \(2, 2, 2\)"),
        ([[1, 2], [3]], "Got rows of different lengths"),
        ([[1, 2], 3], "Got rows of different lengths"),
        ([np.array([1, 2]), np.array([3])], "Got rows of different lengths"),
        (np.zeros((3, 0)), "y has no column"),
        (pd.DataFrame(index=range(3)), "y has no column"),
        (np.zeros(0), "y has no row"),
        (np.zeros((0, 2)), "y has no row"),
        ([], "y has no row"),
        (pd.DataFrame({"a": []}), "y has no row"),
    ],
)
def test_what_is_no_table_of_labels_is_refused(y, message):
    with pytest.raises(ValueError, match=message):
        read_labels(y)


def test_restricted_keeps_the_labels_of_some_rows():
    (column,) = read_labels([1, None, 3, 4]).columns
    kept = column.restrict(np.array([True, True, False, True]))
    assert_array_equal(kept.values, [1, 4])
    assert_array_equal(kept.present, [True, False, False, True])


def test_reading_changes_nothing_in_y():
    y = np.ma.array([[1.0, np.nan], [3.0, -1.0]], mask=[[True, False], [False] * 2])
    before = y.copy()
    read_labels(y, -1)
    assert_array_equal(y.data, before.data)
    assert_array_equal(y.mask, before.mask)


# Cells that hold several values, and fields

TAGS = [["a", "b"], ["c"], ["a"], ["b", "c"]]
PAIRS = [("a", "b"), ("c", "d"), ("a", "d"), ("b", "c")]


def objects(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


SEVERAL = {
    "lists": (objects(TAGS), "list"),
    "tuples": (objects(PAIRS), "tuple"),
    "arrays": (objects([np.arange(3)] * 3 + [None]), "ndarray"),
    "tensors": (objects([torch.arange(3)] * 4), "Tensor"),
    "sets": ([{"a"}, {"b"}, {"a", "b"}, set()], "set"),
    "dicts": ([{"a": 1}] * 4, "dict"),
    "mixed with words": (objects(["a", "b", ("a", "b"), None]), "tuple"),
    "a Series": (pd.Series(PAIRS), "tuple"),
    "frozen sets in a Series": (pd.Series([frozenset("ab")] * 4), "frozenset"),
    "Arrow": (pd.Series(TAGS, dtype=pd.ArrowDtype(pa.list_(pa.string()))), "ndarray"),
    "polars": (pl.Series([["a"], None, ["b", "c"], []]), "list"),
    "polars arrays": (pl.Series([[1, 2], None], dtype=pl.Array(pl.Int64, 2)), "list"),
    "polars structs": (pl.Series([{"a": 1}, {"a": 2}]), "dict"),
    "nested fields": (np.zeros(4, dtype=[("task0", int, (2,))]), "ndarray"),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_cells_that_hold_several_values_are_refused(case):
    y, kind = SEVERAL[case]
    with pytest.raises(ValueError, match="MultiLabelBinarizer") as error:
        read_labels(y)
    assert str(error.value) == (
        "Task 'task0' must have one label in each row. Got several, as values of type "
        f"{kind}: make a column of 0 and 1 for each label with "
        "sklearn.preprocessing.MultiLabelBinarizer."
    )


@pytest.mark.parametrize("convert", [pd.DataFrame, pl.DataFrame])
def test_a_column_of_several_values_is_named(convert):
    y = convert({"size": [1, 0, 1, 0], "tags": TAGS})
    with pytest.raises(ValueError, match="Task 'tags' must have one label"):
        read_labels(y)


def test_rows_of_any_number_of_labels_are_refused():
    with pytest.raises(ValueError, match="MultiLabelBinarizer"):
        read_labels(TAGS)


def test_arrays_without_axes_are_single_values():
    y = [torch.tensor(1), torch.tensor(0), torch.tensor(1)]
    assert read_labels(y).columns[0].values.tolist() == [1, 0, 1]
    y = [np.array("a"), np.array("b"), None]
    assert read_labels(y).columns[0].values.tolist() == ["a", "b"]


def test_fields_of_a_structured_array_are_tasks():
    y = np.array(
        [(True, 1.5), (False, 2.5), (True, np.nan)],
        dtype=[("event", bool), ("time", float)],
    )
    for given in (y, y.view(np.recarray)):
        columns = read_labels(given)
        assert columns.names == ["event", "time"]
        assert not columns.one_d
        event, time = columns.columns
        assert event.values.tolist() == [True, False, True]
        assert time.values.tolist() == [1.5, 2.5]
    masked = np.ma.MaskedArray(y, mask=[(True, False), (False, False), (False, True)])
    event, time = read_labels(masked).columns
    assert event.present.tolist() == [False, True, True]
    assert time.present.tolist() == [True, True, False]
    single = read_labels(y[["event"]])
    assert single.one_d
    assert single.names == ["event"]


def test_an_estimator_of_a_structured_array():
    X = np.random.default_rng(0).normal(size=(30, 3))
    y = np.array(
        list(zip(X[:, 0] > 0, X[:, 1], strict=True)),
        dtype=[("event", bool), ("time", float)],
    )
    est = MultiTaskEstimator(max_iter=2, random_state=0, n_estimators=1).fit(X, y)
    assert est.task_names_ == ["event", "time"]
    assert est.task_types_ == ["classification", "regression"]
    assert est.score(X, y) == est.score(X, y[["time", "event"]])
