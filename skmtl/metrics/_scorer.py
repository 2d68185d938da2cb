"""Scorers of several tasks, for the ``scoring`` parameter of scikit-learn's tools."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.utils.metadata_routing import (
    UNUSED,
    MetadataRouter,
    MethodMapping,
    process_routing,
)

from skmtl._core.validation import resolve_task, validate_params
from skmtl.metrics._evaluation import resolve_metrics, warn_undefined
from skmtl.metrics._metric import as_metric, get_loss_name
from skmtl.metrics._responses import Responses
from skmtl.metrics._task_scores import (
    AVERAGE,
    METRIC,
    average_scores,
    check_some_labels,
)


class MultiTaskScorer(BaseEstimator):
    """A scorer of several tasks, as `skmtl.metrics.make_multitask_scorer` returns it.

    Parameters
    ----------
    metric : str, callable, scorer or dict
        How each task is scored.
    average : {"macro", "weighted", "min"}, array-like or dict, default="macro"
        How the scores of the tasks become one.
    task : str or int, default=None
        The task whose score is returned instead of an average.
    missing_label : object, default=None
        What marks a missing label; None for what the estimator takes for missing.

    Examples
    --------
    >>> from skmtl.metrics import make_multitask_scorer
    >>> make_multitask_scorer("roc_auc", average="min")
    MultiTaskScorer(average='min', metric='roc_auc')
    """

    # What set_score_request asks for: weights, as with scikit-learn's own scorers.
    __metadata_request__score = {"estimator": UNUSED}  # noqa: RUF012

    def __init__(
        self,
        metric: Any,
        average: Any = "macro",
        task: Any = None,
        missing_label: Any = None,
    ) -> None:
        self.metric = metric
        self.average = average
        self.task = task
        self.missing_label = missing_label

    def score(
        self,
        estimator: BaseEstimator,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the score of an estimator, as calling the scorer does.

        Parameters
        ----------
        estimator : estimator
            A fitted estimator of several tasks.
        X : array-like or sparse matrix of shape (n_samples, ...)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Their labels; missing ones count for nothing.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), \
                default=None
            Weights of rows or of single labels.

        Returns
        -------
        float
            The score, of which greater is better.
        """
        return self._score(Responses(estimator, X), y, sample_weight)

    __call__ = score

    def _score(
        self, responses: Responses, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> float:
        """Return the score of cached predictions."""
        evaluation = responses.evaluate(y, sample_weight, self.missing_label)
        metrics = resolve_metrics(self.metric, evaluation.columns, evaluation.kinds)
        if self.task is not None:
            where = "The 'task' parameter of make_multitask_scorer"
            number = resolve_task(self.task, evaluation.names, where)
            evaluation, metrics = evaluation.select_tasks([number]), [metrics[number]]
        check_some_labels(evaluation.columns)
        scores = evaluation.scores(metrics)
        warn_undefined(scores, metrics, evaluation.names)
        average = self.average if self.task is None else "macro"
        return average_scores(scores, evaluation.support, average, evaluation.names)

    def _accept_sample_weight(self) -> bool:
        """Tell searches that route no metadata whether to pass weights on."""
        metric = self.metric
        metrics = metric.values() if isinstance(metric, Mapping) else [metric]
        return all(as_metric(m).accepts("sample_weight") for m in metrics)


class MultiTaskScorers(dict[str, Any]):
    """Scorers by name, which can also be called for all scores at once."""

    # scikit-learn then calls each method of an estimator once for all scores.

    def __call__(
        self,
        estimator: BaseEstimator,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        **params: Any,
    ) -> dict[str, float]:
        if sample_weight is not None:
            params["sample_weight"] = sample_weight
        responses, scores = Responses(estimator, X), {}
        for name, metadata in self._route(params).items():
            scorer = self[name]
            if isinstance(scorer, MultiTaskScorer):
                weight = metadata.get("sample_weight")
                scores[name] = scorer._score(responses, y, weight)
            else:
                scores[name] = scorer(estimator, X, y, **metadata)
        return scores

    def _route(self, params: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return what each scorer is given beside the data."""
        if get_config()["enable_metadata_routing"] and params:
            routed = process_routing(self, "score", **params)
            return {name: routed[name].score for name in self}
        return {name: params if _takes_weight(self[name]) else {} for name in self}

    def get_metadata_routing(self) -> MetadataRouter:
        """Return the requests of all scorers for metadata."""
        mapping = MethodMapping().add(caller="score", callee="score")
        router = MetadataRouter(owner=type(self).__name__)
        return router.add(**self, method_mapping=mapping)


def _takes_weight(scorer: Any) -> bool:
    """Return whether a scorer takes weights, as searches that route nothing ask it."""
    return getattr(scorer, "_accept_sample_weight", bool)()


@validate_params(
    {
        "metric": METRIC,
        "average": AVERAGE[:-1],
        "task": "no_validation",
        "missing_label": "no_validation",
    },
    prefer_skip_nested_validation=True,
)
def make_multitask_scorer(
    metric: object,
    *,
    average: object = "macro",
    task: object = None,
    missing_label: object = None,
) -> MultiTaskScorer:
    """Return a scorer of several tasks for ``scoring=`` in scikit-learn's tools.

    It takes any estimator whose ``predict`` and, where the metric needs them,
    ``predict_proba`` or ``decision_function`` tell of several tasks: by lists with one
    array per task, as random forests, `sklearn.multioutput.MultiOutputClassifier` and
    skmtl do, or by arrays of the positive classes, as classifier chains and multilabel
    networks do. Missing labels count for nothing.

    Parameters
    ----------
    metric : str, callable, scorer or dict
        As in `task_scores`. A function is given predicted labels, and greater must be
        better; for another use `sklearn.metrics.make_scorer`.
    average : {"macro", "weighted", "min"}, array-like or dict, default="macro"
        How the scores of the tasks become one, as in `task_scores`.
    task : str or int, default=None
        Name or number of a task, whose score alone is returned.
    missing_label : object, default=None
        What marks a missing label, beside NaN and the like; None is the
        ``missing_label`` of the estimator, if it has one.

    Returns
    -------
    MultiTaskScorer
        A callable ``scorer(estimator, X, y, sample_weight=None)`` that can be pickled
        and cloned; ``set_score_request`` asks for weights where metadata are routed.

    Raises
    ------
    ValueError
        If there is no such metric, or if it is a loss.

    See Also
    --------
    make_multitask_scorers : Several scorers at once.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.model_selection import KFold, cross_val_score
    >>> import numpy as np
    >>> from skmtl.metrics import make_multitask_scorer
    >>> X, species = load_iris(return_X_y=True)
    >>> Y = np.column_stack([species, X[:, 0] > 5.8])
    >>> forest = RandomForestClassifier(n_estimators=10, random_state=0)
    >>> cv = KFold(3, shuffle=True, random_state=0)
    >>> scoring = make_multitask_scorer("roc_auc_ovr", average="min")
    >>> scores = cross_val_score(forest, X, Y, cv=cv, scoring=scoring)
    >>> bool(scores.min() > 0.9)
    True
    """
    _check_is_score(metric)
    return MultiTaskScorer(metric, average, task, missing_label)


@validate_params(
    {
        "metrics": [list, tuple, Mapping],
        "average": AVERAGE[:-1],
        "missing_label": "no_validation",
    },
    prefer_skip_nested_validation=True,
)
def make_multitask_scorers(
    metrics: Sequence[str] | Mapping[str, Any],
    *,
    average: object = "macro",
    missing_label: object = None,
) -> MultiTaskScorers:
    """Return scorers by name, for several scores at once in scikit-learn's tools.

    Parameters
    ----------
    metrics : list of str or dict
        Names of metrics, or metrics by the names that scores are to have; a value may
        also be what `make_multitask_scorer` returns.
    average : {"macro", "weighted", "min"}, array-like or dict, default="macro"
        How the scores of the tasks become one, as in `task_scores`.
    missing_label : object, default=None
        What marks a missing label, as in `make_multitask_scorer`.

    Returns
    -------
    dict of str to MultiTaskScorer
        For ``scoring=``; the ``refit`` of a search takes one of its names. It can also
        be called, which makes each prediction once for all scores.

    Raises
    ------
    ValueError
        If there is no such metric, or if it is a loss.

    Examples
    --------
    >>> from skmtl.metrics import make_multitask_scorers
    >>> scoring = make_multitask_scorers(["balanced_accuracy", "neg_log_loss"])
    >>> list(scoring)
    ['balanced_accuracy', 'neg_log_loss']
    """
    if not isinstance(metrics, Mapping):
        names = [metric for metric in metrics if isinstance(metric, str)]
        if len(set(names)) < len(metrics) or not names:
            raise ValueError(
                "The 'metrics' parameter of make_multitask_scorers must be a list of "
                f"names, each once, or a dict of metrics by name. Got {metrics!r}."
            )
        metrics = {name: name for name in names}
    scorers = MultiTaskScorers()
    for name, metric in metrics.items():
        if not isinstance(metric, MultiTaskScorer):
            metric = make_multitask_scorer(
                metric, average=average, missing_label=missing_label
            )
        scorers[name] = metric
    return scorers


def _check_is_score(metric: Any) -> None:
    """Raise an error for a loss, of which lower is better."""
    for entry in metric.values() if isinstance(metric, Mapping) else [metric]:
        as_metric(entry)
        name = get_loss_name(entry)
        if name is not None:
            raise ValueError(
                "The 'metric' parameter of a scorer must be a score, of which greater "
                f"is better. Got the loss {entry.__name__}: use {name!r}."
            )
