"""What holds whatever an estimator is given."""

import pickle
import re
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError

import skmtl
from skmtl.exceptions import GateCollapseWarning

#: Errors of inputs that are like those of fit, but for gaps.
TABLE_ERRORS = [
    r"Input X contains NaN\..*",
    r"Column 'x0' of X holds categories, but held numbers when the model was fitted.*",
]
#: Errors of settings and data that are each valid, and together are not.
ERRORS = [
    r"Task '.*' has no labelled row: give it at least one label .*",
    r"y has too few labels to score: give one of a task of classes, or two .*",
    r"X has nothing to learn from: its columns hold categories, none of which .*",
    r"sample_weight is zero for every row: give at least one row a positive weight\.",
    r"early_stopping=True needs at least 2 labelled rows to hold one out\. .*",
    r"The 'threshold' parameter needs out-of-fold predictions: fit with n_estimat.*",
    r"The '.*' parameter is for rows that are held out, but early_stopping=False: .*",
    r"The 'validation_metric' parameter cannot score .* rows that are held out, .*",
    r"The metric '.*' is for two classes, but task '.*' has .*",
    r"The 'n_clusters' parameter of Clustered must be .*",
    r"norm='batch' needs at least 2 rows in every batch\. Got 1: give more rows, .*",
    r"The 'rank' parameter of Adapter must be .*",
    r"Feature maps of .* x .*, which stage 1 of CNN gets.*",
    r"The loss of task '.*' was not finite in .*",
    r"Task '.*' has the label .*, which is none of its classes .*",
    r"class_weight='balanced' needs all rows at once, which partial_fit has not: .*",
    r"y has no label that counts: every entry is missing\.",
    r"y_val has no label that counts: every entry of the tasks that train is .*",
    r"sample_weight_val is zero for every row: give at least one row a positive .*",
    r"X_val and y_val are for early stopping, but early_stopping=False: set it .*",
    r"The 'task_weight' parameter must be finite, not negative and positive for .*",
    r"The 'task_weight' parameter leaves no task to train: give a positive .*",
    r"The 'class_weight' parameter times sample_weight must be finite\. Got .*",
    r"The 'weighting' parameter times sample_weight must be finite\. Got .*",
    r"The 'validation_average' parameter is task '.*', which does not train: .*",
    r"Task '.*' has the label .*, too far from those of training with mean .*",
    r"The 'class_weight' parameter gives no label of task .* a positive weight: .*",
    *TABLE_ERRORS,
]
WARNINGS = [
    r"The whole numbers of some tasks may be classes or quantities, and are taken so: ",
    r"The number of unique classes is greater than 50% of the number of samples\. ",
    r"Column .* of X is (not|hardly) used: .* of its rows have categories of fewer ",
    r"(sharing='grouped'|weighting='static'|weighting='primary_task') ",
    r".* balances gradients of several tasks in the parameters that they share, but ",
    r".* found no weights in .* steps of an epoch, which used equal ones: history_ ",
    r"n_estimators=.* is more than the .* labelled rows: members share folds of one",
    r"Task '.*' has .* labelled rows, fewer than the .* folds: members without one of",
    r"The 'adjacency' parameter of TaskGraph is 'correlation', but no row has the ",
    r"The 'adjacency' parameter of LabelGraph is 'correlation', but no row has the ",
]


@contextmanager
def ignore_documented_warnings():
    """Ignore the warnings that are documented, and raise others as errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", GateCollapseWarning)
        for message in WARNINGS:
            warnings.filterwarnings("ignore", message, UserWarning)
        yield


def tried(call, *args, **kwargs):
    """Return what a call returns, or the error that is documented for it."""
    with ignore_documented_warnings():
        try:
            return call(*args, **kwargs)
        except (ValueError, TypeError) as error:
            if not one_of(ERRORS, str(error)):
                raise
            return error


def one_of(patterns, message):
    return any(re.fullmatch(pattern, message, re.DOTALL) for pattern in patterns)


def fitted_attributes(est):
    """Return the names of what a fit has left."""
    return {name for name in vars(est) if name.endswith("_")}


def assert_unfitted(est, X):
    """Assert that an estimator is as if it had never been fitted."""
    assert fitted_attributes(est) == set()
    with pytest.raises(NotFittedError):
        est.predict(X)


def classes_of(est):
    """Return the classes of each task, None for a task of numbers."""
    classes = getattr(est, "classes_", [None] * est.n_tasks_)
    return [classes] if isinstance(classes, np.ndarray) else list(classes)


def probabilities_of(est, X):
    """Return the probabilities of each task, None for a task of numbers."""
    if not hasattr(est, "predict_proba"):
        return [None] * est.n_tasks_
    proba = tried(est.predict_proba, X)
    return [proba] if est.n_tasks_ == 1 else proba


def check_predictions(est, X, n, columns=None):
    """Shapes, types and values of all that is predicted for n rows."""
    predicted, n_tasks = tried(est.predict, X), est.n_tasks_
    if isinstance(predicted, ValueError):  # tables of one kind do not all have gaps
        assert one_of(TABLE_ERRORS, str(predicted)), repr(predicted)
        return
    assert predicted.shape == ((n,) if n_tasks == 1 else (n, n_tasks))
    table = predicted.reshape(n, n_tasks)
    proba = probabilities_of(est, X)
    assert len(proba) == len(classes_of(est)) == n_tasks
    for t, (classes, p) in enumerate(zip(classes_of(est), proba, strict=True)):
        own = table[:, t].tolist()
        if classes is None:
            assert p is None
            assert np.isfinite(table[:, t].astype(float)).all()
            continue
        assert set(own) <= set(classes.tolist())
        if table.dtype == object:  # else tasks share a type
            assert {type(label) for label in own} <= set(map(type, classes.tolist()))
        if columns is not None:
            known = sorted({v for v in columns[t] if v is not None})
            assert classes.tolist() == known
        assert p.shape == (n, len(classes))
        assert np.isfinite(p).all()
        assert (p >= 0).all()
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    frame = tried(est.predict_frame, X)
    assert frame.shape == (n, n_tasks)
    assert list(frame.columns) == est.task_names_


def check_score(est, X, y, sample_weight=None):
    """The score is a number, where there are labels enough for one."""
    score = tried(est.score, X, y, sample_weight)
    assert isinstance(score, ValueError) or np.isfinite(score)


def assert_same(est, twin, X):
    """Assert that two estimators predict the same, bit for bit."""
    assert_array_equal(est.predict(X), twin.predict(X))
    assert est.predict(X).dtype == twin.predict(X).dtype
    pairs = zip(probabilities_of(est, X), probabilities_of(twin, X), strict=True)
    for own, other in pairs:
        assert_array_equal(own, other)


def check_files(est, X):
    """What was fitted is the same after pickle, and after a file of skmtl."""
    assert_same(est, pickle.loads(pickle.dumps(est)), X)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        skmtl.save(est, path)
        assert_same(est, skmtl.load(path), X)
