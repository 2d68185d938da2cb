"""Prediction intervals and sets of a stated coverage, from out-of-fold predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skmtl._core.validation import divide_by_largest
from skmtl._data.targets import Targets
from skmtl._data.training_data import has_label
from skmtl._estimators.fitting.out_of_fold import OutOfFoldPredictions
from skmtl.training import InputSource, MembersNet, average_networks


def check_coverage(coverage: Any) -> None:
    """Reject what is not a share of labels that regions can be asked to hold."""
    if not isinstance(coverage, Real) or not 0 < float(coverage) < 1:
        raise ValueError(
            "The 'coverage' parameter must be a number strictly between 0 and 1, such "
            f"as 0.9 for regions that hold nine labels in ten. Got {coverage!r}."
        )


#: Scores of classes that differ by less are equal: networks in float32 round by the
#: number of samples that they are given.
ROUNDING = 1e-6

#: Sorted scores (n,) of a fold, and the share of weight (n + 1,) before each.
Levels = tuple[NDArray[np.floating[Any]], NDArray[np.float64]]
#: Those of a fold without labels.
EMPTY: Levels = np.empty(0), np.zeros(1)


@dataclass(frozen=True)
class CrossConformal:
    r"""Cross-conformal prediction from out-of-fold predictions.

    What an out-of-fold prediction misses its label by is the label's nonconformity
    score: :math:`|y - \hat y|` for regression and :math:`1 - \hat p_y` for
    classification (the least ambiguous sets of [1]_).

    Sets of classes are those of cross-conformal prediction [3]_, of which CV+ [4]_ [5]_
    is a variant. The scores :math:`s_i` of the samples of fold k are compared with the
    score :math:`s_k(x, c)` of a class under the network that has not been trained on
    fold k. For the coverage :math:`1 - \alpha` and n labels, class c belongs to the
    set of x if

    .. math::

        \sum_k |\{i \in \text{fold } k: s_i \geq s_k(x, c)\}| + 1 > \alpha (n + 1).

    Equal scores count in full, so that ties make sets larger. The sum divided by
    :math:`n + 1` is a mean of the p-values of single folds. At least
    :math:`1 - 2 \alpha` of the labels of exchangeable samples are held, up to a term
    in :math:`\sqrt{2 / n}`; typically :math:`1 - \alpha` or more, and more the less the
    networks agree, as on labels that do not depend on X. The most probable class
    always belongs to its set, which therefore is never empty; where the model is right
    more often than :math:`1 - \alpha`, sets of one class cover more.

    Intervals, and sets where the folds overlap (bootstrap), are centred at the average
    over the networks: all scores are compared with the score under the average, and a
    region holds the labels whose score is at most the
    :math:`\lceil (n + 1) (1 - \alpha) \rceil`-th smallest of n, all labels where n is
    too small. No theorem covers this without an assumption of stability. The error of
    the average is no larger than the mean error of the networks, but its probabilities
    may be more or less sure than theirs.

    Weighted labels count in proportion, as in [2]_; the new one is given the mean
    weight of the population that the weights describe, so that n is Kish's effective
    sample size and the scale of the weights does not matter. The coverage holds on
    average over samples, not for each class or each region of X.

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
    .. [5] Y. Romano, M. Sesia and E. J. Candès, "Classification with Valid and Adaptive
       Coverage", NeurIPS 2020.
    """

    targets: Targets
    scores: list[NDArray[np.floating[Any]]]  # Sorted, of each task's labels.
    # Share of weight, that of a new label included, up to each score.
    levels: list[NDArray[np.float64]]
    folds: list[NDArray[np.integer[Any]]]

    @classmethod
    def fit(
        cls,
        targets: Targets,
        outputs: Tensor,
        labels: Sequence[NDArray[Any]],
        weight: NDArray[np.float64] | None,
        fold: NDArray[np.integer[Any]] | None = None,
    ) -> Self:
        """Compute the scores of out-of-fold predictions."""
        # outputs of shape (n_samples, n_outputs), labels lists of shape (n_samples,),
        # weight of shape (n_samples, n_tasks), fold of shape (n_samples,), None where
        # new samples have one prediction.
        fold = np.zeros(len(outputs), dtype=np.int64) if fold is None else fold
        scores, levels, folds = [], [], []
        predicted = ~outputs.isnan().any(dim=1).numpy()
        for t, score in enumerate(_compute_nonconformity(targets, outputs, labels)):
            w = np.ones(len(score)) if weight is None else weight[:, t]
            mask = predicted & has_label(labels[t]) & (w > 0)
            order = np.argsort(score[mask])
            scores.append(score[mask][order])
            levels.append(_compute_levels(divide_by_largest(w[mask][order])))
            folds.append(fold[mask][order])
        return cls(targets, scores, levels, folds)

    def quantile(self, task: int, coverage: float) -> float:
        """Return the largest nonconformity of a region's labels."""
        # Less than rounding: 0.95 of 20 is 19, whatever the product says.
        place = np.searchsorted(self.levels[task], coverage * (1 - 1e-12))
        scores = self.scores[task]
        return float(scores[place]) if place < len(scores) else np.inf

    def predict_regions(
        self,
        outputs: Tensor,
        coverage: float,
        fold_outputs: Mapping[int, Tensor] | None = None,
    ) -> list[NDArray[Any]]:
        """Return the region of each row and task."""
        # outputs of shape (n_samples, n_outputs); fold_outputs, with which sets of
        # classes are made, are those of what has not been trained on each fold.
        check_coverage(coverage)
        fold_outputs = {0: outputs} if fold_outputs is None else fold_outputs
        values = self.targets.predict_values(outputs)
        of_folds = {k: self.targets.predict_proba(Z) for k, Z in fold_outputs.items()}
        regions: list[NDArray[Any]] = []
        for t, proba in enumerate(self.targets.predict_proba(outputs)):
            if proba is None:
                q = self.quantile(t, coverage)
                regions.append(values[:, t, None] + [-q, q])
                continue
            below = np.zeros(proba.shape)
            for k, probabilities in of_folds.items():
                scores, levels = self._fold_levels[t].get(k, EMPTY)
                places = np.searchsorted(scores, 1 - probabilities[t] - ROUNDING)  # type: ignore[operator]
                below += levels[places]
            top = proba.max(axis=1, keepdims=True)
            # Less than rounding, as for quantiles.
            regions.append((below < coverage * (1 - 1e-12)) | (proba == top))
        return regions

    @cached_property
    def _fold_levels(self) -> list[dict[int, Levels]]:
        """Sorted scores of each task's folds, and the share of weight before each."""
        levels_of_tasks = []
        for scores, levels, fold in zip(
            self.scores, self.levels, self.folds, strict=True
        ):
            weight = np.diff(levels, prepend=0.0)
            fold_masks = {int(k): fold == k for k in np.unique(fold)}
            levels_of_tasks.append(
                {
                    k: (scores[rows], np.concatenate([[0.0], weight[rows].cumsum()]))
                    for k, rows in fold_masks.items()
                }
            )
        return levels_of_tasks


def predict_fold_sets(
    net: MembersNet,
    targets: Targets,
    oof: OutOfFoldPredictions,
    source: InputSource,
    coverage: float,
) -> list[NDArray[Any]]:
    """Return sets of classes, each fold's scores compared with its own networks."""

    def calibrate(outputs: Tensor) -> Tensor:
        return net.calibrate_networks(outputs.double())

    fold_outputs, fold_networks = oof.fold_outputs, oof.fold_networks
    assert fold_outputs is not None  # the folds do not overlap
    assert fold_networks is not None
    conformal = CrossConformal.fit(
        targets, calibrate(fold_outputs), oof.labels, oof.weight, oof.group
    )
    parts = []
    for mean, each in net.iterate_outputs(source):
        of_folds = {
            k: calibrate(average_networks(each[networks], targets.blocks))
            for k, networks in enumerate(fold_networks)
            if networks.any()
        }
        parts.append(conformal.predict_regions(mean, coverage, of_folds))
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


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
