"""Losses of each task over the epochs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from skmtl._core.validation import resolve_task
from skmtl._drawing import (
    check_axes,
    choose_losses_size,
    draw_losses,
    make_axes,
    needs_matplotlib,
)
from skmtl.inspection._check_estimator import read_records

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class TrainingCurveDisplay:
    """Losses of each task over the epochs of training, in a picture per task.

    Each picture has a scale of its own, for losses of different kinds have none in
    common. The dotted line marks the epoch at which the mean validation loss of all
    tasks is lowest. Losses are means over members, each of which stops at an epoch of
    its own.

    Parameters
    ----------
    train_losses : ndarray of shape (n_epochs, n_tasks)
        Losses on the rows trained on; NaN where a task has none.
    valid_losses : ndarray of shape (n_epochs, n_tasks)
        Losses on rows held out; NaN where there are none.
    task_names : sequence
        Names of the tasks.
    best_epoch : int, default=None
        Epoch, counted from 1, with the lowest validation loss.

    Attributes
    ----------
    axes_ : list of matplotlib.axes.Axes
        The picture of each task.
    lines_ : list of matplotlib.lines.Line2D
        The training losses of each task, then, if there are any, validation losses.
    ax_ : matplotlib.axes.Axes
        The axes whose place the pictures take.
    figure_ : matplotlib.figure.Figure
        Figure with the pictures.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.inspection import TrainingCurveDisplay
    >>> X, Y = load_linnerud(return_X_y=True, as_frame=True)
    >>> est = MultiTaskRegressor(max_iter=5, random_state=0).fit(X, Y)
    >>> display = TrainingCurveDisplay.from_estimator(est)
    >>> [ax.get_title("left") for ax in display.axes_]
    ['Weight', 'Waist', 'Pulse']
    """

    def __init__(
        self,
        *,
        train_losses: NDArray[np.float64],
        valid_losses: NDArray[np.float64],
        task_names: Sequence[Any],
        best_epoch: int | None = None,
    ) -> None:
        self.train_losses = train_losses
        self.valid_losses = valid_losses
        self.task_names = task_names
        self.best_epoch = best_epoch

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        *,
        tasks: Sequence[Any] | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Show how an estimator has learned.

        Parameters
        ----------
        estimator : estimator
            A fitted multi-task estimator, or a fitted pipeline or search that ends in
            one.
        tasks : list, default=None
            Names or numbers of the tasks to show; None shows all.
        ax : matplotlib.axes.Axes, default=None
            Whose place to take; None makes a figure that fits the number of tasks.

        Returns
        -------
        display : TrainingCurveDisplay
            The display.

        Raises
        ------
        ValueError
            If it is no estimator of skmtl, or has trained for no epoch.
        """
        caller = f"{cls.__name__}.from_estimator"
        needs_matplotlib(caller)
        records, names = read_records(estimator, caller)
        display = cls(
            train_losses=records.train_losses,
            valid_losses=records.valid_losses,
            task_names=names,
            best_epoch=records.best_epoch,
        )
        return display.plot(ax, tasks=tasks)

    def plot(
        self, ax: "Axes | None" = None, *, tasks: Sequence[Any] | None = None
    ) -> Self:
        """Draw a picture per task.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Whose place to take; None makes a figure that fits the number of tasks.
        tasks : list, default=None
            Names or numbers of the tasks to show; None shows all.

        Returns
        -------
        display : TrainingCurveDisplay
            The display.

        Raises
        ------
        ValueError
            If there is no task of such a name.
        """
        caller = f"{type(self).__name__}.plot"
        needs_matplotlib(caller)
        shown = list(range(len(self.task_names)))
        if tasks is not None:
            where = f"The 'tasks' parameter of {caller}"
            shown = [resolve_task(task, self.task_names, where) for task in tasks]
        check_axes(ax)
        if ax is None:
            ax = make_axes(*choose_losses_size(len(shown)))
        self.axes_, self.lines_ = draw_losses(
            ax,
            self.train_losses[:, shown],
            self.valid_losses[:, shown],
            [self.task_names[t] for t in shown],
            self.best_epoch,
        )
        self.ax_, self.figure_ = ax, ax.figure
        return self
