"""Missing labels count for nothing."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import KFold, cross_validate, train_test_split

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.encoder import MLP

X, SPECIES = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
Y = np.column_stack([SPECIES, X[:, 0] > 0])
ABSENT = np.random.RandomState(0).rand(*Y.shape) < 0.3
ABSENT[:5] = True  # rows without any label
SETTINGS = {
    "encoder": MLP((16,), dropout=0, numeric_embedding=None),
    "n_estimators": 1,
    "max_iter": 20,
    "learning_rate_init": 0.02,
    "random_state": 0,
}


def classifier(**kwargs):
    return MultiTaskClassifier(**SETTINGS | kwargs)


def floats(marker=np.nan):
    return np.where(ABSENT, marker, Y.astype(float))


def objects(marker):
    y = Y.astype(object)
    y[ABSENT] = marker
    return y


REFERENCE = classifier().fit(X, floats())

MARKED = {
    "NaN": (floats, np.nan),
    "float32 NaN": (lambda: floats().astype(np.float32), np.nan),
    "None": (lambda: objects(None), np.nan),
    "NaN among objects": (lambda: objects(np.nan), np.nan),
    "NA": (lambda: objects(pd.NA), np.nan),
    "NaT": (lambda: objects(pd.NaT), np.nan),
    "list with None": (lambda: objects(None).tolist(), np.nan),
    "masked ints": (lambda: np.ma.array(Y, mask=ABSENT), np.nan),
    "masked floats": (lambda: np.ma.array(Y * 1.0, mask=ABSENT), np.nan),
    "masked NaN": (lambda: np.ma.masked_invalid(floats()), np.nan),
    "Int64": (lambda: pd.DataFrame(floats()).astype("Int64"), np.nan),
    "Float64": (lambda: pd.DataFrame(floats()).astype("Float64"), np.nan),
    "category": (lambda: pd.DataFrame(floats()).astype("category"), np.nan),
    "frame of NaN": (lambda: pd.DataFrame(floats()), np.nan),
    "frame of None": (lambda: pd.DataFrame(objects(None)), np.nan),
    "polars": (lambda: pl.DataFrame(objects(None).tolist(), orient="row"), np.nan),
    "-1": (lambda: np.where(ABSENT, -1, Y), -1),
    "-1 in floats": (lambda: floats(-1), -1),
    "255 in uint8": (lambda: np.where(ABSENT, 255, Y).astype(np.uint8), 255),
    "? among objects": (lambda: objects("?"), "?"),
    "None by name": (lambda: objects(None), None),
    "NA by name": (lambda: objects(pd.NA), pd.NA),
    "-1 beside the others": (
        lambda: np.where(ABSENT & (X[:, :2] > 0), objects(-1), objects(None)),
        -1,
    ),
}


@pytest.mark.parametrize("marker", MARKED)
def test_every_marker_means_the_same(marker):
    make, missing_label = MARKED[marker]
    est = classifier(missing_label=missing_label).fit(X, make())
    for P, Q in zip(est.predict_proba(X), REFERENCE.predict_proba(X), strict=True):
        assert_array_equal(P, Q)
    assert [c.tolist() for c in est.classes_] == [[0, 1, 2], [0, 1]]
    assert est.score(X, make()) == REFERENCE.score(X, floats())


@pytest.mark.parametrize(
    ("marker", "missing_label"), [("?", "?"), ("", ""), (None, np.nan), (np.nan, None)]
)
@pytest.mark.parametrize("container", ["array", "frame", "list"])
def test_strings_may_be_missing(marker, missing_label, container):
    names = np.array(["a", "bb", "ccc"], dtype=object)
    y = names[Y]
    y[ABSENT] = marker
    if container == "array" and isinstance(marker, str):
        y = y.astype(str)
    elif container != "array":
        y = pd.DataFrame(y) if container == "frame" else y.tolist()
    est = classifier(missing_label=missing_label).fit(X, y)
    for P, Q in zip(est.predict_proba(X), REFERENCE.predict_proba(X), strict=True):
        assert_array_equal(P, Q)
    assert_array_equal(est.predict(X), names[REFERENCE.predict(X).astype(int)])
    assert est.score(X, y) == REFERENCE.score(X, floats())


@pytest.mark.parametrize("dtype", ["boolean", object])
def test_bools_may_be_missing(dtype):
    y = np.where(ABSENT, None, Y.astype(bool))
    est = classifier().fit(X, pd.DataFrame(y).astype(dtype))
    assert est.predict(X).dtype == bool
    assert [c.dtype for c in est.classes_] == [bool, bool]


def test_one_column_may_have_missing_labels():
    y = np.where(ABSENT[:, 0], np.nan, SPECIES)
    est = classifier().fit(X, y)
    kept = ~ABSENT[:, 0]
    other = classifier().fit(X[kept], y[kept])
    assert_array_equal(est.predict_proba(X), other.predict_proba(X))
    assert est.score(X, y) == accuracy_score(SPECIES[kept], est.predict(X[kept]))


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("batch_size", [32, "auto"])
def test_rows_without_any_label_are_skipped(early_stopping, batch_size):
    settings = {
        "early_stopping": early_stopping,
        "batch_size": batch_size,
        "n_estimators": 1,
    }
    unlabelled = ABSENT.all(axis=1)
    assert unlabelled.sum() > 10
    est = classifier(**settings).fit(X, floats())
    other = classifier(**settings).fit(X[~unlabelled], floats()[~unlabelled])
    for P, Q in zip(est.predict_proba(X), other.predict_proba(X), strict=True):
        assert_allclose(P, Q, atol=1e-10)
    assert_allclose(est.loss_curve_, other.loss_curve_)


def test_a_task_learns_from_its_own_labels_only():
    """Tasks that share nothing learn what each learns alone on its labelled rows."""
    settings = {
        "sharing": "independent",
        "alpha": 0.0,
        "optimizer": "sgd",
        "n_estimators": 1,
    }
    y = floats()
    est = classifier(**settings).fit(X, y)
    swapped = y.copy()
    swapped[:, 1] = np.where(ABSENT[:, 1], np.nan, 1 - y[:, 1])
    other = classifier(**settings).fit(X, swapped)
    assert_allclose(est.predict_proba(X)[0], other.predict_proba(X)[0], atol=1e-10)


def test_the_first_loss_is_that_of_the_labels_present():
    """A model begins at the frequencies of the classes among present labels."""
    y = floats()
    est = classifier(max_iter=1, early_stopping=False).fit(X, y)
    for t in range(2):
        present = y[~ABSENT[:, t], t].astype(int)
        frequency = np.bincount(present) / len(present)
        entropy = -(frequency * np.log(frequency)).sum()
        assert est.history_[0]["train_losses"][t] == pytest.approx(entropy)


def test_regression_scales_come_from_the_labels_present():
    y = np.where(ABSENT, np.nan, X[:, 2:] * 1e3 + 5)
    settings = {"encoder": MLP((16,)), "random_state": 0, "n_estimators": 1}
    est = MultiTaskRegressor(max_iter=1, **settings).fit(X[:, :2], y)
    assert_allclose(est._targets.mean, np.nanmean(y, axis=0))
    assert_allclose(est._targets.scale, np.nanstd(y, axis=0))
    assert_allclose(est.history_[0]["train_losses"], 1)
    est = MultiTaskRegressor(max_iter=60, learning_rate_init=0.02, **settings)
    prediction = est.fit(X[:, :2], y).predict(X[:, :2])
    assert not np.isnan(prediction).any()
    scores = [
        r2_score(y[~ABSENT[:, t], t], prediction[~ABSENT[:, t], t]) for t in range(2)
    ]
    assert est.score(X[:, :2], y) == pytest.approx(np.mean(scores))
    assert min(scores) > 0.7


def test_score_is_the_mean_over_tasks_of_labels_present():
    y = floats()
    prediction = REFERENCE.predict(X)
    accuracies = [
        (prediction[~ABSENT[:, t], t] == y[~ABSENT[:, t], t]).mean() for t in range(2)
    ]
    assert REFERENCE.score(X, y) == pytest.approx(np.mean(accuracies))
    y[:, 0] = np.nan
    assert REFERENCE.score(X, y) == pytest.approx(accuracies[1])


@pytest.mark.parametrize("y", [np.full(Y.shape, np.nan), np.ma.masked_all(Y.shape)])
def test_score_without_any_label_is_an_error(y):
    with pytest.raises(ValueError, match="y has too few labels to score"):
        REFERENCE.score(X, y)


@pytest.mark.parametrize("marker", [None, np.nan, pd.NA, -1])
def test_a_task_without_labels_is_an_error_that_names_it(marker):
    y = pd.DataFrame({"here": SPECIES, "gone": [marker] * 150})
    for est in (
        classifier(missing_label=-1),
        MultiTaskEstimator(missing_label=-1, n_estimators=1),
    ):
        with pytest.raises(ValueError, match="Task 'gone' has no labelled row"):
            est.fit(X, y)
    y = y.astype({"here": float})
    with pytest.raises(ValueError, match="Task 'gone' has no labelled row"):
        MultiTaskRegressor(missing_label=-1, n_estimators=1).fit(X, y)


def test_a_class_that_is_seen_only_as_missing_is_no_class():
    y = np.ma.array(Y, mask=np.zeros_like(Y, dtype=bool))
    y.mask[SPECIES == 2, 0] = True
    est = classifier().fit(X, y)
    assert_array_equal(est.classes_[0], [0, 1])
    est = classifier(missing_label=2).fit(X, Y)
    assert_array_equal(est.classes_[0], [0, 1])


def test_a_task_with_one_class_left_is_certain_of_it():
    y = floats()
    y[SPECIES > 0, 0] = np.nan
    est = classifier().fit(X, y)
    assert_array_equal(est.predict_proba(X)[0], np.ones((150, 1)))
    assert accuracy_score(Y[:, 1], est.predict(X)[:, 1]) > 0.9


def test_batches_without_a_label_of_some_task_are_no_trouble():
    y = Y.astype(float)
    y[np.arange(150) % 50 > 1, 0] = np.nan
    for sharing in ("hard", "independent", "additive"):
        est = classifier(batch_size=8, sharing=sharing).fit(X, y)
        assert np.isfinite(est.loss_curve_).all()
        assert accuracy_score(Y[:, 1], est.predict(X)[:, 1]) > 0.9
        assert np.isfinite(est.predict_proba(X)[0]).all()


def test_tasks_may_have_no_row_in_common():
    y = Y.astype(float)
    y[::2, 0] = np.nan
    y[1::2, 1] = np.nan
    est = classifier(max_iter=40).fit(X, y)
    assert (est.predict(X) == Y).mean() > 0.85


def test_validation_scores_count_labels_present_only():
    y_val = floats()
    est = classifier(max_iter=3).fit(X, Y, X_val=X, y_val=y_val)
    best = int(np.argmax(est.validation_scores_))
    losses = est.history_[best]["valid_losses"]
    for t, P in enumerate(est.predict_proba(X)):
        rows = np.flatnonzero(~ABSENT[:, t])
        expected = -np.log(P[rows, Y[rows, t]]).mean()
        assert losses[t] == pytest.approx(expected)
    assert est.best_validation_score_ == pytest.approx(-np.mean(losses))


def test_a_task_without_validation_labels_has_no_say_in_stopping():
    y_val = floats()
    y_val[:, 0] = np.nan
    est = classifier(max_iter=3).fit(X, Y, X_val=X, y_val=y_val)
    for epoch in est.history_:
        assert np.isnan(epoch["valid_losses"][0])
        assert epoch["valid_loss"] == epoch["valid_losses"][1]


@pytest.mark.parametrize(
    "make",
    [floats, lambda: objects(None), lambda: pd.DataFrame(floats()).astype("Int64")],
)
def test_cross_validation_with_a_splitter_takes_missing_labels(make):
    cv = KFold(3, shuffle=True, random_state=0)
    scores = cross_validate(classifier(), X, make(), cv=cv, error_score="raise")
    assert (scores["test_score"] > 0.8).all()


def test_cross_validation_takes_an_integer_missing_label():
    y = np.where(ABSENT, -1, Y)
    cv = KFold(3, shuffle=True, random_state=0)
    scores = cross_validate(
        classifier(missing_label=-1), X, y, cv=cv, error_score="raise"
    )
    floating = cross_validate(classifier(), X, floats(), cv=cv, error_score="raise")
    assert_array_equal(scores["test_score"], floating["test_score"])


def test_train_test_split_keeps_masks():
    y = np.ma.array(Y, mask=ABSENT)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    assert classifier().fit(X_train, y_train).score(X_test, y_test) > 0.8
