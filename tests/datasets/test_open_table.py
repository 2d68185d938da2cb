"""Tables on disk are read block by block, and train as arrays do."""

import pickle
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from numpy.testing import assert_allclose, assert_array_equal
from pyarrow import dataset, feather, parquet
from sklearn.model_selection import GridSearchCV, train_test_split

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl._data.streamed_table import BLOCKS, BlockReader, StreamedTable
from skmtl.datasets import open_table
from skmtl.encoder import MLP
from skmtl.model_selection import MultiTaskStratifiedShuffleSplit

N = 300
RNG = np.random.RandomState(0)
NUMBERS = RNG.randn(N, 3)
FEATURES = ["a", "b", "c"]
TARGETS = ["price", "sold", "kind"]
NET = MLP((8,), numeric_embedding=None, dropout=0)


def frame():
    price = NUMBERS @ [1.0, 2.0, 3.0]
    sold = pd.array(NUMBERS[:, 0] > 0, dtype="boolean")
    sold[::5] = pd.NA
    kind = np.where(NUMBERS[:, 1] > 0, "yes", "no")
    labels = {"price": price, "sold": sold, "kind": kind}
    return pd.DataFrame(NUMBERS, columns=FEATURES).assign(**labels)


FRAME = frame()
ARROW = pa.Table.from_pandas(FRAME, preserve_index=False)
DATED = ARROW.append_column("day", pa.array([0] * N, pa.date32()))


def one_file(folder):
    FRAME.to_parquet(folder / "table.parquet", row_group_size=70)
    return folder / "table.parquet"


def several_files(folder):
    for i, start in enumerate(range(0, N, 110)):
        part = FRAME.iloc[start : start + 110]
        part.to_parquet(folder / f"part-{i}.parquet", row_group_size=13)
    (folder / "_SUCCESS").touch()
    return str(folder)


def feather_file(folder):
    feather.write_feather(ARROW, folder / "table.feather", chunksize=40)
    return folder / "table.feather"


def csv_file(folder):
    FRAME.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


TABLES = {
    "file": (one_file, "parquet"),
    "folder": (several_files, "parquet"),
    "paths": (lambda folder: [one_file(folder)], "parquet"),
    "dataset": (lambda folder: dataset.dataset(several_files(folder)), "parquet"),
    "feather": (feather_file, "feather"),
    "csv": (csv_file, "csv"),
    "arrow": (lambda _: ARROW, "parquet"),
    "hugging face": (lambda _: Dataset(ARROW), "parquet"),
}


def opened(folder, **options):
    return open_table(several_files(folder), TARGETS, shuffle_window=64, **options)


def estimator(**parameters):
    defaults = {"encoder": NET, "max_iter": 3, "n_estimators": 1, "random_state": 0}
    return MultiTaskEstimator(**(defaults | parameters))


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_read_as_they_are(name, tmp_path):
    make, form = TABLES[name]
    X, y = open_table(make(tmp_path), TARGETS, format=form, shuffle_window=64)
    assert X.shape == (N, 3)
    assert len(X) == N
    assert_array_equal(np.asarray(X), NUMBERS)
    assert_array_equal(np.asarray(X[5:200:3]), NUMBERS[5:200:3])
    assert list(y.columns) == TARGETS
    for name in TARGETS:
        assert y[name].isna().tolist() == FRAME[name].isna().tolist()
        assert y[name].dropna().tolist() == FRAME[name].dropna().tolist()
    est = estimator().fit(X, y)
    assert_array_equal(est.predict(X), est.predict(FRAME[FEATURES]))
    assert est.predict(X[:2]).tolist()[0][2] in {"yes", "no"}


def test_a_selection_of_hugging_face_keeps_its_order():
    table = Dataset(ARROW).select(range(N - 1, -1, -1))
    X, y = open_table(table, ["price"], features=FEATURES)
    assert_array_equal(np.asarray(X), NUMBERS[::-1])
    assert_array_equal(y["price"], FRAME["price"][::-1])


