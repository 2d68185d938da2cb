"""A table of the scores of several tasks, beside those of predicting a constant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier, DummyRegressor

from skmtl._core.printable import escape_text
from skmtl._core.validation import divide_by_largest, import_pandas, validate_params
from skmtl._data.labels import TaskType
from skmtl.metrics._evaluation import Evaluation, infer_unknown_kinds, resolve_metrics
from skmtl.metrics._metric import Metric, as_metric
from skmtl.metrics._predictions import Prediction
from skmtl.metrics._responses import Responses
from skmtl.metrics._task_scores import check_some_labels

Array = NDArray[np.float64]

#: What is told of tasks of each kind where the user names nothing.
OF_LABELS = ("accuracy", "balanced_accuracy", "r2", "neg_mean_absolute_error")
OF_PROBABILITIES = ("roc_auc_ovr",)
#: What follows the name of a metric in the columns of the baseline.
BASELINE = " baseline"


@dataclass(frozen=True, repr=False)
class MultiTaskReport:
    """Scores of several tasks, by `skmtl.metrics.multitask_report`.

    It is shown as a table, as text or, in a notebook, as HTML.

    Parameters
    ----------
    frame : pandas.DataFrame
        A row per task, with the columns "kind" ("classification" or "regression"),
        "support" (the number of labels) and "missing" (the share of rows without one),
        and for each metric one of its name and one of its name and " baseline": the
        score of always predicting the commonest class, the shares of the classes, or
        the mean, of the labels that are scored. NaN where a metric is not defined.
    """

    frame: Any

    @property
    def mean(self) -> Any:
        """The means over tasks, a Series with one entry for each column of scores."""
        return self.frame.iloc[:, 3:].mean()

    def _format_frame(self) -> Any:
        """Return the table as text, with the means below it."""
        table = self.frame.astype({"missing": object})
        table["missing"] = [f"{100 * share:.3g} %" for share in self.frame["missing"]]
        table = table.map(_format_cell)
        means = self.mean.map(_format_cell).to_frame("mean over tasks").T
        table = import_pandas("multitask_report").concat([table, means]).fillna("")
        table.index, table.columns = (
            [escape_text(name) for name in axis] for axis in table.axes
        )
        return table

    def __repr__(self) -> str:
        return self._format_frame().to_string()  # type: ignore[no-any-return]

    def _repr_html_(self) -> str:
        """Return the table as notebooks show it."""
        return self._format_frame().to_html()  # type: ignore[no-any-return]


def _format_cell(value: object) -> str:
    """Return a cell of the table as text, scores with three digits."""
    if not isinstance(value, float | np.floating):
        return str(value)
    return "\N{EN DASH}" if np.isnan(value) else f"{value:.3f}"


@validate_params(
    {
        "estimator": "no_validation",
        "X": "no_validation",
        "y": "no_validation",
        "metrics": [list, tuple, Mapping, None],
        "sample_weight": "no_validation",
        "missing_label": "no_validation",
    },
    prefer_skip_nested_validation=True,
)
def multitask_report(
    estimator: BaseEstimator,
    X: Any,
    y: ArrayLike,
    metrics: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    missing_label: object = None,
) -> MultiTaskReport:
    """Score each task of a fitted estimator, beside predicting a constant.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator of several tasks, as in `make_multitask_scorer`.
    X : array-like or sparse matrix of shape (n_samples, ...)
        Inputs that it has not seen.
    y : array-like of shape (n_samples,) or (n_samples, n_tasks)
        Their labels; missing ones count for nothing.
    metrics : list or dict, default=None
        Metrics as in `task_scores`, or a dict of them by the names of columns; those
        for one kind of task leave tasks of the other kind out. None is the accuracy,
        the balanced accuracy and, where there are probabilities, the area under the ROC
        curve (each class against the others) for classification, and for regression R²
        and the negative mean absolute error.
    sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), \
            default=None
        Weights of rows or of single labels.
    missing_label : object, default=None
        What marks a missing label, as in `make_multitask_scorer`.

    Returns
    -------
    MultiTaskReport
        The scores, as a DataFrame in ``frame``.

    Raises
    ------
    ValueError
        If there is no such metric, or no task that it is for.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from sklearn.linear_model import LinearRegression
    >>> from skmtl.metrics import multitask_report
    >>> X, Y = load_linnerud(return_X_y=True, as_frame=True)
    >>> multitask_report(LinearRegression().fit(X, Y), X, Y, ["r2"])
                           kind support missing     r2 r2 baseline
    Weight           regression      20     0 %  0.268       0.000
    Waist            regression      20     0 %  0.548       0.000
    Pulse            regression      20     0 %  0.075       0.000
    mean over tasks                              0.297       0.000
    """
    pd = import_pandas("multitask_report")
    evaluation = Responses(estimator, X).evaluate(y, sample_weight, missing_label)
    check_some_labels(evaluation.columns)
    kinds = infer_unknown_kinds(evaluation.columns, evaluation.kinds)
    evaluation = replace(evaluation, kinds=kinds)
    if metrics is None:
        metrics = _choose_metrics(estimator, kinds)
    if not isinstance(metrics, Mapping):
        metrics = {as_metric(metric).name: metric for metric in metrics}
    present = evaluation.columns.get_mask()
    columns: dict[str, Any] = {
        "kind": kinds,
        "support": present.sum(axis=0),
        "missing": 1 - present.mean(axis=0),
    }
    constant = _predict_constant(evaluation)
    for name, metric in metrics.items():
        columns[name] = _compute_scores(evaluation, metric)
        columns[name + BASELINE] = _compute_scores(constant, metric)
    return MultiTaskReport(pd.DataFrame(columns, index=evaluation.names))


def _choose_metrics(
    estimator: BaseEstimator, kinds: Sequence[TaskType | None]
) -> list[str]:
    """Return the names of metrics that suit the estimator."""
    names = list(OF_LABELS)
    if hasattr(estimator, "predict_proba"):
        names[2:2] = OF_PROBABILITIES
    return [name for name in names if as_metric(name).kind in kinds]


def _compute_scores(evaluation: Evaluation, metric: object) -> Array:
    """Return the score of each task, NaN for those that the metric is not for."""
    task_metrics = resolve_metrics(metric, evaluation.columns, evaluation.kinds)
    tasks = [
        t
        for t, (m, kind) in enumerate(zip(task_metrics, evaluation.kinds, strict=True))
        if m.kind in (None, kind)
    ] or list(range(len(task_metrics)))  # none fits, which is an error
    scores = np.full(len(task_metrics), np.nan)
    scores[tasks] = evaluation.select_tasks(tasks).scores(
        [task_metrics[t] for t in tasks]
    )
    return scores


def _predict_constant(evaluation: Evaluation) -> Evaluation:
    """Return the comparison with what predicts best without inputs."""
    columns, X = evaluation.columns, np.zeros((evaluation.columns.n_samples, 1))
    models: list[Any] = []
    for t, column in enumerate(columns.columns):
        regression = evaluation.kinds[t] == "regression"
        model = DummyRegressor() if regression else DummyClassifier(strategy="prior")
        rows = column.present
        weight = evaluation.weight
        w = None if weight is None else divide_by_largest(weight[rows, t])
        models.append(model.fit(X[rows], column.values, w) if rows.any() else None)

    def answer(metric: Metric) -> list[Prediction]:
        """Return the constant predictions that a metric asks for."""
        method = "predict" if metric.of_labels else "predict_proba"
        return [
            getattr(model, method)(X) if hasattr(model, method) else None
            for model in models
        ]

    classes = [getattr(model, "classes_", None) for model in models]
    return replace(evaluation, answer=answer, classes=classes)
