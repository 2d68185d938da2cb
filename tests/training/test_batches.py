"""Batches are slices that hold every row once and copy no table."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse

from skmtl._data.output_kinds import group_tasks
from skmtl.training import InputSource, TrainingRows, pack_targets
from skmtl.training._batches import Batches, is_memmap

CPU = torch.device("cpu")
N = 53
X = np.random.RandomState(0).randn(N, 4).astype(np.float32)
NUMBERS = np.arange(N)


def rows_of(data, index=None, dtype=torch.float32, resident=True):
    blocks = group_tasks(["regression"], [0])
    targets = pack_targets(blocks, [NUMBERS * 1.0], None, torch.float64, CPU)
    return TrainingRows(InputSource(data, dtype, CPU, resident), targets, index)


def memmap_of(array, folder):
    path = folder / "X.bin"
    mapped = np.memmap(path, array.dtype, "w+", shape=array.shape)
    mapped[:] = array
    mapped.flush()
    return np.memmap(path, array.dtype, "r", shape=array.shape)


def read_only(array):
    array = array.copy()
    array.setflags(write=False)
    return array


CONTAINERS = {
    "array": lambda folder: X,
    "Fortran order": lambda folder: np.asfortranarray(X),
    "every second row": lambda folder: np.repeat(X, 2, axis=0)[::2],
    "reversed": lambda folder: X[::-1].copy()[::-1],
    "float64": lambda folder: X.astype(np.float64),
    "read-only": lambda folder: read_only(X),
    "memory map": lambda folder: memmap_of(X, folder),
    "view of a memory map": lambda folder: np.asarray(memmap_of(X, folder)),
    "csr_matrix": lambda folder: sparse.csr_matrix(X),
    "csr_array": lambda folder: sparse.csr_array(X),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("index", [None, np.arange(0, N, 3)])
@pytest.mark.parametrize("batch_size", [8, N, 1000])
@pytest.mark.sampled(7)
def test_shuffled_batches_hold_every_row_once(
    container, dtype, resident, index, batch_size, tmp_path
):
    data = CONTAINERS[container](tmp_path)
    rows = rows_of(data, index, dtype, resident)
    batches = Batches(rows, batch_size, torch.Generator().manual_seed(0))
    seen = []
    for features, [(y, w)] in batches:
        assert features.dtype == dtype
        assert w is None
        numbers = y[:, 0].numpy().astype(int)
        assert_array_equal(features.numpy(), X[numbers].astype(features.numpy().dtype))
        seen.extend(numbers)
    assert sorted(seen) == list(NUMBERS if index is None else index)


def test_each_pass_has_its_own_order_and_a_seed_repeats_it():
    def orders(seed):
        batches = Batches(rows_of(X), 8, torch.Generator().manual_seed(seed))
        return [[int(v) for _, [(y, _)] in batches for v in y] for _ in range(2)]

    first, second = orders(0)
    assert first != second
    assert [first, second] == orders(0)
    assert [first, second] != orders(1)


def test_batches_without_a_generator_keep_the_order():
    numbers = [int(v) for _, [(y, _)] in Batches(rows_of(X), 8) for v in y]
    assert numbers == list(NUMBERS)


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [
        (10, 4, [4, 4, 2]),
        (9, 4, [4, 5]),
        (8, 4, [4, 4]),
        (5, 4, [5]),
        (4, 4, [4]),
        (1, 4, [1]),
        (3, 1, [1, 1, 1]),
        (2, 1, [1, 1]),
    ],
)
def test_a_last_batch_of_one_row_joins_the_one_before(n, batch_size, sizes):
    rows = rows_of(X, np.arange(n))
    batches = Batches(rows, batch_size, torch.Generator())
    found = [len(features) for features, _ in batches]
    if batch_size == 1:
        assert sum(found) == n
    else:
        assert found == sizes
    assert len(batches) == len(found)


def test_a_subset_of_a_subset():
    rows = rows_of(X, np.arange(0, N, 2)).select(np.array([1, 3])).select(np.array([1]))
    features, [(y, _)] = rows.take(rows.index)
    assert y.tolist() == [[6.0]]
    assert_array_equal(features.numpy(), X[[6]])
    assert len(rows) == 1


def test_rows_are_indexed_as_in_torch():
    features, [(y, _)] = rows_of(X, np.arange(0, N, 2))[[1, 2]]
    assert y[:, 0].tolist() == [2, 4]
    assert_array_equal(features.numpy(), X[[2, 4]])
    features, _ = rows_of(X)[3]
    assert_array_equal(features.numpy(), X[[3]])


def test_an_array_of_the_compute_type_is_not_copied():
    source = InputSource(X, torch.float32, CPU)
    assert np.shares_memory(source.data.numpy(), X)
    assert np.shares_memory(source.span(3, 9).numpy(), X)


def test_a_prediction_takes_slices_without_a_copy():
    source = InputSource(X, torch.float32, CPU, resident=False)
    assert np.shares_memory(source.span(3, 9).numpy(), X)


def test_memory_maps_are_read_batch_by_batch(tmp_path):
    mapped = memmap_of(X, tmp_path)
    for data in (mapped, np.asarray(mapped), mapped.view(np.ndarray)[1:]):
        assert is_memmap(data)
        assert InputSource(data, torch.float32, CPU).data is data
    assert not is_memmap(X)


def test_sparse_rows_become_dense_batch_by_batch():
    data = sparse.csr_array(X)
    source = InputSource(data, torch.float32, CPU)
    assert source.data is data
    assert_array_equal(source.span(2, 5).numpy(), X[2:5])
    assert_array_equal(source.take(torch.tensor([7, 1])).numpy(), X[[7, 1]])


def test_read_only_arrays_stay_untouched_and_raise_no_warning():
    data = read_only(X)
    source = InputSource(data, torch.float32, CPU)
    source.take(torch.tensor([0, 1])).add_(1)
    source.span(0, 2).add_(1)
    assert_array_equal(data, X)


def test_four_dimensions_are_sliced_by_rows():
    images = np.random.RandomState(0).randn(N, 1, 2, 3).astype(np.float32)
    features, [(y, _)] = next(iter(Batches(rows_of(images), 8, torch.Generator())))
    assert features.shape == (8, 1, 2, 3)
    assert_array_equal(features.numpy(), images[y[:, 0].numpy().astype(int)])


# Packing


def test_complete_labels_have_no_weights():
    blocks = group_tasks(["classification"] * 2 + ["regression"], [2, 3, 0])
    labels = [np.array([0, 1], np.int8), np.array([2, 0], np.int8), np.array([0.5, 1])]
    targets = pack_targets(blocks, labels, None, torch.float32, CPU)
    assert [w for _, w in targets] == [None] * 3
    assert [y.tolist() for y, _ in targets] == [[[0], [1]], [[2], [0]], [[0.5], [1.0]]]
    assert targets[2][0].dtype == torch.float32


def test_missing_labels_have_weight_zero():
    blocks = group_tasks(["classification"] * 2 + ["regression"], [3, 4, 0])
    labels = [
        np.array([0, -1, 2], np.int8),
        np.array([-1, 1, 3], np.int32),
        np.array([0.5, np.nan, 1]),
    ]
    targets = pack_targets(blocks, labels, None, torch.float64, CPU)
    present = [w.to(float).tolist() for _, w in targets]
    assert present == [[[1, 0], [0, 1], [1, 1]], [[1], [0], [1]]]
    assert all(torch.isfinite(y).all() and (y >= 0).all() for y, _ in targets)
    weight = np.arange(9.0).reshape(3, 3) + 1
    targets = pack_targets(blocks, labels, weight, torch.float64, CPU)
    assert [w.tolist() for _, w in targets] == [
        [[1, 0], [0, 5], [7, 8]],
        [[3], [0], [9]],
    ]
    targets = pack_targets(blocks, labels, weight * 2.0**990, torch.float32, CPU)
    # Those of each task in units of a power of two.
    assert [w.tolist() for _, w in targets] == [
        [[1 / 4, 0], [0, 5 / 8], [7 / 4, 8 / 8]],
        [[3 / 8], [0], [9 / 8]],
    ]


# Drawing


def drawn(odds, batch_size=8, index=None, epochs=1, seed=0):
    rows = TrainingRows(
        rows_of(X).source, rows_of(X).targets, index, np.asarray(odds, float)
    )
    batches = Batches(rows, batch_size, torch.Generator().manual_seed(seed))
    return [[int(v) for _, [(y, _)] in batches for v in y] for _ in range(epochs)]


@pytest.mark.parametrize("batch_size", [8, N, 1000])
def test_rows_are_drawn_by_their_odds(batch_size):
    odds = np.where(NUMBERS < 3, 10.0, np.where(NUMBERS % 2, 1.0, 0.0))
    epochs = drawn(odds, batch_size, epochs=400)
    assert {len(epoch) for epoch in epochs} == {N}
    counts = np.bincount(np.concatenate(epochs), minlength=N)
    assert (counts[odds == 0] == 0).all()
    expected = 400 * N * odds / odds.sum()
    # Counts are binomial: none is five standard deviations off.
    assert (abs(counts - expected) <= 5 * np.sqrt(expected)).all()


def test_only_rows_of_the_index_are_drawn():
    index = np.array([5, 50, 7])
    (epoch,) = drawn([1, 0, 1], index=index)
    assert len(epoch) == 3
    assert set(epoch) <= {5, 7}


def test_every_epoch_draws_anew_and_a_seed_repeats_it():
    first, second = drawn(np.ones(N), epochs=2)
    assert first != second
    assert len(set(first)) < N  # with replacement
    assert [first, second] == drawn(np.ones(N), epochs=2)
    assert first != drawn(np.ones(N), seed=1)[0]


def test_odds_count_only_where_there_is_a_generator():
    rows = TrainingRows(rows_of(X).source, rows_of(X).targets, None, np.zeros(N))
    for batch_size in (8, 1000):
        numbers = [int(v) for _, [(y, _)] in Batches(rows, batch_size) for v in y]
        assert numbers == list(NUMBERS)
