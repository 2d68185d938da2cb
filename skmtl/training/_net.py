"""The skorch net that trains several tasks at once."""

import copy
import inspect
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor

from skmtl.exceptions import DivergenceError
from skmtl.training._batches import Batch, Batches, Rows, Source

#: Batches between two looks at the losses of an epoch that is under way.
CHECK_EVERY = 128
#: Rows per forward pass of a prediction: their activations stay in the cache.
PREDICT_ROWS = 2048


class MultiTaskNet(NeuralNet):
    """A skorch net whose step has one loss per task.

    Steps are skorch's, so that its callbacks, its history and its optimizer settings
    work; the loop over batches reads no loss back from the device.

    Parameters
    ----------
    module : type
        `MultiTaskModule`, with its arguments as ``module__…``.
    weighting : Weighting
        How task losses are balanced.
    task_names : list
        Names of the tasks.
    task_weight : ndarray of shape (n_tasks,)
        Fixed weights; zero for a task that has nothing to learn.
    dtype : torch.dtype
        Type of the parameters.
    autocast : bool
        Whether to run the module in bfloat16 where torch finds it safe.
    weight_decay : float
        Decay of weights; biases have none.
    **kwargs : dict
        As in `skorch.NeuralNet`.
    """

    def __init__(
        self,
        module: Any,
        *args: Any,
        weighting: Any,
        task_names: list[Any],
        task_weight: NDArray[np.float64],
        dtype: torch.dtype,
        autocast: bool,
        weight_decay: float,
        **kwargs: Any,
    ) -> None:
        self.weighting = weighting
        self.task_names = task_names
        self.task_weight = task_weight
        self.dtype = dtype
        self.autocast = autocast
        self.weight_decay = weight_decay
        self.weights_ = torch.from_numpy(task_weight)
        self.training_dtype = dtype
        super().__init__(module, *args, **kwargs)

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        return []

    def initialize_criterion(self) -> "MultiTaskNet":
        """Build the losses and the weighting, whose parameters are trained too."""
        super().initialize_criterion()
        n_tasks = len(self.task_weight)
        self.weighting_ = self.weighting.build(n_tasks).to(self.dtype)
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> Any:
        """Build the optimizer: weights decay, biases and learned task weights don't."""
        _, kwargs = self.get_params_for_optimizer("optimizer", [])
        if "weight_decay" in inspect.signature(self.optimizer).parameters:
            groups: dict[float, list[Tensor]] = {}
            for name, parameter in self._named_parameters():
                free = "bias" in name or name.startswith("weighting")
                groups.setdefault(0.0 if free else self.weight_decay, []).append(
                    parameter
                )
            parameters: Any = [
                {"params": group, "weight_decay": decay}
                for decay, group in groups.items()
            ]
        else:
            parameters = [parameter for _, parameter in self._named_parameters()]
        self.optimizer_ = self.optimizer(parameters, **kwargs)
        return self

    def _named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.module_.named_parameters()
        for name, parameter in self.weighting_.named_parameters():
            yield f"weighting.{name}", parameter

    def train(self, rows: Rows, valid: Rows | None, epochs: int) -> None:
        """Train for some epochs, or until a callback asks to stop.

        Parameters
        ----------
        rows : Rows
            Training data.
        valid : Rows or None
            Validation data.
        epochs : int
            Number of passes at most.
        """
        self.stop_training_ = False
        self._constants()
        self.notify("on_train_begin", X=None, y=None)
        try:
            self._epochs(rows, valid, epochs)
        except KeyboardInterrupt as interrupt:
            if not _asked_by_callback(interrupt):
                raise
        self.notify("on_train_end", X=None, y=None)

    def _epochs(self, rows: Rows, valid: Rows | None, epochs: int) -> None:
        data = {"dataset_train": rows, "dataset_valid": valid}
        batches = self.get_iterator(rows, training=True)
        checks = None if valid is None else self.get_iterator(valid, training=False)
        for _ in range(epochs):
            start = perf_counter()
            self.notify("on_epoch_begin", **data)
            self.run_single_epoch(batches, True, "train", self.train_step)
            self.run_single_epoch(checks, False, "valid", self.validation_step)
            self.history.record("dur", perf_counter() - start)
            self.notify("on_epoch_end", **data)
            if self.stop_training_:
                return

    def get_iterator(self, dataset: Any, training: bool = False) -> Iterable[Any]:
        """Return batches by slicing, in a new order each epoch of training."""
        if not isinstance(dataset, Rows):
            return super().get_iterator(dataset, training)  # type: ignore[no-any-return]
        if not training:
            return Batches(dataset, max(self.batch_size, 4096))
        generator = None
        if self.iterator_train__shuffle:
            generator = torch.Generator()
            generator.manual_seed(int(torch.randint(2**62, ())))
        return Batches(dataset, self.batch_size, generator)

    def run_single_epoch(
        self,
        iterator: Any,
        training: bool,
        prefix: str,
        step_fn: Any,
        **fit_params: Any,
    ) -> None:
        """Run one pass and record each task's mean loss."""
        if iterator is None:
            return
        self._set_training(training)
        tally = _Tally(len(self.task_weight))
        for batch in iterator:
            if self._batch_events:
                self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            tally.add(step["losses"], step["counts"], len(batch[0]))
            if self._batch_events:
                self.notify("on_batch_end", batch=batch, training=training, **step)
            if training and tally.n_batches % CHECK_EVERY == 0:
                self._check_finite(tally.means())
        losses = tally.means()
        if training:
            self._check_finite(losses)
        self._record(prefix, losses)

    def _record(self, prefix: str, losses: NDArray[np.float64]) -> None:
        known = losses[~np.isnan(losses) & (self.task_weight > 0)]
        mean = float(known.mean()) if len(known) else 0.0
        before = [epoch[f"{prefix}_loss"] for epoch in self.history[:-1]]
        self.history.record(f"{prefix}_loss", mean)
        self.history.record(f"{prefix}_loss_best", not before or mean < min(before))
        self.history.record(f"{prefix}_losses", losses.tolist())

    def _check_finite(self, losses: NDArray[np.float64]) -> None:
        bad = np.flatnonzero(np.isinf(losses))
        if len(bad):
            raise DivergenceError(
                f"The loss of task {self.task_names[bad[0]]!r} was not finite in epoch "
                f"{len(self.history)}: lower learning_rate_init (now "
                f"{self.lr:g}), or scale the features, for example with StandardScaler."
            )

    def train_step_single(self, batch: Batch, **fit_params: Any) -> dict[str, Tensor]:
        """Compute the tasks' losses and the gradients of their weighted sum."""
        X, y = batch
        outputs = self.infer(X)
        losses, counts = self.criterion_(outputs, y)
        loss, self.weights_ = self._total(losses, counts)
        loss.backward()
        return {
            "loss": loss.detach(),
            "y_pred": outputs,
            "losses": losses.detach(),
            "counts": counts,
        }

    def validation_step(self, batch: Batch, **fit_params: Any) -> dict[str, Tensor]:
        """Compute the tasks' losses without gradients."""
        X, y = batch
        with torch.no_grad():
            outputs = self.infer(X)
            losses, counts = self.criterion_(outputs, y)
        return {
            "loss": losses.sum(),
            "y_pred": outputs,
            "losses": losses,
            "counts": counts,
        }

    def get_loss(
        self, y_pred: Tensor, y_true: Any, X: Any = None, training: bool = False
    ) -> Tensor:
        """Return the weighted sum of the tasks' losses."""
        return self._total(*self.criterion_(y_pred, y_true))[0]

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        """Return the packed outputs of a batch in the type of the losses."""
        with self._precision():
            outputs = super().infer(x, **fit_params)
        return outputs.float() if self.autocast else outputs

    def _precision(self) -> AbstractContextManager[Any]:
        if not self.autocast:
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)

    def _constants(self) -> None:
        """Keep what every step needs: fixed weights on the device, who listens."""
        weight = torch.from_numpy(self.task_weight).to(self.device, self.dtype)
        self._task_weight = weight
        self._n_active = float(np.count_nonzero(self.task_weight))
        hooks = ("on_batch_begin", "on_batch_end")
        self._batch_events = any(
            getattr(type(callback), hook) is not getattr(Callback, hook)
            for _, callback in self.callbacks_
            for hook in hooks
        )

    def _total(self, losses: Tensor, counts: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the weighted loss and the weights, which sum to the tasks present."""
        present = None if counts is None else counts > 0
        weight = self._task_weight * self.weighting_(losses, present)
        if present is None:
            weight = weight * (self._n_active / weight.sum())
        else:
            n_present = ((self._task_weight > 0) & present).sum()
            weight = weight * present
            weight = weight * (n_present / weight.sum().clamp_min(1e-30))
        penalty = self.module_.penalty()
        total = weight @ losses
        return (total if penalty is None else total + penalty), weight.detach()

    def outputs(self, source: Source) -> Tensor:
        """Return the packed outputs of all rows, of shape (n, n_outputs), on the CPU.

        Parameters
        ----------
        source : Source
            The samples.
        """
        parts = []
        with torch.inference_mode(), self._precision():
            for start in range(0, source.n_samples, PREDICT_ROWS):
                outputs = self.module_(source.span(start, start + PREDICT_ROWS))
                parts.append(outputs.to("cpu", self.dtype))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def cast(self, dtype: torch.dtype) -> None:
        """Change the type of the parameters."""
        self.dtype = dtype
        self.module_.to(dtype)
        self.weighting_.to(dtype)

    def replica(self, settings: dict[str, Any]) -> "MultiTaskNet":
        """Return a copy that trains on without touching this net.

        Parameters
        ----------
        settings : dict
            Parameters to change, such as the learning rate.

        Returns
        -------
        MultiTaskNet
            The copy, in the type that training uses.
        """
        net: MultiTaskNet = object.__new__(type(self))
        vars(net).update({**vars(self), **settings})
        for name in ("module_", "criterion_", "weighting_"):
            vars(net)[name] = copy.deepcopy(getattr(self, name))
        vars(net)["history_"] = copy.deepcopy(self.history)
        net.cast(self.training_dtype)
        net.initialize_callbacks()
        net._initialize_optimizer()
        if self.optimizer_ is not None:
            net.optimizer_.load_state_dict(self.optimizer_.state_dict())
        return net

    def weights(self) -> NDArray[np.float64]:
        """Return the weights of the tasks in the last step."""
        return self.weights_.double().cpu().numpy()  # type: ignore[no-any-return]

    def strip(self, callbacks: list[Any], keep_optimizer: bool) -> None:
        """Drop what only training needs, keeping the user's own callbacks.

        Parameters
        ----------
        callbacks : list
            The user's callbacks, which replace those of training.
        keep_optimizer : bool
            Whether the optimizer's state stays, for a net that will train on.
        """
        self.callbacks = callbacks
        self.callbacks_ = [
            (name, callback)
            for name, callback in self.callbacks_
            if any(callback is own for own in callbacks)
        ]
        if not keep_optimizer:
            self.optimizer_ = None
        self.module_.zero_grad(set_to_none=True)
        self.module_.eval()
        for epoch in self.history:
            epoch["batches"] = []


class _Tally:
    """Running means of the tasks' losses, kept on the device."""

    def __init__(self, n_tasks: int) -> None:
        self.n_tasks = n_tasks
        self.n_batches = 0
        self.sum: Tensor | float = 0.0
        self.count: Tensor | float = 0.0

    def add(self, losses: Tensor, counts: Tensor | None, n: int) -> None:
        """Add a batch's mean losses, each over its count of labels."""
        self.n_batches += 1
        if counts is None:
            self.sum = self.sum + losses * n
            self.count = self.count + n
        else:
            # A task without labels has loss zero here, finite or not elsewhere.
            self.sum = self.sum + losses * counts
            self.count = self.count + counts

    def means(self) -> NDArray[np.float64]:
        """Return the mean losses: NaN without labels, inf where one was not finite."""
        total = torch.as_tensor(self.sum).double().cpu().expand(self.n_tasks).numpy()
        count = torch.as_tensor(self.count).double().cpu().expand(self.n_tasks).numpy()
        total = np.where(np.isfinite(total), total, np.inf)
        return np.divide(
            total, count, out=np.full(self.n_tasks, np.nan), where=count > 0
        )


def _asked_by_callback(interrupt: KeyboardInterrupt) -> bool:
    """Tell skorch's way of stopping early from a user's Ctrl-C.

    A callback that wants to stop raises KeyboardInterrupt from its own method; a signal
    arrives deeper down or outside.
    """
    traceback = interrupt.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return False
    return isinstance(traceback.tb_frame.f_locals.get("self"), Callback)
