"""The skorch net that trains several members at once, or in turn."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skmtl._core.history import mean_of_known
from skmtl.training._active import ActiveMembers
from skmtl.training._compiled import compile_function
from skmtl.training._epoch_choice import EpochChoice
from skmtl.training._judging import TaskStopping
from skmtl.training._members import Members, StackedWeighting, try_stacking
from skmtl.training._members_data import HeldOutBatches, MemberBatches
from skmtl.training._members_predicting import PredictingMembers
from skmtl.training._module import ForwardPass
from skmtl.training._net import MultiTaskNet
from skmtl.training._refine import (
    MANY_ROWS,
    Temperatures,
    apply_temperatures,
    fit_temperatures,
)
from skmtl.training._scoring import ScoringRows, reads_batches, steps_by_batch
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


class MembersNet(PredictingMembers):
    """An ensemble in one net; networks differ in weights, batches and held-out rows."""

    # Members that can be stacked train as one computation; others take turns, epoch by
    # epoch. Either way all is as if each were trained alone.
    # priors (n_outputs,): For each member, the outputs of a model that knows its
    # training labels only.

    #: Whether members are stacked, and their encoders joined; None finds out.
    arrangement: tuple[bool, bool] | None = None
    #: What each member trains on and what is held out of it, while they train.
    _own: tuple[MemberBatches, HeldOutBatches | None] | None = None
    of_training = (
        *PredictingMembers.of_training,
        "_run",
        "_own",
        "_priors",
        "_losses_of_members",
        "active",
        "choice",
        "done",
        "member_losses",
    )
    #: What keeps predictions of the rows held out of members that stop by them.
    choice: EpochChoice | None = None

    def __init__(self, *args: Any, priors: Sequence[Any], **kwargs: Any) -> None:
        self.priors = priors
        self.slopes: Temperatures | None = None
        super().__init__(*args, **kwargs)

    # ------------------------------------------------------------------ building
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
            return super().initialize_optimizer(triggered_directly)
        self._alone = [self._worker(i) for i in range(self.n_estimators)]
        self._join()
        return self

    def _join(self) -> None:
        """Show what members that take turns have, as if it were one net's."""
        self.optimizer_ = self._alone[0].optimizer_
        self.weighting_ = torch.nn.ModuleList(net.weighting_ for net in self._alone)
        for net in self._alone:
            net.callbacks_ = self.callbacks_

    def _may_stack(self) -> bool:
        """Tell whether the settings are such that members never meet."""
        weighting = self.weighting.build(len(self.task_weight))
        return (
            not isinstance(weighting, GradientWeightingModule)
            and not weighting.rereads
            and not self.record_gradients
            and not self.augmentation
            and self.hard_example_mining is None
            and self.optimizer in ELEMENTWISE
            and not self._hears_gradients()
            and not any(
                isinstance(c, TaskStopping) or reads_batches(c)
                for _, c in self.callbacks_
            )
        )

    def _worker(self, i: int) -> MultiTaskNet:
        """Return the net of one member that takes its turn."""
        net: MultiTaskNet = object.__new__(MultiTaskNet)
        net.__dict__.update(vars(self))
        net.__dict__["module_"] = self.module_.separate[i]  # type: ignore[index]
        net.number = i
        net.initialize_criterion()
        for module in (net.criterion_, net.weighting_):  # skorch knows the net only
            module.to(net.device)
        net.initialize_history()
        net.initialize_optimizer()
        return net

    # ------------------------------------------------------------------ training
    def train(self, rows: Any, valid: Any, epochs: int) -> None:
        """Train for some epochs, or until every member has stopped."""
        self.done = np.zeros(self.n_estimators, dtype=bool)
        self._losses_of_members: dict[str, NDArray[np.float64]] = {}
        super().train(rows, valid, epochs)

    def _epochs(self, rows: Any, valid: Any, epochs: int) -> None:
        try:
            super()._epochs(rows, valid, epochs)
        finally:
            self.active.restore()
            self._run, self._own = self.module_.each(), None

    def _drop_stopped(self) -> None:
        """Train on with those stacked members only that have not stopped."""
        # Compiled ones are dropped, and compiled anew, once half of them have stopped.
        if self.backend is not None and self.done[self.active.numbers].mean() < 0.5:
            return
        if self.active.drop(self.done, self.optimizer_):
            self._train_active()

    def restrict(self, order: NDArray[np.intp], n: int) -> None:
        """Train on as after members have been dropped."""
        # order of shape (n_estimators,).
        if n < self.n_estimators:
            self.active.restrict(order, n, self.optimizer_)
            self._train_active()

    def _train_active(self) -> None:
        super()._constants()
        module, self._balance.weighting = self.active.modules
        self._balance.module = module  # type: ignore[assignment]
        self._run = self._runs()
        self._own = None

    def _runs(self) -> Callable[[Tensor], Tensor]:
        """Return the map from inputs of each member that trains to their outputs."""
        members, backend = self.active.members, self.backend
        if backend is None:
            return members.each()
        if self.stacked:
            return partial(compile_function(_run_each, backend, rows=1), members)
        nets = self._alone
        return lambda X: torch.stack(
            [net._forward(x).outputs for net, x in zip(nets, X, strict=True)]
        )

    @property
    def _trained_module(self) -> Any:
        """Members that have not stopped."""
        return self.active.members if "active" in vars(self) else self.module_

    def _set_training(self, training: bool = True) -> None:
        super()._set_training(training)
        self._trained_module.train(training)

    def _constants(self) -> None:
        """Keep what every step needs."""
        prior = torch.tensor(np.stack(self.priors), device=self.device)
        self._priors = prior.to(self.dtype).unsqueeze(1)  # (members, 1, outputs)
        self.active = ActiveMembers(self.module_, self.weighting_)
        self._own = None
        if self.stacked:
            super()._constants()
            self._run = self._runs()
            return
        for net in self._alone:
            net.stop_training_, net._lowest = False, {}
            net.callbacks_ = [
                (name, _select_member(c, net)) for name, c in net.callbacks_
            ]
            net._constants()
            net._trace = self._alone[0]._trace  # which is compiled once for all
        first = self._alone[0]
        self._balance, self._run = first._balance, self._runs()
        self._batches_read, self._progress = first._batches_read, first._progress
        self.verbose = first.verbose

    def epoch_rows(self, rows: ScoringRows) -> float:
        """Return how many rows the batches of an epoch of training have here."""
        n_turns = 1 if self.stacked else int((~self.done).sum())
        return n_turns * max(map(len, rows.parts)) / self.processes.n

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return batches of all members, or what is held out of each."""
        if not isinstance(dataset, list):
            return super().get_iterator(dataset, training)
        if training:
            parts = [super(MembersNet, self).get_iterator(r, True) for r in dataset]
            return MemberBatches(parts)  # type: ignore[arg-type]
        return HeldOutBatches(dataset)

    def _epoch(self, batches: Any, checks: Any) -> None:
        """Train for an epoch, and look at what is held out."""
        if not self.stacked:
            self._take_turns(batches)
        else:
            self._drop_stopped()
            if self._own is None:
                some = self.active.numbers
                self._own = batches.select(some), checks and checks.select(some)
            batches, checks = self._own
            self.run_single_epoch(batches, True, "train", self.train_step)
        if checks is not None:
            self._validate(checks)

    def _take_turns(self, batches: MemberBatches) -> None:
        """Train one member after the other for an epoch."""
        self._set_training()  # all at once, so that what is held out finds it so
        rate = [group["lr"] for group in self.optimizer_.param_groups]
        by_batch = any(steps_by_batch(callback) for _, callback in self.callbacks_)
        for net, own, done in zip(self._alone, batches.turns(), self.done, strict=True):
            if done:
                continue
            if not by_batch:
                for group, lr in zip(net.optimizer_.param_groups, rate, strict=True):
                    group["lr"] = lr  # schedulers know the first member's
            net.history.new_epoch()
            net.run_single_epoch(own, True, "train", net.train_step)
            self.history[-1]["batches"] += net.history[-1]["batches"]
        records = [net.history[-1] for net in self._alone]
        n_batches = max(record["train_batch_count"] for record in records)
        self.history.record("train_batch_count", n_batches)
        losses = np.array([record["train_losses"] for record in records])
        self._record("train", losses)
        for name in ("train_weights", "train_gradient_norms", "train_gradient_cosines"):
            if name in records[0]:
                values = np.mean([record[name] for record in records], axis=0)
                self.history[-1][name] = values.tolist()
        if "solver_failures" in records[0]:
            failures = sum(record["solver_failures"] for record in records)
            self.history[-1]["solver_failures"] = failures
        self.weights_ = torch.stack([torch.as_tensor(n.weights_) for n in self._alone])

    def _forward(self, X: Tensor) -> ForwardPass:
        with self._precision():
            outputs = self._run(X)
        return ForwardPass(
            outputs.float() if self.autocast else outputs, None, False, None
        )

    def _validate(self, checks: HeldOutBatches) -> None:
        """Record the losses of held-out rows."""
        losses, Z, slopes = self._refined_losses(checks)
        self._check_finite(losses)
        self._record("valid", losses)
        some = np.flatnonzero(self._trains).tolist()
        numbers = self.active.numbers[some].tolist()
        if self.judging is not None:
            parts = [checks.parts[i] for i in some]
            priors = self._priors[self.active.numbers]
            Z_refined = apply_temperatures(Z, slopes, self.criterion_.blocks, priors)
            record = self.judging.update(losses[some], Z_refined[some], parts, numbers)
            self.history[-1].update(record)
            self.member_losses = -self.judging.worth
        if self.choice is not None:
            outputs = {i: Z[j] for i, j in zip(numbers, some, strict=True)}
            self.choice.see(outputs, self.member_losses)
        if self._batches_read:
            self._show_held_out(checks)

    def _show_held_out(self, checks: HeldOutBatches) -> None:
        """Let callbacks see what is held out of each member as batches of its net."""
        for i in self.active.numbers[self._trains].tolist():
            net, n_batches = self._alone[i], len(self._alone[i].history[-1]["batches"])
            own = net.get_iterator(checks.parts[i])
            net.run_single_epoch(own, False, "valid", net.validation_step)
            self.history[-1]["batches"] += net.history[-1]["batches"][n_batches:]

    def stop_tasks(self, stopped: NDArray[np.bool_], member: int = 0) -> None:
        """Train a member on without some tasks, or stop it where none is left."""
        net = self._alone[member]
        net.stop_tasks(stopped)
        self.done[member] |= net.stop_training_
        self.stop_training_ |= bool(self.done.all())

    def _refined_losses(
        self, checks: HeldOutBatches
    ) -> tuple[NDArray[np.float64], Tensor, Temperatures]:
        """Return losses (n_estimators, n_tasks), refined outputs and slopes."""
        Z = self._compute_member_outputs(checks, self._run, self.processes)
        blocks, priors = self.criterion_.blocks, self._priors[self.active.numbers]
        few = slice(None, None, -(-Z.shape[1] // MANY_ROWS))
        slopes = fit_temperatures(Z[:, few], checks.labels(few), blocks, priors)
        sums, known = Z.new_zeros(()), Z.new_zeros(())
        for start in range(0, Z.shape[1], MANY_ROWS):
            part = slice(start, start + MANY_ROWS)
            Z_refined = apply_temperatures(Z[:, part], slopes, blocks, priors)
            losses, counts = self.criterion_(Z_refined, checks.labels(part))
            if counts is None:
                counts = torch.full_like(losses, Z[0, part].shape[0])
            sums, known = sums + losses * counts, known + counts
        L = (sums / known).double().cpu().numpy()  # NaN without labels
        return np.where(np.isnan(L) & (known > 0).cpu().numpy(), np.inf, L), Z, slopes

    def _record(
        self, prefix: str, losses: NDArray[np.float64], mean: float | None = None
    ) -> None:
        """Record the losses of those that train, beside the last ones of the others."""
        shape = self.n_estimators, losses.shape[1]
        every = self._losses_of_members.setdefault(prefix, np.empty(shape))
        every[self.active.numbers[self._trains]] = losses[self._trains]
        self.member_losses = _mean_known(every, self.task_weight > 0)
        means = mean_of_known(every, axis=0)
        super()._record(prefix, means, float(self.member_losses.mean()))

    @property
    def _trains(self) -> NDArray[np.bool_]:
        """Which of the members that are computed have not stopped."""
        return ~self.done[self.active.numbers]  # type: ignore[no-any-return]

    def _check_finite(self, losses: NDArray[np.float64]) -> None:
        """Refuse losses that are not finite of a member that still trains."""
        bad = np.isinf(losses[self._trains]).any(axis=0)
        super()._check_finite(np.where(bad, np.inf, 0.0))

    def _check_last(self, rows: Any) -> None:
        """Look at the losses once more: the last step may have been the one too far."""
        checks = HeldOutBatches([r.first(self.batch_size) for r in rows])
        self._check_finite(self._refined_losses(checks)[0])

    # ---------------------------------------------------------------------- state
    def cast(self, dtype: torch.dtype) -> None:
        """Change the type of the parameters."""
        super().cast(dtype)
        for net in self._workers:
            net.cast(dtype)

    @property
    def _workers(self) -> list[MultiTaskNet]:
        return [] if self.stacked else self._alone

    def replica(self, settings: dict[str, Any]) -> "MembersNet":
        """Return a copy that trains on without touching this net."""
        if self.stacked:
            return super().replica(settings)  # type: ignore[return-value]
        net: MembersNet = object.__new__(type(self))
        # Members that take their turns were made before that type was known.
        settings = {**settings, "training_dtype": self.training_dtype}
        net.__dict__.update({**vars(self), **settings, "dtype": self.training_dtype})
        alone = [own.replica(settings) for own in self._alone]
        net.__dict__["_alone"] = alone
        net.__dict__["module_"] = Members([own.module_ for own in alone], stacked=False)
        net.__dict__["history_"] = copy.copy(self.history)
        net.initialize_callbacks()
        net._join()
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


def _select_member(callback: Any, net: MultiTaskNet) -> Any:
    """Return a schedule of a member's own where it goes on after each batch."""
    if not steps_by_batch(callback) or net.number == 0:
        return callback
    schedule = copy.copy(callback).initialize()
    schedule.on_train_begin(net)
    return schedule


def _run_each(members: Members, X: Tensor) -> Tensor:
    return members.each()(X)


def _mean_known(
    losses: NDArray[np.float64], counted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return each member's mean loss over tasks that have labels and count."""
    known = counted & ~np.isnan(losses)
    total = np.where(known, losses, 0).sum(axis=1)
    return total / np.maximum(known.sum(axis=1), 1)  # type: ignore[no-any-return]
