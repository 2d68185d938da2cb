"""Reports hold the scores of each task and what a constant prediction scores."""

import re
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from sklearn.linear_model import LinearRegression
from sklearn.metrics import make_scorer
from sklearn.multioutput import MultiOutputClassifier
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from skmtl import MultiTaskEstimator
from skmtl.metrics import delta_m, multitask_report, task_scores

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4))
WORDS = np.array(["high", "low", "mid"])
Y = pd.DataFrame(
    {
        "sick": X[:, 0] > 0.5,
        "stage": WORDS[np.digitize(X[:, 1], [-0.5, 1.0])],
        "size": X[:, 2] + RNG.normal(size=90),
    }
).astype({"sick": object, "stage": object})
Y.loc[:19, "stage"] = None
CODES = np.column_stack([X[:, 0] > 0, np.digitize(X[:, 1], [-1, 0.5])])


def says(start):
    return pytest.raises(ValueError, match=re.escape(start))


@pytest.fixture(scope="module")
def mixed():
    return MultiTaskEstimator(max_iter=3, random_state=0, n_estimators=1).fit(X, Y)


def test_a_row_per_task_with_a_baseline_for_each_score(mixed):
    frame = multitask_report(mixed, X, Y).frame
    assert frame.index.tolist() == ["sick", "stage", "size"]
    assert frame["kind"].tolist() == ["classification", "classification", "regression"]
    assert frame["support"].tolist() == [90, 70, 90]
    np.testing.assert_allclose(frame["missing"], [0, 20 / 90, 0])
    names = [
        "accuracy",
        "balanced_accuracy",
        "roc_auc_ovr",
        "r2",
        "neg_mean_absolute_error",
    ]
    pairs = [part for name in names for part in (name, f"{name} baseline")]
    assert frame.columns[3:].tolist() == pairs
    labels, proba = mixed.predict_frame(X), mixed.predict_proba(X)
    stage = Y["stage"][20:]
    assert frame.loc["stage", "accuracy"] == np.mean(stage == labels["stage"][20:])
    auc = sk.roc_auc_score(stage, proba[1][20:], multi_class="ovr")
    assert frame.loc["stage", "roc_auc_ovr"] == pytest.approx(auc)
    assert frame.loc["size", "r2"] == pytest.approx(
        sk.r2_score(Y["size"], labels["size"])
    )
    assert frame.loc[["sick", "stage"], "r2"].isna().all()
    assert np.isnan(frame.loc["size", "accuracy"])


def test_the_baseline_predicts_what_is_commonest_or_the_mean(mixed):
    frame = multitask_report(mixed, X, Y, ["accuracy", "neg_log_loss", "r2"]).frame
    stage = Y["stage"][20:].value_counts(normalize=True)
    assert frame.loc["stage", "accuracy baseline"] == pytest.approx(stage.max())
    entropy = -(stage * np.log(stage)).sum()
    assert frame.loc["stage", "neg_log_loss baseline"] == pytest.approx(-entropy)
    assert frame.loc["size", "r2 baseline"] == pytest.approx(0, abs=1e-12)
    usual = multitask_report(mixed, X, Y).frame
    chance = usual.loc["stage", ["balanced_accuracy baseline", "roc_auc_ovr baseline"]]
    np.testing.assert_allclose(chance.astype(float), [1 / 3, 1 / 2])
    error = abs(Y["size"] - Y["size"].mean()).mean()
    found = usual.loc["size", "neg_mean_absolute_error baseline"]
    assert found == pytest.approx(-error)


def test_weights_count_for_scores_and_baseline():
    est = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, CODES)
    weight = RNG.random(90)
    frame = multitask_report(est, X, CODES, ["accuracy"], sample_weight=weight).frame
    expected = task_scores(CODES, est.predict(X), sample_weight=weight)
    np.testing.assert_allclose(frame["accuracy"], expected)
    most = [max(np.bincount(y.astype(int), weight)) / weight.sum() for y in CODES.T]
    np.testing.assert_allclose(frame["accuracy baseline"], most)


def test_columns_may_be_named_and_metrics_be_given():
    est = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, CODES)
    f2 = make_scorer(sk.fbeta_score, beta=2, average="macro")
    metrics = {"F2": f2, "auc": {"task0": "roc_auc", 1: "roc_auc_ovr"}}
    frame = multitask_report(est, X, CODES, metrics).frame
    assert frame.columns[3::2].tolist() == ["F2", "auc"]
    np.testing.assert_allclose(frame["F2"], task_scores(CODES, est.predict(X), f2))
    same = multitask_report(est, X, CODES, ["roc_auc_ovr", sk.accuracy_score]).frame
    assert same.columns[3::2].tolist() == ["roc_auc_ovr", "accuracy_score"]
    np.testing.assert_allclose(frame["auc"], same["roc_auc_ovr"])


