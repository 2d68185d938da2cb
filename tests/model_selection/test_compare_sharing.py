"""Candidates meet on the same rows and seeds; what that says is exact arithmetic."""

import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from joblib import Memory, parallel_config
from scipy.stats import friedmanchisquare, rankdata
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import FitFailedWarning, UndefinedMetricWarning
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import make_scorer, mean_absolute_error, r2_score, roc_auc_score
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl._estimators.scores import METRICS
from skmtl.inspection import sharing_gain
from skmtl.metrics import make_multitask_scorer
from skmtl.model_selection import (
    SharingComparison,
    TaskWeightSearchCV,
    compare_sharing,
)
from skmtl.model_selection._candidates import read_candidates
from skmtl.model_selection._fit_and_score import get_cached_fit
from skmtl.model_selection._statistics import (
    compute_corrected_interval,
    critical_difference,
    mean_ranks,
)
from skmtl.sharing import MMoE
from tests._networks import SAME_STEPS, plain_mlp, table

SETTINGS = {**SAME_STEPS, "encoder": plain_mlp((8,)), "max_iter": 3, "n_estimators": 1}


def regressor(**settings):
    return MultiTaskRegressor(**{**SETTINGS, **settings})


def says(start):
    return pytest.raises(ValueError, match=re.escape(start))


class Counting(RegressorMixin, BaseEstimator):
    """Predicts means; notes its fits in a file, and fails where it is told to."""

    def __init__(self, log=None, fail_at=None, random_state=None):
        self.log = log
        self.fail_at = fail_at
        self.random_state = random_state

    def fit(self, X, y):
        with open(self.log, "a") as log:
            log.write(f"{self.random_state}\n")
        if self.fail_at is not None and X[0, 0] == self.fail_at:
            raise RuntimeError("told to fail")
        self.mean_ = np.asarray(y).mean(axis=0)
        return self

    def predict(self, X):
        return np.tile(self.mean_, (len(X), 1))


class Broken(Counting):
    """Fails where a switch file is there, which is no parameter."""

    def fit(self, X, y):
        switch = self.log.parent / "switch"
        if switch.exists() and len(self.log.read_text().splitlines()) >= 3:
            raise RuntimeError("interrupted")
        return super().fit(X, y)


class Seen(RegressorMixin, BaseEstimator):
    """Keeps the rows that it was fitted to."""

    def __init__(self, folder):
        self.folder = folder

    def fit(self, X, y):
        np.save(self.folder / f"{len(list(self.folder.iterdir()))}.npy", X)
        self.mean_ = y.mean(axis=0)
        return self

    def predict(self, X):
        return np.tile(self.mean_, (len(X), 1))


def fits(log):
    return len(log.read_text().splitlines()) if log.exists() else 0


def test_scores_are_those_of_each_candidate_on_the_same_rows_and_seeds():
    X, Z = table()
    splits = list(KFold(3).split(X))
    forest = RandomForestRegressor(3, random_state=7)
    candidates = {"hard": regressor(), "forest": forest, "line": LinearRegression()}
    found = compare_sharing(candidates, X, Z, cv=splits, random_state=5)
    assert found.names == ["independent", "hard", "forest", "line"]
    assert found.scores.shape == (4, 3, 3)
    seeds = np.random.RandomState(5).randint(2**31 - 1, size=3)
    for s, (train, test) in enumerate(splits):
        for i, est in enumerate(
            [
                regressor(sharing="independent", random_state=seeds[s]),
                regressor(random_state=seeds[s]),
                RandomForestRegressor(3, random_state=seeds[s]),
                LinearRegression(),
            ]
        ):
            predicted = est.fit(X[train], Z[train]).predict(X[test])
            expected = r2_score(Z[test], predicted, multioutput="raw_values")
            np.testing.assert_allclose(found.scores[i, s], expected)
    assert found.test_ratio == 0.5
    assert (found.fit_seconds > 0).all()
    assert (found.predict_seconds > 0).all()
    n = 4 * 8 + 8
    np.testing.assert_array_equal(
        found.n_parameters, [3 * (n + 9), n + 3 * 9, np.nan, np.nan]
    )
    assert forest.random_state == 7