def test_names_of_folders_are_columns(tmp_path):
    for i, start in enumerate((0, 100)):
        (tmp_path / f"shop={i}").mkdir()
        part = FRAME.iloc[start : start + 100]
        part.to_parquet(tmp_path / f"shop={i}" / "part.parquet")
    X, y = open_table(tmp_path, ["price"], features=["a", "shop"])
    assert_array_equal(np.asarray(X)[:, 1], np.repeat([0, 1], 100))
    assert_array_equal(y["price"], FRAME["price"][:200])
    assert estimator().fit(X, y).feature_names_in_.tolist() == ["a", "shop"]


def test_null_and_other_numbers():
    columns = {
        "whole": pa.array([1, None, 3], pa.int32()),
        "flag": pa.array([True, False, None]),
        "small": pa.array([1.5, 2.5, None], pa.float32()),
        "money": pa.array([1, 2, 3], pa.decimal128(5, 2)),
        "label": pa.array([1, None, 2]),
    }
    X, y = open_table(pa.table(columns), ["label"])
    nan = np.nan
    assert_array_equal(X, [[1, 1, 1.5, 1], [nan, 0, 2.5, 2], [3, nan, nan, 3]])
    assert X.dtype == np.float64
    assert y["label"].tolist() == [1, pd.NA, 2]
    assert open_table(pa.table(columns), features=["small", "flag"])[0].dtype == "f4"
    assert open_table(pa.table(columns))[1] is None


@pytest.mark.parametrize("n_estimators", [1, 3])
@pytest.mark.parametrize("options", [{"batch_size": N}, {"shuffle": False}])
def test_training_is_that_of_an_array(n_estimators, options, tmp_path):
    X, y = opened(tmp_path)
    options = {"batch_size": 40, "n_estimators": n_estimators, **options}
    est = estimator(**options).fit(X, y)
    other = estimator(**options).fit(FRAME[FEATURES], y)
    assert_allclose(est.loss_curve_, other.loss_curve_, rtol=1e-12)
    own, expected = est.predict_frame(X), other.predict_frame(FRAME[FEATURES])
    assert_allclose(own["price"], expected["price"], rtol=1e-10)
    assert_array_equal(own[["sold", "kind"]], expected[["sold", "kind"]])


@pytest.mark.parametrize(
    "options",
    [
        {"n_estimators": 3, "resampling": "bootstrap"},
        {"weighting": "pcgrad", "n_estimators": 2},  # in turns
        {
            "early_stopping": True,
            "validation_metric": "r2",
        },
        {"sampling": "classes"},
        {"augmentation": "mixup"},
        {"relation": "distillation", "n_estimators": 2},
    ],
    ids=str,
)
def test_all_of_training_takes_tables(options, tmp_path):
    table, y = opened(tmp_path)
    if "validation_metric" in options:
        est = MultiTaskRegressor(encoder=NET, max_iter=2, random_state=0, **options)
        y = y[["price"]]
    else:
        est = estimator(**options)
    first = est.fit(table, y).predict(table)
    assert_array_equal(first, est.fit(table, y).predict(FRAME[FEATURES]))


def test_rows_of_a_split_may_be_in_any_order(tmp_path):
    X, y = opened(tmp_path)
    parts = train_test_split(X, y, train_size=224, random_state=0)
    train, test, y_train, y_test = parts
    assert (np.diff(train.rows) < 0).any()
    est = estimator(n_estimators=2).fit(train, y_train)
    assert_array_equal(np.asarray(test), NUMBERS[test.rows])
    of_test = FRAME[FEATURES].iloc[test.rows]
    assert_array_equal(est.predict(test), est.predict(of_test))
    assert est.score(test, y_test) == est.score(of_test, y_test)
    one = estimator(batch_size=N, n_estimators=2).fit(train, y_train)
    other = estimator(batch_size=N, n_estimators=2).fit(NUMBERS[train.rows], y_train)
    for own, expected in zip(one.oof_prediction_, other.oof_prediction_, strict=True):
        assert_allclose(own, expected, atol=1e-12)


