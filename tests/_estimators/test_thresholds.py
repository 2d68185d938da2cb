"""Cut-offs of binary tasks maximise a score of out-of-fold predictions."""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, get_scorer, get_scorer_names
from sklearn.model_selection import cross_val_predict
from sklearn.preprocessing import StandardScaler

from skmtl._data.labels import read_labels
from skmtl._data.targets import Targets
from skmtl._estimators.thresholds import (
    SCORES,
    predict_codes,
    score_confusions,
    tune_thresholds,
)

X, BENIGN = load_breast_cancer(return_X_y=True)
X = StandardScaler().fit_transform(X[:, :2])
PROBA = cross_val_predict(LogisticRegression(), X, BENIGN, method="predict_proba")
PROBA = PROBA[:, 1]


def binary(y):
    """Return the targets and labels of binary tasks."""
    columns = read_labels(y)
    targets = Targets(columns, ["classification"] * len(columns.columns))
    return targets, targets.encode(columns)


def logits(p):
    """Return packed outputs of binary tasks."""
    p = torch.as_tensor(np.asarray(p, dtype=np.float64))
    return torch.logit(p).reshape(len(p), -1)


def tuned(y, p, score="f1", weight=None):
    """Return the threshold of one task."""
    targets, labels = binary(y)
    weight = None if weight is None else np.asarray(weight, dtype=float)[:, None]
    return tune_thresholds(targets, logits(p), labels, weight, score)[0]


