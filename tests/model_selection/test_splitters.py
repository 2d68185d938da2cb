"""Splits keep every label of every task in proportion, whatever y looks like."""

import pickle
import re

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import (
    BaseCrossValidator,
    BaseShuffleSplit,
    GridSearchCV,
    StratifiedKFold,
    check_cv,
    cross_val_score,
)

from skmtl import MultiTaskClassifier
from skmtl.model_selection import (
    MultiTaskStratifiedGroupKFold,
    MultiTaskStratifiedKFold,
    MultiTaskStratifiedShuffleSplit,
    RepeatedMultiTaskStratifiedKFold,
    multitask_train_test_split,
)

DIGITS = load_digits().target[:600]
RARE_AWARE = pytest.warns(UserWarning, match="Some classes have fewer rows")
SPLITTERS = [
    MultiTaskStratifiedKFold,
    MultiTaskStratifiedGroupKFold,
    MultiTaskStratifiedShuffleSplit,
    RepeatedMultiTaskStratifiedKFold,
]


def table(n=400, seed=0):
    """Return a rare, a common and a ten-class task and a numeric one, with gaps."""
    rng = np.random.default_rng(seed)
    Y = np.column_stack(
        [
            rng.random(n) < 0.04,
            rng.random(n) < 0.4,
            rng.integers(0, 10, n),
            rng.normal(size=n) + 0.5,
        ]
    ).astype(float)
    Y[rng.random(Y.shape) < [0.1, 0.5, 0.0, 0.2]] = np.nan
    return Y


def labels_of(Y, n_bins=4):
    """Return one column per label: classes, parts of the range, and gaps."""
    columns = []
    for values in np.asarray(Y, dtype=float).T:
        present = ~np.isnan(values)
        if (values[present] % 1).any():
            edges = np.quantile(values[present], np.arange(1, n_bins) / n_bins)
            values = np.where(present, np.searchsorted(edges, values), np.nan)
        columns += [values == label for label in np.unique(values[present])]
        columns += [~present]
    return np.stack(columns, axis=1)


def fold_of(cv, y, groups=None):
    fold = np.full(len(y), -1)
    for number, (train, test) in enumerate(cv.split(np.zeros(len(y)), y, groups)):
        assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(y)))
        fold[test] = number
    return fold


def counts_of(Z, fold):
    return np.stack([Z[fold == number].sum(axis=0) for number in range(fold.max() + 1)])


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("k", [2, 5, 7])
def test_every_label_has_its_share_in_every_fold(shuffle, order, k):
    Y = table()
    cv = MultiTaskStratifiedKFold(
        k, shuffle=shuffle, random_state=0 if shuffle else None, order=order, n_bins=4
    )
    fold, Z = fold_of(cv, Y), labels_of(Y)
    assert np.ptp(np.bincount(fold)) <= 1
    counts = counts_of(Z, fold)
    assert abs(counts - Z.sum(axis=0) / k).max() < 2 + (order == 2)
    assert (counts[:, Z.sum(axis=0) >= k] > 0).all()


def test_four_rows_have_one_answer():
    """Each label is carried by two rows: only opposite rows make even folds."""
    Y = np.array([[0, 0], [1, 1], [0, 1], [1, 0]])
    fold = fold_of(MultiTaskStratifiedKFold(2), Y)
    assert fold[0] == fold[1] != fold[2] == fold[3]


def test_one_task_is_split_as_scikit_learn_does():
    y = np.repeat(np.arange(4), 15)[np.random.RandomState(0).permutation(60)]
    assert_array_equal(
        fold_of(MultiTaskStratifiedKFold(5), y), fold_of(StratifiedKFold(5), y)
    )


def test_missing_labels_are_spread_as_evenly_as_classes():
    Y = np.full((100, 2), np.nan)
    Y[:20, 0], Y[10:50, 1] = 1, 2
    fold = fold_of(MultiTaskStratifiedKFold(5), Y)
    counts = counts_of(labels_of(Y), fold)
    assert_array_equal(counts, np.tile([4, 16, 8, 12], (5, 1)))


def test_pairs_of_labels_are_spread_with_order_2():
    """Ten rows carry both rare labels; nothing ties them together with order 1."""
    rng = np.random.default_rng(0)
    Y = np.zeros((300, 6), dtype=int)
    Y[rng.permutation(300)[:60], 0] = 1
    Y[rng.permutation(np.flatnonzero(Y[:, 0]))[:10], 1] = 1
    Y[rng.permutation(np.flatnonzero(Y[:, 0] == 0))[:30], 1] = 1
    Y[:, 2:] = rng.random((300, 4)) < 0.3
    both = (Y[:, 0] & Y[:, 1]).astype(bool)
    spread = {
        order: [
            np.ptp(
                np.bincount(
                    fold_of(
                        MultiTaskStratifiedKFold(
                            5, shuffle=True, random_state=seed, order=order
                        ),
                        Y,
                    )[both],
                    minlength=5,
                )
            )
            for seed in range(5)
        ]
        for order in (1, 2)
    }
    assert max(spread[2]) == 0
    assert min(spread[1]) > 0


