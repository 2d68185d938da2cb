"""Cut-offs of binary tasks, tuned on out-of-fold predictions."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    jaccard_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
)
from torch import Tensor

from skmtl._targets import Targets
from skmtl._validation import over_largest


def _scores() -> dict[str, Callable[..., float]]:
    scores: dict[str, Callable[..., float]] = {
        "accuracy": accuracy_score,
        "balanced_accuracy": balanced_accuracy_score,
        "matthews_corrcoef": matthews_corrcoef,
    }
    for function in (f1_score, jaccard_score, precision_score, recall_score):
        name = function.__name__.removesuffix("_score")
        scores[name] = partial(function, zero_division=0)
        for average in ("macro", "micro", "weighted"):
            scores[f"{name}_{average}"] = partial(scores[name], average=average)
    return scores


#: What compares predicted labels, by the names of scikit-learn's scorers.
SCORES = _scores()


def check_threshold_score(score: Any) -> None:
    """Refuse what names no score of the labels that a binary task predicts.

    Parameters
    ----------
    score : str
        Name as given by the user.
    """
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
    """Return the probability above which each binary task predicts its second class.

    Parameters
    ----------
    targets : Targets
        The tasks.
    outputs : Tensor of shape (n_samples, n_outputs)
        Packed out-of-fold outputs; NaN in rows that have none.
    labels : sequence of ndarray of shape (n_samples,)
        Encoded labels of each task.
    weight : ndarray of shape (n_samples, n_tasks) or None
        Weights of the labels.
    score : str
        What to maximise, one of `SCORES`.

    Returns
    -------
    ndarray of shape (n_tasks,)
        NaN where a task is not binary, or has no two classes among the rows that
        have a label and an out-of-fold output.
    """
    check_threshold_score(score)
    thresholds = np.full(targets.n_tasks, np.nan)
    for tasks, proba in _second_class(targets, outputs):
        for t, p in zip(tasks, proba.T, strict=True):
            w = np.ones(len(p)) if weight is None else weight[:, t]
            kept = (labels[t] >= 0) & ~np.isnan(p) & (w > 0)
            codes = labels[t][kept]
            if len(np.unique(codes)) == 2:
                own = over_largest(w[kept])
                thresholds[t] = _best_cut(codes, p[kept], own, SCORES[score])
    return thresholds


def thresholded_codes(
    targets: Targets, outputs: Tensor, thresholds: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the predicted class of each task, cut at thresholds where there are any.

    Parameters
    ----------
    targets : Targets
        The tasks.
    outputs : Tensor of shape (n_samples, n_outputs)
        Packed outputs of the model.
    thresholds : ndarray of shape (n_tasks,)
        What `tune_thresholds` returns; where NaN, the most probable class counts.

    Returns
    -------
    ndarray of shape (n_samples, n_tasks)
        Positions among the tasks' classes.
    """
    codes = targets.codes(outputs)
    for tasks, proba in _second_class(targets, outputs):
        cuts = thresholds[tasks]
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
            outputs[:, block.start : block.stop].sigmoid().double().numpy(),
        )
        for block in targets.blocks
        if block.kind == "binary"
    ]


def _best_cut(
    codes: NDArray[Any],
    p: NDArray[np.float64],
    weight: NDArray[np.float64],
    score: Callable[..., float],
) -> float:
    cuts = _candidates(codes, p, weight)
    # Labels and predictions meet in four ways only, so that four rows with the
    # weights of these ways score what all rows score.
    values = np.array(
        [
            score([0, 0, 1, 1], [0, 1, 0, 1], sample_weight=ways)
            for ways in _confusions(codes, p, weight, cuts)
        ]
    )
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


def _confusions(
    codes: NDArray[Any],
    p: NDArray[np.float64],
    weight: NDArray[np.float64],
    cuts: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return weights of true and false negatives and positives at each cut.

    Their order is that of (label, prediction): (0, 0), (0, 1), (1, 0), (1, 1).
    """
    n_below = np.searchsorted(cuts, p)  # a row is positive at these cuts
    columns = []
    for code in (0, 1):
        own = codes == code
        counts = np.bincount(n_below[own], weight[own], len(cuts) + 1)
        negative = counts.cumsum()
        columns += [negative[:-1], negative[-1] - negative[:-1]]
    return np.stack(columns, axis=1)  # (n_cuts, 4)
