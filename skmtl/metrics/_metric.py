"""Metrics of one task: scikit-learn's by the names of their scorers, and functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import Any

from sklearn import metrics as sk
from sklearn.metrics import get_scorer, get_scorer_names

from skmtl._core.options import suggest
from skmtl._data.labels import TaskType

#: Means over rows, which any labels define; others compare classes with each other.
ROW_MEANS = (
    sk.accuracy_score,
    sk.brier_score_loss,
    sk.hamming_loss,
    sk.log_loss,
    sk.top_k_accuracy_score,
    sk.zero_one_loss,
)
#: Functions that tell a positive class from a negative one.
OF_TWO_CLASSES = ("positive_likelihood_ratio", "negative_likelihood_ratio")


@dataclass(frozen=True)
class Metric:
    """A metric of one task, and what it needs from an estimator."""

    name: str  # in errors and tables
    function: Callable[..., float]  # function(y_true, y_pred, **kwargs)
    sign: int  # 1 or -1, which makes greater values better
    responses: tuple[str, ...]  # methods to get y_pred from, the first that there is
    kwargs: Mapping[str, Any]
    kind: TaskType | None  # None for functions that are not of scikit-learn

    @property
    def of_labels(self) -> bool:
        """Whether it compares predicted labels or values, not probabilities."""
        return self.responses == ("predict",)

    @property
    def native(self) -> bool:
        """Whether the function is given the user's own labels, not codes of classes."""
        # So it is where the function or its arguments may name them.
        named = self.kwargs.get("pos_label"), self.kwargs.get("labels")
        return self.kind is None or named != (None, None)

    @property
    def any_labels(self) -> bool:
        """Whether labels of a single class define it."""
        return self.kind != "classification" or self.function in ROW_MEANS

    @property
    def of_two_classes(self) -> bool:
        """Whether it is for tasks of two classes only."""
        if self.function is sk.roc_auc_score:
            return self.kwargs.get("multi_class", "raise") == "raise"
        average = self.kwargs.get("average", self.default("average"))
        return average == "binary" or self.function.__name__ in OF_TWO_CLASSES

    def accepts(self, parameter: str) -> bool:
        """Return whether the function has a parameter."""
        return parameter in _read_defaults(self.function)

    def default(self, parameter: str) -> Any:
        """Return the default of a parameter, None where the function has none."""
        return _read_defaults(self.function).get(parameter)


def _read_defaults(function: Callable[..., float]) -> dict[str, Any]:
    """Return the parameters of a function with their defaults."""
    try:
        parameters = signature(function).parameters
    except ValueError:  # of those written in C
        return {}
    return {name: parameter.default for name, parameter in parameters.items()}


@cache
def metric_names() -> tuple[str, ...]:
    """Return the names of all metrics of single tasks, as scikit-learn calls them."""
    return tuple(name for name in get_scorer_names() if _is_per_task(name))


def _is_per_task(name: str) -> bool:
    """Return whether a scorer compares no clusters, nor labels of a row."""
    scorer = get_scorer(name)
    clusters = scorer._score_func.__module__.startswith("sklearn.metrics.cluster")
    return not clusters and scorer._kwargs.get("average") != "samples"


@cache
def _map_functions() -> dict[Callable[..., float], Metric]:
    """Return what is known of scikit-learn's own functions."""
    return {m.function: m for m in map(named_metric, reversed(metric_names()))}


@cache
def named_metric(name: str) -> Metric:
    """Return the metric of a scorer that `get_scorer_names` lists."""
    return _read_scorer(get_scorer(name), name)


def as_metric(metric: object) -> Metric:
    """Return the metric of a name, a scorer, or a function (y_true, y_pred)."""
    if isinstance(metric, str) and metric in metric_names():
        return named_metric(metric)
    if hasattr(metric, "_score_func"):
        function = metric._score_func
        return _read_scorer(metric, getattr(function, "__name__", repr(function)))
    if not callable(metric):
        raise ValueError(
            "The 'metric' parameter must be a function, a scorer, a dict or the name "
            "of a score of single tasks, one of "
            f"{list(metric_names())}. Got {metric!r}.{suggest(metric, metric_names())}"
        )
    name = getattr(metric, "__name__", repr(metric))
    _check_arguments(metric, name)
    entry = _map_functions().get(metric) if _is_hashable(metric) else None
    responses = entry.responses if entry else ("predict",)
    return Metric(name, metric, 1, responses, {}, get_kind(metric))


def _check_arguments(function: Callable[..., Any], name: str) -> None:
    """Raise an error for a function that takes no true and predicted labels."""
    try:
        signature(function).bind(None, None)
    except TypeError as error:
        raise ValueError(
            f"The 'metric' parameter must be a function of two arrays, (y_true, y_pred)"
            f". Got {name}{signature(function)}."
        ) from error
    except ValueError:  # of those written in C
        return


def get_loss_name(metric: Any) -> str | None:
    """Return the scorer's name of a loss of scikit-learn, None of anything else."""
    entry = _map_functions().get(metric) if _is_hashable(metric) else None
    return entry.name if entry and entry.sign < 0 else None


def get_kind(function: Callable[..., float]) -> TaskType | None:
    """Return which tasks a function of scikit-learn is for, None for others."""
    module = getattr(function, "__module__", None) or ""
    if not module.startswith("sklearn.metrics."):
        return None
    regression = module == "sklearn.metrics._regression"
    return "regression" if regression else "classification"


def _read_scorer(scorer: Any, name: str) -> Metric:
    """Return the metric that a scorer of scikit-learn wraps."""
    response = scorer._response_method
    return Metric(
        name,
        scorer._score_func,
        scorer._sign,
        (response,) if isinstance(response, str) else tuple(response),
        dict(scorer._kwargs),
        get_kind(scorer._score_func),
    )


def _is_hashable(value: object) -> bool:
    """Return whether a value can be the key of a dict."""
    try:
        hash(value)
    except TypeError:
        return False
    return True
