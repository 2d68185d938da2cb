"""The hold-out split keeps the labels of all tasks in proportion."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits, load_wine

from skmtl._data.stratification import make_stratified_folds, split_holdout

DIGITS = load_digits().target
TASKS = [DIGITS, DIGITS % 2, np.isin(DIGITS, [0, 6, 8, 9]).astype(int)]


def split(labels, fraction=0.1, seed=0):
    return split_holdout(labels, fraction, np.random.RandomState(seed))


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_every_class_of_every_task_keeps_its_share(fraction, seed):
    _, held_out = split(TASKS, fraction, seed)
    assert len(held_out) == round(fraction * len(DIGITS))
    for task in TASKS:
        for label in np.unique(task):
            share = (task[held_out] == label).sum()
            assert share == pytest.approx(fraction * (task == label).sum(), abs=3)


@pytest.mark.parametrize("n", [2, 3, 5, 20, 99])
@pytest.mark.parametrize("fraction", [1e-6, 0.1, 0.5, 0.9, 1 - 1e-6])
def test_the_parts_are_disjoint_complete_sorted_and_never_empty(n, fraction):
    labels = [DIGITS[:n], DIGITS[:n] % 3]
    train, held_out = split(labels, fraction)
    assert_array_equal(np.sort(np.concatenate([train, held_out])), np.arange(n))
    assert len(train) >= 1
    assert len(held_out) >= 1
    assert_array_equal(train, np.sort(train))
    assert_array_equal(held_out, np.sort(held_out))


def test_rare_labels_that_do_not_fill_a_place_stay_in_training():
    rng = np.random.RandomState(0)
    for seed in range(20):
        rare = np.zeros(200, dtype=int)
        rare[rng.choice(200, 2, replace=False)] = 1, 2
        common = rng.randint(0, 2, 200)
        train, _ = split([common, rare], 0.1, seed)
        assert set(rare[train]) == {0, 1, 2}


def test_labels_are_rare_among_those_present():
    rng = np.random.RandomState(0)
    sparse = np.where(rng.rand(1000) < 0.1, rng.randint(0, 2, 1000), -1)
    common = rng.randint(0, 3, 1000)
    _, held_out = split([common, sparse], 0.2)
    for label in (0, 1):
        n = (sparse == label).sum()
        assert (sparse[held_out] == label).sum() == pytest.approx(0.2 * n, abs=1)


def test_numbers_are_stratified_by_quartile():
    alcohol = load_wine().data[:, 0].copy()
    alcohol[::7] = np.nan
    proline = load_wine().data[:, 12]
    _, held_out = split([alcohol, proline], 0.25)
    for values in (alcohol, proline):
        edges = np.nanquantile(values, [0, 0.25, 0.5, 0.75, 1])
        counts, _ = np.histogram(values[held_out], edges)
        everything, _ = np.histogram(values, edges)
        assert (abs(counts - 0.25 * everything) <= 4).all()


def test_a_constant_number_and_a_class_of_all_are_no_trouble():
    train, held_out = split([np.zeros(30), np.zeros(30, dtype=int)], 0.2)
    assert len(held_out) == 6
    assert len(train) == 24


def test_the_seed_decides_which_rows_are_held_out():
    first, again, other = split(TASKS), split(TASKS), split(TASKS, seed=1)
    assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_held_out_rows_are_drawn_from_the_whole_table():
    """Nothing ties the choice to the order of the rows."""
    times = np.zeros(100)
    for seed in range(200):
        times[split([np.arange(100) % 2], 0.2, seed)[1]] += 1
    assert times.min() > 15
    assert times.max() < 70


@pytest.mark.parametrize("n_folds", [2, 5, 9, 99])
def test_folds_are_of_one_size_and_share_the_rarest_label_evenly(n_folds):
    rare = np.zeros(99, dtype=int)
    rare[::9] = 1  # of 11 rows
    numbers = np.where(np.arange(99) % 4, np.arange(99) / 7, np.nan)
    labels = [rare, numbers, np.full(99, -1)]
    fold = make_stratified_folds(labels, n_folds, np.random.RandomState(0))
    assert np.ptp(np.bincount(fold, minlength=n_folds)) <= 1
    assert np.ptp(np.bincount(fold[rare == 1], minlength=n_folds)) <= 1
    again = make_stratified_folds(labels, n_folds, np.random.RandomState(0))
    assert_array_equal(fold, again)


def test_a_task_of_numbers_may_have_no_label():
    labels = [DIGITS[:20], np.full(20, np.nan)]
    alone = split(labels[:1])
    for one, both in zip(alone, split(labels), strict=True):
        assert_array_equal(one, both)
    folds = make_stratified_folds(labels, 2, np.random.RandomState(0))
    assert_array_equal(
        folds, make_stratified_folds(labels[:1], 2, np.random.RandomState(0))
    )
