"""Candidates are compared on the same splits, from the same seeds."""

from collections import Counter
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import FitFailedWarning, UndefinedMetricWarning
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed
from tqdm.auto import tqdm

from skmtl._core.numerics import mean_of_known
from skmtl._core.printable import escape_text
from skmtl._core.validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_params,
    warn_user,
)
from skmtl._data.labels import read_labels
from skmtl._estimators.base import MultiTaskBase
from skmtl._estimators.scores import METRICS
from skmtl.metrics import MultiTaskScorer
from skmtl.metrics._metric import as_metric
from skmtl.metrics._unwrap import unwrap_pipeline
from skmtl.model_selection._candidates import read_candidates
from skmtl.model_selection._check_cv import check_multitask_cv, check_repeats
from skmtl.model_selection._comparison import SharingComparison
from skmtl.model_selection._fit_and_score import (
    FitFailure,
    FitResult,
    get_cached_fit,
    try_fit_and_score,
)
from skmtl.model_selection._statistics import compute_test_ratio


@validate_params(
    {
        "estimators": "no_validation",
        "X": "no_validation",
        "y": "no_validation",
        "param_grid": [dict, list, None],
        "groups": ["array-like", None],
        "cv": ["cv_object"],
        "n_repeats": [Interval(Integral, 1, None, closed="left")],
        "scoring": [str, callable, dict, None],
        "baseline": [str],
        "confidence": [Interval(Real, 0, 1, closed="neither")],
        "error_score": [StrOptions({"raise"}), Real],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "memory": [str, HasMethods("__fspath__"), HasMethods("cache"), None],
        "verbose": ["verbose"],
    },
    prefer_skip_nested_validation=False,  # of the estimators that it fits
)
def compare_sharing(
    estimators: Any,
    X: Any,
    y: ArrayLike,
    *,
    param_grid: Any = None,
    groups: ArrayLike | None = None,
    cv: Any = 5,
    n_repeats: int = 1,
    scoring: Any = None,
    baseline: str = "independent",
    confidence: float = 0.95,
    error_score: Any = np.nan,
    random_state: int | RandomState | None = None,
    n_jobs: int | None = None,
    memory: Any = None,
    verbose: int = 0,
) -> SharingComparison:
    r"""Compare ways to share between tasks, on the same splits and from the same seeds.

    Every candidate is fitted and scored on every split. The result holds for each one
    the scores of all tasks with confidence intervals, what it gains against the
    baseline, its mean rank, time and size. Estimators of skmtl, pipelines and plain
    estimators of scikit-learn stand side by side, so long as they take the labels as
    they are.

    Parameters
    ----------
    estimators : dict or estimator
        Candidates by name; or one estimator, whose settings ``param_grid`` gives.
    X : array-like or sparse matrix of shape (n_samples, ...)
        Inputs.
    y : array-like of shape (n_samples, n_tasks)
        Labels; missing ones as in ``fit``.
    param_grid : dict or list of dict, default=None
        Settings of a single estimator, as in `sklearn.model_selection.GridSearchCV`:
        ``{"sharing": ["hard", "mmoe"]}``. Candidates are named after them.
    groups : array-like of shape (n_samples,), default=None
        Groups of rows, such as those of a patient, that folds keep together; or what a
        splitter makes of them.
    cv : int, splitter or iterable, default=5
        Number of folds, stratified over all tasks as far as possible, or how to split:
        a splitter of scikit-learn or pairs of row numbers. None is 5.
    n_repeats : int, default=1
        How often to deal the rows to folds anew, for a number of folds.
    scoring : str, callable or dict, default=None
        How a task is scored, greater is better: the ``metric`` of
        `skmtl.metrics.task_scores`, such as "roc_auc" or ``{"classification":
        "balanced_accuracy", "regression": "r2"}``; or what
        `skmtl.metrics.make_multitask_scorer` makes of one. None is the accuracy of
        classification and R² of regression.
    baseline : str, default="independent"
        Name of the candidate that the others are compared with. "independent" is added
        where no candidate is called so: the first estimator of skmtl with
        ``sharing="independent"`` and without a relation.
    confidence : float, default=0.95
        Level of the intervals, of each one by itself, and of the critical difference.
    error_score : "raise" or float, default=nan
        The scores of a fit that fails; "raise" ends the comparison with its error.
    random_state : int, RandomState instance or None, default=None
        Source of the folds, and of the seed of each split, which every ``random_state``
        of a candidate is set to, those of the steps of pipelines too.
    n_jobs : int, default=None
        Number of fits that run at once; -1 is one on each processor.
    memory : str, path-like or joblib.Memory, default=None
        Where finished fits are kept, so that a comparison that was interrupted goes on,
        and one with more candidates fits only those. They are found again where data,
        split, seed, settings and the versions of skmtl and scikit-learn are the same;
        fits that failed are not kept.
    verbose : int, default=0
        Whether to show a progress bar.

    Returns
    -------
    SharingComparison
        Scores, intervals, gains, ranks, time and size of the candidates.

    Raises
    ------
    ValueError
        If there is no baseline of this name, if all fits fail, or if cells are to be
        kept that no ``random_state`` lets find again.

    See Also
    --------
    skmtl.inspection.sharing_gain : The gain of one estimator, task by task.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from sklearn.linear_model import Ridge
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.model_selection import compare_sharing
    >>> X, Y = load_linnerud(return_X_y=True, as_frame=True)
    >>> est = MultiTaskRegressor(n_estimators=1, max_iter=5)
    >>> candidates = {"hard": est, "ridge": Ridge()}
    >>> comparison = compare_sharing(candidates, X, Y, cv=2, random_state=0)
    >>> comparison.names
    ['independent', 'hard', 'ridge']
    >>> comparison.to_frame().loc["hard"].index.tolist()
    ['Weight', 'Waist', 'Pulse', 'mean']
    """
    candidates, baseline = read_candidates(estimators, param_grid, baseline)
    _check_parameters(candidates)
    metric = _check_metric(METRICS if scoring is None else scoring)
    _check_cache_seed(memory, random_state)
    reference = _choose_reference(candidates)
    missing = getattr(reference, "missing_label", np.nan)
    rng = check_random_state(random_state)
    check_repeats(cv, n_repeats, "compare_sharing")
    grouped = groups is not None
    splitters = [
        check_multitask_cv(cv, reference, rng, grouped=grouped)
        for _ in range(n_repeats)
    ]
    splits = [pair for s in splitters for pair in s.split(X, y, groups)]
    seeds = rng.randint(2**31 - 1, size=len(splits)).tolist()
    calls = [
        (estimator, X, y, train, test, seed, metric, missing)
        for (train, test), seed in zip(splits, seeds, strict=True)
        for estimator in candidates.values()
    ]
    run, strict = get_cached_fit(memory, X, y), error_score == "raise"
    results = _run_fits(run, calls, strict, n_jobs, verbose)
    names, tasks = list(candidates), read_labels(y, missing).task_names
    warn_of_failures(results, names)
    arrays = aggregate_results(
        results, len(names), len(tasks), np.nan if strict else error_score
    )
    warn_unscored(arrays["scores"], tasks)
    ratio = compute_test_ratio(splits)
    return SharingComparison(
        names, tasks, baseline, **arrays, test_ratio=ratio, confidence=confidence
    )


