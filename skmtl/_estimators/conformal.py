"""Prediction intervals and sets of a stated coverage, from out-of-fold predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skmtl._core.validation import divide_by_largest
from skmtl._data.targets import Targets
from skmtl._data.training_data import has_label


def check_coverage(coverage: Any) -> None:
    """Refuse what is no share of labels that regions can be asked to hold."""
    if not isinstance(coverage, Real) or not 0 < float(coverage) < 1:
        raise ValueError(
            "The 'coverage' parameter must be a number strictly between 0 and 1, such "
            f"as 0.9 for regions that hold nine labels in ten. Got {coverage!r}."
        )


@dataclass(frozen=True)
class CrossConformal:
    r"""Cross-conformal prediction around the averaged prediction of the members.

    What an out-of-fold prediction misses its label by is the label's nonconformity:
    :math:`|y - \hat y|` for regression and :math:`1 - \hat p_y` for classification
    (the least ambiguous sets of [1]_). A region holds the labels whose nonconformity
    with the model's prediction is at most the :math:`\lceil (n + 1) c \rceil`-th
    smallest of n, all labels where n is too small for the coverage c. The most
    probable class always belongs to its set, which therefore is never empty; where
    the model is right more often than c, sets of one class cover more than c.

    Weighted labels count in proportion, as in [2]_; the new one is given the mean
    weight of the population that the weights describe, so that n is Kish's effective
    sample size and the scale of the weights does not matter.

    Regions around each fold's own prediction, as in cross-conformal prediction [3]_
    and CV+ [4]_, would hold at least :math:`1 - 2 \alpha` of the labels of
    exchangeable rows, up to a term in :math:`\sqrt{2 / n}`, with
    :math:`\alpha = 1 - c`. The centre here is the average over the members instead,
    which no such theorem covers without an assumption of stability; it errs no more
    than its members do on average, so that the coverage typically is c or a little
    more. It holds on average over rows, not for each class or each region of X.

    Parameters
    ----------
    targets : Targets
        The tasks.
    scores : list of ndarray
        Sorted nonconformity of each task's labels.
    levels : list of ndarray
        Coverage that each score gives.

    References
    ----------
    .. [1] M. Sadinle, J. Lei and L. Wasserman, "Least Ambiguous Set-Valued
       Classifiers with Bounded Error Levels", Journal of the American Statistical
       Association 2019.
    .. [2] R. J. Tibshirani, R. Foygel Barber, E. J. Candès and A. Ramdas, "Conformal
       Prediction Under Covariate Shift", NeurIPS 2019.
    .. [3] V. Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial
       Intelligence 2015.
    .. [4] R. Foygel Barber, E. J. Candès, A. Ramdas and R. J. Tibshirani, "Predictive
       inference with the jackknife+", Annals of Statistics 2021.
    """

    targets: Targets
    scores: list[NDArray[np.floating[Any]]]
    levels: list[NDArray[np.float64]]

    @classmethod
    def fit(
        cls,
        targets: Targets,
        outputs: Tensor,
        labels: Sequence[NDArray[Any]],
        weight: NDArray[np.float64] | None,
    ) -> Self:
        """Keep how far out-of-fold predictions are from the labels."""
        # outputs of shape (n_samples, n_outputs), labels lists of shape (n_samples,),
        # weight of shape (n_samples, n_tasks).
        scores, levels = [], []
        predicted = ~outputs.isnan().any(dim=1).numpy()
        for t, score in enumerate(_compute_nonconformity(targets, outputs, labels)):
            w = np.ones(len(score)) if weight is None else weight[:, t]
            kept = predicted & has_label(labels[t]) & (w > 0)
            order = np.argsort(score[kept])
            scores.append(score[kept][order])
            levels.append(_compute_levels(divide_by_largest(w[kept][order])))
        return cls(targets, scores, levels)

    def quantile(self, task: int, coverage: float) -> float:
        """Return the largest nonconformity of a region's labels."""
        # Less than rounding: 0.95 of 20 is 19, whatever the product says.
        place = np.searchsorted(self.levels[task], coverage * (1 - 1e-12))
        scores = self.scores[task]
        return float(scores[place]) if place < len(scores) else np.inf

    def predict_regions(self, outputs: Tensor, coverage: float) -> list[NDArray[Any]]:
        """Return the region of each row and task."""
        # outputs of shape (n_samples, n_outputs).
        check_coverage(coverage)
        values = self.targets.predict_values(outputs)
        regions: list[NDArray[Any]] = []
        for t, proba in enumerate(self.targets.predict_proba(outputs)):
            q = self.quantile(t, coverage)
            if proba is None:
                regions.append(values[:, t, None] + [-q, q])
            else:
                top = proba.max(axis=1, keepdims=True)
                regions.append((1 - proba <= q) | (proba == top))
        return regions


def _compute_nonconformity(
    targets: Targets, outputs: Tensor, labels: Sequence[NDArray[Any]]
) -> list[NDArray[np.floating[Any]]]:
    """Return what each label misses its prediction by; nonsense where it misses."""
    values = targets.predict_values(outputs)
    scores: list[NDArray[np.floating[Any]]] = []
    for t, proba in enumerate(targets.predict_proba(outputs)):
        if proba is None:
            truth = labels[t] * targets.scale[t] + targets.mean[t]
            scores.append(abs(truth - values[:, t]))
        else:
            scores.append(1 - proba[np.arange(len(proba)), labels[t]])
    return scores


def _compute_levels(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of all weight, the new label's included, up to each label."""
    total = weight.sum()
    new = (weight**2).sum() / total if len(weight) else 0.0
    return weight.cumsum() / (total + new)
