"""skorch callbacks of the estimators: stopping, progress, scikit-learn's callbacks."""

import dis
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping
from tqdm.auto import tqdm

from skmtl._core.printable import escape_text
from skmtl._core.validation import warn_user

if TYPE_CHECKING:
    from skmtl.training._net import MultiTaskNet

#: What a bar shows, which may be within an epoch.
BAR = (
    "{desc}: {percentage:3.0f}%|{bar}| {n:g}/{total:g} "
    "[{elapsed}<{remaining}, {rate_fmt}{postfix}]"
)


class Stopping(Callback):
    """Stop when a loss no longer falls, and bring back the best epoch."""

    def __init__(
        self, monitor: str, patience: float, tol: float, restore: bool
    ) -> None:
        self.monitor = monitor
        self.patience = patience
        self.tol = tol
        self.restore = restore

    def on_train_begin(self, net: "MultiTaskNet", **kwargs: Any) -> None:
        """Forget earlier trainings."""
        self.best_loss_ = np.inf
        self.best_epoch_ = 0
        self.waited_ = 0
        self.state_: dict[str, torch.Tensor] | None = None

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Compare the epoch with the best so far."""
        watched = net.history[-1][self.monitor]
        loss = -watched if self.monitor == "valid_score" else watched
        improved = loss < self.best_loss_ - self.tol
        self.waited_ = 0 if improved else self.waited_ + 1
        if loss < self.best_loss_:
            self.best_loss_ = loss
            self.best_epoch_ = len(net.history)
            if self.restore:
                state = net.module_.state_dict()
                self.state_ = {name: value.clone() for name, value in state.items()}
        if self.waited_ >= self.patience:
            net.stop_training_ = True

    def epochs_left(self) -> float:
        """Return how many epochs come if none improves on the best so far."""
        return self.patience - self.waited_

    def has_best_epoch(self, net: "MultiTaskNet") -> bool:
        """Return whether there is a best epoch to bring back."""
        return self.state_ is not None

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Bring back the best epoch."""
        if self.state_ is not None:
            net.module_.load_state_dict(self.state_)
            self.state_ = None


class MemberStopping(Callback):
    """Stop each member when its loss no longer falls; bring back its best epoch."""

    # What counts is a member's state at the best epoch, or where it stopped if that is
    # not to be restored.

    def __init__(self, patience: float, tol: float, restore: bool) -> None:
        self.patience = patience
        self.tol = tol
        self.restore = restore

    def on_train_begin(self, net: "MultiTaskNet", **kwargs: Any) -> None:
        """Forget earlier trainings."""
        self.best_losses_ = np.full(net.n_estimators, np.inf)
        self.waited_ = np.zeros(net.n_estimators, dtype=int)
        self.states_: dict[int, dict[str, torch.Tensor]] = {}

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Compare the epoch of each member with its best so far."""
        loop = net.loop_
        losses, trains = loop.network_losses, ~loop.stopped
        improved = losses < self.best_losses_ - self.tol
        self.waited_ = np.where(improved, 0, self.waited_ + 1)
        better = (losses < self.best_losses_) & trains
        self.best_losses_ = np.where(better, losses, self.best_losses_)
        loop.stopped |= self.waited_ >= self.patience
        saved = better if self.restore else loop.stopped & trains
        states = loop.active.states()
        for i in np.flatnonzero(saved).tolist():
            self.states_[i] = {name: v.clone() for name, v in states[i].items()}
        if loop.stopped.all():
            net.stop_training_ = True

    def epochs_left(self) -> float:
        """Return how many epochs come if none improves on a member's best so far."""
        return float(self.patience - self.waited_.min())

    def has_best_epoch(self, net: "MultiTaskNet") -> bool:
        """Return whether there is a best epoch of every member to bring back."""
        return self.restore and len(self.states_) == net.n_estimators

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Bring back the states that count."""
        states = net.loop_.active.states()
        for i, best_state in self.states_.items():
            for name, value in best_state.items():
                states[i][name].copy_(value)
        self.states_ = {}


class Progress(Callback):
    """A progress bar over epochs, which moves within them."""

    # Its end is where training stops if no epoch improves on the best so far.

    #: Tasks whose losses fit on one line.
    n_shown = 4

    def __init__(self, max_iter: int) -> None:
        self.max_iter = max_iter

    def on_train_begin(self, net: "MultiTaskNet", **kwargs: Any) -> None:
        """Open the bar."""
        # Batches move it, but show it no more often than the clock allows.
        settings = {"miniters": 0, "bar_format": BAR}
        self.n_done_ = 0
        n = self._n_epochs(net)
        self.bar_ = tqdm(total=n, desc="epoch", leave=True, **settings)
        self.best_ = np.nan

    def on_epoch_begin(
        self, net: NeuralNet, dataset_train: Any = None, **kwargs: Any
    ) -> None:
        """Find out how long training and the epoch may be."""
        self.bar_.total = self._n_epochs(net)
        self.rows_, self.epoch_rows_ = 0, net.loop_.count_epoch_rows(dataset_train)

    def advance(self, n_rows: int) -> None:
        """Move within the epoch."""
        self.rows_ += n_rows
        share = min(round(self.rows_ / self.epoch_rows_, 2), 0.99)
        self.bar_.update(self.n_done_ + share - self.bar_.n)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Show the losses of the epoch."""
        self.n_done_ += 1
        epoch = net.history[-1]
        shown = {"loss": f"{epoch['train_loss']:.4f}"}
        losses = epoch["train_losses"]
        named = list(zip(net.task_names, losses, strict=True))
        for name, loss in named[: self.n_shown]:
            shown[escape_text(name)] = f"{loss:.4f}"
        if len(losses) > self.n_shown:
            shown["..."] = f"{len(losses) - self.n_shown} more"
        for name, better in (("valid_score", max), ("valid_loss", min)):
            if name in epoch and "best" not in shown:
                value = epoch[name]
                values = [v for v in (value, self.best_) if not np.isnan(v)]
                self.best_ = better(values, default=np.nan)
                shown |= {name: f"{value:.4f}", "best": f"{self.best_:.4f}"}
        self.bar_.set_postfix(shown, refresh=False)
        self.bar_.update(self.n_done_ - self.bar_.n)

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Close the bar where training has ended."""
        self.bar_.total = self.n_done_
        self.close()

    def _n_epochs(self, net: "MultiTaskNet") -> int:
        """Return after how many epochs training ends if none improves."""
        left = [
            callback.patience - callback.misses_
            if isinstance(callback, EarlyStopping)
            else callback.epochs_left()
            for _, callback in net.callbacks_
            if isinstance(callback, EarlyStopping | Stopping | MemberStopping)
        ]
        most = self.n_done_ + max(1.0, min(left, default=np.inf))
        first = not self.n_done_  # which improves on nothing
        return int(min(self.max_iter, np.ceil(most + first)))

    def state_dict(self) -> dict[str, Any]:
        """Return how far the bar has come, and the best score or loss."""
        return {"n": self.n_done_, "best": self.best_}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another bar was."""
        self.n_done_, self.best_ = state["n"], state["best"]
        self.bar_.update(self.n_done_ - self.bar_.n)

    def close(self) -> None:
        """Close the bar; training may have ended by an error."""
        if hasattr(self, "bar_"):
            self.bar_.close()
            del self.bar_