def test_it_agrees_with_sharing_gain():
    X, Z = table()
    splits = list(KFold(3).split(X))
    seeds = np.random.RandomState(0)
    gain = sharing_gain(regressor(random_state=0), X, Z, cv=splits)
    expected = [seeds.randint(2**31 - 1) for _ in splits]
    found = compare_sharing(regressor(), X, Z, cv=splits, random_state=0)
    actual = np.random.RandomState(0).randint(2**31 - 1, size=3).tolist()
    assert actual == expected
    np.testing.assert_allclose(found.scores[0], gain.independent_scores)
    np.testing.assert_allclose(found.scores[1], gain.scores)
    assert found.delta_m[1] == pytest.approx(gain.delta_m)
    np.testing.assert_allclose(found.delta_m_interval[1], gain.delta_m_interval)
    scale = abs(gain.independent_scores.mean(axis=0))
    np.testing.assert_allclose(found.task_gains[1], gain.gain / scale)
    intervals = gain.interval / scale[:, None]
    np.testing.assert_allclose(found.task_gains_interval[1], intervals)


def test_every_random_state_of_a_pipeline_is_set(tmp_path):
    X, Z = table()
    log = tmp_path / "log"
    chain = make_pipeline(StandardScaler(), Counting(log, random_state=3))
    alone = Counting(log)
    compare_sharing({"a": chain, "b": alone}, X, Z, cv=2, baseline="a", random_state=0)
    seeds = log.read_text().split()
    assert seeds[0] == seeds[1] != "3"
    assert seeds[2] == seeds[3] != seeds[0]


def comparison(scores, **settings):
    """Return a comparison of scores of shape (n_candidates, n_splits, n_tasks)."""
    scores = np.asarray(scores, dtype=float)
    k, n_splits, n_tasks = scores.shape
    values = {
        "names": ["a", "b", "c", "d"][:k],
        "task_names": [f"t{t}" for t in range(n_tasks)],
        "baseline": "a",
        "scores": scores,
        "fit_seconds": np.arange(1.0, 1 + k * n_splits).reshape(k, -1),
        "predict_seconds": np.ones((k, n_splits)),
        "n_parameters": np.array([10, 20, np.nan, 30])[:k],
        "test_ratio": 0.25,
        "confidence": 0.95,
    }
    return SharingComparison(**{**values, **settings})


# The second is a tenth better on both tasks, the third worse on the first.
KNOWN = [
    [[0.5, 2.0], [0.5, 2.0], [0.5, 2.0]],
    [[0.55, 2.2], [0.55, 2.2], [0.55, 2.2]],
    [[0.4, 2.0], [0.3, 2.0], [0.2, np.nan]],
]


def test_gains_ranks_and_intervals_of_known_scores():
    found = comparison(KNOWN)
    np.testing.assert_allclose(found.mean_scores, [1.25, 1.375, (1.2 + 1.15 + 0.2) / 3])
    np.testing.assert_allclose(found.delta_m[:2], [0, 0.1], atol=1e-12)
    np.testing.assert_allclose(found.task_gains[2], [-0.4, 0])
    # Split by split: -0.2 and 0, -0.4 and 0, -0.6 alone.
    assert found.delta_m[2] == pytest.approx(np.mean([-0.1, -0.2, -0.6]))
    gains = np.array([[-0.2], [-0.4], [-0.6]])
    expected = compute_corrected_interval(gains, 0.25, 0.95)[0]
    np.testing.assert_allclose(found.task_gains_interval[2, 0], expected)
    # Where the third has no score, on the last split of the second task, it is last.
    np.testing.assert_allclose(
        found.mean_ranks, [(2 + 2 + 2 + 2.5 + 2.5 + 2) / 6, 1, (9 + 2.5 + 2.5 + 3) / 6]
    )


def test_mean_scores_are_means_over_tasks_and_splits():
    rng = np.random.default_rng(0)
    scores = rng.random((3, 5, 4))
    found = comparison(scores)
    np.testing.assert_allclose(found.mean_scores, scores.mean(axis=(1, 2)))
    over_tasks = scores.mean(axis=2)
    expected = compute_corrected_interval(over_tasks.T, 0.25, 0.95)
    np.testing.assert_allclose(found.mean_scores_interval, expected)


