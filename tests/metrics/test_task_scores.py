"""Scores of several tasks are scikit-learn's, task by task over the labels there."""

import re
from inspect import signature

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import metrics as sk
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import get_scorer, get_scorer_names, make_scorer

from skmtl.metrics import task_scores

N = 200
CLASSES = [2, 3, 4]
RNG = np.random.default_rng(0)
PROBA = [RNG.dirichlet(np.ones(k), N) for k in CLASSES]
Y = np.column_stack([RNG.integers(0, k, N) for k in CLASSES])
LABELS = np.column_stack([p.argmax(axis=1) for p in PROBA])
BINARY = RNG.integers(0, 2, (N, 3))
POSITIVE = np.column_stack([RNG.random(N) for _ in range(3)])
VALUES = RNG.gamma(2.0, size=(N, 3))
PREDICTED = VALUES * RNG.gamma(3.0, size=(N, 3))
WEIGHT = RNG.random(N)
MISSING = RNG.random((N, 3)) < 0.3

NOT_LIFTED = {
    name
    for name in get_scorer_names()
    if name.endswith("_samples")
    or get_scorer(name)._score_func.__module__.startswith("sklearn.metrics.cluster")
}
REGRESSION = {
    name
    for name in get_scorer_names()
    if get_scorer(name)._score_func.__module__ == "sklearn.metrics._regression"
}
TWO_CLASSES = {
    "f1",
    "jaccard",
    "neg_negative_likelihood_ratio",
    "positive_likelihood_ratio",
    "precision",
    "recall",
    "roc_auc",
}
if "labels" not in signature(sk.brier_score_loss).parameters:  # before 1.7
    TWO_CLASSES.add("neg_brier_score")


class Values(RegressorMixin, BaseEstimator):
    """A regressor whose predictions are known."""

    def __init__(self, known):
        self.known = known
        self.fitted_ = True

    def predict(self, X):
        return self.known


class Probabilities(ClassifierMixin, BaseEstimator):
    """A classifier whose predictions are known."""

    def __init__(self, known):
        self.known = known
        self.classes_ = np.arange(known.shape[1])

    def predict(self, X):
        return self.known.argmax(axis=1)

    def predict_proba(self, X):
        return self.known


def says(start):
    return pytest.raises(ValueError, match=re.escape(start))


def lifted(name):
    """Return labels that a metric is for, predictions and what estimator has them."""
    if name in REGRESSION:
        return VALUES, list(PREDICTED.T), Values
    if name in TWO_CLASSES:
        return BINARY, [np.column_stack([1 - p, p]) for p in POSITIVE.T], Probabilities
    return Y, PROBA, Probabilities


@pytest.mark.filterwarnings("ignore:'k' .2. greater than or equal to 'n_classes'")
@pytest.mark.parametrize("name", sorted(set(get_scorer_names()) - NOT_LIFTED))
def test_every_score_is_that_of_the_scorer(name):
    true, predicted, estimator = lifted(name)
    scorer, none = get_scorer(name), np.zeros((N, 1))
    for missing in (np.zeros_like(MISSING), MISSING):
        expected = [
            scorer(estimator(p[~m]), none[~m], y[~m])
            for y, p, m in zip(true.T, predicted, missing.T, strict=True)
        ]
        found = task_scores(np.where(missing, np.nan, true), predicted, name)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", sorted(NOT_LIFTED))
def test_what_is_no_score_of_a_task_is_refused(name):
    with says(
        "The 'metric' parameter must be a function, a scorer, a dict or the name"
    ):
        task_scores(Y, LABELS, name)


def test_weights_are_those_of_scikit_learn():
    expected = [
        sk.f1_score(y, p, average="macro", sample_weight=WEIGHT)
        for y, p in zip(Y.T, LABELS.T, strict=True)
    ]
    found = task_scores(Y, LABELS, "f1_macro", sample_weight=WEIGHT)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc_ovr", "neg_log_loss"])
def test_a_weight_of_zero_is_a_missing_label(metric):
    table = np.where(MISSING, np.nan, Y)
    weight = np.where(MISSING, 0, WEIGHT[:, None])
    found = task_scores(Y, PROBA, metric, sample_weight=weight)
    expected = task_scores(table, PROBA, metric, sample_weight=WEIGHT)
    np.testing.assert_allclose(found, expected)


