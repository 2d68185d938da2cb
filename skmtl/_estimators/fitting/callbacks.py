"""The callbacks of a fit: scikit-learn's, progress, stopping, the user's."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sklearn.base import BaseEstimator
from skorch.callbacks import Callback, InputShapeSetter, WandbLogger

from skmtl._estimators.fitting.settings import FitSettings
from skmtl.training import (
    MemberStopping,
    Progress,
    SklearnCallbacks,
    Stopping,
    TaskStopping,
)

#: How keys of the history begin that need held-out rows.
HELD_OUT = ("valid_loss", "valid_score")


def make_callbacks(
    settings: FitSettings, n_rows: int, *, stops: bool, one_pass: bool
) -> list[Any]:
    """Return the skorch callbacks of a fit, but for those of scikit-learn."""
    user_callbacks = list(settings.callbacks or [])
    _check_callbacks(user_callbacks)
    _check_monitors(user_callbacks, stops)
    if one_pass:
        return user_callbacks
    patience, tol = settings.choose_patience(n_rows), settings.tol
    callbacks: list[Any] = []
    if settings.n_estimators > 1:
        callbacks.append(MemberStopping(patience, tol, stops))
    else:
        scored = settings.judging_parameter is not None
        held_out = "valid_score" if scored else "valid_loss"
        monitor = held_out if stops else "train_loss"
        callbacks.append(Stopping(monitor, patience, tol, stops))
    if settings.stop_tasks:
        callbacks.append(TaskStopping(patience, tol))
    if settings.verbose and settings.processes.is_main:
        callbacks.append(Progress(settings.max_iter))
    return callbacks + user_callbacks


def _check_callbacks(callbacks: list[Any]) -> None:
    """Raise an error unless all are callbacks of skorch, or names with one."""
    for entry in callbacks:
        pair = isinstance(entry, tuple) and len(entry) == 2
        callback = entry[1] if pair else entry
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, Callback):
            raise ValueError(
                "The 'callbacks' parameter must hold callbacks of skorch, such as "
                f"skorch.callbacks.LRScheduler(), or pairs of a name and one. Got "
                f"{entry!r}."
            )


def _check_monitors(callbacks: list[Any], stops: bool) -> None:
    """Raise an error for callbacks of skorch that lack what they need."""
    for callback in callbacks:
        if isinstance(callback, tuple):  # a name, and the callback
            callback = callback[-1]
        if isinstance(callback, type):  # skorch makes an instance of it
            with suppress(TypeError):
                callback = callback()
        name = type(callback).__name__
        if isinstance(callback, InputShapeSetter):
            raise ValueError(
                f"callbacks has {name}, which sets a parameter of a module by the "
                "number of features, but encoders know that number: leave it out."
            )
        monitor = getattr(callback, "monitor", None)
        if isinstance(callback, WandbLogger) and callback.save_model:
            monitor, name = "valid_loss_best", f"{name}(save_model=True)"
        if not stops and isinstance(monitor, str) and monitor.startswith(HELD_OUT):
            raise ValueError(
                f"callbacks has {name}, which monitors {monitor!r}, but no rows are "
                "held out in this call: use fit with early_stopping=True or with X_val "
                "and y_val, or another monitor, such as 'train_loss'."
            )


def make_sklearn_callbacks(
    estimator: BaseEstimator,
    data: tuple[Any, Any, Any],
    collect: Callable[[Any], dict[str, Any]],
) -> list[Any]:
    """Return what shows a fit to scikit-learn's callbacks, where there are any."""
    names = ("_skl_callbacks", "_parent_callback_ctx")
    if not any(hasattr(estimator, name) for name in names):
        return []
    X, y, sample_weight = data
    return [
        SklearnCallbacks(
            estimator,
            estimator._init_callback_context(max_subtasks=estimator.max_iter),
            X,
            y,
            {} if sample_weight is None else {"sample_weight": sample_weight},
            collect,
        )
    ]
