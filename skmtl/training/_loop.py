"""The training loop of a net: epochs, steps, held-out rows and checkpoints."""

import inspect
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import LRScheduler, PrintLog
from torch import Tensor

from skmtl.exceptions import DivergenceError
from skmtl.training._augmentation import augment_batch
from skmtl.training._batches import Batch, Batches, BlockTarget
from skmtl.training._callback_data import (
    LabelledBatch,
    ScoringRows,
    needs_batches,
    needs_gradients,
    reads_batches,
)
from skmtl.training._callbacks import Progress, keep_best, was_stopped_by_callback
from skmtl.training._compile import compile_forward, use_compiler
from skmtl.training._epoch_choice import EpochChoice
from skmtl.training._losses import EpochLosses
from skmtl.training._module import ForwardPass
from skmtl.training._task_balancing import TaskBalancer
from skmtl.training._task_stopping import FrozenParameters
from skmtl.training._validation_scores import ValidationScores

#: Batches between two looks at the losses of an epoch that is under way.
CHECK_EVERY = 128


class TrainingLoop:
    """Trains a net for some epochs, and holds what only training needs."""

    # Losses are not read back from the device batch by batch.

    def __init__(
        self,
        net: Any,
        scores: ValidationScores | None = None,
        choice: EpochChoice | None = None,
        checkpoints: Any = None,
        keep_best: bool = False,
    ) -> None:
        self.net = net
        self.scores = scores  # Where something else than losses decides.
        self.choice = choice  # Held-out predictions of an ensemble at the best epochs.
        self.checkpoints = checkpoints  # What writes the state of training to files.
        self.keep_best = keep_best  # Whether Ctrl-C keeps the best epoch so far.
        self.module = net.module_  # What steps change.
        self.lowest: dict[str, float] = {}  # Lowest mean losses so far.
        self.number = 0  # Which of several networks that train in turns.
        #: Outputs of tasks that stop with the next step, and what such tasks keep.
        self.stopped_outputs: Tensor | None = None
        self.frozen: FrozenParameters | None = None
        #: What the network predicts for held-out rows in an epoch, batch by batch.
        self.held_out_outputs: list[Tensor] = []
        self._prepare_steps()

    def _prepare_steps(self) -> None:
        """Keep what every step needs: fixed weights on the device, who listens."""
        net = self.net
        weight = torch.from_numpy(net.task_weight).to(net.device, net.dtype)
        self.balancer = TaskBalancer(
            net.module_,
            net.weighting_,
            net.weighting,
            weight,
            net.record_gradients,
            net.processes,
        )
        gradients = self.balancer.gradients is not None
        self.trace = compile_forward(net.backend, gradients)
        self.parameters = [
            p for group in net.optimizer_.param_groups for p in group["params"]
        ]
        callbacks = [callback for _, callback in net.callbacks_]
        self.needs_batches = any(map(needs_batches, callbacks))
        self.reads_batches = any(map(reads_batches, callbacks))
        bars = [callback for callback in callbacks if isinstance(callback, Progress)]
        self.progress = bars[0] if bars else None
        printing = (Progress, PrintLog)  # which print nothing if the net is silent
        net.verbose = int(any(isinstance(c, printing) for c in callbacks))
        if net.history and any(isinstance(c, LRScheduler) for c in callbacks):
            for group in net.optimizer_.param_groups:  # which schedules go on from
                group.setdefault("initial_lr", group["lr"])
        closure = inspect.signature(net.optimizer_.step).parameters.get("closure")
        self.needs_closure = any(map(needs_gradients, callbacks)) or (
            closure is not None and closure.default is inspect.Parameter.empty
        )

    # ---------------------------------------------------------------------- epochs
    def run(self, rows: Any, valid: Any, epochs: int) -> None:
        """Train for some epochs, or until a callback asks to stop."""
        net = self.net
        net.processes.broadcast_state(net.module_, net.weighting_)
        net.notify("on_train_begin", X=None, y=None)
        try:
            try:
                with self.balancer.graphs(), use_compiler(net.backend):
                    self._run_epochs(rows, valid, epochs)
            except KeyboardInterrupt as interrupt:
                if not was_stopped_by_callback(interrupt) and not keep_best(net):
                    if self.checkpoints is not None and not interrupt.args:
                        interrupt.args = (self.checkpoints.describe_resuming(),)
                    raise
            if valid is None:
                self._check_last(rows)
            net.notify("on_train_end", X=None, y=None)
        except BaseException:
            if self.progress is not None:
                self.progress.close()
            raise

    def _run_epochs(self, rows: Any, valid: Any, epochs: int) -> None:
        net, targets = self.net, self.net.targets
        held_out = None
        if valid is not None:
            held_out = ScoringRows(valid, targets, held_out=True)
        data = {"dataset_train": ScoringRows(rows, targets), "dataset_valid": held_out}
        batches = net.get_iterator(rows, training=True)
        checks = None if valid is None else net.get_iterator(valid, training=False)
        n_done = 0
        if self.checkpoints is not None:
            n_done = self.checkpoints.begin(net, batches, epochs)
        while not n_done or (n_done < epochs and not net.stop_training_):
            start = perf_counter()
            net.notify("on_epoch_begin", **data)
            self._run_epoch(batches, checks)
            net.history.record("dur", perf_counter() - start)
            if not net.history[-1]["batches"]:
                net.history.new_batch()  # skorch's Checkpoint looks at the last one
            net.notify("on_epoch_end", **data)
            net.stop_training_ = any(
                net.processes.all_gather_object(net.stop_training_)
            )
            n_done += 1
            if self.checkpoints is not None:
                last = n_done == epochs or net.stop_training_
                self.checkpoints.after_epoch(net, batches, n_done, last)

    def _run_epoch(self, batches: Any, checks: Any) -> None:
        """Train for an epoch, and look at what is held out."""
        self.run_pass(batches, True, "train", self.train_step)
        if checks is None:
            return
        self.run_pass(checks, False, "valid", self.validate)
        if self.scores is not None:
            epoch, outputs = self.net.history[-1], torch.cat(self.held_out_outputs)
            losses = np.array([epoch["valid_losses"]])
            epoch.update(self.scores.update(losses, [outputs], [checks.rows], [0]))
            self.held_out_outputs = []

    def run_pass(
        self, batches: Any, training: bool, prefix: str, step_fn: Callable[..., Any]
    ) -> None:
        """Run one pass over batches, and record each task's mean loss."""
        net = self.net
        if net.module_.training is not training:
            net._set_training(training)
        tally = EpochLosses(net.task_weight > 0)
        if training:
            self.balancer.begin_epoch()
            net.processes.begin_pass(len(net.history), self.number)
        n_batches = 0
        for batch in batches:
            if self.needs_batches:
                step = self._run_heard_step(batch, prefix, training, step_fn)
            else:
                step = step_fn(batch)
            n_rows = step["y_pred"].shape[-2]
            tally.add(step["losses"], step["counts"], n_rows)
            n_batches += 1
            if training and self.progress is not None:
                self.progress.advance(n_rows)
            if training and len(tally.losses) == CHECK_EVERY:
                self._check_finite(tally.flush())
        net.history.record(f"{prefix}_batch_count", n_batches)
        losses = tally.flush()
        self._check_finite(losses)
        self._record(prefix, losses, tally.mean())
        if training:
            net.weights_ = step["weights"]
            net.history[-1].update(self.balancer.end_epoch(losses))
            net.processes.average_buffers(self.module)
            self.module.after_epoch()

    def _run_heard_step(
        self, batch: Any, prefix: str, training: bool, step_fn: Callable[..., Any]
    ) -> dict[str, Any]:
        """Make a step that callbacks hear of, and record its loss for them."""
        net, heard = self.net, batch
        if self.reads_batches:
            heard = LabelledBatch.from_batch(batch, net.targets)
        net.notify("on_batch_begin", batch=heard, training=training)
        step: dict[str, Any] = step_fn(batch)
        tally, n_rows = EpochLosses(net.task_weight > 0), step["y_pred"].shape[-2]
        tally.add(step["losses"], step["counts"], n_rows)
        tally.flush()
        net.history.record_batch(f"{prefix}_loss", tally.mean())
        net.history.record_batch(f"{prefix}_batch_size", n_rows)
        net.notify("on_batch_end", batch=heard, training=training, **step)
        return step

    def _record(self, prefix: str, losses: NDArray[np.float64], mean: float) -> None:
        best = self.lowest.get(prefix, np.inf)
        self.lowest[prefix] = min(best, mean)
        epoch = self.net.history[-1]
        epoch[f"{prefix}_loss"] = mean
        epoch[f"{prefix}_loss_best"] = mean < best
        epoch[f"{prefix}_losses"] = losses.tolist()

    def _check_last(self, rows: Any) -> None:
        """Look at the losses once more: the last step may have been the one too far."""
        net = self.net
        net._set_training(False)
        shared = Batches(rows, net.batch_size, processes=net.processes)
        losses = self.validate(next(iter(shared)))["losses"].cpu().numpy()
        losses = np.where(np.isfinite(losses), losses, np.inf)
        self._check_finite(np.where(net.task_weight > 0, losses, 0))

    def _check_finite(self, losses: NDArray[np.float64]) -> None:
        if np.isfinite(losses.sum()):  # NaN also stands for a task without labels
            return
        net, bad = self.net, np.flatnonzero(np.isinf(losses))
        if len(bad):
            raise DivergenceError(
                f"The loss of task {net.task_names[bad[0]]!r} was not finite in epoch "
                f"{len(net.history)}: lower learning_rate_init (now "
                f"{net.lr:g}), or scale the features, for example with StandardScaler."
            )

    def count_epoch_rows(self, rows: ScoringRows) -> float:
        """Return how many rows the batches of an epoch of training have here."""
        return len(rows) / self.net.processes.n

    # ----------------------------------------------------------------------- steps
    def train_step(self, batch: Batch) -> dict[str, Any]:
        """Make one step; through skorch's closure where something needs it."""
        net = self.net
        if net.augmentation:
            columns = net.module_.code_columns
            with net.processes.draw_separately():
                batch = augment_batch(batch, net.augmentation, columns)
        if self.needs_closure:
            step: dict[str, Any] = NeuralNet.train_step(net, batch)
        else:
            for parameter in self.parameters:
                parameter.grad = None
            step = self.compute_gradients(batch)
            net.optimizer_.step()
        if self.frozen is not None:
            self.frozen.restore()
        self._look_back(batch, step)
        return step

    def compute_gradients(self, batch: Batch) -> dict[str, Any]:
        """Compute the tasks' losses and the gradients of their weighted sum."""
        X, y = batch
        net = self.net
        with net.processes.draw_separately():
            trace = self.forward(X)
        if self.stopped_outputs is not None:
            parameters = list(net.module_.parameters())
            self.frozen = FrozenParameters(
                trace.outputs, parameters, self.stopped_outputs, net.processes
            )
            self.stopped_outputs = None
        losses, counts = self._compute_losses(trace.outputs, y)
        weights, penalty = self.balancer.backward(trace, losses, counts)
        net.processes.sum_gradients(self.parameters, net.weighting_.parameters())
        losses = losses.detach()
        loss = losses
        if self.needs_batches or self.needs_closure:
            loss = (weights * losses).sum()
            loss = loss if penalty is None else loss + penalty
        return {
            "loss": loss,
            "y_pred": trace.outputs,
            "losses": losses,
            "counts": counts,
            "weights": weights,
        }

    def forward(self, X: Tensor) -> ForwardPass:
        """Run the module; keep what gradients of single tasks need."""
        with self.net._precision():
            trace = self.trace(self.net.module_, X)
        if self.net.autocast:
            return trace._replace(outputs=trace.outputs.float())
        return trace

    def _compute_losses(
        self, outputs: Tensor, y: list[BlockTarget]
    ) -> tuple[Tensor, Tensor | None]:
        """Return losses and label counts; mixed rows have several labels per output."""
        net = self.net
        if net.augmentation and len(outputs):
            outputs = outputs.repeat(len(y[0][0]) // len(outputs), 1)
        return net.criterion_(outputs, y, net.hard_example_mining, net.processes)  # type: ignore[no-any-return]

    def _look_back(self, batch: Batch, step: dict[str, Any]) -> None:
        """Show a weighting that asks for it what a step did to its losses."""
        net = self.net
        if net.weighting_.rereads:
            X, y = batch
            with torch.no_grad():
                with net.processes.draw_separately():
                    outputs = self.forward(X).outputs
                after, counts = self._compute_losses(outputs, y)
                self.balancer.after_step(step["losses"], after, counts)

    def validate(self, batch: Batch) -> dict[str, Any]:
        """Compute the tasks' losses without gradients."""
        X, y = batch
        net = self.net
        with torch.no_grad():
            outputs = self.forward(X).outputs
            losses, counts = net.criterion_(outputs, y, processes=net.processes)
        if self.scores is not None:
            self.held_out_outputs.append(net.processes.all_gather(outputs))
        return {
            "loss": losses.sum(),
            "y_pred": outputs,
            "losses": losses,
            "counts": counts,
        }

    def stop_tasks(self, stopped: NDArray[np.bool_], member: int = 0) -> None:
        """Train on without some tasks: they weigh nothing, and keep what is theirs."""
        # stopped of shape (n_tasks,).
        net = self.net
        weight = np.where(stopped, 0, net.task_weight)
        if not weight.any():
            net.stop_training_ = True
            return
        self.balancer.set_task_weight(
            torch.from_numpy(weight).to(net.device, net.dtype)
        )
        mask = torch.from_numpy(stopped).to(net.device)
        self.stopped_outputs = mask[net.module_.heads.task_of_output]

    # ----------------------------------------------------------------------- state
    def state_dict(self) -> dict[str, Any]:
        """Return what epochs have changed, beside modules and the optimizer."""
        net = self.net
        state = {
            "lowest": self.lowest,
            "weights": net.weights_,
            "stop_training": net.stop_training_,
            "stopped_outputs": self.stopped_outputs,
            "balancer": self.balancer.state_dict(),
        }
        if self.scores is not None:
            state["scores"] = self.scores.state_dict()
        if self.frozen is not None:
            state["frozen"] = self.frozen.state(list(net.module_.parameters()))
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bring back what epochs have changed."""
        net = self.net
        self.lowest = state["lowest"]
        net.weights_ = state["weights"]
        net.stop_training_ = state["stop_training"]
        self.stopped_outputs = state["stopped_outputs"]
        self.balancer.load_state_dict(state["balancer"])
        if self.scores is not None:
            self.scores.load_state_dict(state["scores"])
        if "frozen" in state:
            parameters = list(net.module_.parameters())
            self.frozen = FrozenParameters.from_state(parameters, state["frozen"])
