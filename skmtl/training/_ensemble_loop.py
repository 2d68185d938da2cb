"""The training loop of an ensemble: networks that train at once, or in turns."""

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skmtl._core.numerics import mean_of_known
from skmtl.training._batches import HeldOutBatches, MemberBatches
from skmtl.training._callback_data import ScoringRows, steps_by_batch
from skmtl.training._compile import compile_function
from skmtl.training._loop import TrainingLoop
from skmtl.training._members import Members, StackedWeighting
from skmtl.training._module import ForwardPass
from skmtl.training._temperature import (
    MANY_ROWS,
    Temperatures,
    apply_temperatures,
    fit_temperatures,
)
from skmtl.weighting import WeightingModule


class ActiveMembers:
    """The members that still train, as views of the first of all."""

    # All of them stay in one place, whole, for callbacks to see; members that stop are
    # moved behind the others.

    def __init__(self, members: Members, weighting: WeightingModule) -> None:
        self.every = members, weighting
        self.members = members
        self.weighting = weighting
        #: Numbers of all members in the order in which they are computed.
        self.order = np.arange(members.n_estimators)
        self.n_estimators = members.n_estimators

    @property
    def numbers(self) -> NDArray[np.intp]:
        """Numbers of the members that train, in the order of their outputs."""
        return self.order[: self.n_estimators]

    @property
    def modules(self) -> tuple[Members, WeightingModule]:
        """Members that train, and their weightings."""
        return self.members, self.weighting

    def states(self) -> list[dict[str, Tensor]]:
        """Return views of the state of every member, by its number."""
        states = self.every[0].states()
        return [states[place] for place in np.argsort(self.order)]

    def drop(self, done: NDArray[np.bool_], optimizer: torch.optim.Optimizer) -> bool:
        """Go on without members that are done; tell whether there were any."""
        # done of shape (n_estimators,).
        stopped = done[self.order]
        n = len(stopped) - int(stopped.sum())
        if n == self.n_estimators:
            return False
        self.restrict(np.argsort(stopped, kind="stable"), n, optimizer)
        return True

    def restrict(
        self, index: NDArray[np.intp], n: int, optimizer: torch.optim.Optimizer
    ) -> None:
        """Put members into another order, and go on with the first."""
        # index of shape (n_estimators,).
        before, (members, weighting) = self.modules, self.every
        self._reorder(index)
        self.n_estimators, self.members = n, members.first(n)
        if isinstance(weighting, StackedWeighting):
            self.weighting = weighting.first(n)
        members_index = torch.from_numpy(index[:n])
        _train_instead(optimizer, before, self.modules, members_index)

    def restore(self) -> None:
        """Put all members back to where they were at first."""
        self._reorder(np.argsort(self.order))
        self.members, self.weighting = self.every
        self.n_estimators = len(self.order)

    def _reorder(self, index: NDArray[np.intp]) -> None:
        members, weighting = self.every
        self.order = self.order[index]
        members.reorder(index)
        if isinstance(weighting, StackedWeighting):
            weighting.stack.reorder(index)


def _train_instead(
    optimizer: torch.optim.Optimizer,
    before: Iterable[torch.nn.Module],
    after: Iterable[torch.nn.Module],
    members: Tensor,
) -> None:
    """Let an optimizer train parts of its parameters, with their state."""
    for old_module, new_module in zip(before, after, strict=True):
        parameters = old_module.parameters(), new_module.parameters()
        replaced = dict(zip(*parameters, strict=True))
        for group in optimizer.param_groups:
            group["params"] = [replaced.get(p, p) for p in group["params"]]
        for old, new in replaced.items():
            if new is not old and old in optimizer.state:
                state = optimizer.state.pop(old)
                for name, value in state.items():  # a number of steps has no axis
                    if torch.is_tensor(value) and value.ndim:
                        state[name] = value[members]
                optimizer.state[new] = state


