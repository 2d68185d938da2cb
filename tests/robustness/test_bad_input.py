"""One fault in what is valid gets its sentence, and changes nothing."""

import copy
import datetime
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.robustness._labels import labels
from tests.robustness._properties import (
    assert_same,
    assert_unfitted,
    ignore_documented_warnings,
    tried,
)
from tests.robustness._settings import KINDS, estimators
from tests.robustness._tables import tables

pytestmark = [
    pytest.mark.one_version,  # which take their time
]

FLOATS = ["float64", "float32", "Fortran", "strided", "DataFrame"]


def _with(X, value):
    """Return a copy with one other value."""
    if hasattr(X, "iloc"):
        X = X.astype(object) if isinstance(value, str | complex) else X.copy()
        X.iloc[-1, 0] = value
        return X
    X = X.astype(object if isinstance(value, str) else np.result_type(X, type(value)))
    X[-1, 0] = value
    return X


#: Faults of X: what is made of it, and what its sentence begins with.
TABLE_FAULTS = {
    "infinity": (lambda X: _with(X, np.inf), "Input X contains infinity"),
    "text": (lambda X: _with(np.asarray(X), "a"), "could not convert string to float"),
    "complex": (lambda X: _with(np.asarray(X), 1j), "Complex data not supported"),
    "one dimension": (lambda X: np.asarray(X)[:, 0], "Expected 2D array, got 1D"),
    "three dimensions": (
        lambda X: np.asarray(X)[:, :, None, None],
        "X has samples of shape",
    ),
    "no row": (lambda X: X[:0], r"Found array with 0 sample\(s\)"),
    "no column": (lambda X: np.asarray(X)[:, :0], r"Found array with 0 feature\(s\)"),
    "a scalar": (lambda X: 3.0, "Expected 2D array, got scalar array instead"),
    "nothing": (lambda X: None, "Expected 2D array, got scalar array instead"),
    "ragged rows": (
        lambda X: [[1.0, 2.0], [3.0]],
        "X must have the same number of features in every row",
    ),
    "dates": (
        lambda X: pd.DataFrame({"when": [datetime.datetime(2026, 1, 1)] * len(X)}),
        "Column 'when' of X holds values of type .*, which are neither numbers nor",
    ),
    "mixed column": (
        lambda X: pd.DataFrame({"mixed": [*["a"] * (len(X) - 1), 1.5]}),
        "Column 'mixed' of X holds values of type .*, which are neither numbers nor",
    ),
}
#: Those that a fitted estimator says, beside the first few.
LATER_FAULTS = {
    **TABLE_FAULTS,
    "one more column": (
        lambda X: np.column_stack([X, X[:, 0]]),
        r"X has \d+ features, but \w+ is expecting \d+ features as input",
    ),
    "categories": (
        lambda X: pd.DataFrame(
            {0: ["a"] * len(X)} | {i: X[:, i] for i in range(1, X.shape[1])}
        ),
        "Column 0 of X holds categories, but held numbers when the model was fitted",
    ),
}
LABEL_FAULTS = {
    "nothing": (lambda y: None, "This .* estimator requires y to be passed"),
    "a word": (lambda y: "word", "y must be a table with one label per row and task"),
    "no column": (lambda y: np.zeros((len(y), 0)), "y has no column"),
    "no row": (lambda y: y[:0], "y has no row|Found input variables with inconsistent"),
    "a row more": (
        lambda y: np.concatenate([y, y[:1]]),
        "Found input variables with inconsistent numbers of samples",
    ),
    "infinity": (
        lambda y: _labelled(y, -np.inf),
        "Input y contains infinity in task|.* cannot be ordered",
    ),
    "three dimensions": (lambda y: y[:, :, None], "y must have shape"),
    "all missing": (
        lambda y: _labelled(y, None, slice(None)),
        "Task .* has no labelle",
    ),
    "dates and words": (
        lambda y: _labelled(y, np.datetime64("2026-01-01"), slice(0, 1), "word"),
        "The labels of task 'task0' cannot be ordered|Task 'task0' is a regression ta",
    ),
    "a list": (
        lambda y: _labelled(y, [1]),
        "y must have the same number of labels in every row|.* cannot be ordered|Task",
    ),
    "names twice": (
        lambda y: pd.DataFrame(np.column_stack([y[:, 0]] * 2), columns=["a", "a"]),
        r"Task names must be unique. Got \['a'\] more than once",
    ),
}
WEIGHT_FAULTS = {
    "negative": (lambda w: w - 2, "sample_weight must be finite and not negative"),
    "missing": (lambda w: w * np.nan, "sample_weight must be finite and not negative"),
    "infinite": (lambda w: w / 0.0, "sample_weight must be finite and not negative"),
    "zero": (lambda w: 0 * w, "sample_weight is zero for every row"),
    "a row more": (lambda w: np.append(w, 1), "sample_weight must have shape"),
    "a scalar": (lambda w: 1.0, "sample_weight must have shape"),
    "words": (lambda w: ["a"] * len(w), "sample_weight must hold numbers"),
    "ragged": (lambda w: [[1.0], [1.0, 2.0]], "sample_weight must hold numbers"),
}


