"""The benchmark of quality in tests/benchmarks keeps its word."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from sklearn.neural_network import MLPClassifier

pytest.importorskip("pandas")
sys.path.append(str(Path(__file__).parent / "benchmarks"))
import quality
import quality_models
import quality_report
import quality_scores
from quality_data import DataSet

IRIS = load_iris()


def run(monkeypatch: pytest.MonkeyPatch, out: Path, *options: str) -> list[dict]:
    """Run the script on a small set; return what its file holds."""
    always = ["--sets", "iris", "--seeds", "0", "--models", "LR", "--quick"]
    monkeypatch.setattr(
        sys, "argv", ["quality.py", "--out", str(out), *always, *options]
    )
    quality.main()
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_finished_and_failed_fits_are_kept(monkeypatch, tmp_path):
    out = tmp_path / "cells.jsonl"
    bad = ("--model", "bad=Estimator(alpha=-1)")
    cells = run(monkeypatch, out, *bad)
    assert [cell["model"] for cell in cells] == ["LR", "bad"]
    assert "'alpha'" in cells[1]["error"]
    assert cells[0]["auc"] > 0.9
    assert cells[0]["arrmse"] < 0.5
    assert run(monkeypatch, out, *bad) == cells
    assert len(run(monkeypatch, out, *bad, "--retry")) == 3
    other = ("--model", "bad=Estimator(alpha=-2)")
    assert "-2" in run(monkeypatch, out, *other)[-1]["error"]


def test_report_writes_tables_and_plots(monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    options = ("--report", str(tmp_path), "--models", "LR", "RF", "HGB", "MLP")
    run(
        monkeypatch,
        tmp_path / "kept.jsonl",
        *options,
        "--model",
        "net=Estimator(n_estimators=2, max_iter=2)",
    )
    assert "net against each other model" in capsys.readouterr().out
    assert '"iris", "' in (tmp_path / "results.inc").read_text()
    plots = {"differences.png", "ranks.png", "seconds.png"}
    assert {path.name for path in tmp_path.glob("*.png")} == plots


def test_per_task_with_missing_labels_and_gaps_in_codes():
    X, y = IRIS.data, IRIS.target.astype(float)
    Y = np.column_stack([np.where(y == 1, np.nan, y), np.zeros(150), X[:, 0]])
    kinds = ["classification", "classification", "regression"]
    est = quality_models.PerTask(LogisticRegression(max_iter=1000), Ridge(), kinds)
    est.fit(X, Y)
    seen = y != 1
    np.testing.assert_array_equal(est.predict(X)[seen, 0], y[seen])
    P = est.predict_proba(X)
    assert [p if p is None else p.shape for p in P] == [(150, 2), (150, 1), None]
    alone = LogisticRegression(max_iter=1000).fit(X[seen], y[seen])
    np.testing.assert_allclose(P[0], alone.predict_proba(X))


def test_joint_reads_probabilities_of_binary_tasks():
    Y = np.column_stack([IRIS.target == 0, IRIS.target == 2]).astype(float)
    model = MLPClassifier(max_iter=5, random_state=0)
    est = quality_models.Joint(model, Ridge(), ["classification"] * 2)
    with pytest.warns(match="Maximum iterations"):
        P = est.fit(IRIS.data, Y).predict_proba(IRIS.data)
    for t in range(2):
        np.testing.assert_array_equal(P[t].argmax(axis=1), est.predict(IRIS.data)[:, t])
    with pytest.raises(ValueError, match="all labels"):
        est.fit(IRIS.data, np.where(Y == 0, np.nan, Y))


def test_scores_are_those_of_scikit_learn():
    y = IRIS.target
    est = LogisticRegression(max_iter=1000, C=0.01).fit(IRIS.data, y)
    P = est.predict_proba(IRIS.data)
    assert P.min() > quality_scores.LEAST
    found = quality_scores.of_classes(y, est.predict(IRIS.data) == y, P)
    assert found["auc"] == pytest.approx(roc_auc_score(y, P, multi_class="ovr"))
    assert found["log_loss"] == pytest.approx(log_loss(y, P))
    parts = [average_precision_score(y == k, P[:, k]) for k in range(3)]
    assert found["ap"] == pytest.approx(np.mean(parts))


def test_calibration_error_is_that_of_bins():
    confidence = np.repeat([0.55, 0.85], 50)
    P = np.column_stack([confidence, 1 - confidence])
    codes = np.concatenate([np.arange(50) % 2, np.zeros(50, dtype=int)])
    found = quality_scores.calibration_error(codes, P)
    assert found == pytest.approx((0.05 + 0.15) / 2)


def test_scores_where_training_or_test_lacks_a_class():
    P = quality_scores.aligned(np.full((4, 2), 0.5), [0, 2], np.arange(3))
    np.testing.assert_array_equal(P, [[0.5, 0, 0.5]] * 4)
    codes = np.array([0, 1, 1, 0])
    found = quality_scores.of_classes(codes, codes == 0, P)
    assert found["auc"] == 0.5
    assert found["log_loss"] == pytest.approx(
        -(np.log(0.5 / 1.001) + np.log(0.001 / 1.001)) / 2
    )
    assert "auc" not in quality_scores.of_classes(codes * 0, codes == 0, P)


def test_split_keeps_a_limit_of_rows():
    data = DataSet("iris", IRIS.data, IRIS.target[:, None] * 1.0, ["multiclass"])
    train, test = data.split(0, max_rows=50)
    full, same = data.split(0)
    np.testing.assert_array_equal(test, same)
    assert len(train) == 50
    assert set(train) <= set(full)
    assert not set(train) & set(test)


def test_a_baseline_that_lacks_a_seed_of_a_set_has_no_rank_there():
    cells = [
        {"set": "a", "model": model, "seed": seed, "auc": auc, "fit_s": 1.0}
        for model, auc in (("net", 0.9), ("RF", 0.8), ("CatBoost-joint", 0.95))
        for seed in (0, 1)
        if (model, seed) != ("CatBoost-joint", 1)
    ]
    scores = quality_report.Results(cells).ranked("auc", "net")
    assert scores.loc["a"].to_dict() == pytest.approx(
        {"net": 0.9, "RF": 0.8, "CatBoost-joint": np.nan}, nan_ok=True
    )


def test_best_of_each_score_has_rank_one():
    import pandas as pd

    scores = pd.DataFrame({"a": [0.9, 0.5], "b": [0.8, 0.5]})
    assert quality_report.METRICS["auc"].ranks(scores)["a"].tolist() == [1, 1.5]
    assert quality_report.METRICS["arrmse"].ranks(scores)["a"].tolist() == [2, 1.5]
