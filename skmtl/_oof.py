"""Out-of-fold predictions: what members say of rows that they have not seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import r2_score
from torch import Tensor

from skmtl._data import is_present
from skmtl._job import Job
from skmtl._targets import Targets
from skmtl.training import (
    MANY_ROWS,
    EpochChoice,
    MembersNet,
    averaged,
    fitted_slopes,
    pack_targets,
    refined,
)

#: How to have out-of-fold predictions, for errors.
NEEDS_FOLDS = (
    "out-of-fold predictions: fit with n_members of 2 or more and members='crossfit' "
    "or 'bootstrap', on at least 50 labelled rows or with early_stopping=True"
)


@dataclass(frozen=True)
class OutOfFold:
    """Predictions for the training rows, each by the members that have not seen it.

    Attributes
    ----------
    outputs : Tensor of shape (n_samples, n_outputs)
        Packed outputs, NaN where there is none.
    labels : list of ndarray of shape (n_samples,)
        The training labels of each task: codes (negative where missing) or
        standardised values (NaN where missing).
    weight : ndarray of shape (n_samples, n_tasks) or None
        Weights of the labels, as the user gave them.
    """

    outputs: Tensor
    labels: list[NDArray[Any]]
    weight: NDArray[np.float64] | None

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which rows have a prediction."""
        known: NDArray[np.bool_] = ~self.outputs.isnan().any(dim=1).numpy()
        return known

    def predictions(self, targets: Targets) -> list[NDArray[Any]]:
        """Return probabilities and values of each task, NaN where there is none.

        Parameters
        ----------
        targets : Targets
            The tasks.

        Returns
        -------
        list of ndarray of shape (n_samples, n_classes) or (n_samples,)
            One array per task.
        """
        probabilities = targets.predict_proba(self.outputs)
        values = targets.values(self.outputs)
        predictions = [
            values[:, t] if p is None else p.copy() for t, p in enumerate(probabilities)
        ]
        unknown = ~self.known
        for prediction in predictions:  # those of a single class too
            prediction[unknown] = np.nan
        return predictions

    def scores(self, targets: Targets) -> NDArray[np.float64]:
        """Return each task's accuracy or R², without weights.

        Parameters
        ----------
        targets : Targets
            The tasks.

        Returns
        -------
        ndarray of shape (n_tasks,)
            NaN for a task that has too few labels.
        """
        codes, values = targets.codes(self.outputs), targets.values(self.outputs)
        values = (values - targets.mean) / targets.scale
        scores, known = np.full(targets.n_tasks, np.nan), self.known
        for t, labels in enumerate(self.labels):
            rows = known & is_present(labels)
            if targets.classes[t] is not None and rows.any():
                scores[t] = np.mean(codes[rows, t] == labels[rows])
            elif targets.classes[t] is None and rows.sum() > 1:
                scores[t] = r2_score(labels[rows], values[rows, t])
        return scores