def test_ranks_are_those_of_friedmans_test():
    rng = np.random.default_rng(0)
    scores = rng.random((4, 6, 3)).round(1)  # with ties
    blocks = scores.reshape(4, -1)
    ranks = mean_ranks(scores)[1]
    np.testing.assert_allclose(ranks, rankdata(-blocks, axis=0).mean(axis=1))
    n, k = blocks.shape[1], 4
    untied = rng.random((4, 6, 3))
    ranks = mean_ranks(untied)[1]
    statistic = 12 * n / (k * (k + 1)) * ((ranks - (k + 1) / 2) ** 2).sum()
    expected = friedmanchisquare(*untied.reshape(4, -1)).statistic
    assert statistic == pytest.approx(expected)


@pytest.mark.parametrize(
    ("k", "q95", "q90"),  # of Demšar 2006, table 5
    [(2, 1.960, 1.645), (3, 2.343, 2.052), (5, 2.728, 2.459), (10, 3.164, 2.920)],
)
def test_critical_differences_are_those_of_the_table(k, q95, q90):
    scores = np.zeros((k, 1, 14))
    for q, confidence in ((q95, 0.95), (q90, 0.9)):
        expected = q * np.sqrt(k * (k + 1) / (6 * 14))
        found = critical_difference(scores, 0.0, confidence)
        assert found == pytest.approx(expected, rel=1e-3)


def test_splits_that_share_rows_count_for_fewer():
    scores = np.zeros((3, 5, 4))
    apart = critical_difference(scores, 0.0, 0.95)
    found = critical_difference(scores, 0.25, 0.95)
    assert found == pytest.approx(apart * np.sqrt(1 + 5 * 0.25))


def test_nothing_can_be_said_of_one_candidate_or_of_no_score():
    assert np.isnan(critical_difference(np.zeros((1, 5, 2)), 0.25, 0.95))
    assert np.isnan(critical_difference(np.full((2, 5, 2), np.nan), 0.25, 0.95))
    assert np.isnan(comparison(KNOWN[:1]).critical_difference)


def test_a_candidate_that_failed_is_last_and_a_block_without_scores_is_none():
    scores = np.array([[[0.1, np.nan]], [[np.nan, np.nan]], [[0.3, np.nan]]])
    of_tasks, overall = mean_ranks(scores)
    np.testing.assert_array_equal(of_tasks[:, 0], [2, 3, 1])
    assert np.isnan(of_tasks[:, 1]).all()
    np.testing.assert_array_equal(overall, [2, 3, 1])


def test_the_table_holds_all_that_is_known():
    found = comparison(KNOWN)
    frame = found.to_frame()
    assert frame.index.names == ["candidate", "task"]
    assert frame.loc["b"].index.tolist() == ["t0", "t1", "mean"]
    np.testing.assert_allclose(frame.loc["b", "score"], [0.55, 2.2, 1.375])
    np.testing.assert_allclose(frame.loc["b", "delta_m"], [0.1, 0.1, 0.1])
    np.testing.assert_allclose(
        frame.xs("mean", level="task")[["delta_m_low", "delta_m_high"]],
        found.delta_m_interval,
    )
    np.testing.assert_allclose(
        frame.xs("t0", level="task")[["score_low", "score_high"]],
        compute_corrected_interval(found.scores[:, :, 0].T, 0.25, 0.95),
    )
    np.testing.assert_allclose(frame.loc["b", "rank"], 1)
    np.testing.assert_allclose(frame.loc["b", "fit_seconds"], 5)  # of 4, 5 and 6
    assert frame["n_parameters"].isna().sum() == 3


def test_a_task_that_is_called_mean_stays_apart():
    frame = comparison(KNOWN, task_names=["mean", "t1"]).to_frame()
    assert frame.loc["b"].index.tolist() == ["mean", "t1", "mean of tasks"]


def test_text_and_html_tell_the_candidates_by_rank():
    found = comparison(KNOWN, names=["a", "<b>", "c"])
    lines = repr(found).splitlines()
    assert lines[0].startswith("SharingComparison of 3 candidates with 'a': 2 tasks")
    assert [line.split()[0] for line in lines[2:5]] == ["<b>", "a", "c"]
    assert "baseline" in lines[3]
    assert "+10.0% [+10.0%, +10.0%]" in lines[2]
    assert f"less than {found.critical_difference:.2f}" in lines[5]
    html = found._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert html.index("&lt;b&gt;") < html.index(">a<") < html.index(">c<")
    assert "t1" in html
    assert "less than" not in repr(comparison(KNOWN[:1]))


