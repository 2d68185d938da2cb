"""Gains are differences of scores on the same splits, with honest intervals."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student_t
from sklearn.base import clone
from sklearn.metrics import balanced_accuracy_score, mean_absolute_error, r2_score
from sklearn.model_selection import KFold, RepeatedKFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.inspection import sharing_gain
from skmtl.inspection._sharing_gain import _compute_gain
from skmtl.model_selection._fit_and_score import FitResult
from skmtl.model_selection._statistics import compute_corrected_interval
from skmtl.sharing import Grouped
from tests._networks import SAME_STEPS, Prepared, plain_mlp, table
from tests.relation.test_all import Mixing

SETTINGS = {**SAME_STEPS, "encoder": plain_mlp((8,)), "max_iter": 5, "n_estimators": 1}


def regressor(**settings):
    return MultiTaskRegressor(**{**SETTINGS, **settings})


def test_interval_has_the_corrected_variance():
    values = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    low, high = compute_corrected_interval(values, ratio=0.5, confidence=0.9).T
    half = student_t.ppf(0.95, 2) * np.sqrt((1 / 3 + 0.5) * 1.0)
    np.testing.assert_allclose(low, [2 - half, 5])
    np.testing.assert_allclose(high, [2 + half, 5])


def test_interval_is_over_the_splits_that_say_something():
    values = np.array(
        [[1.0, np.nan, np.nan], [np.nan, 7.0, np.nan], [3.0, np.nan, np.nan]]
    )
    interval = compute_corrected_interval(values, ratio=0.25, confidence=0.95)
    half = student_t.ppf(0.975, 1) * np.sqrt((1 / 2 + 0.25) * 2.0)
    np.testing.assert_allclose(interval[0], [2 - half, 2 + half])
    assert np.isnan(interval[1:]).all()


def compared(sign):
    """Return what two splits say: the first task rises by a tenth, the second falls."""
    alone = [np.array([1.0, 2.0, 0.0, -1.0])] * 2
    rise = np.array([0.1, -0.2, 0.3, 0.1])
    shared = [alone[0] + rise, alone[1] + rise + 1e-6]
    runs = (
        [FitResult(scores, seconds, 0.0, n) for scores in both]
        for both, seconds, n in ((shared, 2.0, 10), (alone, 3.0, 40))
    )
    return _compute_gain(*runs, list("abcd"), sign, ratio=0.25, confidence=0.95)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_higher_score_is_a_gain_and_a_higher_error_a_loss(sign):
    gain = compared(sign)
    np.testing.assert_allclose(sign * gain.gain, [0.1, -0.2, 0.3, 0.1], atol=1e-5)
    better, worse = (gain.helps, gain.hurts) if sign > 0 else (gain.hurts, gain.helps)
    assert better.tolist() == [True, False, True, True]
    assert worse.tolist() == [False, True, False, False]
    # Of the score without sharing: a tenth more, a tenth less, nothing, a tenth more.
    assert gain.delta_m == pytest.approx(sign * 0.1 / 3, abs=1e-5)
    assert gain.delta_m_interval.mean() == pytest.approx(gain.delta_m)
    assert (gain.seconds, gain.independent_seconds) == (2, 3)
    assert (gain.n_parameters, gain.independent_n_parameters) == (10, 40)


def test_the_table_and_the_text_show_what_was_found():
    gain = compared(1)
    frame = gain.to_frame()
    assert frame.index.tolist() == list("abcd")
    np.testing.assert_allclose(frame["shared"] - frame["independent"], frame["gain"])
    np.testing.assert_array_equal(frame[["low", "high"]], gain.interval)
    assert frame["hurts"].tolist() == [False, True, False, False]
    assert repr(gain) == (
        "SharingGain(delta_m=+0.033 [+0.033, +0.033], helps=['a', 'c', 'd'], "
        "hurts=['b'])"
    )


def test_scores_are_those_of_both_models_on_the_same_rows():
    X, Z = table()
    splits = list(KFold(3).split(X))
    gain = sharing_gain(regressor(), X, Z, cv=splits)
    seeds = np.random.RandomState(SETTINGS["random_state"])
    for i, (train, test) in enumerate(splits):
        seed = seeds.randint(2**31 - 1)
        for sharing, scores in (
            ("hard", gain.scores),
            ("independent", gain.independent_scores),
        ):
            est = regressor(sharing=sharing, random_state=seed).fit(X[train], Z[train])
            expected = r2_score(Z[test], est.predict(X[test]), multioutput="raw_values")
            np.testing.assert_allclose(scores[i], expected)
    differences = gain.scores - gain.independent_scores
    np.testing.assert_allclose(gain.gain, differences.mean(axis=0))
    expected = compute_corrected_interval(differences, ratio=0.5, confidence=0.95)
    np.testing.assert_allclose(gain.interval, expected)
    n = 4 * 8 + 8
    assert gain.n_parameters == n + 3 * 9
    assert gain.independent_n_parameters == 3 * (n + 9)
    assert min(gain.seconds, gain.independent_seconds) > 0


def test_groups_of_one_task_gain_nothing():
    X, Z = table()
    encoder = Prepared(plain_mlp((8,)))
    est = regressor(sharing=Grouped([[0], [1], [2]]), encoder=encoder)
    gain = sharing_gain(est, X, Z, cv=2)
    np.testing.assert_allclose(gain.gain, 0, atol=1e-12)
    assert abs(gain.delta_m) < 1e-12


def test_the_baseline_has_no_relation():
    X, Z = table()
    gain = sharing_gain(regressor(relation=Mixing()), X, Z, cv=2)
    plain = sharing_gain(regressor(), X, Z, cv=2)
    np.testing.assert_array_equal(gain.independent_scores, plain.independent_scores)
    assert gain.n_parameters == plain.n_parameters + 9


def test_folds_are_dealt_anew_in_every_repeat():
    X, Z = table()
    gain = sharing_gain(regressor(), X, Z, cv=2, n_repeats=2)
    assert gain.scores.shape == (4, 3)
    assert len(np.unique(gain.scores[:, 0])) == 4
    again = sharing_gain(regressor(), X, Z, cv=2, n_repeats=2)
    np.testing.assert_array_equal(gain.scores, again.scores)


@pytest.mark.parametrize(
    "cv", [None, KFold(5), ShuffleSplit(5, random_state=0), RepeatedKFold(n_repeats=1)]
)
def test_splits_may_be_chosen(cv):
    X, Z = table()
    assert sharing_gain(regressor(max_iter=1), X, Z, cv=cv).scores.shape == (5, 3)


def test_missing_labels_and_a_task_that_some_splits_cannot_score():
    X, Z = table()
    Y = (Z > 0).astype(float)
    Y[::3, 1] = np.nan
    Y[:30, 2] = np.nan
    est = MultiTaskClassifier(**SETTINGS)
    splits = [(np.arange(30, 60), np.arange(30)), (np.arange(40), np.arange(40, 60))]
    gain = sharing_gain(est, X, Y, cv=splits)
    assert np.isnan(gain.scores[0]).tolist() == [False, False, True]
    assert np.isnan(gain.interval).any(axis=1).tolist() == [False, False, True]
    assert np.isfinite(gain.gain).all()
    assert not gain.helps[2]
    assert not gain.hurts[2]
    folds = sharing_gain(est, X, Y, cv=3)
    assert np.isfinite(folds.interval).all()


def test_a_score_may_be_an_error():
    X, Z = table()
    Z[5, 1] = np.nan
    score = {"scoring": mean_absolute_error, "greater_is_better": False}
    splits = [(np.arange(20, 60), np.arange(20))] * 2
    gain = sharing_gain(regressor(), X, Z, cv=splits, **score)
    seeds = np.random.RandomState(SETTINGS["random_state"])
    est = regressor(random_state=seeds.randint(2**31 - 1)).fit(X[20:], Z[20:])
    rows = np.delete(np.arange(20), 5)
    expected = mean_absolute_error(Z[rows, 1], est.predict(X[rows])[:, 1])
    assert gain.scores[0, 1] == pytest.approx(expected)
    difference = (gain.independent_scores - gain.scores).mean(axis=0)
    np.testing.assert_allclose(gain.gain, difference)


def test_pipelines_and_tables_of_both_kinds():
    X, Z = table()
    X = pd.DataFrame(X).add_prefix("x")
    Y = pd.DataFrame({"number": Z[:, 0], "class": np.where(Z[:, 1] > 0, "yes", "no")})
    est = MultiTaskEstimator(**SETTINGS)
    gain = sharing_gain(make_pipeline(StandardScaler(), est), X, Y, cv=2)
    assert gain.task_names == ["number", "class"]
    scaled = StandardScaler().fit_transform(X)
    near = sharing_gain(est, scaled, Y, cv=2)  # inputs are scaled inside as well
    np.testing.assert_allclose(gain.scores, near.scores, atol=0.05)


def test_weightings_of_shared_gradients_do_not_complain():
    X, Z = table()
    gain = sharing_gain(regressor(weighting="pcgrad"), X, Z, cv=2)
    assert np.isfinite(gain.scores).all()


def test_the_estimator_stays_as_it_is():
    X, Z = table()
    est = regressor()
    before = repr(clone(est))
    sharing_gain(est, X, Z, cv=2)
    assert repr(est) == before
    assert not hasattr(est, "net_")


def says(start):
    return pytest.raises(ValueError, match=re.escape(start))


def test_what_is_no_estimator_of_skmtl_is_refused():
    with says("The 'estimator' parameter of sharing_gain must be an estimator of"):
        sharing_gain(StandardScaler(), *table())


def test_the_baseline_is_not_compared_with_itself():
    with says("The 'sharing' parameter of the estimator must not be 'independent'"):
        sharing_gain(regressor(sharing="independent"), *table())


def test_more_folds_than_rows_are_refused():
    with says("The 'cv' parameter of sharing_gain must be at most the number of rows"):
        sharing_gain(regressor(), *table(), cv=61)


def test_repeats_are_for_a_number_of_folds():
    with says("The 'n_repeats' parameter of sharing_gain must be 1 where 'cv' is no"):
        sharing_gain(regressor(), *table(), cv=KFold(3), n_repeats=2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cv", "five"),
        ("n_repeats", 0),
        ("scoring", 3),
        ("greater_is_better", "yes"),
        ("confidence", 1.0),
    ],
)
def test_other_settings_are_refused(name, value):
    with says(f"The '{name}' parameter of sharing_gain must be"):
        sharing_gain(regressor(), *table(), **{name: value})


def test_a_score_may_be_named():
    X, Z = table()
    est = MultiTaskClassifier(**SETTINGS)
    Y = (np.asarray(Z) > np.median(Z, axis=0)).astype(int)
    gain = sharing_gain(est, X, Y, cv=2, scoring="neg_log_loss")
    assert (gain.scores < 0).all()
    assert (gain.scores != gain.independent_scores).any()
    named = sharing_gain(est, X, Y, cv=2, scoring="balanced_accuracy")
    given = sharing_gain(est, X, Y, cv=2, scoring=balanced_accuracy_score)
    np.testing.assert_array_equal(named.scores, given.scores)


def test_a_named_score_that_is_not_for_the_tasks_is_refused_before_any_fit():
    est = regressor(max_iter=-1)  # which fit refuses
    with says("The 'metric' parameter must be a function, a scorer, a dict or the"):
        sharing_gain(est, *table(), scoring="auc")
    with says("The metric 'accuracy' is for classification, but task"):
        sharing_gain(est, *table(), scoring="accuracy")
    with says("The 'greater_is_better' parameter of sharing_gain must be True where"):
        sharing_gain(est, *table(), scoring="r2", greater_is_better=False)
