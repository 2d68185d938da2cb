"""What a fit leaves at the estimator."""

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator

from skmtl._data.targets import Targets
from skmtl._data.training_data import LabelCounts
from skmtl._estimators.class_labels import make_class_attributes
from skmtl._estimators.fitting.out_of_fold import OutOfFoldPredictions
from skmtl._estimators.fitting.run import TrainingRun
from skmtl._estimators.thresholds import tune_thresholds
from skmtl.training import MultiTaskNet


def set_fitted_attributes(
    estimator: BaseEstimator,
    net: MultiTaskNet,
    run: TrainingRun,
    oof: OutOfFoldPredictions | None,
) -> None:
    """Set what a fit leaves at the estimator."""
    settings, targets = run.settings, run.targets
    net.strip(list(settings.callbacks or []), keep_optimizer=run.one_pass)
    open_precision = settings.precision == "auto"
    needs_float64 = "regression" in targets.task_types and open_precision
    if needs_float64 and net.device == "cpu":
        # Rounding of float32 would depend on which rows are predicted together.
        net.cast(torch.float64)
    _describe_net(estimator, net, targets)
    counts = LabelCounts.from_data(run.data, targets)
    if run.one_pass and run.fitted_net is not None:
        counts = estimator._label_counts.add(counts)
    estimator._label_counts = counts
    estimator._oof = oof
    fitted = None if oof is None else (len(run.data.rows), run.splits)
    estimator._parts_of_fit = fitted
    vars(estimator).pop("thresholds_", None)
    if settings.threshold is not None and oof is not None:
        predicted = targets, oof.outputs, oof.labels, oof.weight
        estimator.thresholds_ = tune_thresholds(*predicted, settings.threshold)


def collect_fitted_attributes(
    estimator: BaseEstimator, net: MultiTaskNet, targets: Targets
) -> dict[str, Any]:
    """Return the fitted attributes that an estimator would have by now."""
    view = object.__new__(type(estimator))
    vars(view).update(vars(estimator))
    _describe_net(view, net, targets)
    return {k: v for k, v in vars(view).items() if is_fitted_attribute(k)}


def _describe_net(
    estimator: BaseEstimator, net: MultiTaskNet, targets: Targets
) -> None:
    for name in ("validation_scores_", "best_validation_score_", "best_epochs_"):
        vars(estimator).pop(name, None)
    estimator.net_ = net
    estimator._targets = targets
    estimator.n_estimators_ = getattr(net, "n_estimators", 1)
    estimator.n_tasks_ = estimator.n_outputs_ = targets.n_tasks
    estimator.task_names_ = list(targets.names)
    history = net.history
    estimator.n_iter_ = len(history)
    estimator.loss_curve_ = [epoch["train_loss"] for epoch in history]
    estimator.loss_ = estimator.loss_curve_[-1] if estimator.loss_curve_ else 0.0
    if history and "valid_loss" in history[-1]:
        _describe_validation(estimator, history)
    estimator.task_weights_ = net.weights()
    if hasattr(estimator, "class_weight"):
        make_class_attributes(estimator, targets)
    if hasattr(estimator, "task_types"):
        estimator.task_types_ = list(targets.task_types)


def _describe_validation(estimator: BaseEstimator, history: Any) -> None:
    """Set what the held-out rows say after each epoch."""
    judged, sign = (
        ("valid_score", 1) if "valid_score" in history[-1] else ("valid_loss", -1)
    )
    scored = [epoch for epoch in history if judged in epoch]
    estimator.validation_scores_ = [sign * epoch[judged] for epoch in scored]
    estimator.best_validation_score_ = max(estimator.validation_scores_)
    name = "valid_scores" if sign == 1 else "valid_losses"
    of_tasks = sign * np.array([epoch[name] for epoch in scored], dtype=float)
    best = np.where(np.isnan(of_tasks), -np.inf, of_tasks).argmax(axis=0)
    numbers = [i for i, epoch in enumerate(history, start=1) if judged in epoch]
    scored_tasks = ~np.isnan(of_tasks).all(axis=0)
    estimator.best_epochs_ = np.where(scored_tasks, np.array(numbers)[best], 0)


def is_fitted_attribute(name: str) -> bool:
    """Return whether an attribute is one that a fit sets."""
    private = ("_targets", "_categories", "_oof", "_parts_of_fit", "_label_counts")
    return name in private or (name.endswith("_") and not name.startswith("_"))