def _run_fits(
    run: Callable[..., FitResult],
    calls: list[tuple[Any, ...]],
    strict: bool,
    n_jobs: int | None,
    verbose: int,
) -> list[FitResult | FitFailure]:
    """Run all fits, under a progress bar that counts those done."""
    jobs = [delayed(try_fit_and_score)(run, *args, strict=strict) for args in calls]
    with tqdm(desc="fits", total=len(jobs), disable=not verbose) as bar:
        results: list[FitResult | FitFailure] = _ParallelWithBar(bar, n_jobs)(jobs)
        bar.update(len(jobs) - bar.n)  # joblib may not have reported the last ones
    return results


class _ParallelWithBar(Parallel):  # type: ignore[misc]
    """Runs jobs in parallel and moves a progress bar as they are done."""

    # Not every backend of joblib gives results one by one: Ray's does not.

    def __init__(self, bar: Any, n_jobs: int | None) -> None:
        super().__init__(n_jobs=n_jobs)
        self._bar = bar

    def print_progress(self) -> None:
        """Move the bar; joblib calls this when jobs are done."""
        self._bar.update(self.n_completed_tasks - self._bar.n)


def _check_metric(metric: object) -> Any:
    """Return the metric of single tasks, or say which names there are."""
    if isinstance(metric, MultiTaskScorer):
        if metric.task is not None or metric.average != "macro":
            raise ValueError(
                "The 'scoring' parameter of compare_sharing must be how a single task "
                f"is scored, for all tasks are compared. Got {metric!r}: give its "
                "metric alone."
            )
        metric = metric.metric
    for entry in metric.values() if isinstance(metric, dict) else [metric]:
        as_metric(entry)
    return metric


