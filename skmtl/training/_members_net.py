"""The skorch net that trains several members at once, or in turn."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skmtl.training._batches import (
    Batch,
    Batches,
    BlockTarget,
    Rows,
    Source,
    on_device,
    sizes,
)
from skmtl.training._members import Members, StackedWeighting, joined
from skmtl.training._module import Trace
from skmtl.training._net import PREDICT_ROWS, MultiTaskNet
from skmtl.training._refine import Slopes, averaged, fitted_slopes, refined
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


class MembersNet(MultiTaskNet):
    """A net of several members, each with its own weights, batches and held-out rows.

    Members that can be stacked train as one computation; others take turns, epoch by
    epoch. Either way all is as if each were trained alone.

    Parameters
    ----------
    priors : sequence of ndarray of shape (n_outputs,)
        For each member, the outputs of a model that knows its training labels only.
    **kwargs : dict
        As in `MultiTaskNet`.
    """

    def __init__(self, *args: Any, priors: Sequence[Any], **kwargs: Any) -> None:
        self.priors = priors
        self.slopes: Slopes | None = None
        super().__init__(*args, **kwargs)

    @property
    def n_members(self) -> int:
        """Number of members."""
        return len(self.priors)

    # ------------------------------------------------------------------ building
    def initialize_module(self) -> "MembersNet":
        """Build the members, and find out whether they can be stacked."""
        kwargs = self.get_params_for("module")
        modules = [
            self.initialized_instance(self.module, {**kwargs, "prior": prior})
            for prior in self.priors
        ]
        members = None
        if self._may_stack():
            shape = self.module__input_shape
            members = joined(modules, self.module__encoder, shape)
        self.stacked = members is not None
        self.module_ = members or Members(modules, stacked=False)
        return self

    def initialize_criterion(self) -> "MembersNet":
        """Build the losses, and a weighting for each member."""
        super().initialize_criterion()
        if self.stacked and not self.weighting_.fixed:
            n_tasks = len(self.task_weight)
            built = [self.weighting.build(n_tasks) for _ in range(self.n_members)]
            self.weighting_ = StackedWeighting(built).to(self.dtype)
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> Any:
        """Build the optimizer, or one for each member that takes its turn."""
        if self.stacked:
            return super().initialize_optimizer(triggered_directly)
        self._alone = [self._worker(i) for i in range(self.n_members)]
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
            and self.selection is None
            and self.optimizer in ELEMENTWISE
            and not self._listens("on_batch_begin", "on_batch_end", "on_grad_computed")
        )

    def _worker(self, i: int) -> MultiTaskNet:
        """Return the net of one member that takes its turn."""
        net: MultiTaskNet = object.__new__(MultiTaskNet)
        net.__dict__.update(vars(self))
        net.__dict__["module_"] = self.module_.separate[i]  # type: ignore[index]
        net.initialize_criterion()
        net.initialize_history()
        net.initialize_optimizer()
        return net

    # ------------------------------------------------------------------ training
    def train(self, rows: Any, valid: Any, epochs: int) -> None:
        """Train for some epochs, or until every member has stopped.

        Parameters
        ----------
        rows : list of Rows
            Training data of each member.
        valid : list of Rows or None
            Validation data of each member.
        epochs : int
            Number of passes at most.
        """
        self.done = np.zeros(self.n_members, dtype=bool)
        super().train(rows, valid, epochs)

    def _constants(self) -> None:
        """Keep what every step needs."""
        prior = torch.tensor(np.stack(self.priors), device=self.device)
        self._priors = prior.to(self.dtype).unsqueeze(1)  # (members, 1, outputs)
        if self.stacked:
            super()._constants()
            self._run = self.module_.each()
            return
        for net in self._alone:
            net.stop_training_, net._lowest = False, {}
            net._constants()
        self._balance = self._alone[0]._balance

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return batches of all members, or what is held out of each."""
        if not isinstance(dataset, list):
            return super().get_iterator(dataset, training)
        if training:
            parts = [super(MembersNet, self).get_iterator(r, True) for r in dataset]
            return MemberBatches(parts)  # type: ignore[arg-type]
        return Checks(dataset)

    def _epoch(self, batches: Any, checks: Any) -> None:
        """Train for an epoch, and look at what is held out."""
        if self.stacked:
            self.run_single_epoch(batches, True, "train", self.train_step)
        else:
            self._take_turns(batches)
        if checks is not None:
            self._validate(checks)

    def _take_turns(self, batches: "MemberBatches") -> None:
        """Train one member after the other for an epoch."""
        rate = [group["lr"] for group in self.optimizer_.param_groups]
        for net, own, done in zip(self._alone, batches.turns(), self.done, strict=True):
            if done:
                continue
            for group, lr in zip(net.optimizer_.param_groups, rate, strict=True):
                group["lr"] = lr  # schedulers know the first member's
            net.history.new_epoch()
            net.run_single_epoch(own, True, "train", net.train_step)
        records = [net.history[-1] for net in self._alone]
        losses = np.array([record["train_losses"] for record in records])
        self._record(
            "train", losses, float(np.mean([r["train_loss"] for r in records]))
        )
        for name in ("train_weights", "train_gradient_norms", "train_gradient_cosines"):
            if name in records[0]:
                values = np.mean([record[name] for record in records], axis=0)
                self.history[-1][name] = values.tolist()
        if "solver_failures" in records[0]:
            failures = sum(record["solver_failures"] for record in records)
            self.history[-1]["solver_failures"] = failures
        self.weights_ = torch.stack([torch.as_tensor(n.weights_) for n in self._alone])

    def _traced(self, X: Tensor) -> Trace:
        with self._precision():
            outputs = self._run(X)
        return Trace(outputs.float() if self.autocast else outputs, None, False, None)

    def _validate(self, checks: "Checks") -> None:
        """Record the losses of held-out rows."""
        losses = self._refined_losses(checks)
        self._check_finite(losses)
        mean = _mean_known(losses, self.task_weight > 0).mean()
        self._record("valid", losses, float(mean))

    def _refined_losses(self, checks: "Checks") -> NDArray[np.float64]:
        """Return losses (n_members, n_tasks), as they are once outputs are refined."""
        Z = self._outputs_of_each(checks)
        blocks = self.criterion_.blocks
        slopes = fitted_slopes(Z, checks.targets, blocks, self._priors)
        Z = refined(Z, slopes, blocks, self._priors)
        losses, counts = self.criterion_(Z, checks.targets)
        known = torch.ones_like(losses) if counts is None else counts
        L = losses.where(known > 0, torch.nan).double().cpu().numpy()
        return np.where(np.isnan(L) & (known > 0).cpu().numpy(), np.inf, L)  # type: ignore[no-any-return]

    def _outputs_of_each(self, checks: "Checks") -> Tensor:
        """Return the outputs of members for their held-out rows."""
        if self.module_.training:
            self._set_training(False)
        run, parts = self.module_.each(), []
        rows = max(1, PREDICT_ROWS // self.n_members)
        with torch.no_grad(), self._precision():
            for index in checks.index.split(rows, dim=1):
                X = checks.rows.source.take(index.flatten())
                parts.append(run(X.unflatten(0, index.shape)))
        return torch.cat(parts, dim=1).to(self.dtype)

    def _record(self, prefix: str, losses: NDArray[np.float64], mean: float) -> None:
        self.member_losses = _mean_known(losses, self.task_weight > 0)
        known = ~np.isnan(losses).all(axis=0)
        means = np.full(losses.shape[1], np.nan)
        means[known] = np.nanmean(losses[:, known], axis=0)
        super()._record(prefix, means, mean)

    def _check_finite(self, losses: NDArray[np.float64]) -> None:
        """Refuse losses that are not finite of a member that still trains."""
        bad = np.isinf(losses[~self.done]).any(axis=0)
        super()._check_finite(np.where(bad, np.inf, 0.0))

    def _check_last(self, rows: Any) -> None:
        """Look at the losses once more: the last step may have been the one too far."""
        checks = Checks([r.first(self.batch_size) for r in rows])
        self._check_finite(self._refined_losses(checks))

    # ----------------------------------------------------------------- prediction
    def outputs(self, source: Source) -> Tensor:
        """Return packed outputs of the mean prediction, (n, n_outputs), on the CPU."""
        outputs, blocks = super().outputs(source), self.criterion_.blocks
        if self.slopes is None:
            return outputs
        prior = torch.from_numpy(self.module__prior).to(outputs).unsqueeze(0)
        return refined(outputs, self.slopes, blocks, prior)

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
        Z, mask = self._outputs_of_each(checks).cpu(), checks.mask
        of_sample = Z.new_zeros(self.n_members, n_samples, Z.shape[2])
        share = Z.new_zeros(self.n_members, n_samples)
        member = torch.arange(self.n_members).unsqueeze(1).expand_as(mask)[mask]
        of_sample[member, checks.index[mask]] = Z[mask]
        share[member, checks.index[mask]] = 1
        held = share.sum(dim=0)
        outputs = averaged(of_sample, self.criterion_.blocks, share / held.clamp_min(1))
        outputs[held == 0] = torch.nan
        return outputs

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
        net.__dict__.update({**vars(self), **settings})
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
        for name in ("_run", "_priors", "done", "member_losses"):
            vars(self).pop(name, None)  # type: ignore[attr-defined]
        for net in self._workers:
            net.strip(callbacks, keep_optimizer)


class MemberBatches:
    """Iterates over batches of all members.

    Each member has rows and an order of its own; one with fewer rows meets the first
    of its epoch again.

    Parameters
    ----------
    parts : sequence of Batches
        The batches of each member.
    """

    def __init__(self, parts: Sequence[Batches]) -> None:
        self.parts = parts
        self.rows = parts[0].rows
        self.batch_size = parts[0].batch_size

    def _orders(self) -> list[Tensor]:
        """Return the order of each member's samples, all of one length."""
        orders = [part.order() for part in self.parts]
        n = max(map(len, orders))
        return [order.repeat(-(-n // len(order)))[:n] for order in orders]

    def __iter__(self) -> Iterator[Batch]:
        index = on_device(torch.stack(self._orders()), self.rows)  # (members, n)
        for part in index.split(sizes(index.shape[1], self.batch_size), dim=1):
            X, targets = self.rows.take(part.flatten())
            yield X.unflatten(0, part.shape), _unflattened(targets, part)

    def turns(self) -> Iterator[list[Batch]]:
        """Yield the batches of an epoch, member by member."""
        for order in self._orders():
            parts = on_device(order, self.rows).split(
                sizes(len(order), self.batch_size)
            )
            yield (self.rows.take(part) for part in parts)  # type: ignore[misc]


class Checks:
    """What is held out of every member.

    Parameters
    ----------
    rows : sequence of Rows
        The rows of each member.
    """

    def __init__(self, rows: Sequence[Rows]) -> None:
        self.rows = rows[0]
        own = [r.numbers() for r in rows]
        n = max(map(len, own))
        # Shorter ones repeat their first row, which does not count.
        padded = [torch.cat([o, o[:1].expand(n - len(o))]) for o in own]
        self.index = torch.stack(padded)  # (members, n)
        lengths = torch.tensor([len(o) for o in own])
        self.mask = torch.arange(n) < lengths[:, None]
        targets = _unflattened(self.rows.labels(self.index.flatten()), self.index)
        self.targets = targets
        if not self.mask.all():
            self.targets = [(y, self._masked(y, w)) for y, w in targets]

    def _masked(self, y: Tensor, w: Tensor | None) -> Tensor:
        mask = self.mask.unsqueeze(2).to(y.device)
        return mask.expand_as(y) if w is None else w * mask


def _unflattened(targets: list[BlockTarget], index: Tensor) -> list[BlockTarget]:
    return [
        (
            y.unflatten(0, index.shape),
            None if w is None else w.unflatten(0, index.shape),
        )
        for y, w in targets
    ]


def _mean_known(
    losses: NDArray[np.float64], counted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return each member's mean loss over tasks that have labels and count."""
    known = counted & ~np.isnan(losses)
    total = np.where(known, losses, 0).sum(axis=1)
    return total / np.maximum(known.sum(axis=1), 1)  # type: ignore[no-any-return]
