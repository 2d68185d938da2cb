"""The part of the skorch net that predicts."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.utils import to_numpy, to_tensor
from torch import Tensor

from skmtl._data.targets import Targets
from skmtl.training._batches import InputSource
from skmtl.training._scoring import ScoringRows, SelectedRows

#: Rows per forward pass of a prediction: their activations stay in the cache.
PREDICT_ROWS = 1024


class PredictingNet(NeuralNet):
    """A skorch net that says what its module does, in the type that it is given.

    Attributes
    ----------
    dtype : torch.dtype
        Type of the parameters.
    autocast : bool
        Whether to run the module in bfloat16 where torch finds it safe.
    targets : Targets
        The tasks.
    """

    dtype: torch.dtype
    autocast: bool
    targets: Targets
    weights_: Any

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        """Return the packed outputs of a batch in the type of the losses."""
        if not isinstance(x, Tensor):
            x = to_tensor(x, self.device).to(self.module_.input_dtype)
        if not self.autocast:
            return self.module_(x)  # type: ignore[no-any-return]
        with self._precision():
            return self.module_(x).float()  # type: ignore[no-any-return]

    def _precision(self) -> AbstractContextManager[Any]:
        if not self.autocast:
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)

    def outputs(self, source: InputSource | SelectedRows) -> Tensor:
        """Return the packed outputs of all rows, of shape (n, n_outputs), on the CPU.

        Parameters
        ----------
        source : InputSource
            The samples.
        """
        return self._compute_in_parts(
            source, 0, source.n_samples, self._predict_outputs
        )

    def _compute_in_parts(
        self,
        source: InputSource | SelectedRows,
        start: int,
        stop: int,
        compute: Callable[[Tensor], Tensor],
        *leading: int,
    ) -> Tensor:
        """Return outputs (*leading, stop - start, n_outputs) of a range of samples."""
        shape = *leading, stop - start, self.module_.heads.n_outputs
        outputs = torch.empty(shape, dtype=self.dtype)
        training = self.module_.training
        if training:  # a callback predicts
            self.module_.eval()
        rows = self._rows_at_once(source.device)
        with torch.inference_mode(), self._precision():
            for first in range(start, stop, rows):
                last = min(first + rows, stop)
                part = slice(first - start, last - start)
                outputs[..., part, :] = compute(source.span(first, last))
        if training:
            self.module_.train()
        return outputs

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the labels that are predicted, as the estimator does.

        Parameters
        ----------
        X : ScoringRows, array-like or Tensor of shape (n, ...)
            The samples, as the network reads them.

        Returns
        -------
        ndarray of shape (n,) or (n, n_tasks)
            The labels.
        """
        outputs = self._compute_outputs(X)
        return self.targets.predict(outputs, self.targets.predict_codes(outputs))

    def predict_proba(self, X: Any) -> Any:
        """Return probabilities of the classes, as the estimator does.

        Parameters
        ----------
        X : ScoringRows, array-like or Tensor of shape (n, ...)
            The samples, as the network reads them.

        Returns
        -------
        ndarray or list of ndarray or None
            The probabilities of each task, None for regression.
        """
        proba = self.targets.predict_proba(self._compute_outputs(X))
        return proba[0] if self.targets.one_d else proba

    @property
    def classes_(self) -> Any:
        """Classes of each task, None for regression."""
        return self.targets.classes[0] if self.targets.one_d else self.targets.classes

    @property
    def task_names_(self) -> list[Any]:
        """Names of the tasks."""
        return list(self.targets.names)

    @property
    def task_types_(self) -> list[str]:
        """Kinds of the tasks."""
        return list(self.targets.kinds)

    def _compute_outputs(self, X: Any) -> Tensor:
        if isinstance(X, ScoringRows):
            return self._compute_row_outputs(X)
        X, device = to_numpy(X), torch.device(self.device)
        return self.outputs(
            InputSource(X, self.module_.input_dtype, device, resident=False)
        )

    def _compute_row_outputs(self, rows: ScoringRows) -> Tensor:
        return self.outputs(
            SelectedRows(rows.rows.source, rows.rows.get_sample_index())
        )

    def compute_member_outputs(self, source: InputSource) -> Tensor:
        """Return the outputs of each member, of shape (n_estimators, n, n_outputs)."""
        return self.outputs(source).unsqueeze(0)

    def _predict_outputs(self, X: Tensor) -> Tensor:
        """Return the packed outputs of some rows."""
        return self.module_(X)  # type: ignore[no-any-return]

    def _rows_at_once(self, device: torch.device) -> int:
        # Other devices have no such cache, but each pass waits for them.
        return PREDICT_ROWS if device.type == "cpu" else 64 * PREDICT_ROWS

    def cast(self, dtype: torch.dtype) -> None:
        """Change the type of the parameters."""
        self.dtype = dtype
        self.module_.to(dtype)
        self.weighting_.to(dtype)

    def weights(self) -> NDArray[np.float64]:
        """Return the weights of the tasks in the last step."""
        weights: NDArray[np.float64] = (
            torch.as_tensor(self.weights_).double().cpu().numpy()
        )
        return weights
