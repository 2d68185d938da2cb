"""Swaps bring labels closer to their shares, and stop where none does."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array

from skmtl.model_selection import _swap_search as _exchange
from skmtl.model_selection._labels import (
    make_label_matrix,
    pair_table,
    sum_by_group,
)
from skmtl.model_selection._swap_search import improve_by_swaps, scale_counts


def chi_square(table, part, shares):
    counts = np.stack(
        [table.toarray()[part == f].sum(axis=0) for f in range(len(shares))]
    )
    expected = np.outer(shares, table.toarray().sum(axis=0))
    return ((counts - expected) ** 2 / np.where(expected > 0, expected, 1)).sum()


def random_case(seed, shares):
    rng = np.random.default_rng(seed)
    table = csr_array(rng.integers(0, 3, (90, 12)).astype(float))
    part = rng.permutation(
        np.repeat(np.arange(len(shares)), np.rint(90 * shares).astype(int))
    )
    return table, part


def test_one_swap_that_is_there_is_found():
    table = csr_array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    part = np.array([0, 0, 1, 1])
    new = improve_by_swaps(table, part, np.array([0.5, 0.5]), np.random.RandomState(0))
    assert sorted(new[:2]) == sorted(new[2:]) == [0, 1]


def test_what_is_even_stays_as_it_is():
    table = make_label_matrix([np.arange(60) // 10, np.arange(60) % 2])
    part = np.arange(60) // 2 % 5
    shares = np.full(5, 0.2)
    assert chi_square(table, part, shares) == 0
    assert_array_equal(
        improve_by_swaps(table, part, shares, np.random.RandomState(0)), part
    )


@pytest.mark.parametrize("shares", [np.full(3, 1 / 3), np.array([0.7, 0.2, 0.1])])
@pytest.mark.parametrize("max_dense", [0, 2000])
def test_sizes_stay_and_the_sum_falls_to_where_no_swap_lowers_it(
    monkeypatch, shares, max_dense
):
    monkeypatch.setattr(_exchange, "MAX_DENSE", max_dense)
    monkeypatch.setattr(_exchange, "N_CANDIDATES", 90)
    table, part = random_case(0, shares)
    new = improve_by_swaps(table, part, shares, np.random.RandomState(0))
    assert_array_equal(np.bincount(new), np.bincount(part))
    reached = chi_square(table, new, shares)
    assert reached < 0.2 * chi_square(table, part, shares)
    for a in range(90):
        for b in range(a):
            swapped = new.copy()
            swapped[[a, b]] = new[[b, a]]
            assert chi_square(table, swapped, shares) > reached - 1e-9


def test_sparse_and_dense_candidates_give_the_same_swaps(monkeypatch):
    shares = np.full(3, 1 / 3)
    table, part = random_case(1, shares)
    dense = improve_by_swaps(table, part, shares, np.random.RandomState(0))
    monkeypatch.setattr(_exchange, "MAX_DENSE", 0)
    assert_array_equal(
        improve_by_swaps(table, part, shares, np.random.RandomState(0)), dense
    )


def test_scaled_sums_of_squares_are_the_distance():
    shares = np.full(3, 1 / 3)
    table, part = random_case(2, shares)
    R = scale_counts(table).toarray()
    surplus = np.stack([R[part == f].sum(axis=0) for f in range(3)]) - R.sum(axis=0) / 3
    np.testing.assert_allclose(3 * (surplus**2).sum(), chi_square(table, part, shares))


def test_a_label_without_weight_is_no_trouble():
    table = csr_array([[1.0, 0.0], [1.0, 0.0]])
    assert_array_equal(scale_counts(table).toarray()[:, 1], [0, 0])


def test_label_table_has_a_column_per_code():
    table = make_label_matrix(
        [np.array([1, -1, 0]), np.array([-1, -1, -1]), np.array([2, 0, 0])]
    )
    expected = [[0, 1, 0, 0, 1], [0, 0, 1, 0, 0], [1, 0, 1, 0, 0]]
    assert_array_equal(table.toarray(), expected)


def test_pairs_are_those_of_several_rows():
    """Against every pair of columns, counted one by one."""
    rng = np.random.default_rng(0)
    X = (rng.random((50, 9)) < 0.15).astype(float)
    pairs = [X[:, a] * X[:, b] for a in range(9) for b in range(a + 1, 9)]
    expected = np.stack([pair for pair in pairs if pair.sum() > 1], axis=1)
    assert 0 < expected.shape[1] < len(pairs)
    assert_array_equal(pair_table(csr_array(X), 0.5).toarray(), 0.5 * expected)


def test_rows_without_pairs_make_a_table_of_no_columns():
    assert pair_table(csr_array(np.eye(4)), 1).shape == (4, 0)


def test_groups_have_the_sums_of_their_rows_and_their_size():
    table = make_label_matrix([np.array([0, 1, 1, 0]), np.array([0, -1, 0, 0])])
    summed = sum_by_group(table, np.array([1, 0, 1, 1])).toarray()
    assert_array_equal(summed, [[0, 1, 0, 1], [2, 1, 3, 3]])