def test_without_probabilities_there_is_no_area():
    est = MultiOutputClassifier(LinearSVC()).fit(X, CODES)
    columns = multitask_report(est, X, CODES).frame.columns
    assert columns[3::2].tolist() == ["accuracy", "balanced_accuracy"]


def test_the_text_ends_with_means_and_shows_what_is_not_defined(mixed):
    report = multitask_report(mixed, X, Y, ["accuracy", "r2"])
    lines = str(report).splitlines()
    assert len(lines) == 5
    assert lines[1].split()[:3] == ["sick", "classification", "90"]
    assert lines[1].split()[-2:] == ["\N{EN DASH}"] * 2
    assert "22.2 %" in lines[2]
    mean = report.frame["accuracy"].mean()
    assert lines[4].split()[:4] == ["mean", "over", "tasks", f"{mean:.3f}"]
    assert report.mean["accuracy"] == mean
    html = report._repr_html_()
    assert html.count("<tr") == 5
    assert f"<td>{mean:.3f}</td>" in html


def test_names_are_escaped_in_html():
    table = pd.DataFrame(CODES, columns=["<b>", "a & b"])
    est = DecisionTreeClassifier(max_depth=2).fit(X, table)
    html = multitask_report(est, X, table, ["accuracy"])._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_labels_of_one_class_leave_a_dash():
    est = DecisionTreeClassifier(max_depth=2).fit(X, CODES)
    one = np.column_stack([CODES[:, 0], np.zeros(90)])
    report = multitask_report(est, X, one, ["accuracy", "roc_auc_ovr"])
    assert np.isnan(report.frame.loc["task1", "roc_auc_ovr"])
    assert report.frame.loc["task1", "accuracy baseline"] == 1


def test_what_cannot_be_scored_is_refused():
    est = LinearRegression().fit(X, X[:, :2])
    with says("The metric 'accuracy' is for classification, but task 'task0' is one"):
        multitask_report(est, X, X[:, :2], ["accuracy"])
    with says("The 'metric' parameter must be a function"):
        multitask_report(est, X, X[:, :2], ["R2"])
    with says("y has no label to score"):
        multitask_report(est, X, np.full((90, 2), np.nan))
    with says("The 'metrics' parameter of multitask_report must be"):
        multitask_report(est, X, X[:, :2], "r2")


def test_without_pandas_the_error_names_the_cure(monkeypatch):
    est = LinearRegression().fit(X, X[:, :2])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"multitask_report needs pandas: install it"):
        multitask_report(est, X, X[:, :2])


# -------------------------------------------------------------------------- delta_m
def test_delta_m_is_the_mean_relative_gain():
    assert delta_m([0.6, 0.9], [0.5, 0.9]) == pytest.approx(0.1)
    assert delta_m([0.6, 0.9], [0.5, 0.9], greater_is_better=False) == pytest.approx(
        -0.1
    )
    better = [True, False]
    assert delta_m([0.6, 3], [0.5, 4], better) == pytest.approx((0.2 + 0.25) / 2)
    assert delta_m([-1.0], [-2.0]) == 0.5  # of negative scores the greater are better


def test_delta_m_of_splits_is_relative_to_the_mean_over_splits():
    new, old = np.array([[0.6, 4], [0.8, 2]]), np.array([[0.3, 2], [0.5, np.nan]])
    assert delta_m(new, old) == pytest.approx((0.3 / 0.4 + 2 / 2) / 2)
    assert delta_m(pd.DataFrame(new), pd.DataFrame(old)) == delta_m(new, old)


def test_delta_m_leaves_out_what_says_nothing():
    assert delta_m([0.6, 0.3, np.nan], [0.5, 0.0, 1]) == pytest.approx(0.2)
    assert np.isnan(delta_m([np.nan], [1.0]))


def test_delta_m_refuses_what_does_not_fit():
    with says("The 'scores' and 'baseline_scores' parameters of delta_m must have"):
        delta_m([1, 2], [1, 2, 3])
    with says("The 'greater_is_better' parameter of delta_m must be a bool, or one"):
        delta_m([1, 2], [1, 2], [True])
    with says("The 'greater_is_better' parameter of delta_m must be a bool, or one"):
        delta_m([1, 2], [1, 2], -1)