def test_a_grid_names_candidates_after_its_settings():
    chain = make_pipeline(StandardScaler(), regressor())
    one = {"multitaskregressor__sharing": ["hard", MMoE(n_experts=3)]}
    candidates, _ = read_candidates(chain, one, "independent")
    assert list(candidates) == ["independent", "hard", "MMoE(n_experts=3)"]
    assert candidates["independent"][-1].sharing == "independent"
    assert candidates["hard"][-1].sharing == "hard"
    grid = {"sharing": ["hard"], "weighting": ["equal", "uncertainty"]}
    candidates, _ = read_candidates(regressor(), grid, "independent")
    assert list(candidates)[1:] == [
        "sharing=hard, weighting=equal",
        "sharing=hard, weighting=uncertainty",
    ]
    several = [
        {"sharing": ["mmoe"], "sharing__n_experts": [2, 4]},
        {"sharing": ["hard"]},
    ]
    candidates, _ = read_candidates(regressor(), several, "hard")
    assert list(candidates) == [
        "sharing=mmoe, sharing__n_experts=2",
        "sharing=mmoe, sharing__n_experts=4",
        "hard",
    ]
    assert candidates["sharing=mmoe, sharing__n_experts=2"].sharing.n_experts == 2


def test_a_single_estimator_is_held_against_the_same_without_sharing():
    est = regressor(sharing="mmoe", relation="graph", weighting="uncertainty")
    candidates, baseline = read_candidates(est, None, "independent")
    assert (list(candidates), baseline) == (["independent", "mmoe"], "independent")
    alone = candidates["independent"]
    assert (alone.sharing, alone.relation) == ("independent", None)
    assert alone.weighting == "uncertainty"
    assert est.sharing == "mmoe"


def test_a_candidate_called_independent_is_the_baseline():
    own = regressor(sharing="independent", alpha=0.5)
    candidates, _ = read_candidates(
        {"hard": regressor(), "independent": own}, None, "independent"
    )
    assert list(candidates) == ["hard", "independent"]
    assert candidates["independent"] is own


def test_folds_stratify_and_repeat_and_are_the_same_again():
    X, Z = table()
    settings = {"baseline": "r", "cv": 3, "n_repeats": 2, "random_state": 0}
    found = compare_sharing({"r": Ridge()}, X, Z, **settings)
    assert found.scores.shape == (1, 6, 3)
    assert len(np.unique(found.scores[0, :, 0])) == 6
    again = compare_sharing({"r": Ridge()}, X, Z, **settings)
    np.testing.assert_array_equal(found.scores, again.scores)
    other = compare_sharing({"r": Ridge()}, X, Z, **{**settings, "random_state": 1})
    assert not np.array_equal(found.scores, other.scores)


def test_groups_stay_together():
    X, Z = table()
    groups = np.arange(60) // 20
    found = compare_sharing(
        {"r": Ridge()}, X, Z, cv=GroupKFold(3), groups=groups, baseline="r"
    )
    splits = list(GroupKFold(3).split(X, Z, groups))
    expected = compare_sharing({"r": Ridge()}, X, Z, cv=splits, baseline="r")
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_folds_keep_groups_together(tmp_path):
    X, Z = table()
    groups = np.arange(60) // 5
    seen = Seen(tmp_path)
    settings = {"cv": 3, "n_repeats": 2, "groups": groups, "random_state": 0}
    compare_sharing({"s": seen}, X, Z, baseline="s", **settings)
    rows = [set(map(tuple, np.load(path))) for path in sorted(tmp_path.glob("*.npy"))]
    assert len(rows) == 6
    for kept_rows in rows:
        inside = np.array([tuple(row) in kept_rows for row in X])
        assert all(len(set(inside[groups == g])) == 1 for g in range(12))
        assert 0 < inside.sum() < 60


def test_missing_labels_of_both_kinds_and_names_of_tasks():
    X, Z = table()
    Y = pd.DataFrame({"n": Z[:, 0], "c": np.where(Z[:, 1] > 0, "yes", "no")})
    Y.loc[::4, "n"] = np.nan
    Y.loc[1::5, "c"] = None
    metric = {"classification": "balanced_accuracy", "regression": "r2"}
    est = MultiTaskEstimator(**SETTINGS)
    found = compare_sharing(est, X, Y, cv=2, scoring=metric, random_state=0)
    assert found.task_names == ["n", "c"]
    assert np.isfinite(found.scores).all()


