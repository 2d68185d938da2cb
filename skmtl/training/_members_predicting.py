"""The part of the net of several members that predicts, held-out rows included."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from skmtl.training._batches import InputSource, TrainingRows
from skmtl.training._epoch_choice import EpochChoice
from skmtl.training._members_data import HeldOutBatches
from skmtl.training._net import MultiTaskNet
from skmtl.training._processes import SINGLE_PROCESS, Processes
from skmtl.training._refine import Temperatures, apply_temperatures, average_networks
from skmtl.training._scoring import ScoringRows, SelectedRows


class PredictingMembers(MultiTaskNet):
    """A net that says what its members say on average."""

    # (n_outputs,): For each member, the outputs of a model that knows its training
    # labels only.
    priors: Sequence[Any]
    # What draws predictions towards the prior, where they are calibrated.
    slopes: Temperatures | None

    @property
    def n_estimators(self) -> int:
        """Number of members."""
        return len(self.priors)

    def _compute_row_outputs(self, rows: ScoringRows) -> Tensor:
        if not rows.held_out:
            return super()._compute_row_outputs(rows)
        choice = EpochChoice(rows.parts)
        self.predict_held_out(choice)
        return choice.outputs(self.criterion_.blocks)[rows.rows.get_sample_index()]

    def outputs(self, source: InputSource | SelectedRows) -> Tensor:
        """Return packed outputs of the mean prediction, (n, n_outputs), on the CPU."""
        outputs, blocks = super().outputs(source), self.criterion_.blocks
        if self.slopes is None:
            return outputs
        prior = torch.from_numpy(self.module__prior).to(outputs).unsqueeze(0)
        return apply_temperatures(outputs, self.slopes, blocks, prior)

    def compute_member_outputs(self, source: InputSource) -> Tensor:
        """Return the outputs of each member, of shape (n_estimators, n, n_outputs)."""
        every = HeldOutBatches([TrainingRows(source, [])] * self.n_estimators)
        return self._compute_member_outputs(every, self.module_.each())

    def _predict_outputs(self, X: Tensor) -> Tensor:
        return average_networks(self.module_(X).to(self.dtype), self.criterion_.blocks)

    def _rows_at_once(self, device: torch.device) -> int:
        return max(64, super()._rows_at_once(device) // self.n_estimators)

    def predict_held_out(self, choice: EpochChoice) -> None:
        """Predict rows by the members as they are, for all groups of them."""
        Z = self._compute_member_outputs(
            HeldOutBatches(choice.parts), self.module_.each(), self.processes
        )
        choice.see(dict(enumerate(Z)), None)

    def _stop_training(self) -> None:
        """Switch off what only training has, as dropout."""
        if self._trained_module.training:
            self._set_training(False)

    def _compute_member_outputs(
        self,
        checks: HeldOutBatches,
        run: Callable[[Tensor], Tensor],
        processes: Processes = SINGLE_PROCESS,
    ) -> Tensor:
        """Return the outputs of members for their held-out rows."""
        self._stop_training()
        source, index = checks.rows.source, processes.share(checks.index, dim=1)
        shape = *index.shape, self.module_.heads.n_outputs
        Z = torch.empty(shape, dtype=self.dtype, device=source.device)
        rows = self._rows_at_once(source.device)
        for start in range(0, index.shape[1], rows):
            part = slice(start, start + rows)
            Z[:, part] = self._outputs_at(source, index[:, part], run)
        return processes.all_gather(Z, dim=1)

    def _outputs_at(
        self, source: InputSource, index: Tensor, run: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Return the outputs of each member for samples of its own."""
        with torch.no_grad(), self._precision():
            X = source.take(index.flatten())
            return run(X.unflatten(0, index.shape)).to(self.dtype)