def test_integer_weights_are_repeated_rows():
    times = np.random.default_rng(1).integers(0, 4, N)
    weighted = task_scores(Y, PROBA, "roc_auc_ovr_weighted", sample_weight=times)
    repeated = [np.repeat(p, times, axis=0) for p in PROBA]
    found = task_scores(np.repeat(Y, times, axis=0), repeated, "roc_auc_ovr_weighted")
    np.testing.assert_allclose(weighted, found)


# ------------------------------------------------------------------ forms of labels
def words(table):
    return np.array(["a", "b", "c", "d"])[table]


FORMS = {
    "array": lambda Y: Y,
    "float": lambda Y: Y.astype(float),
    "list": lambda Y: Y.tolist(),
    "words": words,
    "objects": lambda Y: words(Y).astype(object),
    "frame": lambda Y: pd.DataFrame(Y, columns=["x", "y", "z"]),
    "categories": lambda Y: pd.DataFrame(words(Y), dtype="category"),
    "nullable": lambda Y: pd.DataFrame(Y).astype("Int64"),
    "polars": lambda Y: pl.DataFrame(words(Y), schema=["x", "y", "z"], orient="row"),
    "masked": lambda Y: np.ma.masked_array(Y, np.zeros(Y.shape, dtype=bool)),
    "mixed": lambda Y: pd.DataFrame({"x": Y[:, 0], "y": words(Y[:, 1]), "z": Y[:, 2]}),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("metric", ["balanced_accuracy", "matthews_corrcoef"])
@pytest.mark.sampled(2)
def test_labels_in_any_form(form, metric):
    found = task_scores(FORMS[form](Y), FORMS[form](LABELS), metric)
    np.testing.assert_allclose(found, task_scores(Y, LABELS, metric))
    from_proba = task_scores(FORMS[form](Y), PROBA, metric)
    np.testing.assert_allclose(from_proba, found)


def test_predicted_objects_meet_labels_of_their_own_types():
    table = FORMS["mixed"](Y)
    predicted = FORMS["mixed"](LABELS).to_numpy()  # as estimators of mixed labels give
    assert predicted.dtype == object
    np.testing.assert_array_equal(
        task_scores(table, predicted, "f1_macro"), task_scores(Y, LABELS, "f1_macro")
    )


def test_one_task_has_one_column_or_none():
    expected = task_scores(Y, PROBA, "neg_log_loss")[1:2]
    y = Y[:, 1]
    for true in (y, y[:, None], y.tolist(), pd.Series(y, name="b")):
        for proba in (PROBA[1], [PROBA[1]], pd.DataFrame(PROBA[1])):
            np.testing.assert_array_equal(
                task_scores(true, proba, "neg_log_loss"), expected
            )


def test_tasks_meet_by_name():
    table = pd.DataFrame(Y, columns=["x", "y", "z"])
    turned = pd.DataFrame(LABELS, columns=["x", "y", "z"])[["z", "x", "y"]]
    np.testing.assert_array_equal(task_scores(table, turned), task_scores(Y, LABELS))


@pytest.mark.parametrize("missing", [-1, np.nan, None])
def test_missing_labels_have_many_marks(missing):
    table = np.where(MISSING, missing, Y.astype(object))
    expected = [
        sk.accuracy_score(y[~m], p[~m])
        for y, p, m in zip(Y.T, LABELS.T, MISSING.T, strict=True)
    ]
    found = task_scores(table, LABELS, missing_label=missing)
    np.testing.assert_allclose(found, expected)


def test_predictions_may_lack_where_labels_do():
    table, some = np.where(MISSING, np.nan, Y), np.where(MISSING, np.nan, LABELS)
    np.testing.assert_array_equal(task_scores(table, some), task_scores(table, LABELS))
    with says("y_pred lacks predictions for"):
        task_scores(Y, some)


# ------------------------------------------------------------------- probabilities
@pytest.mark.parametrize("metric", ["neg_log_loss", "neg_brier_score", "roc_auc"])
def test_indicators_are_scored_as_lists_are(metric):
    pairs = [np.column_stack([1 - p, p]) for p in POSITIVE.T]
    found = task_scores(BINARY, POSITIVE, metric)
    for given in (pairs, np.array(pairs), list(POSITIVE.T), pd.DataFrame(POSITIVE)):
        np.testing.assert_allclose(task_scores(BINARY, given, metric), found)
    named = np.array(["no", "yes"])[BINARY]
    np.testing.assert_allclose(task_scores(named, POSITIVE, metric), found)


def test_probabilities_of_0_999_everywhere_are_not_perfect():
    proba = np.full((N, 3), 0.999)
    negative = (BINARY == 0).mean(axis=0)
    loss = -(1 - negative) * np.log(0.999) - negative * np.log(0.001)
    np.testing.assert_allclose(task_scores(BINARY, proba, "neg_log_loss"), -loss)
    brier = (1 - negative) * 0.001**2 + negative * 0.999**2
    np.testing.assert_allclose(task_scores(BINARY, proba, "neg_brier_score"), -brier)


def test_a_class_without_labels_is_left_out_of_means_over_classes():
    y, P = np.where(Y[:, 2] == 1, 3, Y[:, 2]), PROBA[2]
    shares = [np.mean(y == k) for k in (0, 2, 3)]
    for function, name in (
        (sk.roc_auc_score, "roc_auc_ovr"),
        (sk.average_precision_score, "average_precision"),
    ):
        each = [function(y == k, P[:, k]) for k in (0, 2, 3)]
        found = task_scores(y, P, name, classes=range(4))
        np.testing.assert_allclose(found, np.mean(each))
        if name == "roc_auc_ovr":
            found = task_scores(y, P, "roc_auc_ovr_weighted", classes=range(4))
            np.testing.assert_allclose(found, np.average(each, weights=shares))
    found = task_scores(y, P, "neg_log_loss", classes=range(4))
    np.testing.assert_allclose(found, -sk.log_loss(y, P, labels=range(4)))
    found = task_scores(y, P, "top_k_accuracy", classes=range(4))
    expected = sk.top_k_accuracy_score(y, P, labels=range(4))
    np.testing.assert_allclose(found, expected)


def test_a_class_that_predictions_do_not_know_has_probability_zero():
    y = Y[:, 2]
    known = PROBA[2][:, :3] / PROBA[2][:, :3].sum(axis=1, keepdims=True)
    wide = np.column_stack([known, np.zeros(N)])
    for metric in ("neg_log_loss", "roc_auc_ovr", "accuracy"):
        np.testing.assert_allclose(
            task_scores(y, known, metric, classes=range(3)),
            task_scores(y, wide, metric),
        )


def test_columns_are_in_the_order_of_the_classes():
    y, order = words(Y[:, 2]), [2, 0, 3, 1]
    turned = PROBA[2][:, order]
    classes = np.array(["a", "b", "c", "d"])[order]
    for metric in ("neg_log_loss", "roc_auc_ovr", "accuracy"):
        np.testing.assert_allclose(
            task_scores(y, turned, metric, classes=classes),
            task_scores(y, PROBA[2], metric),
        )


def test_a_task_of_one_class_that_is_foreseen_is_no_loss():
    ones = np.ones((N, 1))
    for given in ([ones], ones):
        for metric in ("neg_log_loss", "neg_brier_score"):
            found = task_scores(np.zeros(N), given, metric, classes=[0])
            assert found == pytest.approx(0)


# ------------------------------------------------------------- averages, undefined
def test_averages():
    table = np.where(MISSING, np.nan, Y)
    scores, counts = task_scores(table, LABELS), (~MISSING).sum(axis=0)
    averages = {
        "macro": scores.mean(),
        "weighted": np.average(scores, weights=counts),
        "min": scores.min(),
    }
    for average, expected in averages.items():
        found = task_scores(table, LABELS, average=average)
        assert isinstance(found, float)
        assert found == pytest.approx(expected)
    found = task_scores(table, LABELS, average=[0, 1, 3])
    assert found == pytest.approx((scores[1] + 3 * scores[2]) / 4)
    found = task_scores(table, LABELS, average={"task1": 0})
    assert found == pytest.approx((scores[0] + scores[2]) / 2)
    weighted = np.average(
        task_scores(table, LABELS, sample_weight=WEIGHT),
        weights=(~MISSING * WEIGHT[:, None]).sum(axis=0),
    )
    found = task_scores(table, LABELS, average="weighted", sample_weight=WEIGHT)
    assert found == pytest.approx(weighted)


@pytest.mark.parametrize("metric", ["roc_auc", "f1", "balanced_accuracy", "recall"])
def test_labels_of_one_class_leave_a_score_undefined_and_are_warned_of(metric):
    table = BINARY.astype(float)
    table[:, 0], table[:, 2] = 0, np.nan
    word = rf"tasks \['task0', 'task2'\] is NaN.*'{metric}'"
    with pytest.warns(UndefinedMetricWarning, match=word) as caught:
        scores = task_scores(table, POSITIVE > 0.5, metric)
    assert len(caught) == 1
    assert np.isnan(scores).tolist() == [True, False, True]
    for average in ("macro", "min", "weighted"):
        with pytest.warns(UndefinedMetricWarning):
            found = task_scores(table, POSITIVE > 0.5, metric, average=average)
        assert found == scores[1]


def test_means_over_rows_are_defined_by_labels_of_one_class():
    table = np.zeros((N, 3))
    for metric in ("accuracy", "neg_log_loss", "neg_brier_score"):
        given = POSITIVE > 0.5 if metric == "accuracy" else POSITIVE
        assert np.isfinite(task_scores(table, given, metric)).all()


def test_one_value_has_no_r2():
    table = np.full((3, 2), np.nan)
    table[:, 0], table[0, 1] = [1, 2, 4], 5
    with pytest.warns(UndefinedMetricWarning, match=r"\['task1'\]") as caught:
        scores = task_scores(table, table[:, :1] + np.zeros((3, 2)), "r2")
    assert len(caught) == 1
    np.testing.assert_array_equal(scores, [1, np.nan])


def test_no_average_of_nothing():
    with pytest.warns(UndefinedMetricWarning):
        assert np.isnan(task_scores(BINARY * 0, POSITIVE, "roc_auc", average="macro"))


def test_a_warning_of_a_metric_names_the_tasks_once():
    with pytest.warns(
        UndefinedMetricWarning, match=r"\(tasks \['task0', 'task2'\]\)"
    ) as w:
        task_scores(
            BINARY,
            POSITIVE,
            {"task0": "top_k_accuracy", 1: "roc_auc", 2: "top_k_accuracy"},
        )
    assert len(w) == 1


def test_a_classifier_that_never_says_yes_scores_zero_without_a_warning():
    scores = task_scores(BINARY, BINARY * 0, "precision")
    np.testing.assert_array_equal(scores, 0)


# --------------------------------------------------------- functions, mixed tasks
def test_functions_get_the_labels_as_they_are():
    named = words(Y)

    def share_of_a(true, predicted):
        assert set(true) <= set("abcd")
        return np.mean((true == "a") & (predicted == "a"))

    expected = ((Y == 0) & (LABELS == 0)).mean(axis=0)
    np.testing.assert_allclose(task_scores(named, words(LABELS), share_of_a), expected)


@pytest.mark.parametrize(
    ("function", "given", "sign"),
    [
        (sk.balanced_accuracy_score, LABELS, 1),
        (sk.log_loss, PROBA, 1),
        (sk.hamming_loss, LABELS, 1),
    ],
)
def test_functions_of_scikit_learn_return_what_they_return(function, given, sign):
    of_tasks = given if isinstance(given, list) else given.T
    expected = [function(y, p) for y, p in zip(Y.T, of_tasks, strict=True)]
    np.testing.assert_allclose(task_scores(Y, given, function), expected)


def test_scorers_are_taken_with_their_settings():
    labels = np.array(["no", "yes"])[BINARY]
    scorer = make_scorer(sk.fbeta_score, beta=2, pos_label="no")
    said = np.array(["no", "yes"])[(POSITIVE > 0.5).astype(int)]
    expected = [
        sk.fbeta_score(y, p, beta=2, pos_label="no")
        for y, p in zip(labels.T, said.T, strict=True)
    ]
    np.testing.assert_allclose(task_scores(labels, said, scorer), expected)
    brier = make_scorer(
        sk.brier_score_loss,
        response_method="predict_proba",
        pos_label="no",
        greater_is_better=False,
    )
    pairs = [np.column_stack([1 - p, p]) for p in POSITIVE.T]
    expected = [
        -sk.brier_score_loss(y, 1 - p, pos_label="no")
        for y, p in zip(labels.T, POSITIVE.T, strict=True)
    ]
    np.testing.assert_allclose(task_scores(labels, pairs, brier), expected)


def test_tasks_of_both_kinds_have_a_metric_for_each():
    table = pd.DataFrame({"a": BINARY[:, 0], "b": VALUES[:, 0], "c": words(Y[:, 1])})
    given = [POSITIVE[:, 0], PREDICTED[:, 0], PROBA[1]]
    expected = [
        sk.roc_auc_score(BINARY[:, 0], POSITIVE[:, 0]),
        sk.r2_score(VALUES[:, 0], PREDICTED[:, 0]),
        sk.roc_auc_score(Y[:, 1], PROBA[1], multi_class="ovr"),
    ]
    kinds = {"classification": "roc_auc_ovr", "regression": "r2"}
    by_name = {"a": "roc_auc", "classification": "roc_auc_ovr", 1: "r2"}
    for metric in (kinds, by_name):
        np.testing.assert_allclose(task_scores(table, given, metric), expected)


def test_integers_may_be_values():
    counts = np.round(VALUES * 3).astype(int)
    metric = {"classification": "accuracy", "regression": "neg_mean_absolute_error"}
    expected = -np.abs(counts - PREDICTED).mean(axis=0)
    for told in (["regression"] * 3, {f"task{t}": "regression" for t in range(3)}):
        found = task_scores(counts, PREDICTED, metric, task_types=told)
        np.testing.assert_allclose(found, expected)
    found = task_scores(counts, PREDICTED, metric, classes=[None] * 3)
    np.testing.assert_allclose(found, expected)
    found = task_scores(counts, PREDICTED, "neg_mean_absolute_error")
    np.testing.assert_allclose(found, expected)


# ------------------------------------------------------------------------ bad input
def test_unknown_metrics_are_refused_with_the_names_of_all():
    with says("The 'metric' parameter must be a function") as error:
        task_scores(Y, LABELS, "roc-auc")
    assert "'balanced_accuracy'" in str(error.value)
    assert "Got 'roc-auc'." in str(error.value)


def test_different_tasks_are_refused():
    with says("y_true and y_pred must be of the same tasks. Got 3 tasks"):
        task_scores(Y, LABELS[:, :2])
    with says("y_true and y_pred must be of the same tasks. Got 3 tasks"):
        task_scores(Y, PROBA[:2], "roc_auc_ovr")
    table = pd.DataFrame(Y, columns=["x", "y", "z"])
    with says("y_pred must have one column for each task, named as the tasks are"):
        task_scores(table, table.rename(columns={"x": "w"}))


def test_different_numbers_of_rows_are_refused():
    for given in (LABELS[1:], [p[1:] for p in PROBA], list(LABELS[1:].T)):
        with says("y_true and y_pred must have the same number of rows. Got 200 and"):
            task_scores(Y, given)


def test_labels_that_are_all_missing_are_refused():
    with says("y has no label to score"):
        task_scores(np.full((4, 2), np.nan), np.zeros((4, 2)))


def test_metrics_of_the_other_kind_are_refused():
    with says(
        "The metric 'accuracy' is for classification, but task 'task0' is one of"
    ):
        task_scores(VALUES, PREDICTED)
    with says("The metric 'r2' is for regression, but task 'task0' is one of"):
        task_scores(words(Y), words(LABELS), "r2")
    with says("The metric 'r2' is for regression, but task 'task2' is one of"):
        task_scores(Y, LABELS, "r2", classes=[None, None, range(4)])


def test_metrics_of_two_classes_are_refused_for_more():
    with says(
        "The metric 'roc_auc' is for two classes, but task 'task1' has the 3"
    ) as e:
        task_scores(Y, PROBA, "roc_auc")
    assert "such as 'roc_auc_ovr'" in str(e.value)
    with says(
        "The metric 'recall' is for two classes, but task 'task1' has the 3"
    ) as e:
        task_scores(Y, LABELS, "recall")
    assert "such as 'recall_macro'" in str(e.value)


def test_classes_that_are_not_known_are_refused():
    y = np.where(Y[:, 2] == 1, 3, Y[:, 2])
    with says("The predictions for task 'task0' have scores of 4 classes, but its"):
        task_scores(y, PROBA[2], "neg_log_loss")
    with says("The predictions for task 'task0' have scores of 2 classes, but its"):
        task_scores(Y[:, 2], POSITIVE[:, 0], "neg_log_loss")
    with says("The predictions for task 'task0' have scores of 4 classes, but it has"):
        task_scores(Y[:, 2], PROBA[2], "neg_log_loss", classes=range(5))
    with says("The 'classes' parameter must have one entry per task"):
        task_scores(Y, PROBA, "neg_log_loss", classes=[range(2), range(3)])
    with says(
        "Task 'task0' has labels of the classes [0, 1, 2, 3], of which one score"
    ):
        task_scores(Y[:, 2], POSITIVE[:, 0], "neg_log_loss", classes=[0, 1])


def test_dicts_must_name_tasks_and_leave_out_none():
    with says("The 'metric' parameter must give metrics for names or numbers of tasks"):
        task_scores(Y, LABELS, {"classification": "accuracy", "task9": "f1"})
    with says("The 'metric' parameter gives no metric for task 'task1', which is one"):
        task_scores(Y, LABELS, {"task0": "accuracy", "regression": "r2"})


def test_weights_are_refused_where_a_metric_takes_none():
    with says("The metric 'neg_max_error' takes no weights"):
        task_scores(VALUES, PREDICTED, "neg_max_error", sample_weight=WEIGHT)
    with says("sample_weight must have shape"):
        task_scores(Y, LABELS, sample_weight=WEIGHT[1:])


def test_labels_of_types_that_do_not_mix_are_refused():
    with says("The labels of task 'task0' mix the types"):
        task_scores(words(Y), LABELS, "f1_macro")


def test_predictions_that_are_no_numbers_are_refused():
    with says("The predictions for task 'task0' must be numbers of shape"):
        task_scores(Y, [words(Y), *PROBA[1:]], "roc_auc_ovr")
    with says("y_pred has nothing for task 'task1'"):
        task_scores(Y, [PROBA[0], None, PROBA[2]], "roc_auc_ovr")
    with says("The predictions for task 'task0' must be one value per row"):
        task_scores(VALUES, PROBA, "r2")


@pytest.mark.parametrize(
    ("name", "value"), [("metric", 3), ("average", "mean"), ("average", [1, 2])]
)
def test_other_settings_are_refused(name, value):
    with says(f"The '{name}' parameter"):
        task_scores(Y, LABELS, **{name: value})


def test_errors_of_metrics_name_the_task():
    with says("Mean Squared Logarithmic Error cannot be used") as error:
        task_scores(-VALUES, PREDICTED, "neg_mean_squared_log_error")
    assert error.value.__notes__ == ["This was while scoring task 'task0'."]


@pytest.mark.parametrize("size", [2.0**-990, 2.0**990])
def test_r2_is_that_of_any_unit(size):
    true, predicted = np.arange(5.0), np.array([0.5, 1.0, 2.0, 2.0, 4.5])
    expected = task_scores(true, predicted, "r2")
    np.testing.assert_array_equal(
        task_scores(size * true, size * predicted, "r2"), expected
    )
    weighted = task_scores(true, predicted, "r2", sample_weight=np.full(5, size))
    np.testing.assert_array_equal(weighted, expected)
    assert -np.inf < task_scores(true, 2.0**990 * predicted, "r2")[0] < -1e100
    spread = [1.0, 1e-300, 1e-300, 1e-300, 1e-300]
    assert -np.inf < task_scores(true, predicted, "r2", sample_weight=spread)[0] < -1e99
