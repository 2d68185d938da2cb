"""Which tasks are classification where the user does not say."""

import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl._data.labels import guess_task_type, read_labels
from skmtl.encoder import MLP
from skmtl.inspection import label_dependence
from skmtl.model_selection import MultiTaskStratifiedKFold

RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 3))
ROUNDED = np.round(1000 + 300 * X[:, 0])
AGES = np.clip(np.round(40 + 15 * X[:, 1]), 0, 90).astype(int)
SETTINGS = {"encoder": MLP((8,)), "max_iter": 1, "n_estimators": 1, "random_state": 0}

CLASSES, QUANTITIES = "classification", "regression"
#: Labels, their kind, and whether it is plain.
CASES = {
    "prices": (ROUNDED, QUANTITIES, True),
    "prices as integers": (ROUNDED.astype(int), QUANTITIES, True),
    "prices as objects": (ROUNDED.astype(int).astype(object), QUANTITIES, True),
    "prices with gaps": (np.where(X[:, 1] > 0, ROUNDED, np.nan), QUANTITIES, True),
    "nullable prices": (pd.Series(ROUNDED, dtype="Int64"), QUANTITIES, True),
    "ages": (AGES, QUANTITIES, True),
    "many ages": (np.repeat(np.arange(18, 90), 20), QUANTITIES, False),
    "counts": (RNG.poisson(9, 600), QUANTITIES, None),
    "fractions": (X[:, 0], QUANTITIES, True),
    "one fraction": ([0, 1, 0.5] * 9, QUANTITIES, True),
    "digits": (np.arange(600) % 10, CLASSES, True),
    "digits as floats": (np.arange(600) % 10.0, CLASSES, True),
    "twenty groups": (np.arange(600) % 20 + 1, CLASSES, True),
    "letters": (np.arange(600) % 26, QUANTITIES, False),
    "grades with a gap": (np.r_[np.arange(11), 15, 16, 17], QUANTITIES, False),
    "ratings": (np.array([1, 3, 5] * 9), CLASSES, True),
    "pulses": (np.array([31, 33, 35, 36, 37, 31, 38]), CLASSES, False),
    "a rare class": ([0] * 17 + [1, 2, 2], CLASSES, True),
    "two values": ([-7, 2**40], CLASSES, True),
    "far apart": (np.array([2**62, -(2**62), 5] * 3), CLASSES, True),
    "truth": (X[:, 0] > 0, CLASSES, True),
    "words": ([f"user {i}" for i in range(600)], CLASSES, True),
    "category": (pd.Series(np.arange(600) % 50).astype("category"), CLASSES, True),
    "categorical": (pd.Categorical(np.arange(600) % 50), CLASSES, True),
    "polars enum": (
        pl.Series(["a", "b"] * 9, dtype=pl.Enum(["a", "b"])),
        CLASSES,
        True,
    ),
    "one value": (np.full(9, 3), CLASSES, True),
}


@pytest.mark.parametrize("case", CASES)
def test_kinds_that_labels_show(case):
    y, kind, clear = CASES[case]
    found = guess_task_type(read_labels(y).columns[0])
    assert found == (kind, found[1] if clear is None else clear)


def test_whole_numbers_are_regression():
    est = MultiTaskEstimator(**SETTINGS | {"max_iter": 30, "learning_rate_init": 0.05})
    Y = pd.DataFrame({"price": ROUNDED, "age": AGES, "high": ROUNDED > 1000})
    est.fit(X, Y)
    assert est.task_types_ == [QUANTITIES, QUANTITIES, CLASSES]
    assert est.score(X, Y) > 0.8


def test_one_warning_names_the_tasks_whose_kind_is_not_plain():
    letters = np.arange(600) % 26
    Y = pd.DataFrame({"letter": letters, "price": ROUNDED, "other": letters + 1})
    est = MultiTaskEstimator(**SETTINGS)
    with pytest.warns(UserWarning, match="task_types") as caught:
        est.fit(X, Y)
    (warning,) = caught
    assert str(warning.message) == (
        "The whole numbers of some tasks may be classes or quantities, and are taken "
        "so: 'letter' as regression, 'other' as regression. Set task_types, such as "
        "task_types={'letter': 'regression'}, to choose."
    )
    assert warning.filename == __file__
    with pytest.warns(UserWarning, match="taken so: 'other' as regression. Set"):
        est.set_params(task_types={"letter": CLASSES}).fit(X, Y)
    est.set_params(task_types=[CLASSES, QUANTITIES, QUANTITIES]).fit(X, Y)
    assert est.task_types_ == [CLASSES, QUANTITIES, QUANTITIES]


def test_declared_classes_tell_the_kind():
    Y = np.column_stack([np.arange(600) % 26, ROUNDED])
    est = MultiTaskEstimator(**SETTINGS)
    est.partial_fit(X[:30], Y[:30], classes=[range(26), None])
    assert est.task_types_ == [CLASSES, QUANTITIES]
    est.partial_fit(X, Y)
    assert len(est.classes_[0]) == 26


def test_tools_guess_alike():
    Y = pd.DataFrame({"letter": np.arange(600) % 26, "price": ROUNDED})
    with pytest.warns(UserWarning, match="'letter' as regression. Set task_types"):
        list(MultiTaskStratifiedKFold(3).split(X, Y))
    kinds = {"letter": CLASSES}
    list(MultiTaskStratifiedKFold(3, task_types=kinds).split(X, Y))
    with pytest.warns(UserWarning, match="'letter' as regression. Set task_types"):
        label_dependence(Y, n_permutations=0)
    label_dependence(Y, task_types=kinds, n_permutations=0)


@pytest.mark.parametrize("cls", [MultiTaskClassifier, MultiTaskEstimator])
def test_more_classes_than_half_the_labels(cls):
    names = np.array([f"user {i}" for i in range(40)], dtype=object)
    labels = np.r_[names[:21], names[:19]]
    Y = pd.DataFrame({"high": X[:40, 0] > 0, "user": labels})
    message = (
        "The number of unique classes is greater than 50% of the number of samples. "
        "Task 'user' has 21 classes in 40 labelled rows, and could be a regression "
        "problem: use MultiTaskRegressor, or MultiTaskEstimator for tasks of both "
        "kinds."
    )
    with pytest.warns(UserWarning, match=re.escape(message)) as caught:
        cls(**SETTINGS).fit(X[:40], Y)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cls(**SETTINGS).fit(X[:20], Y[:20])  # too few rows to tell
        cls(**SETTINGS).fit(X[:40], Y.assign(user=names[np.arange(40) % 20]))
        if cls is MultiTaskEstimator:
            cls(**SETTINGS, task_types={"user": CLASSES}).fit(X[:40], Y)


def test_labelled_rows_are_counted():
    y = np.where(np.arange(600) % 10 == 0, ROUNDED, np.nan)
    with pytest.warns(UserWarning, match=r"has \d+ classes in 60 labelled rows"):
        MultiTaskClassifier(**SETTINGS).fit(X, np.column_stack([y, X[:, 0] > 0]))


def test_regression_is_never_warned_of():
    MultiTaskRegressor(**SETTINGS).fit(X, np.column_stack([ROUNDED, AGES]))
