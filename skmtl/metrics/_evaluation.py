"""The scores of all tasks, from their labels and from what answers for them."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import UndefinedMetricWarning

from skmtl._core.validation import check_sample_weight, warn_user
from skmtl._data.labels import TASK_TYPES, LabelTable, TaskType, infer_task_types
from skmtl.metrics._metric import Metric, as_metric
from skmtl.metrics._one_task import check_kind, score_task
from skmtl.metrics._predictions import Prediction, select_labelled

Array = NDArray[np.float64]
#: Gives the predictions of all tasks that a metric compares with labels.
Answer = Callable[[Metric], Sequence[Prediction]]

#: What folds with few labels bring about, and no score is wrong by.
HARMLESS = "y_pred contains classes not in y_true"


@dataclass(frozen=True)
class Evaluation:
    """Labels of several tasks, their predictions, and kinds and classes of tasks."""

    columns: LabelTable  # labels of weight zero are missing
    answer: Answer
    kinds: Sequence[TaskType | None]  # None where labels are to show it
    classes: Sequence[NDArray[Any] | None]  # as columns of scores; None where unknown
    weight: Array | None  # (n_samples, n_tasks)

    @classmethod
    def from_labels(
        cls,
        columns: LabelTable,
        answer: Answer,
        kinds: Sequence[TaskType | None],
        classes: Sequence[NDArray[Any] | None],
        sample_weight: ArrayLike | None,
    ) -> Self:
        """Return a comparison in which labels of weight zero count as missing."""
        n, names = columns.n_samples, columns.task_names
        weight = check_sample_weight(sample_weight, n, names, "sample_weight")
        if weight is not None:
            weight = np.broadcast_to(weight, (n, len(names)))
            pairs = zip(columns.columns, weight.T > 0, strict=True)
            columns = columns.with_columns([c.restrict(rows) for c, rows in pairs])
        return cls(columns, answer, kinds, classes, weight)

    @property
    def names(self) -> list[Any]:
        """Name of each task."""
        return self.columns.task_names

    @property
    def support(self) -> Array:
        """Number of labels of each task, or the sum of their weights."""
        present = self.columns.get_mask()
        counts = present if self.weight is None else present * self.weight
        return counts.sum(axis=0).astype(np.float64)

    def select_tasks(self, tasks: Sequence[int]) -> "Evaluation":
        """Return the evaluation of some tasks, by number, in the order given."""

        def answer(metric: Metric) -> list[Prediction]:
            """Return the predictions of the chosen tasks."""
            predictions = self.answer(metric)
            return [predictions[t] for t in tasks]

        columns, names = self.columns, self.names
        return Evaluation(
            replace(
                columns,
                columns=[columns.columns[t] for t in tasks],
                names=[names[t] for t in tasks],
            ),
            answer,
            [self.kinds[t] for t in tasks],
            [self.classes[t] for t in tasks],
            None if self.weight is None else self.weight[:, list(tasks)],
        )

    def scores(self, metrics: Sequence[Metric]) -> Array:
        """Return each task's score over present labels, NaN where it is undefined."""
        columns, names, notes = self.columns.columns, self.names, _CollectedWarnings()
        check_metrics(metrics, self.kinds, self.columns, self.weight)
        answers = {
            responses: self.answer(m) for responses, m in _group_by_responses(metrics)
        }
        scores = np.full(len(metrics), np.nan)
        for t, (metric, column) in enumerate(zip(metrics, columns, strict=True)):
            if not column.present.any():
                continue
            prediction = answers[metric.responses][t]
            predicted = select_labelled(prediction, column, names[t])
            w = None if self.weight is None else self.weight[column.present, t]
            with notes.collect(names[t]):
                scores[t] = score_task(
                    metric, column.values, predicted, self.classes[t], w, names[t]
                )
        notes.warn(scores, names)
        return scores


def _group_by_responses(
    metrics: Sequence[Metric],
) -> Iterable[tuple[tuple[str, ...], Metric]]:
    """Return one of the metrics for each kind of prediction that they ask for."""
    return {metric.responses: metric for metric in reversed(metrics)}.items()


