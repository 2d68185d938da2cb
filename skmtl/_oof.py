"""Out-of-fold predictions: what members say of rows that they have not seen."""

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
from skmtl.training import MANY_ROWS, MembersNet, fitted_slopes, pack_targets, refined

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
        Whether to draw predictions towards the priors by the slope that makes those
        for held-out rows fit best.

    Returns
    -------
    OutOfFold or None
        None where no member has rows held out that others have not.
    """
    held = job.held_rows(rows)
    if held is None or not isinstance(net, MembersNet):
        return None
    data, blocks = job.data, job.targets.blocks
    outputs = net.held_out_outputs(held, data.X.shape[0])
    oof = OutOfFold(outputs, data.labels, data.given_weight)
    known = oof.known
    if not calibrate or not blocks or not known.any():
        return oof
    some = np.flatnonzero(known)
    some = some[:: -(-len(some) // MANY_ROWS)]
    weight = None if data.weight is None else data.weight[some]
    labels = [task[some] for task in data.labels]
    targets = pack_targets(blocks, labels, weight, torch.float64, outputs.device)
    prior = torch.from_numpy(net.module__prior).unsqueeze(0)
    a, b = fitted_slopes(
        outputs[torch.from_numpy(some)].double(), targets, blocks, prior
    )
    if net.criterion__regression_loss != "squared_error":
        b = torch.ones_like(b)
    # A mean of members is less sure than each of them: half of the way is left to go.
    net.slopes = (a.sqrt(), b)
    for part in outputs.split(MANY_ROWS):
        part[:] = refined(part.double(), (a, b), blocks, prior)
    return oof