def _labelled(y, value, rows=-1, rest=None):
    y = y.astype(object)
    if rest is not None:
        y[:, 0] = rest
    column = np.empty(len(y[rows, 0:1].ravel()), dtype=object)
    column[:] = [value] * len(column)
    y[rows, 0] = column if isinstance(rows, slice) else value
    return y


def faults(kind):
    return st.sampled_from(sorted(kind)).map(lambda name: (name, *kind[name]))


def refused(est, message, call, *args):
    """Assert that a call raises an error that begins so; of what is given, or a few."""
    with (
        np.errstate(all="ignore"),
        ignore_documented_warnings(),
        pytest.raises((ValueError, TypeError)) as caught,
    ):
        call(*args)
    assert re.match(message, str(caught.value)), caught.value


@given(st.data())
def test_a_fault_in_what_fit_is_given(data):
    est = data.draw(estimators(names=["n_estimators", "sharing"], most=2))
    table = data.draw(tables(forms=FLOATS, numbers=["normal", "few values"]))
    own = data.draw(labels(KINDS[type(est)], forms=["objects"], gaps=[0]))
    n = data.draw(st.integers(2, 10))
    X, (y, _) = table.given(n), own.given(n)
    given_weight = np.ones(n)
    where = data.draw(st.sampled_from(["X", "y", "sample_weight"]))
    kinds = {"X": TABLE_FAULTS, "y": LABEL_FAULTS, "sample_weight": WEIGHT_FAULTS}
    _, fault, message = data.draw(faults(kinds[where]))
    fitted = copy.deepcopy(est)
    is_fitted = tried(fitted.fit, X, y) is fitted
    good = {"X": X, "y": y, "sample_weight": given_weight}
    with np.errstate(all="ignore"):
        bad = {**good, where: fault(good[where])}
    refused(est, message, est.fit, *bad.values())
    assert_unfitted(est, X)
    if is_fitted:
        twin = copy.deepcopy(fitted)
        refused(twin, message, twin.fit, *bad.values())
        assert_same(fitted, twin, X)


@given(st.data())
def test_a_fault_in_what_predict_is_given(data):
    est = data.draw(estimators(names=["n_estimators", "sharing"], most=2))
    table = data.draw(tables(forms=["float64"], numbers=["normal", "few values"]))
    own = data.draw(labels(KINDS[type(est)], forms=["objects"], gaps=[0]))
    X, (y, _) = table.given(6), own.given(6)
    if tried(est.fit, X, y) is not est:
        return
    before = copy.deepcopy(est)
    _, fault, message = data.draw(faults(LATER_FAULTS))
    names = ["predict", "predict_frame"]
    names += ["predict_proba"] * hasattr(est, "predict_proba")
    method = data.draw(st.sampled_from(names))
    refused(est, message, getattr(est, method), fault(X))
    assert_same(before, est, X)
