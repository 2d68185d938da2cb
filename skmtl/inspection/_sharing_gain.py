"""Whether sharing is worth it, task by task."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state

from skmtl._core.numerics import mean_of_known
from skmtl._core.specs import resolve_spec
from skmtl._core.validation import Interval, import_pandas, validate_params
from skmtl._data.labels import read_labels
from skmtl._data.stratification import make_stratified_folds
from skmtl._data.targets import Targets
from skmtl._estimators.base import MultiTaskBase
from skmtl._estimators.scores import METRICS
from skmtl.inspection._check_estimator import check_multitask
from skmtl.metrics._delta_m import compute_relative_gains
from skmtl.metrics._evaluation import check_metrics, resolve_metrics
from skmtl.metrics._unwrap import unwrap_pipeline
from skmtl.model_selection._candidates import INDEPENDENT
from skmtl.model_selection._check_cv import (
    N_FOLDS,
    check_multitask_cv,
    check_repeats,
    is_number_of_folds,
)
from skmtl.model_selection._fit_and_score import FitResult, fit_and_score
from skmtl.model_selection._statistics import (
    compute_corrected_interval,
    compute_test_ratio,
)
from skmtl.sharing import SHARING, Independent

Array = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class SharingGain:
    """What sharing is worth to each task, by `skmtl.inspection.sharing_gain`.

    Parameters
    ----------
    task_names : list
        Names of the tasks.
    scores : ndarray of shape (n_splits, n_tasks)
        Test scores of the estimator; NaN for a task without test labels.
    independent_scores : ndarray of shape (n_splits, n_tasks)
        Those of the same with ``sharing="independent"``.
    gain : ndarray of shape (n_tasks,)
        Mean difference of the scores, positive where sharing is better.
    interval : ndarray of shape (n_tasks, 2)
        Its confidence interval; NaN for a task that fewer than two splits can score.
    helps : ndarray of bool of shape (n_tasks,)
        Which tasks sharing helps: their interval lies above zero.
    hurts : ndarray of bool of shape (n_tasks,)
        Which tasks sharing hurts, "negative transfer": it lies below zero.
    delta_m : float
        Mean over tasks of the gain as a share of the independent score.
    delta_m_interval : ndarray of shape (2,)
        Its confidence interval.
    seconds : float
        Mean time of a fit of the estimator.
    independent_seconds : float
        That of the same with ``sharing="independent"``.
    n_parameters : int
        Number of trained parameters of the estimator, of all members together.
    independent_n_parameters : int
        That of the same with ``sharing="independent"``.
    """

    task_names: list[Any]
    scores: Array
    independent_scores: Array
    gain: Array
    interval: Array
    helps: NDArray[np.bool_]
    hurts: NDArray[np.bool_]
    delta_m: float
    delta_m_interval: Array
    seconds: float
    independent_seconds: float
    n_parameters: int
    independent_n_parameters: int

    def to_frame(self) -> Any:
        """Return the table of the tasks.

        Returns
        -------
        pandas.DataFrame
            One row per task, with its mean scores "shared" and "independent", the
            "gain", the ends "low" and "high" of its interval, and whether sharing
            "helps" or "hurts".
        """
        low, high = self.interval.T
        columns = {
            "shared": mean_of_known(self.scores, 0),
            "independent": mean_of_known(self.independent_scores, 0),
            "gain": self.gain,
            "low": low,
            "high": high,
            "helps": self.helps,
            "hurts": self.hurts,
        }
        return import_pandas("to_frame").DataFrame(columns, index=self.task_names)

    def __repr__(self) -> str:
        low, high = self.delta_m_interval
        helped, hurt = (
            [name for name, yes in zip(self.task_names, flags, strict=True) if yes]
            for flags in (self.helps, self.hurts)
        )
        return (
            f"SharingGain(delta_m={self.delta_m:+.3f} [{low:+.3f}, {high:+.3f}], "
            f"helps={helped}, hurts={hurt})"
        )


@validate_params(
    {
        "estimator": "no_validation",
        "X": "no_validation",
        "Y": "no_validation",
        "cv": ["cv_object"],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
        "scoring": [str, callable, Mapping, None],
        "greater_is_better": ["boolean"],
        "confidence": [Interval(Real, 0, 1, closed="neither")],
    },
    prefer_skip_nested_validation=False,  # of the estimators that it fits
)
def sharing_gain(
    estimator: BaseEstimator,
    X: Any,
    Y: ArrayLike,
    *,
    cv: object = 5,
    n_repeats: int = 1,
    scoring: object = None,
    greater_is_better: bool = True,
    confidence: float = 0.95,
) -> SharingGain:
    r"""Measure what sharing is worth to each task, against one network per task.

    On each split a copy of the estimator and one with ``sharing="independent"`` and
    without a relation are fitted from the same seed and score the same rows. The
    interval of a task's mean difference :math:`\bar d` over J splits is

    .. math:: \bar d \pm t_{J - 1} \sqrt{\left(\frac{1}{J} +
       \frac{n_{test}}{n_{train}}\right) s^2}

    with the quantile t of Student's distribution and the variance s² of the
    differences: training sets overlap, so that their spread alone would make it too
    narrow [1]_. The overall measure is the mean relative improvement [2]_,

    .. math:: \Delta_m = \frac{1}{T} \sum_t \frac{\bar d_t}{|M_t|}

    with the mean score :math:`M_t` of independent networks; it says little where one is
    close to zero, and leaves out tasks where it is zero.

    Parameters
    ----------
    estimator : estimator
        A multi-task estimator, or a pipeline that ends with one. Its ``random_state``
        decides splits and seeds.
    X : array-like or sparse matrix of shape (n_samples, ...)
        Inputs.
    Y : array-like of shape (n_samples, n_tasks)
        Labels; missing ones as in ``fit``.
    cv : int, splitter or iterable, default=5
        Number of folds, stratified over all tasks as far as possible, or how to split:
        a splitter of scikit-learn or pairs of row numbers. None is 5.
    n_repeats : int, default=1
        How often to deal the rows to folds anew, for a number of folds.
    scoring : str, callable, scorer or dict, default=None
        Metric of each task as in `skmtl.metrics.task_scores`, such as "roc_auc" or
        `sklearn.metrics.balanced_accuracy_score`. None is the accuracy of
        classification and R² of regression.
    greater_is_better : bool, default=True
        Whether a higher score is better, as it always is for names. For a function that
        returns an error, gains are how far it falls.
    confidence : float, default=0.95
        Level of the intervals, of each task by itself.

    Returns
    -------
    SharingGain
        Scores, gains and intervals of the tasks, time and size of both.

    Raises
    ------
    ValueError
        If the estimator is none of skmtl or shares nothing, if there are more folds
        than rows, or if there is no such metric.

    References
    ----------
    .. [1] C. Nadeau and Y. Bengio, "Inference for the Generalization Error", Machine
       Learning 2003.
    .. [2] K.-K. Maninis, I. Radosavovic and I. Kokkinos, "Attentive Single-Tasking of
       Multiple Tasks", CVPR 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.inspection import sharing_gain
    >>> X, Y = load_linnerud(return_X_y=True, as_frame=True)
    >>> est = MultiTaskRegressor(n_estimators=1, max_iter=5, random_state=0)
    >>> gain = sharing_gain(est, X, Y, cv=2)
    >>> gain.to_frame().index.tolist()
    ['Weight', 'Waist', 'Pulse']
    """
    last = check_multitask(estimator, "sharing_gain")
    if type(resolve_spec(last.sharing, SHARING)) is Independent:
        raise ValueError(
            "The 'sharing' parameter of the estimator must not be 'independent', which "
            "it is compared with: give one that shares, such as 'hard'."
        )
    if scoring is not None:
        _check_scoring(last, Y, scoring, greater_is_better)
    rng = check_random_state(last.random_state)
    splits = list(_make_splits(last, X, Y, cv, n_repeats, rng))
    metric = METRICS if scoring is None else scoring
    shared: list[FitResult] = []
    independent: list[FitResult] = []
    for train, test in splits:
        seed = int(rng.randint(2**31 - 1))
        for results, settings in ((shared, {}), (independent, INDEPENDENT)):
            candidate = clone(estimator)
            unwrap_pipeline(candidate)[0].set_params(random_state=seed, **settings)
            results.append(
                fit_and_score(candidate, X, Y, train, test, None, metric, None)
            )
    return _compute_gain(
        shared,
        independent,
        read_labels(Y, last.missing_label).task_names,
        1 if greater_is_better else -1,
        compute_test_ratio(splits),
        confidence,
    )


def _check_scoring(
    last: MultiTaskBase, Y: ArrayLike, scoring: object, greater: bool
) -> None:
    """Raise an error for a metric that is not for the tasks."""
    if isinstance(scoring, str) and not greater:
        raise ValueError(
            "The 'greater_is_better' parameter of sharing_gain must be True where "
            f"'scoring' is a name. Got {scoring!r}, of which greater is better."
        )
    columns = read_labels(Y, last.missing_label)
    kinds = last._infer_task_types(columns)
    check_metrics(resolve_metrics(scoring, columns, kinds), kinds, columns)


def _make_splits(
    last: MultiTaskBase,
    X: Any,
    Y: ArrayLike,
    cv: Any,
    n_repeats: int,
    random_state: RandomState,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield training and test rows of each split."""
    check_repeats(cv, n_repeats, "sharing_gain")
    if not is_number_of_folds(cv):
        yield from check_multitask_cv(cv, last, grouped=False).split(X, Y)
        return
    n_folds = N_FOLDS if cv is None else int(cv)
    columns = read_labels(Y, last.missing_label)
    if n_folds > columns.n_samples:
        raise ValueError(
            "The 'cv' parameter of sharing_gain must be at most the number of rows, "
            f"{columns.n_samples}. Got {n_folds}."
        )
    # Not the folds of check_multitask_cv: results of a seed stay what they are.
    labels = Targets(columns, last._infer_task_types(columns)).encode(columns)
    for _ in range(n_repeats):
        fold = make_stratified_folds(labels, n_folds, random_state)
        for k in range(n_folds):
            yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)