def resolve_metrics(
    metric: object, columns: LabelTable, kinds: Sequence[TaskType | None]
) -> list[Metric]:
    """Return the metric of each task: one for all, or by name, number or kind."""
    names = columns.task_names
    if not isinstance(metric, Mapping):
        return [as_metric(metric)] * len(names)
    metrics = {key: as_metric(value) for key, value in metric.items()}
    every_kind = infer_unknown_kinds(columns, kinds)
    keys = list(zip(names, range(len(names)), every_kind, strict=True))
    unknown = set(metrics) - set(TASK_TYPES) - {k for task in keys for k in task}
    if unknown:
        raise ValueError(
            "The 'metric' parameter must give metrics for names or numbers of tasks, "
            f"which are {names}, or for {TASK_TYPES}. Got {sorted(unknown, key=str)}."
        )
    for name, number, kind in keys:
        if name != number and {name, number} <= metrics.keys():
            raise ValueError(
                f"The 'metric' parameter gives two metrics for task {name!r}, one by "
                f"its name and one by its number, {number}: leave one of them out."
            )
        if metrics.keys().isdisjoint((name, number, kind)):
            raise ValueError(
                f"The 'metric' parameter gives no metric for task {name!r}, which is "
                f"one of {kind}: add {name!r} or {kind!r} to its keys."
            )
    return [next(metrics[k] for k in task if k in metrics) for task in keys]


def infer_unknown_kinds(
    columns: LabelTable, kinds: Sequence[TaskType | None]
) -> list[TaskType]:
    """Return the kinds of tasks, by their labels where a kind is None."""
    names = columns.task_names
    pairs = zip(names, kinds, strict=True)
    return infer_task_types(columns, {name: kind for name, kind in pairs if kind})


def warn_undefined(
    scores: Array, metrics: Sequence[Metric], names: Sequence[Any]
) -> None:
    """Warn once of the tasks whose score is NaN."""
    undefined = np.flatnonzero(np.isnan(scores)).tolist()
    if not undefined:
        return
    words = sorted({metrics[t].name for t in undefined})
    warn_user(
        f"The score of the tasks {[names[t] for t in undefined]} is NaN, and averages "
        f"leave them out: their labels are too few, or all of one class, for {words}.",
        UndefinedMetricWarning,
    )


def check_metrics(
    metrics: Sequence[Metric],
    kinds: Sequence[TaskType | None],
    columns: LabelTable,
    weight: Array | None = None,
) -> None:
    """Raise an error if a metric is not for its task, or takes no weights."""
    for metric, kind, column, name in zip(
        metrics, kinds, columns.columns, columns.task_names, strict=True
    ):
        check_kind(metric, kind, column.values, name)
        if weight is not None and not metric.accepts("sample_weight"):
            raise ValueError(
                f"The metric {metric.name!r} takes no weights: leave out "
                "'sample_weight'."
            )


class _CollectedWarnings:
    """What metrics warn of, said once for all tasks."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[type[Warning], str], list[Any]] = {}

    @contextmanager
    def collect(self, name: object) -> Iterator[None]:
        """Collect the warnings of scoring a task, and name the task in errors."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.filterwarnings("ignore", HARMLESS)
            try:
                yield
            except Exception as error:
                error.add_note(f"This was while scoring task {name!r}.")
                raise
        for warning in caught:
            key = warning.category, str(warning.message)
            self._tasks.setdefault(key, []).append(name)

    def warn(self, scores: Array, names: Sequence[Any]) -> None:
        """Warn once of each message, but not that a score of NaN is undefined."""
        undefined = {name for name, s in zip(names, scores, strict=True) if s != s}
        for (category, message), tasks in self._tasks.items():
            is_undefined = issubclass(category, UndefinedMetricWarning)
            task_names = [
                name for name in tasks if not (is_undefined and name in undefined)
            ]
            if task_names:
                warn_user(f"{message} (tasks {task_names})", category)
