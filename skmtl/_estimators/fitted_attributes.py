"""What a fit leaves at the estimator."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skmtl._data.targets import Targets
from skmtl._data.training_data import LabelCounts
from skmtl._estimators.fitting.out_of_fold import OutOfFoldPredictions
from skmtl._estimators.fitting.run import TrainingRun
from skmtl._estimators.thresholds import tune_thresholds
from skmtl.training import MultiTaskNet


class Published:
    """The part of the estimators that sets fitted attributes."""

    callbacks: list[Any] | None
    # Types of what fit sets; there are no values before.
    n_estimators_: int
    n_tasks_: int
    n_outputs_: int
    task_names_: list[Any]
    n_features_in_: int
    feature_names_in_: NDArray[Any]
    n_iter_: int
    loss_: float
    loss_curve_: list[float]
    validation_scores_: list[float]
    best_validation_score_: float
    best_epochs_: NDArray[np.int64]
    task_weights_: NDArray[np.float64]
    net_: MultiTaskNet
    teacher_: Any
    _targets: Targets
    _oof: OutOfFoldPredictions | None
    _label_counts: LabelCounts

    def _publish(self, net: MultiTaskNet, run: TrainingRun) -> None:
        """Set the fitted attributes."""
        net.strip(list(self.callbacks or []), keep_optimizer=run.one_pass)
        targets = run.targets
        open_precision = run.settings.precision == "auto"
        needs_float64 = "regression" in targets.kinds and open_precision
        if needs_float64 and net.device == "cpu":
            # Rounding of float32 would depend on which rows are predicted together.
            net.cast(torch.float64)
        self._describe(net, targets)
        counts = LabelCounts.from_data(run.data, targets)
        if run.one_pass and run.fitted_net is not None:
            counts = self._label_counts.add(counts)
        self._label_counts = counts

    def _publish_oof(self, oof: OutOfFoldPredictions | None, run: TrainingRun) -> None:
        """Keep what members say of the training rows that they have not seen."""
        self._oof = oof
        self._parts_of_fit = None if oof is None else (len(run.data.rows), run.splits)
        self.__dict__.pop("thresholds_", None)
        threshold = getattr(self, "threshold", None)
        if threshold is not None and oof is not None:
            known = (self._targets, oof.outputs, oof.labels, oof.weight)
            self.thresholds_ = tune_thresholds(*known, threshold)

    def _attributes(self, net: MultiTaskNet, targets: Targets) -> dict[str, Any]:
        """Return the fitted attributes that the estimator would have by now."""
        view = object.__new__(type(self))
        view.__dict__.update(vars(self))
        view._describe(net, targets)
        return {k: v for k, v in vars(view).items() if is_fitted_attribute(k)}

    def _describe(self, net: MultiTaskNet, targets: Targets) -> None:
        for name in ("validation_scores_", "best_validation_score_", "best_epochs_"):
            self.__dict__.pop(name, None)
        self.net_ = net
        self._targets = targets
        self.n_estimators_ = getattr(net, "n_estimators", 1)
        self.n_tasks_ = self.n_outputs_ = targets.n_tasks
        self.task_names_ = list(targets.names)
        history = net.history
        self.n_iter_ = len(history)
        self.loss_curve_ = [epoch["train_loss"] for epoch in history]
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else 0.0
        if history and "valid_loss" in history[-1]:
            self._publish_validation(history)
        self.task_weights_ = net.weights()
        self._publish_classes(targets)

    def _publish_validation(self, history: Any) -> None:
        """Set what the held-out rows say after each epoch."""
        judged, sign = (
            ("valid_score", 1) if "valid_score" in history[-1] else ("valid_loss", -1)
        )
        scored = [epoch for epoch in history if judged in epoch]
        self.validation_scores_ = [sign * epoch[judged] for epoch in scored]
        self.best_validation_score_ = max(self.validation_scores_)
        name = "valid_scores" if sign == 1 else "valid_losses"
        of_tasks = sign * np.array([epoch[name] for epoch in scored], dtype=float)
        best = np.where(np.isnan(of_tasks), -np.inf, of_tasks).argmax(axis=0)
        numbers = [i for i, epoch in enumerate(history, start=1) if judged in epoch]
        known = ~np.isnan(of_tasks).all(axis=0)
        self.best_epochs_ = np.where(known, np.array(numbers)[best], 0)

    def _publish_classes(self, targets: Targets) -> None:
        """Set the fitted attributes of classification tasks."""


def is_fitted_attribute(name: str) -> bool:
    """Tell whether an attribute is one that a fit sets."""
    private = ("_targets", "_categories", "_oof", "_parts_of_fit", "_label_counts")
    return name in private or (name.endswith("_") and not name.startswith("_"))