def test_a_missing_label_of_ones_own_counts_for_nothing():
    X, Z = table()
    Y = (Z > 0).astype(int)
    Y[::3, 1] = -1
    est = MultiTaskClassifier(missing_label=-1, **SETTINGS)
    splits = list(KFold(2).split(X))
    found = compare_sharing(est, X, Y, cv=splits, random_state=0)
    missing = np.where(Y < 0, np.nan, Y)
    expected = compare_sharing(
        MultiTaskClassifier(**SETTINGS), X, missing, cv=splits, random_state=0
    )
    np.testing.assert_allclose(found.scores, expected.scores)


def test_scores_may_be_names_functions_and_scorers():
    X, Z = table()
    Y = (Z > 0).astype(int)
    splits = list(KFold(2).split(X))
    forest = {"f": RandomForestClassifier(5)}
    settings = {"cv": splits, "baseline": "f", "random_state": 0}
    found = compare_sharing(forest, X, Y, scoring="roc_auc", **settings)
    seeds = np.random.RandomState(0).randint(2**31 - 1, size=2)
    for s, (train, test) in enumerate(splits):
        est = RandomForestClassifier(5, random_state=seeds[s]).fit(X[train], Y[train])
        probabilities = est.predict_proba(X[test])
        expected = [roc_auc_score(Y[test, t], probabilities[t][:, 1]) for t in range(3)]
        np.testing.assert_allclose(found.scores[0, s], expected)
    ridge = {"r": Ridge()}
    settings["baseline"] = "r"
    error = compare_sharing(ridge, X, Z, scoring=mean_absolute_error, **settings)
    scorer = make_scorer(mean_absolute_error, greater_is_better=False)
    score = compare_sharing(ridge, X, Z, scoring=scorer, **settings)
    np.testing.assert_allclose(score.scores, -error.scores)
    scorer = make_multitask_scorer("neg_mean_absolute_error")
    score = compare_sharing(ridge, X, Z, scoring=scorer, **settings)
    np.testing.assert_allclose(score.scores, -error.scores)


def test_a_split_that_cannot_score_a_task_is_left_out_with_one_warning():
    X, Z = table()
    Y = (Z > 0).astype(float)
    Y[:30, 2] = np.nan
    splits = [(np.arange(30, 60), np.arange(30)), (np.arange(40), np.arange(40, 60))]
    est = MultiTaskClassifier(**SETTINGS)
    with pytest.warns(UndefinedMetricWarning, match=r"\{'task2': 1\}") as caught:
        found = compare_sharing(est, X, Y, cv=splits)
    assert len(caught) == 1
    assert np.isnan(found.scores[:, 0]).tolist() == [[False, False, True]] * 2
    assert np.isfinite(found.mean_scores).all()
    assert np.isfinite(found.mean_ranks).all()
    assert np.isnan(found.task_gains_interval[1, 2]).all()


def test_a_fit_that_fails_has_no_score_and_the_others_go_on(tmp_path):
    X, Z = table()
    candidates = {"r": Ridge(), "f": Counting(tmp_path / "log", fail_at=X[0, 0])}
    splits = list(KFold(3).split(X))
    with pytest.warns(FitFailedWarning, match="2 of 6 fits .*\nf .2 times.: Runtime"):
        found = compare_sharing(candidates, X, Z, cv=splits, baseline="r")
    assert np.isnan(found.scores[1]).all(axis=1).tolist() == [False, True, True]
    assert np.isnan(found.fit_seconds[1]).tolist() == [False, True, True]
    assert np.isfinite(found.scores[0]).all()
    with pytest.warns(FitFailedWarning):
        zero = compare_sharing(
            candidates, X, Z, cv=splits, baseline="r", error_score=0.0
        )
    assert (zero.scores[1, 1:] == 0).all()


def test_a_fit_that_fails_may_end_the_comparison(tmp_path):
    X, Z = table()
    candidates = {"f": Counting(tmp_path / "log", fail_at=X[0, 0])}
    splits = list(KFold(3).split(X))
    with pytest.raises(RuntimeError, match="told to fail"):
        compare_sharing(candidates, X, Z, cv=splits, baseline="f", error_score="raise")


def test_where_all_fits_fail_there_is_nothing_to_compare():
    with says("All 2 fits of the comparison failed:\nc (2 times): ValueError: "):
        X, Z = table()
        Y = np.where(np.arange(60)[:, None] % 2, Z, np.nan)
        compare_sharing({"c": Ridge()}, X, Y, cv=2, baseline="c")


