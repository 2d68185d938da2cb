"""Scores of held-out rows, epoch by epoch."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from skmtl._core.numerics import mean_of_known
from skmtl._data.training_data import RowIndex
from skmtl.training._batches import TrainingRows

Array = NDArray[np.float64]


class Scorer(Protocol):
    """Scores of the tasks on held-out rows, and their averages."""

    @property
    def metrics(self) -> Any:
        """How it scores; None where by losses."""

    def scores(self, losses: Array, outputs: Tensor, rows: RowIndex) -> Array:
        """Return the scores of the tasks on some rows, the greater the better."""

    def average_scores(self, scores: Array) -> float:
        """Return the one number that decides."""


class ValidationScores:
    """The last scores of one network, or of every member."""

    def __init__(self, scorer: Scorer, n_estimators: int, n_tasks: int) -> None:
        self.scorer = scorer
        self.scores = np.full((n_estimators, n_tasks), np.nan)
        self.averages = np.full(n_estimators, np.nan)

    def state_dict(self) -> dict[str, Any]:
        """Return the last scores."""
        return {"scores": self.scores, "averages": self.averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bring back the last scores."""
        self.scores, self.averages = state["scores"], state["averages"]

    def update(
        self,
        losses: Array,
        outputs: Sequence[Tensor] | Tensor,
        rows: Sequence[TrainingRows],
        numbers: Sequence[int] | NDArray[np.intp],
    ) -> dict[str, Any]:
        """Score those that train; return what to record."""
        # losses of shape (n_training, n_tasks), outputs lists of shape (n_rows,
        # n_outputs).
        for i, L, Z, network_rows in zip(numbers, losses, outputs, rows, strict=True):
            index = network_rows.get_sample_index().cpu().numpy()
            self.scores[i] = self.scorer.scores(L, Z[: len(index)], index)
            self.averages[i] = self.scorer.average_scores(self.scores[i])
        means = mean_of_known(self.scores, axis=0)
        average = float(self.averages.mean())
        return {"valid_score": average, "valid_scores": means.tolist()}
