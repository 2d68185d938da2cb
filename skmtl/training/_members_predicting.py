"""The part of the net of several members that predicts, held-out rows included."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from skmtl.training._batches import Rows, Source
from skmtl.training._members_data import Checks
from skmtl.training._net import MultiTaskNet
from skmtl.training._processes import ALONE, Processes
from skmtl.training._refine import MANY_ROWS, Slopes, averaged, refined


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
    slopes: Slopes | None

    @property
    def n_members(self) -> int:
        """Number of members."""
        return len(self.priors)

    def outputs(self, source: Source) -> Tensor:
        """Return packed outputs of the mean prediction, (n, n_outputs), on the CPU."""
        outputs, blocks = super().outputs(source), self.criterion_.blocks
        if self.slopes is None:
            return outputs
        prior = torch.from_numpy(self.module__prior).to(outputs).unsqueeze(0)
        return refined(outputs, self.slopes, blocks, prior)

    def outputs_of_each(self, source: Source) -> Tensor:
        """Return the outputs of each member, of shape (n_members, n, n_outputs)."""
        every = Checks([Rows(source, [])] * self.n_members)
        return self._outputs_of_each(every, self.module_.each())

    def _predicted(self, X: Tensor) -> Tensor:
        return averaged(self.module_(X).to(self.dtype), self.criterion_.blocks)

    def _rows_at_once(self, device: torch.device) -> int:
        return max(64, super()._rows_at_once(device) // self.n_members)

    def held_out_outputs(self, rows: Sequence[Rows], n_samples: int) -> Tensor:
        """Return predictions for samples by the members that have not seen them.

        Parameters
        ----------
        rows : sequence of Rows
            Held-out rows of each member.
        n_samples : int
            Number of samples of their source.

        Returns
        -------
        Tensor of shape (n_samples, n_outputs)
            Packed outputs, NaN where every member has trained on the sample.
        """
        checks = Checks(rows)
        Z = self._outputs_of_each(checks, self.module_.each(), self.processes).cpu()
        place = torch.full((self.n_members, n_samples), -1, dtype=torch.int32)
        for own, index, mask in zip(place, checks.index, checks.mask, strict=True):
            own[index[mask]] = torch.arange(int(mask.sum()), dtype=torch.int32)
        outputs = Z.new_full((n_samples, Z.shape[2]), torch.nan)
        parts = place.split(MANY_ROWS, 1), outputs.split(MANY_ROWS)
        for some, of_some in zip(*parts, strict=True):
            held = some >= 0  # (members, n_some)
            share = held.to(Z.dtype) / held.sum(dim=0).clamp_min(1)
            said = Z[torch.arange(self.n_members)[:, None], some.clamp_min(0)]
            means = averaged(said, self.criterion_.blocks, share)
            known = held.any(dim=0)
            of_some[known] = means[known]
        return outputs

    def _outputs_of_each(
        self,
        checks: Checks,
        run: Callable[[Tensor], Tensor],
        processes: Processes = ALONE,
    ) -> Tensor:
        """Return the outputs of members for their held-out rows."""
        if self._trained_module.training:
            self._set_training(False)
        parts = []
        source = checks.rows.source
        rows = self._rows_at_once(source.device)
        with torch.no_grad(), self._precision():
            for index in processes.share(checks.index, dim=1).split(rows, dim=1):
                X = source.take(index.flatten())
                parts.append(run(X.unflatten(0, index.shape)))
        return processes.gathered(torch.cat(parts, dim=1).to(self.dtype), dim=1)
