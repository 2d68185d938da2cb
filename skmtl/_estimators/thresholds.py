"""Cut-offs of binary tasks, tuned on out-of-fold predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

from skmtl._core.validation import divide_by_largest
from skmtl._data.output_kinds import BinaryBlock
from skmtl._data.targets import Targets

#: Scores of one class that averages are made of.
OF_CLASSES = ("f1", "jaccard", "precision", "recall")
AVERAGES = ("macro", "micro", "weighted")
#: What compares predicted labels, by the names of scikit-learn's scorers.
SCORES = (
    *("accuracy", "balanced_accuracy", "matthews_corrcoef", *OF_CLASSES),
    *(f"{name}_{average}" for name in OF_CLASSES for average in AVERAGES),
)


def score_confusions(
    score: str, confusions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a score of binary predictions for many confusion matrices at once."""
    # Functions of scikit-learn take one at a time, in milliseconds each.
    # confusions of shape (n, 4); returns (n,).
    # Products of weights overflow where shares do not.
    tn, fp, fn, tp = (confusions / confusions.max(axis=1, keepdims=True)).T
    # (2, n): what is right, predicted and true, of the first class and of the second
    right, predicted = np.stack([tn, tp]), np.stack([tn + fn, tp + fp])
    true = np.stack([tn + fp, tp + fn])
    if score == "accuracy":
        return _ratio(tn + tp, true.sum(axis=0))
    if score == "balanced_accuracy":
        return _ratio(right, true).mean(axis=0)
    if score == "matthews_corrcoef":
        return _ratio(tp * tn - fp * fn, np.sqrt((predicted * true).prod(axis=0)))
    name, _, average = score.partition("_")
    if average == "micro":
        sums = (part.sum(axis=0) for part in (right, predicted, true))
        return _score_class(name, *sums)
    values = _score_class(name, right, predicted, true)
    if average == "macro":
        return values.mean(axis=0)
    if average == "weighted":
        return _ratio((values * true).sum(axis=0), true.sum(axis=0))
    return values[1]


def _score_class(
    name: str,
    right: NDArray[np.float64],
    predicted: NDArray[np.float64],
    true: NDArray[np.float64],
) -> NDArray[np.float64]:
    if name == "precision":
        return _ratio(right, predicted)
    if name == "recall":
        return _ratio(right, true)
    if name == "jaccard":
        return _ratio(right, predicted + true - right)
    return _ratio(2 * right, predicted + true)


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def check_threshold_score(score: Any) -> None:
    """Reject what names no score of the labels that a binary task predicts."""
    if not isinstance(score, str) or score not in SCORES:
        raise ValueError(
            "The 'threshold' parameter must be None or the name of a score that "
            f"compares predicted labels, one of {sorted(SCORES)}. Got {score!r}."
        )


def tune_thresholds(
    targets: Targets,
    outputs: Tensor,
    labels: Sequence[NDArray[Any]],
    weight: NDArray[np.float64] | None,
    score: str,
) -> NDArray[np.float64]:
    """Return the probability above which each binary task predicts its second class."""
    # outputs of shape (n_samples, n_outputs), labels lists of shape (n_samples,),
    # weight of shape (n_samples, n_tasks); returns (n_tasks,).
    check_threshold_score(score)
    thresholds = np.full(targets.n_tasks, np.nan)
    for tasks, proba in _second_class(targets, outputs):
        for t, p in zip(tasks, proba.T, strict=True):
            w = np.ones(len(p)) if weight is None else weight[:, t]
            rows = (labels[t] >= 0) & ~np.isnan(p) & (w > 0)
            codes = labels[t][rows]
            if len(np.unique(codes)) == 2:
                weights = divide_by_largest(w[rows])
                thresholds[t] = _find_best_threshold(codes, p[rows], weights, score)
    return thresholds


def predict_codes(
    targets: Targets, outputs: Tensor, thresholds: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the predicted class of each task, by thresholds where there are any."""
    # outputs of shape (n_samples, n_outputs), thresholds of shape (n_tasks,) or
    # (n_samples, n_tasks); returns (n_samples, n_tasks).
    codes = targets.predict_codes(outputs)
    for tasks, proba in _second_class(targets, outputs):
        cuts = thresholds[..., tasks]
        codes[:, tasks] = np.where(np.isnan(cuts), codes[:, tasks], proba > cuts)
    return codes


def _second_class(
    targets: Targets, outputs: Tensor
) -> list[tuple[list[int], NDArray[np.float64]]]:
    """Return binary tasks and their probabilities of the second class, by block."""
    return [
        (
            list(block.tasks),
            # In the precision of predict_proba, so that both cut alike.
            block.select(outputs).double().sigmoid().numpy(),
        )
        for block in targets.blocks
        if isinstance(block, BinaryBlock)
    ]


def _find_best_threshold(
    codes: NDArray[Any],
    p: NDArray[np.float64],
    weight: NDArray[np.float64],
    score: str,
) -> float:
    cuts = _candidates(codes, p, weight)
    values = score_confusions(score, _count_confusions(codes, p, weight, cuts))
    best = cuts[values >= values.max() - 1e-12]
    return float(best[np.argmin(abs(best - 0.5))])


def _candidates(
    codes: NDArray[Any], p: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return 0.5 and the middles between steps of an isotonic regression, sorted.

    The steps are the corners of the ROC curve's convex hull [1]_, where scores that
    rise with the true and fall with the false positives are highest: a few cut-offs
    do for many rows.

    References
    ----------
    .. [1] T. Fawcett and A. Niculescu-Mizil, "PAV and the ROC convex hull", Machine
       Learning 2007.
    """
    steps = IsotonicRegression().fit(p, codes, sample_weight=weight)
    values = np.concatenate([[0.0], steps.X_thresholds_, [1.0]])
    rises = np.concatenate([[True], np.diff(steps.y_thresholds_) > 0, [True]])
    return np.union1d((values[:-1] + values[1:])[rises] / 2, 0.5)


def _count_confusions(
    codes: NDArray[Any],
    p: NDArray[np.float64],
    weight: NDArray[np.float64],
    cuts: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return weights of true and false negatives and positives at each cut."""
    # Their order is that of (label, prediction): (0, 0), (0, 1), (1, 0), (1, 1).
    n_below = np.searchsorted(cuts, p)  # a row is positive at these cuts
    columns = []
    for code in (0, 1):
        of_class = codes == code
        counts = np.bincount(n_below[of_class], weight[of_class], len(cuts) + 1)
        negative = counts.cumsum()
        columns += [negative[:-1], negative[-1] - negative[:-1]]
    return np.stack(columns, axis=1)  # (n_cuts, 4)
