"""Out-of-fold predictions: what members say of rows that they have not seen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import r2_score
from torch import Tensor

from skmtl._data.output_kinds import OutputBlock
from skmtl._data.targets import Targets
from skmtl._data.training_data import has_label
from skmtl._estimators.fitting.run import TrainingRun
from skmtl._estimators.thresholds import predict_codes, tune_thresholds
from skmtl.training import (
    MANY_ROWS,
    EpochChoice,
    MembersNet,
    apply_temperatures,
    average_networks,
    fit_temperatures,
    pack_targets,
)

#: How to have out-of-fold predictions, for errors.
NEEDS_FOLDS = (
    "out-of-fold predictions: fit with n_estimators of 2 or more and "
    "resampling='crossfit' or 'bootstrap', on at least 50 labelled rows or with "
    "early_stopping=True"
)


@dataclass(frozen=True)
class OutOfFoldPredictions:
    """Predictions for the training rows, each by the members that have not seen it."""

    outputs: Tensor  # (n_samples, n_outputs): Packed outputs, NaN where there is none.
    # (n_samples,): The training labels of each task: codes (negative where missing) or
    # standardised values (NaN where missing).
    labels: list[NDArray[Any]]
    # (n_samples, n_tasks): Weights of the labels, as the user gave them.
    weight: NDArray[np.float64] | None
    # (n_groups, n_tasks): Thresholds of binary tasks that the labels of other groups
    # choose; NaN where the most probable class counts. None where nothing is
    # thresholded.
    thresholds: NDArray[np.float64] | None = None
    # (n_samples,): Group of each sample: those that the same members hold out.
    group: NDArray[np.integer[Any]] | None = None
    # (n_samples, n_outputs): Packed outputs of the trained networks for the fold that
    # they hold out, not calibrated: those at the epoch where each network stops, which
    # also predicts new samples. None for folds that overlap, and for regression alone.
    fold_outputs: Tensor | None = None
    # (n_groups, n_networks): Which networks hold out each group.
    fold_networks: NDArray[np.bool_] | None = None

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which rows have a prediction."""
        predicted: NDArray[np.bool_] = ~self.outputs.isnan().any(dim=1).numpy()
        return predicted

    def predictions(self, targets: Targets) -> list[NDArray[Any]]:
        """Return probabilities and values of each task, NaN where there is none."""
        # Returns lists (n_samples, n_classes) or (n_samples,).
        probabilities = targets.predict_proba(self.outputs)
        values = targets.predict_values(self.outputs)
        predictions = [
            values[:, t] if p is None else p.copy() for t, p in enumerate(probabilities)
        ]
        unknown = ~self.known
        for prediction in predictions:  # those of a single class too
            prediction[unknown] = np.nan
        return predictions

    def scores(self, targets: Targets) -> NDArray[np.float64]:
        """Return each task's accuracy or R², without weights."""
        # Labels are predicted with the thresholds that other groups choose.
        # Returns (n_tasks,).
        codes, values = (
            targets.predict_codes(self.outputs),
            targets.predict_values(self.outputs),
        )
        if self.thresholds is not None:
            thresholds = self.thresholds[self.group]
            codes = predict_codes(targets, self.outputs, thresholds)
        values = (values - targets.mean) / targets.scale
        scores, predicted = np.full(targets.n_tasks, np.nan), self.known
        for t, labels in enumerate(self.labels):
            rows = predicted & has_label(labels)
            if targets.classes[t] is not None and rows.any():
                scores[t] = np.mean(codes[rows, t] == labels[rows])
            elif targets.classes[t] is None and rows.sum() > 1:
                scores[t] = r2_score(labels[rows], values[rows, t])
        return scores