def test_numbers_are_cut_into_bins_that_folds_can_share():
    """Of 20 numbers five folds get one of each of 4 parts, whatever n_bins says."""
    y = np.random.default_rng(0).normal(size=20)
    fold = fold_of(MultiTaskStratifiedKFold(5, n_bins=50), y)
    for part in np.argsort(y).reshape(4, 5):
        assert sorted(fold[part]) == [0, 1, 2, 3, 4]


def test_integers_are_numbers_where_task_types_say_so():
    y = np.arange(40)
    for types in ("regression", ["regression"], {"task0": "regression"}, None):
        fold = fold_of(MultiTaskStratifiedKFold(4, task_types=types, n_bins=2), y)
        assert_array_equal(np.bincount(fold[:20]), [5] * 4)
    with RARE_AWARE:
        fold_of(MultiTaskStratifiedKFold(4, task_types="classification"), y)


def test_folds_are_blocks_without_shuffling():
    """As with StratifiedKFold, neighbours stay together."""
    Y = np.column_stack([np.arange(100) % 2, np.zeros(100)])
    assert_array_equal(fold_of(MultiTaskStratifiedKFold(5), Y), np.arange(100) // 20)


FORMS = {
    "strings": lambda Y: np.where(np.isnan(Y), None, Y.astype(str)),
    "lists": lambda Y: [[None if v != v else v for v in row] for row in Y],
    "frame": lambda Y: pd.DataFrame(Y, columns=list("abc")),
    "categories": lambda Y: pd.DataFrame(Y).astype("category"),
    "nullable": lambda Y: pd.DataFrame(Y).astype("Int64"),
    "masked": lambda Y: np.ma.masked_invalid(Y),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("order", [1, 2])
def test_y_may_have_any_form(form, order):
    Y = table()[:, [0, 1, 2]]
    cv = MultiTaskStratifiedKFold(3, order=order)
    Z, fold = labels_of(Y), fold_of(cv, FORMS[form](Y))
    assert abs(counts_of(Z, fold) - Z.sum(axis=0) / 3).max() < 2


def test_missing_label_marks_what_is_missing():
    Y = table()[:, :3]
    marked = np.where(np.isnan(Y), -1, Y).astype(int)
    expected = fold_of(MultiTaskStratifiedKFold(3), Y)
    found = fold_of(MultiTaskStratifiedKFold(3, missing_label=-1), marked)
    assert_array_equal(found, expected)


def test_labels_that_cannot_be_ordered_and_tasks_without_labels_are_allowed():
    y = np.array([["a", None], [1, None]] * 10, dtype=object)
    fold = fold_of(MultiTaskStratifiedKFold(5), y)
    assert_array_equal(np.bincount(fold[::2]), [2] * 5)


def test_rare_classes_are_named_once():
    Y = pd.DataFrame({"a": [0] * 17 + [1, 2, 2], "b": ["x"] * 18 + ["y", "z"]})
    message = (
        "Some classes have fewer rows than there are folds, 5, so that some folds lack "
        "them: class 1 of task 'a' (1), class 2 of task 'a' (2), class 'y' of task 'b' "
        "(1) and 1 more. Use fewer, merge classes, or set task_types where labels are "
        "numbers."
    )
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$") as caught:
        fold = fold_of(MultiTaskStratifiedKFold(5), Y)
    assert len(caught) == 1
    assert fold[18] != fold[19]  # of one class, in two folds


def test_missing_labels_and_numbers_are_no_rare_classes():
    Y = np.column_stack([np.arange(20) % 2, np.linspace(0.5, 1, 20)])
    Y[0] = np.nan
    fold_of(MultiTaskStratifiedKFold(5), Y)


def test_the_seed_decides_and_a_generator_goes_on():
    Y = table()
    cv = MultiTaskStratifiedKFold(3, shuffle=True, random_state=0)
    other = MultiTaskStratifiedKFold(3, shuffle=True, random_state=1)
    assert_array_equal(fold_of(cv, Y), fold_of(cv, Y))
    assert not np.array_equal(fold_of(cv, Y), fold_of(other, Y))
    rng = np.random.RandomState(0)
    going_on = MultiTaskStratifiedKFold(3, shuffle=True, random_state=rng)
    assert not np.array_equal(fold_of(going_on, Y), fold_of(going_on, Y))
    fixed = MultiTaskStratifiedKFold(3)
    assert_array_equal(fold_of(fixed, Y), fold_of(fixed, Y))


def test_repeated_folds_are_those_of_one_generator():
    Y = table()
    cv = RepeatedMultiTaskStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)
    assert cv.get_n_splits(Y, Y) == 6
    rng = np.random.RandomState(0)
    once = MultiTaskStratifiedKFold(3, shuffle=True, random_state=rng)
    expected = [*once.split(Y, Y), *once.split(Y, Y)]
    found = list(cv.split(Y, Y))
    for (train, test), (own_train, own_test) in zip(found, expected, strict=True):
        assert_array_equal(train, own_train)
        assert_array_equal(test, own_test)
    assert not np.array_equal(found[0][1], found[3][1])


@pytest.mark.parametrize(
    ("sizes", "n_train", "n_test"),
    [
        ({}, 360, 40),
        ({"test_size": 0.25}, 300, 100),
        ({"train_size": 50}, 50, 350),
        ({"test_size": 40, "train_size": 0.2}, 80, 40),
    ],
)
def test_random_parts_have_their_sizes_and_shares(sizes, n_train, n_test):
    Y = table()
    Z = labels_of(Y)
    cv = MultiTaskStratifiedShuffleSplit(3, random_state=0, n_bins=4, **sizes)
    splits = list(cv.split(Y, Y))
    assert len(splits) == cv.get_n_splits() == 3
    for train, test in splits:
        assert (len(train), len(test)) == (n_train, n_test)
        assert len(np.union1d(train, test)) == n_train + n_test
        for rows in (train, test):
            expected = Z.sum(axis=0) * len(rows) / 400
            assert abs(Z[rows].sum(axis=0) - expected).max() < 2
    assert not np.array_equal(*(np.sort(test) for _, test in splits[:2]))
    assert (np.diff(splits[0][0]) < 0).any()  # in random order


def test_a_class_of_one_row_is_told_of():
    Y = np.zeros((20, 2))
    Y[3, 1] = 1
    with pytest.warns(UserWarning, match=r"fewer rows than there are parts, 2.*\(1\)"):
        multitask_train_test_split(Y)


def test_train_test_split_takes_what_scikit_learn_takes():
    Y = table()
    X = pd.DataFrame({"a": np.arange(400)})
    w = list(range(400))
    parts = multitask_train_test_split(X, Y, w, test_size=0.1, random_state=0)
    _, X_test, Y_train, Y_test, w_train, w_test = parts
    assert isinstance(X_test, pd.DataFrame)
    assert_array_equal(X_test["a"], w_test)
    assert_array_equal(Y_test, Y[w_test])
    assert_array_equal(Y_train, Y[w_train])
    assert len(X_test) == 40
    again = multitask_train_test_split(X, stratify=Y, test_size=0.1, random_state=0)
    assert_array_equal(again[1]["a"], w_test)
    assert len(multitask_train_test_split(Y)[1]) == 100


def grouped(seed=0):
    rng = np.random.default_rng(seed)
    groups = np.sort(rng.choice(60, 400, p=rng.dirichlet(np.ones(60))))
    Y = table(seed=seed)
    Y[:, 1] = rng.random(60)[groups] < 0.5  # a label of the group
    return Y, rng.permutation(np.array([f"g{i}" for i in range(60)]))[groups]


@pytest.mark.parametrize("seed", range(3))
def test_groups_stay_whole_and_labels_in_proportion(seed):
    Y, groups = grouped(seed)
    cv = MultiTaskStratifiedGroupKFold(4, shuffle=True, random_state=0, n_bins=4)
    fold = fold_of(cv, Y, groups)
    for group in np.unique(groups):
        assert len(np.unique(fold[groups == group])) == 1
    # Shuffled groups in equal parts, what chance makes of it.
    found, number = np.unique(groups, return_inverse=True)
    chance = np.random.RandomState(0).permutation(np.arange(len(found)) % 4)[number]
    Z = labels_of(Y)

    def distance(fold):
        return abs(counts_of(Z, fold) - Z.sum(axis=0) / 4).mean()

    assert distance(fold) < 0.3 * distance(chance)


def test_groups_with_one_answer_are_dealt_so():
    """Sizes 4 3 2 2 1 make two folds of six rows in one way but for the twos."""
    groups = np.repeat(np.arange(5), [4, 3, 2, 2, 1])
    fold = fold_of(MultiTaskStratifiedGroupKFold(2), np.zeros(12), groups)
    assert_array_equal(np.bincount(fold), [6, 6])


def test_a_row_for_each_group_is_split_as_evenly_as_rows():
    Y = table()[:, :3]
    fold = fold_of(MultiTaskStratifiedGroupKFold(5), Y, np.arange(400))
    Z = labels_of(Y)
    assert np.ptp(np.bincount(fold)) <= 1
    assert abs(counts_of(Z, fold) - Z.sum(axis=0) / 5).max() < 2


def test_no_fold_is_empty_where_one_group_is_most_of_the_table():
    groups = np.repeat(np.arange(5), [100, 1, 1, 1, 1])
    fold = fold_of(MultiTaskStratifiedGroupKFold(5), np.zeros((104, 2)), groups)
    assert sorted(np.bincount(fold)) == [1, 1, 1, 1, 100]


def test_classes_are_rare_where_few_groups_have_them():
    y = np.array([0, 0, 1, 1, 0, 0])
    with pytest.warns(UserWarning, match=r"fewer groups .* folds, 2.*class 1 .* \(1\)"):
        fold_of(MultiTaskStratifiedGroupKFold(2), y, [1, 1, 2, 2, 3, 3])


@pytest.mark.parametrize("make", SPLITTERS)
def test_splitters_are_scikit_learns(make):
    cv = make(n_splits=3, n_bins=7, missing_label=-1)
    assert isinstance(cv, BaseCrossValidator | BaseShuffleSplit) or hasattr(cv, "cv")
    assert check_cv(cv, table()) is cv
    assert repr(eval(repr(cv))) == repr(cv)
    assert "n_bins=7" in repr(cv)
    assert "missing_label=-1" in repr(cv)
    again = pickle.loads(pickle.dumps(cv))
    assert repr(again) == repr(cv)
    search = GridSearchCV(DummyClassifier(), {}, cv=cv)
    assert repr(clone(search).cv) == repr(cv)


@pytest.mark.parametrize("make", SPLITTERS)
def test_splitters_serve_scikit_learns_tools(make):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), (np.arange(120).reshape(60, 2) // 7) % 2
    cv = make(n_splits=2, **({"n_repeats": 2} if "Repeated" in make.__name__ else {}))
    search = GridSearchCV(
        RandomForestClassifier(2, random_state=0), {"max_depth": [1, 2]}, cv=cv
    )
    groups = np.arange(60) // 2 if "Group" in make.__name__ else None
    search.fit(X, y, groups=groups)
    assert np.isfinite(search.best_score_)
    assert search.n_splits_ == cv.get_n_splits()


def test_missing_labels_pass_through_cross_val_score():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    Y = (X[:, :2] > 0).astype(float)
    Y[::4, 0] = np.nan
    est = MultiTaskClassifier(n_estimators=1, max_iter=1, random_state=0)
    assert np.isfinite(cross_val_score(est, X, Y, cv=MultiTaskStratifiedKFold(2))).all()


@pytest.mark.parametrize("make", SPLITTERS)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": 3}, "The 'order' parameter must be 1, .* Got 3 instead."),
        ({"n_bins": 0}, "The 'n_bins' parameter must be an integer .* Got 0 instead."),
        ({"n_bins": 1.5}, "The 'n_bins' parameter must be .* Got 1.5 instead."),
        ({"task_types": "numeric"}, "The 'task_types' parameter .* Got 'numeric'"),
    ],
)
def test_bad_parameters_are_refused_when_they_are_given(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"n_splits": 1}, ValueError, "n_splits=2 or more"),
        ({"n_splits": 2.0}, ValueError, "Integral"),
        ({"shuffle": 1}, TypeError, "shuffle must be True or False"),
        ({"random_state": 0}, ValueError, "random_state has no effect"),
    ],
)
@pytest.mark.parametrize("make", SPLITTERS[:2])
def test_folds_are_checked_as_scikit_learn_does(make, settings, error, message):
    with pytest.raises(error, match=message):
        make(**settings)


def test_impossible_splits_are_refused():
    y, groups = np.zeros(3), np.array([0, 0, 1])
    with pytest.raises(
        ValueError, match="n_splits=5 greater than the number of samples"
    ):
        fold_of(MultiTaskStratifiedKFold(5), y)
    with pytest.raises(
        ValueError, match="n_splits=3 greater than the number of groups: 2"
    ):
        fold_of(MultiTaskStratifiedGroupKFold(3), y, groups)
    with pytest.raises(ValueError, match="'groups' parameter must not be None"):
        fold_of(MultiTaskStratifiedGroupKFold(3), y)
    with pytest.raises(ValueError, match="y cannot be None"):
        next(MultiTaskStratifiedKFold(3).split(y))
    with pytest.raises(ValueError, match="At least one array"):
        multitask_train_test_split()
    with pytest.raises(ValueError, match="Task 'task0' is a regression task"):
        fold_of(MultiTaskStratifiedKFold(2, task_types="regression"), ["a", "b", "a"])


def test_groups_that_are_not_asked_for_are_told_of():
    with pytest.warns(UserWarning, match="groups parameter is ignored by MultiTask"):
        fold_of(MultiTaskStratifiedKFold(2), np.zeros(4), [0, 0, 1, 1])
