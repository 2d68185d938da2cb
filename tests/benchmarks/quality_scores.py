"""Scores of the benchmark of quality: means over tasks, of the labels there are."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from quality_data import DataSet
from sklearn.metrics import average_precision_score, roc_auc_score

Array = NDArray[np.float64]

#: No probability counts as less in the log-loss.
LEAST = 1e-3
#: Bins of equal width of the calibration error.
N_BINS = 10
#: Coverages that regions are asked for, in percent.
COVERAGES = (80, 90, 95)


def scores(data: DataSet, est: Any, predicted: Array, rows: Any) -> dict[str, float]:
    """Return the mean over tasks of each score on the rows to test on.

    Parameters
    ----------
    rows : tuple of array
        The rows that trained, and those to test on.
    """
    train, test = (data.Y[part] for part in rows)
    known = "classification" in data.kinds
    P = est.predict_proba(data.rows(rows[1])) if known else None
    found: dict[str, list[float]] = {}
    for t, kind in enumerate(data.kinds):
        seen = ~np.isnan(test[:, t])
        y, z = test[seen, t], np.asarray(predicted)[seen, t]
        if kind == "regression":
            task = {"arrmse": relative_error(y, z, np.nanmean(train[:, t]))}
        else:
            classes = np.unique(data.Y[~np.isnan(data.Y[:, t]), t])
            probabilities = aligned(P[t][seen], est.classes_[t], classes)
            task = of_classes(np.searchsorted(classes, y), y == z, probabilities)
        for name, value in task.items():
            found.setdefault(name, []).append(value)
    for name, values in regions(data, est, rows[1]).items():
        found[name] = values
    means = {name: np.nanmean(values) for name, values in found.items() if values}
    return {name: float(value) for name, value in means.items() if np.isfinite(value)}


def regions(data: DataSet, est: Any, test: Any) -> dict[str, list[float]]:
    """Return how often regions hold the true label, and how large they are.

    The size of sets is in classes, that of intervals in standard deviations of the
    labels.
    """
    found: dict[str, list[float]] = {}
    if not hasattr(est, "oof_prediction_"):
        return found
    X, Y = data.rows(test), data.Y[test]
    for percent in COVERAGES:
        kinds = set(data.kinds)
        sets = est.predict_set(X, percent / 100) if kinds != {"regression"} else []
        ends = est.predict_interval(X, percent / 100) if "regression" in kinds else []
        for t in range(Y.shape[1]):
            region = (ends if data.kinds[t] == "regression" else sets)[t]
            seen = ~np.isnan(Y[:, t])
            y, region = Y[seen, t], region[seen]
            if not len(y) or region.shape[1] == 1:
                continue
            if data.kinds[t] == "regression":
                holds = (region[:, 0] <= y) & (y <= region[:, 1])
                size = (region[:, 1] - region[:, 0]).mean() / (np.std(y) or 1.0)
                kind = "intervals"
            else:
                classes = est.classes_[t]
                codes = np.searchsorted(classes, y).clip(max=len(classes) - 1)
                holds = region[np.arange(len(y)), codes] & (classes[codes] == y)
                size, kind = region.sum(axis=1).mean(), "sets"
            found.setdefault(f"{kind}_{percent}", []).append(float(holds.mean()))
            found.setdefault(f"{kind}_{percent}_size", []).append(float(size))
    return found


def relative_error(y: Array, z: Array, mean: float) -> float:
    """Return the root of the squared error over that of the mean that was trained on.

    Its mean over targets is the average relative RMSE (aRRMSE).
    """
    spread = ((y - mean) ** 2).sum()
    return float(np.sqrt(((y - z) ** 2).sum() / spread)) if spread else np.nan


def aligned(P: Array, known: Array, classes: Array) -> Array:
    """Return probabilities of all classes, zero for those that training had not."""
    full = np.zeros((len(P), len(classes)))
    full[:, np.searchsorted(classes, known)] = P
    return full


def of_classes(codes: Any, right: Any, P: Array) -> dict[str, float]:
    """Return the scores of a task, from codes of classes, one per column of P.

    AUC and average precision are means over classes against the rest, of those that
    some rows are of and some are not; of two classes, those of the second. The
    calibration error is that of the most probable class (Guo et al., ICML 2017).
    """
    if not len(codes):
        return {}
    classes = np.arange(P.shape[1])
    clipped = np.clip(P, LEAST, None)
    clipped /= clipped.sum(axis=1, keepdims=True)
    found = {
        "accuracy": float(np.mean(right)),
        "log_loss": float(-np.log(clipped[np.arange(len(codes)), codes]).mean()),
    }
    found["calibration_error"] = calibration_error(codes, P)
    parts = [k for k in classes if 0 < (codes == k).sum() < len(codes)]
    parts = [1] if len(classes) == 2 and parts else parts
    for name, score in (("auc", roc_auc_score), ("ap", average_precision_score)):
        if parts:
            found[name] = float(np.mean([score(codes == k, P[:, k]) for k in parts]))
    return found


def calibration_error(codes: Any, P: Array) -> float:
    """Return the mean difference between confidence and accuracy, weighted by bins."""
    confidence = P.max(axis=1)
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    gaps = np.bincount(bins, confidence - (P.argmax(axis=1) == codes), N_BINS)
    return float(np.abs(gaps).sum() / len(codes))
