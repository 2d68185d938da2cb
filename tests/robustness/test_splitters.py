"""Splitters deal every row once, whatever the labels."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skmtl.model_selection import (
    MultiTaskStratifiedGroupKFold,
    MultiTaskStratifiedKFold,
    MultiTaskStratifiedShuffleSplit,
    multitask_train_test_split,
)
from tests.robustness._labels import labels
from tests.robustness._settings import KINDS

pytestmark = [
    pytest.mark.one_version,  # which take their time
]

RARE = "Some classes have fewer .* than there are .*, so that some .* lack them: .*"
kinds = st.sampled_from([("classification",), ("regression",), (*KINDS.values(),)[2]])


@st.composite
def splits(draw, cls):
    """Draw a splitter, its labels and the number of rows."""
    own = draw(kinds.flatmap(labels))
    n = draw(st.integers(4, 40))
    y, missing_label = own.given(n)
    settings = {
        "order": draw(st.sampled_from([1, 2])),
        "n_bins": draw(st.sampled_from([10, 1, 3])),
        "missing_label": missing_label,
        "task_types": [task.kind for task in own.tasks],
    }
    if cls is MultiTaskStratifiedShuffleSplit:
        settings["test_size"] = draw(st.one_of(st.floats(0.3, 0.7), st.integers(1, 3)))
        settings["n_splits"] = 2
        shuffle = True
    else:
        settings["n_splits"] = draw(st.integers(2, 4))
        settings["shuffle"] = shuffle = draw(st.booleans())
    return cls(**settings, random_state=0 if shuffle else None), y, n


def parts(cv, n, y, groups=None):
    """Return the parts, allowing the warning of rare classes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", RARE, UserWarning)
        found = list(cv.split(np.zeros((n, 1)), y, groups))
        again = list(cv.split(np.zeros((n, 1)), y, groups))
    for one, other in zip(found, again, strict=True):
        for rows, same in zip(one, other, strict=True):
            assert_array_equal(rows, same)
    assert len(found) == cv.get_n_splits()
    for train, test in found:
        assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(n))
    return found


@given(splits(MultiTaskStratifiedKFold))
def test_folds_are_parts_of_equal_size(drawn):
    cv, y, n = drawn
    tests = [test for _, test in parts(cv, n, y)]
    assert_array_equal(np.sort(np.concatenate(tests)), np.arange(n))
    sizes = [len(test) for test in tests]
    assert max(sizes) - min(sizes) <= 1


@given(splits(MultiTaskStratifiedGroupKFold), st.integers(0, 2**32 - 1))
def test_folds_of_groups_are_parts_that_keep_groups_whole(drawn, seed):
    cv, y, n = drawn
    groups = np.random.default_rng(seed).integers(10, size=n)
    groups[: cv.n_splits] = np.arange(cv.n_splits)
    tests = [test for _, test in parts(cv, n, y, groups)]
    assert_array_equal(np.sort(np.concatenate(tests)), np.arange(n))
    of_folds = [set(groups[test]) for test in tests]
    assert sum(map(len, of_folds)) == len(set(groups))


@given(splits(MultiTaskStratifiedShuffleSplit))
def test_random_splits_have_the_sizes_asked_for(drawn):
    cv, y, n = drawn
    asked = cv.test_size if isinstance(cv.test_size, int) else cv.test_size * n
    for _, test in parts(cv, n, y):
        assert len(test) == np.ceil(asked)


@given(kinds.flatmap(labels), st.integers(4, 40))
def test_a_split_in_two_keeps_rows_together(own, n):
    y, missing_label = own.given(n)
    X = np.arange(n)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", RARE, UserWarning)
        train, test, y_train, y_test = multitask_train_test_split(
            X,
            y,
            random_state=0,
            missing_label=missing_label,
            task_types=[task.kind for task in own.tasks],
        )
    assert_array_equal(np.sort(np.concatenate([train, test])), X)
    assert (np.shape(y_train)[0], np.shape(y_test)[0]) == (len(train), len(test))