def out_of_fold(net: Any, job: Job, rows: Any, calibrate: bool) -> OutOfFold | None:
    """Predict the rows held out of each member, and calibrate the net by them.

    Parameters
    ----------
    net : MultiTaskNet
        A trained net.
    job : Job
        Its fit.
    rows : list of Rows or Rows
        What its members, or the single network, have trained on.
    calibrate : bool
        Whether to scale what predictions add to the priors by the slopes that fit the
        labels of held-out rows best.

    Returns
    -------
    OutOfFold or None
        None where no member has rows held out that others have not.
    """
    if not job.out_of_fold or not isinstance(net, MembersNet):
        return None
    choice = net.choice
    if choice is None or not choice.n_epochs:  # no held-out row chose an epoch
        choice = EpochChoice(job.held_rows(rows) or [])
        net.predict_held_out(choice)
    data, blocks = job.data, job.targets.blocks
    outputs = choice.outputs(blocks)
    oof = OutOfFold(outputs, data.labels, data.given_weight)
    known = np.flatnonzero(oof.known)
    if not calibrate or not blocks or not len(known):
        return oof
    squared = net.criterion__regression_loss == "squared_error"
    some = known[:: -(-len(known) // MANY_ROWS)]
    prior = torch.from_numpy(net.module__prior).unsqueeze(0)
    a, b = _slopes(job, some, outputs[torch.from_numpy(some)], prior, squared)
    # A mean of members is less sure than each of them: half of the way is left to go.
    net.slopes = (a.sqrt(), b)
    priors = _group_priors(job, net.priors, choice)
    slopes = _group_slopes(job, choice, priors, squared)
    for start in range(0, len(outputs), MANY_ROWS):
        part = slice(start, start + MANY_ROWS)
        group = torch.from_numpy(choice.group[part]).long()
        # Each row is refined as if it were alone: its slopes are those of its group.
        of_rows = slopes[0][group], slopes[1][group]
        Z = outputs[part].double().unsqueeze(1)
        Z = refined(Z, of_rows, blocks, priors[group].unsqueeze(1))
        outputs[part] = Z.squeeze(1).to(outputs.dtype)
    return oof


def _slopes(
    job: Job, rows: NDArray[np.int64], outputs: Tensor, prior: Tensor, squared: bool
) -> tuple[Tensor, Tensor]:
    """Return the slopes that make predictions of some rows fit their labels best."""
    data, blocks = job.data, job.targets.blocks
    weight = None if data.weight is None else data.weight[rows]
    labels = [task[rows] for task in data.labels]
    targets = pack_targets(blocks, labels, weight, torch.float64, outputs.device)
    a, b = fitted_slopes(outputs.double(), targets, blocks, prior)
    return a, b if squared else torch.ones_like(b)


def _group_slopes(
    job: Job, choice: EpochChoice, priors: Tensor, squared: bool
) -> tuple[Tensor, Tensor]:
    """Return the slopes (n_groups,) that other groups choose at the group's epoch."""
    blocks, n_groups = job.targets.blocks, len(choice.epochs)
    slopes = torch.ones(2, n_groups, dtype=torch.float64)
    for epoch in np.unique(choice.epochs[choice.epochs > 0]).tolist():
        rows, outputs = choice.sample(epoch, blocks)
        known = ~outputs.isnan().any(dim=1).numpy()
        row_parts = choice.part[choice.group[rows]]
        groups = choice.epochs == epoch
        for part in np.unique(choice.part[groups]).tolist():
            others = np.flatnonzero(known & (row_parts != part))
            if len(others):
                prior = priors[torch.from_numpy(choice.group[rows[others]]).long()]
                Z = outputs[torch.from_numpy(others)]
                a, b = _slopes(job, rows[others], Z, prior, squared)
                same = torch.from_numpy(groups & (choice.part == part))
                slopes[:, same] = torch.stack([a, b]).unsqueeze(1)
    return slopes[0], slopes[1]


def _group_priors(job: Job, priors: Sequence[Any], choice: EpochChoice) -> Tensor:
    """Return outputs (n_groups, n_outputs) that know the other groups' labels only."""
    blocks, members = job.targets.blocks, torch.from_numpy(choice.members.T).double()
    every = torch.from_numpy(np.stack(priors)).double()
    for block in blocks:
        if block.kind == "regression":
            every[:, block.start : block.stop] = _means(job, block.tasks)
    share = members / members.sum(dim=0).clamp(min=1)
    each = every.unsqueeze(1).expand(-1, members.shape[1], -1)
    return averaged(each, blocks, share)


def _means(job: Job, tasks: Sequence[int]) -> Tensor:
    """Return the mean labels (n_members, len(tasks)) of what each member trains on."""
    data, parts = job.data, job.parts or []
    means = torch.zeros(len(parts), len(tasks), dtype=torch.float64)
    for i, (train, _) in enumerate(parts):
        rows = data.rows[train]
        for j, t in enumerate(tasks):
            y = data.labels[t][rows]
            w = np.ones(len(y)) if data.weight is None else data.weight[rows, t]
            w = np.where(is_present(y), w, 0)
            if w.any():
                means[i, j] = np.nansum(w * y) / w.sum()
    return means