def test_a_comparison_that_was_interrupted_goes_on(tmp_path):
    X, Z = table()
    log, switch = tmp_path / "log", tmp_path / "switch"
    candidates = {"one": Counting(log), "two": Broken(log)}
    settings = {
        "cv": 3,
        "baseline": "one",
        "random_state": 0,
        "memory": tmp_path / "kept",
        "error_score": "raise",
    }
    switch.touch()
    with pytest.raises(RuntimeError, match="interrupted"):
        compare_sharing(candidates, X, Z, **settings)
    assert fits(log) == 3
    switch.unlink()
    found = compare_sharing(candidates, X, Z, **settings)
    assert fits(log) == 6
    again = compare_sharing(candidates, X, Z, **settings)
    assert fits(log) == 6
    np.testing.assert_array_equal(found.scores, again.scores)
    np.testing.assert_array_equal(found.fit_seconds, again.fit_seconds)
    more = {**candidates, "three": Counting(log, fail_at=-99.0)}
    compare_sharing(more, X, Z, **settings)
    assert fits(log) == 9


@pytest.mark.parametrize(
    "changed", ["X", "y", "seed", "metric", "settings", "splits", "version"]
)
def test_what_was_kept_is_not_used_for_anything_else(tmp_path, changed, monkeypatch):
    X, Z = table()
    log = tmp_path / "log"
    est = {"one": Counting(log)}
    settings = {
        "cv": KFold(2),
        "baseline": "one",
        "random_state": 0,
        "memory": Memory(tmp_path / "kept", verbose=0),
    }
    compare_sharing(est, X, Z, **settings)
    assert fits(log) == 2
    if changed == "X":
        X = X + 1e-9
    elif changed == "y":
        Z = Z + 1e-9
    elif changed == "seed":
        settings["random_state"] = 1
    elif changed == "metric":
        settings["scoring"] = "neg_mean_squared_error"
    elif changed == "settings":
        est = {"one": Counting(log, fail_at=-99.0)}
    elif changed == "version":
        monkeypatch.setattr(
            "skmtl.model_selection._fit_and_score.version", lambda name: "99"
        )
    else:
        settings["cv"] = [(np.arange(20, 60), np.arange(20))] * 2
    compare_sharing(est, X, Z, **settings)
    assert fits(log) > 2


def test_fits_that_failed_are_not_kept(tmp_path):
    X, Z = table()
    log = tmp_path / "log"
    candidates = {"r": Ridge(), "f": Counting(log, fail_at=X[0, 0])}
    settings = {"cv": KFold(2), "baseline": "r", "random_state": 0}
    settings["memory"] = str(tmp_path / "kept")
    for expected in (2, 3):  # the first fold does not fail, and is not fitted again
        with pytest.warns(FitFailedWarning):
            compare_sharing(candidates, X, Z, **settings)
        assert fits(log) == expected


@pytest.mark.parametrize("memory", [None, "kept"])
def test_jobs_give_the_same_answers_and_can_be_sent_to_processes(tmp_path, memory):
    X, Z = table()
    candidates = {"ridge": Ridge(), "forest": RandomForestRegressor(3)}
    settings = {"cv": 2, "baseline": "ridge", "random_state": 0}
    one = compare_sharing(candidates, X, Z, **settings)
    with parallel_config("threading"):
        two = compare_sharing(candidates, X, Z, n_jobs=2, **settings)
    np.testing.assert_array_equal(one.scores, two.scores)
    run = get_cached_fit(memory and str(tmp_path / memory), X, Z)
    args = Ridge(), X, Z, np.arange(40), np.arange(40, 60), 0, METRICS, np.nan
    sent = pickle.loads(pickle.dumps(run))
    np.testing.assert_array_equal(sent(*args).scores, run(*args).scores)


def test_progress_is_shown_on_request(capsys):
    X, Z = table()
    settings = {"cv": 2, "baseline": "d", "random_state": 0}
    compare_sharing({"d": DummyRegressor()}, X, Z, **settings)
    assert capsys.readouterr().err == ""
    compare_sharing({"d": DummyRegressor()}, X, Z, verbose=1, **settings)
    assert "2/2" in capsys.readouterr().err


def test_weightings_of_shared_gradients_do_not_complain():
    X, Z = table()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare_sharing(regressor(weighting="pcgrad"), X, Z, cv=2, random_state=0)


