"""Weights of the tasks, and how much their gradients conflict, over the epochs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from skmtl._core.history import mean_cosines
from skmtl._drawing import (
    check_axes,
    choose_weights_size,
    draw_weights,
    make_axes,
    needs_matplotlib,
    shorten_names,
)
from skmtl.inspection._check_estimator import read_records

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class TaskWeightDisplay:
    """Weights of the tasks over the epochs, above the agreement of their gradients.

    Up to 8 tasks are lines, more are rows of a heat map. Where gradients were looked
    at, a second picture shows the mean cosine of each task's gradient with those of the
    other tasks: below zero they conflict. Weights and cosines are means over the steps
    of an epoch, and over members.

    Parameters
    ----------
    weights : ndarray of shape (n_epochs, n_tasks)
        Weights of the tasks' losses, whose sum is the number of tasks in a step.
    cosines : ndarray of shape (n_epochs, n_tasks, n_tasks)
        Cosines between the tasks' gradients; NaN where there are none.
    task_names : sequence
        Names of the tasks.

    Attributes
    ----------
    axes_ : list of matplotlib.axes.Axes
        Axes of the weights and, where gradients were looked at, of the cosines.
    artists_ : list of list
        What each of the axes shows: a line per task, or one heat map.
    ax_ : matplotlib.axes.Axes
        The axes whose place the pictures take.
    figure_ : matplotlib.figure.Figure
        Figure with the pictures.

    Examples
    --------
    >>> from sklearn.datasets import load_linnerud
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.inspection import TaskWeightDisplay
    >>> X, Y = load_linnerud(return_X_y=True, as_frame=True)
    >>> est = MultiTaskRegressor(record_gradients=True, n_estimators=1, max_iter=5)
    >>> display = TaskWeightDisplay.from_estimator(est.fit(X, Y))
    >>> [ax.get_ylabel() for ax in display.axes_]
    ['weight', 'mean cosine with others']
    """

    def __init__(
        self,
        *,
        weights: NDArray[np.float64],
        cosines: NDArray[np.float64],
        task_names: Sequence[Any],
    ) -> None:
        self.weights = weights
        self.cosines = cosines
        self.task_names = task_names

    @classmethod
    def from_estimator(
        cls, estimator: BaseEstimator, *, ax: "Axes | None" = None
    ) -> Self:
        """Show how tasks were weighed.

        Parameters
        ----------
        estimator : estimator
            A fitted multi-task estimator, or a fitted pipeline or search that ends in
            one. It has looked at gradients if its weighting does or with
            ``record_gradients=True``.
        ax : matplotlib.axes.Axes, default=None
            Whose place to take; None makes a figure that fits the number of tasks.

        Returns
        -------
        display : TaskWeightDisplay
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
            weights=records.weights, cosines=records.cosines, task_names=names
        )
        return display.plot(ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the weights and, where gradients were looked at, the cosines.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Whose place to take; None makes a figure that fits the number of tasks.

        Returns
        -------
        display : TaskWeightDisplay
            The display.
        """
        needs_matplotlib(f"{type(self).__name__}.plot")
        means = mean_cosines(self.cosines)
        cosines = means if np.isfinite(means).any() else None
        check_axes(ax)
        if ax is None:
            n_pictures = 1 if cosines is None else 2
            ax = make_axes(*choose_weights_size(len(self.task_names), n_pictures))
        names = shorten_names(self.task_names)
        self.axes_, self.artists_ = draw_weights(ax, self.weights, cosines, names)
        self.ax_, self.figure_ = ax, ax.figure
        return self