def _check_parameters(candidates: dict[str, Any]) -> None:
    """Raise what fit would raise for a parameter of a candidate."""
    for name, estimator in candidates.items():
        last, _ = unwrap_pipeline(estimator)
        try:
            if isinstance(last, MultiTaskBase):
                last._validate_params()  # type: ignore[attr-defined]
        except ValueError as error:
            error.add_note(f"This is the candidate {name!r}.")
            raise


def _check_cache_seed(memory: object, random_state: int | RandomState | None) -> None:
    """Raise an error if fits are cached that no seed lets find again."""
    if memory is not None and not isinstance(random_state, Integral):
        raise ValueError(
            "The 'random_state' parameter of compare_sharing must be an integer where "
            f"'memory' is given, for kept fits to be found again. Got {random_state!r}."
        )


def _choose_reference(candidates: dict[str, Any]) -> Any:
    """Return the first estimator of skmtl, or the first of all, to read labels by."""
    last = [unwrap_pipeline(estimator)[0] for estimator in candidates.values()]
    return next((e for e in last if isinstance(e, MultiTaskBase)), last[0])


Array = NDArray[np.float64]

#: Letters of an error that a warning shows, at most.
N_LETTERS = 300


def warn_of_failures(
    results: Sequence[FitResult | FitFailure], names: Sequence[str]
) -> None:
    """Warn of fits that failed, and raise an error if all have."""
    # Results are those of all candidates on the first split, then on the second.
    reasons = Counter(
        (names[i % len(names)], _shorten(result.reason))
        for i, result in enumerate(results)
        if isinstance(result, FitFailure)
    )
    if not reasons:
        return
    n_failed = reasons.total()
    lines = "\n".join(
        f"{escape_text(name)} ({count} times): {reason}"
        for (name, reason), count in reasons.items()
    )
    if n_failed == len(results):
        raise ValueError(f"All {n_failed} fits of the comparison failed:\n{lines}")
    warn_user(
        f"{n_failed} of {len(results)} fits of the comparison failed, and have the "
        f"score 'error_score':\n{lines}",
        FitFailedWarning,
    )


def _shorten(words: str) -> str:
    """Return printable words, without their middle where they are many."""
    words = "\n".join(map(escape_text, words.split("\n")))
    if len(words) <= N_LETTERS:
        return words
    return f"{words[: N_LETTERS // 2]} … {words[-N_LETTERS // 2 :]}"


def aggregate_results(
    results: Sequence[FitResult | FitFailure],
    n_candidates: int,
    n_tasks: int,
    error_score: float,
) -> dict[str, Array]:
    """Return the arrays of a `SharingComparison`, by the names of its parameters."""
    failed = FitResult(np.full(n_tasks, error_score), np.nan, np.nan, np.nan)
    rows = [failed if isinstance(r, FitFailure) else r for r in results]
    arrays = {
        field: np.array(values, np.float64)
        .reshape(-1, n_candidates, *np.shape(values[0]))
        .swapaxes(0, 1)  # (n_candidates, n_splits) or (n_candidates, n_splits, n_tasks)
        for field, values in zip(
            FitResult._fields, zip(*rows, strict=True), strict=True
        )
    }
    arrays["n_parameters"] = mean_of_known(arrays["n_parameters"], axis=1)
    return arrays


def warn_unscored(scores: Array, task_names: Sequence[Any]) -> None:
    """Warn once of tasks that no candidate has a score of on some splits."""
    n_unscored = np.isnan(scores).all(axis=0).sum(axis=0)  # of (k, n_splits, n_tasks)
    counts = {name: int(n) for name, n in zip(task_names, n_unscored, strict=True) if n}
    if not counts:
        return
    warn_user(
        f"Of {scores.shape[1]} splits some have too few labels of a task, or labels of "
        f"one class only, to score it, and are left out of its means: {counts}.",
        UndefinedMetricWarning,
    )