class Cut(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose input is the probability."""

    classes_ = np.array([0, 1])

    def __init__(self, cut):
        self.cut = cut

    def predict(self, X):
        return (X[:, 0] > self.cut).astype(int)


def test_a_gap_between_the_classes_is_cut_in_its_middle():
    assert tuned([0, 0, 1, 1], [0.1, 0.2, 0.4, 0.6]) == pytest.approx(0.3)


def test_the_best_f1_by_hand():
    # Positives above 0.35: 2 of 3 found, 2 of 2 right, F1 = 0.8; above 0.15: 3 of 3
    # and 3 of 5, F1 = 0.75; all: 3 of 6, F1 = 0.67; above 0.5: one, F1 = 0.5.
    y, p = [0, 1, 0, 0, 1, 1], [0.1, 0.2, 0.22, 0.3, 0.4, 0.6]
    assert tuned(y, p) == pytest.approx(0.35)
    assert tuned(y, p, "recall") == pytest.approx(0.15)
    assert tuned(y, p, "accuracy") == pytest.approx(0.35)


def test_a_half_stays_where_nothing_is_better():
    assert tuned([0, 0, 1, 1], [0.1, 0.4, 0.7, 0.8]) == 0.5
    assert tuned([0, 0, 1, 1], [0.1, 0.5, 0.7, 0.8], "precision") == 0.5


def test_what_ranks_nothing_predicts_one_class():
    """F1 is best if all are positive, accuracy if all are of the common class."""
    y, p = [0, 0, 1], [0.6, 0.6, 0.6]
    assert tuned(y, p) == 0.5
    assert tuned(y, p, "accuracy") == pytest.approx(0.8)
    assert tuned(y, [0.2, 0.2, 0.2]) == pytest.approx(0.1)


@pytest.mark.parametrize("score", sorted(SCORES))
def test_no_other_cut_has_a_higher_score(score):
    scorer = get_scorer(score)
    rng = np.random.RandomState(0)
    rows = rng.choice(len(X), 120, replace=False)
    y, p = BENIGN[rows], PROBA[rows].round(2)
    weight = rng.uniform(0.5, 2, len(rows))

    def value(cut):
        return scorer(Cut(cut), p[:, None], y, sample_weight=weight)

    best = tuned(y, p, score, weight)
    grid = np.arange(0.045, 1, 0.05)
    assert value(best) == pytest.approx(max(value(cut) for cut in grid))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.sampled(3)
def test_scores_of_confusions_are_those_of_scikit_learn(score):
    rng = np.random.RandomState(0)
    confusions = rng.randint(0, 4, (60, 4)).astype(float)
    confusions[:, 3] += 1  # some row is of the second class
    confusions[:, 1] += confusions[:, 0] == 0  # and some of the first
    y, p = np.array([0, 0, 1, 1]), np.array([[0.0], [1], [0], [1]])
    scorer = get_scorer(score)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        expected = [scorer(Cut(0.5), p, y, sample_weight=w) for w in confusions]
    for factor in (1, 1e-200, 1e200):
        values = score_confusions(score, factor * confusions)
        np.testing.assert_allclose(values, expected, atol=1e-12)


def test_scores_are_those_of_scikit_learn():
    assert set(SCORES) < set(get_scorer_names())


@pytest.mark.parametrize("score", ["roc_auc", "r2", "f2", None, 3, ["f1"]])
def test_other_scores_are_refused_by_name(score):
    with pytest.raises(ValueError, match=r"'threshold' .* 'f1', .* Got ") as error:
        tuned([0, 1], [0.1, 0.9], score)
    assert repr(score) in str(error.value)


def test_the_second_class_is_the_positive_one():
    p = [0.1, 0.2, 0.4, 0.3]
    words = np.array(["ham", "ham", "spam", "spam"])
    assert tuned(words, p) == pytest.approx(0.25)
    assert tuned(words[::-1], p) != pytest.approx(0.25)
    targets, _ = binary(words)
    codes = predict_codes(targets, logits(p), np.array([0.25]))
    assert targets.classes[0][codes[:, 0]].tolist() == ["ham", "ham", "spam", "spam"]


def test_weights_equal_repetition():
    rng = np.random.RandomState(0)
    times = rng.randint(0, 4, len(BENIGN)) + 3 * BENIGN
    for score in ("f1", "balanced_accuracy", "matthews_corrcoef"):
        repeated = tuned(np.repeat(BENIGN, times), np.repeat(PROBA, times), score)
        assert tuned(BENIGN, PROBA, score, times) == repeated
        assert repeated != tuned(BENIGN, PROBA, score)


def test_rows_without_label_or_prediction_do_not_count():
    y = np.array([0, 0, 1, 1, np.nan, 1, 0], dtype=float)
    p = [0.1, 0.2, 0.4, 0.6, 0.25, np.nan, np.nan]
    assert tuned(y, p) == pytest.approx(0.3)


def test_each_task_has_its_own_cut():
    y = np.array([[0, 0, 2], [0, 0, 1], [1, 1, 0], [1, 0, 1], [1, 1, 2]], dtype=float)
    y = np.column_stack([y, np.arange(5) / 4])
    columns = read_labels(y)
    targets = Targets(columns, ["classification"] * 3 + ["regression"])
    outputs = torch.zeros(5, 6, dtype=torch.float64)
    p = np.array([[0.1, 0.1], [0.2, 0.2], [0.4, 0.8], [0.6, 0.4], [0.7, 0.9]])
    outputs[:, :2] = logits(p)
    labels = targets.encode(columns)
    thresholds = tune_thresholds(targets, outputs, labels, None, "f1")
    assert_array_equal(np.isnan(thresholds), [False, False, True, True])
    codes = predict_codes(targets, outputs, thresholds)
    assert_array_equal(codes[:, :2], y[:, :2])
    assert_array_equal(codes[:, 2:], targets.predict_codes(outputs)[:, 2:])


def test_without_both_classes_there_is_no_cut():
    targets, labels = binary(np.column_stack([[0, 1, 0, 0], [1, 1, 1, 1]]))
    outputs = logits([0.1, np.nan, 0.4, 0.8])
    thresholds = tune_thresholds(targets, outputs, labels, None, "f1")
    assert np.isnan(thresholds).all()
    codes = predict_codes(targets, outputs, thresholds)
    assert_array_equal(codes, targets.predict_codes(outputs))
    weight = np.array([[1.0], [0.0]])
    targets, labels = binary([0, 1])
    assert np.isnan(
        tune_thresholds(targets, logits([0.1, 0.9]), labels, weight, "f1")
    ).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_cut_at_a_half_is_the_most_probable_class(dtype):
    targets, _ = binary([0, 1])
    outputs = torch.linspace(-1e-6, 1e-6, 101, dtype=dtype)[:, None]
    codes = predict_codes(targets, outputs, np.array([0.5]))
    assert_array_equal(codes, targets.predict_codes(outputs))
    assert 0 < codes.sum() < 101


def test_saturated_probabilities_are_cut():
    assert 0 < tuned([0, 0, 1, 1], [0.0, 1.0, 1.0, 1.0]) < 1
    assert tuned([0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0]) == 0.5


def test_a_noisy_ranking_of_many_rows_is_cut_at_its_best():
    rng = np.random.RandomState(0)
    y = rng.randint(0, 2, 500)
    p = 0.8 * rng.rand(500) + 0.2 * y
    cut = tuned(y, p)
    every = [f1_score(y, p > other) for other in np.append(p, 0)]
    assert f1_score(y, p > cut) == max(every)
