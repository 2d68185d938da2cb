"""The callbacks of a fit: scikit-learn's, progress, stopping, the user's."""

from typing import Any

from skmtl._build import Plan, patience
from skmtl._held_out import judged_by
from skmtl._targets import Targets
from skmtl.training import (
    MemberStopping,
    Progress,
    SklearnCallbacks,
    Stopping,
    TaskStopping,
)


def callbacks_of(
    estimator: Any,
    plan: Plan,
    n_rows: int,
    given: tuple[Any, Any, Any],
    targets: Targets,
    stops: bool,
    one_pass: bool,
    several: bool,
) -> list[Any]:
    """Return the skorch callbacks of a fit.

    Parameters
    ----------
    estimator : estimator
        Holds the parameters.
    plan : Plan
        The settings.
    n_rows : int
        Number of rows of an epoch.
    given : tuple
        X, y and sample_weight as given to fit.
    targets : Targets
        The tasks.
    stops : bool
        Whether held-out rows decide when to stop.
    one_pass : bool
        Whether there is one pass only, which nothing watches.
    several : bool
        Whether there are several members.

    Returns
    -------
    list of skorch.callbacks.Callback
        The callbacks, the user's last.
    """
    own = list(estimator.callbacks or [])
    if one_pass:
        return own
    callbacks: list[Any] = []
    if plan.processes.is_main:
        callbacks += _shown(estimator, given, targets)
    waited, tol = patience(estimator, plan, n_rows), estimator.tol
    if several:
        callbacks.append(MemberStopping(waited, tol, stops))
    else:
        scored = "valid_loss" if judged_by(estimator) is None else "valid_score"
        monitor = scored if stops else "train_loss"
        callbacks.append(Stopping(monitor, waited, tol, stops))
    if estimator.stop_tasks:
        callbacks.append(TaskStopping(waited, tol))
    return callbacks + own


def _shown(estimator: Any, given: tuple[Any, Any, Any], targets: Targets) -> list[Any]:
    """Return what shows a fit to scikit-learn's callbacks, and on a progress bar."""
    callbacks: list[Any] = []
    if hasattr(estimator, "_skl_callbacks") or hasattr(
        estimator, "_parent_callback_ctx"
    ):
        X, y, sample_weight = given
        callbacks.append(
            SklearnCallbacks(
                estimator,
                estimator._init_callback_context(max_subtasks=estimator.max_iter),
                X,
                y,
                {} if sample_weight is None else {"sample_weight": sample_weight},
                lambda net: estimator._attributes(net, targets),
            )
        )
    if estimator.verbose:
        callbacks.append(Progress(estimator.max_iter))
    return callbacks
