"""The skorch net that trains several tasks at once."""

import inspect
from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.callbacks import Callback, LRScheduler, PrintLog
from torch import Tensor

from skmtl._core.random_source import get_generator
from skmtl._data.targets import Targets
from skmtl.exceptions import DivergenceError
from skmtl.training._augmentation import Augmentation, augment_batch
from skmtl.training._balance import TaskBalancer
from skmtl.training._batches import Batch, Batches, BlockTarget, TrainingRows
from skmtl.training._callbacks import (
    Progress,
    keep_best,
    was_stopped_by_callback,
)
from skmtl.training._compiled import compile_forward, use_compiler
from skmtl.training._judging import FrozenParameters, ValidationScores
from skmtl.training._kept import KeptNet
from skmtl.training._module import ForwardPass
from skmtl.training._processes import SINGLE_PROCESS, Processes
from skmtl.training._scoring import (
    ScoringRows,
    hears_batches,
    reads_batches,
    run_heard_step,
)
from skmtl.training._selection import HardExampleSelection
from skmtl.training._tally import EpochLosses

#: Batches between two looks at the losses of an epoch that is under way.
CHECK_EVERY = 128


class MultiTaskNet(KeptNet):
    """A skorch net whose step has one loss per task."""

    # Steps are skorch's, so that its callbacks, its history and its optimizer settings
    # work; the loop over batches reads no loss back from the device.
    # task_weight (n_tasks,): Fixed weights; zero for a task that has nothing to learn.

    # What scores held-out rows, where something else than their loss decides.
    judging: ValidationScores | None = None
    checkpoints: Any = None  # What writes the state of training to files.
    #: Whether Ctrl-C ends training with the best epoch so far.
    keeps_best = False
    #: Which of several members that train in turns.
    number = 0
    #: Outputs of tasks that stop with the next step, and what such tasks keep.
    _stops: Tensor | None = None
    _stopped: FrozenParameters | None = None
    #: What the network says of held-out rows in an epoch, batch by batch.
    _said: list[Tensor]
    #: Whether callbacks look at inputs and labels of batches.
    _batches_read = False
    #: The progress bar, where there is one.
    _progress: Progress | None = None

    def __init__(
        self,
        module: Any,
        *args: Any,
        weighting: Any,
        given_weighting: Any,
        targets: Targets,
        task_names: list[Any],
        task_weight: NDArray[np.float64],
        augmentation: Sequence[Augmentation],
        hard_example_mining: HardExampleSelection | None,
        record_gradients: bool,
        dtype: torch.dtype,
        autocast: bool,
        weight_decay: float,
        processes: Processes = SINGLE_PROCESS,
        backend: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.weighting = weighting
        self.given_weighting = given_weighting
        self.targets = targets
        self.task_names = task_names
        self.task_weight = task_weight
        self.augmentation = augmentation
        self.hard_example_mining = hard_example_mining
        self.record_gradients = record_gradients
        self.dtype = dtype
        self.autocast = autocast
        self.weight_decay = weight_decay
        self.processes = processes
        self.backend = backend
        self.weights_: Any = task_weight
        self.training_dtype = dtype
        super().__init__(module, *args, **kwargs)

    def train(self, rows: Any, valid: Any, epochs: int) -> None:
        """Train for some epochs, or until a callback asks to stop."""
        self.stop_training_ = False
        self._lowest: dict[str, float] = {}
        self._constants()
        self.processes.broadcast_state(self.module_, self.weighting_)
        self.notify("on_train_begin", X=None, y=None)
        try:
            self._train(rows, valid, epochs)
        except BaseException:
            if self._progress is not None:
                self._progress.close()
            raise

    def _train(self, rows: Any, valid: Any, epochs: int) -> None:
        try:
            with self._balance.graphs(), use_compiler(self.backend):
                self._epochs(rows, valid, epochs)
        except KeyboardInterrupt as interrupt:
            if not was_stopped_by_callback(interrupt) and not keep_best(self):
                if self.checkpoints is not None and not interrupt.args:
                    interrupt.args = (self.checkpoints.describe_resuming(),)
                raise
        if valid is None:
            self._check_last(rows)
        self.notify("on_train_end", X=None, y=None)

    def _epochs(self, rows: Any, valid: Any, epochs: int) -> None:
        data = {
            "dataset_train": ScoringRows(rows, self.targets),
            "dataset_valid": None
            if valid is None
            else ScoringRows(valid, self.targets, held_out=True),
        }
        batches = self.get_iterator(rows, training=True)
        checks = None if valid is None else self.get_iterator(valid, training=False)
        n_done = 0
        if self.checkpoints is not None:
            n_done = self.checkpoints.begin(self, batches, epochs)
        while not n_done or (n_done < epochs and not self.stop_training_):
            start = perf_counter()
            self.notify("on_epoch_begin", **data)
            self._epoch(batches, checks)
            self.history.record("dur", perf_counter() - start)
            if not self.history[-1]["batches"]:
                self.history.new_batch()  # skorch's Checkpoint looks at the last one
            self.notify("on_epoch_end", **data)
            self.stop_training_ = any(
                self.processes.all_gather_object(self.stop_training_)
            )
            n_done += 1
            if self.checkpoints is not None:
                last = n_done == epochs or self.stop_training_
                self.checkpoints.after_epoch(self, batches, n_done, last)

    def _epoch(self, batches: Any, checks: Any) -> None:
        """Train for an epoch, and look at what is held out."""
        self.run_single_epoch(batches, True, "train", self.train_step)
        self.run_single_epoch(checks, False, "valid", self.validation_step)
        if self.judging is not None and checks is not None:
            epoch, said = self.history[-1], torch.cat(self._said)
            losses = np.array([epoch["valid_losses"]])
            epoch.update(self.judging.update(losses, [said], [checks.rows], [0]))
            self._said = []

    def _check_last(self, rows: Any) -> None:
        """Look at the losses once more: the last step may have been the one too far."""
        self._set_training(False)
        shared = Batches(rows, self.batch_size, processes=self.processes)
        batch = next(iter(shared))
        losses = self.validation_step(batch)["losses"].cpu().numpy()
        losses = np.where(np.isfinite(losses), losses, np.inf)
        self._check_finite(np.where(self.task_weight > 0, losses, 0))

    def get_iterator(self, dataset: Any, training: bool = False) -> Iterable[Any]:
        """Return batches by slicing, in a new order or draw each epoch of training."""
        if isinstance(dataset, ScoringRows):
            dataset = dataset.rows
        if not isinstance(dataset, TrainingRows):
            return super().get_iterator(dataset, training)  # type: ignore[no-any-return]
        if not training:
            n_rows = max(self.batch_size, 4096)
            return Batches(dataset, n_rows, processes=self.processes)
        of_orders = None
        if self.iterator_train__shuffle or dataset.odds is not None:
            of_orders = torch.Generator()
            seed = torch.randint(2**62, (), generator=get_generator())
            of_orders.manual_seed(int(seed))
        return Batches(dataset, self.batch_size, of_orders, self.processes)

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
        if self.module_.training is not training:
            self._set_training(training)
        tally = EpochLosses(self.task_weight > 0)
        if training:
            self._balance.begin_epoch()
            self.processes.begin_pass(len(self.history), self.number)
        n_batches = 0
        for batch in iterator:
            if self._batch_events:
                step = run_heard_step(self, batch, prefix, training, step_fn)
            else:
                step = step_fn(batch)
            n_rows = step["y_pred"].shape[-2]
            tally.add(step["losses"], step["counts"], n_rows)
            n_batches += 1
            if training and self._progress is not None:
                self._progress.advance(n_rows)
            if training and len(tally.losses) == CHECK_EVERY:
                self._check_finite(tally.flush())
        self.history.record(f"{prefix}_batch_count", n_batches)
        losses = tally.flush()
        self._check_finite(losses)
        self._record(prefix, losses, tally.mean())
        if training:
            self.weights_ = step["weights"]
            self.history[-1].update(self._balance.end_epoch(losses))
            self.processes.average_buffers(self._trained_module)
            self._trained_module.after_epoch()

    def epoch_rows(self, rows: ScoringRows) -> float:
        """Return how many rows the batches of an epoch of training have here."""
        return len(rows) / self.processes.n

    def _record(self, prefix: str, losses: NDArray[np.float64], mean: float) -> None:
        best = self._lowest.get(prefix, np.inf)
        self._lowest[prefix] = min(best, mean)
        epoch = self.history[-1]
        epoch[f"{prefix}_loss"] = mean
        epoch[f"{prefix}_loss_best"] = mean < best
        epoch[f"{prefix}_losses"] = losses.tolist()

    @property
    def _trained_module(self) -> Any:
        """What steps change."""
        return self.module_

    def _check_finite(self, losses: NDArray[np.float64]) -> None:
        if np.isfinite(losses.sum()):  # NaN also stands for a task without labels
            return
        bad = np.flatnonzero(np.isinf(losses))
        if len(bad):
            raise DivergenceError(
                f"The loss of task {self.task_names[bad[0]]!r} was not finite in epoch "
                f"{len(self.history)}: lower learning_rate_init (now "
                f"{self.lr:g}), or scale the features, for example with StandardScaler."
            )

    def train_step(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        """Make one step; through skorch's closure where something needs it."""
        if self.augmentation:
            with self.processes.draw_separately():
                batch = augment_batch(
                    batch, self.augmentation, self.module_.code_columns
                )
        if self._needs_closure:
            step = super().train_step(batch, **fit_params)
        else:
            for parameter in self._parameters:
                parameter.grad = None
            step = self.train_step_single(batch)
            self.optimizer_.step()
        if self._stopped is not None:
            self._stopped.restore()
        self._look_back(batch, step)
        return step  # type: ignore[no-any-return]

    def train_step_single(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        """Compute the tasks' losses and the gradients of their weighted sum."""
        X, y = batch
        with self.processes.draw_separately():
            trace = self._forward(X)
        if self._stops is not None:
            known = trace.outputs, list(self.module_.parameters()), self._stops
            self._stopped = FrozenParameters(*known, self.processes)
            self._stops = None
        losses, counts = self._losses(trace.outputs, y)
        weights, penalty = self._balance.backward(trace, losses, counts)
        self.processes.sum_gradients(self._parameters, self.weighting_.parameters())
        losses = losses.detach()
        loss = losses
        if self._batch_events or self._needs_closure:
            loss = (weights * losses).sum()
            loss = loss if penalty is None else loss + penalty
        return {
            "loss": loss,
            "y_pred": trace.outputs,
            "losses": losses,
            "counts": counts,
            "weights": weights,
        }

    def stop_tasks(self, stopped: NDArray[np.bool_], member: int = 0) -> None:
        """Train on without some tasks: they weigh nothing, and keep what is theirs."""
        # stopped of shape (n_tasks,).
        weight = np.where(stopped, 0, self.task_weight)
        if not weight.any():
            self.stop_training_ = True
            return
        self._balance.set_task_weight(
            torch.from_numpy(weight).to(self.device, self.dtype)
        )
        of = torch.from_numpy(stopped).to(self.device)
        self._stops = of[self.module_.heads.task_of_output]

    def _look_back(self, batch: Batch, step: dict[str, Any]) -> None:
        """Show a weighting that asks for it what a step did to its losses."""
        if self.weighting_.rereads:
            X, y = batch
            with torch.no_grad():
                with self.processes.draw_separately():
                    outputs = self._forward(X).outputs
                after, counts = self._losses(outputs, y)
                self._balance.after_step(step["losses"], after, counts)

    def _losses(
        self, outputs: Tensor, y: list[BlockTarget]
    ) -> tuple[Tensor, Tensor | None]:
        """Return losses and label counts; mixed rows have several labels per output."""
        if self.augmentation and len(outputs):
            outputs = outputs.repeat(len(y[0][0]) // len(outputs), 1)
        return self.criterion_(outputs, y, self.hard_example_mining, self.processes)  # type: ignore[no-any-return]

    def validation_step(self, batch: Batch, **fit_params: Any) -> dict[str, Tensor]:
        """Compute the tasks' losses without gradients."""
        X, y = batch
        with torch.no_grad():
            outputs = self._forward(X).outputs
            losses, counts = self.criterion_(outputs, y, processes=self.processes)
        if self.judging is not None:
            self._said.append(self.processes.all_gather(outputs))
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
        losses, counts = self.criterion_(y_pred, y_true)
        return self._balance.weights(losses, counts) @ losses

    def _forward(self, X: Tensor) -> ForwardPass:
        with self._precision():
            trace = self._trace(self.module_, X)
        return trace._replace(outputs=trace.outputs.float()) if self.autocast else trace

    def _constants(self) -> None:
        """Keep what every step needs: fixed weights on the device, who listens."""
        weight = torch.from_numpy(self.task_weight).to(self.device, self.dtype)
        self._balance = TaskBalancer(
            self.module_,
            self.weighting_,
            self.weighting,
            weight,
            self.record_gradients,
            self.processes,
        )
        self._trace = compile_forward(self.backend, self._balance.gradients is not None)
        self._parameters = [
            p for g in self.optimizer_.param_groups for p in g["params"]
        ]
        self._stops = self._stopped = None
        self._said = []
        callbacks = [callback for _, callback in self.callbacks_]
        self._batch_events = any(map(hears_batches, callbacks))
        self._batches_read = any(map(reads_batches, callbacks))
        bars = [callback for callback in callbacks if isinstance(callback, Progress)]
        self._progress = bars[0] if bars else None
        printing = (Progress, PrintLog)  # which print nothing if the net is silent
        self.verbose = int(any(isinstance(c, printing) for c in callbacks))
        if self.history and any(isinstance(c, LRScheduler) for c in callbacks):
            for group in self.optimizer_.param_groups:  # which schedules go on from
                group.setdefault("initial_lr", group["lr"])
        closure = inspect.signature(self.optimizer_.step).parameters.get("closure")
        self._needs_closure = self._hears_gradients() or (
            closure is not None and closure.default is inspect.Parameter.empty
        )

    def _hears_gradients(self) -> bool:
        hook = Callback.on_grad_computed
        return any(type(c).on_grad_computed is not hook for _, c in self.callbacks_)