def predict_out_of_fold(
    net: MembersNet,
    run: TrainingRun,
    rows: Any,
    choice: EpochChoice | None,
) -> OutOfFoldPredictions:
    """Predict the rows held out of each member, and calibrate the net by them."""
    last = choice is None or not choice.n_epochs  # no held-out row chose an epoch
    if choice is None or last:
        choice = EpochChoice(run.make_held_out_rows(rows) or [])
        net.predict_held_out(choice)
    data, blocks = run.data, run.targets.blocks
    calibrate, threshold = run.settings.calibrate, run.settings.threshold
    outputs = choice.outputs(blocks)
    oof = OutOfFoldPredictions(outputs, data.labels, data.given_weight)
    overlap = choice.members.sum(axis=0).max() > 1  # as those of bootstrap
    if not overlap and any(block.n_classes for block in blocks):
        oof = replace(
            oof,
            group=choice.group,
            # The epochs above are not those of the networks that predict new samples.
            fold_outputs=outputs.clone()
            if last
            else _predict_folds(net, choice, blocks),
            fold_networks=choice.members,
        )
    predicted = np.flatnonzero(oof.known)
    if not blocks or not len(predicted) or not (calibrate or threshold):
        return oof
    priors = _compute_group_priors(run, net.priors, choice)
    squared = net.criterion__regression_loss == "squared_error"
    fitted = _fit_groups(run, choice, priors, calibrate, squared, threshold)
    if threshold is not None:
        oof = replace(oof, thresholds=fitted.thresholds, group=choice.group)
    if not calibrate:
        return oof
    sample = predicted[:: -(-len(predicted) // MANY_ROWS)]
    prior = torch.from_numpy(net.module__prior).unsqueeze(0)
    a, b = _fit_slopes(run, sample, outputs[torch.from_numpy(sample)], prior, squared)
    # A mean of members is less sure than each of them: half of the way is left to go.
    net.slopes = (a.sqrt(), b.sqrt())
    for start in range(0, len(outputs), MANY_ROWS):
        part = slice(start, start + MANY_ROWS)
        group = torch.from_numpy(choice.group[part]).long()
        # Each row is refined as if it were alone: its slopes are those of its group.
        of_rows = fitted.slopes[0][group], fitted.slopes[1][group]
        Z = outputs[part].double().unsqueeze(1)
        Z = apply_temperatures(Z, of_rows, blocks, priors[group].unsqueeze(1))
        outputs[part] = Z.squeeze(1).to(outputs.dtype)
    return oof


def _predict_folds(
    net: MembersNet, choice: EpochChoice, blocks: Sequence[OutputBlock]
) -> Tensor:
    """Return what the trained networks predict for the samples that they hold out."""
    trained = EpochChoice(choice.parts)
    net.predict_held_out(trained)
    return trained.outputs(blocks)


def _fit_slopes(
    run: TrainingRun,
    rows: NDArray[np.int64],
    outputs: Tensor,
    prior: Tensor,
    squared: bool,
) -> tuple[Tensor, Tensor]:
    """Return the slopes that make predictions of some rows fit their labels best."""
    data, blocks = run.data, run.targets.blocks
    weight = None if data.weight is None else data.weight[rows]
    labels = [task[rows] for task in data.labels]
    targets = pack_targets(blocks, labels, weight, torch.float64, outputs.device)
    a, b = fit_temperatures(outputs.double(), targets, blocks, prior)
    return a, b if squared else torch.ones_like(b)


@dataclass
class _Fitted:
    """Slopes (n_groups,) and thresholds (n_groups, n_tasks) chosen by other groups."""

    slopes: tuple[Tensor, Tensor]
    thresholds: NDArray[np.float64]


def _fit_groups(
    run: TrainingRun,
    choice: EpochChoice,
    priors: Tensor,
    calibrate: bool,
    squared: bool,
    threshold: str | None,
) -> _Fitted:
    """Fit slopes and thresholds of each group to predictions of the other groups."""
    blocks, n_groups = run.targets.blocks, len(choice.epochs)
    a, b = torch.ones(2, n_groups, dtype=torch.float64)
    thresholds = np.full((n_groups, run.targets.n_tasks), np.nan)
    for epoch in np.unique(choice.epochs[choice.epochs > 0]).tolist():
        rows, outputs = choice.sample(epoch, blocks)
        predicted = ~outputs.isnan().any(dim=1).numpy()
        groups, row_parts = choice.epochs == epoch, choice.part[choice.group[rows]]
        for part in np.unique(choice.part[groups]).tolist():
            others = np.flatnonzero(predicted & (row_parts != part))
            if not len(others):
                continue
            same, Z = groups & (choice.part == part), outputs[torch.from_numpy(others)]
            if calibrate:
                prior = priors[torch.from_numpy(choice.group[rows[others]]).long()]
                slopes = _fit_slopes(run, rows[others], Z, prior, squared)
                a[torch.from_numpy(same)], b[torch.from_numpy(same)] = slopes
                Z = apply_temperatures(Z.double(), slopes, blocks, prior)
            if threshold is not None:
                thresholds[same] = _tune_thresholds(run, rows[others], Z, threshold)
    return _Fitted((a, b), thresholds)


def _tune_thresholds(
    run: TrainingRun, rows: NDArray[np.int64], outputs: Tensor, threshold: str
) -> NDArray[np.float64]:
    weight = run.data.given_weight
    weight = None if weight is None else weight[rows]
    labels = [task[rows] for task in run.data.labels]
    return tune_thresholds(run.targets, outputs, labels, weight, threshold)


def _compute_group_priors(
    run: TrainingRun, priors: Sequence[Any], choice: EpochChoice
) -> Tensor:
    """Return outputs (n_groups, n_outputs) that know the other groups' labels only."""
    blocks, members = run.targets.blocks, torch.from_numpy(choice.members.T).double()
    network_priors = torch.from_numpy(np.stack(priors)).double()
    for block in blocks:
        if block.task_type == "regression":
            network_priors[:, block.start : block.stop] = _compute_label_means(
                run, block.tasks
            )
    share = members / members.sum(dim=0).clamp(min=1)
    each = network_priors.unsqueeze(1).expand(-1, members.shape[1], -1)
    return average_networks(each, blocks, share)


def _compute_label_means(run: TrainingRun, tasks: Sequence[int]) -> Tensor:
    """Return mean labels (n_estimators, len(tasks)) of what each network trains on."""
    data, parts = run.data, run.splits
    means = torch.zeros(len(parts), len(tasks), dtype=torch.float64)
    for i, (train, _) in enumerate(parts):
        rows = data.rows[train]
        for j, t in enumerate(tasks):
            y = data.labels[t][rows]
            w = np.ones(len(y)) if data.weight is None else data.weight[rows, t]
            w = np.where(has_label(y), w, 0)
            if w.any():
                means[i, j] = np.nansum(w * y) / w.sum()
    return means