class SklearnCallbacks(Callback):
    """Pass epochs on to scikit-learn's callbacks (scikit-learn 1.9 and later)."""

    def __init__(
        self,
        estimator: BaseEstimator,
        context: Any,
        X: Any,
        y: Any,
        metadata: dict[str, Any],
        attributes: Callable[[Any], dict[str, Any]],
    ) -> None:
        self.estimator = estimator
        self.context = context
        self.data = {"X": X, "y": y, "metadata": metadata}
        self.attributes = attributes

    def on_train_begin(self, net: "MultiTaskNet", **kwargs: Any) -> None:
        """Announce the fit."""
        self.context.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Announce the epoch."""
        self.epoch_ = self.context.subcontext(task_name="epoch")
        self.epoch_.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Report the epoch; a callback may ask to stop."""
        if self.epoch_.call_on_fit_task_end(
            estimator=self.estimator,
            reconstruction_attributes=lambda: self.attributes(net),
            **self.data,
        ):
            net.stop_training_ = True

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Report the end of the fit."""
        self.context.call_on_fit_task_end(
            estimator=self.estimator,
            reconstruction_attributes=lambda: self.attributes(net),
            **self.data,
        )


def was_stopped_by_callback(interrupt: KeyboardInterrupt) -> bool:
    """Tell skorch's way of stopping early from a user's Ctrl-C."""
    # A callback that wants to stop raises KeyboardInterrupt in a statement of its own;
    # a signal arrives between any two instructions.
    traceback = interrupt.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return False
    frame = traceback.tb_frame
    instruction = frame.f_code.co_code[traceback.tb_lasti]
    return (
        isinstance(frame.f_locals.get("self"), Callback)
        and instruction == dis.opmap["RAISE_VARARGS"]
    )


def keep_best(net: NeuralNet) -> bool:
    """Prepare to end a training with the best epoch so far, if that is asked for."""
    stopping = [
        c for _, c in net.callbacks_ if isinstance(c, Stopping | MemberStopping)
    ]
    has_best = any(callback.has_best_epoch(net) for callback in stopping)
    if not net.loop_.keep_best or not has_best or net.processes.n > 1:
        return False
    epoch = len(net.history)
    if "valid_loss" not in net.history[-1]:
        del net.history[-1]
    warn_user(
        f"Training was interrupted in epoch {epoch}, and the weights of the best epoch "
        "so far are kept, since on_interrupt='keep'."
    )
    return True
