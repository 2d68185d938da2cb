"""The part of the net of several members that predicts, held-out rows included."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from skmtl.training._batches import InputSource, TrainingRows
from skmtl.training._epoch_choice import EpochChoice
from skmtl.training._members_data import HeldOutBatches
from skmtl.training._net import MultiTaskNet
from skmtl.training._predicting import PREDICT_ROWS
from skmtl.training._processes import SINGLE_PROCESS, Processes
from skmtl.training._refine import Temperatures, apply_temperatures, average_networks
from skmtl.training._scoring import ScoringRows, SelectedRows

#: Outputs of all networks that are in memory at once, where these are not averaged.
MANY_NUMBERS = 2**22


class PredictingMembers(MultiTaskNet):
    """A net that says what its members say on average.

    Attributes
    ----------
    priors : sequence of ndarray of shape (n_outputs,)
        For each member, the outputs of a model that knows its training labels only.
    slopes : (Tensor, Tensor) or None
        What draws predictions towards the prior, where they are calibrated.
    """

    priors: Sequence[Any]
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
        return self._apply_slopes(super().outputs(source), self.slopes)

    def iterate_outputs(
        self, source: InputSource | SelectedRows
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the outputs of the ensemble and of its networks, for parts of the rows.

        Parameters
        ----------
        source : InputSource
            The samples.

        Yields
        ------
        mean : Tensor of shape (n, n_outputs)
            What `outputs` returns for the next n samples.
        each : Tensor of shape (n_estimators, n, n_outputs)
            Outputs of each network, not calibrated.
        """
        n_outputs = self.module_.heads.n_outputs
        rows = max(PREDICT_ROWS, MANY_NUMBERS // (self.n_estimators * n_outputs or 1))
        for start in range(0, source.n_samples, rows):
            stop = min(start + rows, source.n_samples)
            each = self._compute_in_parts(
                source, start, stop, self._run_networks, self.n_estimators
            )
            mean = average_networks(each, self.criterion_.blocks)
            yield self._apply_slopes(mean, self.slopes), each

    def calibrate_networks(self, outputs: Tensor) -> Tensor:
        """Return outputs of single networks, calibrated by slopes common to all.

        Parameters
        ----------
        outputs : Tensor of shape (..., n, n_outputs)
            Packed outputs of networks that have not been averaged.

        Returns
        -------
        Tensor of shape (..., n, n_outputs)
            As given where the ensemble is not calibrated.
        """
        if self.slopes is None:
            return outputs
        a, b = self.slopes  # of the mean: square roots of those of a network
        return self._apply_slopes(outputs, (a**2, b**2))

    def _apply_slopes(self, outputs: Tensor, slopes: Temperatures | None) -> Tensor:
        if slopes is None:
            return outputs
        prior = torch.from_numpy(self.module__prior).to(outputs).unsqueeze(0)
        return apply_temperatures(outputs, slopes, self.criterion_.blocks, prior)

    def compute_member_outputs(self, source: InputSource) -> Tensor:
        """Return the outputs of each member, of shape (n_estimators, n, n_outputs)."""
        every = HeldOutBatches([TrainingRows(source, [])] * self.n_estimators)
        return self._compute_member_outputs(every, self.module_.each())

    def _predict_outputs(self, X: Tensor) -> Tensor:
        return average_networks(self._run_networks(X), self.criterion_.blocks)

    def _run_networks(self, X: Tensor) -> Tensor:
        return self.module_(X).to(self.dtype)  # type: ignore[no-any-return]

    def _rows_at_once(self, device: torch.device) -> int:
        return max(64, super()._rows_at_once(device) // self.n_estimators)

    def predict_held_out(self, choice: EpochChoice) -> None:
        """Predict rows by the members as they are, for all groups of them.

        Parameters
        ----------
        choice : EpochChoice
            It knows which rows are held out of which member.
        """
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
