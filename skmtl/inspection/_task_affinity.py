"""Which tasks help which while they are trained together."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from skmtl._core.numerics import mean_of_known
from skmtl._core.validation import Interval, StrOptions, import_pandas, validate_params
from skmtl._estimators.base import MultiTaskBase
from skmtl.inspection._check_estimator import check_multitask
from skmtl.inspection._frames import make_framer
from skmtl.training import AT_ONCE, Lookahead

#: What a history has where gradients were recorded.
COSINES = "train_gradient_cosines"

Array = NDArray[np.float64]


@validate_params(
    {
        "estimator": "no_validation",
        "X": "no_validation",
        "Y": "no_validation",
        "method": [StrOptions({"lookahead", "gradient_cosine"})],
        "every": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "step_size": [
            Interval(Real, 0, 1, closed="neither"),
            StrOptions({"learning_rate"}),
        ],
    },
    prefer_skip_nested_validation=False,  # of the estimators that it fits
)
def task_affinity(
    estimator: BaseEstimator,
    X: Any = None,
    Y: ArrayLike | None = None,
    method: str = "lookahead",
    *,
    every: int | str = "auto",
    max_iter: int | None = 20,
    step_size: float | str = 0.01,
) -> Any:
    r"""Measure which tasks help which while an estimator trains on all of them.

    Inter-task affinity [1]_ is the share of the loss of task j that a step on task i
    alone takes away, in the parameters :math:`\theta` that tasks share. It is looked at
    on batches s of the training of a copy of the estimator with one member:

    .. math:: A_{ij} = 1 - \frac{\sum_s L_j(\theta_s - \eta_{is} \nabla L_i(\theta_s))}
       {\sum_s L_j(\theta_s)}

    Looks have no dropout and leave the training as it is. The steps of [1]_ have the
    learning rate, and the shares of all looks are averaged. But the learning rate of
    AdamW means nothing to a plain step; and as heads start at zero, gradients in what
    is below them grow while losses fall, so that looks at the end of a training, where
    rows are learned by heart, would count most. So here losses are averaged, not
    shares, and the step is a part :math:`\alpha` of Polyak's [2]_, with which all of a
    linear loss would be gone:

    .. math:: \eta_{is} = \alpha \frac{L_i(\theta_s)}{\|\nabla L_i(\theta_s)\|^2}

    The diagonal, the affinity of a task to itself, is then close to :math:`\alpha`. A
    task helps one with opposite labels too, whose head turns the sign around.

    Parameters
    ----------
    estimator : estimator
        A multi-task estimator, or a pipeline that ends with one; fitted where X and Y
        are not given.
    X : array-like or sparse matrix of shape (n_samples, ...), default=None
        Inputs. Without X and Y, "gradient_cosine" reads what the training of the
        estimator has recorded.
    Y : array-like of shape (n_samples, n_tasks), default=None
        Labels; missing ones as in ``fit``.
    method : {"lookahead", "gradient_cosine"}, default="lookahead"
        What to measure. "gradient_cosine" is the mean cosine between the gradients of
        the tasks' losses, over the epochs that ``record_gradients=True`` records.
    every : int or "auto", default="auto"
        One of how many batches "lookahead" looks at. "auto" looks at about three of an
        epoch, or more with more than 120 tasks. A look costs a forward and a backward
        pass of shared parameters for each task, of which 8 at most take turns.
    max_iter : int or None, default=20
        Most epochs of the training, if the estimator does not have fewer. The first
        ones tell most; None is as many as the estimator has.
    step_size : float or "learning_rate", default=0.01
        The part :math:`\alpha` of "lookahead", between 0 and 1; "learning_rate" steps
        by the learning rate.

    Returns
    -------
    ndarray or DataFrame of shape (n_tasks, n_tasks)
        How much the task of the row helps that of the column: above zero where it does,
        below where it harms. NaN for tasks that never share a batch or that do not
        train. The cosine is symmetric. A DataFrame where labels have names.

    Raises
    ------
    ValueError
        If the estimator is none of skmtl, its tasks share no parameters, its training
        is too short to look at every task, or it has recorded no gradients.

    References
    ----------
    .. [1] C. Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task
       Learning", NeurIPS 2021.
    .. [2] B. T. Polyak, "Minimization of unsmooth functionals", USSR Computational
       Mathematics and Mathematical Physics 1969.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import make_multitask_regression
    >>> from skmtl.inspection import group_tasks, task_affinity
    >>> X, Y = make_multitask_regression(groups=[[0, 2], [1, 3]], random_state=0)
    >>> est = MultiTaskRegressor(max_iter=10, random_state=0)
    >>> group_tasks(task_affinity(est, X, Y), n_groups=2)
    [[0, 2], [1, 3]]
    """
    last = check_multitask(estimator, "task_affinity")
    if X is None and Y is None:
        return _record_affinity(last, method)
    if X is None or Y is None:
        raise ValueError("X and Y of task_affinity must be given together.")
    copied = clone(estimator)
    last = check_multitask(copied, "task_affinity")
    epochs = min(last.max_iter, max_iter or last.max_iter)
    last.set_params(n_estimators=1, max_iter=epochs)
    look = Lookahead(
        None if every == "auto" else int(every),
        None if step_size == "learning_rate" else float(step_size),
    )
    if method == "lookahead":
        # Looks are at whole batches: each process trains by itself.
        callbacks = [*(last.callbacks or []), look]
        last.set_params(callbacks=callbacks, accelerator=None)
    else:
        last.set_params(record_gradients=True)
    copied.fit(X, Y)
    affinity = (
        _read_affinity(look, last) if method == "lookahead" else _average_cosines(last)
    )
    return make_framer(Y, last.task_names_)(affinity)


def _record_affinity(last: MultiTaskBase, method: str) -> Any:
    """Return what a fitted estimator has recorded, with names where tasks have any."""
    if method == "lookahead":
        raise ValueError(
            "The method 'lookahead' of task_affinity looks at a training: give X and Y."
        )
    check_is_fitted(last)
    cosines, names = _average_cosines(last), last.task_names_
    if not last._targets.named:
        return cosines
    return import_pandas("task_affinity").DataFrame(cosines, names, names)


def _read_affinity(look: Lookahead, last: MultiTaskBase) -> Array:
    """Return what looks have seen, if they have been at every task."""
    if look.n_looks_ * AT_ONCE < last.n_tasks_:
        raise ValueError(
            f"The training had {look.n_batches_} batches, too few to look at all of "
            f"{last.n_tasks_} tasks, {AT_ONCE} at a time, in one of {look.every_}: "
            "lower 'every', or raise the 'max_iter' of task_affinity and of the "
            "estimator."
        )
    return look.affinity()


def _average_cosines(last: MultiTaskBase) -> Array:
    """Return the mean over epochs of recorded cosines, NaN where there are none."""
    records = [epoch[COSINES] for epoch in last.history_ if COSINES in epoch]
    if not records:
        raise ValueError(
            "The estimator has no recorded gradients: fit it with "
            "record_gradients=True, and with a 'sharing' under which several tasks "
            "share parameters, such as 'hard'."
        )
    return mean_of_known(np.array(records), axis=0)  # (epochs, n_tasks, n_tasks)