def test_a_search_is_a_candidate_like_any_other():
    X, Z = table()
    search = TaskWeightSearchCV(regressor(), n_candidates=2, factor=2, cv=2)
    candidates = {"hard": regressor(), "tuned": search}
    found = compare_sharing(candidates, X, Z, cv=2, random_state=0)
    assert found.names == ["independent", "hard", "tuned"]
    assert found.n_parameters[1] == found.n_parameters[2] > 0
    again = compare_sharing(candidates, X, Z, cv=2, random_state=0)
    np.testing.assert_array_equal(found.scores, again.scores)


class Plain(ClassifierMixin, BaseEstimator):
    """A classifier of another package, without probabilities."""

    def fit(self, X, y):
        self.classes_ = [np.unique(column) for column in y.T]
        self.common_ = [np.sort(column)[len(column) // 2] for column in y.T]
        return self

    def predict(self, X):
        return np.tile(self.common_, (len(X), 1))


def test_a_metric_of_probabilities_needs_them():
    X, Z = table()
    Y = (Z > 0).astype(int)
    with pytest.raises(ValueError, match="needs decision_function or predict_proba"):
        compare_sharing(
            {"p": Plain()},
            X,
            Y,
            cv=2,
            baseline="p",
            scoring="roc_auc",
            error_score="raise",
        )


BASELINE = "The 'baseline' parameter of compare_sharing must be the name of a candidate"
ESTIMATORS = "The 'estimators' parameter of compare_sharing must "
GRID = "The 'param_grid' parameter of compare_sharing "


@pytest.mark.parametrize(
    ("estimators", "settings", "message"),
    [
        ({"a": Ridge()}, {"baseline": "b"}, BASELINE),
        ({"a": Ridge()}, {}, f"{BASELINE} where none is an estimator of skmtl"),
        ({}, {}, f"{ESTIMATORS}hold at least one candidate"),
        ({"a": "ridge"}, {}, f"{ESTIMATORS}be an estimator or a dict"),
        ({1: Ridge()}, {}, f"{ESTIMATORS}be an estimator or a dict"),
        ("hard", {}, f"{ESTIMATORS}be an estimator or a dict"),
        ({"a": Ridge()}, {"param_grid": {"alpha": [1]}}, f"{GRID}is for a single"),
        (
            Ridge(),
            {"param_grid": {"alpha": [1, 1]}},
            f"{GRID}must hold each candidate once. Got ['1'] more than once",
        ),
        (
            {"a": Ridge()},
            {"baseline": "a", "memory": "kept"},
            "The 'random_state' parameter of compare_sharing must be an integer",
        ),
        (
            {"a": Ridge()},
            {"baseline": "a", "cv": KFold(2), "n_repeats": 2},
            "The 'n_repeats' parameter of compare_sharing must be 1 where 'cv' is no",
        ),
        (
            {"a": Ridge()},
            {"baseline": "a", "scoring": "r3"},
            "The 'metric' parameter must be",
        ),
        (
            {"a": Ridge()},
            {"baseline": "a", "scoring": make_multitask_scorer("r2", average="min")},
            "The 'scoring' parameter of compare_sharing must be how a single task",
        ),
        ({"a": Ridge()}, {"baseline": 3}, "The 'baseline' parameter of compare_sh"),
        ({"a": Ridge()}, {"cv": "five"}, "The 'cv' parameter of compare_sharing"),
        ({"a": Ridge()}, {"confidence": 1}, "The 'confidence' parameter of compare"),
        ({"a": Ridge()}, {"error_score": "nan"}, "The 'error_score' parameter of"),
        ({"a": Ridge()}, {"n_repeats": 0}, "The 'n_repeats' parameter of compare"),
        ({"a": Ridge()}, {"memory": 3}, "The 'memory' parameter of compare_sharing"),
        ({"a": Ridge()}, {"n_jobs": "all"}, "The 'n_jobs' parameter of compare_sh"),
        ({"a": Ridge()}, {"param_grid": "x"}, "The 'param_grid' parameter of comp"),
        ({"a": Ridge()}, {"groups": 3}, "The 'groups' parameter of compare_sharing"),
    ],
)
def test_bad_settings_are_refused(estimators, settings, message):
    with says(message):
        compare_sharing(estimators, *table(), **settings)