def _compute_gain(
    shared: list[FitResult],
    independent: list[FitResult],
    task_names: list[Any],
    sign: int,
    ratio: float,
    confidence: float,
) -> SharingGain:
    """Return the gains of results on the same splits."""
    scores, baseline = (
        np.array([run.scores for run in runs]) for runs in (shared, independent)
    )
    gains = sign * (scores - baseline)  # (n_splits, n_tasks)
    interval = compute_corrected_interval(gains, ratio, confidence)
    relative = compute_relative_gains(scores, baseline, sign > 0)
    overall = mean_of_known(relative.T, 0)[:, None]  # (n_splits, 1)
    return SharingGain(
        task_names=task_names,
        scores=scores,
        independent_scores=baseline,
        gain=mean_of_known(gains, 0),
        interval=interval,
        helps=interval[:, 0] > 0,
        hurts=interval[:, 1] < 0,
        delta_m=float(mean_of_known(mean_of_known(relative, 0), 0)),
        delta_m_interval=compute_corrected_interval(overall, ratio, confidence)[0],
        seconds=float(np.mean([run.fit_seconds for run in shared])),
        independent_seconds=float(np.mean([run.fit_seconds for run in independent])),
        n_parameters=int(shared[0].n_parameters),
        independent_n_parameters=int(independent[0].n_parameters),
    )
