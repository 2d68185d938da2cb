"""What held-out rows say of an epoch, in the measure that the user names."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import UndefinedMetricWarning
from torch import Tensor

from skmtl._core.validation import resolve_task
from skmtl._data.labels import LabelColumn, LabelTable
from skmtl._data.targets import Targets
from skmtl._data.training_data import RowIndex, TrainingData, has_label
from skmtl._estimators.fitting.settings import FitSettings
from skmtl._estimators.fitting.splits import Split
from skmtl.metrics._evaluation import HARMLESS, resolve_metrics
from skmtl.metrics._metric import Metric
from skmtl.metrics._one_task import check_kind, score_task

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ValidationScorer:
    """Scores the tasks on held-out rows, and says what an epoch is worth."""

    targets: Targets  # The tasks.
    metrics: list[Metric] | None  # How each task is scored; None scores by its loss.
    # What counts: the mean over tasks, the worst of them, or that of one task.
    average: str | int
    data: TrainingData  # Holds the labels of the held-out rows.
    trained: NDArray[np.bool_]  # (n_tasks,): Tasks that learn.

    @classmethod
    def from_settings(
        cls, settings: FitSettings, targets: Targets, data: TrainingData, trained: Any
    ) -> Self:
        """Resolve and check the parameters of validation."""
        average = settings.validation_average
        if average not in ("macro", "min"):
            name = "The 'validation_average' parameter"
            average = resolve_task(average, targets.names, name)
            if not trained[average]:
                raise ValueError(
                    f"{name} is task {targets.names[average]!r}, which does not train: "
                    "choose another, or 'macro'."
                )
        metrics = None
        if settings.validation_metric != "loss":
            metrics = _resolve_metrics(settings.validation_metric, targets, data)
        return cls(targets, metrics, average, data, trained)

    def scores(self, losses: Array, outputs: Tensor, rows: RowIndex) -> Array:
        """Return the score of each task, the greater the better."""
        # losses of shape (n_tasks,), outputs of shape (n_rows, n_outputs), rows of
        # shape (n_rows,); returns (n_tasks,).
        if self.metrics is None:
            return np.where(self.trained, -losses, np.nan)
        outputs, scores = outputs.cpu(), np.full(len(losses), np.nan)
        decoder = _DecodedOutputs(self.targets, outputs)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", HARMLESS)
            warnings.simplefilter("ignore", UndefinedMetricWarning)  # they are NaN
            for t in np.flatnonzero(self.trained).tolist():
                labels = self.data.labels[t][rows]
                present = has_label(labels)
                if present.any():
                    metric = self.metrics[t]
                    predicted = decoder.decode(metric, t)[present]
                    true, of = labels[present], rows[present]
                    scores[t] = self._score(metric, t, true, predicted, of)
        return scores

    def _score(
        self,
        metric: Metric,
        t: int,
        labels: Array,
        predicted: Array,
        rows: RowIndex,
    ) -> float:
        """Return the score of one task on labelled rows."""
        classes, name = self.targets.classes[t], self.targets.names[t]
        weight = self.data.given_weight
        w = None if weight is None else weight[rows, t]
        true = self._decode_labels(labels, t)
        return score_task(metric, true, predicted, classes, w, name)

    def average_scores(self, scores: Array) -> float:
        """Return the one number that decides, NaN where there is none."""
        # scores of shape (n_tasks,).
        if isinstance(self.average, int):
            return float(scores[self.average])
        defined = scores[~np.isnan(scores)]
        if not len(defined):
            return np.nan
        return float(defined.min() if self.average == "min" else defined.mean())

    def check(self, rows: RowIndex) -> None:
        """Raise an error for held-out rows that tell nothing of what counts."""
        present = [has_label(labels[rows]).any() for labels in self.data.labels]
        losses = np.where(present, 0.0, np.nan)
        n_outputs = max(block.stop for block in self.targets.blocks)
        scores = self.scores(losses, torch.zeros(len(rows), n_outputs), rows)
        if not np.isnan(self.average_scores(scores)):
            return
        of, names = self.average, self.targets.names
        raise ValueError(
            "The 'validation_metric' parameter cannot score "
            f"{'any task' if isinstance(of, str) else repr(names[of])} on the "
            f"{len(rows)} rows that are held out, whose labels are too few or of one "
            "class: give more of them, or choose 'loss'."
        )

    def _decode_labels(self, labels: NDArray[Any], t: int) -> NDArray[Any]:
        """Return labels as the user gave them."""
        classes = self.targets.classes[t]
        if classes is None:
            return labels * self.targets.scale[t] + self.targets.mean[t]
        return classes[labels]


def make_validation_scorer(
    settings: FitSettings,
    targets: Targets,
    trained: NDArray[np.bool_],
    valid: TrainingData | None,
    data: TrainingData,
    splits: Sequence[Split],
) -> ValidationScorer:
    """Return what decides on held-out rows in place of their mean loss."""
    # trained of shape (n_tasks,).
    parameter = settings.judging_parameter
    rows = [data.rows[held_out] for _, held_out in splits if held_out is not None]
    if valid is not None:
        rows = [valid.rows]
    if not rows or settings.early_stopping is False:
        raise ValueError(
            f"The '{parameter}' parameter is for rows that are held out, but "
            "early_stopping=False: set it to 'auto' or True, or leave "
            f"'{parameter}' out."
        )
    scorer = ValidationScorer.from_settings(settings, targets, valid or data, trained)
    for held_out_rows in rows:
        scorer.check(held_out_rows)
    return scorer


class _DecodedOutputs:
    """What outputs say, worked out once for all tasks where a metric asks for it."""

    def __init__(self, targets: Targets, outputs: Tensor) -> None:
        self.targets = targets
        self.outputs = outputs
        self._probabilities: list[NDArray[Any] | None] | None = None
        self._labels: list[NDArray[Any]] | None = None

    def decode(self, metric: Metric, t: int) -> NDArray[Any]:
        """Return the labels or values of a task, or its probabilities."""
        targets, Z = self.targets, self.outputs
        if metric.of_labels:
            if self._labels is None:
                self._labels = targets.predict_columns(Z, targets.predict_codes(Z))
            return self._labels[t]
        if self._probabilities is None:
            self._probabilities = targets.predict_proba(Z)
        return self._probabilities[t]  # type: ignore[return-value]


def _resolve_metrics(
    metric: object, targets: Targets, data: TrainingData
) -> list[Metric]:
    """Return the metric of each task, from a name, function or dict."""
    label_values = [np.zeros(1) if c is None else c for c in targets.classes]
    columns = [
        LabelColumn(values, np.ones(len(values), dtype=bool)) for values in label_values
    ]
    table = LabelTable(columns, targets.names, targets.one_d, None, 1)
    try:
        metrics = resolve_metrics(metric, table, targets.task_types)
        tasks = zip(
            metrics, targets.task_types, label_values, targets.names, strict=True
        )
        for m, kind, labels, name in tasks:
            check_kind(m, kind, labels, name)
    except ValueError as error:
        message = str(error).replace("'metric'", "'validation_metric'")
        raise ValueError(message) from error
    for m in metrics:
        if data.given_weight is not None and not m.accepts("sample_weight"):
            raise ValueError(
                f"The 'validation_metric' parameter {m.name!r} takes no weights: leave "
                "out sample_weight, or choose another."
            )
    return metrics