def test_searches_take_tables(tmp_path):
    X, y = opened(tmp_path)
    grid = {"alpha": [0.0, 0.1]}
    cv = MultiTaskStratifiedShuffleSplit(2, random_state=0)
    search = GridSearchCV(estimator(max_iter=1, batch_size=N), grid, cv=cv, n_jobs=2)
    other = GridSearchCV(estimator(max_iter=1, batch_size=N), grid, cv=cv)
    search.fit(X, y)
    other.fit(FRAME[FEATURES], y)
    for name in ("mean_test_score", "std_test_score"):
        assert_array_equal(search.cv_results_[name], other.cv_results_[name])


def test_partial_fit_takes_tables(tmp_path):
    X, y = opened(tmp_path)
    parts = [slice(0, 100), slice(100, N)]
    est, other = (
        MultiTaskRegressor(encoder=NET, n_estimators=1, random_state=0) for _ in "ab"
    )
    for part in parts:
        est.set_params(batch_size=N).partial_fit(X[part], y[["price"]][part])
        other.set_params(batch_size=N).partial_fit(
            FRAME[FEATURES][part], y[["price"]][part]
        )
    assert_array_equal(est.predict(X), other.predict(FRAME[FEATURES]))


def test_threads_may_read_the_same_table(tmp_path):
    X, y = opened(tmp_path)
    est, expected = estimator().fit(X, y), None
    expected = est.predict(X)
    found = {}
    threads = [
        threading.Thread(target=lambda i=i: found.__setitem__(i, est.predict(X)))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for prediction in found.values():
        assert_array_equal(prediction, expected)


def test_checkpoints_know_tables_by_their_files(tmp_path):
    (tmp_path / "table").mkdir()
    X, y = opened(tmp_path / "table")
    est = estimator(checkpoint=tmp_path / "checkpoints", max_iter=4)
    est.fit(X, y)
    again = estimator(checkpoint=tmp_path / "checkpoints", max_iter=4)
    again.fit(*opened_without_writing(tmp_path / "table"), resume="auto")
    assert_array_equal(again.predict(X), est.predict(X))
    assert len(list((tmp_path / "checkpoints").glob("*.pt"))) == 1
    for path in (tmp_path / "table").glob("*.parquet"):  # of another time
        parquet.write_table(parquet.read_table(path), path)
    again.fit(*opened_without_writing(tmp_path / "table"), resume="auto")
    assert len(list((tmp_path / "checkpoints").glob("*.pt"))) == 2


def opened_without_writing(folder):
    return open_table(folder, TARGETS, shuffle_window=64)


class Counted:
    """A piece of a table that counts how often each of its blocks is read."""

    def __init__(self, start, n_rows, reads):
        self.start = start
        self.n_rows = n_rows
        self.reads = reads

    def blocks(self, size):
        for start in range(0, self.n_rows, size):
            stop = min(start + size, self.n_rows)
            self.reads.append(self.start + start)
            rows = np.arange(self.start + start, self.start + stop, dtype=np.float64)
            yield np.stack([rows, rows % 7], axis=1)

    def identity(self):
        return [self.start, self.n_rows]


def counted(sizes, window):
    reads, starts = [], np.cumsum([0, *sizes[:-1]])
    pieces = [Counted(int(s), n, reads) for s, n in zip(starts, sizes, strict=True)]
    return StreamedTable(
        BlockReader(pieces, 2, np.float64, window), ["row", "week"]
    ), reads


@pytest.mark.parametrize("sizes", [[1000], [130] * 10, [7, 800, 1, 90, 333], [16] * 60])
def test_an_epoch_reads_each_block_once(sizes):
    X, reads = counted(sizes, 128)
    n_blocks = len(X.blocks.starts)
    everything = np.arange(len(X))
    generator = torch.Generator().manual_seed(0)
    orders = []
    for _ in range(2):
        reads.clear()
        pieces = torch.randperm(len(sizes), generator=generator).numpy()
        order = X.shuffle(everything, pieces, generator)
        orders.append(order)
        assert_array_equal(np.sort(order), everything)
        for start in range(0, len(order), 10):
            rows = order[start : start + 10]
            assert_array_equal(X.take(rows)[:, 0], rows)
            assert len(X.blocks._kept) <= 2 * BLOCKS
        kept_before = 2 * BLOCKS  # may still be there from the epoch before
        assert n_blocks - kept_before <= len(reads) <= n_blocks
        assert len(set(reads)) == len(reads)
    assert (orders[0] != orders[1]).any()


def test_windows_mix_rows_of_several_pieces():
    X, _ = counted([160] * 8, 128)
    generator = torch.Generator().manual_seed(0)
    pieces = torch.randperm(8, generator=generator).numpy()
    first = X.shuffle(np.arange(len(X)), pieces, generator)[:128]
    assert len(np.unique(first // 160)) == 4
    assert (np.diff(first) < 0).any()


def test_members_read_the_same_part_of_a_table():
    X, reads = counted([100] * 40, 256)
    y = np.asarray(X)[:, 1] > 3
    reads.clear()
    options = {"encoder": NET, "n_estimators": 4, "max_iter": 2, "calibrate": False}
    MultiTaskClassifier(batch_size=50, random_state=0, **options).fit(X, y)
    n_blocks = len(X.blocks.starts)
    # Three looks at the inputs, two epochs with their held-out rows, out-of-fold rows.
    assert 7 * n_blocks < len(reads) <= 1.15 * 8 * n_blocks


def test_a_table_is_sent_to_other_processes_without_what_was_read():
    X, _ = counted([400], 128)
    before = len(pickle.dumps(X))
    X.take(np.arange(200))
    X.blocks.pieces[0].reads.clear()
    assert len(pickle.dumps(X)) == before
    assert_array_equal(np.asarray(pickle.loads(pickle.dumps(X))), np.asarray(X))


def test_numbers_that_are_missing_or_infinite(tmp_path):
    table = FRAME.copy()
    table.loc[7, "b"] = np.nan
    X, y = open_table(pa.Table.from_pandas(table, preserve_index=False), TARGETS)
    estimator().fit(X, y)  # the default imputes
    est = estimator(encoder=MLP((8,), missing_inputs=None))
    with pytest.raises(ValueError, match="Input X contains NaN in column 'b'"):
        est.fit(X, y)
    assert not hasattr(est, "net_")
    table.loc[7, "b"] = np.inf
    X, y = open_table(pa.Table.from_pandas(table, preserve_index=False), TARGETS)
    with pytest.raises(ValueError, match="contains infinity in column 'b': mend"):
        estimator().fit(X, y)


def test_columns_of_predict_are_those_of_fit(tmp_path):
    X, y = opened(tmp_path)
    est = estimator().fit(X, y)
    other, _ = open_table(ARROW, TARGETS, features=["b", "a", "c"])
    with pytest.raises(ValueError, match="feature names should match"):
        est.predict(other)
    fewer, _ = open_table(ARROW, TARGETS, features=["a"])
    with pytest.raises(
        ValueError, match="Feature names seen at fit time, yet now miss"
    ):
        est.predict(fewer)


def test_a_table_that_is_lost_leaves_no_fitted_estimator(tmp_path):
    X, y = opened(tmp_path)
    for path in tmp_path.glob("*.parquet"):
        path.unlink()
    est = estimator()
    with pytest.raises(OSError, match=r"'.*part-0.parquet' is damaged, or has changed"):
        est.fit(X, y)
    assert not hasattr(est, "net_")


def test_a_table_that_changes_is_noticed(tmp_path):
    path = one_file(tmp_path)
    X, _ = open_table(path, TARGETS)
    FRAME.to_parquet(path, row_group_size=30)
    with pytest.raises(OSError, match="has changed since"):
        np.asarray(X)


def test_one_target_and_one_feature(tmp_path):
    X, y = open_table(ARROW, "price", features="a")
    assert X.shape == (N, 1)
    assert list(y.columns) == ["price"]


CITIES = np.array(["Rome", "Oslo", "Bern"], dtype=object)[np.arange(N) % 3]
CITIES[::50] = None
SIZES = pd.Categorical(np.array([10, 20])[np.arange(N) // 150])


def with_categories():
    return FRAME.assign(city=CITIES, size=SIZES, empty=pd.array([None] * N, "string"))


@pytest.mark.parametrize("encoder", [NET, MLP((8,), categories="one_hot", dropout=0)])
def test_categories_train_as_those_of_a_data_frame(encoder, tmp_path):
    users = [f"user {i}" for i in np.arange(N) % 70]
    table = with_categories().assign(user=users)
    names = ["city", "a", "size", "user", "empty"]
    path = tmp_path / "table.feather"  # Parquet knows dictionaries of strings only
    feather.write_feather(pa.Table.from_pandas(table), path, chunksize=70)
    X, y = open_table(path, TARGETS, features=names, format="feather", shuffle_window=9)
    options = {
        "encoder": encoder,
        "batch_size": 40,
        "shuffle": False,
        "n_estimators": 2,
    }
    est = estimator(**options).fit(X, y)
    other = estimator(**options).fit(table[names], y)
    assert_array_equal(est.predict(X), other.predict(table[names]))
    assert_array_equal(est.predict(table[names]), other.predict(X))
    # Tables have lists of categories of their own, some of them not known to fit.
    some = table[names].iloc[[1, 3, 5]].assign(city=["Bern", "Paris", None])
    some["user"] = ["user 3", None, "user 99"]
    rows, _ = open_table(pa.Table.from_pandas(some, preserve_index=False))
    assert_array_equal(est.predict(rows), est.predict(some))


def test_columns_change_between_numbers_and_categories():
    X, y = open_table(pa.Table.from_pandas(with_categories()), TARGETS, features=["a"])
    other = pa.table({"a": ["x", "y"]})
    with pytest.raises(ValueError, match="'a' of X holds categories, but held numbers"):
        estimator().fit(X, y).predict(open_table(other)[0])


def test_too_many_categories(monkeypatch):
    monkeypatch.setattr("skmtl.datasets._arrow.MOST_LEVELS", 2)
    with pytest.raises(ValueError, match="'city' of the table has more than 2 categor"):
        open_table(pa.Table.from_pandas(with_categories()), TARGETS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": ["cost"]}, r"'targets' parameter must name columns .* \['cost'\]"),
        ({"targets": ["price", "price"]}, "each once"),
        ({"features": ["z"]}, r"'features' parameter must name columns .* Got \['z'\]"),
        ({"features": ["day"]}, r"'day' of the table holds date32.* or strings for"),
        ({"features": ["price"]}, r"columns that are no targets, .* Got \['price'\]"),
        ({"features": []}, r"at least one. Got \[\]"),
        ({"shuffle_window": 0}, "positive number of rows. Got 0"),
        ({"shuffle_window": 1.5}, "positive number of rows. Got 1.5"),
    ],
)
def test_bad_columns(options, message):
    with pytest.raises(ValueError, match=message):
        open_table(DATED, **({"targets": TARGETS} | options))


def test_bad_tables(tmp_path):
    with pytest.raises(ValueError, match=r"must be a path, .* Got a ndarray"):
        open_table(NUMBERS)
    with pytest.raises(ValueError, match=r"Got a IterableDataset"):
        open_table(Dataset(ARROW).to_iterable_dataset())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="may be no file in the folder"):
        open_table(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"cannot read .* there is no .*nowhere"):
        open_table(tmp_path / "nowhere")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(ValueError, match=r"cannot read .*bad.parquet"):
        open_table(tmp_path / "bad.parquet")
    with pytest.raises(ValueError, match="The table has no row"):
        open_table(ARROW.slice(0, 0), TARGETS)
    X, _ = open_table(ARROW, TARGETS)
    with pytest.raises(IndexError, match=r"several rows. Got 3"):
        X[3]
    with pytest.raises(IndexError, match="indexed by rows alone"):
        X[:, 1]
    with pytest.raises(ValueError, match="is not an array"):
        X.__array__(copy=False)  # as numpy.asarray asks from numpy 2 on
