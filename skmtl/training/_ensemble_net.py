"""The skorch net of an ensemble: several networks that train at once or in turns."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skmtl.training._batches import (
    HeldOutBatches,
    InputSource,
    MemberBatches,
    TrainingRows,
)
from skmtl.training._callback_data import (
    ScoringRows,
    SelectedRows,
    needs_gradients,
    reads_batches,
)
from skmtl.training._distributed import SINGLE_PROCESS, Processes
from skmtl.training._ensemble_loop import EnsembleLoop, StackedLoop, TurnsLoop
from skmtl.training._epoch_choice import EpochChoice
from skmtl.training._members import Members, StackedWeighting, try_stacking
from skmtl.training._net import PREDICT_ROWS, MultiTaskNet
from skmtl.training._task_stopping import TaskStopping
from skmtl.training._temperature import (
    Temperatures,
    apply_temperatures,
    average_networks,
)
from skmtl.weighting import GradientWeightingModule

#: Optimizers that treat each number by itself, so that members don't meet in them.
ELEMENTWISE = {
    getattr(torch.optim, name)
    for name in [
        "Adadelta",
        "Adagrad",
        "Adam",
        "Adamax",
        "AdamW",
        "NAdam",
        "RAdam",
        "RMSprop",
        "SGD",
    ]
}


#: Outputs of all networks that are in memory at once, where these are not averaged.
MANY_NUMBERS = 2**22


class MembersNet(MultiTaskNet):
    """An ensemble in one net; networks differ in weights, batches and held-out rows."""

    # Members that can be stacked train as one computation; others take turns, epoch by
    # epoch. Either way all is as if each were trained alone.
    # priors (n_outputs,): For each member, the outputs of a model that knows its
    # training labels only.

    #: Whether members are stacked, and their encoders joined; None finds out.
    arrangement: tuple[bool, bool] | None = None
    #: Nets of members that take turns; empty where they are stacked.
    _workers: list[MultiTaskNet]
    loop_: EnsembleLoop | None = None
    # What draws predictions towards the prior, where they are calibrated.
    slopes: Temperatures | None

    def __init__(self, *args: Any, priors: Sequence[Any], **kwargs: Any) -> None:
        self.priors = priors
        self.slopes = None
        super().__init__(*args, **kwargs)

    @property
    def n_estimators(self) -> int:
        """Number of members."""
        return len(self.priors)

    # ------------------------------------------------------------------- building
    def initialize_module(self) -> "MembersNet":
        """Build the members, and find out whether they can be stacked."""
        kwargs = self.get_params_for("module")
        modules = [
            self.initialized_instance(self.module, {**kwargs, "prior": prior})
            for prior in self.priors
        ]
        members, encoder = None, self.module__encoder
        if self.arrangement is not None:
            stacked, joins = self.arrangement
            members = Members(modules, stacked, encoder if joins else None)
        elif self._may_stack():
            members = try_stacking(modules, encoder, self.module__input_shape)
        self.module_ = members or Members(modules, stacked=False)
        self.stacked = self.module_.stack is not None
        return self

    def initialize_criterion(self) -> "MembersNet":
        """Build the losses, and a weighting for each member."""
        super().initialize_criterion()
        if self.stacked and not self.weighting_.fixed:
            n_tasks = len(self.task_weight)
            built = [self.weighting.build(n_tasks) for _ in range(self.n_estimators)]
            self.weighting_ = StackedWeighting(built).to(self.dtype)
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> Any:
        """Build the optimizer, or one for each member that takes its turn."""
        if self.stacked:
            self._workers = []
            return super().initialize_optimizer(triggered_directly)
        self._workers = [self._make_worker(i) for i in range(self.n_estimators)]
        self._show_workers()
        return self

    def _show_workers(self) -> None:
        """Show what members that take turns have, as if it were one net's."""
        self.optimizer_ = self._workers[0].optimizer_
        self.weighting_ = torch.nn.ModuleList(net.weighting_ for net in self._workers)
        for net in self._workers:
            net.callbacks_ = self.callbacks_

    def _may_stack(self) -> bool:
        """Return whether the settings are such that members never meet."""
        weighting = self.weighting.build(len(self.task_weight))
        return (
            not isinstance(weighting, GradientWeightingModule)
            and not weighting.rereads
            and not self.record_gradients
            and not self.augmentation
            and self.hard_example_mining is None
            and self.optimizer in ELEMENTWISE
            and not any(
                isinstance(c, TaskStopping) or reads_batches(c) or needs_gradients(c)
                for _, c in self.callbacks_
            )
        )

    def _make_worker(self, i: int) -> MultiTaskNet:
        """Return the net of one member that takes its turn."""
        module = self.module_.separate[i]  # type: ignore[index]
        net: MultiTaskNet = self.copy_attributes(MultiTaskNet, module_=module)
        net.initialize_criterion()
        for module in (net.criterion_, net.weighting_):  # skorch knows the net only
            module.to(net.device)
        net.initialize_history()
        net.initialize_optimizer()
        return net

    # ------------------------------------------------------------------- training
    def _make_loop(self, **options: Any) -> EnsembleLoop:
        return (StackedLoop if self.stacked else TurnsLoop)(self, **options)

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return batches of all members, or what is held out of each."""
        if not isinstance(dataset, list):
            return super().get_iterator(dataset, training)
        if training:
            parts = [super(MembersNet, self).get_iterator(r, True) for r in dataset]
            return MemberBatches(parts)  # type: ignore[arg-type]
        return HeldOutBatches(dataset)

    def _set_training(self, training: bool = True) -> None:
        super()._set_training(training)
        if self.loop_ is not None:
            self.loop_.module.train(training)

    # ---------------------------------------------------------------- predictions
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
        """Yield outputs of the ensemble and of its networks, for parts of the rows."""
        # The first, (n, n_outputs), are what `outputs` returns; those of networks,
        # (n_estimators, n, n_outputs), are not calibrated.
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
        """Return outputs of single networks, calibrated by slopes common to all."""
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
        batches = HeldOutBatches([TrainingRows(source, [])] * self.n_estimators)
        return self.compute_held_out_outputs(batches, self.module_.each())

    def _predict_outputs(self, X: Tensor) -> Tensor:
        return average_networks(self._run_networks(X), self.criterion_.blocks)

    def _run_networks(self, X: Tensor) -> Tensor:
        return self.module_(X).to(self.dtype)  # type: ignore[no-any-return]

    def _rows_at_once(self, device: torch.device) -> int:
        return max(64, super()._rows_at_once(device) // self.n_estimators)

    def predict_held_out(self, choice: EpochChoice) -> None:
        """Predict rows by the members as they are, for all groups of them."""
        Z = self.compute_held_out_outputs(
            HeldOutBatches(choice.parts), self.module_.each(), self.processes
        )
        choice.update(dict(enumerate(Z)), None)

    def compute_held_out_outputs(
        self,
        checks: HeldOutBatches,
        run: Callable[[Tensor], Tensor],
        processes: Processes = SINGLE_PROCESS,
    ) -> Tensor:
        """Return the outputs of members for their held-out rows."""
        module = self.module_ if self.loop_ is None else self.loop_.module
        if module.training:  # switch off what only training has, as dropout
            self._set_training(False)
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

    # ---------------------------------------------------------------------- state
    def cast(self, dtype: torch.dtype) -> None:
        """Change the type of the parameters."""
        super().cast(dtype)
        for net in self._workers:
            net.cast(dtype)

    def replica(self, settings: dict[str, Any]) -> "MembersNet":
        """Return a copy that trains on without touching this net."""
        if self.stacked:
            return super().replica(settings)  # type: ignore[return-value]
        # Members that take their turns were made before that type was known.
        settings = {**settings, "training_dtype": self.training_dtype}
        workers = [worker.replica(settings) for worker in self._workers]
        modules = [worker.module_ for worker in workers]
        net: MembersNet = self.copy_attributes(
            type(self),
            **settings,
            dtype=self.training_dtype,
            _workers=workers,
            module_=Members(modules, stacked=False),
            history_=copy.copy(self.history),
        )
        net.initialize_callbacks()
        net._show_workers()
        return net

    def weights(self) -> NDArray[np.float64]:
        """Return the weights of the tasks in the last step, the mean over members."""
        weights = super().weights()
        return weights.reshape(-1, len(self.task_weight)).mean(axis=0)  # type: ignore[no-any-return]

    def strip(self, callbacks: list[Any], keep_optimizer: bool) -> None:
        """Drop what only training needs, keeping the user's own callbacks."""
        super().strip(callbacks, keep_optimizer)
        for net in self._workers:
            net.strip(callbacks, keep_optimizer)
