"""Weights of tasks are tuned by successive halving."""

from collections.abc import Mapping
from numbers import Integral, Real
from time import perf_counter
from typing import Any, ClassVar, Self

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingGridSearchCV
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import check_random_state

from skmtl._core.options import fit_context
from skmtl._core.validation import HasMethods, Interval, StrOptions
from skmtl._data.labels import LabelTable, read_labels
from skmtl.metrics import make_multitask_scorer
from skmtl.metrics._unwrap import unwrap_pipeline
from skmtl.model_selection._check_cv import check_multitask_cv

#: Candidates by default: so many that they are halved three times.
AUTO_POWER = 3
#: Rows of the first round, at least, where rounds spend rows.
LEAST_ROWS = 50


class TaskWeightSearchCV(BaseSearchCV):  # type: ignore[misc]
    """Search for the weights of tasks by cross-validation.

    Sums of losses with tuned weights are as good as most methods that balance losses
    or gradients while training [1]_ [2]_. Candidates are drawn evenly from all weights
    that sum to the number of tasks, and equal weights are one of them. Successive
    halving [3]_ trains all of them for few epochs, or on few rows, keeps the best one
    in ``factor``, and goes on with ``factor`` times as much.

    Parameters
    ----------
    estimator : estimator
        An estimator with the parameter ``task_weight``, or a pipeline that ends with
        one. A fixed ``random_state`` lets candidates differ by their weights alone.
    n_candidates : int or "auto", default="auto"
        Number of weights that are tried, equal ones included; "auto" is the third power
        of ``factor``.
    factor : int, default=3
        Share of candidates that each round keeps, and how much more it spends on each.
    resource : {"max_iter", "n_samples"}, default="max_iter"
        What rounds spend: epochs, up to the ``max_iter`` of the estimator, or rows, up
        to all of them.
    scoring : str, callable, dict or None, default=None
        A metric of `skmtl.metrics.task_scores`, whose mean over tasks counts, by name
        or by task; or a scorer, such as `skmtl.metrics.make_multitask_scorer` returns.
        None is the ``score`` of the estimator.
    cv : int, splitter or iterable, default=5
        Number of folds, stratified over all tasks as far as possible, or how to split.
        None is 5.
    refit : bool, default=True
        Whether to fit the estimator to all rows with the best weights, and its own
        number of epochs.
    error_score : "raise" or float, default=nan
        The score of a fit that fails; "raise" ends the search with its error.
    random_state : int, RandomState instance or None, default=None
        Source of the weights, the folds and the rows.
    n_jobs : int, default=None
        Number of fits that run at once; -1 is one on each processor.
    verbose : int, default=0
        How much to tell of the progress.

    Attributes
    ----------
    best_weights_ : ndarray of shape (n_tasks,)
        The best weights of the last round; they sum to the number of tasks.
    best_estimator_ : estimator
        The estimator fitted with them.
    best_params_ : dict
        What was set to get it.
    best_score_ : float
        Their mean score over the folds.
    best_index_ : int
        Their place in ``cv_results_``.
    cv_results_ : dict of ndarray
        Scores and times of all rounds, as those of
        `sklearn.model_selection.HalvingGridSearchCV`.
    n_candidates_, n_resources_ : list of int
        Number of candidates of each round, and what it spent on each.

    References
    ----------
    .. [1] D. Xin et al., "Do Current Multi-Task Optimization Methods in Deep Learning
       Even Help?", NeurIPS 2022.
    .. [2] A. Royer, T. Blankevoort and B. E. Bejnordi, "Scalarization for Multi-Task
       and Multi-Domain Learning at Scale", NeurIPS 2023.
    .. [3] K. Jamieson and A. Talwalkar, "Non-stochastic Best Arm Identification and
       Hyperparameter Optimization", AISTATS 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.model_selection import TaskWeightSearchCV
    >>> X, Y = load_linnerud(return_X_y=True)
    >>> est = MultiTaskRegressor(n_estimators=1, max_iter=9, random_state=0)
    >>> search = TaskWeightSearchCV(est, n_candidates=9, cv=2, random_state=0)
    >>> search.fit(X, Y).n_candidates_
    [9, 3, 1]
    >>> float(search.best_weights_.sum().round(6))
    3.0
    """

    best_weights_: NDArray[np.float64]
    best_estimator_: Any
    best_params_: dict[str, Any]
    best_score_: float
    best_index_: int
    cv_results_: dict[str, Any]
    n_candidates_: list[int]
    n_resources_: list[int]
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "estimator": [HasMethods(["fit"])],
        "n_candidates": [
            Interval(Integral, 2, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "factor": [Interval(Integral, 2, None, closed="left")],
        "resource": [StrOptions({"max_iter", "n_samples"})],
        "scoring": [str, callable, dict, None],
        "cv": ["cv_object"],
        "refit": ["boolean"],
        "error_score": [StrOptions({"raise"}), Real],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator: BaseEstimator,
        *,
        n_candidates: Any = "auto",
        factor: int = 3,
        resource: str = "max_iter",
        scoring: Any = None,
        cv: Any = 5,
        refit: bool = True,
        error_score: Any = np.nan,
        random_state: int | RandomState | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
        )
        self.n_candidates = n_candidates
        self.factor = factor
        self.resource = resource
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: ArrayLike, **params: Any) -> Self:
        """Search for the best weights, and fit the estimator with them.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, ...)
            Inputs.
        y : array-like of shape (n_samples, n_tasks)
            Labels; missing ones as in the ``fit`` of the estimator.
        **params : dict
            Passed on to its ``fit``, but for ``groups`` of rows, which folds keep
            together; all are routed where metadata routing is enabled.

        Returns
        -------
        self : object
            The fitted search.

        Raises
        ------
        ValueError
            If the estimator has no such parameters, or y a single task.
        """
        last, prefix = self._last()
        columns = read_labels(y, getattr(last, "missing_label", np.nan))
        n_tasks = len(columns.columns)
        if n_tasks < 2:
            raise ValueError(
                "TaskWeightSearchCV needs y with at least 2 tasks to weigh against "
                "each other. Got 1: fit the estimator itself."
            )
        rng = check_random_state(self.random_state)
        parameter = f"{prefix}task_weight"
        grouped = params.get("groups") is not None
        search = self._halving(
            {parameter: self._weights(n_tasks, rng)},
            **self._rounds(last, prefix, columns),
            cv=check_multitask_cv(self.cv, self.estimator, rng, grouped=grouped),
            random_state=int(rng.randint(2**31 - 1)),
        ).fit(X, y, **params)
        for name, value in vars(search).items():
            if name.endswith("_") and not name.startswith("_"):
                setattr(self, name, value)
        weights = self.best_params_[parameter]
        self.best_weights_ = np.array(weights)
        if self.refit:
            best = clone(self.estimator).set_params(**{parameter: weights})
            start = perf_counter()
            best.fit(X, y, **search._get_routed_params_for_fit(params).estimator.fit)
            self.refit_time_, self.best_estimator_ = perf_counter() - start, best
        return self

    def get_metadata_routing(self) -> Any:
        """Return what is passed on to the estimator, the scorer and the splitter.

        Returns
        -------
        MetadataRouter
            That of the search which runs inside.
        """
        return self._halving({}, cv=self.cv).get_metadata_routing()

    def _halving(self, grid: Any, **settings: Any) -> HalvingGridSearchCV:
        """Return the search over a grid that runs inside."""
        scoring = self.scoring
        if isinstance(scoring, str | Mapping):
            scoring = make_multitask_scorer(scoring)
        return HalvingGridSearchCV(
            self.estimator,
            grid,
            factor=self.factor,
            scoring=scoring,
            refit=False,  # with the weights, but not the epochs of the last round
            error_score=self.error_score,
            n_jobs=self.n_jobs,
            verbose=self.verbose,
            **settings,
        )

    def _last(self) -> tuple[Any, str]:
        """Return the estimator whose tasks are weighed, and the prefix of its names."""
        last, prefix = unwrap_pipeline(self.estimator)
        names = last.get_params(deep=False) if hasattr(last, "get_params") else {}
        needed = {"task_weight"} | ({"max_iter"} & {self.resource})
        if not needed <= set(names):
            raise ValueError(
                "The 'estimator' parameter of TaskWeightSearchCV must have the "
                f"parameters {sorted(needed)}, or be a pipeline that ends with such an "
                f"estimator. Got {self.estimator!r}."
            )
        return last, prefix

    def _n_candidates(self) -> int:
        """Return the number of weights to try."""
        if self.n_candidates == "auto":
            return int(self.factor**AUTO_POWER)
        return int(self.n_candidates)

    def _weights(self, n_tasks: int, random_state: RandomState) -> list[list[float]]:
        """Return equal weights, and others drawn evenly from the simplex."""
        weights = random_state.dirichlet(np.ones(n_tasks), self._n_candidates() - 1)
        return [[1.0] * n_tasks, *(n_tasks * weights).tolist()]

    def _rounds(
        self, last: BaseEstimator, prefix: str, columns: LabelTable
    ) -> dict[str, Any]:
        """Return what rounds spend, so that the last one spends all there is."""
        most, least = columns.n_samples, LEAST_ROWS
        resource = self.resource
        if resource == "max_iter":
            most, least, resource = last.max_iter, 1, f"{prefix}max_iter"
        first, n_left = most, self._n_candidates()
        while n_left >= self.factor:
            first, n_left = first // self.factor, n_left // self.factor
        return {
            "resource": resource,
            "max_resources": most,
            "min_resources": min(max(first, least), most),
        }