class EnsembleLoop(TrainingLoop):
    """Trains all networks of an ensemble, until each has stopped."""

    #: Map from the inputs of each network that trains to their outputs.
    run_networks: Callable[[Tensor], Tensor]

    def __init__(self, net: Any, **options: Any) -> None:
        self.stopped = np.zeros(net.n_estimators, dtype=bool)
        self.losses_by_network: dict[str, NDArray[np.float64]] = {}
        self.network_losses: NDArray[np.float64]  # Mean over tasks, of the last epoch.
        prior = torch.tensor(np.stack(net.priors), device=net.device)
        self._priors = prior.to(net.dtype).unsqueeze(1)  # (n_estimators, 1, n_outputs)
        self.active = ActiveMembers(net.module_, net.weighting_)
        super().__init__(net, **options)

    def _run_epochs(self, rows: Any, valid: Any, epochs: int) -> None:
        try:
            super()._run_epochs(rows, valid, epochs)
        finally:
            self.active.restore()
            self.module = self.net.module_
            self.run_networks = self.module.each()

    @property
    def _trains(self) -> NDArray[np.bool_]:
        """Which of the networks that are computed have not stopped."""
        return ~self.stopped[self.active.numbers]  # type: ignore[no-any-return]

    def _run_epoch(self, batches: Any, checks: Any) -> None:
        """Train for an epoch, and look at what is held out."""
        checks = self._train_networks(batches, checks)
        if checks is not None:
            self._validate(checks)

    @abstractmethod
    def _train_networks(self, batches: Any, checks: Any) -> HeldOutBatches | None:
        """Train for an epoch; return what is held out of those computed."""

    def _validate(self, checks: HeldOutBatches) -> None:
        """Record the losses of held-out rows."""
        losses, Z, slopes = self._compute_calibrated_losses(checks)
        self._check_finite(losses)
        self._record("valid", losses)
        trained = np.flatnonzero(self._trains).tolist()
        numbers = self.active.numbers[trained].tolist()
        if self.scores is not None:
            parts = [checks.parts[i] for i in trained]
            priors = self._priors[self.active.numbers]
            blocks = self.net.criterion_.blocks
            Z_calibrated = apply_temperatures(Z, slopes, blocks, priors)
            record = self.scores.update(
                losses[trained], Z_calibrated[trained], parts, numbers
            )
            self.net.history[-1].update(record)
            self.network_losses = -self.scores.averages
        if self.choice is not None:
            outputs = {i: Z[j] for i, j in zip(numbers, trained, strict=True)}
            self.choice.update(outputs, self.network_losses)

    def _compute_calibrated_losses(
        self, checks: HeldOutBatches
    ) -> tuple[NDArray[np.float64], Tensor, Temperatures]:
        """Return losses (n_estimators, n_tasks), raw outputs and their slopes."""
        net = self.net
        Z = net.compute_held_out_outputs(checks, self.run_networks, net.processes)
        blocks, priors = net.criterion_.blocks, self._priors[self.active.numbers]
        few = slice(None, None, -(-Z.shape[1] // MANY_ROWS))
        slopes = fit_temperatures(Z[:, few], checks.labels(few), blocks, priors)
        sums, total = Z.new_zeros(()), Z.new_zeros(())
        for start in range(0, Z.shape[1], MANY_ROWS):
            part = slice(start, start + MANY_ROWS)
            Z_calibrated = apply_temperatures(Z[:, part], slopes, blocks, priors)
            losses, counts = net.criterion_(Z_calibrated, checks.labels(part))
            if counts is None:
                counts = torch.full_like(losses, Z[0, part].shape[0])
            sums, total = sums + losses * counts, total + counts
        L = (sums / total).double().cpu().numpy()  # NaN without labels
        return np.where(np.isnan(L) & (total > 0).cpu().numpy(), np.inf, L), Z, slopes

    def _record(
        self, prefix: str, losses: NDArray[np.float64], mean: float | None = None
    ) -> None:
        """Record the losses of those that train, beside the last ones of the others."""
        shape = self.net.n_estimators, losses.shape[1]
        network_losses = self.losses_by_network.setdefault(prefix, np.empty(shape))
        network_losses[self.active.numbers[self._trains]] = losses[self._trains]
        self.network_losses = _average_tasks(network_losses, self.net.task_weight > 0)
        means = mean_of_known(network_losses, axis=0)
        super()._record(prefix, means, float(self.network_losses.mean()))

    def _check_finite(self, losses: NDArray[np.float64]) -> None:
        """Raise where losses of a network that still trains are not finite."""
        bad = np.isinf(losses[self._trains]).any(axis=0)
        super()._check_finite(np.where(bad, np.inf, 0.0))

    def _check_last(self, rows: Any) -> None:
        """Look at the losses once more: the last step may have been the one too far."""
        checks = HeldOutBatches([r.first(self.net.batch_size) for r in rows])
        self._check_finite(self._compute_calibrated_losses(checks)[0])

    def count_epoch_rows(self, rows: ScoringRows) -> float:
        """Return how many rows the batches of an epoch of training have here."""
        return max(map(len, rows.parts)) / self.net.processes.n

    def state_dict(self) -> dict[str, Any]:
        """Return what epochs have changed, beside modules and the optimizer."""
        state = super().state_dict()
        state["stopped"] = self.stopped
        state["losses_by_network"] = self.losses_by_network
        state["network_losses"] = self.network_losses
        state["active"] = self.active.order, self.active.n_estimators
        if self.choice is not None:
            state["choice"] = self.choice.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Bring back what epochs have changed."""
        self.restrict(*state["active"])
        super().load_state_dict(state)
        self.stopped = state["stopped"]
        self.losses_by_network = state["losses_by_network"]
        self.network_losses = state["network_losses"]
        if self.choice is not None:
            self.choice.load_state_dict(state["choice"])

    def restrict(self, order: NDArray[np.intp], n: int) -> None:
        """Train on as after networks have been dropped."""
        # order of shape (n_estimators,).


class StackedLoop(EnsembleLoop):
    """Trains all networks as one computation."""

    def _prepare_steps(self) -> None:
        """Keep what every step of the networks that train needs."""
        super()._prepare_steps()
        self.module, self.balancer.weighting = self.active.modules
        self.balancer.module = self.module
        self.run_networks = self.module.each()
        if self.net.backend is not None:
            compiled = compile_function(_run_each, self.net.backend, rows=1)
            self.run_networks = partial(compiled, self.module)
        #: Batches and held-out rows of the networks that train.
        self._data: tuple[MemberBatches, HeldOutBatches | None] | None = None

    def _train_networks(
        self, batches: MemberBatches, checks: HeldOutBatches | None
    ) -> HeldOutBatches | None:
        self._drop_stopped()
        if self._data is None:
            numbers = self.active.numbers
            self._data = batches.select(numbers), checks and checks.select(numbers)
        batches, checks = self._data
        self.run_pass(batches, True, "train", self.train_step)
        return checks

    def _drop_stopped(self) -> None:
        """Train on with those networks only that have not stopped."""
        # Compiled ones are dropped, and compiled anew, once half of them have stopped.
        compiled = self.net.backend is not None
        if compiled and self.stopped[self.active.numbers].mean() < 0.5:
            return
        if self.active.drop(self.stopped, self.net.optimizer_):
            self._prepare_steps()

    def restrict(self, order: NDArray[np.intp], n: int) -> None:
        """Train on as after networks have been dropped."""
        # order of shape (n_estimators,).
        if n < self.net.n_estimators:
            self.active.restrict(order, n, self.net.optimizer_)
            self._prepare_steps()

    def forward(self, X: Tensor) -> ForwardPass:
        """Run all networks, each on inputs of its own."""
        with self.net._precision():
            outputs = self.run_networks(X)
        outputs = outputs.float() if self.net.autocast else outputs
        return ForwardPass(outputs, None, False, None)


class TurnsLoop(EnsembleLoop):
    """Trains one network after the other, epoch by epoch."""

    def _prepare_steps(self) -> None:
        """Make a training loop for each network, which takes its turn."""
        net = self.net
        self.loops: list[TrainingLoop] = []
        for i, worker in enumerate(net._workers):
            worker.stop_training_ = False
            worker.callbacks_ = [
                (name, _copy_schedule(callback, worker) if i else callback)
                for name, callback in worker.callbacks_
            ]
            worker.loop_ = TrainingLoop(worker)
            worker.loop_.number = i
            self.loops.append(worker.loop_)
        first = self.loops[0]
        for loop in self.loops:
            loop.trace = first.trace  # which is compiled once for all
        self.balancer, self.progress = first.balancer, first.progress
        self.reads_batches = first.reads_batches
        net.verbose = net._workers[0].verbose
        self.run_networks = net.module_.each()
        if net.backend is not None:
            self.run_networks = self._run_compiled

    def _run_compiled(self, X: Tensor) -> Tensor:
        pairs = zip(self.loops, X, strict=True)
        return torch.stack([loop.forward(x).outputs for loop, x in pairs])

    def run(self, rows: Any, valid: Any, epochs: int) -> None:
        """Train for some epochs, or until every network has stopped."""
        try:
            super().run(rows, valid, epochs)
        finally:
            for worker in self.net._workers:
                worker.loop_ = None

    def _train_networks(
        self, batches: MemberBatches, checks: HeldOutBatches | None
    ) -> HeldOutBatches | None:
        net, history = self.net, self.net.history
        net._set_training()  # all at once, so that what is held out finds it so
        rates = [group["lr"] for group in net.optimizer_.param_groups]
        by_batch = any(steps_by_batch(callback) for _, callback in net.callbacks_)
        for loop, part, stopped in zip(
            self.loops, batches.iterate_in_turns(), self.stopped, strict=True
        ):
            if stopped:
                continue
            worker = loop.net
            if not by_batch:
                for group, lr in zip(
                    worker.optimizer_.param_groups, rates, strict=True
                ):
                    group["lr"] = lr  # schedulers know the first network's
            worker.history.new_epoch()
            loop.run_pass(part, True, "train", loop.train_step)
            history[-1]["batches"] += worker.history[-1]["batches"]
        records = [loop.net.history[-1] for loop in self.loops]
        n_batches = max(record["train_batch_count"] for record in records)
        history.record("train_batch_count", n_batches)
        losses = np.array([record["train_losses"] for record in records])
        self._record("train", losses)
        for name in ("train_weights", "train_gradient_norms", "train_gradient_cosines"):
            if name in records[0]:
                values = np.mean([record[name] for record in records], axis=0)
                history[-1][name] = values.tolist()
        if "solver_failures" in records[0]:
            failures = sum(record["solver_failures"] for record in records)
            history[-1]["solver_failures"] = failures
        net.weights_ = torch.stack(
            [torch.as_tensor(loop.net.weights_) for loop in self.loops]
        )
        return checks

    def _validate(self, checks: HeldOutBatches) -> None:
        """Record the losses of held-out rows, and show them to callbacks."""
        super()._validate(checks)
        if not self.reads_batches:
            return
        for i in self.active.numbers[self._trains].tolist():
            loop, worker = self.loops[i], self.loops[i].net
            n_batches = len(worker.history[-1]["batches"])
            part = worker.get_iterator(checks.parts[i])
            loop.run_pass(part, False, "valid", loop.validate)
            self.net.history[-1]["batches"] += worker.history[-1]["batches"][n_batches:]

    def count_epoch_rows(self, rows: ScoringRows) -> float:
        """Return how many rows the batches of an epoch of training have here."""
        return int((~self.stopped).sum()) * super().count_epoch_rows(rows)

    def stop_tasks(self, stopped: NDArray[np.bool_], member: int = 0) -> None:
        """Train a network on without some tasks, or stop it where none is left."""
        loop = self.loops[member]
        loop.stop_tasks(stopped)
        self.stopped[member] |= loop.net.stop_training_
        self.net.stop_training_ |= bool(self.stopped.all())


def _copy_schedule(callback: Any, worker: Any) -> Any:
    """Return a schedule of a network's own where it goes on after each batch."""
    if not steps_by_batch(callback):
        return callback
    schedule = copy.copy(callback).initialize()
    schedule.on_train_begin(worker)
    return schedule


def _run_each(members: Members, X: Tensor) -> Tensor:
    return members.each()(X)


def _average_tasks(
    losses: NDArray[np.float64], counted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return each network's mean loss over tasks that have labels and count."""
    counts = counted & ~np.isnan(losses)
    total = np.where(counts, losses, 0).sum(axis=1)
    return total / np.maximum(counts.sum(axis=1), 1)  # type: ignore[no-any-return]
